#include "bench/loadgen/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace cairn::loadgen {

size_t Histogram::BucketOf(uint64_t value) {
  if (value < kSteps) return static_cast<size_t>(value);
  const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kStepBits;
  return static_cast<size_t>(((uint64_t{shift} + 1) << kStepBits) | ((value >> shift) & (kSteps - 1)));
}

uint64_t Histogram::UpperBoundOf(size_t bucket) {
  if (bucket < kSteps) return bucket;
  const unsigned shift = static_cast<unsigned>(bucket >> kStepBits) - 1;
  return ((kSteps + (bucket & (kSteps - 1)) + 1) << shift) - 1;
}

void Histogram::Record(uint64_t value, uint64_t n) {
  if (n == 0) return;
  buckets_[BucketOf(std::min(value, kValueMax))] += n;
  count_ += n;
  max_ = std::max(max_, value);
  sum_ += static_cast<double>(value) * static_cast<double>(n);
}

double Histogram::Mean() const { return count_ == 0 ? 0.0 : sum_ / static_cast<double>(count_); }

uint64_t Histogram::Percentile(double percent) const {
  if (count_ == 0) return 0;
  const double wanted = std::ceil(std::clamp(percent, 0.0, 100.0) / 100.0 * static_cast<double>(count_));
  const uint64_t rank = std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, count_);
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += buckets_[bucket];
    if (seen >= rank) return std::min(UpperBoundOf(bucket), max_);
  }
  return max_;
}

}  // namespace cairn::loadgen
