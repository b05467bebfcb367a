// Vbuckets change hands: promotion and what it promises across a crash, an online update that is open or
// half decided, fencing, and the giving side of a takeover.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "engine/vbucket.h"
#include "proto/epoch.h"
#include "proto/meta_record.h"
#include "tests/engine/replica_fixture.h"

namespace cairn::engine {
namespace {

class PromotionTest : public ReplicaTest {
 protected:
  static Status Done(const PendingRef& pending) {
    return pending->ready() ? pending->status() : Status(Code::kTimeout, "not ready");
  }
  /// Every key of `keys` as clients of `node` see it.
  std::map<std::string, Version> View(Node& node, const std::vector<std::string>& keys) {
    std::map<std::string, Version> view;
    for (const std::string& key : keys) {
      if (const auto version = node.E().Get(key)) view[key] = *version;
    }
    return view;
  }
  std::vector<std::string> KeysOf(Vbid vb, size_t count) {
    std::vector<std::string> keys;
    for (int i = 0; keys.size() < count; ++i) {
      const std::string key = "key-" + std::to_string(i);
      if (a.E()->MakeKey(key).vbucket == vb) keys.push_back(key);
    }
    return keys;
  }
  /// b is to have what a has.
  HandoverRequest Giving(Vbid vb, uint64_t epoch) {
    const Result<VbucketPosition> at = a.R().Position(vb);
    return {vb, epoch, {b.R().node_uuid(), at.ok() ? at->high : Seqno()}};
  }
  UpdateOutcome LastOutcome(Node& node) {
    node.Background(50);
    const UpdateStatus status = node.E()->update_status();
    EXPECT_EQ(status.phase, UpdatePhase::kNormal);
    EXPECT_FALSE(status.history.empty());
    return status.history.empty() ? UpdateOutcome() : status.history.front();
  }
};

TEST_F(PromotionTest, ANewBranchAndEpochAreDurableBeforeTheFirstWrite) {
  OpenBoth();
  const auto keys = Keys(100);
  SetAll(keys, "v-");
  CatchUp();
  const auto before = View(a, keys);
  const VbucketPosition was = b.At(Vbid(1));
  ASSERT_TRUE(Promote(b, All()).ok());
  b.CrashAndReopen();  // nothing was written since
  const VbucketPosition now = b.At(Vbid(1));
  EXPECT_EQ(now.state, VbucketState::kActive);
  EXPECT_EQ(proto::EpochCounter(now.epoch), proto::EpochCounter(was.epoch) + 1);
  EXPECT_EQ(View(b, keys), before) << "what was applied was made durable first";
  const auto& log = now.failover_log;
  const auto branch =
      std::find_if(log.begin(), log.end(), [&](const auto& e) { return e.seqno == was.high; });
  ASSERT_NE(branch, log.end()) << "the branch that the promotion has begun, or its restart's";
  EXPECT_EQ(log.back(), was.failover_log.back()) << "the source's history is its own";
  ASSERT_EQ(b.E().Set(keys[0], "mine"), Code::kOk);
  EXPECT_GT(b.E().Get(keys[0])->cas, before.at(keys[0]).cas + kUncleanGap);
  for (size_t i = 1; i < log.size(); ++i) EXPECT_LE(log[i].seqno, log[i - 1].seqno) << "newest first";
}

TEST_F(PromotionTest, SeqnosSkipWhatTheSourceMayHaveGivenOut) {
  OpenBoth();
  SetAll(Keys(100), "v-");
  CatchUp();
  const Vbid vb = b.E()->MakeKey("key-1").vbucket;
  const VbucketPosition was = b.At(vb);
  PromoteOptions options;
  options.epoch_min = proto::MakeEpoch(40, 0);
  const StreamCursor chain = b.R().OpenCursor(vb, "chain", was.high).value();
  ASSERT_TRUE(Promote(b, {vb}, options).ok());
  EXPECT_EQ(proto::EpochCounter(b.At(vb).epoch), 40u);
  EXPECT_EQ(b.At(vb).high, was.high + (kUncleanGap + 1)) << "the marker of the state";
  EXPECT_GT(b.At(vb).open_checkpoint, was.open_checkpoint);
  EXPECT_EQ(b.At(vb).failover_log.size(), was.failover_log.size() + 1);
  EXPECT_EQ(b.At(vb).failover_log.front().seqno, was.high);
  EXPECT_EQ(b.R().Read(vb, chain).code(), Code::kCancelled) << "who follows has to take over the new branch";
  EXPECT_EQ(b.R().Apply(vb, {CheckpointId(99), was.high, was.high + 1, Seqno()}, {}), Code::kNotMyVbucket);
  const VbucketPosition once = b.At(vb);
  ASSERT_TRUE(Promote(b, {vb}, options).ok()) << "again";
  EXPECT_EQ(b.At(vb).failover_log, once.failover_log);
  options.epoch_min = proto::MakeEpoch(50, 0);
  ASSERT_TRUE(Promote(b, {vb}, options).ok());
  EXPECT_EQ(proto::EpochCounter(b.At(vb).epoch), 50u) << "only the epoch rises";
  EXPECT_EQ(b.At(vb).high, once.high);
}

TEST_F(PromotionTest, ACleanOneSkipsNothing) {
  OpenBoth();
  SetAll(Keys(100), "v-");
  CatchUp();
  const VbucketPosition was = b.At(Vbid(0));
  PromoteOptions options;
  options.clean = true;
  ASSERT_TRUE(Promote(b, {Vbid(0)}, options).ok());
  EXPECT_EQ(b.At(Vbid(0)).high, was.high + 1);
  EXPECT_EQ(b.At(Vbid(0)).failover_log.front().seqno, was.high);
  EXPECT_NE(b.At(Vbid(0)).failover_log.front().uuid, was.failover_log.front().uuid);
}

TEST_F(PromotionTest, EachThatCanBeWithOneSyncedWrite) {
  OpenBoth();
  SetAll(Keys(100), "v-");
  CatchUp();
  b.Persist();
  ASSERT_TRUE(Done(b.R().Demote({Vbid(2)}, VbucketState::kDead)).ok());
  Status deleted(Code::kTimeout);
  b.E()->DeleteVbucket(Vbid(2), [&](Status status) { deleted = std::move(status); });
  ASSERT_TRUE(deleted.ok()) << deleted.ToString();
  b.gate.synced_records = 0;
  const auto each = b.R().PromoteEach({Vbid(2), Vbid(3), Vbid(77), Vbid(0)}, {});
  EXPECT_EQ(Done(each[0]).code(), Code::kNotMyVbucket);
  EXPECT_TRUE(Done(each[1]).ok());
  EXPECT_EQ(Done(each[2]).code(), Code::kNotMyVbucket);
  EXPECT_TRUE(Done(each[3]).ok());
  EXPECT_EQ(b.gate.synced_records, 1u);
  for (const Vbid vb : {Vbid(0), Vbid(3)}) EXPECT_EQ(b.At(vb).state, VbucketState::kActive);
  EXPECT_EQ(b.At(Vbid(1)).state, VbucketState::kReplica) << "was not asked for";
  EXPECT_EQ(Done(b.R().PromoteEach({Vbid(2)}, {})[0]).code(), Code::kNotMyVbucket) << "and nobody else";
}

TEST_F(PromotionTest, AllOrNone) {
  OpenBoth();
  SetAll(Keys(100), "v-");
  CatchUp();
  b.Persist();
  b.gate.refuse = [](const storage::LogBatch& batch) {
    return batch.meta_puts.empty() ? Status::Ok() : Status(Code::kNoSpace, "full");
  };
  EXPECT_EQ(Promote(b, All()).code(), Code::kNoSpace);
  b.gate.refuse = nullptr;
  for (const Vbid vb : All()) EXPECT_EQ(b.At(vb).state, VbucketState::kReplica);
  SetAll(Keys(100), "w-");
  CatchUp();
  EXPECT_EQ(Promote(b, {Vbid(0), Vbid(77)}).code(), Code::kNotMyVbucket);
  EXPECT_EQ(b.At(Vbid(0)).state, VbucketState::kReplica);
  EXPECT_EQ(b.At(Vbid(0)).epoch, 0u);
  ASSERT_EQ(a.E().Set("key-1", "x"), Code::kOk);
  CatchUp();
  ExpectSame(Keys(100));
}

// A crash at each store call of a promotion: afterwards all are active, or none.
TEST_F(PromotionTest, ACrashLeavesAllOrNone) {
  bool promoted = false;
  for (uint64_t call = 1; !promoted; ++call) {
    SCOPED_TRACE(call);
    ASSERT_LT(call, 20u);
    Renew();
    OpenBoth();
    const auto keys = Keys(60);
    SetAll(keys, "v-");
    CatchUp();
    const auto before = View(a, keys);
    b.store.FailNth(call, Status(Code::kAmbiguous, "the power is going"), true);
    promoted = Promote(b, All()).ok();
    b.engine->Kill();
    b.store.ClearFailures();
    b.store.CrashPower(call);
    ASSERT_TRUE(b.store.Reopen().ok());
    b.engine->Open();
    const VbucketState state = b.At(Vbid(0)).state;
    for (const Vbid vb : All()) EXPECT_EQ(b.At(vb).state, state);
    if (promoted) {
      EXPECT_EQ(state, VbucketState::kActive);
      EXPECT_EQ(View(b, keys), before);
    }
    // Whichever it is: it can be promoted, and follows nobody with an epoch below.
    ASSERT_TRUE(Promote(b, All()).ok());
    EXPECT_EQ(Done(b.R().Adopt({{Vbid(0), a.At(Vbid(0)).failover_log, 0}})).code(), Code::kAccessDenied);
    EXPECT_EQ(b.At(Vbid(0)).state, VbucketState::kActive);
  }
}

// A record written by the merge must not bring back an older state.
TEST_F(PromotionTest, TheMergeDoesNotOverwriteANewerState) {
  EngineOptions options = SmallOptions();
  options.vbuckets = 1;
  a.Open(options);
  ASSERT_EQ(a.E().Set("k", "v"), Code::kOk);
  a.Persist();
  std::optional<Status> demoted;
  bool in_merge = false;
  std::thread other;
  a.gate.refuse = [&](const storage::LogBatch& batch) {
    if (!batch.meta_puts.empty() && !in_merge) {
      // The merge's batch is encoded and on its way.
      in_merge = true;
      other = std::thread([&] { demoted = Done(a.R().Demote({Vbid(0)}, VbucketState::kReplica)); });
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return Status::Ok();
  };
  for (int i = 0; i < 10 && !in_merge; ++i) {
    ASSERT_EQ(a.E().Set("k", "v"), Code::kOk);
    clock_.Advance(2 * kSecondNs);
    a.E()->RunBackground();
  }
  ASSERT_TRUE(in_merge) << "no merge came by";
  other.join();
  a.gate.refuse = nullptr;
  ASSERT_TRUE(demoted && demoted->ok());
  a.CrashAndReopen();
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kReplica);
}

// --- in an online update ---

class PromotionInWindow : public PromotionTest, public ::testing::WithParamInterface<bool> {};

TEST_P(PromotionInWindow, TheUpdateGoesOnAndEndsAsOrdered) {
  const bool commit = GetParam();
  OpenBoth();
  const auto keys = Keys(120);
  SetAll(keys, "old-");
  const auto at_start = View(a, keys);
  Do(a, Step::kStart);
  SetAll(keys, "new-");
  CatchUp();
  const UpdateStatus on_a = a.E()->update_status();
  ASSERT_TRUE(Promote(b, All()).ok());
  EXPECT_EQ(b.E().phase(), UpdatePhase::kUpdating);
  EXPECT_EQ(b.E()->update_status().id, on_a.id);
  EXPECT_EQ(b.E()->update_status().updated, on_a.updated);
  EXPECT_EQ(b.E().Update(Step::kStart).code(), Code::kNotSupported) << "one is open";
  ASSERT_EQ(b.E().Set(keys[3], "newer"), Code::kOk);
  b.Persist();
  b.CrashAndReopen();
  EXPECT_EQ(b.E().phase(), UpdatePhase::kUpdating) << "the record says that it is open";
  ASSERT_EQ(b.E().Set(keys[4], "newest"), Code::kOk);
  Do(b, commit ? Step::kComplete : Step::kRevert);
  EXPECT_EQ(View(b, keys) == at_start, !commit);
  EXPECT_EQ(b.E().Get(keys[4])->value, commit ? "newest" : "old-" + keys[4]);
  EXPECT_EQ(LastOutcome(b).committed, commit);
  b.CrashAndReopen();
  EXPECT_EQ(b.E().phase(), UpdatePhase::kNormal);
  EXPECT_EQ(b.E().Get(keys[3])->value, commit ? "newer" : "old-" + keys[3]);
}

TEST_P(PromotionInWindow, ADecisionThatOneHasSeenIsCarriedOutForAll) {
  const bool commit = GetParam();
  for (const bool crash : {false, true}) {
    SCOPED_TRACE(crash);
    Renew();
    OpenBoth();
    const auto keys = Keys(120);
    SetAll(keys, "old-");
    const auto at_start = View(a, keys);
    Do(a, Step::kStart);
    SetAll(keys, "new-");
    const auto at_end = View(a, keys);
    CatchUp();
    Do(a, commit ? Step::kComplete : Step::kRevert);
    followers[0].CatchUp();
    followers[1].CatchUp();
    EXPECT_TRUE(b.At(Vbid(0)).window.is_none());
    EXPECT_FALSE(b.At(Vbid(3)).window.is_none());
    ASSERT_TRUE(Promote(b, All()).ok());
    if (crash) b.CrashAndReopen();  // before any marker of it was written
    EXPECT_EQ(View(b, keys), commit ? at_end : at_start);
    const UpdateOutcome outcome = LastOutcome(b);
    EXPECT_EQ(outcome.committed, commit);
    EXPECT_TRUE(outcome.digest_equal);
    b.Persist();
    b.CrashAndReopen();
    EXPECT_EQ(b.E().phase(), UpdatePhase::kNormal);
    EXPECT_EQ(View(b, keys), commit ? at_end : at_start);
    EXPECT_EQ(b.E()->update_status().history.size(), 1u) << "it is remembered once";
  }
}

INSTANTIATE_TEST_SUITE_P(Ends, PromotionInWindow, ::testing::Bool());

// One vbucket after the other: the second finds the decision that the first promotion has missed.
TEST_F(PromotionTest, ALaterPromotionThatKnowsTheDecisionEndsAnUpdateThatWasOpen) {
  OpenBoth();
  const auto keys = Keys(120);
  SetAll(keys, "old-");
  const auto at_start = View(a, keys);
  Do(a, Step::kStart);
  SetAll(keys, "new-");
  CatchUp();
  ASSERT_TRUE(Promote(b, {Vbid(0), Vbid(1)}).ok());
  EXPECT_EQ(b.E().phase(), UpdatePhase::kUpdating);
  Do(a, Step::kRevert);
  followers[2].CatchUp();
  EXPECT_TRUE(b.At(Vbid(2)).window.is_none());
  ASSERT_TRUE(Promote(b, {Vbid(2), Vbid(3)}).ok());
  EXPECT_EQ(View(b, keys), at_start);
  EXPECT_FALSE(LastOutcome(b).committed);
}

TEST_F(PromotionTest, WhoNeverSawStartHasNoWindow) {
  OpenBoth();
  const auto keys = Keys(120);
  SetAll(keys, "old-");
  CatchUp();
  Do(a, Step::kStart);
  SetAll(keys, "new-");
  followers[0].CatchUp();
  ASSERT_TRUE(Promote(b, All()).ok());
  EXPECT_EQ(b.E().phase(), UpdatePhase::kUpdating);
  const auto mine = KeysOf(Vbid(0), 5);
  const auto others = KeysOf(Vbid(1), 5);
  ASSERT_EQ(b.E().Set(mine[0], "mine"), Code::kOk);
  ASSERT_EQ(b.E().Set(others[0], "others"), Code::kOk);
  b.Persist();
  b.CrashAndReopen();
  EXPECT_EQ(b.E().phase(), UpdatePhase::kUpdating) << "the vbuckets without a window are no reason to end it";
  Do(b, Step::kRevert);
  EXPECT_EQ(b.E().Get(mine[0])->value, "old-" + mine[0]);
  EXPECT_EQ(b.E().Get(others[0])->value, "others");
}

TEST_F(PromotionTest, AnotherUpdateThatIsOpenHereStandsInTheWay) {
  OpenBoth();
  SetAll(Keys(40), "old-");
  CatchUp();
  ASSERT_TRUE(Promote(b, {Vbid(0)}).ok());
  Do(a, Step::kStart);
  followers[1].CatchUp();
  Do(b, Step::kStart);
  const auto each = b.R().PromoteEach({Vbid(1), Vbid(2)}, {});
  EXPECT_EQ(Done(each[0]).code(), Code::kNotSupported);
  EXPECT_TRUE(Done(each[1]).ok()) << "is in no window";
  EXPECT_EQ(Promote(b, {Vbid(1)}).code(), Code::kNotSupported);
  EXPECT_EQ(b.At(Vbid(1)).state, VbucketState::kReplica);
  Do(b, Step::kComplete);
  b.Background(50);
  ASSERT_TRUE(Promote(b, {Vbid(1)}).ok());
  EXPECT_EQ(b.E().phase(), UpdatePhase::kUpdating);
}

TEST_F(PromotionTest, ALocalUpdateDoesNotTouchReplicas) {
  OpenBoth();
  const auto keys = Keys(80);
  SetAll(keys, "old-");
  CatchUp();
  ASSERT_TRUE(Promote(b, {Vbid(0)}).ok());
  Do(b, Step::kStart);
  EXPECT_FALSE(b.At(Vbid(0)).window.is_none());
  EXPECT_TRUE(b.At(Vbid(1)).window.is_none());
  const Seqno high = b.At(Vbid(1)).high;
  b.Persist();
  b.CrashAndReopen();
  EXPECT_EQ(b.E().phase(), UpdatePhase::kUpdating);
  Do(b, Step::kRevert);
  EXPECT_EQ(b.At(Vbid(1)).high, high) << "a marker of ours in its source's sequence";
}

// --- stepping down ---

TEST_F(PromotionTest, ADemotedOneTurnsItsClientsAway) {
  OpenBoth();
  const auto keys = KeysOf(Vbid(0), 3);
  SetAll(keys, "v-");
  const Seqno high = a.At(Vbid(0)).high;
  ASSERT_TRUE(a.R().Suspend(Vbid(0)).ok());
  auto parked = std::make_shared<WakeFlag>();
  EXPECT_EQ(a.E()->Get(a.E()->MakeKey(keys[0]), parked).code, Code::kWouldBlock);
  ASSERT_TRUE(Done(a.R().Demote({Vbid(0)}, VbucketState::kReplica)).ok());
  EXPECT_TRUE(parked->woken);
  EXPECT_EQ(a.E()->Get(a.E()->MakeKey(keys[0]), nullptr).code, Code::kNotMyVbucket);
  EXPECT_EQ(a.At(Vbid(0)).high, high) << "a replica has no operations of its own";
  EXPECT_EQ(Done(a.R().Demote({Vbid(0)}, VbucketState::kPending)).code(), Code::kInvalidArgument);
  a.CrashAndReopen();
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kReplica);
  EXPECT_EQ(a.At(Vbid(1)).state, VbucketState::kActive);
}

TEST_F(PromotionTest, AFencedActiveIsDeadForGood) {
  OpenBoth();
  SetAll(Keys(40), "v-");
  CatchUp();
  ASSERT_TRUE(Promote(b, All()).ok());
  const uint64_t epoch = b.At(Vbid(0)).epoch;
  ASSERT_TRUE(Done(a.R().Fence({{Vbid(0), epoch}})).ok());
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kDead);
  EXPECT_EQ(a.At(Vbid(1)).state, VbucketState::kActive);
  a.CrashAndReopen();
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kDead);
  EXPECT_EQ(a.At(Vbid(0)).epoch, epoch);
  EXPECT_EQ(Done(b.R().Fence({{Vbid(0), epoch - 1}})).code(), Code::kAccessDenied);
  EXPECT_EQ(b.At(Vbid(0)).state, VbucketState::kActive);
  EXPECT_EQ(Done(a.R().Adopt({{Vbid(0), {}, epoch - 1}})).code(), Code::kAccessDenied);
  ASSERT_TRUE(Done(a.R().Adopt({{Vbid(0), b.At(Vbid(0)).failover_log, epoch}})).ok());
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kReplica);
}

