// What Replication reads of the disk, and what it puts there besides operations: backfills, disk snapshots,
// rollbacks.

#include <utility>

#include "base/fault.h"
#include "engine/backfill.h"
#include "engine/replication.h"
#include "engine/replication_rep.h"
#include "engine/rollback.h"
#include "engine/snapshot_writer.h"

namespace cairn::engine {
namespace {

PendingRef Answered(Status status) {
  auto pending = std::make_shared<Pending>();
  pending->Set(std::move(status));
  return pending;
}

}  // namespace

Result<std::unique_ptr<Backfill>> Replication::OpenBackfill(Vbid vbucket, Seqno after) {
  return DiskBackfill::Open(core_, rep_->parts.merger, vbucket, after);
}

PendingRef Replication::Rollback(Vbid vbucket, Seqno to) {
  if (!persistent()) return Answered(Status(Code::kNotSupported, "this engine keeps nothing on disk"));
  if (vbucket.get() >= vbucket_count()) return Answered(Status(Code::kNotMyVbucket, "no such vbucket"));
  if (CAIRN_FAULT("plant.skip_rollback")) return Answered(Status::Ok());
  const ReplicationParts& parts = rep_->parts;
  auto done = std::make_shared<Pending>();
  auto rollback = std::make_shared<engine::Rollback>(
      engine::Rollback::Parts{parts.core, parts.flusher, parts.merger, parts.warmer, parts.snapshots},
      vbucket, to, done);
  parts.snapshots.Post([rollback] { return rollback->Step(); });
  // Without threads the round does it at once, but where the store fails.
  for (int round = 0; !parts.threads && round < 2 && !done->ready(); ++round) parts.snapshots.RunOnce();
  return done;
}

PendingRef Replication::BeginSnapshot(Vbid vbucket, Seqno start, Seqno end) {
  if (!persistent()) return Answered(Status(Code::kNotSupported, "this engine keeps nothing on disk"));
  if (vbucket.get() >= vbucket_count()) return Answered(Status(Code::kNotMyVbucket, "no such vbucket"));
  return rep_->parts.snapshots.Begin(vbucket, start, end);
}

Code Replication::ApplySnapshot(Vbid vbucket, std::span<const ItemRef> items) {
  if (vbucket.get() >= vbucket_count()) return Code::kNotMyVbucket;
  return rep_->parts.snapshots.Apply(vbucket, items);
}

Status Replication::EndSnapshot(Vbid vbucket, CheckpointId open) {
  if (vbucket.get() >= vbucket_count()) return Status(Code::kNotMyVbucket, "no such vbucket");
  return rep_->parts.snapshots.End(vbucket, open);
}

}  // namespace cairn::engine
