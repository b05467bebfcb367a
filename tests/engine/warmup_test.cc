// A restarted engine that is not warm yet, values that are not in memory, and records that are damaged: every
// answer is the true one, or an error, never a miss for a key that exists.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

class WarmUpTest : public EngineStoreTest {
 protected:
  /// Many keys on disk, an engine just opened.
  void OpenCold(int count = 400) {
    Open();
    keys_ = Keys(count);
    SetAll(keys_, "v-");
    before_ = Look(keys_);
    Persist();
    ASSERT_GE(DataNow().size(), keys_.size()) << "what is replayed from the log is not cold";
    RestartCleanly();
    ASSERT_NE(Stat("warmup", "ep_warmup_state"), "done");
  }
  Code Put(StoreMode mode, const std::string& key, const std::string& value, Cas cas = Cas()) {
    StoreRequest request;
    request.mode = mode;
    request.value = value;
    request.cas = cas;
    return E().Store(key, request);
  }
  /// Replaces the record of `key` in data by `change` of it.
  template <class Change>
  void Damage(const std::string& key, Change&& change) {
    const Vbid vbucket = E()->MakeKey(key).vbucket;
    std::string record = store_.GetData(vbucket, key).value();
    change(record);
    const std::vector<storage::DataChange> changes = {{vbucket, key, record, false}};
    ASSERT_TRUE(store_.WriteData(changes).ok());
    ASSERT_TRUE(store_.FlushData().ok());
  }
  /// The answer of a read that waits for the disk.
  Code Read(const std::string& key) {
    for (int attempt = 0; attempt < 10; ++attempt) {
      auto flag = std::make_shared<WakeFlag>();
      const GetResult got = E()->Get(E()->MakeKey(key), flag);
      if (got.code != Code::kWouldBlock) return got.code;
      for (int i = 0; i < 100 && !flag->woken; ++i) E()->RunBackground();
      EXPECT_TRUE(flag->woken);
    }
    return Code::kWouldBlock;
  }
  std::vector<std::string> keys_;
  View before_;
};

TEST_F(WarmUpTest, TrafficIsServedAtOnce) {
  OpenCold();
  const OpKey key = E()->MakeKey(keys_[5]);
  auto flag = std::make_shared<WakeFlag>();
  EXPECT_EQ(E()->Get(key, flag).code, Code::kWouldBlock) << "asks the disk";
  EXPECT_EQ(E().Get(keys_[5]), before_.at(keys_[5]));
  EXPECT_EQ(E()->Get(key, nullptr).code, Code::kOk) << "and keeps what it found";
  EXPECT_FALSE(E().Get("never-was").has_value());
  EXPECT_EQ(E()->Get(E()->MakeKey("never-was"), nullptr).code, Code::kNotFound)
      << "also that there is nothing";
  EXPECT_EQ(Look(keys_), before_);
  WarmUp();
  EXPECT_EQ(Look(keys_), before_);
  EXPECT_EQ(Number("", "curr_items"), keys_.size());
  EXPECT_FALSE(E().Get("never-was").has_value());
}

TEST_F(WarmUpTest, ChangesOfColdKeysAreRight) {
  for (const bool warm_in_between : {false, true}) {
    SCOPED_TRACE(warm_in_between);
    OpenCold();
    EXPECT_EQ(E().Delete(keys_[0]), Code::kOk);
    EXPECT_EQ(E().Delete(keys_[0]), Code::kNotFound);
    EXPECT_EQ(E().Delete("never-was"), Code::kNotFound);
    EXPECT_EQ(Put(StoreMode::kAdd, keys_[1], "x"), Code::kNotStored);
    EXPECT_EQ(Put(StoreMode::kAdd, "new", "x"), Code::kOk);
    EXPECT_EQ(Put(StoreMode::kReplace, keys_[2], "replaced"), Code::kOk);
    EXPECT_EQ(Put(StoreMode::kReplace, "never-was", "x"), Code::kNotStored);
    EXPECT_EQ(Put(StoreMode::kSet, keys_[3], "x", Cas(before_.at(keys_[3]).cas + 1)), Code::kExists);
    EXPECT_EQ(Put(StoreMode::kSet, keys_[3], "cas", Cas(before_.at(keys_[3]).cas)), Code::kOk);
    EXPECT_EQ(Put(StoreMode::kAppend, keys_[4], "+"), Code::kOk);
    EXPECT_EQ(E().Set(keys_[5], "blind"), Code::kOk);
    const uint32_t expiry = clock_.WallSeconds() + 10'000;
    EXPECT_EQ(E().Touch(keys_[6], expiry), Code::kOk);
    if (warm_in_between) WarmUp();
    const auto check = [&] {
      EXPECT_FALSE(E().Get(keys_[0]).has_value());
      EXPECT_EQ(E().Get(keys_[1])->value, "v-" + keys_[1]);
      EXPECT_EQ(E().Get(keys_[2])->value, "replaced");
      EXPECT_EQ(E().Get(keys_[3])->value, "cas");
      EXPECT_EQ(E().Get(keys_[4])->value, "v-" + keys_[4] + "+");
      EXPECT_EQ(E().Get(keys_[5])->value, "blind");
      EXPECT_EQ(E().Get(keys_[6])->expiry, expiry);
      EXPECT_EQ(E().Get("new")->value, "x");
      EXPECT_FALSE(E().Get("never-was").has_value());
    };
    check();
    WarmUp();
    check();
    EXPECT_EQ(Number("", "curr_items"), keys_.size());
    Persist();
    CrashAndReopen();
    check();
    ASSERT_EQ(E().Delete("new"), Code::kOk);  // for the next round
    RestartCleanly();
  }
}

