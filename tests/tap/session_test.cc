// Sessions with their threads over a line within the process: who sends, and what nobody waits for. Copies of
// engines with all their threads are compared, so this is for ThreadSanitizer as well.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/storage/memory_store.h"
#include "tap/session.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/patience.h"

namespace cairn::tap {
namespace {

using engine::Engine;
using engine::VbucketState;

constexpr uint32_t kVbuckets = 8;

bool Eventually(const std::function<bool()>& condition) {
  return PatientlyUntil(std::chrono::seconds(30), condition);
}

/// One connection. Down there is room for one message at a time, and none while it is blocked.
class Line {
 public:
  void Block(bool blocked) {
    MutexLock lock(mutex_);
    blocked_ = blocked;
    Changed();
  }
  /// Who wrote the last chunk.
  std::thread::id writer() const {
    MutexLock lock(mutex_);
    return writer_;
  }
  uint64_t chunks() const {
    MutexLock lock(mutex_);
    return chunks_;
  }
  bool cut() const {
    MutexLock lock(mutex_);
    return cut_;
  }
  void Cut() {
    MutexLock lock(mutex_);
    cut_ = true;
    Changed();
  }

  class Near;
  class Far;

 private:
  void Changed() CAIRN_REQUIRES(mutex_) {
    ++changes_;
    changed_.NotifyAll();
  }

  mutable Mutex mutex_;
  CondVar changed_;
  std::optional<ProducerMessage> down_ CAIRN_GUARDED_BY(mutex_);
  std::deque<ConsumerMessage> up_ CAIRN_GUARDED_BY(mutex_);
  bool blocked_ CAIRN_GUARDED_BY(mutex_) = false;
  bool cut_ CAIRN_GUARDED_BY(mutex_) = false;
  uint64_t changes_ CAIRN_GUARDED_BY(mutex_) = 0;
  uint64_t seen_ CAIRN_GUARDED_BY(mutex_) = 0;  // by Wait
  uint64_t chunks_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::thread::id writer_ CAIRN_GUARDED_BY(mutex_);
};

class Line::Near final : public ProducerLink {
 public:
  explicit Near(std::shared_ptr<Line> line) : line_(std::move(line)) {}
  bool CanWrite() override {
    MutexLock lock(line_->mutex_);
    return line_->cut_ || (!line_->blocked_ && !line_->down_);
  }
  void Write(ProducerMessage message) override {
    MutexLock lock(line_->mutex_);
    if (line_->cut_) return;
    EXPECT_FALSE(line_->down_.has_value()) << "two at a time, or when it was blocked";
    if (!message.chunk.empty()) {
      ++line_->chunks_;
      line_->writer_ = std::this_thread::get_id();
    }
    line_->down_ = std::move(message);
    line_->Changed();
  }
  Result<std::optional<ConsumerMessage>> Read() override {
    MutexLock lock(line_->mutex_);
    if (line_->up_.empty()) return std::optional<ConsumerMessage>();
    std::optional<ConsumerMessage> message = std::move(line_->up_.front());
    line_->up_.pop_front();
    return message;
  }
  bool over() override { return line_->cut(); }
  void Wait(int64_t ns, bool input) override {
    MutexLock lock(line_->mutex_);
    if (line_->cut_ || (input && !line_->up_.empty())) return;
    if (line_->seen_ == line_->changes_) line_->changed_.WaitFor(line_->mutex_, std::chrono::nanoseconds(ns));
    line_->seen_ = line_->changes_;
  }
  void Interrupt() override {
    MutexLock lock(line_->mutex_);
    line_->Changed();
  }
  void Cancel() override { line_->Cut(); }

 private:
  const std::shared_ptr<Line> line_;
};

class Line::Far final : public ConsumerLink {
 public:
  explicit Far(std::shared_ptr<Line> line) : line_(std::move(line)) {}
  bool Open() override { return true; }
  bool Write(const ConsumerMessage& message) override {
    MutexLock lock(line_->mutex_);
    if (line_->cut_) return false;
    line_->up_.push_back(message);
    line_->Changed();
    return true;
  }
  Result<std::optional<ProducerMessage>> Read() override {
    MutexLock lock(line_->mutex_);
    while (!line_->cut_ && (!line_->down_ || line_->blocked_)) line_->changed_.Wait(line_->mutex_);
    if (line_->cut_) return std::optional<ProducerMessage>();
    std::optional<ProducerMessage> message = std::exchange(line_->down_, std::nullopt);
    line_->Changed();
    return message;
  }
  void Cancel() override { line_->Cut(); }
  Status Finish() override { return Status(Code::kIoError, "cut"); }

