#include "bench/loadgen/workload.h"

#include <algorithm>

namespace cairn::loadgen {
namespace {

// The order of kOnce does not depend on --seed, so that two runs over one key space agree about which keys
// are "the first million".
constexpr uint64_t kScrambleSeed = 0x5ca1ab1e0ddba11ULL;

}  // namespace

Supply::Supply(const Options& options)
    : left_(options.ops == 0 ? UINT64_MAX : options.ops), scramble_(options.keys, kScrambleSeed) {
  if (options.count_distinct) set_keys_.resize(options.keys);
}

void Supply::NoteSet(uint64_t key) {
  if (set_keys_.empty() || set_keys_[key]) return;
  set_keys_[key] = true;
  ++distinct_sets_;
}

size_t Supply::Take(size_t wanted) {
  const uint64_t taken = std::min<uint64_t>(wanted, left_);
  left_ -= taken;
  return static_cast<size_t>(taken);
}

Workload::Workload(const Options& options, Supply& supply, uint64_t index)
    : options_(options), supply_(supply), random_(Mix64(options.seed) ^ Mix64(~index)) {
  if (options.distribution == Distribution::kZipf) zipf_.emplace(options.keys, options.zipf_exponent);
}

uint64_t Workload::NextKey() {
  if (options_.order == Order::kOnce) return supply_.NextOnce();
  if (zipf_) return supply_.Scatter(zipf_->Next(random_));
  return random_.Below(options_.keys);
}

bool Workload::Fill(Batch* batch) {
  batch->Clear();
  for (size_t request = 0; request < options_.depth; ++request) {
    const bool is_set =
        options_.set_ratio >= 1.0 || (options_.set_ratio > 0 && random_.Unit() < options_.set_ratio);
    const size_t keys = supply_.Take(is_set ? 1 : options_.multiget);
    if (keys == 0) break;
    if (is_set) {
      const uint32_t version = options_.version ? *options_.version : static_cast<uint32_t>(random_.Next());
      const uint64_t key = NextKey();
      supply_.NoteSet(key);
      batch->AddSet(key, version);
      continue;
    }
    batch->AddGet();
    for (size_t i = 0; i < keys; ++i) batch->AddGetKey(NextKey());
  }
  return batch->keys() > 0;
}

}  // namespace cairn::loadgen
