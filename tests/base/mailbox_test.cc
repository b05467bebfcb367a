#include "base/mailbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace cairn {
namespace {

using testing::ElementsAre;

TEST(Mailbox, WakesOnlyWhenItWasEmpty) {
  int wakes = 0;
  Mailbox<int> box(10, [&] { ++wakes; });
  EXPECT_TRUE(box.Push(1));
  EXPECT_TRUE(box.Push(2));
  EXPECT_EQ(wakes, 1);
  std::vector<int> got;
  EXPECT_EQ(box.DrainTo(got), 2U);
  EXPECT_THAT(got, ElementsAre(1, 2));
  EXPECT_TRUE(box.Push(3));
  EXPECT_EQ(wakes, 2);
}

TEST(Mailbox, DrainAppends) {
  Mailbox<int> box(10, [] {});
  std::vector<int> got{7};
  EXPECT_EQ(box.DrainTo(got), 0U);
  EXPECT_TRUE(box.Push(8));
  EXPECT_EQ(box.DrainTo(got), 1U);
  EXPECT_THAT(got, ElementsAre(7, 8));
  EXPECT_EQ(box.size(), 0U);
}

TEST(Mailbox, FullLeavesTheMessageWithTheCaller) {
  Mailbox<std::unique_ptr<int>> box(1, [] {});
  EXPECT_TRUE(box.Push(std::make_unique<int>(1)));
  auto message = std::make_unique<int>(2);
  EXPECT_FALSE(box.Push(std::move(message)));
  ASSERT_NE(message, nullptr);  // NOLINT(bugprone-use-after-move): a refused push promises it
  std::vector<std::unique_ptr<int>> got;
  EXPECT_EQ(box.DrainTo(got), 1U);
  EXPECT_TRUE(box.Push(std::move(message)));
}

TEST(Mailbox, WakeMayPushOrAskForTheSize) {
  // The lock is not held while the owner is woken.
  Mailbox<int>* self = nullptr;
  size_t seen = 0;
  Mailbox<int> box(10, [&] { seen = self->size(); });
  self = &box;
  EXPECT_TRUE(box.Push(1));
  EXPECT_EQ(seen, 1U);
}

// An owner that sleeps until woken, and then empties the box, gets every message, in each sender's order.
TEST(Mailbox, ManySendersOneSleepingOwner) {
  constexpr int kSenders = 4;
  constexpr int kEach = 5'000;
  Mutex mutex;
  CondVar cond;
  bool awake = false;
  Mailbox<std::pair<int, int>> box(16, [&] {
    MutexLock lock(mutex);
    awake = true;
    cond.NotifyOne();
  });
  std::vector<std::thread> senders;
  senders.reserve(kSenders);
  for (int s = 0; s < kSenders; ++s) {
    senders.emplace_back([&, s] {
      for (int i = 0; i < kEach; ++i) {
        while (!box.Push({s, i})) std::this_thread::yield();
      }
    });
  }
  std::vector<int> next(kSenders);
  std::vector<std::pair<int, int>> got;
  for (size_t total = 0; total < size_t{kSenders} * kEach;) {
    {
      MutexLock lock(mutex);
      while (!awake) cond.Wait(mutex);
      awake = false;
    }
    got.clear();
    total += box.DrainTo(got);
    for (const auto& [sender, number] : got) {
      ASSERT_EQ(number, next[static_cast<size_t>(sender)]++);
    }
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(box.size(), 0U);
}

}  // namespace
}  // namespace cairn
