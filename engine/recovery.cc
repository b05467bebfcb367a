#include "engine/recovery.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "engine/record_writer.h"
#include "proto/disk_record.h"

namespace cairn::engine {
namespace {

Status LoadIdentity(Core& core, Random& random, RecoveredState* state) {
  StoreGate::Access store(core.store);
  const Result<std::string> record = store->GetMeta(proto::kEngineMetaName);
  if (record.code() == Code::kNotFound) {
    state->fresh = true;
    state->identity.uuid = RandomUuid(random);
    state->identity.vbucket_count = core.options.vbuckets;
  } else {
    if (!record.ok()) return record.status();
    CAIRN_ASSIGN_OR_RETURN(state->identity, proto::DecodeEngineMeta(record.value()));
    if (state->identity.vbucket_count != core.options.vbuckets) {
      return Status(Code::kInvalidArgument, "the data directory was made with " +
                                                std::to_string(state->identity.vbucket_count) +
                                                " vbuckets, not " + std::to_string(core.options.vbuckets));
    }
    state->clean = state->identity.clean;
  }
  state->identity.clean = false;
  ++state->identity.epoch;
  storage::LogBatch batch;
  batch.meta_puts.emplace_back(proto::kEngineMetaName, proto::EncodeEngineMeta(state->identity));
  return store->WriteLog(batch, true);
}

Status RestoreVbuckets(Core& core) {
  StoreGate::Access store(core.store);
  CAIRN_ASSIGN_OR_RETURN(const auto records, store->ScanMeta(proto::kVbucketMetaPrefix));
  for (const auto& [name, record] : records) {
    const unsigned long number = std::stoul(name.substr(proto::kVbucketMetaPrefix.size()));
    if (number >= core.vbuckets.size()) return Status(Code::kCorruption, "no such vbucket: " + name);
    const Vbid vbucket(static_cast<uint16_t>(number));
    CAIRN_ASSIGN_OR_RETURN(const proto::VbucketMeta meta, proto::DecodeVbucketMeta(vbucket, record));
    VBucket& vb = *core.vbuckets[number];
    MutexLock lock(vb.mutex);
    vb.Restore(meta);
  }
  return Status::Ok();
}

Status ReplayLog(Core& core, VBucket& vb, uint64_t* replayed) {
  StoreGate::Access store(core.store);
  MutexLock lock(vb.mutex);
  // Its deletion may have been cut short, or the emptying for a disk snapshot, or that itself.
  if (!vb.exists() || (vb.in_snapshot() && vb.snapshot_start() == Seqno())) {
    return store->DropVbucket(vb.id());
  }
  vb.SetCold();
  store->ReleaseLog(vb.id(), vb.merged());
  store->ReleaseTombstones(vb.id(), vb.purged());
  const auto it = store->ReadLog(vb.id(), vb.merged() + 1, Seqno(kSeqnoMax));
  for (; it->Valid(); it->Next()) {
    CAIRN_ASSIGN_OR_RETURN(proto::LogRecord record,
                           proto::DecodeLogRecord(vb.id(), it->log_key().seqno, it->record()));
    CAIRN_RETURN_IF_ERROR(vb.Replay(std::move(record.item), record.checkpoint));
    vb.CountLogged(it->log_key().seqno, it->record().size() + 16);
    core.unmerged_bytes.fetch_add(it->record().size() + 16, std::memory_order_relaxed);
    ++*replayed;
  }
  return it->status();
}

Status LoadUpdates(Core& core, RecoveredState* state) {
  StoreGate::Access store(core.store);
  CAIRN_ASSIGN_OR_RETURN(const auto records, store->ScanMeta(proto::kUpdateHistoryPrefix));
  for (const auto& [name, record] : records) {
    CAIRN_ASSIGN_OR_RETURN(proto::UpdateMeta meta, proto::DecodeUpdateMeta(name, record));
    state->history.push_back(std::move(meta));
  }
  std::sort(state->history.begin(), state->history.end(),
            [](const auto& a, const auto& b) { return a.number > b.number; });
  const Result<std::string> current = store->GetMeta(proto::kUpdateCurrentName);
  if (current.code() == Code::kNotFound) return Status::Ok();
  if (!current.ok()) return current.status();
  CAIRN_ASSIGN_OR_RETURN(state->update, proto::DecodeUpdateMeta(proto::kUpdateCurrentName, current.value()));
  return Status::Ok();
}

/// What becomes of the windows found: kept open, or ended as decided.
enum class Fate : uint8_t { kKeep, kCommit, kRevert };

Fate FateOf(Core& core, const RecoveredState& state) {
  // A window without a record: START was never answered, nobody may rely on being able to revert.
  if (!state.update) return Fate::kCommit;
  if (state.update->state == proto::UpdateState::kCommitted) return Fate::kCommit;
  if (state.update->state == proto::UpdateState::kReverted) return Fate::kRevert;
  for (const auto& vb : core.vbuckets) {
    MutexLock lock(vb->mutex);
    if (!vb->exists() || vb->is_replica()) continue;
    // Who has no window had none when the update was found at a promotion, or has ended it: by a START that
    // failed late, which ends windows like a COMPLETE.
    const bool open = vb->window() && vb->window()->id == state.update->id;
    if (!open && vb->last_update().id == state.update->id) return Fate::kCommit;
  }
  return Fate::kKeep;
}

/// Ends every window but those of replicas, which their source ends; with `revert` those of `update` are
/// taken back. A window of another id belongs to a START behind that decision which was never answered, so
/// nothing of it may be taken back.
void EndWindows(Core& core, const std::optional<proto::UpdateMeta>& update, bool revert) {
  for (const auto& vb : core.vbuckets) {
    Effects fx;
    MutexLock lock(vb->mutex);
    if (!vb->exists() || !vb->window() || vb->is_replica()) continue;
    // Nor does anybody here know what a dead one's source has decided.
    if (vb->state() == VbucketState::kDead && (!update || vb->window()->id != update->id)) continue;
    const bool commit = !revert || vb->window()->id != update->id;
    vb->EndWindow(commit, core.clock->WallNs(), core.Now(), fx);
    while (!vb->RevertSome(4096, fx)) {
    }
    vb->FinishRevert();
    if (fx.dirty) core.hand_to_flusher(vb->id());
    fx.dirty = false;
  }
}

Status DecideRevert(Core& core, proto::UpdateMeta* update) {
  update->state = proto::UpdateState::kReverted;
  update->decided_ns = core.clock->WallNs();
  for (const auto& vb : core.vbuckets) {
    MutexLock lock(vb->mutex);
    if (!vb->window() || vb->is_replica()) continue;
    update->keys_added += vb->window()->added;
    update->keys_updated += vb->window()->updated;
    update->keys_deleted += vb->window()->deleted;
    update->window_bytes += vb->window()->bytes;
  }
  storage::LogBatch batch;
  batch.meta_puts.emplace_back(proto::kUpdateCurrentName,
                               proto::EncodeUpdateMeta(proto::kUpdateCurrentName, *update));
  return StoreGate::Access(core.store)->WriteLog(batch, true);
}

Status WriteVbucketMetas(Core& core) {
  RecordWriter records(core);
  for (const auto& vb : core.vbuckets) {
    proto::VbucketMeta meta;
    {
      MutexLock lock(vb->mutex);
      meta = vb->MetaAt(vb->merged());
    }
    CAIRN_RETURN_IF_ERROR(records.Add(vb->id(), meta));
  }
  return records.Finish();
}

}  // namespace

Result<RecoveredState> Recover(Core& core, Random& random) {
  RecoveredState state;
  CAIRN_RETURN_IF_ERROR(LoadIdentity(core, random, &state));
  CAIRN_RETURN_IF_ERROR(RestoreVbuckets(core));
  CAIRN_RETURN_IF_ERROR(LoadUpdates(core, &state));
  for (const auto& vb : core.vbuckets) {
    if (!state.fresh) CAIRN_RETURN_IF_ERROR(ReplayLog(core, *vb, &state.replayed));
    MutexLock lock(vb->mutex);
    vb->OpenSequence(state.clean || state.fresh, random.Next64(), core.Now());
  }
  core.warm.store(state.fresh, std::memory_order_release);
  // The new branch of history, and how far seqnos and CAS have jumped, are durable before the first write.
  if (!state.clean || state.fresh) CAIRN_RETURN_IF_ERROR(WriteVbucketMetas(core));
  CAIRN_CRASH_POINT("recovery.before_update");

  Fate fate = FateOf(core, state);
  if (fate == Fate::kKeep) {
    if (core.options.update_on_restart == OnRestart::kResume) return state;
    // Decided now, and like every decision carried to its end before traffic.
    CAIRN_RETURN_IF_ERROR(DecideRevert(core, &*state.update));
    fate = Fate::kRevert;
  }
  EndWindows(core, state.update, fate == Fate::kRevert);
  state.close_update = true;
  return state;
}

Status CloseDecidedUpdate(Core& core, RecoveredState* state) {
  if (!state->update) return Status::Ok();
  const proto::UpdateMeta ended = *state->update;
  state->update.reset();
  storage::LogBatch batch;
  // One that is still OPEN here was a START that failed: there is nothing to remember.
  if (ended.state != proto::UpdateState::kOpen) {
    const std::string name = proto::UpdateHistoryName(ended.number % proto::kUpdateHistoryMax);
    batch.meta_puts.emplace_back(name, proto::EncodeUpdateMeta(name, ended));
    const auto same = [&](const proto::UpdateMeta& m) { return m.id == ended.id; };
    if (std::none_of(state->history.begin(), state->history.end(), same)) {
      state->history.insert(state->history.begin(), ended);
    }
  }
  batch.meta_deletes.emplace_back(proto::kUpdateCurrentName);
  return StoreGate::Access(core.store)->WriteLog(batch, true);
}

Status MarkClean(Core& core, const proto::EngineMeta& identity) {
  proto::EngineMeta clean = identity;
  clean.clean = true;
  storage::LogBatch batch;
  batch.meta_puts.emplace_back(proto::kEngineMetaName, proto::EncodeEngineMeta(clean));
  return StoreGate::Access(core.store)->WriteLog(batch, true);
}

}  // namespace cairn::engine
