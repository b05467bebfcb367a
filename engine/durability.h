#pragma once
// Durability of single writes: how far a write has to have come before it is answered (docs/durability.md),
// what the copies have, and who waits for that.
//
// The tracker knows what replicas have reported, and nothing else: what the active itself has (its state,
// its branch of history, what is synced) comes with each question, so the two can never disagree for long.
// A replica counts for a write when it is connected, on the write's branch of history, and far enough. What a
// majority had at one moment stays reached, also when one of them leaves before anybody has looked.
//
// Owner: Core. Threads: any. Locks are leaves, held for a few steps; waiters are woken outside of them.
// Everything is bounded by the connections that wait and by kReplicasMax replicas for each vbucket.

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/types.h"
#include "engine/ops.h"
#include "engine/options.h"

namespace cairn::engine {

/// "majority-and-persisted"
std::string_view DurabilityLevelName(DurabilityLevel level);
std::optional<DurabilityLevel> DurabilityLevelOf(std::string_view name);

/// More than half of the copies, the active counted.
constexpr uint32_t MajorityOf(uint32_t copies) { return copies / 2 + 1; }
/// Is the active's own sync part of what is asked?
constexpr bool UsesDisk(DurabilityLevel level) {
  return level == DurabilityLevel::kPersisted || level == DurabilityLevel::kMajorityAndPersisted ||
         level == DurabilityLevel::kPersistedMajority;
}
constexpr bool UsesReplicas(DurabilityLevel level) { return level >= DurabilityLevel::kMajority; }
/// Are the replicas' syncs?
constexpr bool UsesReplicasDisks(DurabilityLevel level) {
  return level == DurabilityLevel::kPersistedMajority;
}
/// What `--sync always` makes of a level: whatever else is asked, the active's log is synced too.
constexpr DurabilityLevel WithSync(DurabilityLevel level) {
  if (level == DurabilityLevel::kMemory) return DurabilityLevel::kPersisted;
  if (level == DurabilityLevel::kMajority) return DurabilityLevel::kMajorityAndPersisted;
  return level;
}

inline constexpr uint32_t kDurabilityTimeoutMaxMs = 600'000;

/// What is asked of a write that does not say itself.
struct DurabilitySettings {
  DurabilityLevel level = DurabilityLevel::kMemory;
  uint32_t copies = 2;          // that a majority is counted of; 1 … 64
  uint32_t timeout_ms = 5'000;  // 1 … kDurabilityTimeoutMaxMs; then the answer is "ambiguous"
};

/// One write and how far it has to come.
struct Requirement {
  Vbid vbucket;
  DurabilityLevel level = DurabilityLevel::kMemory;
  Seqno seqno;
  uint64_t history = 0;  // the branch it was written on
};

/// May a write with some level begin?
enum class DurabilityAdmission : uint8_t {
  kOk,
  kInvalidLevel,  // there is no disk here that could keep it
  kImpossible,    // fewer replicas are connected than a majority needs
};

/// What the active has, at one moment.
struct ActiveView {
  bool active = false;
  uint64_t history = 0;
  Code synced = Code::kWouldBlock;  // of the write: kOk, kWouldBlock, kAmbiguous (a sync failed)
};

class DurabilityTracker {
 public:
  static constexpr size_t kReplicasMax = 64;

  explicit DurabilityTracker(uint32_t copies) : copies_(copies) {}
  DurabilityTracker(const DurabilityTracker&) = delete;
  DurabilityTracker& operator=(const DurabilityTracker&) = delete;

  // --- what is asked by default ---
  DurabilityLevel level() const { return level_.load(std::memory_order_relaxed); }
  void set_level(DurabilityLevel level) {
    if (level != DurabilityLevel::kMemory) Use();
    level_.store(level, std::memory_order_relaxed);
  }
  /// Has anybody asked for more than memory? Until then writes do not record their branch of history.
  bool used() const { return used_.load(std::memory_order_relaxed); }
  void Use() { used_.store(true, std::memory_order_relaxed); }
  /// What a majority is counted of: the active and its replicas, 1 … kReplicasMax.
  uint32_t copies() const { return copies_.load(std::memory_order_relaxed); }
  /// Wakes all who wait for replicas: they count anew.
  void set_copies(uint32_t copies);
  uint32_t majority() const { return MajorityOf(copies()); }
  /// How long a write may wait that does not say so itself.
  uint32_t timeout_ms() const { return timeout_ms_.load(std::memory_order_relaxed); }
  void set_timeout_ms(uint32_t timeout_ms) { timeout_ms_.store(timeout_ms, std::memory_order_relaxed); }

  // --- events ---
  /// How far `replica` is in the vbucket now; less than before when it had to roll back.
  void Report(std::string_view replica, Vbid vbucket, uint64_t history, Seqno applied, Seqno persisted);
  /// It is disconnected.
  void Forget(std::string_view replica);
  /// It follows that vbucket no more, until it reports again.
  void Forget(std::string_view replica, Vbid vbucket);

