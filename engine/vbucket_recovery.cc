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
  max_cas_ = meta.max_cas;
  void_ranges_ = meta.void_ranges;
  replayed_ = std::max(meta.merged_seqno, meta.high_seqno);
  replayed_checkpoint_ = meta.open_checkpoint;
}

Status VBucket::Replay(ItemRef item, CheckpointId checkpoint) {
  const Seqno seqno = item->seqno();
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
      if (!window_) OpenWindow(marker.update, marker.start, marker.checkpoint, marker.digest);
      break;
    case proto::MarkerType::kOnlineUpdateComplete:
      window_.reset();
      preimages_.reset();
      break;
    case proto::MarkerType::kOnlineUpdateRevert:
      if (window_) {
        Effects fx;
        TakeBack(marker.end);
        while (!RevertSome(4096, fx)) fx = Effects();
        FinishRevert();
      } else {
        AddVoidRange({marker.start, marker.end});
      }
      break;
    case proto::MarkerType::kSetVbucketState:
      if (marker.vbucket_state >= 1 && marker.vbucket_state <= 4) {
        state_ = static_cast<VbucketState>(marker.vbucket_state);
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
    case proto::MarkerType::kRestoreCommit:
      break;
  }
  return Status::Ok();
}

void VBucket::OpenSequence(bool clean, uint64_t new_uuid, const OpTime& now) {
  const CheckpointId open_id = replayed_checkpoint_ + 1;
  checkpoints_ = std::make_unique<checkpoint::CheckpointManager>(options_.checkpoint_limits, replayed_,
                                                                 open_id, now.steady_ns);
  if (!clean) {
    checkpoints_->SkipTo(replayed_ + kUncleanGap + 1);
    max_cas_ = max_cas_ + kUncleanGap;
  }
  if (!clean || failover_log_.empty()) {
    failover_log_.insert(failover_log_.begin(), {new_uuid, replayed_});
    if (failover_log_.size() > proto::kFailoverEntriesMax) failover_log_.resize(proto::kFailoverEntriesMax);
  }
  persisted_ = checkpoints_->high_seqno();
  seqno_base_ = checkpoints_->next_seqno() - 1;
  persisted_checkpoint_ = replayed_checkpoint_;
  Result<checkpoint::CursorId> cursor = checkpoints_->AddCursor("persistence", checkpoints_->next_seqno());
  CAIRN_CHECK(cursor.ok());
  persistence_cursor_ = cursor.value();
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
