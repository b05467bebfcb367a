#pragma once
// sched_setattr(2) and sched_getattr(2): glibc before 2.41 has neither the calls nor their struct. Of the
// calling thread. Plain system calls, so also for signal handlers.

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace cairn {

struct SchedAttr {
  uint32_t size = 0, policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
};

inline constexpr uint64_t kSchedResetOnFork = 1;

/// Of the turns of a thread that serves (base/thread_role.h): the shortest there is.
inline constexpr uint64_t kServingSliceNs = 100'000;

inline bool GetSchedAttr(SchedAttr* attr) {
  return syscall(SYS_sched_getattr, 0, attr, sizeof *attr, 0) == 0;
}

inline bool SetSchedAttr(SchedAttr attr) {
  attr.size = sizeof attr;
  return syscall(SYS_sched_setattr, 0, &attr, 0) == 0;
}

}  // namespace cairn