  // --- decisions ---
  /// Replicas that are connected and on that branch.
  uint32_t LiveReplicas(Vbid vbucket, uint64_t history) const;
  /// Are there enough of them for `level`?
  bool Possible(DurabilityLevel level, Vbid vbucket, uint64_t history) const {
    return !UsesReplicas(level) || LiveReplicas(vbucket, history) + 1 >= majority();
  }
  /// kOk: done. kWouldBlock: not yet. kAmbiguous: it cannot be said any more (another branch of history, not
  /// active, or a sync of the active failed that was part of what was asked).
  Code Outcome(const Requirement& requirement, const ActiveView& active) const;

  // --- waiting for replicas ---
  using WaitId = uint64_t;
  /// Wakes `waiter` when as many replicas as make a majority with the active have it, or the vbucket is not
  /// what it was (ReleaseStale). Look again after this call. `first`: nobody waited before, or nobody for the
  /// replicas' disks and this one does.
  WaitId Await(const Requirement& requirement, WaiterRef waiter, bool* first = nullptr);
  /// No wake begins after it. Success without effect when the wait is over.
  void Cancel(Vbid vbucket, WaitId id);
  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  /// Of those: for what replicas have synced (UsesReplicasDisks).
  size_t waiting_for_disks() const { return waiting_for_disks_.load(std::memory_order_relaxed); }
  /// Wakes those whose vbucket is not active on their branch any more. Called every few milliseconds.
  void ReleaseStale(const std::function<ActiveView(Vbid)>& look);

 private:
  static constexpr size_t kShards = 16;

  struct Copy {
    std::string replica;
    uint64_t history = 0;
    Seqno applied, persisted;
  };
  struct Wait {
    Requirement requirement;
    WaiterRef waiter;
  };
  /// The highest seqno that so many replicas as make a majority with the active had at one moment, on branch
  /// `history`, when a majority was `majority` copies.
  struct Reached {
    uint64_t history = 0;
    uint32_t majority = 0;
    Seqno applied, persisted;
  };
  struct Entry {
    std::vector<Copy> copies;
    std::map<WaitId, Wait> waits;
    Reached reached;
  };
  struct alignas(64) Shard {
    mutable Mutex mutex;
    std::unordered_map<Vbid, Entry> entries CAIRN_GUARDED_BY(mutex);
  };

  Shard& ShardOf(Vbid vbucket) { return (*shards_)[vbucket.get() % kShards]; }
  const Shard& ShardOf(Vbid vbucket) const { return (*shards_)[vbucket.get() % kShards]; }
  /// Do, or did, as many replicas have it as make a majority with the active?
  bool Have(const Entry& entry, const Requirement& requirement) const;
  void RaiseReached(Entry& entry, uint64_t history) const;
  /// The wait is over.
  void CountOut(const Wait& wait);
  template <class IsOver>
  void TakeWaits(Entry& entry, const IsOver& is_over, std::vector<WaiterRef>* woken);

  std::atomic<uint32_t> copies_;
  std::atomic<uint32_t> timeout_ms_{5'000};
  std::atomic<DurabilityLevel> level_{DurabilityLevel::kMemory};
  std::atomic<bool> used_{false};
  std::atomic<size_t> waiting_{0};
  std::atomic<size_t> waiting_for_disks_{0};
  std::atomic<WaitId> next_id_{1};
  // On the heap: a tracker itself then needs no alignment beyond the usual.
  const std::unique_ptr<std::array<Shard, kShards>> shards_ = std::make_unique<std::array<Shard, kShards>>();
};

/// A wait for replicas that ends with its owner. The tracker must outlive it.
class DurabilityWait {
 public:
  DurabilityWait() = default;
  DurabilityWait(DurabilityTracker& tracker, Vbid vbucket, DurabilityTracker::WaitId id)
      : tracker_(&tracker), vbucket_(vbucket), id_(id) {}
  ~DurabilityWait() { Cancel(); }
  DurabilityWait(DurabilityWait&& other) noexcept { *this = std::move(other); }
  DurabilityWait& operator=(DurabilityWait&& other) noexcept {
    if (this != &other) {
      Cancel();
      tracker_ = std::exchange(other.tracker_, nullptr);
      vbucket_ = other.vbucket_;
      id_ = other.id_;
    }
    return *this;
  }

 private:
  void Cancel() {
    if (tracker_ != nullptr) std::exchange(tracker_, nullptr)->Cancel(vbucket_, id_);
  }

  DurabilityTracker* tracker_ = nullptr;
  Vbid vbucket_;
  DurabilityTracker::WaitId id_ = 0;
};

}  // namespace cairn::engine
