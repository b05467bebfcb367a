#pragma once
// How a producer answers a request to open a stream: go on, or roll back, and how far. Pure.
// The rule is that of docs/tap.md ("Resume"); its idea is that of Couchbase DCP's rollback points.

#include <cstdint>
#include <string>

#include "engine/replication.h"
#include "tap/messages.h"

namespace cairn::tap {

struct ResumeDecision {
  EndReason reason = EndReason::kOk;  // kOk: from `request.seqno` on; kRollback; or a refusal
  Seqno rollback;                     // kRollback: to an exact point at or below
  std::string text;                   // why not
};

/// `position` is the source's. Cases in order: wrong state, a copy that has given something up itself, lower
/// epoch here (fenced), nothing yet, a copy that is only behind, unknown branch, ahead of the branch's end,
/// below the purge point, a window that has ended where the log no longer reaches, in the middle of a disk
/// snapshot.
ResumeDecision DecideResume(const engine::VbucketPosition& position, const OpenStream& request);

}  // namespace cairn::tap
