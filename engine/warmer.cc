#include "engine/warmer.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/thread_role.h"
#include "proto/disk_record.h"

namespace cairn::engine {
namespace {

constexpr size_t kItemsPerStep = 8192;  // between two looks at the stop flag; the iterator lives that long
constexpr size_t kItemsPerLock = 64;

/// Stands for a key whose record is damaged: a version that is on disk only and cannot be read, so that a
/// client is told of the damage, never of a miss, until it writes the key anew.
ItemRef Damaged(std::string_view key) { return Item::NewEjected(key, 0, 0, ItemMeta{0, 0, Cas(), Seqno(1)}); }

}  // namespace

void Warmer::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Warmer::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_.store(true, std::memory_order_relaxed);
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Warmer::Load(Vbid vbucket) {
  MutexLock lock(mutex_);
  core_.warm.store(false, std::memory_order_release);
  wanted_.push_back(vbucket);
  wake_.NotifyAll();
}

void Warmer::Run() {
  BeginThread("warmer", ThreadRole::kSteady);
  while (!stopping_.load(std::memory_order_relaxed)) {
    const Result<bool> more = RunSome(kItemsPerStep);
    if (!more.ok()) CAIRN_LOG(kError, "cannot load data: {}", more.status().ToString());
    if (more.ok() && more.value()) continue;
    MutexLock lock(mutex_);
    if (stopping_.load(std::memory_order_relaxed)) return;
    if (!more.ok() || wanted_.empty()) wake_.WaitFor(mutex_, std::chrono::seconds(1));
  }
}

bool Warmer::TakeNext() {
  MutexLock lock(mutex_);
  current_.emplace();
  if (!wanted_.empty()) {
    current_->index = wanted_.front().get();
    current_->first_round = false;
    wanted_.pop_front();
    return true;
  }
  current_->index = next_.load(std::memory_order_relaxed);
  if (current_->index < core_.vbuckets.size()) return true;
  current_.reset();
  return false;
}

Result<bool> Warmer::RunSome(size_t items) {
  if (begun_ns_ == 0) begun_ns_ = core_.clock->SteadyNs();
  size_t budget = items;
  while (budget > 0) {
    if (!current_ && !TakeNext()) return false;
    VBucket& vb = *core_.vbuckets[current_->index];
    const uint64_t before = loaded_.load(std::memory_order_relaxed);
    Result<bool> step = LoadSome(vb, budget);
    const bool unreadable = step.code() == Code::kCorruption;
    if (unreadable) {
      // The vbucket stays cold: its keys are looked up on disk one by one, and damage is told key by key.
      CAIRN_LOG(kError, "vbucket {} cannot be loaded: {}", current_->index, step.status().ToString());
      damaged_.fetch_add(1, std::memory_order_relaxed);
    } else if (!step.ok()) {
      return step.status();
    }
    const bool ended = unreadable || step.value();
    const uint64_t loaded = loaded_.load(std::memory_order_relaxed) - before;
    budget -= std::min<size_t>(budget, loaded + 1);
    if (!ended) continue;
    if (!unreadable) {
      FinishVbucket(vb, current_->content);
      core_.on_loaded(vb.id(), current_->highest);
    }
    if (NoteEnd(*std::exchange(current_, std::nullopt))) return false;
  }
  return true;
}

bool Warmer::NoteEnd(const WarmerProgress& ended) {
  MutexLock lock(mutex_);
  const auto count = static_cast<uint32_t>(core_.vbuckets.size());
  if (ended.first_round) {
    next_.store(ended.index + 1, std::memory_order_relaxed);
    duration_ns_.store(core_.clock->SteadyNs() - begun_ns_, std::memory_order_relaxed);
    if (ended.index + 1 == count) {
      CAIRN_LOG(kInfo, "warm: {} items loaded", loaded_.load(std::memory_order_relaxed));
    }
  }
  if (!wanted_.empty() || next_.load(std::memory_order_relaxed) < count) return false;
  core_.warm.store(damaged_.load(std::memory_order_relaxed) == 0, std::memory_order_release);
  return true;
}

Result<bool> Warmer::LoadSome(VBucket& vb, size_t items) {
  {
    MutexLock lock(vb.mutex);
    if (vb.warm() || !vb.exists()) return true;
    if (current_->content != vb.content()) {
      current_->content = vb.content();
      current_->position.clear();
      current_->highest = Seqno();
    }
  }
  StoreGate::Access store(core_.store);
  const std::unique_ptr<storage::Iterator> it = store->ReadData(vb.id(), current_->position);
  std::vector<ItemRef> loaded;
  size_t left = items;
  bool ended = false;
  while (!ended && left > 0) {
    loaded.clear();
    const bool resident = !core_.memory.above_low();
    size_t seen = 0;
    for (; it->Valid() && seen < kItemsPerLock; it->Next(), ++seen) {
      Result<ItemRef> item = resident ? proto::DecodeDataRecord(vb.id(), it->data_key(), it->record())
                                      : proto::DecodeDataAsEjected(vb.id(), it->data_key(), it->record());
      if (!item.ok()) {
        CAIRN_LOG(kError, "{}", item.status().ToString());
        item = Damaged(it->data_key());
      }
      current_->highest = std::max(current_->highest, item.value()->seqno());
      // A tombstone tells a replica what an absent key tells here.
      if (!item.value()->is_deleted()) loaded.push_back(std::move(item).value());
    }
    CAIRN_RETURN_IF_ERROR(it->status());
    ended = !it->Valid();
    if (!ended) current_->position = std::string(it->data_key());
    left -= std::min(left, seen);
    core_.metrics.Add(Metric::kWarmedItems, loaded.size());
    loaded_.fetch_add(loaded.size(), std::memory_order_relaxed);
    MutexLock lock(vb.mutex);
    if (!vb.exists() || vb.warm()) return true;           // deleted meanwhile
    if (vb.content() != current_->content) return false;  // replaced meanwhile: from its beginning
    for (ItemRef& item : loaded) vb.LoadFromData(std::move(item));
  }
  return ended;
}

void Warmer::FinishVbucket(VBucket& vb, uint64_t content) {
  hashtable::VisitCursor cursor;
  bool more = true;
  while (more) {
    Effects fx;
    MutexLock lock(vb.mutex);
    if (!vb.warm()) {
      // Replaced since its last item was loaded: whoever did it asked for it to be loaded again.
      if (vb.content() != content) return;
      vb.SetWarm();
    }
    more = vb.exists() && vb.SweepTombstones(cursor, fx);
  }
}

}  // namespace cairn::engine
