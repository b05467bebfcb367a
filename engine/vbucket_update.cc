// The online update within one vbucket: opening a window, recording pre-images, ending it either way.

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/key.h"
#include "engine/vbucket.h"

namespace cairn::engine {

std::string_view UpdatePhaseName(UpdatePhase phase) {
  switch (phase) {
    case UpdatePhase::kNormal:
      return "normal";
    case UpdatePhase::kStarting:
      return "starting";
    case UpdatePhase::kUpdating:
      return "updating";
    case UpdatePhase::kCompleting:
      return "completing";
    case UpdatePhase::kReverting:
      return "reverting";
  }
  return "unknown";
}

void VBucket::MoveTo(const Phase* phase, const OpTime& now, Effects& fx) {
  phase_ = phase;
  if (!exists_) return;
  switch (phase->kind) {
    case UpdatePhase::kUpdating:
      // A replica's window is its source's to open, and that of a dead one would never be closed.
      if (phase->begins_windows && !window_ &&
          (state_ == VbucketState::kActive || state_ == VbucketState::kPending)) {
        BeginWindow(*phase, now, fx);
      }
      break;
    case UpdatePhase::kCompleting:
    case UpdatePhase::kReverting:
      if (window_ && window_->id == phase->id && state_ != VbucketState::kReplica) {
        EndWindow(phase->kind == UpdatePhase::kCompleting, phase->started_ns, now, fx);
      }
      break;
    case UpdatePhase::kNormal:
    case UpdatePhase::kStarting:
      break;
  }
}

void VBucket::OpenWindow(const proto::Marker& marker) {
  window_.emplace();
  window_->id = marker.update;
  window_->name = marker.name;
  window_->started_ns = marker.time_ns;
  window_->start = marker.start;
  window_->checkpoint = marker.checkpoint;
  window_->digest = marker.digest;
  preimages_ = std::make_unique<Preimages>(options_.hash_seed);
}

void VBucket::BeginWindow(const Phase& phase, const OpTime& now, Effects& fx) {
  // The coordinator lets nobody start while keys are still being put back or swept.
  CAIRN_CHECK(!undoing_ && preimages_ == nullptr);
  proto::Marker marker;
  marker.type = proto::MarkerType::kOnlineUpdateStart;
  marker.update = phase.id;
  marker.name = phase.name;
  marker.start = checkpoints_->high_seqno();
  marker.digest = table_.digest();
  marker.time_ns = phase.started_ns;
  AppendMarker(marker, now, fx);
  marker.checkpoint = checkpoints_->open_checkpoint().id;
  OpenWindow(marker);
}

void VBucket::EndWindow(bool commit, int64_t wall_ns, const OpTime& now, Effects& fx) {
  if (!window_) return;
  proto::Marker marker;
  marker.type = commit ? proto::MarkerType::kOnlineUpdateComplete : proto::MarkerType::kOnlineUpdateRevert;
  marker.update = window_->id;
  marker.start = window_->start;
  marker.end = checkpoints_->high_seqno();
  marker.digest = window_->digest;
  marker.time_ns = wall_ns;
  AppendMarker(marker, now, fx);
  last_update_ = {window_->id, commit};
  if (commit) {
    KeepWindow(fx);
    Account();
  } else {
    TakeBack(marker.end);
  }
}

void VBucket::KeepWindow(Effects& fx) {
  const Seqno start = completed_ ? std::min(completed_->start, window_->start) : window_->start;
  completed_ = Completed{start, checkpoints_->high_seqno()};
  window_.reset();
  fx.preimages = std::move(preimages_);
}

void VBucket::TakeBack(Seqno end) {
  undoing_ = Undoing{window_->id, window_->start, end, window_->digest, 0};
  AddVoidRange({window_->start, end});
  window_.reset();
}

void VBucket::AddVoidRange(const proto::VoidRange& range) {
  // The meta record may know it already when the log that says it is replayed.
  const bool known = std::any_of(void_ranges_.begin(), void_ranges_.end(),
                                 [&](const proto::VoidRange& r) { return r == range; });
  if (!known && range.end > merged_ && range.end > range.start) void_ranges_.push_back(range);
}

void VBucket::RecordPreimage(const hashtable::HashedKey& key, Item* old, const Item& fresh) {
  const bool old_live = old != nullptr && !old->is_deleted();
  const bool now_live = !fresh.is_deleted();
  const bool in_window = old != nullptr && old->seqno() > window_->start;
  // The frequent case: a key of the window is written again.
  if (in_window && old_live == now_live) return;

  Window& window = *window_;
  auto count = [&window](bool pre_live, bool live, uint64_t n) {
    if (pre_live) {
      (live ? window.updated : window.deleted) += n;
    } else if (live) {
      window.added += n;
    }
  };
  // An unknown pre-image counts as one that exists: it does, but for keys added during warm-up.
  const Preimages::Kind kind = in_window || old == nullptr ? preimages_->Find(key) : Preimages::Kind::kNone;
  if (kind != Preimages::Kind::kNone) {
    const bool pre_live = kind != Preimages::Kind::kAbsent;
    count(pre_live, old_live, ~uint64_t{0});  // one less
    count(pre_live, now_live, 1);
    return;
  }
  CAIRN_CHECK(!in_window);
  if (old_live) {
    preimages_->RecordItem(key, ItemRef::Share(old));
  } else if (old == nullptr && !warm_) {
    preimages_->RecordUnknown(key);
  } else {
    preimages_->RecordAbsent(key);
  }
  count(old_live || (old == nullptr && !warm_), now_live, 1);
}

void VBucket::RestoreIfUndoing(const hashtable::HashedKey& key, Effects& fx) {
  if (!undoing_ || !preimages_) return;
  Preimages::Entry entry = preimages_->Take(key);
  if (entry.kind == Preimages::Kind::kNone) return;
  CAIRN_PROBE("update.client_met_key_to_revert");
  RestoreKey(key, std::move(entry), fx);
  Account();
}

void VBucket::RestoreKey(const hashtable::HashedKey& key, Preimages::Entry entry, Effects& fx) {
  if (entry.kind == Preimages::Kind::kItem) {
    fx.Drop(table_.Put(key, std::move(entry.item)));
    return;
  }
  fx.Drop(table_.Erase(key));
  // In a cold vbucket "not in the table" means "ask the disk"; what was absent at START is not on disk
  // either, but for versions that the log behind data has deleted, so the knowledge is kept until it is warm.
  if (!warm_ && entry.kind == Preimages::Kind::kAbsent) {
    table_.Put(key, Item::NewDeleted(key.key, false, ItemMeta{}));
  }
  fx.Drop(std::move(entry.item));
}

bool VBucket::RevertSome(size_t keys_max, Effects& fx) {
  if (!undoing_ || !preimages_) return true;
  for (Preimages::Entry& entry : preimages_->TakeSome(keys_max)) {
    // The entry's item carries the key; keep it alive while it is used.
    const ItemRef holder = entry.item;
    RestoreKey(Hash(holder->key()), std::move(entry), fx);
  }
  Account();
  return preimages_->size() == 0;
}

VBucket::RevertVerdict VBucket::FinishRevert() {
  if (!undoing_) return {};
  CAIRN_CHECK(preimages_ == nullptr || preimages_->size() == 0);
  RevertVerdict verdict;
  verdict.checked = warm_;
  verdict.expected = undoing_->digest_at_start + undoing_->digest_delta;
  verdict.found = table_.digest();
  verdict.equal = !verdict.checked || verdict.expected == verdict.found;
  undoing_.reset();
  preimages_.reset();
  Account();
  return verdict;
}

}  // namespace cairn::engine