// What a fenced active acknowledges is lost, so all are dead before the first of them is written down.
TEST_F(PromotionTest, ManyAreFencedAtOnceAndOneThatIsBelowStays) {
  OpenBoth();
  SetAll(Keys(40), "v-");
  CatchUp();
  ASSERT_TRUE(Promote(b, All()).ok());
  const uint64_t epoch = b.At(Vbid(0)).epoch;
  int writes = 0;
  b.store.SetHook([&](storage::MemoryStore::Op op) {
    if (op != storage::MemoryStore::Op::kWriteLog) return;
    ++writes;
    for (const Vbid v : {Vbid(0), Vbid(2)}) EXPECT_EQ(b.At(v).state, VbucketState::kDead) << v.get();
  });
  EXPECT_EQ(Done(b.R().Fence({{Vbid(0), epoch + 1}, {Vbid(1), epoch - 1}, {Vbid(2), epoch + 1}})).code(),
            Code::kAccessDenied);
  b.store.SetHook(nullptr);
  EXPECT_EQ(writes, 1);
  EXPECT_EQ(b.At(Vbid(1)).state, VbucketState::kActive);
  b.CrashAndReopen();
  EXPECT_EQ(b.At(Vbid(0)).state, VbucketState::kDead);
  EXPECT_EQ(b.At(Vbid(1)).state, VbucketState::kActive);
  EXPECT_EQ(b.At(Vbid(2)).state, VbucketState::kDead);
}

