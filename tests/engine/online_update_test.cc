// The online update's commands and its exactness on one engine: what START, COMPLETE and REVERT answer, what
// they count, and that a revert brings back everything, whatever happened in the window.

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

class OnlineUpdate : public EngineStoreTest {};

TEST_F(OnlineUpdate, OrdersInTheWrongStateAreNotSupportedAndChangeNothing) {
  Open();
  EXPECT_EQ(E().Update(Step::kComplete).code(), Code::kNotSupported);
  EXPECT_EQ(E().Update(Step::kRevert).code(), Code::kNotSupported);
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  EXPECT_TRUE(E()->update_status().history.empty());

  Start();
  const UpdateId id = E()->update_status().id;
  EXPECT_EQ(E().Update(Step::kStart).code(), Code::kNotSupported);
  EXPECT_EQ(E().Update(Step::kStart, Named("other", 9)).code(), Code::kNotSupported);
  EXPECT_EQ(E().Update(Step::kComplete, Named("", 9)).code(), Code::kNotSupported);
  EXPECT_EQ(E().Update(Step::kRevert, Named("", 9)).code(), Code::kNotSupported);
  EXPECT_EQ(E().phase(), UpdatePhase::kUpdating);
  EXPECT_EQ(E()->update_status().id, id);
}

TEST_F(OnlineUpdate, RepeatingAnOrderThatNamesItsUpdateIsSuccess) {
  Open();
  const UpdateRequest first = Named("first", 1);
  Do(Step::kStart, first);
  Do(Step::kStart, first);
  EXPECT_EQ(E().Set("k", "v"), Code::kOk);
  EXPECT_EQ(E()->update_status().added, 1u) << "the repeated START has opened a second window";
  Do(Step::kComplete, first);
  Do(Step::kComplete, first);
  EXPECT_EQ(E().Update(Step::kRevert, first).code(), Code::kNotSupported) << "it was completed";

  const UpdateRequest second = Named("second", 2);
  Do(Step::kStart, second);
  EXPECT_EQ(E().Update(Step::kComplete, first).code(), Code::kNotSupported);
  Do(Step::kRevert, second);
  Do(Step::kRevert, second);
  EXPECT_EQ(E().Update(Step::kComplete, second).code(), Code::kNotSupported) << "it was reverted";
  EXPECT_EQ(E()->update_status().history.size(), 2u);
}

TEST_F(OnlineUpdate, ARepeatedDecisionIsSuccessAlsoAfterARestart) {
  Open();
  const UpdateRequest request = Named("it", 5);
  Do(Step::kStart, request);
  Do(Step::kRevert, request);
  Background(20);
  CrashAndReopen();
  Do(Step::kRevert, request);
  EXPECT_EQ(E().Update(Step::kComplete, request).code(), Code::kNotSupported);
}

TEST_F(OnlineUpdate, StatusTellsNameAgeAndProgress) {
  Open();
  Do(Step::kStart, Named("catalogue-7"));
  clock_.Advance(3 * kSecondNs);
  ASSERT_EQ(E().Set("k", "v"), Code::kOk);
  Persist();
  const UpdateStatus open = E()->update_status();
  EXPECT_EQ(open.phase, UpdatePhase::kUpdating);
  EXPECT_FALSE(open.id.is_none());
  EXPECT_EQ(open.name, "catalogue-7");
  EXPECT_GE(open.age_ns, 3 * kSecondNs);
  EXPECT_GT(open.window_bytes, 0u);
  EXPECT_NE(open.digest_now, open.digest_at_start);
  EXPECT_EQ(open.vbuckets_total, 4u);
  Revert();
  const UpdateStatus ended = E()->update_status();
  EXPECT_EQ(ended.phase, UpdatePhase::kNormal);
  ASSERT_EQ(ended.history.size(), 1u);
  EXPECT_EQ(ended.history[0].id, open.id);
  EXPECT_EQ(ended.history[0].name, "catalogue-7");
  EXPECT_EQ(ended.history[0].added, 1u);
  EXPECT_EQ(ended.history[0].started_ns, open.started_ns);
  EXPECT_GE(ended.history[0].decided_ns, ended.history[0].started_ns + 3 * kSecondNs);
  EXPECT_EQ(ended.digest_now, open.digest_at_start);
}

