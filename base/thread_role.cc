#include "base/thread_role.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace cairn {
namespace {

constexpr int kBackgroundNice = 5;

// A change of threads costs some microseconds, so not more often.
constexpr int64_t kTurnNs = 200'000;

thread_local ThreadRole current_role = ThreadRole::kServing;
thread_local int64_t gave_way_ns = 0;  // CLOCK_MONOTONIC

}  // namespace

void BeginThread(std::string_view name, ThreadRole role) {
  // The kernel refuses longer names instead of cutting them.
  pthread_setname_np(pthread_self(), std::string(name.substr(0, 15)).c_str());
  TakeRole(role);
}

void GiveWay() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t now_ns = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  if (now_ns - gave_way_ns < kTurnNs) return;
  sched_yield();
  gave_way_ns = now_ns;
}

void TakeRole(ThreadRole role) {
  if (role == current_role || role == ThreadRole::kServing) return;
  current_role = role;
  if (role != ThreadRole::kBackground) return;
  const id_t self = static_cast<id_t>(gettid());
  // Never nicer to ourselves than whoever started the process was.
  setpriority(PRIO_PROCESS, self, std::max(getpriority(PRIO_PROCESS, self), kBackgroundNice));
}

}  // namespace cairn
