// A vbucket changes hands while clients write: nothing that was answered is lost, and at no moment are there
// two actives.

#include <gmock/gmock.h>

#include "base/fault.h"
#include "base/random.h"
#include "proto/epoch.h"
#include "tests/tap/pipe.h"

namespace cairn::tap {
namespace {

using engine::VbucketState;

class TapTakeoverTest : public TapTest {
 protected:
  static Consumer::Options Taking() {
    Consumer::Options options;
    options.name = "receiver";
    options.takeover = true;
    return options;
  }
  static VbucketState StateOf(Node& node, Vbid vbucket) {
    const auto position = node.R().Position(vbucket);
    return position.ok() ? position->state : VbucketState::kDead;
  }
  int Actives(Vbid vbucket) {
    return (StateOf(a, vbucket) == VbucketState::kActive ? 1 : 0) +
           (StateOf(b, vbucket) == VbucketState::kActive ? 1 : 0);
  }
  void ExpectOneActiveAtMost() {
    for (uint16_t v = 0; v < 4; ++v) ASSERT_LE(Actives(Vbid(v)), 1) << v;
  }
  /// b's vbuckets follow, as replicas do before anybody takes them over.
  void Follow() {
    Pipe pipe(&a, &b, &clock_);
    pipe.Connect();
    ASSERT_TRUE(pipe.CatchUp());
    Settle(b);
  }
  static bool AllBut2Are(Node& node, VbucketState state) {
    return StateOf(node, Vbid(0)) == state && StateOf(node, Vbid(1)) == state &&
           StateOf(node, Vbid(3)) == state;
  }
  void DeleteOnB(Vbid vbucket) {
    ASSERT_TRUE(b.R().Demote({vbucket}, VbucketState::kDead)->status().ok());
    Status deleted(Code::kTimeout);
    b.E()->DeleteVbucket(vbucket, [&](Status status) { deleted = std::move(status); });
    for (int i = 0; i < 50 && !deleted.ok(); ++i) b.E()->RunBackground();
    ASSERT_TRUE(deleted.ok()) << deleted.ToString();
  }
  /// One write by a client that does not wait when its vbucket is not active. True: it was answered.
  bool TryWrite(Node& node, const std::string& key, const std::string& value) {
    engine::StoreRequest request;
    request.value = value;
    const auto flag = std::make_shared<engine::WakeFlag>();
    return node.E()->Store(node.E()->MakeKey(key), request, flag).code == Code::kOk;
  }
};

TEST_F(TapTakeoverTest, UnderWritesNothingAnsweredIsLost) {
  Open();
  Write(a, 200, "key-", "before");
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  pipe.Connect();
  std::map<std::string, std::string> answered;
  Random random(5);
  int writes = 0;
  const auto write = [&] {
    ExpectOneActiveAtMost();
    for (int i = 0; i < 5; ++i) {
      const std::string key = "key-" + std::to_string(random.Uniform(300));
      const std::string value = "during" + std::to_string(++writes);
      if (TryWrite(a, key, value) || TryWrite(b, key, value)) answered[key] = value;
    }
    return pipe.consumer->takeover_done();
  };
  ASSERT_TRUE(pipe.RunUntil(write)) << pipe.consumer->info(0).last_error;
  for (uint16_t v = 0; v < 4; ++v) {
    EXPECT_EQ(StateOf(a, Vbid(v)), VbucketState::kDead);
    EXPECT_EQ(StateOf(b, Vbid(v)), VbucketState::kActive);
    EXPECT_GT(b.At(Vbid(v)).epoch, 0u);
    EXPECT_GE(b.At(Vbid(v)).epoch, a.At(Vbid(v)).epoch);
  }
  EXPECT_GT(answered.size(), 10u);
  for (const auto& [key, value] : answered) EXPECT_EQ(b.E().Get(key)->value, value) << key;
  EXPECT_TRUE(pipe.consumer->wants_disconnect());
}

TEST_F(TapTakeoverTest, CutAnywhereItIsResumedOrCompleted) {
  // As many messages as a takeover has, and some.
  int completed_at_once = 0;
  for (int cut = 1; cut <= 24; ++cut) {
    SCOPED_TRACE(cut);
    ManualClock clock;
    Node giver{static_cast<uint64_t>(100 + cut), &clock};
    Node receiver{static_cast<uint64_t>(200 + cut), &clock};
    engine::EngineOptions options = Small();
    options.vbuckets = 1;
    giver.Open(options);
    receiver.Open(options);
    Write(giver, 30, "key-", "v");
    Pipe pipe(&giver, &receiver, &clock, Taking());
    const auto actives = [&] {
      return (StateOf(giver, Vbid(0)) == VbucketState::kActive ? 1 : 0) +
             (StateOf(receiver, Vbid(0)) == VbucketState::kActive && receiver.At(Vbid(0)).epoch > 0 ? 1 : 0);
    };
    pipe.Connect();
    pipe.RunUntil(
        [&] { return pipe.delivered >= static_cast<uint64_t>(cut) || pipe.consumer->takeover_done(); });
    completed_at_once += pipe.consumer->takeover_done() ? 1 : 0;
    pipe.Cut();
    for (int i = 0; i < 50; ++i) {
      giver.E()->RunBackground();
      receiver.E()->RunBackground();
    }
    EXPECT_LE(actives(), 1);
    // Whoever is active takes writes again; between the last two steps nobody is.
    const bool giver_is_dead = StateOf(giver, Vbid(0)) == VbucketState::kDead;
    EXPECT_EQ(TryWrite(giver, "key-1", "after the cut"), !giver_is_dead);
    if (pipe.consumer->takeover_done()) continue;
    pipe.Connect();
    ASSERT_TRUE(pipe.RunUntil([&] {
      EXPECT_LE(actives(), 1);
      return pipe.consumer->takeover_done();
    })) << pipe.consumer->info(0).last_error;
    EXPECT_EQ(receiver.E().Get("key-1")->value, giver_is_dead ? "v1" : "after the cut");
  }
  EXPECT_GT(completed_at_once, 0);
  EXPECT_LT(completed_at_once, 24);
}

TEST_F(TapTakeoverTest, ManyVbucketsChangeHandsInAFewSyncedWrites) {
  constexpr uint16_t kVbuckets = 256;
  engine::EngineOptions options = Small();
  options.vbuckets = kVbuckets;
  Open(options);
  Write(a, 2000, "key-", "v");
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  pipe.Connect();
  a.gate.synced_records = b.gate.synced_records = 0;
  ASSERT_TRUE(pipe.RunUntil([&] { return pipe.consumer->takeover_done(); }))
      << pipe.consumer->info(0).last_error;
  EXPECT_LE(a.gate.synced_records, 3u);
  EXPECT_LE(b.gate.synced_records, 3u);
  // Durable on both sides.
  pipe.LetGo();
  a.CrashAndReopen();
  b.CrashAndReopen();
  for (uint16_t v = 0; v < kVbuckets; ++v) {
    ASSERT_EQ(StateOf(a, Vbid(v)), VbucketState::kDead) << v;
    ASSERT_EQ(StateOf(b, Vbid(v)), VbucketState::kActive) << v;
    ASSERT_GT(b.At(Vbid(v)).epoch, a.At(Vbid(v)).epoch) << v;
  }
  EXPECT_EQ(b.E().Get("key-1999")->value, "v1999");
}

TEST_F(TapTakeoverTest, OneThatCannotBePromotedDoesNotHoldTheOthersBack) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Consumer::Options options = Taking();
  options.reask_delay_min_ns = options.reask_delay_max_ns = 10'000'000'000;  // asking again helps too
  Pipe pipe(&a, &b, &clock_, options);
  pipe.Connect();
  ASSERT_TRUE(pipe.RunUntil([&] { return AllBut2Are(a, VbucketState::kDead); }));
  ASSERT_TRUE(AllBut2Are(b, VbucketState::kReplica));
  DeleteOnB(Vbid(2));
  EXPECT_TRUE(pipe.RunUntil([&] { return AllBut2Are(b, VbucketState::kActive); }, 100'000'000));
  EXPECT_NE(StateOf(b, Vbid(2)), VbucketState::kActive);
}

/// They were given in one group, and nobody promoted them when it failed because of one.
TEST_F(TapTakeoverTest, WhatWasGivenIsPromotedAlthoughItIsFollowedNoMore) {
  for (const bool called_off : {false, true}) {
    SCOPED_TRACE(called_off ? "the takeover is called off" : "they are removed from what is followed");
    for (Node* node : {&a, &b, &c}) node->Renew();
    Open();
    Write(a, 50, "key-", "v");
    Follow();
    Pipe pipe(&a, &b, &clock_, Taking());
    pipe.Connect();
    ASSERT_TRUE(pipe.RunUntil([&] { return AllBut2Are(a, VbucketState::kDead); }));
    DeleteOnB(Vbid(2));
    // Until it begins to be promoted, and not to where it is known here how that went.
    const auto state = [&] { return pipe.consumer->info(pipe.now()).streams[0].state; };
    for (int i = 0; i < 1'000 && state() == StreamState::kStream; ++i) {
      pipe.Collect();
      pipe.DeliverToProducer();
      pipe.DeliverToConsumer();
      pipe.consumer->Step(pipe.now());
      a.E()->RunBackground();
      clock_.Advance(1'000'000);
    }
    ASSERT_EQ(state(), StreamState::kProbe);
    if (called_off) {
      pipe.LetGo();
    } else {
      pipe.consumer->Drop({Vbid(0), Vbid(1), Vbid(3)});
      for (int i = 0; i < 20; ++i) pipe.Turn();
    }
    EXPECT_TRUE(AllBut2Are(b, VbucketState::kActive));
    EXPECT_NE(StateOf(b, Vbid(2)), VbucketState::kActive);
  }
}

// Whoever says nonsense behind it has not been given anything; its source's clients go on.
TEST_F(TapTakeoverTest, ABadMessageHandsNothingOver) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  pipe.Connect();
  const auto ready = [&] {
    return !pipe.to_producer.empty() && !pipe.to_producer.front().progress.empty() &&
           pipe.to_producer.front().progress.front().pending_ready;
  };
  ASSERT_TRUE(pipe.RunUntil(ready));
  ASSERT_EQ(StateOf(a, pipe.to_producer.front().progress.front().vbucket), VbucketState::kPending);
  Progress bad = pipe.to_producer.front().progress.front();
  bad.applied = Seqno(kSeqnoMax);
  pipe.to_producer.front().progress.push_back(bad);
  for (int i = 0; i < 20; ++i) pipe.Turn();
  EXPECT_EQ(pipe.producer->end_reason(), EndReason::kBadMessage);
  for (uint16_t v = 0; v < 4; ++v) EXPECT_EQ(StateOf(a, Vbid(v)), VbucketState::kActive) << v;
}

