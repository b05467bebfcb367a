// Producer and consumer end to end, between engines without threads: what is copied, from where, and that it
// is all of it.

#include <gmock/gmock.h>

#include <set>

#include "base/fault.h"
#include "base/random.h"
#include "tests/tap/pipe.h"

namespace cairn::tap {
namespace {

using ::testing::HasSubstr;

class TapStreamTest : public TapTest {
 protected:
  uint64_t Backfilled(Pipe& pipe) { return pipe.producer->info(pipe.now()).backfilled_operations; }
  uint64_t Operations(Pipe& pipe) { return pipe.producer->info(pipe.now()).operations; }
};

TEST_F(TapStreamTest, AnEmptyNodeIsFilledAndFollows) {
  Open();
  Write(a, 300, "key-", "old");
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp()) << pipe.consumer->info(0).last_error;
  ExpectEqual(a, b);
  Write(a, 300, "key-", "new");
  for (int i = 0; i < 100; ++i) ASSERT_EQ(a.E().Delete("key-" + std::to_string(i)), Code::kOk);
  ASSERT_TRUE(pipe.CatchUp());
  ExpectEqual(a, b);
  EXPECT_EQ(b.GetReplica("key-7"), std::nullopt);
  EXPECT_EQ(b.GetReplica("key-150"), a.E().Get("key-150"));
}

TEST_F(TapStreamTest, CheckpointEndsAreVerified) {
  Open();
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  Write(a, 400, "key-", "v");
  ASSERT_TRUE(pipe.CatchUp());
  ASSERT_TRUE(pipe.RunUntil([&] {
    const ConnectionInfo info = pipe.producer->info(pipe.now());
    for (const StreamInfo& stream : info.streams) {
      if (stream.verified_checkpoint == CheckpointId(0) || stream.digest_mismatch) return false;
      if (stream.applied != stream.high || stream.persisted != stream.high) return false;
      if (stream.lag_operations != 0 || stream.lag_ns != 0) return false;
    }
    return info.streams.size() == 4;
  }));
}

TEST_F(TapStreamTest, WhatMemoryHasReleasedComesFromTheDisk) {
  Open();
  Write(a, 500, "key-", "v");
  for (int i = 0; i < 500; i += 3) ASSERT_EQ(a.E().Delete("key-" + std::to_string(i)), Code::kOk);
  Settle(a);
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp()) << pipe.consumer->info(0).last_error;
  EXPECT_GT(Backfilled(pipe), 300u);
  ExpectEqual(a, b);
}

TEST_F(TapStreamTest, ARestartedReplicaGoesOnWhereItsLogEnds) {
  Open();
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  Write(a, 200, "key-", "v");
  ASSERT_TRUE(pipe.CatchUp());
  Settle(b);
  Settle(a);
  Write(a, 60, "more-", "v");
  pipe.LetGo();
  b.CrashAndReopen();
  b.E().Settle();
  pipe.RestartConsumer();
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp()) << pipe.consumer->info(0).last_error;
  ExpectEqual(a, b);
  EXPECT_LT(Operations(pipe), 150u);
}

TEST_F(TapStreamTest, ADroppedCursorGoesBackToTheDisk) {
  engine::EngineOptions options = Small();
  options.memory_quota = 64u << 20;
  options.checkpoint_memory_percent = 5;
  Open(options);
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  // Nothing is sent for a while: the cursors pin memory until it is more than checkpoints may hold.
  const std::string value(20'000, 'v');
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(a.E().Set("key-" + std::to_string(i), value), Code::kOk);
    a.Background(2);
  }
  for (int i = 0; i < 20; ++i) {
    clock_.Advance(200'000'000);
    a.Background(20);
  }
  Settle(a);
  EXPECT_EQ(Backfilled(pipe), 0u);
  ASSERT_TRUE(pipe.CatchUp()) << pipe.consumer->info(0).last_error;
  ExpectEqual(a, b);
  EXPECT_GT(Backfilled(pipe), 100u);
}

