// When the merging thread begins a pass.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/replication.h"
#include "engine/storage/memory_store.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/patience.h"

namespace cairn::engine {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1'000 * kMs;
constexpr Vbid kVb{0};

class MergerThreads : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.vbuckets = 1;
    options.sync_interval_ms = 5;
    EngineDeps deps;
    deps.clock = &clock_;
    deps.store = std::make_unique<storage::ForwardingStore>(&store_);
    deps.seed = 9;
    auto opened = Engine::Open(options, std::move(deps));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    engine_ = std::move(opened).value();
  }
  VbucketPosition At() {
    const Result<VbucketPosition> at = engine_->replication().Position(kVb);
    EXPECT_TRUE(at.ok()) << at.status().ToString();
    return at.ok() ? at.value() : VbucketPosition();
  }
  /// They are on disk, in the log, on return.
  void Set(int count) {
    for (int i = 0; i < count; ++i) {
      StoreRequest request;
      request.value = "value";
      const std::string name = "key-" + std::to_string(i);  // a key looks at it
      const OpKey key = engine_->MakeKey(name);
      ASSERT_EQ(engine_->Store(key, request, std::make_shared<WakeFlag>()).code, Code::kOk);
    }
    ASSERT_TRUE(UntilWithClock(kMs, [this] { return At().persisted == At().high; }));
  }
  /// The clock goes on by `step_ns` every ten milliseconds; false after 20 seconds.
  bool UntilWithClock(int64_t step_ns, const std::function<bool()>& condition) {
    return PatientlyUntil(std::chrono::seconds(20), [&] {
      clock_.Advance(step_ns);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return condition();
    });
  }
  bool MergedWithin(int64_t ns) {
    const int64_t until_ns = clock_.SteadyNs() + ns;
    return UntilWithClock(100 * kMs,
                          [&] { return At().merged == At().persisted || clock_.SteadyNs() > until_ns; }) &&
           At().merged == At().persisted;
  }

  ManualClock clock_;
  storage::MemoryStore store_{11};
  std::unique_ptr<Engine> engine_;
};

TEST_F(MergerThreads, PassesWaitWhileDataIsCopied) {
  Set(200);
  ASSERT_TRUE(MergedWithin(10 * kSecond));
  const Seqno merged = At().merged;
  Result<std::unique_ptr<Backfill>> copy = engine_->replication().OpenBackfill(kVb, Seqno(0));
  ASSERT_TRUE(copy.ok()) << copy.status().ToString();
  Set(200);
  // Ten seconds of it; a pass looks whether it is due every 50 ms of real time.
  for (int i = 0; i < 100; ++i) {
    clock_.Advance(100 * kMs);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const Result<Backfill::Chunk> chunk = (*copy)->Next(1);
    ASSERT_TRUE(chunk.ok()) << chunk.status().ToString();
    ASSERT_EQ(chunk->kind, Backfill::Kind::kData);
    ASSERT_FALSE(chunk->items.empty());
  }
  EXPECT_EQ(At().merged, merged);
  // Nobody reads any more, though it is open.
  EXPECT_TRUE(MergedWithin(10 * kSecond));
}

// Who copies all the time does not keep the log from being released.
TEST_F(MergerThreads, PassesWaitForTwoMinutesAtMost) {
  Set(200);
  ASSERT_TRUE(MergedWithin(10 * kSecond));
  Set(200);
  const auto copying = [&] {
    const Result<std::unique_ptr<Backfill>> copy = engine_->replication().OpenBackfill(kVb, Seqno(0));
    return (copy.ok() || copy.code() == Code::kBusy) && At().merged == At().persisted;
  };
  const int64_t began_ns = clock_.SteadyNs();
  EXPECT_TRUE(UntilWithClock(400 * kMs, copying));
  EXPECT_GT(clock_.SteadyNs() - began_ns, 60 * kSecond);
}

}  // namespace
}  // namespace cairn::engine
