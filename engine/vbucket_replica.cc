// A vbucket as a replica: applying what its source sends, and what streams read of any vbucket's sequence.

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/key.h"
#include "engine/vbucket.h"

namespace cairn::engine {
namespace {

// While a window keeps the merge at its start, ends gather behind it; it is enough to know some of them.
constexpr size_t kCheckpointEndsMax = 1024;

/// For tests: the item with one bit of its value turned over.
ItemRef Damaged(const Item& item) {
  std::string value(item.value());
  value[0] = static_cast<char>(value[0] ^ 1);
  return Item::NewValue(item.key(), value, item.meta());
}

}  // namespace

// --- applying ---

Code VBucket::BeginApply(const ApplyBegin& begin, const OpTime& now, Effects& fx) {
  if (!exists_ || state_ != VbucketState::kReplica || in_snapshot()) return Code::kNotMyVbucket;
  // Keys are put back by whoever decided so, before it was made a replica; that ends soon.
  if (promoting_ || undoing_ || log_held_) return Code::kWouldBlock;
  const CheckpointId open = checkpoints_->open_checkpoint().id;
  if (begin.start > high_seqno() || begin.first < std::max(high_seqno() + 1, checkpoints_->next_seqno()) ||
      begin.checkpoint < open) {
    return Code::kOutOfRange;
  }
  CAIRN_CHECK(!applying_);
  passed_ = high_seqno();
  if (begin.checkpoint > open) {
    // Its end was not told (it was read from the source's log), but a later one begins.
    NoteCheckpointEnd(passed_);
    const Status opened = checkpoints_->OpenNext(begin.checkpoint, EndDigest(), now.steady_ns);
    CAIRN_CHECK(opened.ok());
    Announce(fx);
  }
  applying_ = true;
  return Code::kOk;
}

size_t VBucket::ApplySlice(std::span<const ItemRef> operations, const OpTime& now, Effects& fx) {
  CAIRN_CHECK(applying_ && !undoing_);
  size_t done = 0;
  while (done < operations.size() && !undoing_) {
    const ItemRef& item = operations[done++];
    if (item->is_marker()) {
      ApplyMarker(item, now, fx);
    } else if (CAIRN_FAULT("replica.flip_byte") && item->is_value() && item->value_size() > 0) {
      ApplyOperation(Damaged(*item), now, fx);
    } else {
      ApplyOperation(item, now, fx);
    }
  }
  Account();
  return done;
}

void VBucket::ApplyOperation(const ItemRef& item, const OpTime& now, Effects& fx) {
  const hashtable::HashedKey key = Hash(item->key());
  Item* old = table_.Find(key);
  if (window_) RecordPreimage(key, old, *item);
  const Seqno replaced = old == nullptr ? Seqno() : old->seqno();
  max_cas_ = std::max(max_cas_, item->cas());
  fx.Drop(old == nullptr ? table_.Put(key, item) : table_.Replace(key, old, item));
  if (item->is_deleted()) tombstones_.push_back(item);
  const Status appended = checkpoints_->AppendAt(item, replaced, now.steady_ns, fx.trash);
  CAIRN_CHECK(appended.ok());
}

void VBucket::ApplyMarker(const ItemRef& item, const OpTime& now, Effects& fx) {
  const Status appended = checkpoints_->AppendAt(item, Seqno(), now.steady_ns, fx.trash);
  CAIRN_CHECK(appended.ok());
  const Result<proto::Marker> parsed = proto::DecodeMarker(item->value());
  CAIRN_CHECK(parsed.ok());
  const proto::Marker& marker = parsed.value();
  switch (marker.type) {
    case proto::MarkerType::kOnlineUpdateStart:
    case proto::MarkerType::kOnlineUpdateComplete:
    case proto::MarkerType::kOnlineUpdateRevert:
      FollowUpdate(marker, fx);
      break;
    case proto::MarkerType::kFlush:
      // Everything up to it is gone for readers; the deletions follow as operations.
      flush_seqno_ = item->seqno();
      flush_cursor_ = {};
      if (flush_hold_ == Seqno()) flush_hold_ = flush_seqno_;
      flush_end_ = Seqno();
      break;
    case proto::MarkerType::kFlushEnd:
      flush_seqno_ = Seqno();
      if (flush_hold_ != Seqno()) flush_end_ = item->seqno();
      break;
    case proto::MarkerType::kSetVbucketState:  // the source's, not ours
    case proto::MarkerType::kRestoreCommit:
      break;
  }
}

// The end of a window may be seen that ended before the data that this replica began with: then it is an
// operation like others, which tells how that update was decided.
void VBucket::FollowUpdate(const proto::Marker& marker, Effects& fx) {
  if (marker.type == proto::MarkerType::kOnlineUpdateStart) {
    if (window_) {
      // No source opens a window in another one.
      mismatch_ = mismatch_ || window_->id != marker.update;
      return;
    }
    // Still with the pre-images of a window that a client's decision has just ended: they go first.
    if (preimages_) fx.preimages = std::move(preimages_);
    if (warm_ && table_.digest() != marker.digest) mismatch_ = true;
    OpenWindow(marker);
    return;
  }
  const bool commit = marker.type == proto::MarkerType::kOnlineUpdateComplete;
  last_update_ = {marker.update, commit};
  if (!window_ || window_->id != marker.update) return;
  if (commit) {
    KeepWindow(fx);
  } else {
    TakeBack(marker.end);
  }
}

VBucket::RevertVerdict VBucket::FinishReplicaRevert() {
  const RevertVerdict verdict = FinishRevert();
  if (!verdict.equal) mismatch_ = true;
  return verdict;
}

void VBucket::EndApply(Seqno end, Seqno source_persisted, Effects& fx) {
  applying_ = false;
  passed_ = std::max(end, checkpoints_->high_seqno());
  source_persisted_ = std::max(source_persisted_, source_persisted);
  NoteRegained();
  Queue(fx);
  Announce(fx);
  WakeParked(fx);
  Account();
}

void VBucket::NoteCheckpointEnd(Seqno seqno) {
  if (seqno <= merged_ || (!checkpoint_ends_.empty() && seqno <= checkpoint_ends_.back())) return;
  if (checkpoint_ends_.size() >= kCheckpointEndsMax) {
    // Every second one: the log is then merged in larger steps.
    std::vector<Seqno> kept;
    for (size_t i = 0; i < checkpoint_ends_.size(); i += 2) kept.push_back(checkpoint_ends_[i]);
    checkpoint_ends_.swap(kept);
  }
  checkpoint_ends_.push_back(seqno);
}

Seqno VBucket::CheckpointEndUpTo(Seqno limit) const {
  // A window opens a checkpoint, so its start is the end of one.
  if (window_ && limit == window_->start) return limit;
  if (completed_ && limit == completed_->start) return limit;
  const auto behind = std::upper_bound(checkpoint_ends_.begin(), checkpoint_ends_.end(), limit);
  return behind == checkpoint_ends_.begin() ? Seqno() : *(behind - 1);
}

void VBucket::AllowMergeBehind(Seqno seqno) {
  const auto end = std::lower_bound(checkpoint_ends_.begin(), checkpoint_ends_.end(), seqno);
  if (end != checkpoint_ends_.end()) source_persisted_ = std::max(source_persisted_, *end);
}

VBucket::CheckpointVerdict VBucket::EndReplicaCheckpoint(CheckpointId id, Seqno last,
                                                         std::optional<uint64_t> digest, const OpTime& now,
                                                         Effects& fx) {
  CheckpointVerdict verdict;
  if (!exists_ || state_ != VbucketState::kReplica || in_snapshot()) {
    verdict.code = Code::kNotMyVbucket;
    return verdict;
  }
  if (promoting_) {
    verdict.code = Code::kWouldBlock;
    return verdict;
  }
  if (id < checkpoints_->open_checkpoint().id || last < high_seqno()) return verdict;
  if (last > high_seqno()) {
    verdict.code = Code::kOutOfRange;
    return verdict;
  }
  const std::optional<uint64_t> own = EndDigest();
  verdict.compared = (digest && own) || mismatch_;
  verdict.expected = digest.value_or(0);
  verdict.found = own.value_or(0);
  verdict.equal = !mismatch_ && (!digest || !own || *digest == *own);
  if (verdict.compared && verdict.equal) {
    verified_ = last;
    verified_checkpoint_ = id;
  }
  NoteCheckpointEnd(last);
  const Status opened = checkpoints_->OpenNext(id + 1, own, now.steady_ns);
  CAIRN_CHECK(opened.ok());
  if (persisted_ >= checkpoints_->high_seqno()) persisted_checkpoint_ = id;
  Announce(fx);
  return verdict;
}

GetResult VBucket::PeekReplica(const hashtable::HashedKey& key, const WaiterRef& waiter, const OpTime& now,
                               Effects& fx) {
  if (!exists_ || state_ == VbucketState::kDead) return {Code::kNotMyVbucket, nullptr};
  if (in_snapshot()) return {Code::kTmpFail, nullptr};
  if (applying_) {
    if (waiter == nullptr) return {Code::kTmpFail, nullptr};
    parked_.push_back(waiter);
    return {Code::kWouldBlock, nullptr};
  }
  RestoreIfUndoing(key, fx);
  Item* item = table_.Find(key);
  if (item == nullptr && !warm_) return {BlockForFetch(key, Seqno(), fx), nullptr};
  if (item == nullptr || item->is_deleted() || Gone(*item, now)) return {Code::kNotFound, nullptr};
  if (item->is_ejected()) return {BlockForFetch(key, item->seqno(), fx), nullptr};
  return {Code::kOk, ItemRef::Share(item)};
}

bool VBucket::CollectEverySome(hashtable::VisitCursor& cursor, size_t items_min,
                               std::vector<ItemRef>* items) const {
  table_.Visit(cursor, items_min, [&](Item* item) { items->push_back(ItemRef::Share(item)); });
  return !cursor.done;
}

// --- changing hands ---

bool VBucket::ForgetOwnSequence(const OpTime& now, Effects& fx) {
  if (!own_sequence_) return true;
  const Seqno high = checkpoints_->high_seqno();
  if (persisted_ < high) return false;
  // All that was there is on disk, so another sequence may stand in for this one. It goes on in the
  // checkpoint of the last operation, or in what the source says, which is a later one: numbers begin anew
  // only where there is nothing, or a promotion from here would give them out once more.
  const checkpoint::CheckpointInfo before = checkpoints_->open_checkpoint();
  const bool used = before.last >= before.first;
  CheckpointId open(1);
  if (high != Seqno() && before.id > open) open = used ? before.id : before.id - 1;
  own_sequence_ = false;
  CancelStreams(fx);
  checkpoints_ =
      std::make_unique<checkpoint::CheckpointManager>(options_.checkpoint_limits, high, open, now.steady_ns);
  persisted_checkpoint_ = open - 1;
  Result<checkpoint::CursorId> cursor = checkpoints_->AddCursor("persistence", high + 1);
  CAIRN_CHECK(cursor.ok());
  persistence_cursor_ = cursor.value();
  Account();
  return true;
}

void VBucket::SetHistory(std::vector<proto::FailoverEntry> failover_log, Effects& fx) {
  if (failover_log == failover_log_) return;
  failover_log_ = std::move(failover_log);
  // Who follows us has to hear of the new branch before it goes on.
  CancelStreams(fx);
}

void VBucket::RegainUpTo(Seqno high) {
  regain_ = RegainOf(regain_, high);
  NoteRegained();
}

Code VBucket::BeginPromotion() {
  if (!exists_) return Code::kNotMyVbucket;
  if (in_snapshot()) return Code::kNotSupported;
  if (applying_ || promoting_ || log_held()) return Code::kWouldBlock;
  promoting_ = true;
  return Code::kOk;
}

proto::VbucketMeta VBucket::MetaPromoted(const Promotion& promotion) const {
  proto::VbucketMeta meta = MetaAt(merged_);
  meta.state = static_cast<uint8_t>(VbucketState::kActive);
  meta.epoch = promotion.epoch;
  meta.regain = Seqno();
  meta.handover = {};
  const Seqno high = high_seqno();
  std::erase_if(meta.failover_log, [high](const proto::FailoverEntry& entry) { return entry.seqno > high; });
  meta.failover_log.insert(meta.failover_log.begin(), {promotion.history_uuid, high});
  if (meta.failover_log.size() > proto::kFailoverEntriesMax) {
    meta.failover_log.resize(proto::kFailoverEntriesMax);
  }
  // Where the seqnos go on, so that none of them is given out again after a crash.
  meta.high_seqno = std::max(meta.high_seqno, high) + promotion.gap;
  meta.max_cas = meta.max_cas + promotion.gap;
  meta.open_checkpoint = checkpoints_->open_checkpoint().id + kCheckpointGap;
  return meta;
}

void VBucket::FinishPromotion(const Promotion& promotion, int64_t wall_ns, const OpTime& now, Effects& fx) {
  promoting_ = false;
  const Seqno high = high_seqno();
  NoteCheckpointEnd(high);
  const Status opened =
      checkpoints_->OpenNext(checkpoints_->open_checkpoint().id + kCheckpointGap, EndDigest(), now.steady_ns);
  CAIRN_CHECK(opened.ok());
  const proto::VbucketMeta before = MetaAt(merged_);
  seqno_base_ = std::max(before.high_seqno, high) + promotion.gap;
  checkpoints_->SkipTo(seqno_base_ + 1);
  max_cas_ = max_cas_ + promotion.gap;
  epoch_ = promotion.epoch;
  regain_ = Seqno();
  AddBranch(promotion.history_uuid, high);
  CancelStreams(fx);
  passed_ = Seqno();
  const bool followed = state_ == VbucketState::kReplica;
  SetState(VbucketState::kActive, wall_ns, now, fx);
  // Who was dead at START joins the update with what it has. A replica's content is its source's at another
  // moment than START: it has the window that it came with, or none.
  const bool joins = !followed && phase_ != nullptr && phase_->kind == UpdatePhase::kUpdating && !window_;
  if (joins) BeginWindow(*phase_, now, fx);
}

// --- streams ---

Result<VBucket::StreamPlace> VBucket::OpenStream(const std::string& name, Seqno after) {
  if (!exists_) return Status(Code::kNotMyVbucket, "the vbucket does not exist here");
  if (in_snapshot()) return Status(Code::kBusy, "a disk snapshot is being received");
  if (after > high_seqno()) return Status(Code::kInvalidArgument, "beyond the end of the sequence");
  // What the source passed over has no operations here.
  const Seqno from = std::min(after + 1, checkpoints_->next_seqno());
  CAIRN_ASSIGN_OR_RETURN(const checkpoint::CursorId id, checkpoints_->AddDroppableCursor(name, from));
  streams_.push_back(id);
  announce_armed_ = true;
  return StreamPlace{id, stream_incarnation_};
}

Result<checkpoint::Batch> VBucket::ReadStream(const StreamPlace& place, Effects& fx) {
  if (place.incarnation != stream_incarnation_) return Status(Code::kCancelled, "the sequence was replaced");
  if (!checkpoints_->HasCursor(place.id)) {
    return Status(Code::kOutOfRange, "too far behind: the rest is on disk");
  }
  announce_armed_ = true;
  if (applying_) {
    checkpoint::Batch nothing;
    nothing.last = checkpoints_->ReadPosition(place.id);
    nothing.first = nothing.last + 1;
    return nothing;
  }
  checkpoint::Batch batch = checkpoints_->Read(place.id, SIZE_MAX, SIZE_MAX);
  if (!batch.nothing()) {
    checkpoints_->Advance(place.id, batch.last, fx.trash);
    Account();
  }
  return batch;
}

std::optional<VBucket::LastEnd> VBucket::last_end() const {
  if (!exists_ || applying_ || in_snapshot()) return std::nullopt;
  const checkpoint::CheckpointInfo open = checkpoints_->open_checkpoint();
  const std::optional<uint64_t> digest = EndDigest();
  // Nothing to be proved of what has no operations; and its checkpoints' numbers begin anew now and then.
  if (open.last >= open.first || high_seqno() == Seqno() || !digest) return std::nullopt;
  return LastEnd{open.id - 1, high_seqno(), *digest};
}

void VBucket::CloseStream(const StreamPlace& place, Effects& fx) {
  if (place.incarnation != stream_incarnation_) return;
  checkpoints_->RemoveCursor(place.id, fx.trash);
  std::erase(streams_, place.id);
  if (streams_.empty()) announce_armed_ = false;
  Account();
}

void VBucket::CancelStreams(Effects& fx) {
  ++stream_incarnation_;
  for (const checkpoint::CursorId id : streams_) checkpoints_->RemoveCursor(id, fx.trash);
  if (!streams_.empty()) fx.announce = true;
  streams_.clear();
  announce_armed_ = false;
}

}  // namespace cairn::engine
