#include "base/thread_role.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

namespace cairn {
namespace {

constexpr int kBackgroundNice = 5;

// A change of threads costs some microseconds, so not more often.
constexpr int64_t kTurnNs = 200'000;

constexpr uint64_t kServingSliceNs = 100'000;  // the shortest there is
constexpr uint64_t kDefaultSliceNs = 0;        // the kernel's own
constexpr unsigned long kServingSlackNs = 1'000;
constexpr unsigned long kDefaultSlackNs = 50'000;

// sched_setattr(2); glibc before 2.41 has neither the call nor the struct.
struct SchedAttr {
  uint32_t size = 0, policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
};

thread_local std::optional<ThreadRole> current_role;
thread_local int64_t gave_way_ns = 0;  // CLOCK_MONOTONIC

// How long a turn of the calling thread is while others wait. Nothing else about it changes. Kernels before
// 6.12 take the call and keep their own length.
void SetSlice(uint64_t ns) {
  SchedAttr attr;
  if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) != 0) return;
  // Of the real-time policies it is something else; whoever chose one of those wanted no other.
  if (attr.policy != SCHED_OTHER && attr.policy != SCHED_BATCH) return;
  attr.size = sizeof attr;
  attr.runtime = ns;
  syscall(SYS_sched_setattr, 0, &attr, 0);
}

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
  if (role == current_role) return;
  current_role = role;
  const bool serving = role == ThreadRole::kServing;
  if (role == ThreadRole::kBackground) {
    const id_t self = static_cast<id_t>(gettid());
    // Never nicer to ourselves than whoever started the process was.
    setpriority(PRIO_PROCESS, self, std::max(getpriority(PRIO_PROCESS, self), kBackgroundNice));
  }
  SetSlice(serving ? kServingSliceNs : kDefaultSliceNs);
  prctl(PR_SET_TIMERSLACK, serving ? kServingSlackNs : kDefaultSlackNs, 0, 0, 0);
}

}  // namespace cairn
