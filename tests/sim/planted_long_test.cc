// Every planted bug has to be found within 1,000 seeds.

#include <gtest/gtest.h>

#include "base/log.h"
#include "tests/sim/planted.h"

namespace cairn::sim {
namespace {

class PlantedLong : public ::testing::TestWithParam<const char*> {};

TEST_P(PlantedLong, IsFoundWithinAThousandSeeds) {
  SetLogLevel(LogLevel::kOff);
  const uint64_t seeds = SeedsToFind(GetParam(), 1000);
  EXPECT_NE(seeds, 0u) << GetParam();
  RecordProperty("seeds", static_cast<int>(seeds));
}

INSTANTIATE_TEST_SUITE_P(Bugs, PlantedLong,
                         ::testing::Values("plant.skip_sync:1+:fail", "plant.drop_marker:0.05:fail",
                                           "plant.skip_operation:0.001:fail",
                                           "plant.accept_old_epoch:1+:fail", "plant.ack_unpersisted:1+:fail",
                                           "plant.same_epoch:1+:fail", "plant.skip_rollback:0.1:fail",
                                           "plant.lose_tombstone:0.1:fail",
                                           "plant.cursor_off_by_one:0.1:fail",
                                           "replica.flip_byte:0.001:fail"));

}  // namespace
}  // namespace cairn::sim
