#include "base/thread_role.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

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

}  // namespace
}  // namespace cairn