TEST_F(TapTakeoverTest, TheLastStepIsRepeatedForTheReceiverOnly) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Pipe third(&a, &c, &clock_);
  third.Connect();
  ASSERT_TRUE(third.CatchUp());
  Settle(c);
  third.LetGo();
  Pipe pipe(&a, &b, &clock_, Taking());
  pipe.Connect();
  // Cut when the giver is dead, and the receiver has not heard of it.
  ASSERT_TRUE(pipe.RunUntil([&] { return StateOf(a, Vbid(2)) == VbucketState::kDead; }));
  pipe.Cut();
  ASSERT_NE(StateOf(b, Vbid(2)), VbucketState::kActive);
  {
    Consumer::Options other = Taking();
    other.name = "somebody-else";
    other.vbuckets = {Vbid(2)};
    Pipe wrong(&a, &c, &clock_, other);
    wrong.Connect();
    EXPECT_FALSE(wrong.RunUntil([&] { return wrong.consumer->takeover_done(); }, 2'000'000'000));
    EXPECT_NE(StateOf(c, Vbid(2)), VbucketState::kActive);
  }
  pipe.Connect();
  ASSERT_TRUE(pipe.RunUntil([&] { return pipe.consumer->takeover_done(); }))
      << pipe.consumer->info(0).last_error;
  EXPECT_EQ(StateOf(b, Vbid(2)), VbucketState::kActive);
}

/// The giver's process ends when it is dead and nobody has heard of it, and the end of its log with it.
class TapTakeoverRestartTest : public TapTakeoverTest {
 protected:
  void GiveAwayAndCrash(Pipe& pipe) {
    ASSERT_TRUE(a.E()->StopPersistence().ok());
    Write(a, 50, "key-", "last");
    GiveAwayAndRestart(pipe);
    ASSERT_LT(a.At(Vbid(2)).high, b.At(Vbid(2)).high);
  }
  void GiveAwayAndRestart(Pipe& pipe) {
    pipe.Connect();
    ASSERT_TRUE(pipe.RunUntil([&] { return All(a, VbucketState::kDead); }));
    pipe.Cut();
    ASSERT_TRUE(All(b, VbucketState::kReplica));
    a.CrashAndReopen();
    ASSERT_TRUE(All(a, VbucketState::kDead));
  }
  static bool All(Node& node, VbucketState state) {
    for (uint16_t v = 0; v < 4; ++v) {
      if (StateOf(node, Vbid(v)) != state) return false;
    }
    return true;
  }
};

TEST_F(TapTakeoverRestartTest, TheLastStepIsRepeatedForTheReceiverOnly) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  GiveAwayAndCrash(pipe);
  // It has the same, from the receiver.
  {
    Pipe chain(&b, &c, &clock_);
    chain.Connect();
    ASSERT_TRUE(chain.CatchUp());
  }
  {
    Consumer::Options other = Taking();
    other.name = "somebody-else";
    Pipe wrong(&a, &c, &clock_, other);
    wrong.Connect();
    EXPECT_FALSE(wrong.RunUntil([&] { return wrong.consumer->takeover_done(); }, 2'000'000'000));
    EXPECT_TRUE(All(c, VbucketState::kReplica));
  }
  pipe.Connect();
  ASSERT_TRUE(pipe.RunUntil([&] { return pipe.consumer->takeover_done(); }))
      << pipe.consumer->info(0).last_error;
  EXPECT_TRUE(All(b, VbucketState::kActive));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(b.E().Get("key-" + std::to_string(i))->value, "last" + std::to_string(i));
  }
  pipe.LetGo();
  Pipe back(&b, &a, &clock_);
  back.Connect();
  ASSERT_TRUE(back.CatchUp()) << back.consumer->info(0).last_error;
  ExpectEqual(b, a);
}

TEST_F(TapTakeoverRestartTest, AReceiverThatHasRestartedTooIsGivenItWhenItAsks) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  GiveAwayAndCrash(pipe);
  pipe.LetGo();
  b.CrashAndReopen();
  Pipe again(&a, &b, &clock_, Taking());
  again.Connect();
  ASSERT_TRUE(again.RunUntil([&] { return again.consumer->takeover_done(); }))
      << again.consumer->info(0).last_error;
  EXPECT_EQ(b.E().Get("key-49")->value, "last49");
}

