// A disk that fails for a while, at any moment: nothing that was acknowledged is lost, the engine recovers by
// itself and persists again, writes go on in memory, and an online update's order that failed has changed
// nothing.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "engine/storage/memory_store.h"
#include "tests/engine/update_fixture.h"
#include "tests/engine/update_script.h"

namespace cairn::engine {
namespace {

/// From one mutating call on, so many of them fail.
class FailingStore final : public storage::ForwardingStore {
 public:
  explicit FailingStore(storage::MemoryStore* store) : ForwardingStore(store), memory_(store) {}
  void FailFrom(uint64_t call, uint64_t count, Code code) {
    first_ = call;
    count_ = count;
    code_ = code;
  }
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

 private:
  template <class Do>
  Status Call(Do&& call) {
    ++calls_;
    if (calls_ >= first_ && calls_ < first_ + count_) memory_->FailNth(1, Status(code_, "injected"), false);
    return call();
  }
  storage::MemoryStore* memory_;
  uint64_t calls_ = 0;
  uint64_t first_ = UINT64_MAX / 2;
  uint64_t count_ = 0;
  Code code_ = Code::kIoError;
};

class FailingDisk final : public ScriptDisk {
 public:
  explicit FailingDisk(uint64_t seed) : memory(seed) {}
  storage::KvStore* Open(Status*) override {
    // A process that starts opens the store; a running one has to do so itself.
    if (!opened_) {
      EXPECT_TRUE(store.Reopen().ok());
    }
    opened_ = true;
    return &store;
  }
  void Close() override { opened_ = false; }
  bool dead() const override { return false; }
  storage::MemoryStore memory;
  FailingStore store{&memory};

