// The engine's face for vbuckets and operating.

#include <charconv>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/size.h"
#include "engine/engine.h"
#include "engine/engine_impl.h"
#include "engine/replication_hands.h"
#include "proto/meta_record.h"

namespace cairn::engine {
namespace {

Status NoSuchVbucket() { return Status(Code::kNotMyVbucket, "the vbucket does not exist here"); }

}  // namespace

Result<VbucketState> Engine::GetVbucketState(Vbid vbucket) const {
  if (vbucket.get() >= vbucket_count()) return NoSuchVbucket();
  const VBucket& vb = *impl_->core.vbuckets[vbucket.get()];
  MutexLock lock(vb.mutex);
  if (!vb.exists()) return NoSuchVbucket();
  return vb.state();
}

Status Engine::Impl::MakeVbucket(VBucket& vb) {
  {
    MutexLock lock(vb.mutex);
    if (vb.exists()) return Status::Ok();
  }
  MutexLock meta(core.meta_mutex);
  storage::LogBatch batch;
  CAIRN_RETURN_IF_ERROR(coordinator.RunExclusive([&] {
    MutexLock lock(vb.mutex);
    vb.Recreate(random.Next64());
    batch.meta_puts.emplace_back(proto::VbucketMetaName(vb.id()),
                                 proto::EncodeVbucketMeta(vb.id(), vb.MetaAt(vb.merged())));
  }));
  if (!core.store.present()) return Status::Ok();
  // Before anybody can write to it: recovery removes what it finds of a vbucket that is recorded as deleted.
  Status written = StoreGate::Access(core.store)->WriteLog(batch, true);
  if (written.ok()) return written;
  Effects fx;
  {
    MutexLock lock(vb.mutex);
    vb.Delete(fx);
  }
  core.Finish(vb, fx);
  core.report_store_failure();
  return written;
}

void Engine::SetVbucketState(Vbid vbucket, VbucketState state, Done done) {
  if (vbucket.get() >= vbucket_count()) {
    done(Status(Code::kOutOfRange, "there is no such vbucket"));
    return;
  }
  impl_->OnControl([this, vbucket, state, done = std::move(done)] {
    const ReplicationParts parts = impl_->ReplicationSide();
    Status changed = impl_->MakeVbucket(*impl_->core.vbuckets[vbucket.get()]);
    if (changed.ok()) {
      changed = state == VbucketState::kActive ? PromoteNow(parts, {vbucket}, {})
                                               : DemoteNow(parts, {vbucket}, state);
    }
    done(changed.ok() ? impl_->WaitDurable() : std::move(changed));
  });
}

Status Engine::Impl::DeleteNow(VBucket& vb) {
  MutexLock meta(core.meta_mutex);
  Effects fx;
  storage::LogBatch batch;
  Status refused;
  const Status ran = coordinator.RunExclusive([&] {
    MutexLock lock(vb.mutex);
    if (!vb.exists()) {
      refused = NoSuchVbucket();
    } else if (vb.state() != VbucketState::kDead) {
      refused = Status(Code::kNotSupported, "only a dead vbucket can be deleted");
    } else if (vb.applying()) {
      refused = Status(Code::kTmpFail, "its source's last snapshot is still being applied");
    } else {
      vb.Delete(fx);
      batch.meta_puts.emplace_back(proto::VbucketMetaName(vb.id()),
                                   proto::EncodeVbucketMeta(vb.id(), vb.MetaAt(vb.merged())));
    }
  });
  core.Finish(vb, fx);
  if (!ran.ok()) return ran;
  if (!refused.ok() || !core.store.present()) return refused;
  // The record first: a crash in between finds the vbucket deleted and drops the rest again.
  StoreGate::Access store(core.store);
  CAIRN_RETURN_IF_ERROR(store->WriteLog(batch, true));
  return store->DropVbucket(vb.id());
}

void Engine::DeleteVbucket(Vbid vbucket, Done done) {
  if (vbucket.get() >= vbucket_count()) {
    done(Status(Code::kOutOfRange, "there is no such vbucket"));
    return;
  }
  impl_->OnControl([this, vbucket, done = std::move(done)] {
    Status deleted;
    // A pass of the merge that has read the vbucket's log must not write it to data afterwards.
    impl_->merger.BetweenPasses([&] { deleted = impl_->DeleteNow(*impl_->core.vbuckets[vbucket.get()]); });
    done(std::move(deleted));
  });
}

Result<CheckpointId> Engine::CreateCheckpoint(Vbid vbucket) {
  if (vbucket.get() >= vbucket_count()) return NoSuchVbucket();
  VBucket& vb = *impl_->core.vbuckets[vbucket.get()];
  const OpTime now = impl_->core.Now();
  Effects fx;
  CheckpointId id;
  {
    MutexLock lock(vb.mutex);
    if (!vb.exists() || vb.state() != VbucketState::kActive) return NoSuchVbucket();
    vb.Enter(impl_->core.CurrentPhase(), now, fx);
    vb.CloseCheckpoint(now, fx);
    id = vb.checkpoints().open_checkpoint().id;
  }
  impl_->core.Finish(vb, fx);
  return id;
}

Result<CheckpointId> Engine::LastClosedCheckpoint(Vbid vbucket) const {
  if (vbucket.get() >= vbucket_count()) return NoSuchVbucket();
  const VBucket& vb = *impl_->core.vbuckets[vbucket.get()];
  MutexLock lock(vb.mutex);
  if (!vb.exists()) return NoSuchVbucket();
  return vb.last_persisted_checkpoint();
}

std::vector<std::pair<Vbid, Seqno>> Engine::HighSeqnos(std::optional<VbucketState> state) const {
  std::vector<std::pair<Vbid, Seqno>> seqnos;
  for (const auto& vb : impl_->core.vbuckets) {
    MutexLock lock(vb->mutex);
    if (!vb->exists() || (state && vb->state() != *state)) continue;
    seqnos.emplace_back(vb->id(), vb->high_seqno());
  }
  return seqnos;
}

Status Engine::StopPersistence() {
  if (!impl_->core.store.present()) return Status(Code::kNotSupported, "this engine keeps nothing on disk");
  impl_->flusher.SetPaused(true);
  return Status::Ok();
}

Status Engine::StartPersistence() {
  if (!impl_->core.store.present()) return Status(Code::kNotSupported, "this engine keeps nothing on disk");
  impl_->flusher.SetPaused(false);
  return Status::Ok();
}

Status Engine::SetParam(std::string_view name, std::string_view value) {
  if (name == "durability") {
    const std::optional<DurabilityLevel> level = DurabilityLevelOf(value);
    if (!level) return Status(Code::kInvalidArgument, "there is no such level of durability");
    return SetDurability(*level);
  }
  CAIRN_ASSIGN_OR_RETURN(const uint64_t number, ParseSize(value));
  if (name == "memory_quota") {
    if (number < (uint64_t{1} << 20)) return Status(Code::kOutOfRange, "memory_quota: at least 1 MiB");
    impl_->core.memory.Set(ThresholdsOf(impl_->core.options, number));
    return Status::Ok();
  }
  if (name == "expiry_pager_interval_ms") {
    if (number < 10 || number > 86'400'000)
      return Status(Code::kOutOfRange, "expiry_pager_interval_ms: 10 ms to a day");
    impl_->pager.SetExpiryInterval(static_cast<uint32_t>(number));
    impl_->pager.KickExpiry();
    return Status::Ok();
  }
  return Status(Code::kInvalidArgument, "there is no such parameter");
}

Status Engine::CompactStore() {
  if (!impl_->core.store.present()) return Status(Code::kNotSupported, "this engine keeps nothing on disk");
  return StoreGate::Access(impl_->core.store)->Compact();
}

Result<Engine::DumpPage> Engine::DumpItems(std::string_view position, size_t items_max) {
  uint32_t vbucket = 0;
  hashtable::VisitCursor cursor;
  if (!position.empty()) {
    const size_t colon = position.find(':');
    const char* begin = position.data();
    const char* end = begin + position.size();
    if (colon == std::string_view::npos || std::from_chars(begin, begin + colon, vbucket).ec != std::errc() ||
        std::from_chars(begin + colon + 1, end, cursor.next_hash).ec != std::errc()) {
      return Status(Code::kInvalidArgument, "not a position of a dump");
    }
  }
  DumpPage page;
  const OpTime now = impl_->core.Now();
  while (vbucket < vbucket_count() && page.items.size() < items_max) {
    VBucket& vb = *impl_->core.vbuckets[vbucket];
    Effects fx;
    bool more = false;
    bool readable = false;
    {
      MutexLock lock(vb.mutex);
      vb.Enter(impl_->core.CurrentPhase(), now, fx);
      readable = !vb.undoing() && vb.warm();
      if (readable && vb.exists() && vb.state() == VbucketState::kActive) {
        more = vb.CollectSome(cursor, items_max - page.items.size(), now, &page.items);
      }
    }
    impl_->core.Finish(vb, fx);
    if (!readable) {
      return Status(Code::kTmpFail, "not while warming up or while an online update is being reverted");
    }
    if (more) continue;
    ++vbucket;
    cursor = {};
  }
  if (vbucket < vbucket_count())
    page.position = std::to_string(vbucket) + ":" + std::to_string(cursor.next_hash);
  return page;
}

}  // namespace cairn::engine
