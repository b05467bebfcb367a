// Crashes of an engine on the real store, over a file system that forgets what was not synced: after mutating
// I/Os of the whole script, with each way of losing the rest.

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "base/log.h"
#include "engine/storage/fault_env.h"
#include "tests/engine/update_script.h"

namespace cairn::engine {
namespace {

using storage::TailPolicy;

class RocksDisk final : public ScriptDisk {
 public:
  storage::KvStore* Open(Status* error) override {
    storage::RocksStoreOptions options;
    options.path = "/store";
    options.memtable_bytes_max = 256u << 10;
    options.cache_bytes = 256u << 10;
    options.background_threads = 1;
    options.env = env.env();
    auto opened = storage::OpenRocksStore(options);
    if (!opened.ok()) {
      *error = opened.status();
      return nullptr;
    }
    store_ = std::move(opened).value();
    return store_.get();
  }
  void Close() override { store_.reset(); }
  bool dead() const override { return env.crashed(); }

  storage::FaultEnv env{storage::FaultEnv::Base::kMemory};

 private:
  std::unique_ptr<storage::KvStore> store_;
};

struct RocksCase {
  TailPolicy policy;
  bool commit_first;
};

/// False when the script was over before the crash.
bool CrashAfter(uint64_t ops, const RocksCase& how) {
  RocksDisk disk;
  disk.env.CrashAfter(ops);
  UpdateScript script(&disk, {how.commit_first, SyncPolicy::kInterval, false});
  if (script.Run()) return false;
  script.Kill();
  disk.env.RestartAfterCrash(how.policy, ops);
  script.Recover(ops % 2 == 0);
  return true;
}

class CrashPointsOnRocks : public ::testing::TestWithParam<RocksCase> {
 protected:
  void SetUp() override { SetLogLevel(LogLevel::kOff); }
};

// All points with all policies take more than a minute. By default each case takes every fourth of them, and
// the four policies begin one after the other, so that together they take each I/O of both scripts once;
// CAIRN_CRASH_POINTS=all takes all with each.
constexpr uint64_t kStride = 4;

TEST_P(CrashPointsOnRocks, AfterMutatingIos) {
  const bool all = std::getenv("CAIRN_CRASH_POINTS") != nullptr;
  const auto offset = static_cast<uint64_t>(GetParam().policy);
  uint64_t points = 0;
  for (uint64_t ops = all ? 0 : offset; CrashAfter(ops, GetParam()); ops += all ? 1 : kStride) {
    ASSERT_FALSE(HasFailure()) << "crash after mutating I/O " << ops;
    ++points;
    ASSERT_LT(points, 5000u);
  }
  ASSERT_FALSE(HasFailure()) << "the script without a crash";
  EXPECT_GT(points, 20u) << "the script has become too short to mean anything";
  RecordProperty("crash_points", std::to_string(points));
}

std::string CaseName(const ::testing::TestParamInfo<RocksCase>& param) {
  const char* tail[] = {"Drop", "Torn", "Reordered", "Keep"};
  return std::string(tail[static_cast<int>(param.param.policy)]) +
         (param.param.commit_first ? "CompleteRevert" : "RevertComplete");
}

const RocksCase kCases[] = {{TailPolicy::kDrop, true},      {TailPolicy::kDrop, false},
                            {TailPolicy::kTorn, true},      {TailPolicy::kTorn, false},
                            {TailPolicy::kReordered, true}, {TailPolicy::kReordered, false},
                            {TailPolicy::kKeep, true},      {TailPolicy::kKeep, false}};

INSTANTIATE_TEST_SUITE_P(Tails, CrashPointsOnRocks, ::testing::ValuesIn(kCases), CaseName);

}  // namespace
}  // namespace cairn::engine