TEST_F(TapTakeoverRestartTest, TheGiverMayStandBehindAGapOfItsOwn) {
  Open();
  Write(a, 50, "key-", "v");
  Settle(a);
  a.CrashAndReopen();
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  GiveAwayAndRestart(pipe);
  ASSERT_GT(a.At(Vbid(2)).high, b.At(Vbid(2)).high);
  pipe.Connect();
  ASSERT_TRUE(pipe.RunUntil([&] { return pipe.consumer->takeover_done(); }))
      << pipe.consumer->info(0).last_error;
}

TEST_F(TapTakeoverRestartTest, AReceiverThatHasLostSomethingOrHeardOfAPromotionIsGivenNothing) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  GiveAwayAndCrash(pipe);
  const Vbid less(1), fenced(2), promoted(3);
  const auto rollback = b.R().Rollback(less, Seqno(1));
  for (int i = 0; i < 200 && !rollback->ready(); ++i) b.E()->RunBackground();
  ASSERT_TRUE(rollback->ready() && rollback->status().ok());
  const uint64_t epoch = proto::MakeEpoch(9, 1);
  const auto heard = b.R().Fence({{fenced, epoch}});
  ASSERT_TRUE(heard->ready() && heard->status().ok());
  const auto elsewhere = a.R().Fence({{promoted, epoch}});
  ASSERT_TRUE(elsewhere->ready() && elsewhere->status().ok());
  pipe.Connect();
  EXPECT_FALSE(pipe.RunUntil([&] { return pipe.consumer->takeover_done(); }, 2'000'000'000));
  EXPECT_FALSE(pipe.consumer->wants_disconnect()) << pipe.consumer->info(0).last_error;
  EXPECT_EQ(StateOf(b, Vbid(0)), VbucketState::kActive);
  for (const Vbid vbucket : {less, fenced, promoted}) {
    EXPECT_EQ(StateOf(b, vbucket), VbucketState::kReplica) << vbucket.get();
  }
}

TEST_F(TapTakeoverRestartTest, AGiverThatIsPromotedAgainHandsOverAnew) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  GiveAwayAndCrash(pipe);
  const auto promoted = a.R().Promote({Vbid(0), Vbid(1), Vbid(2), Vbid(3)}, {});
  ASSERT_TRUE(promoted->ready() && promoted->status().ok());
  Write(a, 50, "key-", "w");
  pipe.Connect();
  ASSERT_TRUE(pipe.RunUntil([&] {
    ExpectOneActiveAtMost();
    return pipe.consumer->takeover_done();
  })) << pipe.consumer->info(0).last_error;
  EXPECT_EQ(b.E().Get("key-49")->value, "w49");
}

