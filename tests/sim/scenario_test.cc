// One fault after every single message of a scripted life: a cut, a second connection, a crash of either
// side.

#include "tests/sim/scenario.h"

#include <gtest/gtest.h>

#include <string>

#include "base/log.h"

namespace cairn::sim {
namespace {

TEST(Scenario, ComesToItsEndWithoutFaults) {
  SetLogLevel(LogLevel::kOff);
  const Outcome outcome = RunScenario(ScenarioFault::kNone, 0, false);
  EXPECT_EQ(outcome.failure, "");
  EXPECT_GE(outcome.messages, 60u);
  EXPECT_EQ(outcome.updates, 2u);
  EXPECT_EQ(outcome.reverts, 1u);
  EXPECT_EQ(outcome.takeovers, 1u);
}

class ScenarioWith : public ::testing::TestWithParam<int> {};

TEST_P(ScenarioWith, AFaultAfterEveryMessage) {
  SetLogLevel(LogLevel::kOff);
  const auto fault = static_cast<ScenarioFault>(GetParam());
  const uint64_t messages = RunScenario(ScenarioFault::kNone, 0, false).messages;
  ASSERT_GE(messages, 60u);
  for (uint64_t at = 1; at <= messages; ++at) {
    const Outcome outcome = RunScenario(fault, at, false);
    ASSERT_EQ(outcome.failure, "") << ScenarioFaultName(fault) << " after message " << at << " of "
                                   << messages;
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, ScenarioWith, ::testing::Range(1, static_cast<int>(ScenarioFault::kCount)),
                         [](const auto& fault) {
                           std::string name = ScenarioFaultName(static_cast<ScenarioFault>(fault.param));
                           for (char& c : name) c = c == ' ' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace cairn::sim
