// A chain of three nodes under random writes, online updates, cuts, kills and slow links: whatever happened,
// in the end all three hold the same, no digest ever differed, and in between a replica that is not being
// copied to is at a seqno that its source had once.

#include "base/random.h"
#include "tests/tap/pipe.h"

namespace cairn::tap {
namespace {

class TapRandomTest : public TapTest, public ::testing::WithParamInterface<uint64_t> {
 protected:
  void Begin() {
    engine::EngineOptions options = Small();
    options.vbuckets = 2;
    options.checkpoint_items_max = static_cast<uint32_t>(random_.Between(5, 60));
    Open(options);
    first_ = std::make_unique<Pipe>(&a, &b, &clock_);
    second_ = std::make_unique<Pipe>(&b, &c, &clock_);
    for (Pipe* pipe : {first_.get(), second_.get()}) {
      pipe->producer_options.chunk_bytes = random_.Between(100, 5'000);
    }
  }
  void WriteSome() {
    for (uint64_t n = random_.Between(1, 40); n > 0; --n) {
      const std::string key = "key-" + std::to_string(random_.Uniform(120));
      if (random_.OneIn(4)) {
        const Code code = a.E().Delete(key);
        ASSERT_TRUE(code == Code::kOk || code == Code::kNotFound);
      } else {
        ASSERT_EQ(a.E().Set(key, std::string(random_.Uniform(400), 'v') + std::to_string(n)), Code::kOk);
      }
    }
  }
  void UpdateSome() {
    if (!updating_) {
      Update(a, Step::kStart);
    } else {
      Update(a, random_.OneIn(2) ? Step::kComplete : Step::kRevert);
    }
    updating_ = !updating_;
  }
  void Restart(Node& node) {
    if (&node == &b) second_->Cut();
    if (&node == &a) first_->Cut();
    if (&node == &b) first_->LetGo();
    if (&node == &c) second_->LetGo();
    node.CrashAndReopen();
    if (random_.OneIn(2)) node.E().Settle();
    if (&node == &b) first_->RestartConsumer();
    if (&node == &c) second_->RestartConsumer();
    // A window whose START was not durable is gone with it.
    if (&node == &a) updating_ = a.E().phase() != engine::UpdatePhase::kNormal;
  }
  void SomeTurns() {
    for (uint64_t n = random_.Uniform(30); n > 0; --n) {
      Pipe& pipe = random_.OneIn(2) ? *first_ : *second_;
      if (!pipe.producer) pipe.Connect();
      pipe.Turn();
      if (random_.OneIn(3)) a.E()->RunBackground();
      if (random_.OneIn(3)) b.E()->RunBackground();
      if (random_.OneIn(3)) c.E()->RunBackground();
      if (random_.OneIn(5)) clock_.Advance(static_cast<int64_t>(random_.Uniform(20'000'000)));
    }
  }
  void Act() {
    switch (random_.Uniform(20)) {
      case 0:
        return first_->Cut();
      case 1:
        return second_->Cut();
      case 2:
        return Restart(b);
      case 3:
        return Restart(c);
      case 4:
        if (random_.OneIn(3)) return Restart(a);
        return;
      case 5:
        if (random_.OneIn(2)) return UpdateSome();
        return;
      case 6:
        return Settle(a);
      case 7:
        return Settle(b);
      default:
        WriteSome();
        SomeTurns();
    }
  }
  void ExpectNoMismatch() {
    for (Pipe* pipe : {first_.get(), second_.get()}) {
      for (const StreamInfo& stream : pipe->consumer->info(0).streams) {
        ASSERT_FALSE(stream.digest_mismatch) << pipe->consumer->info(0).last_error;
      }
      ASSERT_NE(pipe->consumer->end_reason(), EndReason::kBadMessage) << pipe->consumer->info(0).last_error;
    }
  }
  bool AllInSync() {
    if (first_->InSync() && second_->InSync()) return true;
    second_->Turn();
    c.E()->RunBackground();
    for (Pipe* pipe : {first_.get(), second_.get()}) {
      if (pipe->producer->ended() || pipe->consumer->wants_disconnect()) pipe->Connect();
    }
    return first_->InSync() && second_->InSync();
  }

  Random random_{GetParam()};
  std::unique_ptr<Pipe> first_, second_;
  bool updating_ = false;
};

TEST_P(TapRandomTest, EndsEqual) {
  Begin();
  for (int step = 0; step < 250 && !HasFatalFailure(); ++step) {
    Act();
    ExpectNoMismatch();
  }
  ASSERT_FALSE(HasFatalFailure());
  WriteSome();
  first_->Connect();
  second_->Connect();
  ASSERT_TRUE(first_->RunUntil([&] { return AllInSync(); }, 60'000'000'000))
      << first_->consumer->info(0).last_error << " | " << second_->consumer->info(0).last_error;
  for (Node* node : {&a, &b, &c}) node->E().Settle();
  ExpectNoMismatch();
  ExpectEqual(a, b);
  ExpectEqual(a, c);
  for (int i = 0; i < 120; ++i) {
    const std::string key = "key-" + std::to_string(i);
    ASSERT_EQ(c.GetReplica(key), a.E().Get(key)) << key;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, TapRandomTest, ::testing::Range<uint64_t>(1, 41));

}  // namespace
}  // namespace cairn::tap
