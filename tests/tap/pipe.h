#pragma once
// A TAP connection between two engines without threads: the messages of a Producer and a Consumer lie in two
// queues and are moved by the test, one by one if it wants to.

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tap/consumer.h"
#include "tap/producer.h"
#include "tests/engine/replica_fixture.h"

namespace cairn::tap {

using engine::Node;

class Pipe {
 public:
  Pipe(Node* source, Node* replica, ManualClock* clock, Consumer::Options options = {})
      : source_(source), replica_(replica), clock_(clock), options_(std::move(options)) {
    if (options_.name.empty()) options_.name = "replica";
    producer_options.name = "source";
    consumer = std::make_unique<Consumer>(replica_->R(), options_);
  }
  ~Pipe() { Cut(); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  void Connect() {
    Cut();
    producer = std::make_unique<Producer>(source_->R(), producer_options, now());
    listener_ = source_->R().AddListener([this](std::span<const Vbid> vbuckets, bool) {
      notices_.insert(notices_.end(), vbuckets.begin(), vbuckets.end());
    });
    consumer->Connected(now());
  }
  /// Whatever is under way is lost.
  void Cut() {
    if (!producer) return;
    source_->R().RemoveListener(listener_);
    producer.reset();
    notices_.clear();
    to_consumer.clear();
    to_producer.clear();
    if (consumer) consumer->Disconnected("cut", now());
  }
  /// The replica's process is replaced; its engine has been opened again.
  void RestartConsumer() {
    Cut();
    consumer.reset();
    consumer = std::make_unique<Consumer>(replica_->R(), options_);
  }
  /// Before an engine is closed.
  void LetGo() {
    Cut();
    consumer.reset();
  }

  /// What both have to say now goes into the queues. True: something did.
  bool Collect() {
    bool any = false;
    if (!producer) return any;
    for (const Vbid vbucket : std::exchange(notices_, {})) producer->OnOperations(vbucket);
    while (auto message = consumer->Poll(now())) {
      to_producer.push_back(std::move(*message));
      any = true;
    }
    while (auto message = producer->Poll(now())) {
      to_consumer.push_back(std::move(*message));
      any = true;
    }
    return any;
  }
  bool DeliverToProducer() {
    if (to_producer.empty()) return false;
    const ConsumerMessage message = std::move(to_producer.front());
    to_producer.pop_front();
    if (on_consumer_message) on_consumer_message(message);
    producer->OnMessage(message, now());
    ++delivered;
    return true;
  }
  bool DeliverToConsumer() {
    if (to_consumer.empty()) return false;
    ProducerMessage message = std::move(to_consumer.front());
    to_consumer.pop_front();
    if (on_producer_message) on_producer_message(message);
    consumer->OnMessage(std::move(message), now());
    ++delivered;
    return true;
  }
  /// One message each way, and what follows from it. True: something moved.
  bool Turn() {
    bool any = Collect();
    any = DeliverToProducer() || any;
    any = DeliverToConsumer() || any;
    while (consumer->Step(now())) any = true;
    return Collect() || any;
  }
  /// Turns and background work until `done`; time passes when nothing moves. False: it never was.
  bool RunUntil(const std::function<bool()>& done, int64_t for_ns = 20'000'000'000) {
    const int64_t end = now() + for_ns;
    for (int i = 0; i < 200'000 && now() < end; ++i) {
      if (done()) return true;
      const bool moved = Turn();
      const bool a = source_->E()->RunBackground();
      const bool b = replica_->E()->RunBackground();
      if (!moved && !a && !b) clock_->Advance(1'000'000);
    }
    return done();
  }
  bool Same(Vbid vbucket) {
    const auto a = source_->R().Position(vbucket);
    const auto b = replica_->R().Position(vbucket);
    return a.ok() && b.ok() && a->high == b->high && a->open_checkpoint == b->open_checkpoint &&
           a->window == b->window && !b->in_snapshot;
  }
  bool InSync() {
    if (!consumer->in_sync()) return false;
    for (uint32_t v = 0; v < source_->R().vbucket_count(); ++v) {
      if (!Same(Vbid(static_cast<uint16_t>(v)))) return false;
    }
    return true;
  }
  bool CatchUp() {
    return RunUntil([this] { return InSync(); });
  }
  int64_t now() const { return clock_->SteadyNs(); }

  std::unique_ptr<Producer> producer;
  std::unique_ptr<Consumer> consumer;
  Producer::Options producer_options;
  std::deque<ProducerMessage> to_consumer;
  std::deque<ConsumerMessage> to_producer;
  std::function<void(ProducerMessage&)> on_producer_message;
  std::function<void(const ConsumerMessage&)> on_consumer_message;
  uint64_t delivered = 0;

 private:
  Node* source_;
  Node* replica_;
  ManualClock* clock_;
  Consumer::Options options_;
  engine::Replication::ListenerId listener_ = 0;
  std::vector<Vbid> notices_;
};

/// Up to three nodes of one time.
class TapTest : public ::testing::Test {
 protected:
  using Step = engine::TestEngine::Step;

  void SetUp() override { SetLogLevel(LogLevel::kOff); }
  static engine::EngineOptions Small() {
    engine::EngineOptions options = engine::SmallOptions();
    options.checkpoint_items_max = 20;
    return options;
  }
  void Open(const engine::EngineOptions& options = Small()) {
    for (Node* node : {&a, &b, &c}) node->Open(options);
  }
  /// A vbucket that writes anything at all has a new CAS and seqno, so equal digests mean equal contents.
  static void ExpectEqual(Node& x, Node& y) {
    for (uint32_t v = 0; v < x.R().vbucket_count(); ++v) {
      const Vbid vb(static_cast<uint16_t>(v));
      const auto at_x = x.At(vb);
      const auto at_y = y.At(vb);
      EXPECT_EQ(at_x.high, at_y.high) << v;
      EXPECT_EQ(at_x.open_checkpoint, at_y.open_checkpoint) << v;
      EXPECT_EQ(at_x.items, at_y.items) << v;
      EXPECT_TRUE(at_x.warm && at_y.warm) << v;
      EXPECT_EQ(at_x.digest, at_y.digest) << v;
      EXPECT_EQ(at_x.window, at_y.window) << v;
    }
  }
  void Write(Node& node, int count, const std::string& prefix, const std::string& value) {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(node.E().Set(prefix + std::to_string(i), value + std::to_string(i)), Code::kOk);
    }
  }
  /// Everything is in the log, and merged as far as may be.
  void Settle(Node& node) {
    node.Persist();
    node.E().Settle();
  }
  void Update(Node& node, Step step) {
    const Status done = node.E().Update(step);
    ASSERT_TRUE(done.ok()) << done.ToString();
  }

  ManualClock clock_;
  Node a{7, &clock_};
  Node b{8, &clock_};
  Node c{9, &clock_};
};

}  // namespace cairn::tap
