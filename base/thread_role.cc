#include "base/thread_role.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace cairn {
namespace {

constexpr int kBackgroundNice = 5;
// A waking thread takes the CPU from one with a longer slice. The scheduler's own is about 3 ms.
constexpr uint64_t kLongSliceNs = 20'000'000;

thread_local ThreadRole current_role = ThreadRole::kServing;

// sched_setattr(2): glibc of Debian 12 has neither a wrapper nor this structure, and the kernel's header that
// has it cannot be included together with glibc's.
struct SchedAttributes {
  uint32_t size = sizeof(SchedAttributes);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

bool SetSlice(int nice) {
  SchedAttributes attributes;
  attributes.nice = nice;
  attributes.runtime_ns = kLongSliceNs;
  return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
}

}  // namespace

void BeginThread(std::string_view name, ThreadRole role) {
  // The kernel refuses longer names instead of cutting them.
  pthread_setname_np(pthread_self(), std::string(name.substr(0, 15)).c_str());
  TakeRole(role);
}

void TakeRole(ThreadRole role) {
  if (role == current_role || role == ThreadRole::kServing) return;
  current_role = role;
  const id_t self = static_cast<id_t>(gettid());
  const int started_with = getpriority(PRIO_PROCESS, self);
  // Never nicer to ourselves than whoever started the process was.
  const int nice = role == ThreadRole::kBackground ? std::max(started_with, kBackgroundNice) : started_with;
  if (!SetSlice(nice)) setpriority(PRIO_PROCESS, self, nice);
}

}  // namespace cairn
