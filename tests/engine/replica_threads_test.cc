// A replica's engine with its threads, where the store makes one of them wait, or refuses: what is decided
// meanwhile counts, and nobody asks the store again without a pause.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/replication.h"
#include "tests/base/temp_dir.h"
#include "tests/engine/update_fixture.h"
#include "tests/support/patience.h"

namespace cairn::engine {
namespace {

class ReplicaThreads : public ::testing::Test {
 protected:
  using OnWrite = std::function<Status(const storage::LogBatch&)>;
  static constexpr Vbid kVb{0};
  static constexpr uint64_t kOperations = 20;  // two checkpoints of 10

  void SetUp() override {
    SetLogLevel(LogLevel::kOff);
    gate_.refuse = [this](const storage::LogBatch& batch) {
      OnWrite on_write;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        on_write = on_write_;
      }
      return on_write ? on_write(batch) : Status::Ok();
    };
  }
  void TearDown() override {
    engine_.reset();
    SetLogLevel(LogLevel::kOff);
  }
  void SetOnWrite(OnWrite on_write) {
    const std::lock_guard<std::mutex> lock(mutex_);
    on_write_ = std::move(on_write);
  }
  void Open() {
    EngineOptions options;
    options.vbuckets = 1;
    options.flush_delay_ms = 1;
    options.sync_interval_ms = 5;
    EngineDeps deps;
    deps.clock = &clock_;
    deps.store = std::make_unique<storage::ForwardingStore>(&gate_);
    deps.seed = 9;
    auto opened = Engine::Open(options, std::move(deps));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    engine_ = std::move(opened).value();
    std::promise<Status> made;
    engine_->SetVbucketState(kVb, VbucketState::kReplica,
                             [&](Status status) { made.set_value(std::move(status)); });
    ASSERT_TRUE(made.get_future().get().ok());
    for (uint64_t from = 1; from <= kOperations; from += 10) {
      ASSERT_EQ(Apply(from, from + 9), Code::kOk);
      const CheckpointId open = At().open_checkpoint;
      ASSERT_TRUE(R().EndCheckpoint(kVb, {open, Seqno(from + 9), std::nullopt}).ok());
    }
    ASSERT_TRUE(Until([this] { return At().persisted == Seqno(kOperations); }));
  }
  Code Apply(uint64_t from, uint64_t to) {
    std::vector<ItemRef> items;
    for (uint64_t seqno = from; seqno <= to; ++seqno) {
      items.push_back(
          Item::NewValue("key-" + std::to_string(seqno), "value", ItemMeta{0, 0, Cas(seqno), Seqno(seqno)}));
    }
    return R().Apply(kVb, {At().open_checkpoint, Seqno(from - 1), Seqno(to), Seqno()}, items);
  }
  size_t Tries() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return tries_.size();
  }
  Replication& R() { return engine_->replication(); }
  VbucketPosition At() {
    const Result<VbucketPosition> at = R().Position(kVb);
    EXPECT_TRUE(at.ok()) << at.status().ToString();
    return at.ok() ? at.value() : VbucketPosition();
  }
  /// False after 20 seconds.
  static bool Until(const std::function<bool()>& condition) {
    return PatientlyUntil(std::chrono::seconds(20), condition);
  }

  SystemClock clock_;
  storage::MemoryStore store_{11};
  InterceptedStore gate_{&store_};
  std::mutex mutex_;
  OnWrite on_write_;
  std::atomic<bool> writing_{false};
  std::atomic<bool> refuses_{true};
  std::vector<std::chrono::steady_clock::time_point> tries_;
  std::unique_ptr<Engine> engine_;
};

// It was looked at once, and emptied later whatever it was by then.
TEST_F(ReplicaThreads, WhatIsMadeDeadBeforeItIsEmptiedStaysAsItIs) {
  Open();
  if (HasFatalFailure()) return;
  std::promise<void> go_on;
  const std::shared_future<void> may_go_on = go_on.get_future().share();
  // Emptying waits for the flusher's cycle that is under way, with the log held already.
  SetOnWrite([this, may_go_on](const storage::LogBatch& batch) {
    if (!batch.records.empty() && !writing_.exchange(true)) may_go_on.wait();
    return Status::Ok();
  });
  ASSERT_EQ(Apply(kOperations + 1, kOperations + 2), Code::kOk);
  EXPECT_TRUE(Until([&] { return writing_.load(); }));
  const PendingRef begun = R().BeginSnapshot(kVb, Seqno(0), Seqno(1000));
  EXPECT_TRUE(Until([&] { return Apply(kOperations + 3, kOperations + 2) == Code::kWouldBlock; }));
  const PendingRef demoted = R().Demote({kVb}, VbucketState::kDead);
  EXPECT_TRUE(Until([&] { return At().state == VbucketState::kDead; }));
  go_on.set_value();
  ASSERT_TRUE(Until([&] { return begun->ready() && demoted->ready(); }));
  EXPECT_EQ(begun->status().code(), Code::kNotMyVbucket) << begun->status().ToString();
  EXPECT_TRUE(demoted->status().ok()) << demoted->status().ToString();
  EXPECT_EQ(At().high, Seqno(kOperations + 2));
  EXPECT_EQ(At().items, kOperations + 2);
  EXPECT_FALSE(At().in_snapshot);
  // Its log goes on.
  EXPECT_TRUE(Until([&] { return At().persisted == Seqno(kOperations + 2); }));
}

// It was tried a hundred times a second, with a line in the log each.
TEST_F(ReplicaThreads, ARollbackThatTheStoreRefusesIsTriedAgainAfterAPause) {
  const TempDir dir;
  const std::string path = dir.path() + "/log";
  ASSERT_TRUE(InitLog({.level = LogLevel::kError, .file = path}).ok());
  Open();
  if (HasFatalFailure()) return;
  SetOnWrite([this](const storage::LogBatch& batch) {
    if (batch.log_cuts.empty()) return Status::Ok();
    const std::lock_guard<std::mutex> lock(mutex_);
    tries_.push_back(std::chrono::steady_clock::now());
    return refuses_ ? Status(Code::kNoSpace, "the disk is full") : Status::Ok();
  });
  const PendingRef done = R().Rollback(kVb, Seqno(10));
  EXPECT_TRUE(Until([&] { return Tries() >= 4; }));
  EXPECT_FALSE(done->ready());
  refuses_ = false;
  ASSERT_TRUE(Until([&] { return done->ready(); })) << Tries() << " tries";
  // The same text is logged once in five seconds. All of this takes one, unless the process is held up.
  const auto took = std::chrono::steady_clock::now() - tries_[0];
  EXPECT_TRUE(done->status().ok()) << done->status().ToString();
  EXPECT_EQ(At().high, Seqno(10));
  EXPECT_GE(tries_[3] - tries_[0], std::chrono::milliseconds(500));
  engine_.reset();
  FlushLog();
  std::ifstream log(path);
  int lines = 0;
  for (std::string line; std::getline(log, line);) {
    lines += line.find("cannot roll back: ") != std::string::npos ? 1 : 0;
    EXPECT_EQ(line.find("cannot be rolled back"), std::string::npos) << line;
  }
  EXPECT_GE(lines, 1);
  EXPECT_LE(lines, 1 + took / std::chrono::seconds(5));
  ASSERT_TRUE(InitLog({}).ok());
}

}  // namespace
}  // namespace cairn::engine
