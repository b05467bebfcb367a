// Restarts and crashes in every state of an online update (hole 10 of the first implementation: a restarted
// engine forgot), and what survives of its history.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

class UpdateRestart : public EngineStoreTest {
 protected:
  void OpenWith(OnRestart on_restart, uint32_t vbuckets = 4) {
    EngineOptions options = SmallOptions();
    options.update_on_restart = on_restart;
    options.vbuckets = vbuckets;
    Open(options);
    SetAll(keys_, "old-");
    ASSERT_EQ(E().Set("gone", "v", 9), Code::kOk);
    before_ = LookAll();
  }
  /// A window that updates, adds and deletes, durable.
  void OpenWindow(const std::string& name = "") {
    Do(Step::kStart, Named(name));
    SetAll(keys_, "new-");
    SetAll(Keys(20, "fresh-"), "new-");
    ASSERT_EQ(E().Delete("gone"), Code::kOk);
    Persist();
    window_ = LookAll();
  }
  View LookAll() {
    auto keys = keys_;
    for (const std::string& key : Keys(20, "fresh-")) keys.push_back(key);
    keys.push_back("gone");
    return Look(keys);
  }
  /// Gives the order and steps until the engine is in `phase`.
  void OrderUntil(Step step, UpdatePhase phase) {
    E().Submit(step, {}, [](const Result<UpdateStatus>&) {});
    for (int i = 0; i < 1000 && E().phase() != phase; ++i) E()->RunBackground();
    ASSERT_EQ(E().phase(), phase);
  }

  const std::vector<std::string> keys_ = Keys(60);
  View before_;
  View window_;
};

TEST_F(UpdateRestart, No10_TheWindowComesBackOpen) {
  for (const bool clean : {true, false}) {
    SCOPED_TRACE(clean);
    OpenWith(OnRestart::kResume);
    OpenWindow("spring");
    const UpdateStatus old_status = E()->update_status();
    if (clean) {
      RestartCleanly();
    } else {
      CrashAndReopen();
    }
    EXPECT_EQ(E().phase(), UpdatePhase::kUpdating);
    const UpdateStatus status = E()->update_status();
    EXPECT_EQ(status.id, old_status.id);
    EXPECT_EQ(status.name, "spring");
    EXPECT_EQ(status.started_ns, old_status.started_ns);
    EXPECT_EQ(status.digest_at_start, old_status.digest_at_start);
    EXPECT_EQ(LookAll(), window_);
    EXPECT_EQ(E()->FlushAll(0).code(), Code::kNotSupported);
    EXPECT_EQ(E().Update(Step::kStart).code(), Code::kNotSupported);
    WarmUp();
    EXPECT_EQ(E()->update_status().digest_now, old_status.digest_now);
    ASSERT_EQ(E().Set(keys_[5], "newer"), Code::kOk);
    Revert();
    EXPECT_EQ(LookAll(), before_);
    EXPECT_EQ(E()->Digest(), old_status.digest_at_start);
    Crash();
  }
}

TEST_F(UpdateRestart, No10_RevertBeforeTheRestartedEngineIsWarm) {
  OpenWith(OnRestart::kResume);
  OpenWindow();
  CrashAndReopen();
  Revert();
  EXPECT_EQ(LookAll(), before_);
  WarmUp();
  EXPECT_EQ(LookAll(), before_);
  Persist();
  CrashAndReopen();
  EXPECT_EQ(LookAll(), before_);
}

TEST_F(UpdateRestart, No10_CompleteBeforeTheRestartedEngineIsWarm) {
  OpenWith(OnRestart::kResume);
  OpenWindow();
  CrashAndReopen();
  ASSERT_EQ(E().Set(keys_[1], "newer"), Code::kOk);
  const Version newer = *E().Get(keys_[1]);
  Complete();
  window_[keys_[1]] = newer;
  EXPECT_EQ(LookAll(), window_);
  Persist();
  CrashAndReopen();
  EXPECT_EQ(LookAll(), window_);
}

TEST_F(UpdateRestart, No10_AWindowOverManyRestartsIsStillExact) {
  OpenWith(OnRestart::kResume);
  OpenWindow();
  for (int round = 0; round < 5; ++round) {
    if (round % 2 == 0) {
      CrashAndReopen();
    } else {
      RestartCleanly();
    }
    for (size_t i = static_cast<size_t>(round); i < keys_.size(); i += 7) {
      ASSERT_EQ(E().Set(keys_[i], "round-" + std::to_string(round)), Code::kOk);
    }
    E().Delete(keys_[static_cast<size_t>(round)]);
    if (round == 3) WarmUp();
    Persist();
    window_ = LookAll();
    EXPECT_EQ(E().phase(), UpdatePhase::kUpdating);
  }
  CrashAndReopen();
  EXPECT_EQ(LookAll(), window_);
  Revert();
  EXPECT_EQ(LookAll(), before_);
}

TEST_F(UpdateRestart, No10_RestartRevertsWhenToldSo) {
  for (const bool clean : {true, false}) {
    SCOPED_TRACE(clean);
    OpenWith(OnRestart::kRevert);
    OpenWindow("summer");
    if (clean) {
      RestartCleanly();
    } else {
      CrashAndReopen();
    }
    Background(20);
    EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
    EXPECT_EQ(LookAll(), before_);
    ASSERT_FALSE(E()->update_status().history.empty());
    EXPECT_EQ(E()->update_status().history[0].name, "summer");
    EXPECT_FALSE(E()->update_status().history[0].committed);
    Crash();
  }
}