TEST_F(PromotionTest, TwoThatDoNotKnowOfEachOtherHaveDifferentEpochsAndTheHigherWins) {
  OpenBoth();
  SetAll(Keys(40), "v-");
  CatchUp();
  ASSERT_TRUE(Done(a.R().Demote(All(), VbucketState::kReplica)).ok());
  ASSERT_TRUE(Promote(a, All()).ok());
  ASSERT_TRUE(Promote(b, All()).ok());
  const uint64_t of_a = a.At(Vbid(0)).epoch, of_b = b.At(Vbid(0)).epoch;
  EXPECT_EQ(proto::EpochCounter(of_a), proto::EpochCounter(of_b));
  EXPECT_NE(of_a, of_b);
  Node& winner = of_a > of_b ? a : b;
  Node& loser = of_a > of_b ? b : a;
  const uint64_t higher = std::max(of_a, of_b), lower = std::min(of_a, of_b);
  EXPECT_EQ(Done(winner.R().Fence({{Vbid(0), lower}})).code(), Code::kAccessDenied);
  EXPECT_EQ(winner.At(Vbid(0)).state, VbucketState::kActive);
  ASSERT_TRUE(Done(loser.R().Fence({{Vbid(0), higher}})).ok());
  EXPECT_EQ(loser.At(Vbid(0)).state, VbucketState::kDead);
  EXPECT_EQ(Done(loser.R().Adopt({{Vbid(0), loser.At(Vbid(0)).failover_log, lower}})).code(),
            Code::kAccessDenied);
}