TEST_F(WarmUpTest, ADeletedColdKeyStaysDeletedWhenItsDataIsLoaded) {
  OpenCold();
  for (size_t i = 0; i < keys_.size(); i += 2) ASSERT_EQ(E().Delete(keys_[i]), Code::kOk);
  Persist();
  WarmUp();
  for (size_t i = 0; i < keys_.size(); ++i) ASSERT_EQ(E().Get(keys_[i]).has_value(), i % 2 == 1) << i;
  EXPECT_EQ(Number("", "curr_items"), keys_.size() / 2);
  // Tombstones are gone once they are durable and their checkpoint is closed.
  for (int i = 0; i < 2; ++i) {
    clock_.Advance(6 * kSecondNs);
    Background(2);
    SetAll(Keys(20, "other-"), "v");
    Persist();
  }
  EXPECT_EQ(Number("", "ep_deleted_items"), 0u);
}

TEST_F(WarmUpTest, FlushAllReachesWhatIsNotLoadedYet) {
  OpenCold();
  ASSERT_TRUE(E()->FlushAll(0).ok());
  EXPECT_FALSE(E().Get(keys_[1]).has_value());
  ASSERT_EQ(E().Set(keys_[2], "after"), Code::kOk);
  WarmUp();
  Background(100);
  EXPECT_EQ(Look(keys_).size(), 1u);
  Persist();
  EXPECT_EQ(DataNow().size(), 1u);
}

TEST_F(WarmUpTest, StartWaitsUntilEverythingIsLoaded) {
  OpenCold();
  std::optional<Status> answer;
  E().Submit(Step::kStart, {}, &answer);
  for (int i = 0; i < 500 && !answer; ++i) {
    E()->RunBackground();
    if (E().phase() == UpdatePhase::kUpdating) {
      EXPECT_EQ(Stat("warmup", "ep_warmup_state"), "done");
    }
  }
  ASSERT_TRUE(answer && answer->ok());
  SetAll(keys_, "new-");
  Revert();
  EXPECT_EQ(Look(keys_), before_);
}

TEST_F(WarmUpTest, ADamagedRecordIsAnErrorOfItsKeyAndNeverAMiss) {
  const auto flip = [](std::string& record) { record[record.size() / 2] ^= 1; };
  const auto cut = [](std::string& record) { record.resize(record.size() - 1); };
  const auto empty = [](std::string& record) { record.clear(); };
  OpenCold();
  Crash();
  E().Open();
  Damage(keys_[1], flip);
  Damage(keys_[2], cut);
  Damage(keys_[3], empty);
  for (const bool warm : {false, true}) {
    SCOPED_TRACE(warm);
    if (warm) WarmUp();
    for (size_t i = 1; i <= 3; ++i) {
      EXPECT_EQ(Read(keys_[i]), Code::kCorruption) << i;
      EXPECT_EQ(Read(keys_[i]), Code::kCorruption) << i << ", asked again";
    }
    EXPECT_EQ(E().Get(keys_[4]), before_.at(keys_[4]));
  }
  EXPECT_GT(Number("", "ep_bg_fetch_errors"), 0u);
  // Written anew it is well again.
  EXPECT_EQ(E().Set(keys_[1], "healed"), Code::kOk);
  EXPECT_EQ(E().Get(keys_[1])->value, "healed");
  Persist();
  CrashAndReopen();
  EXPECT_EQ(E().Get(keys_[1])->value, "healed");
}

TEST_F(WarmUpTest, ADiskThatCannotBeReadIsATemporaryError) {
  OpenCold();
  store_.FailNthRead(1, Status(Code::kIoError, "injected"), true);
  EXPECT_EQ(Read(keys_[1]), Code::kTmpFail);
  store_.ClearFailures();
  EXPECT_EQ(Read(keys_[1]), Code::kOk);
  WarmUp();
  EXPECT_EQ(Look(keys_), before_);
}

