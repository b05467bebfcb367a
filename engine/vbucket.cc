#include "engine/vbucket.h"

#include <algorithm>
#include <utility>

#include "base/key.h"

namespace cairn::engine {
namespace {

constexpr size_t kTombstonesPerStep = 512;
// Read errors that nobody asked for again are not kept for ever.
constexpr size_t kFetchErrorsMax = 1024;

}  // namespace

std::string_view VbucketStateName(VbucketState state) {
  switch (state) {
    case VbucketState::kActive:
      return "active";
    case VbucketState::kReplica:
      return "replica";
    case VbucketState::kPending:
      return "pending";
    case VbucketState::kDead:
      return "dead";
  }
  return "unknown";
}

VBucket::VBucket(const VBucketOptions& options) : options_(options), table_(options.hash_seed) {}

hashtable::HashedKey VBucket::Hash(std::string_view key) const {
  return {key, KeyHash(key, options_.hash_seed)};
}

void VBucket::Account() {
  const hashtable::TableStats stats = table_.stats();
  auto now = static_cast<int64_t>(stats.item_bytes + stats.table_bytes);
  if (checkpoints_) {
    const auto held = static_cast<int64_t>(checkpoints_->memory_bytes());
    if (held != accounted_checkpoints_) options_.memory->AddCheckpoints(held - accounted_checkpoints_);
    accounted_checkpoints_ = held;
    now += held;
  }
  if (preimages_) now += static_cast<int64_t>(preimages_->memory_bytes());
  if (now != accounted_) options_.memory->Add(now - accounted_);
  accounted_ = now;
}

Code VBucket::Admit(const WaiterRef& waiter) {
  if (__builtin_expect(exists_ && state_ == VbucketState::kActive, 1)) return Code::kOk;
  if (!exists_ || state_ != VbucketState::kPending) return Code::kNotMyVbucket;
  if (waiter == nullptr) return Code::kTmpFail;
  parked_.push_back(waiter);
  return Code::kWouldBlock;
}

VBucket::Known VBucket::Lookup(const hashtable::HashedKey& key, const OpTime& now, Item** item, Effects& fx) {
  RestoreIfUndoing(key, fx);
  Item* found = table_.Find(key);
  *item = found;
  if (found == nullptr) return warm_ ? Known::kAbsent : Known::kUnknown;
  if (found->is_deleted()) return Known::kAbsent;
  if (!Gone(*found, now)) return Known::kLive;
  const bool expired = found->expired_at(now.wall_s);
  Commit(key, found, Item::NewDeleted(key.key, expired, ItemMeta{}), now, fx);
  *item = table_.Find(key);
  return Known::kAbsent;
}

Code VBucket::BlockForFetch(const hashtable::HashedKey& key, Seqno seqno, Effects& fx) {
  if (!fetch_errors_.empty()) {
    const auto it = fetch_errors_.find(std::string(key.key));
    if (it != fetch_errors_.end()) {
      const FetchError error = it->second;
      fetch_errors_.erase(it);
      if (error.seqno == seqno) return error.code;
    }
  }
  fx.fetch = true;
  fx.fetch_seqno = seqno;
  return Code::kWouldBlock;
}

GetResult VBucket::Get(const hashtable::HashedKey& key, const OpTime& now, Effects& fx) {
  GetResult result = Peek(key, now, fx);
  // One read in eight counts; the counter itself is logarithmic.
  if (result.code == Code::kOk) {
    const auto chance = static_cast<uint32_t>(now.steady_ns) * 2654435761U + static_cast<uint32_t>(key.hash);
    if ((chance >> 29) == 0) table_.Touch(key, chance * 2246822519U);
  }
  return result;
}

GetResult VBucket::Peek(const hashtable::HashedKey& key, const OpTime& now, Effects& fx) {
  Item* item = nullptr;
  switch (Lookup(key, now, &item, fx)) {
    case Known::kAbsent:
      return {Code::kNotFound, nullptr};
    case Known::kUnknown:
      return {BlockForFetch(key, Seqno(), fx), nullptr};
    case Known::kLive:
      break;
  }
  if (item->is_ejected()) return {BlockForFetch(key, item->seqno(), fx), nullptr};
  return {Code::kOk, ItemRef::Share(item)};
}

MutationResult VBucket::Store(const hashtable::HashedKey& key, StoreMode mode, Cas cas, ItemRef fresh,
                              const OpTime& now, Effects& fx) {
  if (TooFarBehind()) return {Code::kTmpOom, Cas(), Seqno()};
  Item* old = nullptr;
  const Known known = Lookup(key, now, &old, fx);
  const bool blind = mode == StoreMode::kSet && cas == Cas();
  if (known == Known::kUnknown && !blind) return {BlockForFetch(key, Seqno(), fx), Cas(), Seqno()};
  const bool live = known == Known::kLive;
  if (mode == StoreMode::kAdd && live) return {Code::kNotStored, Cas(), Seqno()};
  if (mode == StoreMode::kReplace && !live) return {Code::kNotStored, Cas(), Seqno()};
  if (cas != Cas()) {
    if (!live) return {Code::kNotFound, Cas(), Seqno()};
    if (old->cas() != cas) return {Code::kExists, Cas(), Seqno()};
  }
  return Commit(key, old, std::move(fresh), now, fx);
}

MutationResult VBucket::StoreIfUnchanged(const hashtable::HashedKey& key, const Item* expected, ItemRef fresh,
                                         const OpTime& now, Effects& fx) {
  if (TooFarBehind()) return {Code::kTmpOom, Cas(), Seqno()};
  Item* old = nullptr;
  const Known known = Lookup(key, now, &old, fx);
  if (known == Known::kUnknown) return {BlockForFetch(key, Seqno(), fx), Cas(), Seqno()};
  const Item* live = known == Known::kLive ? old : nullptr;
  if (live != expected) return {Code::kBusy, Cas(), Seqno()};
  return Commit(key, old, std::move(fresh), now, fx);
}

MutationResult VBucket::Delete(const hashtable::HashedKey& key, Cas cas, const OpTime& now, Effects& fx) {
  Item* old = nullptr;
  switch (Lookup(key, now, &old, fx)) {
    case Known::kAbsent:
      return {Code::kNotFound, Cas(), Seqno()};
    case Known::kUnknown:
      return {BlockForFetch(key, Seqno(), fx), Cas(), Seqno()};
    case Known::kLive:
      break;
  }
  if (cas != Cas() && old->cas() != cas) return {Code::kExists, Cas(), Seqno()};
  return Commit(key, old, Item::NewDeleted(key.key, false, ItemMeta{}), now, fx);
}

MutationResult VBucket::Commit(const hashtable::HashedKey& key, Item* old, ItemRef fresh, const OpTime& now,
                               Effects& fx) {
  const Seqno seqno = checkpoints_->next_seqno();
  ++max_cas_;
  fresh->set_seqno(seqno);
  fresh->set_cas(max_cas_);
  if (window_) RecordPreimage(key, old, *fresh);
  const Seqno replaced = old == nullptr ? Seqno() : old->seqno();
  const uint64_t digest_before = table_.digest();
  ItemRef shared = fresh;
  fx.Drop(old == nullptr ? table_.Put(key, std::move(shared)) : table_.Replace(key, old, std::move(shared)));
  if (undoing_) undoing_->digest_delta += table_.digest() - digest_before;
  if (fresh->is_deleted()) tombstones_.push_back(fresh);
  checkpoints_->Append(std::move(fresh), replaced, now.steady_ns, fx.trash);
  if (checkpoints_->ShouldClose(now.steady_ns)) CloseCheckpoint(now, fx);
  Queue(fx);
  Announce(fx);
  Account();
  return {Code::kOk, max_cas_, seqno};
}

void VBucket::AppendMarker(const proto::Marker& marker, const OpTime& now, Effects& fx) {
  // A marker opens a checkpoint, so that no deduplication reaches across it.
  CloseCheckpoint(now, fx);
  proto::Marker placed = marker;
  placed.checkpoint = checkpoints_->open_checkpoint().id;
  checkpoints_->Append(Item::NewMarker(proto::EncodeMarker(placed), checkpoints_->next_seqno()), Seqno(),
                       now.steady_ns, fx.trash);
  Queue(fx);
  Announce(fx);
  Account();
}

std::optional<uint64_t> VBucket::EndDigest() const {
  if (!warm_) return std::nullopt;
  // While keys are still being put back the sequence says already that they are.
  if (undoing_) return undoing_->digest_at_start + undoing_->digest_delta;
  return table_.digest();
}

bool VBucket::CloseCheckpoint(const OpTime& now, Effects& fx) {
  if (!checkpoints_->CloseOpen(EndDigest(), now.steady_ns)) return false;
  Announce(fx);
  return true;
}

void VBucket::Tick(const OpTime& now, Effects& fx) {
  if (!checkpoints_) return;
  if (state_ == VbucketState::kActive && checkpoints_->ShouldClose(now.steady_ns)) CloseCheckpoint(now, fx);
  if (__builtin_expect(options_.memory->checkpoints_over_budget(), 0)) {
    // A stream that was dropped has to be told, or it would wait for news that it cannot read.
    if (checkpoints_->DropSlowestCursor(fx.trash)) fx.announce = true;
    Account();
  }
}

void VBucket::SetState(VbucketState state, int64_t wall_ns, const OpTime& now, Effects& fx) {
  suspended_ = false;
  if (state == state_) return;
  state_ = state;
  handover_ = {};
  if (state == VbucketState::kActive) {
    // Only an active makes operations of its own.
    proto::Marker marker;
    marker.type = proto::MarkerType::kSetVbucketState;
    marker.vbucket_state = static_cast<uint8_t>(state);
    marker.time_ns = wall_ns;
    AppendMarker(marker, now, fx);
  } else if (state == VbucketState::kReplica) {
    own_sequence_ = true;
    passed_ = checkpoints_->high_seqno();
    source_persisted_ = verified_ = Seqno();
    verified_checkpoint_ = CheckpointId();
    mismatch_ = false;
  }
  WakeParked(fx);
  fx.announce = true;
}

void VBucket::SetSuspended(bool suspended, Effects& fx) {
  if (suspended == suspended_) return;
  suspended_ = suspended;
  state_ = suspended ? VbucketState::kPending : VbucketState::kActive;
  WakeParked(fx);
  fx.announce = true;
}

void VBucket::WakeParked(Effects& fx) {
  fx.wake.insert(fx.wake.end(), parked_.begin(), parked_.end());
  parked_.clear();
}

void VBucket::AddBranch(uint64_t uuid, Seqno seqno) {
  std::erase_if(failover_log_, [seqno](const proto::FailoverEntry& entry) { return entry.seqno > seqno; });
  failover_log_.insert(failover_log_.begin(), {uuid, seqno});
  if (failover_log_.size() > proto::kFailoverEntriesMax) failover_log_.resize(proto::kFailoverEntriesMax);
}

void VBucket::Delete(Effects& fx) {
  exists_ = false;
  warm_ = true;
  for (;;) {
    // The content of one partition leaves in one step: deletion of a vbucket is rare and it is dead already.
    std::vector<ItemRef> items = table_.TakeSome(4096);
    if (items.empty()) break;
    std::move(items.begin(), items.end(), std::back_inserter(fx.dropped));
  }
  tombstones_.clear();
  fetch_errors_.clear();
  flush_seqno_ = flush_hold_ = flush_end_ = Seqno();
  checkpoints_->Read(persistence_cursor_, SIZE_MAX, SIZE_MAX);
  CloseCheckpoint(OpTime{}, fx);
  CancelStreams(fx);
  checkpoints_->Advance(persistence_cursor_, checkpoints_->high_seqno(), fx.trash);
  persisted_ = checkpoints_->high_seqno();
  merged_ = persisted_;
  void_ranges_.clear();
  passed_ = snapshot_start_ = snapshot_end_ = Seqno();
  unrecorded_.reset();
  log_held_ = merge_to_end_ = false;
  purge_seqno_ = merged_;
  ++content_;
  checkpoint_ends_.clear();
  last_update_ = {};
  regain_ = Seqno();
  handover_ = {};
  // A replica's or a fenced one's window: nobody will end it here.
  window_.reset();
  completed_.reset();
  undoing_.reset();
  if (preimages_) fx.preimages = std::move(preimages_);
  WakeParked(fx);
  Account();
}

void VBucket::Recreate(uint64_t history_uuid) {
  exists_ = true;
  state_ = VbucketState::kDead;
  AddBranch(history_uuid, checkpoints_->high_seqno());
}

void VBucket::BeginFlush(int64_t wall_ns, const OpTime& now, Effects& fx) {
  proto::Marker marker;
  marker.type = proto::MarkerType::kFlush;
  marker.start = marker.end = checkpoints_->high_seqno();
  marker.time_ns = wall_ns;
  AppendMarker(marker, now, fx);
  flush_seqno_ = checkpoints_->high_seqno();
  flush_cursor_ = {};
  if (flush_hold_ == Seqno()) flush_hold_ = flush_seqno_;
  flush_end_ = Seqno();
}

bool VBucket::SweepFlushed(size_t items_max, int64_t wall_ns, const OpTime& now, Effects& fx) {
  std::vector<ItemRef> gone;
  const Seqno flushed = flush_seqno_;
  table_.Visit(flush_cursor_, items_max, [&](Item* item) {
    if (item->seqno() <= flushed && !item->is_deleted()) gone.push_back(ItemRef::Share(item));
  });
  for (const ItemRef& item : gone) {
    Commit(Hash(item->key()), item.get(), Item::NewDeleted(item->key(), false, ItemMeta{}), now, fx);
  }
  std::move(gone.begin(), gone.end(), std::back_inserter(fx.dropped));
  if (!flush_cursor_.done) return false;
  flush_seqno_ = Seqno();
  proto::Marker marker;
  marker.type = proto::MarkerType::kFlushEnd;
  marker.time_ns = wall_ns;
  AppendMarker(marker, now, fx);
  flush_end_ = checkpoints_->high_seqno();
  return true;
}

checkpoint::Batch VBucket::ReadForLog() {
  if (__builtin_expect(applying_ || log_held(), 0)) {
    // Who ends it hands the vbucket over again.
    checkpoint::Batch nothing;
    nothing.last = checkpoints_->ReadPosition(persistence_cursor_);
    nothing.first = nothing.last + 1;
    return nothing;
  }
  return checkpoints_->Read(persistence_cursor_, SIZE_MAX, SIZE_MAX);
}

void VBucket::MarkPersisted(Seqno through, Effects& fx) {
  if (through < persisted_) return;
  checkpoints_->Advance(persistence_cursor_, through, fx.trash);
  persisted_ = through;
  if (flush_end_ != Seqno() && persisted_ >= flush_end_) flush_hold_ = flush_end_ = Seqno();
  const checkpoint::CheckpointInfo open = checkpoints_->open_checkpoint();
  if (persisted_ + 1 >= open.first) persisted_checkpoint_ = open.id - 1;
  NoteRegained();
  DropConsumedTombstones(fx);
  Account();
}

void VBucket::RewindLog() { checkpoints_->Rewind(persistence_cursor_); }

size_t VBucket::unpersisted() const { return checkpoints_->Remaining(persistence_cursor_); }

void VBucket::DropConsumedTombstones(Effects& fx) {
  if (!warm_) return;
  const Seqno open_first = checkpoints_->open_checkpoint().first;
  for (size_t i = 0; i < kTombstonesPerStep && !tombstones_.empty(); ++i) {
    ItemRef& front = tombstones_.front();
    // In the open checkpoint it is still what a later write of the key supersedes.
    if (front->seqno() > persisted_ || front->seqno() >= open_first) return;
    const hashtable::HashedKey key = Hash(front->key());
    if (table_.Find(key) == front.get()) fx.Drop(table_.Erase(key));
    fx.dropped.push_back(std::move(front));
    tombstones_.pop_front();
  }
}

Seqno VBucket::MergeBound() const {
  Seqno bound = persisted_;
  if (window_) bound = std::min(bound, window_->start);
  if (flush_hold_ != Seqno() && !merge_to_end_) bound = std::min(bound, flush_hold_ - 1);
  // The marker that voids a range stands right behind it; until it is durable the range is not decided on
  // disk by this vbucket's own log.
  if (!void_ranges_.empty() && persisted_ <= void_ranges_.back().end) {
    bound = std::min(bound, void_ranges_.back().start);
  }
  const bool follows = state_ == VbucketState::kReplica && !merge_to_end_;
  if (follows) bound = std::min(bound, source_persisted_);
  // The same for a COMPLETE: without its marker, here or on a source that is followed again, the window is
  // open again, and whoever takes it back wants data at its start.
  if (completed_ && bound < completed_->marker) bound = std::min(bound, completed_->start);
  return follows ? std::max(merged_, CheckpointEndUpTo(bound)) : bound;
}

void VBucket::MarkMerged(Seqno through) {
  const Seqno merged = std::max(merged_, through);
  merged_ = merged;
  std::erase_if(void_ranges_, [merged](const proto::VoidRange& range) { return range.end <= merged; });
  std::erase_if(checkpoint_ends_, [merged](Seqno end) { return end <= merged; });
  if (completed_ && completed_->marker <= merged) completed_.reset();
}

proto::VbucketMeta VBucket::MetaAt(Seqno merged) const {
  proto::VbucketMeta meta;
  meta.state = exists_ ? static_cast<uint8_t>(recorded_state()) : 0;
  meta.failover_log = failover_log_;
  if (state_ == VbucketState::kReplica) {
    // What is in memory only will come again from the source, and with it the checkpoint's number.
    meta.high_seqno = persisted_;
    meta.open_checkpoint = persisted_checkpoint_ + 1;
  } else {
    meta.high_seqno = std::max(persisted_, seqno_base_);
    meta.open_checkpoint = checkpoints_->open_checkpoint().id;
  }
  meta.epoch = epoch_;
  // Before everything up to its start is on disk nothing of a disk snapshot is taken, and a restart has to
  // find the vbucket where its log ends, not at that start.
  const Seqno last = checkpoints_->high_seqno();
  if (unrecorded_) {
    meta.snapshot_start = unrecorded_->start;
    meta.snapshot_end = unrecorded_->end;
  } else if (persisted_ >= last && merged >= last) {
    meta.snapshot_start = snapshot_start_;
    meta.snapshot_end = snapshot_end_;
  }
  meta.last_update = last_update_;
  meta.regain = regain_;
  meta.handover = handover_;
  meta.merged_seqno = merged;
  meta.purge_seqno = purge_seqno_;
  meta.max_cas = max_cas_;
  for (const proto::VoidRange& range : void_ranges_) {
    if (range.end > merged) meta.void_ranges.push_back(range);
  }
  if (window_) {
    meta.window_update = window_->id;
    meta.window_start = window_->start;
    meta.window_checkpoint = window_->checkpoint;
  }
  return meta;
}

bool VBucket::StillEjected(const hashtable::HashedKey& key, Seqno seqno) const {
  if (undoing_ && preimages_ && preimages_->Find(key) != Preimages::Kind::kNone) return false;
  const Item* item = table_.Find(key);
  return item != nullptr && item->is_ejected() && item->seqno() == seqno;
}

void VBucket::ApplyFetched(const hashtable::HashedKey& key, ItemRef found, Seqno seqno, Effects& fx) {
  Item* item = table_.Find(key);
  if (seqno != Seqno()) {
    if (item != nullptr && item->is_ejected() && item->seqno() == seqno && found && found->seqno() == seqno) {
      ItemRef ejected = ItemRef::Share(item);
      table_.SwapForm(key, item, std::move(found));
      fx.Drop(std::move(ejected));
    }
  } else if (item == nullptr && !warm_) {
    // Seqno 0: known not to exist, an entry that SweepTombstones removes once the vbucket is warm.
    if (!found) found = Item::NewDeleted(key.key, false, ItemMeta{});
    table_.Put(key, std::move(found));
  }
  Account();
}

void VBucket::FetchFailed(std::string_view key, Seqno seqno, Code code) {
  if (fetch_errors_.size() < kFetchErrorsMax) fetch_errors_[std::string(key)] = {seqno, code};
}

}  // namespace cairn::engine
