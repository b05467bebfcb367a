// The simulator's seeds of the default run. CAIRN_SIM_SEEDS=N and CAIRN_SIM_FIRST_SEED=N run others; for long
// runs, in several processes, there is scripts/sim.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/log.h"
#include "tests/sim/run.h"

namespace cairn::sim {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kSeeds = 200;  // five times slower, and each on its own
#else
constexpr uint64_t kSeeds = 1000;
#endif

uint64_t Number(const char* name, uint64_t by_default) {
  const char* text = std::getenv(name);
  return text == nullptr ? by_default : std::strtoull(text, nullptr, 10);
}

TEST(Sim, EverySeedEndsInOneStateThatItsClientsCanHaveSeen) {
  SetLogLevel(LogLevel::kOff);
  const uint64_t first = Number("CAIRN_SIM_FIRST_SEED", 1);
  const uint64_t seeds = Number("CAIRN_SIM_SEEDS", kSeeds);
  Outcome total;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    const Outcome outcome = RunSeed(seed, {});
    ASSERT_EQ(outcome.failure, "") << "seed " << seed << "\nto repeat it: cairn_sim --first-seed " << seed
                                   << " --seeds 1 --trace";
    total.Add(outcome);
    if (seed % 20 != 0) continue;
    // Time and chance come from the seed alone.
    ASSERT_EQ(RunSeed(seed, {}).hash, outcome.hash) << "two runs of seed " << seed << " differ";
  }
  if (seeds < 100) return;
  // The runs have seen something.
  EXPECT_GT(total.promotions, seeds / 4);
  EXPECT_GT(total.takeovers, seeds / 10);
  EXPECT_GT(total.reverts, seeds / 4);
  EXPECT_GT(total.durable, seeds);
  EXPECT_GT(total.points_compared, 100 * seeds);
  EXPECT_LT(total.points_unknown, total.points_compared / 10);
  EXPECT_GT(total.keys_checked, 10 * seeds);
}

/// Seeds that have found something stay.
TEST(Sim, SeedsThatHaveFoundSomethingPass) {
  SetLogLevel(LogLevel::kOff);
  for (const uint64_t seed :
       {3u, 8u, 9u, 20u, 215u, 5920u, 6646u, 20736u, 31087u, 40516u, 40998u, 50491u, 100764u, 100789u})
    EXPECT_EQ(RunSeed(seed, {}).failure, "") << "seed " << seed;
}

}  // namespace
}  // namespace cairn::sim
