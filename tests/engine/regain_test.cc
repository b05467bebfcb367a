// A copy that has given operations up in a rollback is not promoted before it has them again, whatever
// happens in between. And one that was to receive a disk snapshot gives up nothing unseen.

#include <gtest/gtest.h>

#include <string>

#include "tests/engine/replica_fixture.h"

namespace cairn::engine {
namespace {

class Regain : public ReplicaTest {
 protected:
  void SetUp() override {
    ReplicaTest::SetUp();
    EngineOptions options = SmallOptions();
    options.vbuckets = 1;
    OpenBoth(options);
    SetAll(Keys(30), "old-");
    CloseCheckpoints();
    CatchUp();
    b.Persist();
    point_ = b.At(kVb).high;
    SetAll(Keys(30), "new-");
    CloseCheckpoints();
    CatchUp();
    b.Persist();
    full_ = b.At(kVb).high;
    ASSERT_EQ(b.At(kVb).regain, Seqno());
  }
  void RollBack(Seqno to) {
    const PendingRef done = b.R().Rollback(kVb, to);
    for (int i = 0; i < 100 && !done->ready(); ++i) b.Background(1);
    ASSERT_TRUE(done->ready());
    ASSERT_TRUE(done->status().ok()) << done->status().ToString();
    b.Background(20);
  }
  void Follow(Seqno source_high) {
    const VbucketPosition at = a.At(kVb);
    const PendingRef adopted = b.R().Adopt({{kVb, at.failover_log, at.epoch, source_high}});
    ASSERT_TRUE(adopted->ready() && adopted->status().ok());
  }
  void ExpectRefused() {
    const Status status = Promote(b, {kVb});
    EXPECT_EQ(status.code(), Code::kNotSupported);
    EXPECT_NE(status.message().find("has given up operations in a rollback"), std::string::npos)
        << status.ToString();
    EXPECT_EQ(b.At(kVb).state, VbucketState::kReplica);
  }
  /// As after a crash: what was not durable is lost.
  void RestartReplica() {
    b.CrashAndReopen();
    b.Background(20);
  }

  static constexpr Vbid kVb{0};
  Seqno point_, full_;
};

TEST_F(Regain, WhoWentBackIsNotPromotedBeforeItHasItAgain) {
  RollBack(point_);
  ASSERT_EQ(b.At(kVb).high, point_);
  EXPECT_EQ(b.At(kVb).regain, full_);
  ExpectRefused();
  Follow(a.At(kVb).high);
  ExpectRefused();
  followers.front().Ask();
  CatchUp();
  EXPECT_EQ(b.At(kVb).regain, Seqno());
  ASSERT_TRUE(Promote(b, {kVb}).ok());
  EXPECT_EQ(b.E().Get("key-1")->value, "new-key-1");
  RestartReplica();
  EXPECT_EQ(b.At(kVb).regain, Seqno());
}

TEST_F(Regain, NothingThatIsGivenUpIsNothingToRegain) {
  RollBack(full_);
  EXPECT_EQ(b.At(kVb).regain, Seqno());
  EXPECT_TRUE(Promote(b, {kVb}).ok());
}

TEST_F(Regain, IsNotForgottenByARestart) {
  RollBack(point_);
  RestartReplica();
  EXPECT_EQ(b.At(kVb).regain, full_);
  ExpectRefused();
  // What came again was in memory only: it is missing again after the restart.
  Follow(a.At(kVb).high);
  followers.front().Ask();
  CatchUp();
  ASSERT_EQ(b.At(kVb).regain, Seqno());
  RestartReplica();
  EXPECT_EQ(b.At(kVb).high, point_);
  ExpectRefused();
  followers.front().Ask();
  CatchUp();
  b.Persist();
  RestartReplica();
  EXPECT_EQ(b.At(kVb).regain, Seqno());
  EXPECT_TRUE(Promote(b, {kVb}).ok());
}

TEST_F(Regain, AnEmptiedCopyIsNotPromotedEmpty) {
  RollBack(Seqno(0));
  ASSERT_EQ(b.At(kVb).items, 0u);
  EXPECT_EQ(b.At(kVb).regain, full_);
  RestartReplica();
  ExpectRefused();
  // Rolled back once more, it still wants what it had.
  RollBack(Seqno(0));
  EXPECT_EQ(b.At(kVb).regain, full_);
}

TEST_F(Regain, InAnotherHistoryItIsWhatTheSourceHad) {
  RollBack(Seqno(0));
  Follow(Seqno(3));
  EXPECT_EQ(b.At(kVb).regain, Seqno(3));
  RestartReplica();
  EXPECT_EQ(b.At(kVb).regain, Seqno(3)) << "durable with the history";
  // A source that has nothing may have lost it all.
  Follow(Seqno(0));
  EXPECT_EQ(b.At(kVb).regain, Seqno(1));
  ExpectRefused();
}

TEST_F(Regain, ByForceItIsPromotedAsItIs) {
  RollBack(point_);
  PromoteOptions options;
  options.force = true;
  ASSERT_TRUE(Promote(b, {kVb}, options).ok());
  EXPECT_EQ(b.At(kVb).state, VbucketState::kActive);
  EXPECT_EQ(b.E().Get("key-1")->value, "old-key-1");
  EXPECT_EQ(b.At(kVb).regain, Seqno());
  b.Persist();
  RestartReplica();
  EXPECT_EQ(b.At(kVb).regain, Seqno());
  EXPECT_EQ(b.At(kVb).state, VbucketState::kActive);
}

// A crash at each store call of the rollback: the copy stands at the point and says so, or has everything.
TEST_F(Regain, ACrashInTheRollbackForgetsNothing) {
  for (uint64_t call = 1; call < 12; ++call) {
    SCOPED_TRACE(call);
    b.store.FailNth(call, Status(Code::kAmbiguous, "the power is going"), true);
    const PendingRef done = b.R().Rollback(kVb, point_);
    for (int i = 0; i < 20 && !done->ready(); ++i) b.Background(1);
    b.engine->Kill();
    b.store.ClearFailures();
    b.store.CrashPower(call);
    ASSERT_TRUE(b.store.Reopen().ok());
    b.engine->Open();
    b.Background(20);
    const VbucketPosition at = b.At(kVb);
    EXPECT_EQ(at.regain, at.high < full_ ? full_ : Seqno());
    followers.front().Ask();
    CatchUp();
    b.Persist();
    ASSERT_EQ(b.At(kVb).high, full_);
    EXPECT_EQ(b.At(kVb).regain, Seqno());
  }
}

// The intent of a disk snapshot survived a crash, and what was before its start did not: the copy said that
// it had everything up to there.
TEST_F(Regain, AnIntentWithoutTheLogBeforeItCountsForNothing) {
  SetAll(Keys(30), "newest-");
  CloseCheckpoints();
  CatchUp();
  const Seqno start = b.At(kVb).high;
  ASSERT_GT(start, full_);
  b.gate.refuse = [](const storage::LogBatch& batch) {
    return batch.records.empty() ? Status::Ok() : Status(Code::kNoSpace, "full");
  };
  const PendingRef begun = b.R().BeginSnapshot(kVb, start, start + 10);
  b.Background(20);
  EXPECT_FALSE(begun->ready()) << "nothing up to its start is in data";
  b.gate.refuse = nullptr;
  b.CrashAndReopen();
  EXPECT_FALSE(b.At(kVb).in_snapshot);
  EXPECT_EQ(b.At(kVb).high, full_);
  followers.front().Ask();
  CatchUp();
  ExpectSame(Keys(30));
}

}  // namespace
}  // namespace cairn::engine