TEST_F(PromotionTest, AnEpochAboveWhichThereIsNoneIsSaidToBe) {
  OpenBoth();
  ASSERT_TRUE(Done(b.R().Fence({{Vbid(0), UINT64_MAX}})).ok());
  EXPECT_EQ(Promote(b, {Vbid(0)}).code(), Code::kOutOfRange);
  EXPECT_EQ(b.At(Vbid(0)).state, VbucketState::kReplica);
  EXPECT_TRUE(Promote(b, {Vbid(1)}).ok()) << "nothing is left behind";
}

// A copy that had been told of ends of empty checkpoints, which the new branch knew nothing of, refused
// everything of that branch for ever: its checkpoint was a later one.
TEST_F(PromotionTest, ACopyThatKnowsOfLaterCheckpointsFollowsTheNewBranch) {
  EngineOptions options = SmallOptions();
  options.vbuckets = 1;
  OpenBoth(options);
  const Vbid vb(0);
  for (const bool restart : {true, false}) {
    SetAll(Keys(10), restart ? "v-" : "w-");
    CatchUp();
    a.Persist();
    b.Persist();
    const VbucketPosition at = b.At(vb);
    for (uint64_t i = 0; i < 5; ++i) {
      ASSERT_TRUE(b.R().EndCheckpoint(vb, {at.open_checkpoint + i, at.high, std::nullopt}).ok());
    }
    ASSERT_EQ(b.At(vb).open_checkpoint, at.open_checkpoint + 5);
    if (restart) {
      a.CrashAndReopen();
    } else {
      ASSERT_TRUE(Done(a.R().Demote({vb}, VbucketState::kReplica)).ok());
      ASSERT_TRUE(Promote(a, {vb}).ok());
    }
    a.Background(20);
    EXPECT_GT(a.At(vb).open_checkpoint, b.At(vb).open_checkpoint);
    followers.front().Begin();
    ASSERT_EQ(a.E().Set("key-1", "later"), Code::kOk);
    CatchUp();
    ASSERT_FALSE(HasFailure());
    ExpectSame(Keys(10));
  }
}

