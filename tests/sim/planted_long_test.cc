// Every planted bug has to be found within 1,000 seeds. (A rollback that is left out once does no harm: the
// copy is told again.)

#include <gtest/gtest.h>

#include "base/log.h"
#include "tests/sim/planted.h"

namespace cairn::sim {
namespace {

class PlantedLong : public ::testing::TestWithParam<Plant> {};

TEST_P(PlantedLong, IsFoundWithinAThousandSeeds) {
  SetLogLevel(LogLevel::kOff);
  const uint64_t seeds = SeedsToFind(GetParam(), 1000);
  EXPECT_NE(seeds, 0u) << GetParam().fault;
  RecordProperty("seeds", static_cast<int>(seeds));
}

INSTANTIATE_TEST_SUITE_P(
    Bugs, PlantedLong,
    ::testing::Values(Plant{"plant.skip_sync", 1}, Plant{"plant.drop_marker", 0.05},
                      Plant{"plant.skip_operation", 0.002}, Plant{"plant.accept_old_epoch", 1},
                      Plant{"plant.ack_unpersisted", 1}, Plant{"plant.same_epoch", 1},
                      Plant{"plant.skip_rollback", 1}, Plant{"plant.lose_tombstone", 0.1},
                      Plant{"plant.cursor_off_by_one", 0.1}, Plant{"replica.flip_byte", 0.002}));

}  // namespace
}  // namespace cairn::sim