TEST_F(TapTakeoverTest, AReceiverThatIsNeverReadyIsNotWaitedForLongerThanTheTimeOut) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Pipe pipe(&a, &b, &clock_, Taking());
  pipe.Connect();
  ASSERT_TRUE(pipe.RunUntil([&] { return StateOf(a, Vbid(0)) == VbucketState::kPending; }));
  EXPECT_FALSE(TryWrite(a, "key-0", "x") && TryWrite(a, "key-1", "x") && TryWrite(a, "key-2", "x") &&
               TryWrite(a, "key-3", "x") && TryWrite(a, "key-4", "x") && TryWrite(a, "key-5", "x"));
  // Its messages do not arrive, but for what keeps the connection alive.
  std::string reason;
  for (int i = 0; i < 120 && reason.empty(); ++i) {
    clock_.Advance(100'000'000);
    pipe.to_producer.clear();
    ConsumerMessage alive;
    alive.noop_answer = true;
    pipe.producer->OnMessage(alive, pipe.now());
    pipe.Collect();
    if (StateOf(a, Vbid(0)) == VbucketState::kActive) reason = "resumed after " + std::to_string(i);
  }
  EXPECT_EQ(reason, "resumed after 99");
  EXPECT_TRUE(TryWrite(a, "key-0", "x"));
}

