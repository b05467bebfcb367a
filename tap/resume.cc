#include "tap/resume.h"

#include "base/fault.h"
#include "proto/epoch.h"

#include <algorithm>
#include <optional>

namespace cairn::tap {
namespace {

using engine::VbucketPosition;
using engine::VbucketState;

ResumeDecision Refuse(EndReason reason, std::string text) { return {reason, Seqno(), std::move(text)}; }
ResumeDecision RollBack(Seqno to, std::string text) { return {EndReason::kRollback, to, std::move(text)}; }

/// The last seqno of the branch `uuid` that is also ours: where the next newer branch begins, or as far as it
/// goes.
std::optional<Seqno> BranchEnd(const VbucketPosition& position, uint64_t uuid) {
  Seqno end(kSeqnoMax);
  for (const proto::FailoverEntry& entry : position.failover_log) {
    if (entry.uuid == uuid) return end;
    end = std::min(end, entry.seqno);
  }
  return std::nullopt;
}

}  // namespace

ResumeDecision DecideResume(const VbucketPosition& position, const OpenStream& request) {
  if (position.state == VbucketState::kDead) {
    return Refuse(EndReason::kStateChanged, "the vbucket is dead here");
  }
  if (position.in_snapshot) {
    return Refuse(EndReason::kStateChanged, "the vbucket is being copied to here");
  }
  // Who follows it would count as complete with what is here now.
  if (position.regain != Seqno()) {
    return Refuse(EndReason::kStateChanged,
                  "the copy here has given up operations and has not got them again");
  }
  if (request.epoch > position.epoch && !CAIRN_FAULT("plant.accept_old_epoch")) {
    return Refuse(EndReason::kFenced, "the epoch here is " + proto::FormatEpoch(position.epoch));
  }
  // In the middle of a disk snapshot everything up to its start is there, and some of what follows.
  const bool in_snapshot = request.snapshot_start < request.snapshot_end;
  const Seqno seqno = in_snapshot ? request.snapshot_start : request.seqno;
  if (seqno == Seqno(0)) {
    // What it has of a snapshot goes when another one begins, and only then.
    const bool leftovers = in_snapshot && position.merged == Seqno(0);
    return leftovers ? RollBack(Seqno(0), "in the middle of a disk snapshot that cannot be sent again")
                     : ResumeDecision{};
  }

  std::optional<Seqno> branch_end = BranchEnd(position, request.history_uuid);
  // A copy that is only behind takes nothing away from another: it catches up, or it becomes active.
  if (position.state == VbucketState::kReplica) {
    if (branch_end && position.high < std::min(seqno, *branch_end)) {
      return Refuse(EndReason::kStateChanged, "the copy here is behind");
    }
    // Of a branch that it does not know it cannot say what became of it, unless somebody was promoted since
    // and everything that one had is here.
    const bool complete = position.high >= position.source_high && position.high != Seqno(0);
    if (!branch_end && (position.epoch <= request.epoch || !complete)) {
      return Refuse(EndReason::kStateChanged, "the copy here does not know that branch of history");
    }
  }
  if (!branch_end) return RollBack(Seqno(0), "unknown branch of history");
  branch_end = std::min(*branch_end, position.high);
  if (seqno > *branch_end) return RollBack(*branch_end, "ahead of the end of its branch of history");
  // What it has of the snapshot is put right by a snapshot that reaches at least as far, and by nothing else.
  if (in_snapshot && (request.snapshot_end > *branch_end || request.snapshot_end > position.merged)) {
    return RollBack(Seqno(0), "in the middle of a disk snapshot that cannot be sent again");
  }
  if (seqno < position.purged) {
    return {EndReason::kPurged, Seqno(0),
            "tombstones up to " + std::to_string(position.purged.get()) + " may be gone"};
  }
  const bool window_ended = !request.window.is_none() && request.window != position.window;
  if (window_ended && seqno < position.merged) {
    return RollBack(request.window_start, "its window has ended where the log no longer reaches");
  }
  return {};
}

}  // namespace cairn::tap
