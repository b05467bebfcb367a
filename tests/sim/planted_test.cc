// Three of the planted bugs, with few seeds each; all of them: planted_long_test.cc.

#include <gtest/gtest.h>

#include "base/log.h"
#include "tests/sim/planted.h"

namespace cairn::sim {
namespace {

class Planted : public ::testing::TestWithParam<Plant> {};

TEST_P(Planted, IsFoundSoon) {
  SetLogLevel(LogLevel::kOff);
  EXPECT_NE(SeedsToFind(GetParam(), 50), 0u) << GetParam().fault;
}

INSTANTIATE_TEST_SUITE_P(Bugs, Planted,
                         ::testing::Values(Plant{"plant.skip_operation", 0.01},
                                           Plant{"plant.lose_tombstone", 0.5},
                                           Plant{"plant.drop_marker", 0.2}));

}  // namespace
}  // namespace cairn::sim
