#pragma once
// MemoryUsage: how much of the quota the engine's items, tables, checkpoints and pre-images take. Each
// vbucket adds the difference after every change, so the sum is exact at any moment and costs one atomic
// addition. An operation that is not persisted yet counts in the table and in its checkpoint: the sum errs
// upwards while the disk is behind, never downwards. Any thread.

#include <atomic>
#include <cstdint>

namespace cairn::engine {

class MemoryUsage {
 public:
  struct Thresholds {
    uint64_t quota = 0, low = 0, high = 0, refuse = 0;  // bytes
    uint64_t checkpoints = 0;                           // budget of the checkpoints, within the quota
  };
  explicit MemoryUsage(const Thresholds& thresholds) { Set(thresholds); }

  void Set(const Thresholds& t) {
    quota_.store(t.quota, std::memory_order_relaxed);
    low_.store(t.low, std::memory_order_relaxed);
    high_.store(t.high, std::memory_order_relaxed);
    refuse_.store(t.refuse, std::memory_order_relaxed);
    checkpoint_budget_.store(t.checkpoints, std::memory_order_relaxed);
  }
  void Add(int64_t bytes) { used_.fetch_add(bytes, std::memory_order_relaxed); }
  /// A part of what Add counts.
  void AddCheckpoints(int64_t bytes) { checkpoints_.fetch_add(bytes, std::memory_order_relaxed); }

  uint64_t used() const {
    const int64_t used = used_.load(std::memory_order_relaxed);
    return used > 0 ? static_cast<uint64_t>(used) : 0;
  }
  uint64_t quota() const { return quota_.load(std::memory_order_relaxed); }
  uint64_t low() const { return low_.load(std::memory_order_relaxed); }
  uint64_t high() const { return high_.load(std::memory_order_relaxed); }
  uint64_t refuse() const { return refuse_.load(std::memory_order_relaxed); }
  /// Writes that add data get TMP_OOM.
  bool refuses(size_t more_bytes) const { return used() + more_bytes > refuse(); }
  uint64_t checkpoint_budget() const { return checkpoint_budget_.load(std::memory_order_relaxed); }
  /// Checkpoints hold more than their budget: the flusher does not wait to gather more, and cursors that may
  /// be dropped are. Writes are refused by the quota alone, so that a slow disk costs no write before it
  /// must.
  bool checkpoints_over_budget() const {
    const int64_t held = checkpoints_.load(std::memory_order_relaxed);
    return held > 0 && static_cast<uint64_t>(held) > checkpoint_budget();
  }
  bool above_high() const { return used() > high(); }
  bool above_low() const { return used() > low(); }

 private:
  std::atomic<int64_t> used_{0};
  std::atomic<int64_t> checkpoints_{0};
  std::atomic<uint64_t> quota_{0}, low_{0}, high_{0}, refuse_{0}, checkpoint_budget_{0};
};

}  // namespace cairn::engine
