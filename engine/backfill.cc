#include "engine/backfill.h"

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "proto/disk_record.h"

namespace cairn::engine {
namespace {

// One turn looks at so many records of data at most, be they old enough to be left out or not.
constexpr size_t kRecordsPerTurn = 16'384;

/// Where the operation behind `seqno` is, or will be.
CheckpointId CheckpointInMemory(const checkpoint::CheckpointManager& checkpoints, Seqno seqno) {
  for (const checkpoint::CheckpointInfo& info : checkpoints.checkpoints()) {
    if (info.last > seqno) return info.id;
  }
  return checkpoints.open_checkpoint().id;
}

}  // namespace

DiskBackfill::DiskBackfill(Core& core, Merger& merger, Vbid vbucket, Seqno after)
    : core_(core), merger_(merger), vbucket_(vbucket), after_(after), position_(after) {}

DiskBackfill::~DiskBackfill() {
  if (held_) merger_.DropLogHold(vbucket_, hold_);
  if (data_ == nullptr) return;
  const StoreGate::Access store(core_.store);
  data_->iterator.reset();
}

Result<std::unique_ptr<Backfill>> DiskBackfill::Open(Core& core, Merger& merger, Vbid vbucket, Seqno after) {
  if (!core.store.present()) return Status(Code::kNotSupported, "this engine keeps nothing on disk");
  if (vbucket.get() >= core.vbuckets.size()) return Status(Code::kNotMyVbucket, "there is no such vbucket");
  std::unique_ptr<DiskBackfill> backfill(new DiskBackfill(core, merger, vbucket, after));
  CAIRN_RETURN_IF_ERROR(backfill->Begin());
  return std::unique_ptr<Backfill>(std::move(backfill));
}

Status DiskBackfill::Begin() {
  {
    MutexLock lock(vb().mutex);
    if (!vb().exists()) return Status(Code::kNotMyVbucket, "the vbucket does not exist here");
    if (vb().in_snapshot() || vb().log_held()) return Status(Code::kBusy, "its data is being replaced");
    if (after_ != Seqno() && after_ < vb().purged()) {
      return Status(Code::kOutOfRange, "deletions behind there are not known any more");
    }
    content_ = vb().content();
  }
  hold_ = after_;
  held_ = merger_.HoldLog(vbucket_, after_);
  return held_ ? Status::Ok() : BeginData();
}

Status DiskBackfill::BeginData() {
  const StoreGate::Access store(core_.store);
  held_ = merger_.WithStableData(vbucket_, [&](Seqno merged) {
    data_end_ = hold_ = merged;
    data_ = core_.store.Keep(store->ReadData(vbucket_, {}));
  });
  if (!held_) {
    // A pass that could go on once has reached its bound before; now it may go further.
    core_.unmerged_bytes.fetch_add(1, std::memory_order_relaxed);
    merger_.Kick();
    return Status(Code::kBusy, "its data is just being merged");
  }
  CAIRN_RETURN_IF_ERROR(data_->iterator->status());
  has_data_ = true;
  stage_ = Stage::kData;
  CAIRN_RETURN_IF_ERROR(FindDataCheckpoint(store));
  MutexLock lock(vb().mutex);
  if (vb().content() != content_ || vb().in_snapshot()) {
    return Status(Code::kBusy, "its data is being replaced");
  }
  records_left_ = vb().live_items();
  for (const proto::VoidRange& range : vb().void_ranges()) {
    if (range.start < data_end_ && range.end > data_end_) left_out_.push_back(range);
  }
  return Status::Ok();
}

Result<Backfill::Chunk> DiskBackfill::Next(size_t bytes_max) {
  {
    MutexLock lock(vb().mutex);
    if (!vb().exists() || vb().content() != content_ || vb().in_snapshot()) {
      return Status(Code::kCancelled, "the vbucket's content was replaced");
    }
  }
  switch (stage_) {
    case Stage::kData:
      return NextData(bytes_max);
    case Stage::kLog:
      return NextLog(bytes_max);
    case Stage::kEnd:
      break;
  }
  return Chunk{};
}

Result<Backfill::Chunk> DiskBackfill::NextData(size_t bytes_max) {
  Chunk chunk;
  chunk.kind = Kind::kData;
  chunk.checkpoint = data_checkpoint_;
  chunk.start = after_;
  chunk.end = data_end_;
  merger_.PutOff();
  {
    const StoreGate::Access store(core_.store);
    storage::Iterator* const it = data_->iterator.get();
    if (it == nullptr) return Status(Code::kTmpFail, "the store was reopened");
    for (size_t looked = 0; it->Valid() && chunk.bytes < bytes_max && looked < kRecordsPerTurn; it->Next()) {
      ++looked;
      const bool lose = after_ == Seqno() || CAIRN_FAULT("plant.lose_tombstone");
      if (lose && proto::DataTombstone(it->record())) continue;  // nothing to be deleted there
      CAIRN_ASSIGN_OR_RETURN(ItemRef item, proto::DecodeDataRecord(vbucket_, it->data_key(), it->record()));
      if (item->seqno() <= after_ || item->seqno() > data_end_) continue;
      chunk.bytes += item->allocated_bytes();
      chunk.items.push_back(std::move(item));
    }
    CAIRN_RETURN_IF_ERROR(it->status());
    records_left_ -= std::min<uint64_t>(records_left_, chunk.items.size());
    chunk.ends_part = !it->Valid();
    if (chunk.ends_part) data_->iterator.reset();
  }
  if (chunk.ends_part) {
    records_left_ = 0;
    stage_ = Stage::kLog;
    position_ = data_end_;
  }
  return chunk;
}

void DiskBackfill::LookAtLog() {
  MutexLock lock(vb().mutex);
  looked_ = true;
  log_end_ = std::max(position_, vb().persisted_through());
  behind_log_ = CheckpointInMemory(vb().checkpoints(), log_end_);
}

Status DiskBackfill::FindDataCheckpoint(const StoreGate::Access& store) {
  Seqno persisted;
  {
    MutexLock lock(vb().mutex);
    persisted = vb().persisted();
    data_checkpoint_ = CheckpointInMemory(vb().checkpoints(), data_end_);
  }
  // What memory has released lies in the log.
  const auto it = store->ReadLog(vbucket_, data_end_ + 1, persisted);
  if (it->Valid()) {
    CAIRN_ASSIGN_OR_RETURN(const proto::LogRecord record,
                           proto::DecodeLogRecord(vbucket_, it->log_key().seqno, it->record()));
    data_checkpoint_ = record.checkpoint;
  }
  return it->status();
}

bool DiskBackfill::LeftOut(Seqno seqno) const {
  return std::any_of(left_out_.begin(), left_out_.end(), [seqno](const proto::VoidRange& range) {
    return seqno > range.start && seqno <= range.end;
  });
}

void DiskBackfill::AddPending(ItemRef item) {
  if (item->is_marker()) {
    newest_.clear();  // what a marker cuts off stays
    pending_.push_back(std::move(item));
    return;
  }
  const auto [known, added] = newest_.try_emplace(item->key(), pending_.size());
  if (!added) {
    // The map's key lies in the item that goes.
    ItemRef superseded = std::exchange(pending_[known->second], nullptr);
    newest_.erase(known);
    newest_.emplace(item->key(), pending_.size());
  }
  pending_.push_back(std::move(item));
}

Status DiskBackfill::ReadCheckpoint() {
  pending_.clear();
  newest_.clear();
  pending_at_ = 0;
  has_pending_ = true;
  pending_checkpoint_ = behind_log_;
  pending_end_ = log_end_;
  const StoreGate::Access store(core_.store);
  const auto it = store->ReadLog(vbucket_, position_ + 1, log_end_);
  bool any = false;
  Seqno last;
  for (; it->Valid(); it->Next()) {
    const Seqno seqno = it->log_key().seqno;
    CAIRN_ASSIGN_OR_RETURN(proto::LogRecord record, proto::DecodeLogRecord(vbucket_, seqno, it->record()));
    if (any && record.checkpoint != pending_checkpoint_) {
      pending_end_ = last;
      break;
    }
    any = true;
    pending_checkpoint_ = record.checkpoint;
    last = seqno;
    if (record.item->is_marker() || !LeftOut(seqno)) AddPending(std::move(record.item));
  }
  newest_.clear();
  return it->status();
}

Result<Backfill::Chunk> DiskBackfill::NextLog(size_t bytes_max) {
  if (!looked_) LookAtLog();
  if (!has_pending_ && position_ < log_end_) CAIRN_RETURN_IF_ERROR(ReadCheckpoint());
  Chunk chunk;
  if (position_ >= log_end_) {
    stage_ = Stage::kEnd;
    return chunk;
  }
  chunk.kind = Kind::kLog;
  chunk.checkpoint = pending_checkpoint_;
  chunk.start = position_;
  chunk.end = pending_end_;
  for (; pending_at_ < pending_.size() && chunk.bytes < bytes_max; ++pending_at_) {
    ItemRef& item = pending_[pending_at_];
    if (!item) continue;
    chunk.bytes += item->allocated_bytes();
    chunk.items.push_back(std::move(item));
  }
  // The last item is never superseded, so nothing but nulls left does not happen in the middle.
  chunk.ends_part = pending_at_ == pending_.size();
  if (chunk.ends_part) {
    position_ = pending_end_;
    has_pending_ = false;
    pending_.clear();
  }
  return chunk;
}

}  // namespace cairn::engine