TEST_F(OnlineUpdate, ANameThatIsNotOneIsRefused) {
  Open();
  for (const std::string& name : {std::string("a b"), std::string("line\nbreak"), std::string("slash/"),
                                  std::string(65, 'n'), std::string(5000, 'n'), std::string("\0", 1)}) {
    EXPECT_EQ(E().Update(Step::kStart, Named(name)).code(), Code::kInvalidArgument) << name.size();
    EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  }
  Do(Step::kStart, Named(std::string(64, 'n')));
  EXPECT_EQ(E()->update_status().name, std::string(64, 'n'));
}

TEST_F(OnlineUpdate, FlushAllIsRefusedInEveryPhaseButNormal) {
  Open();
  ASSERT_EQ(E().Set("k", "v"), Code::kOk);
  std::optional<Status> answer;
  E().Submit(Step::kStart, {}, &answer);
  bool seen_starting = false;
  for (int i = 0; i < 1000 && !answer; ++i) {
    E()->RunBackground();
    if (E().phase() == UpdatePhase::kNormal) continue;
    seen_starting = seen_starting || E().phase() == UpdatePhase::kStarting;
    EXPECT_EQ(E()->FlushAll(0).code(), Code::kNotSupported);
    EXPECT_EQ(E()->FlushAll(1).code(), Code::kNotSupported);
  }
  EXPECT_TRUE(seen_starting);
  EXPECT_TRUE(E().Get("k").has_value());
  Complete();
  EXPECT_TRUE(E()->FlushAll(0).ok());
  EXPECT_FALSE(E().Get("k").has_value());
}

TEST_F(OnlineUpdate, ADelayedFlushAllThatFallsDueInTheWindowDoesNothing) {
  Open();
  ASSERT_EQ(E().Set("k", "v"), Code::kOk);
  ASSERT_TRUE(E()->FlushAll(5).ok());
  Start();
  clock_.Advance(10 * kSecondNs);
  Background(10);
  EXPECT_TRUE(E().Get("k").has_value());
  Revert();
  EXPECT_TRUE(E().Get("k").has_value());
}

TEST_F(OnlineUpdate, StartWaitsForAFlushAllToBeSwept) {
  Open();
  const auto keys = Keys(2000);
  SetAll(keys, "v");
  Persist();
  ASSERT_TRUE(E()->FlushAll(0).ok());
  Start();
  EXPECT_TRUE(Look(keys).empty());
  SetAll(keys, "w");
  Revert();
  EXPECT_TRUE(Look(keys).empty());
}

// Every way a key can change in a window, with and without the disk catching up in between (which makes the
// engine forget tombstones).
class OnlineUpdateCounts : public OnlineUpdate, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(OnlineUpdateCounts, AddedUpdatedAndDeletedKeysAreExactAtEveryMoment) {
  Open();
  Random random(GetParam());
  const auto keys = Keys(12);
  std::set<std::string> before;
  for (const std::string& key : keys) {
    if (random.OneIn(2)) {
      ASSERT_EQ(E().Set(key, "old"), Code::kOk);
      before.insert(key);
      if (random.OneIn(3)) {
        ASSERT_EQ(E().Delete(key), Code::kOk);
        before.erase(key);
      }
    }
  }
  Start();
  std::set<std::string> now = before;
  std::set<std::string> touched;
  for (int i = 0; i < 400; ++i) {
    const std::string& key = keys[random.Uniform(keys.size())];
    if (random.OneIn(2)) {
      ASSERT_EQ(E().Set(key, "new" + std::to_string(i)), Code::kOk);
      now.insert(key);
      touched.insert(key);
    } else if (E().Delete(key) == Code::kOk) {
      now.erase(key);
      touched.insert(key);
    }
    if (random.OneIn(10)) Persist();
    uint64_t added = 0;
    uint64_t updated = 0;
    uint64_t deleted = 0;
    for (const std::string& k : touched) {
      if (before.contains(k)) {
        ++(now.contains(k) ? updated : deleted);
      } else if (now.contains(k)) {
        ++added;
      }
    }
    const UpdateStatus status = E()->update_status();
    ASSERT_EQ(status.added, added) << i;
    ASSERT_EQ(status.updated, updated) << i;
    ASSERT_EQ(status.deleted, deleted) << i;
  }
  Revert();
  EXPECT_EQ(Look(keys).size(), before.size());
}

INSTANTIATE_TEST_SUITE_P(Seeds, OnlineUpdateCounts, ::testing::Range(uint64_t{1}, uint64_t{13}));

