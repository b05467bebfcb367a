#include "engine/rollback.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "proto/disk_record.h"
#include "proto/meta_record.h"

namespace cairn::engine {

Rollback::~Rollback() {
  if (done_ != nullptr) done_->Set(Status(Code::kCancelled, "the engine is being closed"));
}

bool Rollback::End(Status status) {
  std::exchange(done_, nullptr)->Set(std::move(status));
  return true;
}

bool Rollback::EndEmptied() {
  parts_.snapshots.Empty(vbucket_, std::exchange(done_, nullptr), held_);
  return true;
}

Result<bool> Rollback::Step() {
  if (!held_ && !Hold()) return done_ == nullptr;
  Status status;
  if (!replaced_) {
    const Result<std::optional<Point>> point = Choose();
    if (point.ok() && !point.value()) return EndEmptied();
    status = point.ok() ? Rebuild(*point.value()) : point.status();
  }
  if (status.ok()) status = Cut();
  if (status.ok()) return End(Status::Ok());
  // What cannot be read cannot be rebuilt; INVALID_ARGUMENT: it is too much to be cut in one write.
  if (status == Code::kCorruption || status == Code::kInvalidArgument) {
    CAIRN_LOG(kError, "vbucket {}: cannot be rolled back, so it is emptied: {}", vbucket_.get(),
              status.ToString());
    return EndEmptied();
  }
  return Status(status.code(),
                "vbucket " + std::to_string(vbucket_.get()) + ": " + std::string(status.message()));
}

bool Rollback::Hold() {
  {
    MutexLock lock(vb().mutex);
    if (!vb().exists() || !vb().is_replica()) {
      End(Status(Code::kNotMyVbucket, "the vbucket is not a replica here"));
      return false;
    }
    if (vb().log_held() || vb().busy()) return false;  // soon
    if (!vb().in_snapshot() && to_ != Seqno()) {
      vb().HoldLog();
      held_ = true;
    }
  }
  if (!held_) {
    EndEmptied();
    return false;
  }
  parts_.flusher.Forget({&vbucket_, 1});
  return true;
}

Status Rollback::NoteCut(const Item& item) {
  if (!item.is_marker()) return Status::Ok();
  CAIRN_ASSIGN_OR_RETURN(const proto::Marker marker, proto::DecodeMarker(item.value()));
  if (marker.type != proto::MarkerType::kOnlineUpdateRevert &&
      marker.type != proto::MarkerType::kOnlineUpdateComplete) {
    return Status::Ok();
  }
  MutexLock lock(vb().mutex);
  if (vb().last_update().id == marker.update) last_update_cut_ = true;
  // Its window was open at the point, and data is behind the window's start: it could not be taken back.
  if (marker.start < vb().merged()) cannot_ = true;
  return Status::Ok();
}

Result<std::optional<Rollback::Point>> Rollback::Choose() {
  Point point;
  {
    MutexLock lock(vb().mutex);
    point.seqno = vb().merged();
    point.open = vb().last_persisted_checkpoint() + 1;
  }
  const std::optional<Point> nowhere;
  if (point.seqno > to_) return nowhere;
  std::optional<Point> last;  // of the records up to to_, and its checkpoint
  bool behind = false;        // some of the log is cut
  StoreGate::Access store(core_.store);
  const auto it = store->ReadLog(vbucket_, point.seqno + 1, Seqno(kSeqnoMax));
  for (; it->Valid(); it->Next()) {
    const Seqno seqno = it->log_key().seqno;
    CAIRN_ASSIGN_OR_RETURN(const proto::LogRecord record,
                           proto::DecodeLogRecord(vbucket_, seqno, it->record()));
    if (!behind) {
      if (!last) {
        point.open = record.checkpoint;  // in case the merged cut is the point
      } else if (record.checkpoint != last->open) {
        point = {last->seqno, last->open + 1};
      }
    }
    behind = seqno > to_;
    if (behind) {
      CAIRN_RETURN_IF_ERROR(NoteCut(*record.item));
    } else {
      last = Point{seqno, record.checkpoint};
    }
  }
  CAIRN_RETURN_IF_ERROR(it->status());
  if (last && !behind) point = *last;  // the log's end
  if (cannot_) return nowhere;
  if (!parts_.merger.stable(vbucket_)) {
    CAIRN_ASSIGN_OR_RETURN(const bool below, DataIsBelow(*store, point.seqno));
    if (!below) return nowhere;
  }
  return std::optional<Point>(point);
}

Result<bool> Rollback::DataIsBelow(storage::KvStore& store, Seqno point) {
  const auto it = store.ReadData(vbucket_, {});
  for (; it->Valid(); it->Next()) {
    CAIRN_ASSIGN_OR_RETURN(const ItemRef item,
                           proto::DecodeDataRecord(vbucket_, it->data_key(), it->record()));
    if (item->seqno() > point) return false;
  }
  CAIRN_RETURN_IF_ERROR(it->status());
  return true;
}

proto::VbucketMeta Rollback::RecordAt(const Point& point) const {
  MutexLock lock(vb().mutex);
  proto::VbucketMeta meta = vb().MetaAt(vb().merged());
  meta.high_seqno = point.seqno;
  meta.open_checkpoint = point.open;
  std::erase_if(meta.failover_log, [&](const proto::FailoverEntry& e) { return e.seqno > point.seqno; });
  // The marker that voids a range stands behind it. Where that is gone, the window is open again.
  std::erase_if(meta.void_ranges, [&](const proto::VoidRange& r) { return r.end >= point.seqno; });
  if (last_update_cut_) meta.last_update = {};
  if (vb().high_seqno() > point.seqno) meta.regain = std::max(meta.regain, vb().high_seqno());
  return meta;
}

Status Rollback::Replay(const Point& point, VBucket& fresh) {
  const proto::VbucketMeta record_at = RecordAt(point);
  StoreGate::Access store(core_.store);
  MutexLock lock(fresh.mutex);  // nobody else knows it
  fresh.Restore(record_at);
  fresh.SetCold();
  const auto it = store->ReadLog(vbucket_, fresh.merged() + 1, point.seqno);
  for (; it->Valid(); it->Next()) {
    const Seqno seqno = it->log_key().seqno;
    CAIRN_ASSIGN_OR_RETURN(proto::LogRecord record, proto::DecodeLogRecord(vbucket_, seqno, it->record()));
    CAIRN_RETURN_IF_ERROR(fresh.Replay(std::move(record.item), record.checkpoint));
    fresh.CountLogged(seqno, it->record().size() + 16);
  }
  CAIRN_RETURN_IF_ERROR(it->status());
  fresh.OpenSequence(true, 0, core_.Now());
  return Status::Ok();
}

// Memory goes first: whoever writes the vbucket's record from now on writes that of the point. A crash before
// the log is cut finds the log as it was.
Status Rollback::Rebuild(const Point& point) {
  VBucket fresh(vb().options());
  Status replayed = Replay(point, fresh);
  Effects fx;
  {
    MutexLock lock(vb().mutex);
    MutexLock fresh_lock(fresh.mutex);
    if (replayed.ok() && vb().exists()) {
      vb().ReplaceContent(fresh, fx);
      vb().HoldLog();
    }
    fresh.ForgetMemory();
  }
  core_.Finish(vb(), fx);
  CAIRN_RETURN_IF_ERROR(std::move(replayed));
  replaced_ = true;
  at_ = point.seqno;
  parts_.warmer.Load(vbucket_);
  return Status::Ok();
}

Status Rollback::Cut() {
  {
    MutexLock records(core_.meta_mutex);
    storage::LogBatch batch;
    {
      MutexLock lock(vb().mutex);
      if (!vb().exists()) return Status::Ok();  // deleted meanwhile
      batch.meta_puts.emplace_back(proto::VbucketMetaName(vbucket_),
                                   proto::EncodeVbucketMeta(vbucket_, vb().MetaAt(vb().merged())));
    }
    batch.log_cuts.emplace_back(vbucket_, at_);
    CAIRN_CRASH_POINT("rollback.before_cut");
    CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->WriteLog(batch, true));
    CAIRN_CRASH_POINT("rollback.after_cut");
  }
  Effects fx;
  {
    MutexLock lock(vb().mutex);
    vb().CancelHold(fx);
  }
  core_.Finish(vb(), fx);
  core_.unmerged_bytes.fetch_add(1, std::memory_order_relaxed);
  CAIRN_LOG(kInfo, "vbucket {}: rolled back to {}", vbucket_.get(), at_.get());
  return Status::Ok();
}

}  // namespace cairn::engine