class Ejection : public WarmUpTest {
 protected:
  void Load(int count, size_t size) {
    EngineOptions options = SmallOptions();
    options.memory_quota = 1u << 20;
    Open(options);
    keys_ = Keys(count);
    for (const std::string& key : keys_) {
      for (int attempt = 0; E().Set(key, std::string(size, 'v') + key) != Code::kOk; ++attempt) {
        ASSERT_LT(attempt, 200) << "no room is made";
        clock_.Advance(kSecondNs);
        Background(20);
      }
    }
    Persist();
    Background(100);
  }
  /// One whose value is on disk only; empty when there is none.
  std::string EjectedKey() {
    for (const std::string& key : keys_) {
      const Code code = E()->Get(E()->MakeKey(key), std::make_shared<WakeFlag>()).code;
      if (code == Code::kWouldBlock) return key;
    }
    return {};
  }
  /// Writes all keys but this one again, until it must have been ejected.
  void Rewrite(const std::string& spared) {
    for (int round = 0; round < 3; ++round) {
      for (const std::string& key : keys_) {
        if (key == spared) continue;
        for (int attempt = 0; E().Set(key, std::string(3000, 'x')) != Code::kOk; ++attempt) {
          ASSERT_LT(attempt, 200) << "no room is made";
          clock_.Advance(kSecondNs);
          Background(20);
        }
      }
    }
  }
};

TEST_F(Ejection, KeepsMemoryBelowTheHighWatermarkAndEveryValueReadable) {
  Load(600, 3000);
  EXPECT_LE(Number("", "mem_used"), Number("", "ep_mem_high_wat"));
  EXPECT_GT(Number("", "ep_ejected_items"), 200u);
  for (const std::string& key : keys_) ASSERT_EQ(E().Get(key)->value, std::string(3000, 'v') + key);
  Background(200);
  EXPECT_LE(Number("", "mem_used"), Number("", "ep_mem_high_wat"));
  EXPECT_GT(Number("", "ep_bg_fetched"), 0u);
  const uint64_t digest = E()->Digest();
  RestartCleanly();
  WarmUp();
  EXPECT_EQ(E()->Digest(), digest) << "ejected or not, the digest is that of the values";
  EXPECT_LE(Number("", "mem_used"), Number("", "ep_mem_high_wat"));
  for (const std::string& key : keys_) ASSERT_EQ(E().Get(key)->value, std::string(3000, 'v') + key);
}

// Woken by each value that arrives, a multiget of many would ask again for all that are still missing, and
// the queue of reads would fill up with them.
TEST_F(Ejection, AMultigetReadsEachValueOnceAndIsWokenOnce) {
  class CountingWaiter final : public Waiter {
   public:
    void Wake() override { ++wakes; }
    int wakes = 0;
  };
  Load(600, 3000);
  std::vector<OpKey> keys;
  for (const std::string& key : keys_) {
    const OpKey made = E()->MakeKey(key);
    if (keys.size() < 20 && E()->Get(made, nullptr).code == Code::kWouldBlock) keys.push_back(made);
  }
  ASSERT_EQ(keys.size(), 20u);
  const uint64_t asked_before = Number("", "ep_bg_fetch_queue") + Number("", "ep_bg_fetched");
  auto waiter = std::make_shared<CountingWaiter>();
  std::vector<GetResult> results(keys.size());
  E()->GetMany(keys, results, waiter);
  for (const GetResult& result : results) EXPECT_EQ(result.code, Code::kWouldBlock);
  EXPECT_EQ(Number("", "ep_bg_fetch_queue") + Number("", "ep_bg_fetched"), asked_before + keys.size());
  Background(20);
  EXPECT_EQ(waiter->wakes, 1);
  E()->GetMany(keys, results, waiter);
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(results[i].code, Code::kOk);
    EXPECT_EQ(results[i].item->value(), std::string(3000, 'v') + std::string(keys[i].text()));
  }
}

TEST_F(Ejection, ChangesOfEjectedItemsAreRight) {
  Load(600, 3000);
  const std::string value(3000, 'v');
  for (size_t i = 0; i < keys_.size(); i += 5) {
    ASSERT_EQ(Put(StoreMode::kAppend, keys_[i], "+"), Code::kOk);
    ASSERT_EQ(Put(StoreMode::kAdd, keys_[i + 1], "x"), Code::kNotStored);
    ASSERT_EQ(E().Touch(keys_[i + 2], clock_.WallSeconds() + 1000), Code::kOk);
    ASSERT_EQ(E().Delete(keys_[i + 3]), Code::kOk);
    clock_.Advance(kSecondNs);  // synced, so that values may be ejected again
    Background(30);
  }
  for (size_t i = 0; i < keys_.size(); i += 5) {
    ASSERT_EQ(E().Get(keys_[i])->value, value + keys_[i] + "+");
    ASSERT_EQ(E().Get(keys_[i + 1])->value, value + keys_[i + 1]);
    ASSERT_EQ(E().Get(keys_[i + 2])->value, value + keys_[i + 2]);
    ASSERT_FALSE(E().Get(keys_[i + 3]).has_value());
  }
}

