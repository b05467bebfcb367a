// The holes of the first implementation of the online update that concern one node, each by its number in the
// design, and what happens when something else meets a window: the cap, a deletion, a change of state.

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

class Hole : public EngineStoreTest {
 protected:
  /// Counts what the persistence cursors still have to read.
  uint64_t ToPersist() {
    uint64_t sum = 0;
    const Status status = E()->Stats("checkpoint", "", [&](std::string_view name, std::string_view value) {
      if (name.ends_with(":num_items_for_persistence")) sum += std::stoull(std::string(value));
    });
    EXPECT_TRUE(status.ok());
    return sum;
  }
  Status SetState(Vbid vbucket, VbucketState state) {
    Status answer(Code::kInternal);
    E()->SetVbucketState(vbucket, state, [&](Status status) { answer = std::move(status); });
    return answer;
  }
  Status DeleteVbucket(Vbid vbucket) {
    Status answer(Code::kInternal);
    E()->DeleteVbucket(vbucket, [&](Status status) { answer = std::move(status); });
    return answer;
  }
};

TEST_F(Hole, No2_RevertWhilePersistenceIsStopped) {
  Open();
  const auto keys = Keys(100);
  SetAll(keys, "old-");
  const View before = Look(keys);
  Start();
  ASSERT_TRUE(E()->StopPersistence().ok());
  SetAll(keys, "new-");
  Revert();
  EXPECT_EQ(Look(keys), before);
  EXPECT_GT(ToPersist(), 0u);
  // Killed before anything of the window, or its end, was written: the decision alone is on disk.
  CrashAndReopen();
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  EXPECT_EQ(Look(keys), before);
}

TEST_F(Hole, No2_RevertWhilePersistenceLagsBehindTheWindow) {
  for (int lag = 0; lag < 6; ++lag) {
    SCOPED_TRACE(lag);
    Open();
    const auto keys = Keys(80);
    SetAll(keys, "old-" + std::to_string(lag));
    const View before = Look(keys);
    Start();
    SetAll(keys, "new-");
    Background(lag);
    SetAll(Keys(40), "newer-");
    Background(lag / 2);
    Revert();
    EXPECT_EQ(Look(keys), before);
    Background(lag);
    CrashAndReopen();
    EXPECT_EQ(Look(keys), before);
    Crash();
  }
}

TEST_F(Hole, No2_RevertOrderedBeforePersistenceHasReachedStart) {
  Open();
  const auto keys = Keys(50);
  SetAll(keys, "old-");
  const View before = Look(keys);
  std::optional<Status> started;
  std::optional<Status> reverted;
  E().Submit(Step::kStart, {}, &started);
  E().Submit(Step::kRevert, {}, &reverted);
  for (int i = 0; i < 1000 && !reverted; ++i) E()->RunBackground();
  ASSERT_TRUE(started && reverted);
  EXPECT_TRUE(started->ok()) << started->ToString();
  EXPECT_TRUE(reverted->ok()) << reverted->ToString();
  EXPECT_EQ(Look(keys), before);
}

TEST_F(Hole, No2_StartThatCannotBeMadeDurableLeavesTheEngineNormal) {
  Open();
  const auto keys = Keys(50);
  SetAll(keys, "old-");
  ASSERT_TRUE(E()->StopPersistence().ok());
  std::optional<Status> started;
  std::optional<Status> reverted;
  E().Submit(Step::kStart, {}, &started);
  E().Submit(Step::kRevert, {}, &reverted);
  Background(10);
  EXPECT_FALSE(started.has_value());
  SetAll(keys, "new-");
  clock_.Advance(40 * kSecondNs);
  Background(10);
  ASSERT_TRUE(started && reverted);
  EXPECT_EQ(started->code(), Code::kTmpFail);
  EXPECT_EQ(reverted->code(), Code::kNotSupported);
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  const View now = Look(keys);
  EXPECT_EQ(now.at(keys[0]).value, "new-" + keys[0]) << "a window that never was takes nothing back";
  ASSERT_TRUE(E()->StartPersistence().ok());
  Persist();
  CrashAndReopen();
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  EXPECT_EQ(Look(keys), now);
  Start();
  Revert();
}

