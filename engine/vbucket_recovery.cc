// How a vbucket comes back from disk (replay of the log behind data, then data itself), and the steps that
// keep it within memory and free of expired items.

#include <algorithm>
#include <utility>

#include "base/key.h"
#include "engine/vbucket.h"

namespace cairn::engine {
namespace {

// Values smaller than this are not worth ejecting: the ejected form carries an 8-byte digest.
constexpr uint32_t kEjectableValueMin = 24;

}  // namespace

void VBucket::Restore(const proto::VbucketMeta& meta) {
  exists_ = meta.state != 0;
  if (exists_) state_ = static_cast<VbucketState>(meta.state);
  failover_log_ = meta.failover_log;
  merged_ = meta.merged_seqno;
  purge_seqno_ = meta.purge_seqno;
  max_cas_ = meta.max_cas;
  void_ranges_ = meta.void_ranges;
  replayed_ = std::max(meta.merged_seqno, meta.high_seqno);
  replayed_checkpoint_ = meta.open_checkpoint;
  epoch_ = meta.epoch;
  snapshot_start_ = meta.snapshot_start;
  snapshot_end_ = meta.snapshot_end;
  last_update_ = meta.last_update;
  regain_ = meta.regain;
  handover_ = meta.handover;
}

Status VBucket::Replay(ItemRef item, CheckpointId checkpoint) {
  const Seqno seqno = item->seqno();
  // The records of one checkpoint lie together, so where the next begins one has ended.
  if (checkpoint > replay_last_checkpoint_ && replay_last_ != Seqno()) NoteCheckpointEnd(replay_last_);
  replay_last_ = seqno;
  replay_last_checkpoint_ = checkpoint;
  replayed_ = std::max(replayed_, seqno);
  replayed_checkpoint_ = std::max(replayed_checkpoint_, checkpoint);
  max_cas_ = std::max(max_cas_, item->cas());
  for (const proto::VoidRange& range : void_ranges_) {
    if (seqno > range.start && seqno <= range.end) return Status::Ok();
  }
  if (item->is_marker()) return ReplayMarker(*item);
  const hashtable::HashedKey key = Hash(item->key());
  if (window_) RecordPreimage(key, table_.Find(key), *item);
  table_.Put(key, std::move(item));
  return Status::Ok();
}

Status VBucket::ReplayMarker(const Item& item) {
  CAIRN_ASSIGN_OR_RETURN(const proto::Marker marker, proto::DecodeMarker(item.value()));
  switch (marker.type) {
    case proto::MarkerType::kOnlineUpdateStart:
      if (!window_) OpenWindow(marker);
      break;
    case proto::MarkerType::kOnlineUpdateComplete:
      last_update_ = {marker.update, true};
      window_.reset();
      preimages_.reset();
      break;
    case proto::MarkerType::kOnlineUpdateRevert:
      last_update_ = {marker.update, false};
      if (window_) {
        Effects fx;
        TakeBack(marker.end);
        while (!RevertSome(4096, fx)) fx = Effects();
        FinishRevert();
      } else {
        AddVoidRange({marker.start, marker.end});
      }
      break;
    case proto::MarkerType::kFlush:
      flush_seqno_ = item.seqno();
      flush_cursor_ = {};
      if (flush_hold_ == Seqno()) flush_hold_ = flush_seqno_;
      break;
    case proto::MarkerType::kFlushEnd:
      flush_seqno_ = flush_hold_ = Seqno();
      break;
    case proto::MarkerType::kSetVbucketState:  // the vbucket's record says what its state is
    case proto::MarkerType::kRestoreCommit:
      break;
  }
  return Status::Ok();
}

void VBucket::OpenSequence(bool clean, uint64_t new_uuid, const OpTime& now) {
  const bool follows = exists_ && state_ == VbucketState::kReplica;
  // A replica's history, seqnos and checkpoints are its source's, which may be in the middle of the last one.
  const bool branch = !follows && state_ != VbucketState::kDead && !clean;
  const CheckpointId open_id = follows ? std::max(replayed_checkpoint_, CheckpointId(1))
                                       : replayed_checkpoint_ + (branch ? kCheckpointGap : 1);
  ++stream_incarnation_;
  streams_.clear();
  announce_armed_ = applying_ = mismatch_ = false;
  source_persisted_ = verified_ = Seqno();
  verified_checkpoint_ = CheckpointId();
  passed_ = replayed_;
  // The record's write was answered with an error, so clients went on: the receiver has not everything.
  if (replay_last_ > handover_.seqno) handover_ = {};
  own_sequence_ = !follows;
  checkpoints_ = std::make_unique<checkpoint::CheckpointManager>(options_.checkpoint_limits, replayed_,
                                                                 open_id, now.steady_ns);
  if (branch) {
    checkpoints_->SkipTo(replayed_ + kUncleanGap + 1);
    max_cas_ = max_cas_ + kUncleanGap;
  }
  if (branch || failover_log_.empty()) AddBranch(new_uuid, replayed_);
  persisted_ = checkpoints_->high_seqno();
  seqno_base_ = checkpoints_->next_seqno() - 1;
  persisted_checkpoint_ = open_id - 1;
  Result<checkpoint::CursorId> cursor = checkpoints_->AddCursor("persistence", checkpoints_->next_seqno());
  CAIRN_CHECK(cursor.ok());
  persistence_cursor_ = cursor.value();
  NoteRegained();
  Account();
}

bool VBucket::LoadFromData(ItemRef item) {
  const hashtable::HashedKey key = Hash(item->key());
  if (table_.Find(key) == nullptr) {
    table_.Put(key, std::move(item));
    Account();
    return true;
  }
  if (preimages_ && preimages_->Find(key) == Preimages::Kind::kUnknown) {
    preimages_->RecordItem(key, std::move(item));
    Account();
  }
  return false;
}

bool VBucket::SweepTombstones(hashtable::VisitCursor& cursor, Effects& fx) {
  std::vector<ItemRef> sweep;
  const Seqno open_first = checkpoints_->open_checkpoint().first;
  const Seqno persisted = persisted_;
  table_.Visit(cursor, 256, [&](Item* item) {
    if (item->is_deleted() && item->seqno() <= persisted && item->seqno() < open_first) {
      sweep.push_back(ItemRef::Share(item));
    }
  });
  for (ItemRef& item : sweep) {
    fx.Drop(table_.Erase(Hash(item->key())));
    fx.dropped.push_back(std::move(item));
  }
  Account();
  return !cursor.done;
}

void VBucket::CancelHold(Effects& fx) {
  log_held_ = merge_to_end_ = false;
  Queue(fx);
}

void VBucket::ReplaceContent(VBucket& fresh, Effects& fx) {
  CAIRN_CHECK(!applying_ && !promoting_);
  CancelStreams(fx);
  WakeParked(fx);
  ++content_;
  const Cas max_cas = std::max(max_cas_, fresh.max_cas_);
  table_.Swap(fresh.table_);
  checkpoints_.swap(fresh.checkpoints_);
  preimages_.swap(fresh.preimages_);
  tombstones_.swap(fresh.tombstones_);
  fetch_errors_.swap(fresh.fetch_errors_);
  std::swap(window_, fresh.window_);
  std::swap(completed_, fresh.completed_);
  std::swap(undoing_, fresh.undoing_);
  std::swap(accounted_, fresh.accounted_);
  std::swap(accounted_checkpoints_, fresh.accounted_checkpoints_);
  persistence_cursor_ = fresh.persistence_cursor_;
  warm_ = fresh.warm_;
  max_cas_ = max_cas;
  persisted_ = fresh.persisted_;
  seqno_base_ = fresh.seqno_base_;
  persisted_checkpoint_ = fresh.persisted_checkpoint_;
  merged_ = fresh.merged_;
  purge_seqno_ = fresh.purge_seqno_;
  flush_seqno_ = fresh.flush_seqno_;
  flush_cursor_ = {};
  flush_hold_ = fresh.flush_hold_;
  flush_end_ = fresh.flush_end_;
  void_ranges_ = fresh.void_ranges_;
  failover_log_ = fresh.failover_log_;
  passed_ = fresh.passed_;
  checkpoint_ends_ = fresh.checkpoint_ends_;
  last_update_ = fresh.last_update_;
  regain_ = fresh.regain_;
  snapshot_start_ = fresh.snapshot_start_;
  snapshot_end_ = fresh.snapshot_end_;
  unrecorded_.reset();
  log_held_ = merge_to_end_ = false;
  // What the source said was about what is gone.
  source_persisted_ = verified_ = Seqno();
  source_high_ = Seqno(kSeqnoMax);
  verified_checkpoint_ = CheckpointId();
  mismatch_ = false;
  fx.announce = true;
}

void VBucket::ForgetMemory() {
  options_.memory->Add(-accounted_);
  options_.memory->AddCheckpoints(-accounted_checkpoints_);
  accounted_ = accounted_checkpoints_ = 0;
}

void VBucket::Receive(const ItemRef& item, Effects& fx) {
  const hashtable::HashedKey key = Hash(item->key());
  Item* const old = table_.Find(key);
  max_cas_ = std::max(max_cas_, item->cas());
  if (old != nullptr && old->seqno() >= item->seqno()) return;
  if (!item->is_deleted()) {
    fx.Drop(old == nullptr ? table_.Put(key, item) : table_.Replace(key, old, item));
  } else if (warm_) {
    if (old != nullptr) fx.Drop(table_.Erase(key));
  } else {
    // "Not in the table" means "ask the disk" until the vbucket is warm.
    fx.Drop(table_.Put(key, item));
    tombstones_.push_back(item);
  }
  Account();
}

void VBucket::EjectReceived(std::string_view key, Seqno seqno, Effects& fx) {
  const hashtable::HashedKey hashed = Hash(key);
  Item* const item = table_.Find(hashed);
  if (item == nullptr || !item->is_value() || item->seqno() != seqno) return;
  if (item->value_size() < kEjectableValueMin) return;
  ItemRef old = ItemRef::Share(item);
  table_.SwapForm(hashed, item, Item::Eject(item));
  fx.Drop(std::move(old));
  Account();
}

std::unique_ptr<checkpoint::CheckpointManager> VBucket::EndSnapshot(CheckpointId open, const OpTime& now,
                                                                    Effects& fx) {
  CancelStreams(fx);
  unrecorded_ = Unrecorded{snapshot_start_, snapshot_end_, open};
  passed_ = snapshot_end_;
  // A copy from 0 comes without tombstones: who follows this one later and stands below has to begin at 0
  // too.
  if (snapshot_start_ == Seqno()) purge_seqno_ = std::max(purge_seqno_, snapshot_end_);
  std::unique_ptr<checkpoint::CheckpointManager> before = std::move(checkpoints_);
  checkpoints_ = std::make_unique<checkpoint::CheckpointManager>(options_.checkpoint_limits, snapshot_end_,
                                                                 open, now.steady_ns);
  const Result<checkpoint::CursorId> cursor =
      checkpoints_->AddCursor("persistence", checkpoints_->next_seqno());
  CAIRN_CHECK(cursor.ok());
  persistence_cursor_ = cursor.value();
  snapshot_start_ = snapshot_end_ = Seqno();
  checkpoint_ends_.clear();
  // A source's data never ends in the middle of a flush_all.
  flush_seqno_ = flush_hold_ = flush_end_ = Seqno();
  Account();
  return before;
}

proto::VbucketMeta VBucket::MetaAtSnapshotEnd() const {
  proto::VbucketMeta meta = MetaAt(unrecorded_->end);
  meta.high_seqno = unrecorded_->end;
  meta.open_checkpoint = unrecorded_->open;
  meta.snapshot_start = meta.snapshot_end = Seqno();
  return meta;
}

void VBucket::FinishSnapshot(Effects& fx) {
  const Seqno end = unrecorded_->end;
  unrecorded_.reset();
  merge_to_end_ = false;
  MarkPersisted(end, fx);
  MarkMerged(end);
  Queue(fx);
}

bool VBucket::EjectSome(hashtable::VisitCursor& cursor, int frequency_max, size_t* freed, Effects& fx) {
  std::vector<Item*> candidates;
  const Seqno persisted = persisted_;
  table_.Visit(cursor, 64, [&](Item* item) {
    if (item->is_value() && item->value_size() >= kEjectableValueMin && item->seqno() <= persisted) {
      candidates.push_back(item);
    }
  });
  for (Item* item : candidates) {
    const hashtable::HashedKey key = Hash(item->key());
    const int frequency = table_.Frequency(key);
    if (frequency > frequency_max) {
      table_.SetFrequency(key, frequency - 1);
      continue;
    }
    ItemRef form = Item::Eject(item);
    *freed += item->resident_bytes() - std::min(item->resident_bytes(), form->resident_bytes());
    ItemRef old = ItemRef::Share(item);
    table_.SwapForm(key, item, std::move(form));
    fx.dropped.push_back(std::move(old));
  }
  Account();
  return !cursor.done;
}

bool VBucket::EjectPreimages(hashtable::VisitCursor& cursor, size_t* freed, Effects& fx) {
  if (!preimages_) return false;
  std::vector<Item*> candidates;
  const Seqno persisted = persisted_;
  preimages_->table().Visit(cursor, 64, [&](Item* item) {
    if (item->is_value() && item->value_size() >= kEjectableValueMin && item->seqno() <= persisted) {
      candidates.push_back(item);
    }
  });
  for (Item* item : candidates) {
    ItemRef form = Item::Eject(item);
    *freed += item->resident_bytes() - std::min(item->resident_bytes(), form->resident_bytes());
    ItemRef old = ItemRef::Share(item);
    const hashtable::HashedKey key = Hash(old->key());
    preimages_->table().SwapForm(key, item, std::move(form));
    fx.dropped.push_back(std::move(old));
  }
  Account();
  return !cursor.done;
}

bool VBucket::ExpireSome(hashtable::VisitCursor& cursor, size_t* expired, const OpTime& now, Effects& fx) {
  // Keys that still have to be put back are not what the table shows.
  if (undoing_ || state_ != VbucketState::kActive) return false;
  std::vector<ItemRef> gone;
  table_.Visit(cursor, 64, [&](Item* item) {
    if (!item->is_deleted() && item->expired_at(now.wall_s)) gone.push_back(ItemRef::Share(item));
  });
  for (ItemRef& item : gone) {
    Item* current = nullptr;
    Lookup(Hash(item->key()), now, &current, fx);
    fx.dropped.push_back(std::move(item));
  }
  *expired += gone.size();
  return !cursor.done;
}

bool VBucket::CollectSome(hashtable::VisitCursor& cursor, size_t items_min, const OpTime& now,
                          std::vector<ItemRef>* items) const {
  table_.Visit(cursor, items_min, [&](Item* item) {
    mutex.AssertHeld();
    if (!item->is_deleted() && !item->is_marker() && !Gone(*item, now))
      items->push_back(ItemRef::Share(item));
  });
  return !cursor.done;
}

}  // namespace cairn::engine
