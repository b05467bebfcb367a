#include "engine/core.h"

#include <utility>

namespace cairn::engine {

Core::Core(const EngineOptions& engine_options, Clock* engine_clock,
           std::unique_ptr<storage::KvStore> kv_store, uint64_t seed)
    : options(engine_options),
      clock(engine_clock),
      hash_seed(seed),
      memory(
          MemoryUsage::Thresholds{engine_options.memory_quota,
                                  engine_options.memory_quota / 100 * engine_options.low_watermark_percent,
                                  engine_options.memory_quota / 100 * engine_options.high_watermark_percent,
                                  engine_options.memory_quota / 100 * engine_options.refuse_percent}),
      store(std::move(kv_store)) {
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