TEST_F(TapStreamTest, ARestartedSourceHasANewBranchAndTheReplicaRollsBack) {
  Open();
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  Write(a, 100, "key-", "kept");
  ASSERT_TRUE(pipe.CatchUp());
  Settle(a);
  Settle(b);
  // The replica gets what the source will forget, and has it on its own disk.
  ASSERT_TRUE(a.E()->StopPersistence().ok());
  Write(a, 40, "key-", "lost");
  ASSERT_TRUE(pipe.RunUntil([&] { return pipe.InSync(); }));
  Settle(b);
  const Seqno ahead = b.At(Vbid(1)).high;
  pipe.Cut();
  a.CrashAndReopen();
  a.E().Settle();
  ASSERT_LT(a.At(Vbid(1)).failover_log.front().seqno, ahead);
  Write(a, 3, "other-", "after");
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp()) << pipe.consumer->info(0).last_error;
  ExpectEqual(a, b);
  EXPECT_EQ(b.GetReplica("key-5")->value, "kept5");
  EXPECT_EQ(a.At(Vbid(1)).failover_log, b.At(Vbid(1)).failover_log);
}

TEST_F(TapStreamTest, AChainOfThree) {
  Open();
  Pipe first(&a, &b, &clock_);
  Pipe second(&b, &c, &clock_);
  first.Connect();
  second.Connect();
  for (int round = 0; round < 4; ++round) {
    Write(a, 120, "key-", "round" + std::to_string(round));
    ASSERT_TRUE(first.RunUntil([&] {
      second.Turn();
      c.E()->RunBackground();
      return first.InSync() && second.InSync();
    })) << second.consumer->info(0).last_error;
  }
  ExpectEqual(a, c);
}

// After an unclean end a source's seqnos go on behind a gap, and a replica passes over it without any
// operation. A stream that the replica itself has open by then has to pass over it too.
TEST_F(TapStreamTest, AChainPassesOverSeqnosWithoutOperations) {
  Open();
  Pipe first(&a, &b, &clock_);
  Pipe second(&b, &c, &clock_);
  const auto both_in_sync = [&] {
    second.Turn();
    c.E()->RunBackground();
    return first.InSync() && second.InSync();
  };
  first.Connect();
  second.Connect();
  Write(a, 120, "key-", "v");
  ASSERT_TRUE(first.RunUntil(both_in_sync)) << second.consumer->info(0).last_error;
  Settle(a);
  Settle(b);
  Settle(c);
  first.Cut();
  const Seqno before = a.At(Vbid(1)).high;
  a.CrashAndReopen();
  a.E().Settle();
  a.RestartCleanly();
  a.E().Settle();
  const Seqno behind_the_gap = a.At(Vbid(1)).high;
  ASSERT_GT(behind_the_gap, before + 1);
  first.Connect();
  ASSERT_TRUE(first.RunUntil(both_in_sync)) << second.consumer->info(0).last_error;
  EXPECT_EQ(c.At(Vbid(1)).high, behind_the_gap);
  // The same again for a replica that comes back from a disk that has nothing of it, and is followed before
  // it follows.
  first.LetGo();
  second.LetGo();
  b.CrashAndReopen();
  b.E().Settle();
  c.CrashAndReopen();
  c.E().Settle();
  first.RestartConsumer();
  second.RestartConsumer();
  second.Connect();
  ASSERT_TRUE(second.RunUntil([&] { return second.InSync(); }));
  first.Connect();
  ASSERT_TRUE(first.RunUntil(both_in_sync)) << second.consumer->info(0).last_error;
  EXPECT_EQ(c.At(Vbid(1)).high, behind_the_gap);
  ExpectEqual(a, c);
}

TEST_F(TapStreamTest, ProgressIsToldAtOnceOnlyWhenAClientWaits) {
  Open();
  a.E()->durability_tracker().set_copies(3);
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  size_t told = 0;
  pipe.on_consumer_message = [&](const ConsumerMessage& message) { told += message.progress.size(); };
  // How many milliseconds pass until the source hears of a write's progress.
  const auto wait = [&] {
    told = 0;
    int ms = 0;
    while (pipe.Turn() || (told == 0 && ++ms < 100)) clock_.Advance(told == 0 ? 1'000'000 : 0);
    return ms;
  };
  const auto write = [&] { ASSERT_EQ(a.E().Set("key", "v"), Code::kOk); };
  write();
  wait();
  write();
  EXPECT_GE(wait(), 5);

  // Somebody begins to wait when nothing is left to be sent: the consumer is told so, and answers at once.
  const Vbid vbucket = a.E()->MakeKey("key").vbucket;
  engine::Requirement requirement{vbucket, engine::DurabilityLevel::kMajority, Seqno(kSeqnoMax),
                                  a.At(vbucket).failover_log.front().uuid};
  bool asked = false;
  pipe.on_producer_message = [&](const ProducerMessage& message) {
    asked = asked || (message.prompt && message.chunk.empty());
  };
  std::optional<engine::DurabilityWait> waiting =
      a.E()->AwaitDurability(requirement, 0, std::make_shared<engine::WakeFlag>());
  EXPECT_EQ(pipe.producer->NextPollNs(), 0);
  while (pipe.Turn()) {
  }
  EXPECT_TRUE(asked);
  for (int i = 0; i < 3; ++i) {
    write();
    EXPECT_LE(wait(), 2) << i;
  }
  waiting.reset();
  write();
  wait();
  write();
  EXPECT_GE(wait(), 5);
}