 private:
  const std::shared_ptr<Line> line_;
};

/// An engine with its threads.
struct Side {
  explicit Side(uint64_t seed) : store(seed) {
    engine::EngineOptions options;
    options.vbuckets = kVbuckets;
    options.checkpoint_age_max_ms = 200;
    engine::EngineDeps deps;
    deps.clock = &clock;
    deps.store = std::make_unique<storage::ForwardingStore>(&store);
    deps.seed = seed;
    Result<std::unique_ptr<Engine>> opened = Engine::Open(options, std::move(deps));
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    if (opened.ok()) engine = std::move(opened).value();
  }
  engine::Replication& R() { return engine->replication(); }

  SystemClock clock;
  storage::MemoryStore store;
  std::unique_ptr<Engine> engine;
};

class TapSession : public ::testing::Test {
 protected:
  void TearDown() override { Stop(); }

  /// b follows a.
  void Follow() {
    std::vector<Vbid> all;
    for (uint16_t i = 0; i < kVbuckets; ++i) all.push_back(Vbid(i));
    const engine::PendingRef demoted = b.R().Demote(all, VbucketState::kReplica);
    ASSERT_TRUE(Eventually([&] { return demoted->ready(); }));
    ASSERT_TRUE(demoted->status().ok()) << demoted->status().ToString();
    ConsumerSession::Options options;
    options.address = "a";
    options.consumer.name = "b";
    options.backoff_min_ns = 1'000'000;
    following_ = std::make_unique<ConsumerSession>(b.R(), b.clock, options,
                                                   [this](const std::string& /*address*/) { return Dial(); });
  }
  /// b has what a had before, and follows memory.
  void FollowInSync() {
    ASSERT_EQ(Set("before", "value"), Code::kOk);
    Follow();
    ASSERT_TRUE(Eventually([&] { return Same(); }));
  }
  void Stop() {
    following_.reset();
    std::vector<std::thread> serving;
    {
      MutexLock lock(mutex_);
      serving.swap(serving_);
    }
    for (std::thread& thread : serving) thread.join();
  }
  bool Same() {
    return a.engine->HighSeqnos(std::nullopt) == b.engine->HighSeqnos(std::nullopt) &&
           a.engine->Digest() == b.engine->Digest();
  }
  std::shared_ptr<Line> line() {
    MutexLock lock(mutex_);
    return line_;
  }
  ProducerSession* session() {
    MutexLock lock(mutex_);
    return session_;
  }
  Code Set(const std::string& key, const std::string& value) {
    engine::StoreRequest request;
    request.value = value;
    return a.engine->Store(a.engine->MakeKey(key), request, nullptr).code;
  }
  /// As a connection's thread does with a batch.
  void SetAsConnection(const std::string& key, const std::string& value) {
    const engine::AnnounceLater announce_later = a.engine->AnnounceAtEnd();
    ASSERT_EQ(Set(key, value), Code::kOk);
  }
  /// Sets `count` keys one after the other with pauses; how many were sent by the thread that did so.
  int SentHere(int count, bool as_connection, const std::string& value = "value") {
    int here = 0;
    std::thread([&] {
      for (int i = 0; i < count; ++i) {
        const std::string key = "key" + std::to_string(i);
        const uint64_t before = line()->chunks();
        if (as_connection) {
          SetAsConnection(key, value);
        } else {
          EXPECT_EQ(Set(key, value), Code::kOk);
        }
        if (line()->chunks() > before && line()->writer() == std::this_thread::get_id()) ++here;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    }).join();
    return here;
  }

  Side a{1}, b{2};
  ProducerSession::Options producing;

 private:
  Result<std::unique_ptr<ConsumerLink>> Dial() {
    auto line = std::make_shared<Line>();
    MutexLock lock(mutex_);
    line_ = line;
    serving_.emplace_back([this, line] { Serve(line); });
    return std::unique_ptr<ConsumerLink>(std::make_unique<Line::Far>(line));
  }
  void Serve(const std::shared_ptr<Line>& line) {
    Line::Near near(line);
    Result<std::optional<ConsumerMessage>> hello = near.Read();
    while (!hello->has_value() && !near.over()) {
      near.Wait(10'000'000, true);
      hello = near.Read();
    }
    if (!hello->has_value()) return;
    producing.producer.name = "a";
    ProducerSession session(a.R(), a.clock, producing, near);
    SetSession(&session);
    session.Run(**hello);
    SetSession(nullptr);
  }
  void SetSession(ProducerSession* session) {
    MutexLock lock(mutex_);
    session_ = session;
  }

  Mutex mutex_;
  std::shared_ptr<Line> line_ CAIRN_GUARDED_BY(mutex_);
  ProducerSession* session_ CAIRN_GUARDED_BY(mutex_) = nullptr;
  std::vector<std::thread> serving_ CAIRN_GUARDED_BY(mutex_);
  std::unique_ptr<ConsumerSession> following_;
};

TEST_F(TapSession, WhatAConnectionsThreadHasExecutedItSendsItself) {
  FollowInSync();
  // Not each one: the pump may be at work, and a thread does not send all the time.
  EXPECT_GT(SentHere(200, true), 20);
  EXPECT_TRUE(Eventually([&] { return Same(); }));
}

TEST_F(TapSession, OthersLeaveItToThePump) {
  FollowInSync();
  EXPECT_EQ(SentHere(50, false), 0);
  EXPECT_TRUE(Eventually([&] { return Same(); }));
}

TEST_F(TapSession, ALargeItemIsLeftToThePump) {
  FollowInSync();
  EXPECT_EQ(SentHere(50, true, std::string(100'000, 'v')), 0);
  EXPECT_TRUE(Eventually([&] { return Same(); }));
  EXPECT_GT(SentHere(100, true), 5) << "small ones behind them are not";
  EXPECT_TRUE(Eventually([&] { return Same(); }));
}

TEST_F(TapSession, AThreadThatSendsAllTheTimeLeavesItToThePump) {
  producing.here_share = 1'000'000'000;
  FollowInSync();
  EXPECT_LE(SentHere(50, true), 1) << "a billionth of its time is over with the first one";
  EXPECT_TRUE(Eventually([&] { return Same(); }));
}

TEST_F(TapSession, NobodyWaitsForALineThatTakesNothing) {
  FollowInSync();
  line()->Block(true);
  EXPECT_EQ(SentHere(50, true), 0);
  EXPECT_FALSE(Same());
  line()->Block(false);
  EXPECT_TRUE(Eventually([&] { return Same(); }));
  EXPECT_FALSE(line()->cut());
}

TEST_F(TapSession, ALineThatTakesNothingForTooLongIsCutAndDialledAnew) {
  producing.stuck_ns = 50'000'000;
  FollowInSync();
  const std::shared_ptr<Line> stuck = line();
  stuck->Block(true);
  SetAsConnection("key", "value");
  EXPECT_TRUE(Eventually([&] {
    if (ProducerSession* const serving = session(); serving != nullptr && !stuck->cut()) {
      serving->CancelIfStuck(a.clock.SteadyNs());
    }
    return stuck->cut();
  }));
  EXPECT_TRUE(Eventually([&] { return Same(); }));
  EXPECT_NE(line(), stuck);
}

TEST_F(TapSession, AGoodbyeIsSaidByThePumpAndTheConsumerComesBack) {
  FollowInSync();
  ASSERT_TRUE(Eventually([&] { return session() != nullptr; }));
  const std::shared_ptr<Line> first = line();
  session()->End(EndReason::kShutdown, "for a moment");
  EXPECT_TRUE(Eventually([&] { return first->cut(); }));
  SetAsConnection("key", "value");
  EXPECT_TRUE(Eventually([&] { return Same(); }));
}

TEST_F(TapSession, ManyThreadsSendAndNothingIsLostOrPassed) {
  constexpr int kThreads = 4;
  constexpr int kBatches = 4000;
  Follow();
  std::atomic<bool> stop{false};
  std::thread hostile([&] {
    for (int round = 0; !stop; ++round) {
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      const std::shared_ptr<Line> now = line();
      if (now == nullptr) continue;
      if (round % 40 == 39) {
        now->Cut();
      } else {
        now->Block(round % 4 == 0);
      }
    }
    line()->Block(false);
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < kThreads; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < kBatches; ++i) {
        {
          const engine::AnnounceLater announce_later = a.engine->AnnounceAtEnd();
          for (int k = 0; k < 5; ++k) {
            const std::string key = "key" + std::to_string((i * 7 + k * 13 + t) % 300);
            EXPECT_EQ(Set(key, std::to_string(t) + "-" + std::to_string(i)), Code::kOk);
          }
        }
        if (i % 8 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  stop = true;
  hostile.join();
  EXPECT_TRUE(Eventually([&] { return Same(); }));
}

}  // namespace
}  // namespace cairn::tap