// A former active began its checkpoints at 1 when it followed somebody; promoted before it had applied
// anything, it gave out numbers that its copies had behind them.
TEST_F(PromotionTest, AFormerActiveGoesOnInItsCheckpoints) {
  EngineOptions options = SmallOptions();
  options.vbuckets = 1;
  OpenBoth(options);
  const Vbid vb(0);
  for (int i = 0; i < 5; ++i) {
    SetAll(Keys(10), "v-");
    CloseCheckpoints();
  }
  CatchUp();
  a.Persist();
  const VbucketPosition before = a.At(vb);
  ASSERT_TRUE(Done(a.R().Demote({vb}, VbucketState::kReplica)).ok());
  ASSERT_TRUE(Done(a.R().Adopt({{vb, before.failover_log, before.epoch, before.high}})).ok());
  EXPECT_GE(a.At(vb).open_checkpoint + 1, before.open_checkpoint);
  ASSERT_TRUE(Promote(a, {vb}).ok());
  EXPECT_GT(a.At(vb).open_checkpoint, b.At(vb).open_checkpoint);
  followers.front().Begin();
  ASSERT_EQ(a.E().Set("key-1", "later"), Code::kOk);
  CatchUp();
  ExpectSame(Keys(10));
}

TEST_F(PromotionTest, HandingOver) {
  OpenBoth();
  const auto keys = KeysOf(Vbid(0), 40);
  SetAll(keys, "v-");
  EXPECT_EQ(Done(a.R().Handover({Giving(Vbid(0), 1)}).front()).code(), Code::kNotMyVbucket)
      << "not suspended";
  ASSERT_TRUE(a.R().Suspend(Vbid(0)).ok());
  EXPECT_EQ(a.R().Suspend(Vbid(0)).code(), Code::kNotMyVbucket);
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kPending);
  auto parked = std::make_shared<WakeFlag>();
  EXPECT_EQ(a.E()->Get(a.E()->MakeKey(keys[0]), parked).code, Code::kWouldBlock);
  a.R().Resume(Vbid(0));
  EXPECT_TRUE(parked->woken);
  EXPECT_EQ(a.E()->Get(a.E()->MakeKey(keys[0]), nullptr).code, Code::kOk);
  ASSERT_TRUE(a.R().Suspend(Vbid(0)).ok());
  a.Persist();
  clock_.Advance(2 * kSecondNs);
  a.Background(5);
  a.CrashAndReopen();
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kActive) << "suspended is a thing of memory";

  ASSERT_TRUE(a.R().OpenCursor(Vbid(0), "pin", a.At(Vbid(0)).high).ok());
  ASSERT_TRUE(a.R().Suspend(Vbid(0)).ok());
  a.gate.refuse = [](const storage::LogBatch&) { return Status(Code::kNoSpace, "full"); };
  EXPECT_EQ(Done(a.R().Handover({Giving(Vbid(0), 1)}).front()).code(), Code::kNoSpace);
  a.gate.refuse = nullptr;
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kActive) << "its clients go on";
  ASSERT_TRUE(a.R().Suspend(Vbid(0)).ok());
  ASSERT_TRUE(Done(a.R().Handover({Giving(Vbid(0), 1)}).front()).ok());
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kDead);
  EXPECT_TRUE(Done(a.R().Handover({Giving(Vbid(0), 1)}).front()).ok()) << "the receiver asks again";
  a.CrashAndReopen();
  EXPECT_EQ(a.At(Vbid(0)).state, VbucketState::kDead);
  EXPECT_EQ(a.At(Vbid(0)).epoch, 1u);
}

