#include "base/thread_role.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>

namespace cairn {
namespace {

std::string NameOfThisThread() {
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof name);
  return name;
}

int NiceOfThisThread() { return getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())); }

int SlackOfThisThread() { return prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0); }

// Nanoseconds; 0 where the kernel has no such thing (before 6.12).
uint64_t SliceOfThisThread() {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attr = {};
  if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) != 0) return 0;
  return attr.runtime;
}

TEST(ThreadRole, ALongNameIsCutAndTheCallersOwnStays) {
  const std::string before = NameOfThisThread();
  std::string seen;
  std::thread([&seen] {
    BeginThread("a-name-of-more-than-15-bytes");
    seen = NameOfThisThread();
  }).join();
  EXPECT_EQ(seen, "a-name-of-more-");
  EXPECT_EQ(NameOfThisThread(), before);
}

TEST(ThreadRole, OnlyBackgroundWorkGetsASmallerShare) {
  const int before = NiceOfThisThread();
  int serving = -1, steady = -1, background = -1, twice = -1;
  std::thread([&] {
    BeginThread("serving");
    serving = NiceOfThisThread();
  }).join();
  std::thread([&] {
    BeginThread("steady", ThreadRole::kSteady);
    steady = NiceOfThisThread();
  }).join();
  std::thread([&] {
    BeginThread("background", ThreadRole::kBackground);
    background = NiceOfThisThread();
    TakeRole(ThreadRole::kBackground);
    twice = NiceOfThisThread();
  }).join();
  EXPECT_EQ(serving, before);
  EXPECT_EQ(steady, before);
  EXPECT_EQ(background, before > 5 ? before : 5);
  EXPECT_EQ(twice, background);
  EXPECT_EQ(NiceOfThisThread(), before);
}

TEST(ThreadRole, WhatIsWaitedForTakesShortTurnsAndWhatItStartsCanTakeLongOnesAgain) {
  int serving = -1, inherited = -1, steady = -1;
  uint64_t serving_slice = 0, inherited_slice = 0, steady_slice = 0;
  std::thread([&] {
    BeginThread("serving");
    serving = SlackOfThisThread();
    serving_slice = SliceOfThisThread();
    std::thread([&] {
      inherited = SlackOfThisThread();
      inherited_slice = SliceOfThisThread();
    }).join();
    std::thread([&] {
      BeginThread("steady", ThreadRole::kSteady);
      steady = SlackOfThisThread();
      steady_slice = SliceOfThisThread();
    }).join();
  }).join();
  EXPECT_EQ(serving, 1'000);
  EXPECT_EQ(inherited, 1'000);
  EXPECT_EQ(steady, 50'000);
  // Before Linux 6.12 there is one length for all, which the kernel does not tell.
  const uint64_t own = SliceOfThisThread();
  EXPECT_EQ(serving_slice, own == 0 ? 0U : 100'000U);
  EXPECT_EQ(inherited_slice, serving_slice);
  EXPECT_EQ(steady_slice, own);
}

/// May a thread of this process come back from SCHED_IDLE, with the nice value that it has?
bool IdleIsNoOneWayStreet() {
  bool came_back = false;
  std::thread([&came_back] {
    const sched_param none{};
    sched_setscheduler(0, SCHED_IDLE, &none);
    came_back = sched_setscheduler(0, SCHED_OTHER, &none) == 0;
  }).join();
  return came_back;
}

bool Eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

TEST(ThreadRole, IdleWorkRunsWhenNothingElseDoesWhereItCanComeBack) {
  const int wanted = IdleIsNoOneWayStreet() ? SCHED_IDLE : SCHED_OTHER;
  int idle = -1, idle_nice = -1, after = -1;
  std::thread([&] {
    TakeRole(ThreadRole::kIdle);
    idle = sched_getscheduler(0);
    idle_nice = NiceOfThisThread();
    TakeRole(ThreadRole::kSteady);
    after = sched_getscheduler(0);
  }).join();
  EXPECT_EQ(idle, wanted);
  EXPECT_GE(idle_nice, 5);
  EXPECT_EQ(after, SCHED_OTHER);
}

TEST(ThreadRole, APieceOfWorkCanBeIdleButNotThatOfAThreadThatServes) {
  const int wanted = IdleIsNoOneWayStreet() ? SCHED_IDLE : SCHED_OTHER;
  const auto policies = [](bool has_role, ThreadRole role, bool is_wanted) {
    std::pair<int, int> seen;
    std::thread([&] {
      if (has_role) TakeRole(role);
      {
        const IdleScope scope(is_wanted);
        seen.first = sched_getscheduler(0);
      }
      seen.second = sched_getscheduler(0);
    }).join();
    return seen;
  };
  EXPECT_EQ(policies(true, ThreadRole::kSteady, true), std::pair(wanted, SCHED_OTHER));
  EXPECT_EQ(policies(true, ThreadRole::kBackground, true).second, SCHED_OTHER);
  EXPECT_EQ(policies(true, ThreadRole::kSteady, false), std::pair(SCHED_OTHER, SCHED_OTHER));
  EXPECT_EQ(policies(true, ThreadRole::kServing, true), std::pair(SCHED_OTHER, SCHED_OTHER));
  EXPECT_EQ(policies(false, ThreadRole::kServing, true), std::pair(SCHED_OTHER, SCHED_OTHER));
}

/// Two threads want one CPU, and one of them never stops.
TEST(ThreadRole, IdleWorkThatStarvesIsRelieved) {
  if (!IdleIsNoOneWayStreet()) {
    RelieveIdle();  // nobody is idle, and nothing happens
    return;
  }
  const auto stay_on_this_cpu = [cpu = sched_getcpu()] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
  };
  std::atomic<bool> stop{false};
  std::atomic<pid_t> tid{0};
  std::atomic<uint64_t> steps{0};
  std::thread idle([&] {
    stay_on_this_cpu();
    TakeRole(ThreadRole::kIdle);
    tid = gettid();
    while (!stop) {
      GiveWay();
      ++steps;
    }
  });
  EXPECT_TRUE(Eventually([&] { return steps > 0; }));
  std::thread greedy([&] {
    stay_on_this_cpu();
    while (!stop) {
    }
  });
  EXPECT_TRUE(Eventually([&] {
    RelieveIdle();
    return sched_getscheduler(tid) == SCHED_OTHER;
  }));
  const uint64_t before = steps;
  EXPECT_TRUE(Eventually([&] { return steps > before + 100; })) << "it has its share now";
  stop = true;
  greedy.join();
  idle.join();
}

TEST(ThreadRole, IdleWorkThatWaitsForSomethingIsNotRelieved) {
  const int wanted = IdleIsNoOneWayStreet() ? SCHED_IDLE : SCHED_OTHER;
  std::atomic<pid_t> tid{0};
  std::atomic<bool> stop{false};
  std::thread idle([&] {
    TakeRole(ThreadRole::kIdle);
    tid = gettid();
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  });
  EXPECT_TRUE(Eventually([&] { return tid != 0; }));
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(250);
  while (std::chrono::steady_clock::now() < end) {
    RelieveIdle();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(sched_getscheduler(tid), wanted);
  stop = true;
  idle.join();
}

}  // namespace
}  // namespace cairn
