#pragma once
// How vbuckets change hands: what Replication and the admin's SET_VBUCKET do on the control thread. One at a
// time; each returns when its change is durable, or says why it is not.

#include <vector>

#include "engine/core.h"
#include "engine/replication.h"

namespace cairn::engine {

/// Writes the records of these vbuckets as they are now, synced. Each stands for itself, so an error may
/// leave some written. Nothing without a disk.
Status WriteVbucketRecords(Core& core, const std::vector<Vbid>& vbuckets) CAIRN_EXCLUDES(core.meta_mutex);

Status AdoptNow(const ReplicationParts& parts, const std::vector<AdoptRequest>& requests);
Status PromoteNow(const ReplicationParts& parts, const std::vector<Vbid>& vbuckets,
                  const PromoteOptions& options);
/// To any state but active. Clients are turned away at once, whether or not it can be recorded.
Status DemoteNow(const ReplicationParts& parts, const std::vector<Vbid>& vbuckets, VbucketState to);
Status FenceNow(const ReplicationParts& parts, const std::vector<FenceRequest>& requests);
/// An outcome for each request.
std::vector<Status> HandoverNow(const ReplicationParts& parts, const std::vector<HandoverRequest>& requests);

}  // namespace cairn::engine
