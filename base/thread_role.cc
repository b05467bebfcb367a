#include "base/thread_role.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <string>

namespace cairn {
namespace {

constexpr int kBackgroundNice = 5;

thread_local ThreadRole current_role = ThreadRole::kServing;

}  // namespace

void BeginThread(std::string_view name, ThreadRole role) {
  // The kernel refuses longer names instead of cutting them.
  pthread_setname_np(pthread_self(), std::string(name.substr(0, 15)).c_str());
  TakeRole(role);
}

void GiveWay() { sched_yield(); }

void TakeRole(ThreadRole role) {
  if (role == current_role || role == ThreadRole::kServing) return;
  current_role = role;
  if (role != ThreadRole::kBackground) return;
  const id_t self = static_cast<id_t>(gettid());
  // Never nicer to ourselves than whoever started the process was.
  setpriority(PRIO_PROCESS, self, std::max(getpriority(PRIO_PROCESS, self), kBackgroundNice));
}

}  // namespace cairn