TEST_F(PromotionTest, ManyAreHandedOverInOneSyncedWriteAndEachHasItsAnswer) {
  OpenBoth();
  const std::vector<HandoverRequest> requests = {Giving(Vbid(0), 1), Giving(Vbid(1), 1), Giving(Vbid(2), 0),
                                                 Giving(Vbid(3), 5), Giving(Vbid(999), 1)};
  const auto codes = [&] {
    std::vector<Code> found;
    for (const PendingRef& pending : a.R().Handover(requests)) found.push_back(Done(pending).code());
    return found;
  };
  const auto states = [&] {
    std::vector<VbucketState> found;
    for (uint16_t v = 0; v < 4; ++v) found.push_back(a.At(Vbid(v)).state);
    return found;
  };
  using enum VbucketState;
  for (const Vbid vb : {Vbid(0), Vbid(2), Vbid(3)}) ASSERT_TRUE(a.R().Suspend(vb).ok());
  a.gate.refuse = [](const storage::LogBatch&) { return Status(Code::kNoSpace, "full"); };
  EXPECT_EQ(codes(), (std::vector{Code::kNoSpace, Code::kNotMyVbucket, Code::kAccessDenied, Code::kNoSpace,
                                  Code::kNotMyVbucket}));
  a.gate.refuse = nullptr;
  EXPECT_EQ(states(), (std::vector{kActive, kActive, kActive, kActive})) << "their clients go on";

  for (const Vbid vb : {Vbid(0), Vbid(2), Vbid(3)}) ASSERT_TRUE(a.R().Suspend(vb).ok());
  const size_t before = a.gate.synced_records;
  EXPECT_EQ(codes(), (std::vector{Code::kOk, Code::kNotMyVbucket, Code::kAccessDenied, Code::kOk,
                                  Code::kNotMyVbucket}));
  EXPECT_EQ(a.gate.synced_records, before + 1);
  EXPECT_EQ(states(), (std::vector{kDead, kActive, kActive, kDead}));
  EXPECT_EQ(codes()[0], Code::kOk) << "the receiver asks again";
  EXPECT_EQ(a.gate.synced_records, before + 1) << "what is written down already";
  a.CrashAndReopen();
  EXPECT_EQ(states(), (std::vector{kDead, kActive, kActive, kDead}));
  EXPECT_EQ(a.At(Vbid(3)).epoch, 5u);
}

