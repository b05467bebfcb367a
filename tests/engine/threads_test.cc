// The engine with its threads: clients that read and write, an operator who starts, completes and reverts
// updates, flushes, changes vbuckets' states and looks at statistics, memory short enough for ejection, and a
// disk that fails now and then. Made to be run under ThreadSanitizer.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/storage/memory_store.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/patience.h"

namespace cairn::engine {
namespace {

class BlockingWaiter final : public Waiter {
 public:
  void Wake() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    woken_ = true;
    wake_.notify_all();
  }
  /// False after ten seconds.
  bool Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    return Patiently(std::chrono::seconds(10),
                     [&](auto slice) { return wake_.wait_for(lock, slice, [this] { return woken_; }); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool woken_ = false;
};

/// Repeats an operation as long as it is told to wait.
template <class Operation>
auto Blocking(Operation&& operation) {
  for (;;) {
    auto waiter = std::make_shared<BlockingWaiter>();
    auto result = operation(waiter);
    if (result.code != Code::kWouldBlock) return result;
    if (!waiter->Wait()) {
      ADD_FAILURE() << "a client was never woken";
      result.code = Code::kTimeout;
      return result;
    }
  }
}

class Threads : public ::testing::Test {
 protected:
  static constexpr int kKeys = 1500;
  static constexpr uint16_t kUnsteady = 3;  // the vbucket that changes its state

  void SetUp() override { SetLogLevel(LogLevel::kOff); }

  void Open(uint32_t vbuckets = 4, uint64_t memory_quota = 3u << 20) {
    EngineOptions options;
    options.vbuckets = vbuckets;
    options.memory_quota = memory_quota;
    options.flush_delay_ms = 1;
    options.sync_interval_ms = 20;
    options.checkpoint_items_max = 200;
    options.checkpoint_age_max_ms = 50;
    options.expiry_pager_interval_ms = 50;
    EngineDeps deps;
    deps.clock = &clock_;
    deps.store = std::make_unique<storage::ForwardingStore>(&store_);
    deps.seed = 5;
    auto opened = Engine::Open(options, std::move(deps));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    engine_ = std::move(opened).value();
  }

  enum class Order { kStart, kComplete, kRevert };
  Result<UpdateStatus> Give(Order order) {
    auto promise = std::make_shared<std::promise<Result<UpdateStatus>>>();
    auto done = [promise](Result<UpdateStatus> result) { promise->set_value(std::move(result)); };
    auto answer = promise->get_future();
    if (order == Order::kStart) engine_->StartUpdate({}, done);
    if (order == Order::kComplete) engine_->CompleteUpdate({}, done);
    if (order == Order::kRevert) engine_->RevertUpdate({}, done);
    const bool answered = Patiently(std::chrono::seconds(60), [&](auto slice) {
      return answer.wait_for(slice) == std::future_status::ready;
    });
    if (!answered) return Status(Code::kTimeout, "never answered");
    return answer.get();
  }
  Status SetState(Vbid vbucket, VbucketState state) {
    std::promise<Status> promise;
    engine_->SetVbucketState(vbucket, state, [&](Status status) { promise.set_value(std::move(status)); });
    return promise.get_future().get();
  }
  Status DeleteVbucket(Vbid vbucket) {
    std::promise<Status> promise;
    engine_->DeleteVbucket(vbucket, [&](Status status) { promise.set_value(std::move(status)); });
    return promise.get_future().get();
  }

  static std::string Key(uint64_t n) { return "key-" + std::to_string(n); }
  static bool MayBe(Code code) {
    return code == Code::kOk || code == Code::kNotFound || code == Code::kNotStored ||
           code == Code::kTmpOom || code == Code::kTmpFail || code == Code::kNotMyVbucket;
  }

  // A window's writes carry its number. `round_` changes only while no write is under way, so that after the
  // answer to a REVERT none of that window's writes can still be coming.
  void SetRound(uint64_t round) {
    const std::unique_lock<std::shared_mutex> lock(round_mutex_);
    round_ = round;
  }
  void WriteSome(Random& random, uint64_t* last_cas, const std::string& own) {
    const std::shared_lock<std::shared_mutex> lock(round_mutex_);
    const std::string value = std::to_string(round_) + ":" + std::string(random.Uniform(3000), 'v');
    StoreRequest request;
    request.value = value;
    if (random.OneIn(10)) request.expiry = engine_->AbsoluteExpiry(1);
    if (random.OneIn(5)) request.mode = StoreMode::kAdd;
    const std::string name = Key(random.Uniform(kKeys));
    const OpKey key = engine_->MakeKey(name);
    const uint64_t dice = random.Uniform(10);
    Code code = Code::kOk;
    if (dice == 0) {
      code = Blocking([&](const WaiterRef& w) { return engine_->Delete(key, Cas(), w); }).code;
    } else if (dice == 1) {
      const uint32_t expiry = engine_->AbsoluteExpiry(2);
      code = Blocking([&](const WaiterRef& w) { return engine_->Touch(key, expiry, w); }).code;
    } else {
      code = Blocking([&](const WaiterRef& w) { return engine_->Store(key, request, w); }).code;
    }
    EXPECT_TRUE(MayBe(code)) << CodeName(code);
    request = {};
    request.value = value;
    const OpKey own_key = engine_->MakeKey(own);
    const auto stored = Blocking([&](const WaiterRef& w) { return engine_->Store(own_key, request, w); });
    if (stored.code != Code::kOk) return;
    EXPECT_GT(stored.cas.get(), *last_cas) << "the CAS of " << own << " went back";
    *last_cas = stored.cas.get();
  }
  void ReadSome(Random& random) {
    const uint64_t reverted = reverted_.load();
    const std::string name = Key(random.Uniform(kKeys));
    const auto got = Blocking([&](const WaiterRef& w) { return engine_->Get(engine_->MakeKey(name), w); });
    EXPECT_TRUE(MayBe(got.code)) << CodeName(got.code);
    if (got.code != Code::kOk) return;
    const uint64_t round = std::stoull(std::string(got.item->value()));
    if (round % 2 == 1) {
      EXPECT_GT(round, reverted) << name << " shows a window that was reverted";
    }
  }
  void Client(uint64_t seed) {
    Random random(seed);
    uint64_t last_cas = 0;
    const std::string own = "own-" + std::to_string(seed);
    while (!stop_.load()) {
      WriteSome(random, &last_cas, own);
      for (int i = 0; i < 4; ++i) ReadSome(random);
    }
  }
  void Look() {
    while (!stop_.load()) {
      for (const char* group : {"", "settings", "checkpoint", "vbucket", "hash", "timings", "online_update",
                                "warmup", "memory", "kvstore"}) {
        EXPECT_TRUE(engine_->Stats(group, "", [](std::string_view, std::string_view) {}).ok());
      }
      std::string position;
      do {
        auto page = engine_->DumpItems(position, 500);
        position = page.ok() ? page->position : "";
      } while (!position.empty());
      engine_->HighSeqnos(std::nullopt);
      static_cast<void>(engine_->CreateCheckpoint(Vbid(1)));
      const uint64_t ticket = engine_->CommitTicket();
      auto waiter = std::make_shared<BlockingWaiter>();
      engine_->AwaitCommit(ticket, waiter);
      EXPECT_TRUE(waiter->Wait()) << "a commit was never told";
    }
  }
  void ChangeVbucket() {
    while (!stop_.load()) {
      const Vbid vbucket(kUnsteady);
      static_cast<void>(SetState(vbucket, VbucketState::kPending));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      static_cast<void>(SetState(vbucket, VbucketState::kDead));
      static_cast<void>(DeleteVbucket(vbucket));  // refused in an update
      static_cast<void>(SetState(vbucket, VbucketState::kActive));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  /// One update; odd rounds are reverted, even ones completed.
  void Update(uint64_t round) {
    auto started = Give(Order::kStart);
    for (int i = 0; i < 20 && disk_fails_ && !started.ok(); ++i) {
      EXPECT_EQ(engine_->update_status().phase, UpdatePhase::kNormal) << "a START that failed left something";
      started = Give(Order::kStart);
    }
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    SetRound(round);
    std::this_thread::sleep_for(std::chrono::milliseconds(15));
    EXPECT_EQ(engine_->FlushAll(0).code(), Code::kNotSupported);
    SetRound(0);
    const bool revert = round % 2 == 1;
    const auto ended = Give(revert ? Order::kRevert : Order::kComplete);
    ASSERT_TRUE(ended.ok()) << ended.status().ToString();
    EXPECT_EQ(ended.value().history.front().committed, !revert);
    EXPECT_TRUE(ended.value().history.front().digest_equal);
    if (revert) reverted_.store(round);
  }
  std::map<std::string, std::pair<std::string, uint64_t>> Everything() {
    std::map<std::string, std::pair<std::string, uint64_t>> all;
    for (uint64_t n = 0; n < kKeys; ++n) {
      const std::string name = Key(n);
      const auto got = Blocking([&](const WaiterRef& w) { return engine_->Get(engine_->MakeKey(name), w); });
      if (got.code == Code::kOk && got.item->expiry() == 0) {
        all[name] = {std::string(got.item->value()), got.item->cas().get()};
      }
    }
    return all;
  }
  using Contents = std::map<std::string, std::pair<std::string, uint64_t>>;
  /// What is not the same, key by key: empty when all is. Values are named by their first bytes.
  std::string Difference(const Contents& before, const Contents& after) {
    const auto shown = [](const Contents& contents, const std::string& key) {
      const auto it = contents.find(key);
      if (it == contents.end()) return std::string("absent");
      return it->second.first.substr(0, 8) + " cas " + std::to_string(it->second.second);
    };
    std::string text;
    int left = 20;
    for (const Contents* contents : {&before, &after}) {
      for (const auto& [key, version] : *contents) {
        const bool same = before.contains(key) && after.contains(key) && before.at(key) == after.at(key);
        if (same || (contents == &after && before.contains(key)) || left-- <= 0) continue;
        const uint32_t vb = engine_->MakeKey(key).vbucket.get();
        text += key + " (vb " + std::to_string(vb) + "): " + shown(before, key) + " -> " + shown(after, key) +
                "\n";
      }
    }
    return text;
  }
  void Chaos(bool disk_fails, bool vbucket_changes) {
    disk_fails_ = disk_fails;
    Open();
    std::vector<std::thread> threads;
    for (uint64_t seed = 1; seed <= 3; ++seed) threads.emplace_back([this, seed] { Client(seed); });
    threads.emplace_back([this] { Look(); });
    if (vbucket_changes) threads.emplace_back([this] { ChangeVbucket(); });
    const char* text = std::getenv("CAIRN_THREAD_ROUNDS");
    const uint64_t rounds = text == nullptr ? 24 : std::strtoull(text, nullptr, 10);
    for (uint64_t round = 1; round <= rounds && !HasFatalFailure(); ++round) {
      if (disk_fails) store_.FailNth(1 + round % 7, Status(Code::kAmbiguous, "injected"), false);
      Update(round);
      if (round % 5 == 0) {
        EXPECT_TRUE(engine_->FlushAll(0).ok());
      }
    }
    stop_ = true;
    for (std::thread& thread : threads) thread.join();
    if (HasFatalFailure()) return;
    const auto before = Everything();
    Status down = engine_->Shutdown(true);
    EXPECT_TRUE(down.ok()) << down.ToString();
    engine_.reset();
    Open();
    EXPECT_EQ(Difference(before, Everything()), "") << "after the restart";
  }

  SystemClock clock_;
  storage::MemoryStore store_{3};
  std::unique_ptr<Engine> engine_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> reverted_{0};
  std::shared_mutex round_mutex_;
  uint64_t round_ = 0;
  bool disk_fails_ = false;
};

TEST_F(Threads, UpdatesUnderTraffic) { Chaos(false, false); }
TEST_F(Threads, UpdatesUnderTrafficWithADiskThatFails) { Chaos(true, false); }
TEST_F(Threads, UpdatesUnderTrafficWithAVbucketThatComesAndGoes) { Chaos(false, true); }

TEST_F(Threads, AllVbucketsThereCanBeMoveAsOne) {
  Open(kVbucketCountMax, uint64_t{1} << 30);
  StoreRequest request;
  request.value = "old";
  for (uint64_t n = 0; n < kKeys; ++n) {
    ASSERT_EQ(engine_->Store(engine_->MakeKey(Key(n)), request, nullptr).code, Code::kOk);
  }
  const uint64_t digest = engine_->Digest();
  ASSERT_TRUE(Give(Order::kStart).ok());
  request.value = "new";
  for (uint64_t n = 0; n < kKeys + 100; ++n) {
    ASSERT_EQ(engine_->Store(engine_->MakeKey(Key(n)), request, nullptr).code, Code::kOk);
  }
  ASSERT_TRUE(Give(Order::kRevert).ok());
  EXPECT_EQ(engine_->Digest(), digest);
  ASSERT_TRUE(engine_->Shutdown(true).ok());
}

}  // namespace
}  // namespace cairn::engine
