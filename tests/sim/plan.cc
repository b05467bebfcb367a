#include "tests/sim/plan.h"

#include "base/random.h"
#include "tests/sim/event_queue.h"

namespace cairn::sim {
namespace {

constexpr uint64_t kRocksOneIn = 50;

engine::EngineOptions EngineFor(Random& random, const Plan& plan) {
  engine::EngineOptions options;
  options.vbuckets = plan.vbuckets;
  options.durability_copies = plan.nodes;
  options.memory_quota = plan.large_values ? 1u << 20 : 64u << 20;
  options.max_item_size = 256u << 10;
  constexpr engine::SyncPolicy kPolicies[] = {engine::SyncPolicy::kAlways, engine::SyncPolicy::kInterval,
                                              engine::SyncPolicy::kInterval, engine::SyncPolicy::kNone};
  options.sync = kPolicies[random.Uniform(4)];
  options.sync_interval_ms = static_cast<uint32_t>(random.Between(20, 1000));
  options.flush_delay_ms = 0;
  constexpr uint32_t kCheckpointItems[] = {2, 5, 10, 30, 1000};
  options.checkpoint_items_max = kCheckpointItems[random.Uniform(5)];
  options.checkpoint_age_max_ms = random.OneIn(3) ? 200 : 5'000;
  options.expiry_pager_interval_ms = random.OneIn(2) ? 500 : 60'000;
  if (random.OneIn(4)) options.update_on_restart = engine::OnRestart::kRevert;
  if (random.OneIn(2)) options.load_bytes_min = 0;
  return options;
}

}  // namespace

Plan Plan::FromSeed(uint64_t seed) {
  Random random(seed * 0x9e3779b97f4a7c15u + 1);
  Plan plan;
  plan.seed = seed;
  plan.nodes = static_cast<uint32_t>(random.Between(2, 4));
  plan.vbuckets = random.OneIn(3) ? 8 : 4;
  plan.keys = static_cast<uint32_t>(random.Between(8, 40));
  plan.events = static_cast<uint32_t>(random.Between(200, 600));
  plan.rocks = seed % kRocksOneIn == 0;
  if (plan.rocks) plan.events = 200;
  plan.chains = plan.nodes > 2 && random.OneIn(5);
  plan.mixed = random.OneIn(4);
  plan.crashes = !random.OneIn(4);
  plan.cuts = !random.OneIn(4);
  plan.promotions = !random.OneIn(3);
  plan.takeovers = !random.OneIn(3);
  plan.store_faults = !plan.rocks && random.OneIn(4);
  plan.fault_points = random.OneIn(4);
  plan.clock_jumps = random.OneIn(4);
  plan.updates = !random.OneIn(4);
  plan.flushes = random.OneIn(2);
  plan.large_values = random.OneIn(6);
  plan.engine = EngineFor(random, plan);
  constexpr uint32_t kChunkBytes[] = {64, 256, 1024, 65536};
  plan.chunk_bytes = kChunkBytes[random.Uniform(4)];
  plan.apply_operations = random.OneIn(2) ? 4 : 4096;
  plan.background_ns = static_cast<int64_t>(random.Between(1, 40)) * kMs;
  plan.apart = plan.promotions && plan.nodes > 2 && random.OneIn(3);
  return plan;
}

}  // namespace cairn::sim
