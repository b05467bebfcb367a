#include "base/thread_role.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/sched_attr.h"

namespace cairn {
namespace {

constexpr int kBackgroundNice = 5;

// A change of threads costs a microsecond or two, so not more often.
constexpr int64_t kTurnNs = 50'000;

constexpr uint64_t kDefaultSliceNs = 0;  // the kernel's own
constexpr unsigned long kServingSlackNs = 1'000;
constexpr unsigned long kDefaultSlackNs = 50'000;

thread_local std::optional<ThreadRole> current_role;
thread_local int64_t gave_way_ns = 0;  // CLOCK_MONOTONIC

// Of threads that run only when nothing else does.
constexpr int64_t kStarvedNs = 30'000'000;
constexpr int64_t kReliefNs = 10'000'000'000;

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Of one thread (0: the calling one). False: not allowed, or of a real-time policy, which somebody chose.
bool SetPolicy(pid_t tid, int policy) {
  const int present = sched_getscheduler(tid);
  if (present == policy) return true;
  if (present != SCHED_OTHER && present != SCHED_BATCH && present != SCHED_IDLE) return false;
  const sched_param none{};
  return sched_setscheduler(tid, policy, &none) == 0;
}

void TakeBackgroundNice() {
  const id_t self = static_cast<id_t>(gettid());
  // Never nicer to ourselves than whoever started the process was.
  setpriority(PRIO_PROCESS, self, std::max(getpriority(PRIO_PROCESS, self), kBackgroundNice));
}

// Without the privilege SCHED_IDLE is a one-way street. What the kernel allows depends on more than can be
// looked up (namespaces), and on the nice value, so a thread with the calling one's is sent there.
bool CanComeBackFromIdle() {
  static thread_local const bool can = [] {
    bool came_back = false;
    std::thread([&came_back] { came_back = SetPolicy(0, SCHED_IDLE) && SetPolicy(0, SCHED_OTHER); }).join();
    return came_back;
  }();
  return can;
}

// 'R', 'S', 'D', …; 'R' too when it cannot be told.
char StateOf(pid_t tid) {
  const std::string path = "/proc/self/task/" + std::to_string(tid) + "/stat";
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return 'R';
  char text[256];
  const ssize_t size = read(file, text, sizeof text);
  close(file);
  const std::string_view stat(text, size > 0 ? static_cast<size_t>(size) : 0);
  const size_t name_end = stat.rfind(')');
  return name_end != stat.npos && name_end + 2 < stat.size() ? stat[name_end + 2] : 'R';
}

// A thread with role kIdle; lives as long as the thread.
struct IdleThread {
  IdleThread();
  ~IdleThread();
  IdleThread(const IdleThread&) = delete;
  IdleThread& operator=(const IdleThread&) = delete;

  const pid_t tid = gettid();
  std::atomic<int64_t> alive_ns{NowNs()};     // when it last said that it runs
  std::atomic<int64_t> relieved_until_ns{0};  // 0: it is not
  // Of RelieveIdle, with the list's mutex: since when it wants a CPU without having said so; 0: it does not.
  int64_t waits_since_ns = 0;
};

// Belongs to the process, as its threads do; never destroyed, because RocksDB's threads outlive main.
struct IdleThreads {
  Mutex mutex;
  std::vector<IdleThread*> threads CAIRN_GUARDED_BY(mutex);
};

IdleThreads& AllIdle() {
  static IdleThreads& all = *new IdleThreads;
  return all;
}

IdleThread::IdleThread() {
  IdleThreads& all = AllIdle();
  MutexLock lock(all.mutex);
  all.threads.push_back(this);
}

IdleThread::~IdleThread() {
  IdleThreads& all = AllIdle();
  MutexLock lock(all.mutex);
  std::erase(all.threads, this);
}

thread_local std::optional<IdleThread> idle;

// Of the calling thread.
thread_local bool runs_idle = false;  // it has something to do as kIdle

void BeginIdle(int64_t now_ns) {
  if (!idle) idle.emplace();
  runs_idle = true;
  idle->alive_ns.store(now_ns, std::memory_order_relaxed);
  if (now_ns < idle->relieved_until_ns.load(std::memory_order_relaxed)) return;
  idle->relieved_until_ns.store(0, std::memory_order_relaxed);
  SetPolicy(0, SCHED_IDLE);
}

void EndIdle() {
  runs_idle = false;
  SetPolicy(0, SCHED_OTHER);
}

// How long a turn of the calling thread is while others wait. Nothing else about it changes. Kernels before
// 6.12 take the call and keep their own length.
void SetSlice(uint64_t ns) {
  SchedAttr attr;
  if (!GetSchedAttr(&attr)) return;
  // Of the real-time policies it is something else; whoever chose one of those wanted no other.
  if (attr.policy != SCHED_OTHER && attr.policy != SCHED_BATCH) return;
  attr.runtime = ns;
  SetSchedAttr(attr);
}

}  // namespace

void BeginThread(std::string_view name, ThreadRole role) {
  // The kernel refuses longer names instead of cutting them.
  pthread_setname_np(pthread_self(), std::string(name.substr(0, 15)).c_str());
  TakeRole(role);
}

void GiveWay() {
  const int64_t now_ns = NowNs();
  if (now_ns - gave_way_ns < kTurnNs) return;
  if (runs_idle) BeginIdle(now_ns);  // says that it still runs
  sched_yield();
  gave_way_ns = now_ns;
}

void TakeRole(ThreadRole role) {
  if (role == ThreadRole::kIdle && !CanComeBackFromIdle()) role = ThreadRole::kBackground;
  if (role == current_role) {
    if (runs_idle) BeginIdle(NowNs());
    return;
  }
  if (runs_idle) EndIdle();
  current_role = role;
  const bool serving = role == ThreadRole::kServing;
  if (role == ThreadRole::kBackground || role == ThreadRole::kIdle) TakeBackgroundNice();
  SetSlice(serving ? kServingSliceNs : kDefaultSliceNs);
  prctl(PR_SET_TIMERSLACK, serving ? kServingSlackNs : kDefaultSlackNs, 0, 0, 0);
  if (role == ThreadRole::kIdle) BeginIdle(NowNs());
}

IdleScope::IdleScope(bool wanted) {
  const bool may = current_role == ThreadRole::kSteady || current_role == ThreadRole::kBackground;
  if (!wanted || !may || runs_idle || !CanComeBackFromIdle()) return;
  entered_ = true;
  BeginIdle(NowNs());
}

IdleScope::~IdleScope() {
  if (entered_) EndIdle();
}

void RelieveIdle() {
  const int64_t now_ns = NowNs();
  IdleThreads& all = AllIdle();
  MutexLock lock(all.mutex);  // none of them ends meanwhile, so none of the numbers is somebody else's
  for (IdleThread* const thread : all.threads) {
    const bool silent = now_ns - thread->alive_ns.load(std::memory_order_relaxed) >= kStarvedNs;
    const bool relieved = thread->relieved_until_ns.load(std::memory_order_relaxed) != 0;
    // Most are silent because there is nothing to do, or wait for the disk.
    if (!silent || relieved || StateOf(thread->tid) != 'R') {
      thread->waits_since_ns = 0;
    } else if (thread->waits_since_ns == 0) {
      thread->waits_since_ns = now_ns;
    } else if (now_ns - thread->waits_since_ns >= kStarvedNs && SetPolicy(thread->tid, SCHED_OTHER)) {
      thread->relieved_until_ns.store(now_ns + kReliefNs, std::memory_order_relaxed);
      thread->waits_since_ns = 0;
    }
  }
}

}  // namespace cairn