 private:
  bool opened_ = false;
};

struct ErrorCase {
  Code code;
  uint64_t count;
  SyncPolicy sync;
};

class IoErrors : public ::testing::TestWithParam<ErrorCase> {
 protected:
  void SetUp() override { SetLogLevel(LogLevel::kOff); }
};

/// False when the script makes fewer calls than that.
bool FailAt(uint64_t call, const ErrorCase& how) {
  FailingDisk disk(call);
  disk.store.FailFrom(call, how.count, how.code);
  UpdateScript script(&disk, {call % 2 == 0, how.sync, true});
  EXPECT_TRUE(script.Run());
  if (disk.store.calls() < call) return false;
  if (::testing::Test::HasFailure()) return true;
  script.Kill();
  disk.memory.Crash();
  script.Recover(call % 3 == 0);
  return true;
}

TEST_P(IoErrors, AtEachCallLoseNothing) {
  uint64_t call = 1;
  while (FailAt(call, GetParam())) {
    ASSERT_FALSE(HasFailure()) << "failed from store call " << call << " on";
    ASSERT_LT(++call, 2000u);
  }
  EXPECT_GT(call, 50u) << "the script has become too short to mean anything";
}

std::string CaseName(const ::testing::TestParamInfo<ErrorCase>& param) {
  const char* sync[] = {"Always", "Interval", "None"};
  const char* code = param.param.code == Code::kNoSpace     ? "NoSpace"
                     : param.param.code == Code::kAmbiguous ? "Ambiguous"
                                                            : "IoError";
  return std::string(code) + std::to_string(param.param.count) + sync[static_cast<int>(param.param.sync)];
}

std::vector<ErrorCase> AllCases() {
  std::vector<ErrorCase> cases;
  for (const Code code : {Code::kNoSpace, Code::kAmbiguous, Code::kIoError}) {
    for (const uint64_t count : {uint64_t{1}, uint64_t{2}, uint64_t{25}}) {
      for (const SyncPolicy sync : {SyncPolicy::kAlways, SyncPolicy::kInterval, SyncPolicy::kNone}) {
        // Without syncs nothing is promised once a write or sync of the log has failed for good.
        if (code == Code::kAmbiguous && sync == SyncPolicy::kNone) continue;
        cases.push_back({code, count, sync});
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Kinds, IoErrors, ::testing::ValuesIn(AllCases()), CaseName);

class FullDisk : public EngineStoreTest {
 protected:
  void Fill() {
    gate_.refuse = [](const storage::LogBatch&) { return Status(Code::kNoSpace, "full"); };
  }
  void Empty() { gate_.refuse = nullptr; }
};

TEST_F(FullDisk, StartFailsCleanlyAndLeavesTheEngineNormal) {
  Open();
  const auto keys = Keys(30);
  SetAll(keys, "old-");
  Fill();
  EXPECT_FALSE(E().Update(Step::kStart).ok());
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  SetAll(keys, "new-");
  const View now = Look(keys);
  EXPECT_EQ(E().Update(Step::kRevert).code(), Code::kNotSupported);
  Empty();
  Persist();
  EXPECT_EQ(Look(keys), now);
  CrashAndReopen();
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  EXPECT_EQ(Look(keys), now);
  Start();
  SetAll(keys, "newer-");
  Revert();
  EXPECT_EQ(Look(keys), now);
}

TEST_F(FullDisk, ADecisionThatCannotBeRecordedLeavesTheUpdateOpen) {
  Open();
  const auto keys = Keys(30);
  SetAll(keys, "old-");
  const View before = Look(keys);
  Start();
  SetAll(keys, "new-");
  const View window = Look(keys);
  Fill();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(E().Update(Step::kRevert).code(), Code::kAmbiguous);
    EXPECT_EQ(E().phase(), UpdatePhase::kUpdating);
    EXPECT_EQ(Look(keys), window);
    EXPECT_EQ(E().Set("still-writable", "v"), Code::kOk);
    // A write that failed may yet be found on the disk: the opposite must not be decided now.
    EXPECT_EQ(E().Update(Step::kComplete).code(), Code::kNotSupported);
  }
  Empty();
  Revert();
  EXPECT_EQ(Look(keys), before);
  EXPECT_FALSE(E().Get("still-writable").has_value());
}

TEST_F(FullDisk, WritesGoOnUntilMemoryIsFullAndAgainWhenThereIsSpace) {
  EngineOptions options = SmallOptions();
  options.memory_quota = 1u << 20;
  Open(options);
  ASSERT_EQ(E().Set("durable", "v"), Code::kOk);
  Persist();
  Fill();
  std::vector<std::string> stored;
  for (;;) {
    const std::string key = "k" + std::to_string(stored.size());
    const Code code = E().Set(key, std::string(2000, 'x'));
    if (code != Code::kOk) {
      ASSERT_EQ(code, Code::kTmpOom);
      break;
    }
    stored.push_back(key);
    ASSERT_LT(stored.size(), 5000u);
    Background(1);
  }
  EXPECT_GT(Number("", "mem_used"), options.memory_quota * 9 / 10);
  EXPECT_GT(Number("", "ep_tmp_oom_errors"), 0u);
  EXPECT_NE(Stat("", "ep_persistence_error"), "none");
  EXPECT_TRUE(E().Get("durable").has_value());
  EXPECT_EQ(E().Delete(stored[0]), Code::kOk) << "deletes make room and are never refused";
  stored.erase(stored.begin());
  Empty();
  Persist();
  Background(200);
  EXPECT_EQ(Stat("", "ep_persistence_error"), "none");
  EXPECT_EQ(E().Set("again", "v"), Code::kOk);
  Persist();
  CrashAndReopen();
  for (const std::string& key : stored) ASSERT_TRUE(E().Get(key).has_value()) << key;
  EXPECT_TRUE(E().Get("again").has_value());
}

TEST_F(FullDisk, CommitTicketsWaitUntilThereIsSpace) {
  for (const SyncPolicy sync : {SyncPolicy::kAlways, SyncPolicy::kInterval, SyncPolicy::kNone}) {
    EngineOptions options = SmallOptions();
    options.sync = sync;
    Open(options);
    ASSERT_EQ(E().Set("k", "v"), Code::kOk);
    Fill();
    const uint64_t ticket = E()->CommitTicket();
    auto flag = std::make_shared<WakeFlag>();
    E()->AwaitCommit(ticket, flag);
    Background(20);
    EXPECT_NE(E()->CommitOutcome(ticket), Code::kOk);
    EXPECT_EQ(flag->woken, E()->CommitOutcome(ticket) == Code::kAmbiguous);
    Empty();
    Background(5);
    EXPECT_EQ(E()->CommitOutcome(ticket), Code::kOk) << static_cast<int>(sync);
    EXPECT_TRUE(flag->woken) << static_cast<int>(sync);
    CrashAndReopen();
    EXPECT_TRUE(E().Get("k").has_value());
    Crash();
  }
}

class LastWrites : public EngineStoreTest {};

TEST_F(LastWrites, AreWrittenAgainWhenTheFirstTimeFailsAtShutdown) {
  for (const Code code : {Code::kAmbiguous, Code::kIoError, Code::kNoSpace}) {
    SCOPED_TRACE(CodeName(code));
    Open();
    const auto keys = Keys(100, std::string(CodeName(code)));
    SetAll(keys, "v");
    const View before = Look(keys);
    store_.FailNth(1, Status(code, "injected"), false);
    const Status down = E()->Shutdown(true);
    EXPECT_TRUE(down.ok()) << down.ToString();
    CrashAndReopen();
    EXPECT_EQ(Look(keys), before);
    Crash();
  }
}

TEST_F(LastWrites, ThatCannotBeWrittenAreSaidToBeLost) {
  Open();
  SetAll(Keys(10), "v");
  store_.FailNth(1, Status(Code::kAmbiguous, "injected"), true);
  EXPECT_FALSE(E()->Shutdown(true).ok());
}

}  // namespace
}  // namespace cairn::engine
