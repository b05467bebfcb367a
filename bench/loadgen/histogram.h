#pragma once
// Latency histogram: 64 linear steps per power of two, so every answer is within 1.6 % of the truth from
// nanoseconds to minutes, in a fixed 18 KiB and one increment per sample. Owned and used by one thread.

#include <array>
#include <cstddef>
#include <cstdint>

namespace cairn::loadgen {

class Histogram {
 public:
  /// Larger samples (about 18 minutes in nanoseconds) are counted as this one; max() stays exact.
  static constexpr uint64_t kValueMax = (uint64_t{1} << 40) - 1;

  /// Counts `n` samples of the same value; the unit is the caller's, nanoseconds here.
  void Record(uint64_t value, uint64_t n = 1);

  uint64_t count() const { return count_; }
  /// Exact; 0 when empty.
  uint64_t max() const { return max_; }
  /// Exact mean of the recorded values; 0 when empty.
  double Mean() const;
  /// The smallest bucket bound that at least `percent` (0 … 100) of the samples do not exceed, never more
  /// than max(); 0 when empty.
  uint64_t Percentile(double percent) const;

 private:
  static constexpr unsigned kStepBits = 6;
  static constexpr uint64_t kSteps = uint64_t{1} << kStepBits;
  static constexpr size_t kBuckets = (40 - kStepBits + 1) * kSteps;

  static size_t BucketOf(uint64_t value);
  static uint64_t UpperBoundOf(size_t bucket);

  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  uint64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace cairn::loadgen