TEST_F(Ejection, ADamagedEjectedValueIsAnErrorAndNeverAMiss) {
  Load(600, 3000);
  const std::string victim = EjectedKey();
  ASSERT_FALSE(victim.empty());
  Damage(victim, [](std::string& record) { record[100] ^= 4; });
  EXPECT_EQ(Read(victim), Code::kCorruption);
  EXPECT_EQ(Put(StoreMode::kAppend, victim, "+"), Code::kCorruption);
  // Gone from the disk altogether is damage as well.
  const Vbid vbucket = E()->MakeKey(victim).vbucket;
  const std::vector<storage::DataChange> remove = {{vbucket, victim, "", true}};
  ASSERT_TRUE(store_.WriteData(remove).ok());
  EXPECT_EQ(Read(victim), Code::kCorruption);
  EXPECT_EQ(E().Delete(victim), Code::kOk);
  EXPECT_EQ(Read(victim), Code::kNotFound);
}

TEST_F(Ejection, ADamagedVersionIsNoErrorOfTheOneThatReplacedIt) {
  Load(600, 3000);
  const std::string victim = EjectedKey();
  ASSERT_FALSE(victim.empty());
  Damage(victim, [](std::string& record) { record[100] ^= 4; });
  Background(1);
  ASSERT_GT(Number("", "ep_bg_fetch_errors"), 0u);
  // The client who asked never came back for the answer.
  const std::string whole(3000, 'w');
  ASSERT_EQ(E().Set(victim, whole), Code::kOk);
  Rewrite(victim);
  const Code code = E()->Get(E()->MakeKey(victim), std::make_shared<WakeFlag>()).code;
  ASSERT_EQ(code, Code::kWouldBlock) << "the new version was never ejected, or the old one's error was told";
  EXPECT_EQ(E().Get(victim)->value, whole);
}

TEST_F(Ejection, WritesAreRefusedAtTheQuotaAndAcceptedAgain) {
  EngineOptions options = SmallOptions();
  options.memory_quota = 1u << 20;
  Open(options);
  ASSERT_TRUE(E()->StopPersistence().ok());
  int stored = 0;
  Code code = Code::kOk;
  for (; stored < 5000 && code == Code::kOk; ++stored) {
    code = E().Set("k" + std::to_string(stored), std::string(1000, 'v'));
    Background(1);
  }
  ASSERT_EQ(code, Code::kTmpOom);
  uint64_t value = 0;
  EXPECT_EQ(E().Increment("k0", 1, &value), Code::kTmpOom);
  EXPECT_LE(Number("", "mem_used"), options.memory_quota);
  EXPECT_EQ(E().Get("k0")->value, std::string(1000, 'v'));
  ASSERT_TRUE(E()->StartPersistence().ok());
  Persist();
  Background(200);
  EXPECT_EQ(E().Set("again", "v"), Code::kOk);
  EXPECT_EQ(E().Get("k0")->value, std::string(1000, 'v'));
  EXPECT_GT(Number("", "ep_tmp_oom_errors"), 0u);
}

TEST(EngineInMemory, FullMemoryIsNoMemory) {
  SetLogLevel(LogLevel::kOff);
  ManualClock clock;
  EngineOptions options = SmallOptions();
  options.memory_quota = 1u << 20;
  TestEngine engine(nullptr, &clock, options);
  engine.Open();
  int stored = 0;
  Code code = Code::kOk;
  for (; stored < 5000 && code == Code::kOk; ++stored) {
    code = engine.Set("k" + std::to_string(stored), std::string(1000, 'v'));
    engine->RunBackground();
  }
  EXPECT_EQ(code, Code::kNoMemory);
  EXPECT_GT(stored, 700) << "without a disk nothing is counted twice for long";
  EXPECT_EQ(engine.Get("k0")->value, std::string(1000, 'v')) << "nothing is evicted";
  for (int i = 0; i < 100; ++i) EXPECT_EQ(engine.Delete("k" + std::to_string(i)), Code::kOk);
  for (int i = 0; i < 50; ++i) engine->RunBackground();
  EXPECT_EQ(engine.Set("again", "v"), Code::kOk);
}

}  // namespace
}  // namespace cairn::engine