TEST_F(PromotionTest, OnlyWhoHasEverythingIsGivenItAndNobodyElseAfterwards) {
  OpenBoth();
  const Vbid vb(0);
  SetAll(KeysOf(vb, 10), "v-");
  ASSERT_TRUE(a.R().Suspend(vb).ok());
  const HandoverRequest right = Giving(vb, 1);
  for (const Seqno has : {right.to.seqno - 1, right.to.seqno + 1}) {
    HandoverRequest wrong = right;
    wrong.to.seqno = has;
    EXPECT_EQ(Done(a.R().Handover({wrong}).front()).code(), Code::kInvalidArgument);
    EXPECT_EQ(a.At(vb).state, VbucketState::kActive) << "its clients go on";
    EXPECT_TRUE(a.At(vb).handover.is_none());
    ASSERT_TRUE(a.R().Suspend(vb).ok());
  }
  ASSERT_TRUE(Done(a.R().Handover({right}).front()).ok());
  HandoverRequest other = right;
  other.to.receiver[0] ^= 1;
  EXPECT_EQ(Done(a.R().Handover({other}).front()).code(), Code::kNotMyVbucket);
  EXPECT_EQ(a.At(vb).handover, right.to);
}

TEST_F(PromotionTest, ToWhomItWasGivenSurvivesCrashesUntilItHasAnotherStateOrEpoch) {
  const Vbid vb(0);
  const auto promote = [&] { return Promote(a, {vb}); };
  const auto demote = [&] { return Done(a.R().Demote({vb}, VbucketState::kReplica)); };
  const auto fence = [&] { return Done(a.R().Fence({{vb, proto::MakeEpoch(3, 7)}})); };
  const auto follow = [&] {
    return Done(a.R().Adopt({{vb, b.At(vb).failover_log, proto::MakeEpoch(1, 0), b.At(vb).high}}));
  };
  const auto remove = [&] {
    Status deleted(Code::kTimeout);
    a.E()->DeleteVbucket(vb, [&](Status status) { deleted = std::move(status); });
    a.Background(50);
    if (deleted.ok()) a.E()->SetVbucketState(vb, VbucketState::kDead, [&](const Status& s) { deleted = s; });
    return deleted;
  };
  for (const std::function<Status()>& change :
       std::vector<std::function<Status()>>{promote, demote, fence, follow, remove}) {
    OpenBoth();
    SetAll(KeysOf(vb, 40), "v-");
    ASSERT_TRUE(a.E()->StopPersistence().ok()) << "the end of its log may be lost";
    ASSERT_TRUE(a.R().Suspend(vb).ok());
    const HandoverRequest request = Giving(vb, proto::MakeEpoch(1, 0));
    ASSERT_TRUE(Done(a.R().Handover({request}).front()).ok());
    for (int crash = 0; crash < 2; ++crash) {
      EXPECT_EQ(a.At(vb).state, VbucketState::kDead);
      EXPECT_EQ(a.At(vb).epoch, request.epoch);
      EXPECT_EQ(a.At(vb).handover, request.to);
      a.CrashAndReopen();
      a.E().Settle();
    }
    ASSERT_TRUE(Done(a.R().Fence({{vb, request.epoch}})).ok());
    EXPECT_EQ(a.At(vb).handover, request.to) << "that is no news";
    const Status changed = change();
    ASSERT_TRUE(changed.ok()) << changed.ToString();
    EXPECT_TRUE(a.At(vb).handover.is_none());
    a.CrashAndReopen();
    EXPECT_TRUE(a.At(vb).handover.is_none()) << "durably";
    Renew();
  }
}

