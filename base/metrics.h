#pragma once
// Counters and histograms that cost a nanosecond to raise: each thread writes its own shard with a plain
// load and store, and a reader adds the shards up. They belong to an engine or a server, never to the
// process, so that two engines in one process count apart.
//
// Threads: raise and read from any thread. A sum is exact for everything that happened before the read
// (in the sense of happens-before) and may or may not hold what happens meanwhile. Shards are chosen by
// ThreadNumber(); threads numbered beyond the shards share one more, with atomic additions, so that no
// count is ever lost.

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "base/thread_number.h"

namespace cairn {

/// Threads that get a shard of their own.
inline constexpr uint32_t kMetricShards = 64;

/// A fixed number of 64-bit counters.
class Counters {
 public:
  /// `slots` > 0. Takes about 8 × slots × 65 bytes.
  explicit Counters(size_t slots);
  ~Counters();
  Counters(const Counters&) = delete;
  Counters& operator=(const Counters&) = delete;

  /// Adds `n` to counter `slot` (< slots). Adding 2^64 - n takes n away: a gauge may go up in one thread
  /// and down in another.
  void Add(size_t slot, uint64_t n = 1) {
    CAIRN_DCHECK(slot < slots_);
    const uint32_t thread = ThreadNumber();
    if (__builtin_expect(thread < kMetricShards, 1)) {
      std::atomic<uint64_t>& cell = cells_[thread * stride_ + slot];
      cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    } else {
      cells_[kMetricShards * stride_ + slot].fetch_add(n, std::memory_order_relaxed);
    }
  }
  void Sub(size_t slot, uint64_t n = 1) { Add(slot, 0 - n); }

  uint64_t Sum(size_t slot) const;
  /// Sum() starts again at 0. Shards are not touched, only what was counted so far is remembered; so this
  /// may be called at any time, and counts are never lost.
  void Reset();
  size_t slots() const { return slots_; }

 private:
  uint64_t RawSum(size_t slot) const;

  const size_t slots_;
  const size_t stride_;           // cells from one shard to the next, whole cache lines
  std::atomic<uint64_t>* cells_;  // kMetricShards + 1 shards, aligned to a cache line
  std::unique_ptr<std::atomic<uint64_t>[]> baseline_;
};

/// Counters named by an enum class whose enumerators start at 0 and end with kCount.
template <class Enum>
class CounterSet {
 public:
  CounterSet() : counters_(static_cast<size_t>(Enum::kCount)) {}
  void Add(Enum counter, uint64_t n = 1) { counters_.Add(static_cast<size_t>(counter), n); }
  void Sub(Enum counter, uint64_t n = 1) { counters_.Sub(static_cast<size_t>(counter), n); }
  uint64_t Sum(Enum counter) const { return counters_.Sum(static_cast<size_t>(counter)); }
  void Reset() { counters_.Reset(); }

 private:
  Counters counters_;
};

/// Values by size in log-linear buckets: exact below 16, above it 16 buckets for each power of two, so
/// that a percentile is at most 6.25 % too high and never too low. Unit is the caller's (ns, µs, bytes).
/// Values from 2^42 on count as 2^42 - 1 (73 minutes in ns), except in max and sum.
class Histogram {
 public:
  static constexpr uint32_t kSubBits = 4;
  static constexpr uint32_t kValueBits = 42;
  static constexpr size_t kBuckets = (size_t{kValueBits - kSubBits} + 1) << kSubBits;

  struct Bucket {
    uint64_t low, high;  // values low … high, both included
    uint64_t count;
  };

  /// What was recorded up to a moment. A value type.
  class Snapshot {
   public:
    uint64_t count() const { return count_; }
    uint64_t sum() const { return sum_; }
    uint64_t max() const { return max_; }
    double mean() const { return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_); }
    /// The smallest bucket bound that at least `percent` (0 … 100) of the values do not exceed; never more
    /// than max(). 0 when nothing was recorded.
    uint64_t Percentile(double percent) const;
    /// The buckets that hold something, in order of value.
    std::vector<Bucket> buckets() const;

   private:
    friend class Histogram;
    std::vector<uint64_t> counts_;
    uint64_t count_ = 0, sum_ = 0, max_ = 0;
  };

  Histogram();
  ~Histogram();
  Histogram(const Histogram&) = delete;
  Histogram& operator=(const Histogram&) = delete;

  void Record(uint64_t value);
  Snapshot Read() const;
  /// Forgets what was recorded. Values recorded at the same time in another thread may be forgotten too.
  void Reset() { epoch_.fetch_add(1, std::memory_order_acq_rel); }

  static size_t BucketOf(uint64_t value) {
    if (value >> kValueBits != 0) value = (uint64_t{1} << kValueBits) - 1;
    if (value < (1U << kSubBits)) return value;
    const auto exponent = static_cast<uint32_t>(std::bit_width(value)) - 1;  // ≥ kSubBits
    const uint64_t sub = (value >> (exponent - kSubBits)) & ((1U << kSubBits) - 1);
    return ((size_t{exponent - kSubBits} + 1) << kSubBits) + sub;
  }
  /// Smallest and largest value of a bucket.
  static uint64_t LowOf(size_t bucket);
  static uint64_t HighOf(size_t bucket) { return LowOf(bucket + 1) - 1; }

 private:
  struct Shard;
  Shard* ShardOfThisThread();
  void RecordShared(uint64_t value) CAIRN_EXCLUDES(shared_mutex_);

  // A shard is made at its thread's first Record and cleared by that thread when it sees a new epoch;
  // readers skip shards of an older one. So a reset needs no handshake with writers.
  std::atomic<uint64_t> epoch_{1};
  std::array<std::atomic<Shard*>, kMetricShards> shards_{};
  mutable Mutex shared_mutex_;
  std::unique_ptr<Shard> shared_ CAIRN_GUARDED_BY(shared_mutex_);  // of threads without a shard
};

}  // namespace cairn
