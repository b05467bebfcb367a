#include "engine/memory.h"

#include <gtest/gtest.h>

#include "engine/core.h"
#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

TEST(MemoryUsageTest, ThresholdsFollowTheOptionsPercentages) {
  EngineOptions options;
  const MemoryUsage::Thresholds t = ThresholdsOf(options, 1000);
  EXPECT_EQ(t.quota, 1000u);
  EXPECT_EQ(t.low, 750u);
  EXPECT_EQ(t.high, 850u);
  EXPECT_EQ(t.refuse, 930u);
  EXPECT_EQ(t.checkpoints, 200u);
}

TEST(MemoryUsageTest, ChecksEachThresholdByItself) {
  MemoryUsage memory({1000, 750, 850, 930, 200});
  memory.Add(800);
  memory.AddCheckpoints(200);
  EXPECT_TRUE(memory.above_low());
  EXPECT_FALSE(memory.above_high());
  EXPECT_FALSE(memory.refuses(130));
  EXPECT_TRUE(memory.refuses(131));
  EXPECT_FALSE(memory.checkpoints_over_budget());
  memory.AddCheckpoints(1);
  EXPECT_TRUE(memory.checkpoints_over_budget());
  memory.AddCheckpoints(-201);
  memory.Add(-900);  // more taken away than was there: never a huge number
  EXPECT_EQ(memory.used(), 0u);
  EXPECT_FALSE(memory.checkpoints_over_budget());
}

class CheckpointBudget : public EngineStoreTest {};

TEST_F(CheckpointBudget, WhatIsNotPersistedCountsUntilItIs) {
  EngineOptions options = SmallOptions();
  Open(options);
  ASSERT_TRUE(E()->StopPersistence().ok());
  for (int i = 0; i < 300; ++i)
    ASSERT_EQ(E().Set("key-" + std::to_string(i), std::string(500, 'v')), Code::kOk);
  EXPECT_GT(Number("", "ep_checkpoint_memory"), 300u * 500);
  EXPECT_EQ(Number("", "ep_checkpoint_memory_budget"), options.memory_quota / 100 * 20);
  ASSERT_TRUE(E()->StartPersistence().ok());
  Persist();
  EXPECT_LT(Number("", "ep_checkpoint_memory"), 10'000u);
}

}  // namespace
}  // namespace cairn::engine