TEST_F(TapTakeoverTest, NotInTheWindowOfAnOnlineUpdate) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  Update(a, Step::kStart);
  Pipe pipe(&a, &b, &clock_, Taking());
  pipe.Connect();
  EXPECT_FALSE(pipe.RunUntil([&] { return pipe.consumer->takeover_done(); }, 3'000'000'000));
  for (uint16_t v = 0; v < 4; ++v) EXPECT_EQ(StateOf(a, Vbid(v)), VbucketState::kActive);
  Update(a, Step::kComplete);
  ASSERT_TRUE(pipe.RunUntil([&] { return pipe.consumer->takeover_done(); }, 60'000'000'000))
      << pipe.consumer->info(0).last_error;
}

TEST_F(TapTakeoverTest, AReplicaIsNotGivenAway) {
  Open();
  Write(a, 20, "key-", "v");
  Follow();
  Pipe pipe(&b, &c, &clock_, Taking());
  pipe.Connect();
  EXPECT_FALSE(pipe.RunUntil([&] { return pipe.consumer->takeover_done(); }, 1'000'000'000));
  EXPECT_TRUE(pipe.consumer->wants_disconnect());
  EXPECT_EQ(pipe.consumer->info(0).streams[0].last_end, EndReason::kNotMyVbucket);
}

/// A promoted node's higher epoch ends the former active, and what only that had is rolled back.
TEST_F(TapTakeoverTest, AFormerActiveIsFencedAndFollows) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  const auto promoted = b.R().Promote({Vbid(0), Vbid(1), Vbid(2), Vbid(3)}, {});
  ASSERT_TRUE(promoted->ready() && promoted->status().ok());
  Write(a, 50, "key-", "lost");
  Settle(a);
  {
    // b would follow a again: a's epoch is lower, it is told so.
    Pipe back(&a, &b, &clock_);
    back.Connect();
    back.RunUntil([&] { return back.consumer->wants_disconnect() && back.to_producer.empty(); },
                  1'000'000'000);
    EXPECT_TRUE(back.consumer->wants_disconnect());
    EXPECT_EQ(back.consumer->info(0).streams[0].last_end, EndReason::kFenced);
  }
  for (uint16_t v = 0; v < 4; ++v) {
    EXPECT_EQ(StateOf(a, Vbid(v)), VbucketState::kDead);
    EXPECT_EQ(StateOf(b, Vbid(v)), VbucketState::kActive);
  }
  Pipe pipe(&b, &a, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp()) << pipe.consumer->info(0).last_error;
  ExpectEqual(b, a);
  EXPECT_EQ(a.GetReplica("key-3")->value, "v3");
}

/// A copy gave a fenced source up for as long as the connection lasted, whoever was promoted meanwhile.
TEST_F(TapTakeoverTest, ACopyAsksAFencedSourceAgain) {
  Open();
  Write(a, 50, "key-", "v");
  Follow();
  const std::vector<Vbid> all = {Vbid(0), Vbid(1), Vbid(2), Vbid(3)};
  for (const Vbid vbucket : all) {
    const auto heard = b.R().Fence({{vbucket, proto::MakeEpoch(5, 0)}});
    ASSERT_TRUE(heard->ready() && heard->status().ok());
  }
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  pipe.RunUntil([&] { return StateOf(a, Vbid(3)) == VbucketState::kDead; }, 1'000'000'000);
  ASSERT_EQ(StateOf(a, Vbid(3)), VbucketState::kDead);
  EXPECT_FALSE(pipe.consumer->wants_disconnect());
  const auto promoted = a.R().Promote(all, {});
  ASSERT_TRUE(promoted->ready() && promoted->status().ok());
  Write(a, 50, "key-", "w");
  pipe.RunUntil([&] { return b.At(Vbid(3)).epoch == a.At(Vbid(3)).epoch; }, 20'000'000'000);
  ASSERT_TRUE(pipe.CatchUp()) << pipe.consumer->info(0).last_error;
  ExpectEqual(a, b);
  EXPECT_EQ(b.GetReplica("key-3")->value, "w3");
}

}  // namespace
}  // namespace cairn::tap
