#pragma once
// Core: what the parts of one engine share (vbuckets, memory, phase, store, counters), and the two things
// each of them does after a locked call: carry out its Effects, and read the time. Owned by the Engine; the
// parts hold references and are destroyed before it. No part reaches another except through the hooks here.

#include <atomic>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/announce.h"
#include "engine/durability.h"
#include "engine/memory.h"
#include "engine/options.h"
#include "engine/phase.h"
#include "engine/storage/kv_store.h"
#include "engine/vbucket.h"

namespace cairn::engine {

enum class Metric : uint8_t {
  kGets,
  kStores,
  kDeletes,
  kFetches,
  kFetchErrors,
  kEjections,
  kEjectedBytes,
  kExpired,
  kTmpOom,
  kFlushCycles,
  kFlushedOperations,
  kFlushedBytes,
  kFlushErrors,
  kReopens,
  kMergePasses,
  kMergedOperations,
  kMergeErrors,
  kWarmedItems,
  kUpdatesStarted,
  kUpdatesCompleted,
  kUpdatesReverted,
  kRevertedKeys,
  kDigestMismatches,
  kDurabilityImpossible,  // writes that were not executed: too few replicas
  kCount
};

/// After these a store answers the same to every write until it is reopened (kv_store.h).
inline bool NeedsReopen(Code code) {
  return code == Code::kNoSpace || code == Code::kAmbiguous || code == Code::kIoError;
}

/// The store, which everybody may use at once but for a Reopen. Null store: memory only.
class StoreGate {
 public:
  explicit StoreGate(std::unique_ptr<storage::KvStore> store) : store_(std::move(store)) {}
  bool present() const { return store_ != nullptr; }

  /// Holds the store open while it lives.
  class Access {
   public:
    explicit Access(StoreGate& gate) : lock_(gate.mutex_), store_(gate.store_.get()) {}
    storage::KvStore* operator->() const { return store_; }
    storage::KvStore& operator*() const { return *store_; }

   private:
    std::shared_lock<std::shared_mutex> lock_;
    storage::KvStore* store_;
  };

  /// An iterator that outlives the Access it was made in. Look at it, and destroy it, inside one; a Reopen
  /// takes the iterator away.
  struct Pin {
    std::unique_ptr<storage::Iterator> iterator;  // null: the store was reopened
  };
  /// Inside an Access.
  std::shared_ptr<Pin> Keep(std::unique_ptr<storage::Iterator> iterator) {
    auto pin = std::make_shared<Pin>();
    pin->iterator = std::move(iterator);
    MutexLock lock(pins_mutex_);
    std::erase_if(pins_, [](const std::weak_ptr<Pin>& p) { return p.expired(); });
    pins_.push_back(pin);
    return pin;
  }

  /// Waits until nobody is inside, and reopens.
  Status Reopen() {
    std::unique_lock<std::shared_mutex> lock(mutex_);
    generation_.fetch_add(1, std::memory_order_relaxed);
    {
      MutexLock pins_lock(pins_mutex_);
      for (const std::weak_ptr<Pin>& weak : pins_) {
        if (const std::shared_ptr<Pin> pin = weak.lock()) pin->iterator.reset();
      }
      pins_.clear();
    }
    return store_->Reopen();
  }
  /// Rises with each Reopen. Who needs several calls to see one opening of the store (data changes that were
  /// not flushed do not survive it) compares it, inside an Access, with what it was at the beginning.
  uint64_t generation() const { return generation_.load(std::memory_order_relaxed); }

 private:
  std::shared_mutex mutex_;
  std::atomic<uint64_t> generation_{0};
  std::unique_ptr<storage::KvStore> store_;
  Mutex pins_mutex_;
  std::vector<std::weak_ptr<Pin>> pins_ CAIRN_GUARDED_BY(pins_mutex_);
};

/// What the options' percentages make of a quota in bytes.
MemoryUsage::Thresholds ThresholdsOf(const EngineOptions& options, uint64_t quota);

struct Core {
  Core(const EngineOptions& engine_options, Clock* engine_clock, std::unique_ptr<storage::KvStore> kv_store,
       uint64_t seed);

  EngineOptions options;  // fixed after Open, but for what SetParam changes through atomics below
  Clock* const clock;
  const uint64_t hash_seed;
  MemoryUsage memory;
  StoreGate store;
  CounterSet<Metric> metrics;
  std::atomic<const Phase*> phase{nullptr};
  std::atomic<bool> warm{true};             // all vbuckets are
  std::atomic<bool> refuse_writes{false};   // the window of an online update is at its cap
  std::atomic<uint64_t> unmerged_bytes{0};  // logged since the last merge pass
  std::vector<std::unique_ptr<VBucket>> vbuckets;
  DurabilityTracker durability;

  // Hooks, set once before threads start.
  std::function<void(Vbid)> hand_to_flusher;
  std::function<void(std::unique_ptr<Preimages>)> hand_to_reclaimer;
  std::function<void()> report_store_failure;
  Announce announce;                            // there is something new for streams
  std::function<void(Vbid, Seqno)> on_loaded;   // by the warmer: the highest seqno in data of a vbucket
  std::function<void(int64_t now_ns)> on_tick;  // by the pager, every few milliseconds

  /// Cached by the housekeeper every few milliseconds when there are threads, else read from the clock.
  OpTime Now() const {
    const int64_t cached = cached_steady_ns.load(std::memory_order_relaxed);
    if (__builtin_expect(cached != 0, 1)) return {cached_wall_s.load(std::memory_order_relaxed), cached};
    return {clock->WallSeconds(), clock->SteadyNs()};
  }
  void RefreshTime() {
    cached_wall_s.store(clock->WallSeconds(), std::memory_order_relaxed);
    cached_steady_ns.store(clock->SteadyNs(), std::memory_order_relaxed);
  }
  std::atomic<int64_t> cached_steady_ns{0};
  std::atomic<uint32_t> cached_wall_s{0};

  /// Whoever writes a record `vb/<n>` holds it from before the record is encoded until the write is over, so
  /// that an older state never comes to lie over a newer one. Order: this, then the coordinator's mutex, then
  /// a vbucket's.
  Mutex meta_mutex;

  const Phase* CurrentPhase() const { return phase.load(std::memory_order_acquire); }

  /// After unlocking: hands over, wakes; memory is freed as `fx` goes out of scope at the caller.
  void Finish(VBucket& vb, Effects& fx) {
    if (fx.dirty) {
      fx.dirty = false;
      hand_to_flusher(vb.id());
    }
    if (__builtin_expect(!fx.wake.empty(), 0)) {
      for (const WaiterRef& waiter : fx.wake) waiter->Wake();
      fx.wake.clear();
    }
    if (__builtin_expect(fx.preimages != nullptr, 0)) hand_to_reclaimer(std::move(fx.preimages));
    if (__builtin_expect(fx.announce, 0)) {
      fx.announce = false;
      const Vbid vbucket = vb.id();
      if (!AnnounceLater::Take(*this, vbucket)) announce({&vbucket, 1}, false);
    }
  }
};

}  // namespace cairn::engine