TEST_F(UpdateRestart, AStartThatWasNotAnsweredNeverWas) {
  OpenWith(OnRestart::kResume);
  OrderUntil(Step::kStart, UpdatePhase::kStarting);
  SetAll(keys_, "written-");  // behind the markers, which become durable; the record does not
  const View written = LookAll();
  StopDiskBefore(proto::kUpdateCurrentName);
  Background(20);
  Crash();
  gate_.refuse = nullptr;
  engine_->Open();
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  EXPECT_EQ(LookAll(), written);
  EXPECT_TRUE(E()->update_status().history.empty());
}

class UpdateDecided : public UpdateRestart, public ::testing::WithParamInterface<bool> {};

// The decision is on disk, no vbucket or only some have moved, and writes of clients stand behind it.
TEST_P(UpdateDecided, IsCarriedToItsEndByTheRestart) {
  const bool commit = GetParam();
  for (int more_steps = 0; more_steps < 6; ++more_steps) {
    for (const bool persisted : {false, true}) {
      SCOPED_TRACE(std::to_string(more_steps) + (persisted ? " persisted" : ""));
      OpenWith(OnRestart::kResume, 256);
      OpenWindow("autumn");
      OrderUntil(commit ? Step::kComplete : Step::kRevert,
                 commit ? UpdatePhase::kCompleting : UpdatePhase::kReverting);
      Background(more_steps);
      ASSERT_EQ(E().Set("after", "v"), Code::kOk);
      if (persisted) Persist();
      CrashAndReopen();
      EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
      EXPECT_EQ(LookAll(), commit ? window_ : before_);
      if (persisted) {
        EXPECT_TRUE(E().Get("after").has_value()) << "a write after the decision is none of the window";
      }
      ASSERT_FALSE(E()->update_status().history.empty());
      EXPECT_EQ(E()->update_status().history[0].name, "autumn");
      EXPECT_EQ(E()->update_status().history[0].committed, commit);
      Persist();
      CrashAndReopen();
      EXPECT_EQ(LookAll(), commit ? window_ : before_);
      E().Delete("after");
      for (const std::string& key : Keys(20, "fresh-")) E().Delete(key);
      Crash();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, UpdateDecided, ::testing::Bool(), [](const auto& param) {
  return std::string(param.param ? "Completed" : "Reverted");
});

// The record of a revert may outlive it (its removal failed, or its markers were late). It must not be
// mistaken for the decision about the next update.
TEST_F(UpdateRestart, TheRecordOfAnEndedRevertDoesNotTouchTheNextWindow) {
  OpenWith(OnRestart::kResume);
  OpenWindow("first");
  ASSERT_TRUE(E()->StopPersistence().ok());
  Revert();
  clock_.Advance(60 * kSecondNs);
  Background(10);  // gives up waiting for the markers; the record stays
  ASSERT_TRUE(E()->StartPersistence().ok());
  Persist();
  OrderUntil(Step::kStart, UpdatePhase::kStarting);
  SetAll(keys_, "written-");
  const View written = LookAll();
  StopDiskBefore(proto::kUpdateCurrentName);
  Background(20);
  Crash();
  gate_.refuse = nullptr;
  engine_->Open();
  EXPECT_EQ(E().phase(), UpdatePhase::kNormal);
  EXPECT_EQ(LookAll(), written) << "durable writes were taken back by an older decision";
}

TEST_F(UpdateRestart, TheLastTenOutcomesAreRemembered) {
  OpenWith(OnRestart::kResume);
  for (int i = 0; i < 13; ++i) {
    Do(Step::kStart, Named("update-" + std::to_string(i)));
    for (int k = 0; k <= i; ++k) {
      ASSERT_EQ(E().Set("u" + std::to_string(i) + "-" + std::to_string(k), "v"), Code::kOk);
    }
    if (i % 3 == 0) {
      Revert();
    } else {
      Complete();
    }
    Background(10);
  }
  const auto check = [&] {
    const auto history = E()->update_status().history;
    ASSERT_EQ(history.size(), 10u);
    for (int i = 0; i < 10; ++i) {
      const UpdateOutcome& outcome = history[static_cast<size_t>(i)];
      const int number = 12 - i;
      EXPECT_EQ(outcome.name, "update-" + std::to_string(number));
      EXPECT_EQ(outcome.committed, number % 3 != 0);
      EXPECT_EQ(outcome.added, static_cast<uint64_t>(number) + 1);
      EXPECT_GT(outcome.started_ns, 0);
      EXPECT_GE(outcome.decided_ns, outcome.started_ns);
    }
  };
  check();
  CrashAndReopen();
  check();
  RestartCleanly();
  check();
}

TEST_F(UpdateRestart, AnotherNumberOfVbucketsIsRefused) {
  OpenWith(OnRestart::kResume);
  Persist();
  Crash();
  EngineOptions options = SmallOptions();
  options.vbuckets = 8;
  engine_.emplace(&gate_, &clock_, options);
  EXPECT_EQ(engine_->TryOpen().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::engine