// A write that is answered with an error may have been made. The vbucket goes on then, so the receiver that
// it speaks of is not the one to be active any more.
TEST_F(PromotionTest, AHandoverThatFailedAndIsFoundOnDiskGivesNothingThatWentOn) {
  const Vbid vb(0);
  for (const bool went_on : {false, true}) {
    OpenBoth();
    SetAll(KeysOf(vb, 10), "v-");
    a.Persist();
    ASSERT_TRUE(a.R().Suspend(vb).ok());
    const HandoverRequest request = Giving(vb, 1);
    a.gate.refuse = [&](const storage::LogBatch& batch) {
      EXPECT_TRUE(a.store.WriteLog(batch, true).ok());
      return Status(Code::kAmbiguous, "no answer");
    };
    EXPECT_EQ(Done(a.R().Handover({request}).front()).code(), Code::kAmbiguous);
    ASSERT_EQ(a.At(vb).state, VbucketState::kActive);
    ASSERT_TRUE(a.At(vb).handover.is_none());
    // The crash comes before the merge writes the record anew.
    a.gate.refuse = [](const storage::LogBatch& batch) {
      return batch.meta_puts.empty() ? Status::Ok() : Status(Code::kTmpFail, "later");
    };
    if (went_on) {
      SetAll(KeysOf(vb, 1), "later-");
      a.Persist();
    }
    a.Kill();
    a.gate.refuse = nullptr;
    a.CrashAndReopen();
    ASSERT_EQ(a.At(vb).state, VbucketState::kDead) << "as the record says";
    EXPECT_EQ(a.At(vb).handover.is_none(), went_on);
    Renew();
  }
}

// An earlier takeover of the same vbucket may come to its end at any time.
TEST_F(PromotionTest, NobodyResumesWhatMayBeRecordedAsDeadAlready) {
  OpenBoth();
  const Vbid vb(0);
  for (const Code written : {Code::kNoSpace, Code::kOk}) {
    ASSERT_TRUE(a.R().Suspend(vb).ok());
    std::optional<VbucketState> meanwhile;
    a.gate.refuse = [&](const storage::LogBatch&) {
      a.R().Resume(vb);
      meanwhile = a.E()->GetVbucketState(vb).value();
      return written == Code::kOk ? Status::Ok() : Status(written, "full");
    };
    EXPECT_EQ(Done(a.R().Handover({Giving(vb, 1)})[0]).code(), written);
    a.gate.refuse = nullptr;
    EXPECT_EQ(meanwhile, VbucketState::kPending) << "nobody is answered";
    EXPECT_EQ(a.E()->GetVbucketState(vb).value(),
              written == Code::kOk ? VbucketState::kDead : VbucketState::kActive);
  }
}

TEST_F(PromotionTest, NothingIsHandedOverInAnUpdateNorTheOtherWayRound) {
  OpenBoth();
  ASSERT_TRUE(a.R().Suspend(Vbid(0)).ok());
  std::optional<Status> started;
  a.E().Submit(Step::kStart, {}, &started);
  a.Background(50);
  EXPECT_FALSE(started.has_value()) << "START waits for the takeover";
  EXPECT_TRUE(a.At(Vbid(0)).window.is_none());
  a.R().Resume(Vbid(0));
  for (int i = 0; i < 200 && !started; ++i) a.E()->RunBackground();
  ASSERT_TRUE(started && started->ok());
  EXPECT_EQ(a.R().Suspend(Vbid(1)).code(), Code::kNotSupported);
  Do(a, Step::kComplete);
}

// A node that was an active, and restarted uncleanly, follows: its own gap of seqnos is not its source's.
TEST_F(PromotionTest, AFormerActiveFollowsWithoutItsGap) {
  a.Open(SmallOptions());
  b.Open(SmallOptions());
  options_ = SmallOptions();
  b.CrashAndReopen();
  const Vbid vb(0);
  ASSERT_TRUE(a.R().OpenCursor(vb, "pin", Seqno(0)).ok());
  followers.emplace_back(&a, &b, vb);
  followers.back().Begin();
  const auto keys = KeysOf(vb, 20);
  SetAll(keys, "v-");
  CatchUp();
  EXPECT_EQ(b.At(vb).high, a.At(vb).high);
  EXPECT_EQ(b.At(vb).digest, a.At(vb).digest);
  b.Persist();
  b.CrashAndReopen();
  EXPECT_EQ(b.At(vb).high, a.At(vb).high);
}

}  // namespace
}  // namespace cairn::engine
