#include "base/thread_role.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <thread>

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

}  // namespace
}  // namespace cairn
