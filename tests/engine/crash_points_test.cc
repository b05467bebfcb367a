// Crashes after every call that changes the store, on the memory store (which keeps of a disk only what is
// promised) and after every I/O of the real one.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/log.h"
#include "engine/storage/memory_store.h"
#include "tests/engine/update_script.h"

namespace cairn::engine {
namespace {

/// Lets so many mutating calls through; the next one fails with its outcome open, and then nothing has any
/// effect any more.
class DyingStore final : public storage::ForwardingStore {
 public:
  explicit DyingStore(storage::MemoryStore* store) : ForwardingStore(store), memory_(store) {}
  void DieAt(uint64_t call) { die_at_ = call; }
  void Revive() { die_at_ = UINT64_MAX; }
  bool dead() const { return calls_ >= die_at_; }
  uint64_t calls() const { return calls_; }

  Status WriteLog(const storage::LogBatch& batch, bool sync) override {
    return Call([&] { return ForwardingStore::WriteLog(batch, sync); });
  }
  Status SyncLog() override {
    return Call([&] { return ForwardingStore::SyncLog(); });
  }
  Status WriteData(std::span<const storage::DataChange> changes) override {
    return Call([&] { return ForwardingStore::WriteData(changes); });
  }
  Status FlushData() override {
    return Call([&] { return ForwardingStore::FlushData(); });
  }
  Status DropVbucket(Vbid vbucket) override {
    return Call([&] { return ForwardingStore::DropVbucket(vbucket); });
  }
  void ReleaseLog(Vbid vbucket, Seqno through) override {
    if (!dead()) ForwardingStore::ReleaseLog(vbucket, through);
  }
  Status Reopen() override { return dead() ? Gone() : ForwardingStore::Reopen(); }

 private:
  static Status Gone() { return Status(Code::kIoError, "the power has gone"); }
  template <class Do>
  Status Call(Do&& call) {
    if (dead()) return Gone();
    if (++calls_ == die_at_) memory_->FailNth(1, Status(Code::kAmbiguous, "the power is going"), false);
    return call();
  }

  storage::MemoryStore* memory_;
  uint64_t calls_ = 0;
  uint64_t die_at_ = UINT64_MAX;
};

class MemoryDisk final : public ScriptDisk {
 public:
  explicit MemoryDisk(uint64_t seed) : memory(seed) {}
  storage::KvStore* Open(Status*) override { return &store; }
  void Close() override {}
  bool dead() const override { return store.dead(); }
  storage::MemoryStore memory;
  DyingStore store{&memory};
};

enum class Kind : uint8_t { kLeast, kPower, kProcess };

struct MemoryCase {
  bool commit_first;
  SyncPolicy sync;
  Kind kind;
};

class CrashPoints : public ::testing::TestWithParam<MemoryCase> {
 protected:
  void SetUp() override { SetLogLevel(LogLevel::kOff); }
};

/// False when the script was over before the crash.
bool CrashAt(uint64_t call, const MemoryCase& how) {
  MemoryDisk disk(call);
  disk.store.DieAt(call);
  UpdateScript script(&disk, {how.commit_first, how.sync, false});
  if (script.Run()) return false;
  script.Kill();
  switch (how.kind) {
    case Kind::kLeast:
      disk.memory.Crash();
      break;
    case Kind::kPower:
      disk.memory.CrashPower(call * 31);
      break;
    case Kind::kProcess:
      disk.memory.CrashProcess(call * 17);
      break;
  }
  disk.store.Revive();
  script.Recover(call % 2 == 0);
  return true;
}

TEST_P(CrashPoints, AfterEachCallThatChangesTheStore) {
  uint64_t call = 1;
  while (CrashAt(call, GetParam())) {
    ASSERT_FALSE(HasFailure()) << "crash at store call " << call;
    ASSERT_LT(++call, 2000u);
  }
  ASSERT_FALSE(HasFailure()) << "the script without a crash";
  EXPECT_GT(call, 50u) << "the script has become too short to mean anything";
  RecordProperty("crash_points", std::to_string(call - 1));
}

std::string CaseName(const ::testing::TestParamInfo<MemoryCase>& param) {
  const char* sync[] = {"Always", "Interval", "None"};
  const char* kind[] = {"Least", "Power", "Process"};
  return std::string(param.param.commit_first ? "CompleteRevert" : "RevertComplete") +
         sync[static_cast<int>(param.param.sync)] + kind[static_cast<int>(param.param.kind)];
}

std::vector<MemoryCase> AllCases() {
  std::vector<MemoryCase> cases;
  for (const bool commit_first : {true, false}) {
    for (const SyncPolicy sync : {SyncPolicy::kAlways, SyncPolicy::kInterval, SyncPolicy::kNone}) {
      for (const Kind kind : {Kind::kLeast, Kind::kPower, Kind::kProcess}) {
        cases.push_back({commit_first, sync, kind});
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Memory, CrashPoints, ::testing::ValuesIn(AllCases()), CaseName);

}  // namespace
}  // namespace cairn::engine
