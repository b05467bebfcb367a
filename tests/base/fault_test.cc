#include "base/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <thread>
#include <vector>

namespace cairn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FaultTest : public testing::Test {
 protected:
  void TearDown() override { FaultRegistry::Global().DisarmAll(); }
};

bool Fails() { return CAIRN_FAULT("test.fails"); }

std::vector<bool> Try(int times) {
  std::vector<bool> outcome;
  outcome.reserve(static_cast<size_t>(times));
  for (int i = 0; i < times; ++i) outcome.push_back(Fails());
  return outcome;
}

TEST_F(FaultTest, DisarmedNeverFires) { EXPECT_THAT(Try(3), ElementsAre(false, false, false)); }

TEST_F(FaultTest, AnotherPointsFaultDoesNotFireHere) {
  const ScopedFault other("test.other", FaultSpec::Always());
  EXPECT_THAT(Try(2), ElementsAre(false, false));
  EXPECT_EQ(other.hits(), 0U);
}

TEST_F(FaultTest, Always) {
  const ScopedFault fault("test.fails", FaultSpec::Always());
  EXPECT_THAT(Try(3), ElementsAre(true, true, true));
  EXPECT_EQ(fault.fires(), 3U);
}

TEST_F(FaultTest, NthHitOnce) {
  const ScopedFault fault("test.fails", FaultSpec::Nth(2));
  EXPECT_THAT(Try(4), ElementsAre(false, true, false, false));
  EXPECT_EQ(fault.hits(), 4U);
  EXPECT_EQ(fault.fires(), 1U);
}

TEST_F(FaultTest, FromTheNthOn) {
  const ScopedFault fault("test.fails", FaultSpec::From(3));
  EXPECT_THAT(Try(4), ElementsAre(false, false, true, true));
}

TEST_F(FaultTest, ProbabilityFollowsItsSeed) {
  std::vector<std::vector<bool>> runs;
  for (const uint64_t seed : {1U, 1U, 2U}) {
    const ScopedFault fault("test.fails", FaultSpec::WithProbability(0.25, seed));
    runs.push_back(Try(1'000));
    EXPECT_NEAR(static_cast<double>(fault.fires()), 250, 70);
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_NE(runs[0], runs[2]);
}

TEST_F(FaultTest, ScopeEndsTheFault) {
  { const ScopedFault fault("test.fails", FaultSpec::Always()); }
  EXPECT_THAT(Try(1), ElementsAre(false));
  EXPECT_FALSE(internal::faults_armed.load());
}

TEST_F(FaultTest, ArmingAgainStartsOver) {
  FaultRegistry& registry = FaultRegistry::Global();
  registry.Arm("test.fails", FaultSpec::Nth(1));
  EXPECT_TRUE(Fails());
  registry.Arm("test.fails", FaultSpec::Nth(1));
  EXPECT_EQ(registry.Hits("test.fails"), 0U);
  EXPECT_TRUE(Fails());
}

TEST_F(FaultTest, CountsExactlyAcrossThreads) {
  const ScopedFault fault("test.fails", FaultSpec::Nth(1'000));
  std::atomic<int> fired{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) fired += Fails() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(fault.hits(), 2'000U);
}

using FaultDeathTest = FaultTest;

TEST_F(FaultDeathTest, CrashEndsTheProcessAsKillDoes) {
  EXPECT_EXIT(
      {
        ASSERT_TRUE(FaultRegistry::Global().ArmFromText("test.crash:2:crash").ok());
        CAIRN_CRASH_POINT("test.crash");
        std::fputs("survived the first hit\n", stderr);
        CAIRN_CRASH_POINT("test.crash");
        std::fputs("survived the second hit\n", stderr);
        std::exit(0);
      },
      testing::KilledBySignal(SIGKILL), "^survived the first hit\n$");
}

TEST_F(FaultTest, ArmFromText) {
  FaultRegistry& registry = FaultRegistry::Global();
  ASSERT_TRUE(registry.ArmFromText("test.fails:2:fail,test.b:1+:fail,test.c:0.5:fail").ok());
  EXPECT_THAT(Try(3), ElementsAre(false, true, false));
  EXPECT_TRUE(CAIRN_FAULT("test.b"));
  EXPECT_TRUE(CAIRN_FAULT("test.b"));
  EXPECT_TRUE(registry.ArmFromText("").ok());
}

TEST_F(FaultTest, TextThatMakesNoSenseArmsNothing) {
  for (const char* text : {"test.fails", "test.fails:1", "test.fails:0:fail", "test.fails:x:fail",
                           "test.fails:1:explode", ":1:fail", "test.fails:1.5:fail", "test.fails:0.0:fail",
                           "test.fails:-1:fail", "test.fails:1:fail:more", "test.fails:1:fail,oops"}) {
    const Status status = FaultRegistry::Global().ArmFromText(text);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("is not name:")) << text;
    EXPECT_FALSE(internal::faults_armed.load()) << text;
  }
}

void RarePath() { CAIRN_PROBE("test.rare"); }

TEST(Probe, CountsByName) {
  ResetProbes();
  EXPECT_FALSE(ProbeCounts().contains("test.rare"));
  RarePath();
  RarePath();
  CAIRN_PROBE("test.rare");  // another place of the same name
  EXPECT_EQ(ProbeCounts()["test.rare"], 3U);
  ResetProbes();
  EXPECT_FALSE(ProbeCounts().contains("test.rare"));
  RarePath();  // enters the list once only
  EXPECT_EQ(ProbeCounts()["test.rare"], 1U);
}

TEST(Probe, SitesEnlistFromManyThreads) {
  ResetProbes();
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 1'000; ++i) {
        CAIRN_PROBE("test.first");
        CAIRN_PROBE("test.second");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ProbeCounts()["test.first"], 4'000U);
  EXPECT_EQ(ProbeCounts()["test.second"], 4'000U);
}

}  // namespace
}  // namespace cairn
