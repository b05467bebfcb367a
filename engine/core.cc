#include "engine/core.h"

#include <utility>

namespace cairn::engine {

MemoryUsage::Thresholds ThresholdsOf(const EngineOptions& options, uint64_t quota) {
  const uint64_t percent = quota / 100;
  return {quota, percent * options.low_watermark_percent, percent * options.high_watermark_percent,
          percent * options.refuse_percent, percent * options.checkpoint_memory_percent};
}

Core::Core(const EngineOptions& engine_options, Clock* engine_clock,
           std::unique_ptr<storage::KvStore> kv_store, uint64_t seed)
    : options(engine_options),
      clock(engine_clock),
      hash_seed(seed),
      memory(ThresholdsOf(engine_options, engine_options.memory_quota)),
      store(std::move(kv_store)),
      durability(engine_options.durability_copies) {
  VBucketOptions vb;
  vb.hash_seed = hash_seed;
  vb.checkpoint_limits.items_max = options.checkpoint_items_max;
  vb.checkpoint_limits.age_max_ns = int64_t{options.checkpoint_age_max_ms} * 1'000'000;
  vb.memory = &memory;
  vbuckets.reserve(options.vbuckets);
  for (uint32_t i = 0; i < options.vbuckets; ++i) {
    vb.id = Vbid(static_cast<uint16_t>(i));
    vbuckets.push_back(std::make_unique<VBucket>(vb));
  }
}

}  // namespace cairn::engine
