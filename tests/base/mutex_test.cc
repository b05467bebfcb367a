#include "base/mutex.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace cairn {
namespace {

struct Guarded {
  Mutex mutex;
  CondVar changed;
  int value CAIRN_GUARDED_BY(mutex) = 0;
};

TEST(Mutex, Excludes) {
  Guarded guarded;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        MutexLock lock(guarded.mutex);
        ++guarded.value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(guarded.mutex);
  EXPECT_EQ(guarded.value, 40'000);
}

bool CanBeLockedElsewhere(Mutex& mutex) {
  bool locked = false;
  std::thread([&] {
    if (mutex.TryLock()) {
      locked = true;
      mutex.Unlock();
    }
  }).join();
  return locked;
}

TEST(Mutex, TryLockFailsWhileHeld) {
  Mutex mutex;
  {
    MutexLock lock(mutex);
    EXPECT_FALSE(CanBeLockedElsewhere(mutex));
  }
  EXPECT_TRUE(CanBeLockedElsewhere(mutex));
}

TEST(CondVar, WaitGivesTheMutexUpAndTakesItAgain) {
  Guarded guarded;
  std::thread other;
  {
    MutexLock lock(guarded.mutex);
    other = std::thread([&] {
      MutexLock inner(guarded.mutex);  // possible only once the waiter has let go
      guarded.value = 1;
      guarded.changed.NotifyAll();
    });
    while (guarded.value == 0) guarded.changed.Wait(guarded.mutex);
    EXPECT_EQ(guarded.value, 1);
  }
  other.join();
  EXPECT_TRUE(CanBeLockedElsewhere(guarded.mutex)) << "released exactly once";
}

TEST(CondVar, WaitForEndsAtItsTimeout) {
  Guarded guarded;
  MutexLock lock(guarded.mutex);
  const auto start = std::chrono::steady_clock::now();
  while (guarded.changed.WaitFor(guarded.mutex, std::chrono::milliseconds(20))) {
    // A wake-up without a reason; only the timeout ends this loop.
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(15));
}

}  // namespace
}  // namespace cairn
