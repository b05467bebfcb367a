#include "base/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace cairn {
namespace {

using testing::ElementsAre;
using StopMode = ThreadExecutor::StopMode;

constexpr int64_t kMs = 1'000'000;

/// A task that holds its executor's thread until Open() is called.
class Gate {
 public:
  Task Closed() {
    return [this] {
      entered_.set_value();
      opened_.get_future().wait();
    };
  }
  void WaitUntilEntered() { entered_.get_future().wait(); }
  void Open() { opened_.set_value(); }

 private:
  std::promise<void> entered_;
  std::promise<void> opened_;
};

TEST(ThreadExecutor, RunsInOrderOnItsOwnNamedThread) {
  ThreadExecutor executor({.name = "a-name-that-is-too-long"});
  std::vector<int> order;
  std::promise<std::string> name;
  ASSERT_TRUE(executor.Post([&] { order.push_back(1); }));
  ASSERT_TRUE(executor.Post([&] { order.push_back(2); }));
  ASSERT_TRUE(executor.Post([&] {
    std::array<char, 32> text{};
    pthread_getname_np(pthread_self(), text.data(), text.size());
    EXPECT_TRUE(executor.OnThread());
    name.set_value(text.data());
  }));
  EXPECT_EQ(name.get_future().get(), "a-name-that-is-");
  EXPECT_FALSE(executor.OnThread());
  EXPECT_THAT(order, ElementsAre(1, 2));
}

TEST(ThreadExecutor, RefusesWhenFullAndTakesAgainLater) {
  ThreadExecutor executor({.pending_max = 2});
  Gate gate;
  ASSERT_TRUE(executor.Post(gate.Closed()));
  gate.WaitUntilEntered();
  EXPECT_TRUE(executor.Post([] {}));
  EXPECT_TRUE(executor.PostAfter(3'600'000 * kMs, [] {}));
  EXPECT_EQ(executor.pending(), 2U);
  EXPECT_FALSE(executor.Post([] { FAIL() << "was refused"; }));
  EXPECT_FALSE(executor.PostAfter(1, [] { FAIL() << "was refused"; }));
  gate.Open();
  while (executor.pending() > 1) std::this_thread::yield();
  EXPECT_TRUE(executor.Post([] {}));
}

TEST(ThreadExecutor, DrainRunsWhatIsReadyAndDropsTimers) {
  ThreadExecutor executor({});
  Gate gate;
  int ran = 0;
  const auto owned_by_timer = std::make_shared<int>(0);
  ASSERT_TRUE(executor.Post(gate.Closed()));
  gate.WaitUntilEntered();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(executor.Post([&] { ++ran; }));
  ASSERT_TRUE(executor.Post([&] { EXPECT_FALSE(executor.Post([] {})) << "is stopping"; }));
  ASSERT_TRUE(executor.PostAfter(3'600'000 * kMs, [owned_by_timer] { FAIL(); }));
  std::thread stopper([&] { executor.Stop(StopMode::kDrain); });
  while (executor.Post([] {})) std::this_thread::yield();  // until Stop has begun
  gate.Open();
  stopper.join();
  EXPECT_EQ(ran, 10);
  EXPECT_EQ(owned_by_timer.use_count(), 1) << "dropped tasks are destroyed";
  EXPECT_FALSE(executor.Post([] {}));
  executor.Stop(StopMode::kDrain);  // a second time: nothing
}

TEST(ThreadExecutor, DropRunsNothingMore) {
  ThreadExecutor executor({});
  Gate gate;
  const auto owned = std::make_shared<int>(0);
  ASSERT_TRUE(executor.Post(gate.Closed()));
  gate.WaitUntilEntered();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(executor.Post([owned] { FAIL(); }));
  std::thread stopper([&] { executor.Stop(StopMode::kDrop); });
  while (executor.pending() > 0) std::this_thread::yield();
  gate.Open();
  stopper.join();
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(ThreadExecutor, TimersFireInOrderOfTimeAndNotEarly) {
  ThreadExecutor executor({});
  const SystemClock clock;
  std::vector<int> order;
  std::promise<void> done;
  const int64_t start_ns = clock.SteadyNs();
  int64_t fired_ns = 0;
  ASSERT_TRUE(executor.PostAfter(30 * kMs, [&] {
    order.push_back(3);
    fired_ns = clock.SteadyNs();
    done.set_value();
  }));
  ASSERT_TRUE(executor.PostAfter(10 * kMs, [&] { order.push_back(2); }));
  ASSERT_TRUE(executor.PostAfter(0, [&] { order.push_back(1); }));
  done.get_future().wait();
  EXPECT_GE(fired_ns - start_ns, 30 * kMs);
  executor.Stop(StopMode::kDrain);
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST(ThreadExecutor, AnEarlierTimerShortensTheWait) {
  ThreadExecutor executor({});
  std::promise<void> fired;
  ASSERT_TRUE(executor.PostAfter(INT64_MAX, [] { FAIL(); }));  // must not wrap into the past either
  ASSERT_TRUE(executor.PostAfter(5 * kMs, [&] { fired.set_value(); }));
  EXPECT_EQ(fired.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST(ThreadExecutor, DestroysATaskAtItsEndAndNotAtTheNextOne) {
  ThreadExecutor executor({});
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = owned;
  ASSERT_TRUE(executor.Post([held = std::move(owned)] {}));
  const SystemClock clock;
  const int64_t deadline_ns = clock.SteadyNs() + 10'000 * kMs;
  while (!watch.expired() && clock.SteadyNs() < deadline_ns) std::this_thread::yield();
  EXPECT_TRUE(watch.expired());
}

TEST(ThreadExecutor, ManyPostersLoseNothing) {
  ThreadExecutor executor({});
  int ran = 0;  // by the executor's thread only
  std::vector<std::thread> posters;
  posters.reserve(4);
  for (int t = 0; t < 4; ++t) {
    posters.emplace_back([&] {
      for (int i = 0; i < 2'000; ++i) EXPECT_TRUE(executor.Post([&] { ++ran; }));
    });
  }
  for (std::thread& poster : posters) poster.join();
  executor.Stop(StopMode::kDrain);
  EXPECT_EQ(ran, 8'000);
}

TEST(ThreadExecutorDeathTest, StopFromItsOwnTaskIsAProgrammerError) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        ThreadExecutor executor({});
        (void)executor.Post([&] { executor.Stop(StopMode::kDrop); });
        executor.Stop(StopMode::kDrain);
      },
      "check failed");
}

TEST(ManualExecutor, RunsOnlyWhenStepped) {
  ManualClock clock;
  ManualExecutor executor(clock);
  std::vector<int> order;
  ASSERT_TRUE(executor.Post([&] { order.push_back(1); }));
  ASSERT_TRUE(executor.Post([&] {
    order.push_back(2);
    EXPECT_TRUE(executor.Post([&] { order.push_back(4); }));
  }));
  ASSERT_TRUE(executor.Post([&] { order.push_back(3); }));
  EXPECT_TRUE(order.empty());
  EXPECT_TRUE(executor.RunOne());
  EXPECT_THAT(order, ElementsAre(1));
  EXPECT_EQ(executor.RunReady(), 3U);
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4));
  EXPECT_FALSE(executor.RunOne());
}

TEST(ManualExecutor, AdvanceStopsAtEachTimer) {
  ManualClock clock;
  ManualExecutor executor(clock);
  const int64_t start_ns = clock.SteadyNs();
  std::vector<std::pair<char, int64_t>> fired;
  const auto note = [&](char name) { fired.emplace_back(name, clock.SteadyNs() - start_ns); };
  ASSERT_TRUE(executor.PostAfter(20, [&] { note('b'); }));
  ASSERT_TRUE(executor.PostAfter(10, [&] {
    note('a');
    EXPECT_TRUE(executor.PostAfter(10, [&] { note('c'); }));  // due with 'b', posted later
    EXPECT_TRUE(executor.PostAfter(25, [&] { note('d'); }));
  }));
  EXPECT_EQ(executor.next_timer_ns() - start_ns, 10);
  EXPECT_EQ(executor.Advance(30), 3U);
  EXPECT_THAT(fired, ElementsAre(std::pair('a', 10), std::pair('b', 20), std::pair('c', 20)));
  EXPECT_EQ(clock.SteadyNs() - start_ns, 30);
  EXPECT_EQ(executor.pending(), 1U);
  EXPECT_EQ(executor.Advance(5), 1U);
  EXPECT_EQ(fired.back(), std::pair('d', int64_t{35}));
}

TEST(ManualExecutor, HasTheSameBound) {
  ManualClock clock;
  ManualExecutor executor(clock, 2);
  EXPECT_TRUE(executor.Post([] {}));
  EXPECT_TRUE(executor.PostAfter(1, [] {}));
  EXPECT_FALSE(executor.Post([] {}));
  EXPECT_FALSE(executor.PostAfter(1, [] {}));
  EXPECT_EQ(executor.RunReady(), 1U);
  EXPECT_TRUE(executor.Post([] {}));
}

TEST(ManualExecutor, ATaskThatPostsItselfEndsAtTheLimit) {
  ManualClock clock;
  ManualExecutor executor(clock);
  Task again = [&] { EXPECT_TRUE(executor.Post(again)); };
  ASSERT_TRUE(executor.Post(again));
  EXPECT_EQ(executor.RunReady(10), 10U);
}

}  // namespace
}  // namespace cairn