TEST_F(OnlineUpdate, EveryKindOfMutationIsTakenBack) {
  Open();
  const auto keys = Keys(8);
  for (const std::string& key : keys)
    ASSERT_EQ(E().Set(key, "10", 3, clock_.WallSeconds() + 1000), Code::kOk);
  const View before = Look(keys);
  const uint64_t digest = E()->Digest();
  Start();
  StoreRequest request;
  request.value = "+";
  request.mode = StoreMode::kAppend;
  EXPECT_EQ(E().Store(keys[0], request), Code::kOk);
  request.mode = StoreMode::kPrepend;
  EXPECT_EQ(E().Store(keys[1], request), Code::kOk);
  request.mode = StoreMode::kReplace;
  EXPECT_EQ(E().Store(keys[2], request), Code::kOk);
  uint64_t value = 0;
  EXPECT_EQ(E().Increment(keys[3], 5, &value), Code::kOk);
  EXPECT_EQ(value, 15u);
  EXPECT_EQ(E().Touch(keys[4], 0), Code::kOk);
  EXPECT_EQ(E()->GetAndTouch(E()->MakeKey(keys[5]), 0, nullptr).code, Code::kOk);
  EXPECT_EQ(E().Delete(keys[6]), Code::kOk);
  EXPECT_EQ(E().Delete(keys[7]), Code::kOk);
  request.mode = StoreMode::kAdd;
  EXPECT_EQ(E().Store(keys[7], request), Code::kOk);
  request.cas = Cas(0);
  EXPECT_EQ(E().Store("new", request), Code::kOk);
  const UpdateStatus status = E()->update_status();
  EXPECT_EQ(status.added, 1u);
  EXPECT_EQ(status.updated, 7u);
  EXPECT_EQ(status.deleted, 1u);
  Revert();
  EXPECT_EQ(Look(keys), before);
  EXPECT_FALSE(E().Get("new").has_value());
  EXPECT_EQ(E()->Digest(), digest);
}

TEST_F(OnlineUpdate, AKeyMadeToExpireInTheWindowComesBack) {
  Open();
  ASSERT_EQ(E().Set("touched", "v", 1), Code::kOk);
  ASSERT_EQ(E().Set("rewritten", "v", 2, clock_.WallSeconds() + 1000), Code::kOk);
  const View before = Look({"touched", "rewritten"});
  Start();
  ASSERT_EQ(E().Touch("touched", clock_.WallSeconds() + 2), Code::kOk);
  ASSERT_EQ(E().Set("rewritten", "w", 3, clock_.WallSeconds() + 2), Code::kOk);
  clock_.Advance(5 * kSecondNs);
  EXPECT_FALSE(E().Get("touched").has_value());
  EXPECT_EQ(E().Delete("rewritten"), Code::kNotFound);
  Persist();
  Revert();
  EXPECT_EQ(Look({"touched", "rewritten"}), before);
  Persist();
  CrashAndReopen();
  EXPECT_EQ(Look({"touched", "rewritten"}), before);
}

TEST_F(OnlineUpdate, TheExpiryPagerDoesNotReachThroughTheWindow) {
  EngineOptions options = SmallOptions();
  options.expiry_pager_interval_ms = 100;
  Open(options);
  const auto keys = Keys(200);
  const uint32_t soon = clock_.WallSeconds() + 5;
  for (const std::string& key : keys) ASSERT_EQ(E().Set(key, "v", 0, soon), Code::kOk);
  Persist();
  Start();
  Persist();
  const Data data = DataNow();
  ASSERT_EQ(data.size(), keys.size());
  clock_.Advance(10 * kSecondNs);
  Background(200);
  EXPECT_GT(Number("", "ep_expired"), 0u);
  EXPECT_EQ(E()->update_status().deleted, keys.size());
  EXPECT_EQ(DataNow(), data) << "expiry in the window has touched main data";
  Revert();
  EXPECT_TRUE(Look(keys).empty()) << "their time has run out";
  clock_.JumpWall(-10 * kSecondNs);
  // They were put back and expire once more, as ordinary deletions after the window.
  Background(200);
  clock_.JumpWall(10 * kSecondNs);
  Persist();
  CrashAndReopen();
  EXPECT_TRUE(Look(keys).empty());
}

