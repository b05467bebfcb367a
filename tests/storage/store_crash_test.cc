// Crashes of the real store, over a file system that forgets what was not synced: after each mutating I/O of
// a script, with each way of losing the rest.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/log.h"
#include "tests/storage/crash_script.h"
#include "tests/storage/store_testing.h"

namespace cairn::storage {
namespace {

struct CrashCase {
  TailPolicy policy;
  const char* name;
};

class StoreCrash : public ::testing::TestWithParam<CrashCase> {
 protected:
  // Each crash makes closing complain.
  void SetUp() override { SetLogLevel(LogLevel::kOff); }
};

// One run that crashes after `ops` operations. False when the script was over before that.
bool CrashOnce(uint64_t ops, TailPolicy policy) {
  FaultEnv env(FaultEnv::Base::kMemory);
  CrashScript script(&env, 11);
  env.CrashAfter(ops);
  Status status = script.Open();
  if (status.ok()) status = script.Run();
  if (!env.crashed() && status.ok()) return false;
  EXPECT_TRUE(env.crashed()) << "failed without a crash: " << status.ToString();
  script.Close();

  env.RestartAfterCrash(policy, ops);
  status = script.Open();
  EXPECT_TRUE(status.ok()) << status.ToString();
  if (!status.ok()) return true;
  if (policy == TailPolicy::kKeep) {
    script.VerifyNothingWrittenIsLost();
  } else {
    script.VerifyAndAdopt();
  }

  // Power loss at once: what an opening found is durable, whatever it had been before.
  env.CrashNow();
  script.Close();
  env.RestartAfterCrash(TailPolicy::kDrop, ops);
  status = script.Open();
  EXPECT_TRUE(status.ok()) << status.ToString();
  if (!status.ok()) return true;
  script.VerifyAndAdopt();

  // And the store goes on.
  status = script.Run();
  EXPECT_TRUE(status.ok()) << status.ToString();
  script.VerifyNothingWrittenIsLost();
  return true;
}

// Each point with each policy; with a sanitizer, under which that takes a quarter of an hour, each point with
// one of the four, unless CAIRN_CRASH_POINTS=all.
uint64_t Stride() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  if (std::getenv("CAIRN_CRASH_POINTS") == nullptr) return 4;
#endif
  return 1;
}

TEST_P(StoreCrash, AfterEachMutatingIoKeepsWhatWasPromised) {
  const uint64_t stride = Stride();
  uint64_t ops = static_cast<uint64_t>(GetParam().policy) % stride;
  while (CrashOnce(ops, GetParam().policy)) {
    ASSERT_FALSE(HasFailure()) << "crash after mutating I/O " << ops;
    ops += stride;
    ASSERT_LT(ops, 5000u);
  }
  EXPECT_GT(ops, 150u) << "the script has become too short to mean anything";
  RecordProperty("crash_points", std::to_string(ops / stride));
}

INSTANTIATE_TEST_SUITE_P(
    Tails, StoreCrash,
    ::testing::Values(CrashCase{TailPolicy::kDrop, "Drop"}, CrashCase{TailPolicy::kTorn, "Torn"},
                      CrashCase{TailPolicy::kReordered, "Reordered"}, CrashCase{TailPolicy::kKeep, "Keep"}),
    [](const ::testing::TestParamInfo<CrashCase>& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace cairn::storage