TEST_F(Hole, No3_CompleteLeavesCursorsExact) {
  Open();
  const auto keys = Keys(100);
  SetAll(keys, "old-");
  Start();
  Persist();
  EXPECT_EQ(ToPersist(), 0u);
  ASSERT_TRUE(E()->StopPersistence().ok());
  SetAll(keys, "new-");
  EXPECT_EQ(ToPersist(), keys.size());
  Complete();
  EXPECT_EQ(ToPersist(), keys.size() + options_.vbuckets) << "the window's writes and one marker per vbucket";
  const View after = Look(keys);
  ASSERT_TRUE(E()->StartPersistence().ok());
  Persist();
  EXPECT_EQ(ToPersist(), 0u);
  EXPECT_EQ(Number("", "ep_queue_size"), 0u);
  CrashAndReopen();
  EXPECT_EQ(Look(keys), after);
}

// The answer comes once, when everything is back, and neither reads nor writes meanwhile wait or are lost.
TEST_F(Hole, No4_TheClientIsToldWhenTheRevertIsDoneAndWritesMayRaceWithIt) {
  Open();
  const auto keys = Keys(20'000);
  SetAll(keys, "old-");
  Start();
  SetAll(keys, "new-");
  SetAll(Keys(1000, "fresh-"), "new-");
  int answers = 0;
  bool all_back = true;
  E().Submit(Step::kRevert, {}, [&](const Result<UpdateStatus>& result) {
    ++answers;
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    EXPECT_EQ(result.value().keys_to_revert, 0u);
    for (size_t i = 10'000; i < keys.size(); i += 7) {
      const GetResult got = E()->Get(E()->MakeKey(keys[i]), nullptr);
      all_back = all_back && got.code == Code::kOk && got.item->value() == "old-" + keys[i];
    }
  });
  size_t reverting_steps = 0;
  std::set<std::string> rewritten;
  for (int i = 0; i < 1000 && answers == 0; ++i) {
    E()->RunBackground();
    if (E().phase() != UpdatePhase::kReverting) continue;
    ++reverting_steps;
    for (size_t k = 0; k < 5; ++k) {
      const size_t index = reverting_steps * 97 + k;
      const OpKey seen = E()->MakeKey(keys[index + 10'000]);
      const GetResult got = E()->Get(seen, nullptr);
      ASSERT_EQ(got.code, Code::kOk);
      ASSERT_EQ(got.item->value(), "old-" + keys[index + 10'000]) << "a value of the window was seen";
      EXPECT_EQ(E()->Get(E()->MakeKey("fresh-" + std::to_string(index % 1000)), nullptr).code,
                Code::kNotFound);
      StoreRequest request;
      request.value = "raced";
      request.mode = k % 2 == 0 ? StoreMode::kSet : StoreMode::kAppend;
      ASSERT_EQ(E()->Store(E()->MakeKey(keys[index]), request, nullptr).code, Code::kOk);
      rewritten.insert(keys[index]);
      const std::optional<Version> now = E().Get(keys[index]);
      ASSERT_TRUE(now.has_value());
    }
  }
  EXPECT_EQ(answers, 1);
  EXPECT_GT(reverting_steps, 3u) << "the test does not see the revert at work";
  EXPECT_TRUE(all_back);
  EXPECT_TRUE(E()->update_status().history.front().digest_equal);
  Background(20);
  EXPECT_EQ(answers, 1);
  const auto check = [&] {
    for (size_t i = 0; i < 10'000; ++i) {
      const std::optional<Version> found = E().Get(keys[i]);
      ASSERT_TRUE(found.has_value()) << keys[i];
      if (!rewritten.contains(keys[i])) {
        ASSERT_EQ(found->value, "old-" + keys[i]);
      } else {
        ASSERT_TRUE(found->value == "raced" || found->value == "old-" + keys[i] + "raced") << found->value;
      }
    }
  };
  check();
  Persist();
  CrashAndReopen();
  check();
}

TEST_F(Hole, No4_OrdersThatWaitAreAnsweredWhenTheEngineStops) {
  Open();
  ASSERT_TRUE(E()->StopPersistence().ok());
  std::optional<Status> started;
  std::optional<Status> queued;
  E().Submit(Step::kStart, {}, &started);
  E().Submit(Step::kRevert, {}, &queued);
  Background(5);
  EXPECT_FALSE(started || queued);
  E().Kill();
  ASSERT_TRUE(started && queued);
  EXPECT_EQ(started->code(), Code::kCancelled);
  EXPECT_EQ(queued->code(), Code::kCancelled);
}

TEST_F(Hole, No5_FlagsExpiryAndCasComeBackWithTheValue) {
  Open();
  const uint32_t later = clock_.WallSeconds() + 5000;
  ASSERT_EQ(E().Set("updated", "v", 0xdeadbeef, later), Code::kOk);
  ASSERT_EQ(E().Set("deleted", "w", 7, later + 1), Code::kOk);
  const View before = Look({"updated", "deleted"});
  Start();
  ASSERT_EQ(E().Set("updated", "x", 1, later + 100), Code::kOk);
  ASSERT_EQ(E().Delete("deleted"), Code::kOk);
  Revert();
  const View after = Look({"updated", "deleted"});
  EXPECT_EQ(after.at("updated").value, "v");
  EXPECT_EQ(after.at("updated").flags, 0xdeadbeef);
  EXPECT_EQ(after.at("updated").expiry, later);
  EXPECT_EQ(after.at("updated").cas, before.at("updated").cas);
  EXPECT_EQ(after, before);
  // The CAS that a client read before START is good again.
  StoreRequest request;
  request.value = "y";
  request.cas = Cas(before.at("updated").cas);
  EXPECT_EQ(E().Store("updated", request), Code::kOk);
  CrashAndReopen();
  EXPECT_EQ(E().Get("deleted"), before.at("deleted"));
}

TEST_F(Hole, No8_AVbucketIsNeitherDeletedNorMadeInAnUpdate) {
  Open();
  ASSERT_TRUE(SetState(Vbid(1), VbucketState::kDead).ok());
  ASSERT_TRUE(SetState(Vbid(2), VbucketState::kDead).ok());
  ASSERT_TRUE(DeleteVbucket(Vbid(2)).ok());
  Start();
  EXPECT_EQ(DeleteVbucket(Vbid(1)).code(), Code::kNotSupported);
  EXPECT_EQ(SetState(Vbid(2), VbucketState::kActive).code(), Code::kNotSupported);
  EXPECT_EQ(E()->GetVbucketState(Vbid(2)).code(), Code::kNotMyVbucket);
  EXPECT_EQ(E()->GetVbucketState(Vbid(1)).value(), VbucketState::kDead);
  Revert();
  EXPECT_TRUE(DeleteVbucket(Vbid(1)).ok());
}

TEST_F(Hole, No8_AVbucketThatChangesItsStateInTheWindowKeepsIt) {
  Open();
  const auto keys = Keys(100);
  SetAll(keys, "old-");
  const View before = Look(keys);
  Start();
  SetAll(keys, "new-");
  ASSERT_TRUE(SetState(Vbid(3), VbucketState::kDead).ok());
  Revert();
  EXPECT_EQ(E()->GetVbucketState(Vbid(3)).value(), VbucketState::kDead);
  CrashAndReopen();
  EXPECT_EQ(E()->GetVbucketState(Vbid(3)).value(), VbucketState::kDead);
  WarmUp();
  ASSERT_TRUE(SetState(Vbid(3), VbucketState::kActive).ok());
  EXPECT_EQ(Look(keys), before);
}

TEST_F(Hole, No9_AKeyWrittenJustBeforeStartIsNotTakenForNew) {
  Open();
  const auto keys = Keys(40);
  SetAll(keys, "old-");  // nothing of it is on disk when the window opens
  ASSERT_EQ(E().Delete(keys[1]), Code::kOk);
  const View before = Look(keys);
  Start();
  SetAll(keys, "new-");
  EXPECT_EQ(E()->update_status().updated, keys.size() - 1);
  EXPECT_EQ(E()->update_status().added, 1u);
  Revert();
  EXPECT_EQ(Look(keys), before);
  CrashAndReopen();
  EXPECT_EQ(Look(keys), before);
}

// The window must not make the engine keep what is on disk already.
TEST_F(Hole, No11_CheckpointsStayBoundedThroughALongWindow) {
  Open();
  const auto keys = Keys(200);
  SetAll(keys, std::string(1000, 'o'));
  Start();
  uint64_t most = 0;
  for (int round = 0; round < 100; ++round) {
    SetAll(keys, std::string(1000, static_cast<char>('a' + round % 26)));
    Persist();
    most = std::max(most, Number("", "ep_checkpoint_memory"));
  }
  EXPECT_LT(most, 200'000u) << "20 MB were written in the window";
  EXPECT_LT(Number("", "ep_onlineupdate_preimage_memory"), 400'000u);
  EXPECT_LT(Number("", "mem_used"), 2'000'000u);
  EXPECT_GT(E()->update_status().window_bytes, 20'000'000u);
  Revert();
  EXPECT_EQ(E().Get(keys[3])->value, std::string(1000, 'o') + keys[3]);
  Persist();
  EXPECT_EQ(Number("", "ep_onlineupdate_preimage_memory"), 0u);
}

TEST_F(Hole, No11_MemoryOfAnEndedUpdateIsGivenBack) {
  Open();
  const auto keys = Keys(5000);
  SetAll(keys, std::string(200, 'o'));
  Persist();
  const uint64_t before = Number("", "mem_used");
  for (const bool commit : {false, true}) {
    Start();
    SetAll(keys, std::string(200, 'n'));
    EXPECT_GT(Number("", "mem_used"), before + 5000 * 200u);
    if (commit) {
      Complete();
    } else {
      Revert();
    }
    Persist();
    Background(50);
    EXPECT_LT(Number("", "mem_used"), before + before / 20) << commit;
  }
}

class WindowCap : public EngineStoreTest {
 protected:
  void OpenWith(uint64_t bytes, uint32_t age_s, AtWindowCap at_cap) {
    EngineOptions options = SmallOptions();
    options.update_bytes_max = bytes;
    options.update_age_max_s = age_s;
    options.update_at_cap = at_cap;
    Open(options);
    ASSERT_EQ(E().Set("k", "old"), Code::kOk);
    ASSERT_EQ(E().Set("gone", "old"), Code::kOk);
    Start();
    ASSERT_EQ(E().Set("k", "new"), Code::kOk);
  }
  void FillTo(uint64_t bytes) {
    for (uint64_t written = 0; written < bytes; written += 1000) {
      ASSERT_EQ(E().Set("fill-" + std::to_string(written), std::string(1000, 'f')), Code::kOk);
      if (written % 10'000 == 0) Persist();
    }
    Persist();
    clock_.Advance(2 * kSecondNs);
    Background(10);
  }
};

TEST_F(WindowCap, RefusesWritesUntilTheUpdateIsDecided) {
  OpenWith(50'000, 0, AtWindowCap::kRefuseWrites);
  FillTo(30'000);
  EXPECT_EQ(E().Set("k", "newer"), Code::kOk);
  FillTo(30'000);
  EXPECT_EQ(E().Set("k", "newest"), Code::kTmpFail);
  uint64_t value = 0;
  EXPECT_EQ(E().Touch("k", 0), Code::kTmpFail);
  EXPECT_EQ(E().Increment("k", 1, &value), Code::kTmpFail);
  EXPECT_EQ(E().Get("k")->value, "newer");
  EXPECT_EQ(E().phase(), UpdatePhase::kUpdating);
  Revert();
  EXPECT_EQ(E().Get("k")->value, "old");
  EXPECT_EQ(E().Set("k", "after"), Code::kOk);
}

TEST_F(WindowCap, RevertsByItselfWhenToldSo) {
  OpenWith(50'000, 0, AtWindowCap::kRevert);
  FillTo(60'000);
  Background(50);
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  ASSERT_EQ(E()->update_status().history.size(), 1u);
  EXPECT_FALSE(E()->update_status().history[0].committed);
  EXPECT_EQ(E().Get("k")->value, "old");
}

TEST_F(WindowCap, CompletesByItselfWhenToldSo) {
  OpenWith(0, 60, AtWindowCap::kComplete);
  clock_.Advance(50 * kSecondNs);
  Background(50);
  EXPECT_EQ(E().phase(), UpdatePhase::kUpdating);
  clock_.Advance(20 * kSecondNs);
  Background(50);
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  ASSERT_EQ(E()->update_status().history.size(), 1u);
  EXPECT_TRUE(E()->update_status().history[0].committed);
  EXPECT_EQ(E().Get("k")->value, "new");
}

TEST_F(WindowCap, HoldsAcrossARestart) {
  OpenWith(50'000, 0, AtWindowCap::kRefuseWrites);
  FillTo(60'000);
  EXPECT_EQ(E().Set("k", "newest"), Code::kTmpFail);
  CrashAndReopen();
  clock_.Advance(2 * kSecondNs);
  Background(10);
  EXPECT_EQ(E().phase(), UpdatePhase::kUpdating);
  EXPECT_EQ(E().Set("k", "newest"), Code::kTmpFail);
}

}  // namespace
}  // namespace cairn::engine