class OnlineUpdateMemory : public OnlineUpdate {
 protected:
  static EngineOptions Tight() {
    EngineOptions options = SmallOptions();
    options.memory_quota = 1u << 20;
    return options;
  }
  /// Stores them all, letting the disk and ejection keep up.
  void Load(const std::vector<std::string>& keys, const std::string& value) {
    for (const std::string& key : keys) {
      for (int attempt = 0;; ++attempt) {
        const Code code = E().Set(key, value + key, static_cast<uint32_t>(key.size()));
        if (code == Code::kOk) break;
        ASSERT_EQ(code, Code::kTmpOom);
        ASSERT_LT(attempt, 200) << "no room is made";
        clock_.Advance(kSecondNs);
        Background(20);
      }
    }
  }
  std::map<std::string, std::string> Values(const std::vector<std::string>& keys) {
    std::map<std::string, std::string> values;
    for (const auto& [key, version] : Look(keys)) values[key] = version.value;
    return values;
  }
};

TEST_F(OnlineUpdateMemory, EjectedValuesAndPreimagesComeBack) {
  Open(Tight());
  const auto keys = Keys(400);
  Load(keys, std::string(4000, 'o'));
  const View before = Look(keys);
  ASSERT_EQ(before.size(), keys.size());
  Start();
  for (const char letter : {'a', 'b', 'c'}) {
    Load(keys, std::string(4100, letter));
    EXPECT_LE(Number("", "mem_used"), options_.memory_quota);
  }
  for (size_t i = 0; i < keys.size(); i += 3) ASSERT_EQ(E().Delete(keys[i]), Code::kOk);
  Load(Keys(50, "new-"), std::string(4000, 'n'));
  EXPECT_GT(Number("", "ep_num_value_ejects"), 400u);
  EXPECT_LT(Number("", "ep_onlineupdate_preimage_memory"), 600'000u) << "pre-images were not ejected";
  Revert();
  EXPECT_EQ(Look(keys), before);
  EXPECT_TRUE(Look(Keys(50, "new-")).empty());
  Persist();
  CrashAndReopen();
  EXPECT_EQ(Look(keys), before);
}

// Asked for while the window is open, read when its range is void and the log behind the cut is gone, and the
// table still holds it because nobody has put the key back yet.
TEST_F(OnlineUpdateMemory, AValueThatIsTakenBackWhileItIsBeingReadIsNotDamaged) {
  EngineOptions options = Tight();
  options.sync = SyncPolicy::kAlways;
  Open(options);
  const auto keys = Keys(400);
  Load(keys, std::string(4000, 'o'));
  const View before = Look(keys);
  Start();
  Load(keys, std::string(4100, 'n'));
  std::vector<std::string> asked;
  gate_.refuse = [&](const storage::LogBatch& batch) {
    // The decision is about to be recorded: from the next operation on the window is over.
    if (batch.meta_puts.empty() || batch.meta_puts.front().first != proto::kUpdateCurrentName)
      return Status();
    for (const std::string& key : keys) {
      const GetResult got = E()->Get(E()->MakeKey(key), std::make_shared<WakeFlag>());
      if (got.code == Code::kWouldBlock) asked.push_back(key);
    }
    return Status();
  };
  std::optional<Status> answer;
  E().Submit(Step::kRevert, {}, &answer);
  for (int i = 0; i < 10 && asked.empty(); ++i) Background(1);
  gate_.refuse = nullptr;
  ASSERT_GT(asked.size(), 100u);
  // Clients are faster than the coordinator: they bring the vbuckets into the new phase, one key each.
  std::set<uint32_t> moved;
  for (const std::string& key : keys) {
    const OpKey made = E()->MakeKey(key);
    if (moved.insert(made.vbucket.get()).second) E()->Get(made, std::make_shared<WakeFlag>());
  }
  const uint64_t fetched = Number("", "ep_bg_fetched");
  Background(1);  // the log, the merge, then the reads
  EXPECT_GT(Number("", "ep_bg_fetched"), fetched);
  EXPECT_GT(Number("online_update", "online_update_keys_to_revert"), 0u) << "all is put back already";
  EXPECT_EQ(Number("", "ep_bg_fetch_errors"), 0u);
  for (const std::string& key : keys) ASSERT_EQ(E().Get(key), before.at(key)) << key;
  for (int i = 0; i < 1000 && !answer; ++i) Background(1);
  ASSERT_TRUE(answer && answer->ok());
}

TEST_F(OnlineUpdateMemory, AnUpdateThatRewritesEverythingCanBeCompletedWithinTheQuota) {
  Open(Tight());
  const auto keys = Keys(400);
  Load(keys, std::string(4000, 'o'));
  Start();
  Load(keys, std::string(4100, 'n'));
  const auto after = Values(keys);
  Complete();
  EXPECT_LE(Number("", "mem_used"), options_.memory_quota);
  EXPECT_EQ(Values(keys), after);
  Persist();
  CrashAndReopen();
  EXPECT_EQ(Values(keys), after);
}

TEST_F(OnlineUpdateMemory, RevertWorksWhenMemoryIsFull) {
  Open(Tight());
  const auto keys = Keys(100);
  Load(keys, std::string(1000, 'o'));
  Persist();
  const View before = Look(keys);
  Start();
  // Nothing can be ejected that is not on disk, and the disk is stopped.
  ASSERT_TRUE(E()->StopPersistence().ok());
  int stored = 0;
  Code code = Code::kOk;
  for (; code == Code::kOk && stored < 10'000; ++stored) {
    code = E().Set(stored < 100 ? keys[static_cast<size_t>(stored)] : "new-" + std::to_string(stored),
                   std::string(3000, 'n'));
    Background(1);
  }
  ASSERT_EQ(code, Code::kTmpOom);
  EXPECT_TRUE(E().Get(keys[0]).has_value()) << "reads go on";
  Revert();
  EXPECT_EQ(Look(keys), before);
  ASSERT_TRUE(E()->StartPersistence().ok());
  Persist();
  EXPECT_EQ(E().Set("after", "v"), Code::kOk);
  Persist();
  CrashAndReopen();
  EXPECT_EQ(Look(keys), before);
  EXPECT_TRUE(E().Get("after").has_value());
}

TEST_F(OnlineUpdate, MergeStopsAtTheStartAndGoesOnAfterComplete) {
  Open();
  const auto keys = Keys(100);
  SetAll(keys, "old-");
  Start();
  Persist();
  const Data at_start = DataNow();
  EXPECT_EQ(at_start.size(), keys.size());
  for (int round = 0; round < 5; ++round) {
    SetAll(keys, "new-" + std::to_string(round));
    ASSERT_EQ(E().Set("fresh-" + std::to_string(round), "v"), Code::kOk);
    E().Delete(keys[static_cast<size_t>(round)]);
    Persist();
    ASSERT_EQ(DataNow(), at_start) << "the window has reached main data";
  }
  const View window = Look(keys);
  Complete();
  Persist();
  const Data merged = DataNow();
  EXPECT_EQ(merged.size(), window.size() + 5);
  for (const auto& [where, record] : merged) {
    const auto item = proto::DecodeDataRecord(Vbid(static_cast<uint16_t>(where.first)), where.second, record);
    ASSERT_TRUE(item.ok());
    const std::optional<Version> seen = E().Get(where.second);
    ASSERT_TRUE(seen.has_value()) << where.second;
    EXPECT_EQ(item.value()->value(), seen->value);
  }
}

TEST_F(OnlineUpdate, WhatWasRevertedNeverReachesMainData) {
  Open();
  const auto keys = Keys(100);
  SetAll(keys, "old-");
  Start();
  Persist();
  const Data at_start = DataNow();
  SetAll(keys, "new-");
  SetAll(Keys(20, "fresh-"), "new-");
  ASSERT_EQ(E().Delete(keys[7]), Code::kOk);
  Persist();
  Revert();
  for (int i = 0; i < 50; ++i) {
    E()->RunBackground();
    ASSERT_EQ(DataNow(), at_start) << "while settling, step " << i;
  }
  ASSERT_EQ(E().Set("after", "v"), Code::kOk);
  Persist();
  Data expected = at_start;
  Data now = DataNow();
  EXPECT_EQ(now.size(), at_start.size() + 1);
  std::erase_if(now, [](const auto& entry) { return entry.first.second == "after"; });
  EXPECT_EQ(now, expected);
  CrashAndReopen();
  Background(50);
  now = DataNow();
  std::erase_if(now, [](const auto& entry) { return entry.first.second == "after"; });
  EXPECT_EQ(now, expected) << "the log was merged again after the restart";
}

TEST_F(OnlineUpdate, ManyUpdatesInARowStayExact) {
  Open();
  const auto keys = Keys(60);
  SetAll(keys, "v");
  View expected = Look(keys);
  Random random(5);
  for (int round = 0; round < 40; ++round) {
    Start();
    for (int i = 0; i < 30; ++i) {
      const std::string& key = keys[random.Uniform(keys.size())];
      if (random.OneIn(4)) {
        E().Delete(key);
      } else {
        ASSERT_EQ(E().Set(key, std::to_string(round), 1), Code::kOk);
      }
      if (random.OneIn(8)) Background(2);
    }
    if (random.OneIn(2)) {
      expected = Look(keys);
      Complete();
    } else {
      Revert();
    }
    ASSERT_EQ(Look(keys), expected) << round;
  }
}

TEST_F(OnlineUpdate, SeqnosAndCasOnlyRiseAcrossReverts) {
  Open();
  uint64_t last_cas = 0;
  std::vector<std::pair<Vbid, Seqno>> last = E()->HighSeqnos(std::nullopt);
  for (int round = 0; round < 6; ++round) {
    Start();
    StoreRequest request;
    request.value = "v";
    const MutationResult stored = E()->Store(E()->MakeKey("k"), request, nullptr);
    ASSERT_EQ(stored.code, Code::kOk);
    EXPECT_GT(stored.cas.get(), last_cas);
    last_cas = stored.cas.get();
    Revert();
    const auto now = E()->HighSeqnos(std::nullopt);
    for (size_t v = 0; v < now.size(); ++v) EXPECT_GT(now[v].second, last[v].second);
    last = now;
    if (round % 2 == 1) CrashAndReopen();
  }
}

class OnlineUpdateVbuckets : public EngineStoreTest, public ::testing::WithParamInterface<uint32_t> {};

TEST_P(OnlineUpdateVbuckets, AnyNumberOfVbucketsMovesAsOne) {
  EngineOptions options = SmallOptions();
  options.vbuckets = GetParam();
  Open(options);
  const auto keys = Keys(100);
  SetAll(keys, "old-");
  const View before = Look(keys);
  Start();
  EXPECT_EQ(E()->update_status().vbuckets_total, GetParam());
  SetAll(keys, "new-");
  Revert();
  EXPECT_EQ(Look(keys), before);
  Start();
  SetAll(keys, "kept-");
  const View kept = Look(keys);
  Complete();
  Background(10);
  CrashAndReopen();
  EXPECT_EQ(Look(keys), kept);
}

INSTANTIATE_TEST_SUITE_P(Counts, OnlineUpdateVbuckets, ::testing::Values(1u, 2u, 1024u, 4096u));

TEST(OnlineUpdateInMemory, WorksWithoutAStore) {
  SetLogLevel(LogLevel::kOff);
  ManualClock clock;
  TestEngine engine(nullptr, &clock, SmallOptions());
  engine.Open();
  for (int i = 0; i < 500; ++i) ASSERT_EQ(engine.Set("k" + std::to_string(i), "old", 4), Code::kOk);
  const uint64_t digest = engine->Digest();
  ASSERT_TRUE(engine.Update(TestEngine::Step::kStart).ok());
  for (int i = 0; i < 700; ++i) {
    ASSERT_EQ(engine.Set("k" + std::to_string(i), "new", 5), Code::kOk);
    engine->RunBackground();
  }
  for (int i = 0; i < 100; ++i) ASSERT_EQ(engine.Delete("k" + std::to_string(i)), Code::kOk);
  EXPECT_EQ(engine->update_status().added, 200u);
  EXPECT_EQ(engine->update_status().updated, 400u);
  EXPECT_EQ(engine->update_status().deleted, 100u);
  ASSERT_TRUE(engine.Update(TestEngine::Step::kRevert).ok());
  EXPECT_EQ(engine->Digest(), digest);
  EXPECT_EQ(engine.Get("k3")->value, "old");
  EXPECT_FALSE(engine.Get("k600").has_value());
  ASSERT_TRUE(engine.Update(TestEngine::Step::kStart).ok());
  ASSERT_EQ(engine.Set("k3", "kept"), Code::kOk);
  ASSERT_TRUE(engine.Update(TestEngine::Step::kComplete).ok());
  EXPECT_EQ(engine.Get("k3")->value, "kept");
  EXPECT_EQ(engine->StopPersistence().code(), Code::kNotSupported);
}

}  // namespace
}  // namespace cairn::engine
