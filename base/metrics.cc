#include "base/metrics.h"

#include <algorithm>
#include <cmath>
#include <new>

namespace cairn {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kCellsPerLine = kCacheLine / sizeof(std::atomic<uint64_t>);

/// Adds without a locked instruction: the caller is the cell's only writer.
void AddOwned(std::atomic<uint64_t>& cell, uint64_t n) {
  cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace

Counters::Counters(size_t slots)
    : slots_(slots),
      stride_((slots + kCellsPerLine - 1) / kCellsPerLine * kCellsPerLine),
      baseline_(std::make_unique<std::atomic<uint64_t>[]>(slots)) {
  CAIRN_CHECK(slots > 0);
  const size_t cells = stride_ * (kMetricShards + 1);
  void* memory = ::operator new (cells * sizeof(std::atomic<uint64_t>), std::align_val_t{kCacheLine});
  cells_ = new (memory) std::atomic<uint64_t>[cells] {};
}

// The cells are trivially destructible, so only their memory has to go.
Counters::~Counters() { ::operator delete (cells_, std::align_val_t{kCacheLine}); }

uint64_t Counters::RawSum(size_t slot) const {
  uint64_t sum = 0;
  for (size_t shard = 0; shard <= kMetricShards; ++shard) {
    sum += cells_[shard * stride_ + slot].load(std::memory_order_relaxed);
  }
  return sum;
}

uint64_t Counters::Sum(size_t slot) const {
  CAIRN_CHECK(slot < slots_);
  // The baseline first: one that a Reset puts there meanwhile would exceed the older raw sum.
  const uint64_t baseline = baseline_[slot].load(std::memory_order_acquire);
  return RawSum(slot) - baseline;
}

void Counters::Reset() {
  for (size_t slot = 0; slot < slots_; ++slot) {
    baseline_[slot].store(RawSum(slot), std::memory_order_release);
  }
}

struct alignas(kCacheLine) Histogram::Shard {
  std::atomic<uint64_t> epoch{0};  // stored last, so that a reader who sees it sees a cleared shard
  std::atomic<uint64_t> sum{0};
  std::atomic<uint64_t> max{0};
  std::array<std::atomic<uint64_t>, kBuckets> counts{};

  /// By the one writer.
  void Clear(uint64_t new_epoch) {
    for (auto& bucket : counts) bucket.store(0, std::memory_order_relaxed);
    sum.store(0, std::memory_order_relaxed);
    max.store(0, std::memory_order_relaxed);
    epoch.store(new_epoch, std::memory_order_release);
  }
  void Add(uint64_t value) {
    AddOwned(counts[BucketOf(value)], 1);
    AddOwned(sum, value);
    if (value > max.load(std::memory_order_relaxed)) max.store(value, std::memory_order_relaxed);
  }
};

Histogram::Histogram() : shared_(std::make_unique<Shard>()) {}

Histogram::~Histogram() {
  for (auto& shard : shards_) delete shard.load(std::memory_order_relaxed);
}

Histogram::Shard* Histogram::ShardOfThisThread() {
  const uint32_t thread = ThreadNumber();
  if (thread >= kMetricShards) return nullptr;
  Shard* shard = shards_[thread].load(std::memory_order_relaxed);
  if (__builtin_expect(shard == nullptr, 0)) {
    shard = new Shard;
    shards_[thread].store(shard, std::memory_order_release);
  }
  return shard;
}

void Histogram::Record(uint64_t value) {
  Shard* const shard = ShardOfThisThread();
  if (__builtin_expect(shard == nullptr, 0)) {
    RecordShared(value);
    return;
  }
  const uint64_t epoch = epoch_.load(std::memory_order_acquire);
  if (__builtin_expect(shard->epoch.load(std::memory_order_relaxed) != epoch, 0)) shard->Clear(epoch);
  shard->Add(value);
}

void Histogram::RecordShared(uint64_t value) {
  MutexLock lock(shared_mutex_);
  const uint64_t epoch = epoch_.load(std::memory_order_acquire);
  if (shared_->epoch.load(std::memory_order_relaxed) != epoch) shared_->Clear(epoch);
  shared_->Add(value);
}

Histogram::Snapshot Histogram::Read() const {
  Snapshot snapshot;
  snapshot.counts_.resize(kBuckets);
  const uint64_t epoch = epoch_.load(std::memory_order_acquire);
  const auto add = [&](const Shard& shard) {
    if (shard.epoch.load(std::memory_order_acquire) != epoch) return;
    for (size_t i = 0; i < kBuckets; ++i) {
      const uint64_t count = shard.counts[i].load(std::memory_order_relaxed);
      snapshot.counts_[i] += count;
      snapshot.count_ += count;
    }
    snapshot.sum_ += shard.sum.load(std::memory_order_relaxed);
    snapshot.max_ = std::max(snapshot.max_, shard.max.load(std::memory_order_relaxed));
  };
  for (const auto& entry : shards_) {
    const Shard* shard = entry.load(std::memory_order_acquire);
    if (shard != nullptr) add(*shard);
  }
  MutexLock lock(shared_mutex_);
  add(*shared_);
  return snapshot;
}

uint64_t Histogram::LowOf(size_t bucket) {
  constexpr size_t kSubs = size_t{1} << kSubBits;
  if (bucket < kSubs) return bucket;
  const size_t exponent = bucket / kSubs - 1;
  return (kSubs + bucket % kSubs) << exponent;
}

uint64_t Histogram::Snapshot::Percentile(double percent) const {
  if (count_ == 0) return 0;
  const double wanted = std::ceil(std::clamp(percent, 0.0, 100.0) / 100.0 * static_cast<double>(count_));
  const uint64_t rank = std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, count_);
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    // The last bucket has no upper bound, since it also holds what was too large for any.
    if (seen >= rank) return i + 1 == kBuckets ? max_ : std::min(HighOf(i), max_);
  }
  return max_;
}

std::vector<Histogram::Bucket> Histogram::Snapshot::buckets() const {
  std::vector<Bucket> filled;
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] != 0) filled.push_back({LowOf(i), HighOf(i), counts_[i]});
  }
  return filled;
}

}  // namespace cairn
