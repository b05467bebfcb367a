#pragma once
// What the admin service says, made from the engine's and TAP's values, and what it is asked, checked. Pure
// but for VbucketsOf. Only server/admin_*.cc and tests include this: it needs protobuf's headers.

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "engine/ops.h"
#include "engine/replication.h"
#include "proto/admin.pb.h"
#include "tap/producer.h"

namespace cairn::server {

/// With the sums over all its streams; the streams themselves only when `streams`.
void ToWire(const tap::ConnectionInfo& info, int64_t now_ns, bool streams, admin::v1::Connection* wire);
void ToWire(Vbid vbucket, const engine::VbucketPosition& position, admin::v1::Vbucket* wire);
void ToWire(const engine::UpdateStatus& status, admin::v1::UpdateState* wire);

/// START's name, or the id that is meant. INVALID_ARGUMENT: the id is neither empty nor 16 bytes.
Result<engine::UpdateRequest> FromWire(const admin::v1::UpdateRequest& wire);

/// The vbuckets that were named, ascending, each once; nothing for `all`. INVALID_ARGUMENT: none is named, or
/// one that this node cannot have.
struct NamedVbuckets {
  bool all = false;
  std::vector<Vbid> vbuckets;
};
Result<NamedVbuckets> FromWire(const admin::v1::VbucketSet& wire, uint32_t vbucket_count);

}  // namespace cairn::server