/// A thousand of them at a time held up whoever carried writes, on both sides.
TEST_F(TapStreamTest, ProgressOfManyVbucketsIsToldInPiecesUnlessAClientWaits) {
  engine::EngineOptions options = Small();
  options.vbuckets = 256;
  Open(options);
  a.E()->durability_tracker().set_copies(3);
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  std::vector<size_t> told;
  std::set<Vbid> of;
  pipe.on_consumer_message = [&](const ConsumerMessage& message) {
    if (!message.progress.empty()) told.push_back(message.progress.size());
    for (const Progress& progress : message.progress) of.insert(progress.vbucket);
  };
  const auto write_and_hear = [&](int64_t for_ns) {
    told.clear();
    of.clear();
    Write(a, 3'000, "key-", "v");
    for (int64_t waited_ns = 0; waited_ns < for_ns; waited_ns += 1'000'000) {
      while (pipe.Turn()) {
      }
      clock_.Advance(1'000'000);
    }
  };
  write_and_hear(100'000'000);
  EXPECT_EQ(of.size(), 256U) << "none is forgotten";
  EXPECT_LE(*std::max_element(told.begin(), told.end()), 32U);

  engine::Requirement requirement{Vbid(0), engine::DurabilityLevel::kMajority, Seqno(kSeqnoMax),
                                  a.At(Vbid(0)).failover_log.front().uuid};
  const engine::DurabilityWait waiting =
      a.E()->AwaitDurability(requirement, 0, std::make_shared<engine::WakeFlag>());
  write_and_hear(2'000'000);
  EXPECT_EQ(of.size(), 256U) << "at once";
}

TEST_F(TapStreamTest, TheSourceKnowsWhenItWaitsForWhatTheConsumerSays) {
  Open();
  a.E()->durability_tracker().set_copies(3);
  Consumer::Options options;
  options.window_bytes = 64u << 10;
  Pipe pipe(&a, &b, &clock_, options);
  pipe.Connect();
  EXPECT_TRUE(pipe.producer->awaits_input()) << "for the openings";
  ASSERT_TRUE(pipe.CatchUp());
  ASSERT_TRUE(pipe.RunUntil([&] { return !pipe.producer->awaits_input(); }));
  {
    engine::Requirement requirement{Vbid(0), engine::DurabilityLevel::kMajority, Seqno(kSeqnoMax),
                                    a.At(Vbid(0)).failover_log.front().uuid};
    const engine::DurabilityWait waiting =
        a.E()->AwaitDurability(requirement, 0, std::make_shared<engine::WakeFlag>());
    EXPECT_TRUE(pipe.producer->awaits_input()) << "a client does";
  }
  Write(a, 1, "key-", "v");
  while (pipe.Turn()) {
  }
  EXPECT_FALSE(pipe.producer->awaits_input());
  // More than there are credits for, and nothing of it arrives.
  Write(a, 100, "large-", std::string(4'000, 'x'));
  while (pipe.Collect()) {
  }
  EXPECT_TRUE(pipe.producer->awaits_input()) << "for credits";
}

/// Two nodes whose next sync is far off, and who waits for a replica's disk.
class TapDiskHurryTest : public TapTest {
 protected:
  void SetUp() override {
    TapTest::SetUp();
    engine::EngineOptions options = Small();
    options.sync_interval_ms = 600'000;
    Open(options);
    a.E()->durability_tracker().set_copies(2);
    vbucket_ = a.E()->MakeKey("key").vbucket;
    pipe_.emplace(&a, &b, &clock_);
    pipe_->on_producer_message = [this](const ProducerMessage& message) {
      EXPECT_TRUE(message.prompt || !message.prompt_disk);
      asked_alone_ = asked_alone_ || (message.prompt_disk && message.chunk.empty());
      if (!message.chunk.empty()) asked_with_chunk_ = message.prompt_disk;
    };
    pipe_->Connect();
    Write(a, 20, "key-", "v");
    ASSERT_TRUE(pipe_->CatchUp());
    a.Persist();
    b.Persist();
  }
  void WriteOne() { ASSERT_EQ(a.E().Set("key", "v"), Code::kOk); }
  bool OnDisk() { return b.At(vbucket_).persisted == a.At(vbucket_).high; }
  bool Stays() {
    return !pipe_->RunUntil([this] { return OnDisk(); }, 5'000'000'000);
  }
  /// Waits for the newest write of the vbucket, as its client would.
  void Await() {
    requirement_ = {vbucket_, engine::DurabilityLevel::kPersistedMajority, a.At(vbucket_).high,
                    a.At(vbucket_).failover_log.front().uuid};
    ticket_ = a.E()->CommitTicket();
    waiting_ = a.E()->AwaitDurability(requirement_, ticket_, std::make_shared<engine::WakeFlag>());
  }
  bool Done() { return a.E()->DurabilityOutcome(requirement_, ticket_) == Code::kOk; }

  std::optional<Pipe> pipe_;
  Vbid vbucket_;
  engine::Requirement requirement_;
  uint64_t ticket_ = 0;
  std::optional<engine::DurabilityWait> waiting_;
  bool asked_alone_ = false, asked_with_chunk_ = false;
};

TEST_F(TapDiskHurryTest, AReplicaSyncsAtOnceWhatAClientWaitsForOnItsDisk) {
  WriteOne();
  ASSERT_TRUE(Stays()) << "nobody waits";
  ASSERT_FALSE(asked_alone_ || asked_with_chunk_);
  // The write has been sent and applied when its client begins to wait.
  Await();
  EXPECT_EQ(pipe_->producer->NextPollNs(), 0);
  ASSERT_TRUE(pipe_->RunUntil([this] { return Done(); }, 100'000'000));
  EXPECT_TRUE(asked_alone_);
  // The next ones come while somebody waits.
  for (int i = 0; i < 3; ++i) {
    WriteOne();
    requirement_.seqno = Seqno(kSeqnoMax);
    waiting_ =
        a.E()->AwaitDurability(requirement_, a.E()->CommitTicket(), std::make_shared<engine::WakeFlag>());
    asked_alone_ = false;
    ASSERT_TRUE(pipe_->RunUntil([this] { return OnDisk(); }, 100'000'000)) << i;
    EXPECT_TRUE(asked_with_chunk_ && !asked_alone_) << i;
  }
  waiting_.reset();
  WriteOne();
  EXPECT_TRUE(Stays()) << "nobody waits any more";
  EXPECT_FALSE(asked_with_chunk_);
}

TEST_F(TapDiskHurryTest, WhoWaitsForItsMemoryDoesNot) {
  const engine::Requirement memory{vbucket_, engine::DurabilityLevel::kMajorityAndPersisted, Seqno(kSeqnoMax),
                                   a.At(vbucket_).failover_log.front().uuid};
  const engine::DurabilityWait other =
      a.E()->AwaitDurability(memory, a.E()->CommitTicket(), std::make_shared<engine::WakeFlag>());
  WriteOne();
  EXPECT_TRUE(Stays());
  EXPECT_EQ(a.At(vbucket_).persisted, a.At(vbucket_).high) << "the disk here was asked for";
  // The source has said that somebody waits; now it says for what.
  Await();
  EXPECT_TRUE(pipe_->RunUntil([this] { return Done(); }, 100'000'000));
  EXPECT_TRUE(asked_alone_);
}

// What a connection had brought was not looked up on disk any more when the next one went on behind it.
TEST_F(TapDiskHurryTest, WhatWasAppliedBeforeACutIsStillWaitedFor) {
  WriteOne();
  ASSERT_TRUE(pipe_->CatchUp());
  Await();
  pipe_->Cut();
  pipe_->Connect();
  EXPECT_TRUE(pipe_->RunUntil([this] { return Done(); }, 1'000'000'000));
}

TEST_F(TapStreamTest, AnAnswerIsToBeSentAtOnce) {
  Open();
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  ASSERT_FALSE(pipe.Collect());
  EXPECT_GT(pipe.producer->NextPollNs(), pipe.now());
  ConsumerMessage message;
  message.close = {Vbid(1)};
  OpenStream& open = message.open.emplace_back();
  open.vbucket = Vbid(1);
  open.history_uuid = 12345;  // of nobody
  open.seqno = open.snapshot_start = open.snapshot_end = Seqno(1);
  pipe.producer->OnMessage(message, pipe.now());
  EXPECT_EQ(pipe.producer->NextPollNs(), 0);
  EXPECT_EQ(pipe.producer->answers_waiting(), 1U);
  const std::optional<ProducerMessage> answer = pipe.producer->Poll(pipe.now());
  ASSERT_TRUE(answer && answer->answers.size() == 1);
  EXPECT_EQ(answer->answers[0].reason, EndReason::kRollback);
}

// A closed stream counted as a connected replica: a write that needed it was executed, and ambiguous.
TEST_F(TapStreamTest, AReplicaCountsForAVbucketWhileItFollowsIt) {
  Open();
  Write(a, 100, "key-", "v");
  const auto admits = [this](uint16_t vbucket) {
    return a.E()->AdmitDurability(Vbid(vbucket), engine::DurabilityLevel::kMajority) ==
           engine::DurabilityAdmission::kOk;
  };
  Pipe pipe(&a, &b, &clock_);
  EXPECT_FALSE(admits(0));
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  ASSERT_TRUE(pipe.RunUntil([&] { return admits(0) && admits(1); }));
  // Closed by the replica.
  pipe.consumer->Drop({Vbid(0)});
  ASSERT_TRUE(pipe.RunUntil([&] { return !admits(0); }));
  EXPECT_TRUE(admits(1));
  // Ended by the source; the replica opens it again, and says anew how far it is.
  const engine::PendingRef dead = a.R().Demote({Vbid(1)}, engine::VbucketState::kDead);
  ASSERT_TRUE(dead->ready() && dead->status().ok());
  ASSERT_TRUE(pipe.RunUntil([&] { return pipe.producer->info(pipe.now()).streams.size() == 2; }));
  engine::PromoteOptions options;
  options.clean = true;
  const engine::PendingRef active = a.R().Promote({Vbid(1)}, options);
  ASSERT_TRUE(active->ready() && active->status().ok());
  EXPECT_FALSE(admits(1));
  ASSERT_TRUE(pipe.RunUntil([&] { return admits(1); }));
  EXPECT_FALSE(admits(0));
}

TEST_F(TapStreamTest, OnlineUpdatesAreFollowed) {
  Open();
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  Write(a, 100, "key-", "old");
  ASSERT_TRUE(pipe.CatchUp());
  Update(a, Step::kStart);
  Write(a, 60, "key-", "new");
  ASSERT_TRUE(pipe.CatchUp());
  EXPECT_FALSE(b.At(Vbid(0)).window.is_none());
  ExpectEqual(a, b);
  Update(a, Step::kRevert);
  ASSERT_TRUE(pipe.CatchUp());
  EXPECT_TRUE(b.At(Vbid(0)).window.is_none());
  ExpectEqual(a, b);
  EXPECT_EQ(b.GetReplica("key-3")->value, "old3");
}

TEST_F(TapStreamTest, WithoutCreditsTheSourceWaitsAndTellsAfterATime) {
  Open();
  Consumer::Options options;
  options.idle_timeout_ms = 5'000;
  Pipe pipe(&a, &b, &clock_, options);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  // More than the window, and nothing is granted again: what the consumer says is noop answers only.
  const std::string large(1 << 20, 'x');
  for (int i = 0; i < 40; ++i) ASSERT_EQ(a.E().Set("large" + std::to_string(i), large), Code::kOk);
  uint64_t sent = 0;
  bool ended = false;
  for (int i = 0; i < 200 && !ended; ++i) {
    for (const auto& message : std::exchange(pipe.to_consumer, {})) {
      sent += message.chunk.size();
      EXPECT_TRUE(!message.goodbye || *message.goodbye == EndReason::kTooSlow);
      ended = ended || message.goodbye.has_value();
    }
    ConsumerMessage answer;
    answer.noop_answer = true;
    pipe.producer->OnMessage(answer, pipe.now());
    pipe.Collect();
    clock_.Advance(100'000'000);
  }
  EXPECT_TRUE(ended);
  // The window, and at most a chunk more.
  EXPECT_LE(sent, (32u << 20) + (2u << 20));
  EXPECT_GT(sent, 30u << 20);
}

TEST_F(TapStreamTest, ASilentPeerIsLeftByBoth) {
  Open();
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  // Noops keep it alive.
  for (int i = 0; i < 100; ++i) {
    pipe.RunUntil([] { return false; }, 500'000'000);
    ASSERT_FALSE(pipe.producer->ended());
    ASSERT_FALSE(pipe.consumer->wants_disconnect());
  }
  pipe.Collect();
  pipe.to_consumer.clear();
  pipe.to_producer.clear();
  clock_.Advance(30'500'000'000);
  const auto last = pipe.producer->Poll(pipe.now());
  ASSERT_TRUE(last && last->goodbye);
  EXPECT_EQ(*last->goodbye, EndReason::kIdle);
  EXPECT_TRUE(pipe.producer->ended());
  EXPECT_EQ(pipe.producer->Poll(pipe.now()), std::nullopt);
  EXPECT_EQ(pipe.consumer->Poll(pipe.now()), std::nullopt);
  EXPECT_TRUE(pipe.consumer->wants_disconnect());
  EXPECT_EQ(pipe.consumer->end_reason(), EndReason::kIdle);
}

/// Cut after each message in turn: the replica is at an exact point each time, and ends up equal.
TEST_F(TapStreamTest, CutAfterEveryMessage) {
  Open();
  Pipe pipe(&a, &b, &clock_);
  pipe.producer_options.chunk_bytes = 200;  // snapshots of several chunks
  Random random(3);
  std::map<uint16_t, std::set<uint64_t>> exact;
  Write(a, 100, "key-", "first");
  Settle(a);
  for (int cut = 1; cut <= 120; ++cut) {
    Write(a, 5 + static_cast<int>(random.Uniform(30)), "key-", "cut" + std::to_string(cut) + "-");
    for (uint16_t v = 0; v < 4; ++v) exact[v].insert(a.At(Vbid(v)).high.get());
    pipe.Connect();
    const uint64_t limit = pipe.delivered + static_cast<uint64_t>(cut % 40);
    pipe.RunUntil([&] { return pipe.delivered >= limit; }, 1'000'000'000);
    pipe.Cut();
    while (pipe.consumer->Step(pipe.now())) {
    }
    if (random.OneIn(4)) {
      pipe.LetGo();
      b.CrashAndReopen();
      b.E().Settle();
      pipe.RestartConsumer();
    }
  }
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp()) << pipe.consumer->info(0).last_error;
  ExpectEqual(a, b);
  for (const StreamInfo& stream : pipe.consumer->info(0).streams) EXPECT_FALSE(stream.digest_mismatch);
}

TEST_F(TapStreamTest, ADifferenceIsFoundAndTheVbucketCopiedAnew) {
  Open();
  Pipe pipe(&a, &b, &clock_);
  pipe.Connect();
  ASSERT_TRUE(pipe.CatchUp());
  {
    const ScopedFault fault("replica.flip_byte", FaultSpec::Nth(1));
    Write(a, 10, "key-", "v");
    ASSERT_TRUE(pipe.CatchUp());
  }
  EXPECT_NE(a.E()->Digest(), b.E()->Digest());
  bool told = false;
  pipe.on_consumer_message = [&](const ConsumerMessage& message) {
    for (const Progress& progress : message.progress) told = told || progress.digest_mismatch;
  };
  // The end of the checkpoint tells.
  Write(a, 200, "more-", "v");
  ASSERT_TRUE(pipe.RunUntil([&] { return pipe.InSync() && a.E()->Digest() == b.E()->Digest(); }))
      << pipe.consumer->info(0).last_error;
  ExpectEqual(a, b);
  EXPECT_TRUE(told);
}

}  // namespace
}  // namespace cairn::tap
