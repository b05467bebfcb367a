#include "base/clock.h"

#include <gtest/gtest.h>

#include <ctime>

namespace cairn {
namespace {

TEST(SystemClock, SteadyNeverGoesBack) {
  const SystemClock clock;
  int64_t last_ns = clock.SteadyNs();
  for (int i = 0; i < 10'000; ++i) {
    const int64_t now_ns = clock.SteadyNs();
    ASSERT_GE(now_ns, last_ns);
    last_ns = now_ns;
  }
}

TEST(SystemClock, WallIsUnixTime) {
  const SystemClock clock;
  const time_t before = time(nullptr);
  const uint32_t seconds = clock.WallSeconds();
  // time() may read a coarser clock that lags by a tick.
  EXPECT_GE(seconds + 1, static_cast<uint32_t>(before));
  EXPECT_LE(seconds, static_cast<uint32_t>(time(nullptr)) + 1);
}

TEST(ManualClock, StandsStillUntilAdvanced) {
  ManualClock clock(5'000'000'000);
  const int64_t steady_ns = clock.SteadyNs();
  EXPECT_EQ(clock.WallSeconds(), 5U);
  EXPECT_EQ(clock.SteadyNs(), steady_ns);
  clock.Advance(1'500'000'000);
  EXPECT_EQ(clock.SteadyNs() - steady_ns, 1'500'000'000);
  EXPECT_EQ(clock.WallNs(), 6'500'000'000);
  EXPECT_EQ(clock.WallSeconds(), 6U);
}

TEST(ManualClock, WallJumpsAlone) {
  ManualClock clock(5'000'000'000);
  const int64_t steady_ns = clock.SteadyNs();
  clock.JumpWall(-2'000'000'000);
  EXPECT_EQ(clock.WallSeconds(), 3U);
  EXPECT_EQ(clock.SteadyNs(), steady_ns);
}

}  // namespace
}  // namespace cairn
