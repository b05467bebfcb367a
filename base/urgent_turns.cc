#include "base/urgent_turns.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/sched_attr.h"

namespace cairn {
namespace {

constexpr int64_t kShare = 2;  // one half
constexpr int64_t kDebtMaxNs = 2'000'000;
constexpr rlim_t kRunMaxUs = 10'000;

std::atomic<bool> granted{false};
std::atomic<uint64_t> overrun{0};

// Also written by the handler, on the thread itself.
thread_local volatile sig_atomic_t is_urgent = 0;
thread_local volatile sig_atomic_t ordinary_nice = 0;

int64_t NowNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// What this thread starts does not inherit it; a thread without privileges cannot take that back, so it stays
// so as an ordinary one, where it means nothing.
bool BecomeUrgent() {
  SchedAttr attr;
  attr.policy = SCHED_RR;
  attr.priority = 1;
  attr.flags = kSchedResetOnFork;
  return SetSchedAttr(attr);
}

// Of a thread that serves (base/thread_role.h). Also in a signal handler.
bool BecomeOrdinary(int nice) {
  SchedAttr attr;
  attr.policy = SCHED_OTHER;
  attr.nice = nice;
  attr.flags = kSchedResetOnFork;
  attr.runtime = kServingSliceNs;
  return SetSchedAttr(attr);
}

// The kernel raises the limit by a second each time.
void SetRunLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_RTTIME, &limit) != 0) return;
  limit.rlim_cur = kRunMaxUs;
  setrlimit(RLIMIT_RTTIME, &limit);
}

// The kernel sends it to the process and delivers it to the thread that has run for too long, as nobody
// blocks it. Both calls are plain system calls.
void OnRanTooLong(int /*signal*/) {
  const int saved_errno = errno;
  if (is_urgent != 0) {
    is_urgent = 0;
    BecomeOrdinary(static_cast<int>(ordinary_nice));
    overrun.fetch_add(1, std::memory_order_relaxed);
  }
  SetRunLimit();
  errno = saved_errno;
}

// By all threads of the process together, in nanoseconds: grows by their CPU time, as urgent ones or not,
// shrinks by half of the time that passes.
struct Debt {
  Mutex mutex;
  int64_t ns CAIRN_GUARDED_BY(mutex) = 0;
  int64_t looked_ns CAIRN_GUARDED_BY(mutex) = 0;
};

// Threads may outlive main.
Debt& AllDebt() {
  static Debt& all = *new Debt;
  return all;
}

int64_t AddToDebt(int64_t used_ns) {
  const int64_t now_ns = NowNs(CLOCK_MONOTONIC);
  Debt& debt = AllDebt();
  MutexLock lock(debt.mutex);
  const int64_t paid_ns = std::max<int64_t>(now_ns - std::exchange(debt.looked_ns, now_ns), 0) / kShare;
  debt.ns = std::clamp<int64_t>(debt.ns + used_ns - paid_ns, 0, 2 * kDebtMaxNs);
  return debt.ns;
}

// On a thread of its own, as it may have to stay what it becomes.
int TryIt() {
  int error = 0;
  std::thread([&error] {
    if (!BecomeUrgent() || !BecomeOrdinary(getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())))) {
      error = errno;
    }
  }).join();
  return error;
}

}  // namespace

std::string EnableUrgentTurns() {
  if (sched_getscheduler(0) != SCHED_OTHER)
    return "the process was started with a scheduling class of its own";
  rlimit limit{};
  if (getrlimit(RLIMIT_CPU, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY) {
    return "RLIMIT_CPU is set, whose signal is the same";
  }
  if (getrlimit(RLIMIT_RTTIME, &limit) != 0 || limit.rlim_max != RLIM_INFINITY) {
    return "RLIMIT_RTTIME has a hard limit, at which the kernel would end the process";
  }
  if (const int error = TryIt(); error != 0) return std::strerror(error);
  struct sigaction action {};
  action.sa_handler = &OnRanTooLong;
  action.sa_flags = SA_RESTART;
  if (sigaction(SIGXCPU, &action, nullptr) != 0) return std::strerror(errno);
  SetRunLimit();
  granted.store(true, std::memory_order_release);
  return {};
}

bool UrgentTurnsEnabled() { return granted.load(std::memory_order_acquire); }

uint64_t UrgentTurnsOverrun() { return overrun.load(std::memory_order_relaxed); }

UrgentTurns::UrgentTurns() : enabled_(granted.load(std::memory_order_acquire)) {
  if (!enabled_) return;
  nice_ = getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
  ordinary_nice = nice_;
  cpu_ns_ = NowNs(CLOCK_THREAD_CPUTIME_ID);
}

UrgentTurns::~UrgentTurns() { Lapse(); }

void UrgentTurns::Lapse() {
  if (is_urgent == 0) return;
  is_urgent = 0;
  BecomeOrdinary(nice_);
}

void UrgentTurns::EndOfTurn() {
  if (!enabled_) return;
  const int64_t cpu_ns = NowNs(CLOCK_THREAD_CPUTIME_ID);
  const int64_t debt_ns = AddToDebt(cpu_ns - std::exchange(cpu_ns_, cpu_ns));
  if (debt_ns > kDebtMaxNs) return Lapse();
  if (is_urgent != 0 || debt_ns > kDebtMaxNs / 2) return;
  is_urgent = BecomeUrgent() ? 1 : 0;
}

}  // namespace cairn
