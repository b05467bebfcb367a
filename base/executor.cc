#include "base/executor.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/check.h"
#include "base/thread_role.h"

namespace cairn {
namespace internal {

bool TaskQueue::Push(Task& task) {
  if (pending() >= pending_max_) return false;
  ready_.push_back(std::move(task));
  return true;
}

bool TaskQueue::PushAt(int64_t at_ns, Task& task) {
  if (pending() >= pending_max_) return false;
  timers_.emplace(std::pair(at_ns, next_number_++), std::move(task));
  return true;
}

void TaskQueue::Ripen(int64_t now_ns) {
  while (has_timer() && next_timer_ns() <= now_ns) {
    ready_.push_back(std::move(timers_.begin()->second));
    timers_.erase(timers_.begin());
  }
}

bool TaskQueue::PopReady(Task& task) {
  if (ready_.empty()) return false;
  task = std::move(ready_.front());
  ready_.pop_front();
  return true;
}

std::vector<Task> TaskQueue::TakeTimers() {
  std::vector<Task> taken;
  taken.reserve(timers_.size());
  for (auto& [when, task] : timers_) taken.push_back(std::move(task));
  timers_.clear();
  return taken;
}

std::vector<Task> TaskQueue::TakeAll() {
  std::vector<Task> taken = TakeTimers();
  std::move(ready_.begin(), ready_.end(), std::back_inserter(taken));
  ready_.clear();
  return taken;
}

}  // namespace internal

namespace {

/// Saturates, so that "never" as a huge delay does not wrap into the past.
int64_t AfterNs(int64_t now_ns, int64_t delay_ns) {
  if (delay_ns <= 0) return now_ns;
  return delay_ns > std::numeric_limits<int64_t>::max() - now_ns ? std::numeric_limits<int64_t>::max()
                                                                 : now_ns + delay_ns;
}

// A wait's upper limit: condition variables turn it into a deadline, which must not overflow.
constexpr int64_t kWaitNsMax = 3'600'000'000'000;

}  // namespace

ThreadExecutor::ThreadExecutor(Options options)
    : options_(std::move(options)), queue_(options_.pending_max), thread_([this] { Run(); }) {}

ThreadExecutor::~ThreadExecutor() { Stop(StopMode::kDrop); }

bool ThreadExecutor::Post(Task task) {
  MutexLock lock(mutex_);
  if (stopping_ || !queue_.Push(task)) return false;
  wake_.NotifyOne();
  return true;
}

bool ThreadExecutor::PostAfter(int64_t delay_ns, Task task) {
  const int64_t at_ns = AfterNs(clock_.SteadyNs(), delay_ns);
  MutexLock lock(mutex_);
  if (stopping_) return false;
  if (delay_ns <= 0 ? !queue_.Push(task) : !queue_.PushAt(at_ns, task)) return false;
  wake_.NotifyOne();
  return true;
}

void ThreadExecutor::Stop(StopMode mode) {
  CAIRN_CHECK(!OnThread());
  std::vector<Task> dropped;  // destroyed last, with no lock held
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    if (mode == StopMode::kDrain) {
      queue_.Ripen(clock_.SteadyNs());
      dropped = queue_.TakeTimers();
    } else {
      dropped = queue_.TakeAll();
    }
    wake_.NotifyOne();
  }
  if (thread_.joinable()) thread_.join();
}

bool ThreadExecutor::OnThread() const { return std::this_thread::get_id() == thread_.get_id(); }

size_t ThreadExecutor::pending() const {
  MutexLock lock(mutex_);
  return queue_.pending();
}

void ThreadExecutor::Run() {
  BeginThread(options_.name);
  Task task;
  while (WaitForTask(task)) {
    task();
    task = nullptr;  // what it captured goes before the next wait, not after it
  }
}

/// False when the executor is stopped and nothing is left to run.
bool ThreadExecutor::WaitForTask(Task& task) {
  MutexLock lock(mutex_);
  while (true) {
    queue_.Ripen(clock_.SteadyNs());
    if (queue_.PopReady(task)) return true;
    if (stopping_) return false;
    if (queue_.has_timer()) {
      const int64_t wait_ns = std::min(queue_.next_timer_ns() - clock_.SteadyNs(), kWaitNsMax);
      if (wait_ns > 0) wake_.WaitFor(mutex_, std::chrono::nanoseconds(wait_ns));
    } else {
      wake_.Wait(mutex_);
    }
  }
}

bool ManualExecutor::Post(Task task) { return queue_.Push(task); }

bool ManualExecutor::PostAfter(int64_t delay_ns, Task task) {
  if (delay_ns <= 0) return queue_.Push(task);
  return queue_.PushAt(AfterNs(clock_.SteadyNs(), delay_ns), task);
}

bool ManualExecutor::RunOne() {
  queue_.Ripen(clock_.SteadyNs());
  Task task;
  if (!queue_.PopReady(task)) return false;
  task();
  return true;
}

size_t ManualExecutor::RunReady(size_t tasks_max) {
  size_t ran = 0;
  while (ran < tasks_max && RunOne()) ++ran;
  return ran;
}

size_t ManualExecutor::Advance(int64_t ns) {
  CAIRN_CHECK(ns >= 0);
  const int64_t end_ns = AfterNs(clock_.SteadyNs(), ns);
  size_t ran = RunReady();
  while (queue_.has_timer() && queue_.next_timer_ns() <= end_ns) {
    clock_.Advance(std::max<int64_t>(queue_.next_timer_ns() - clock_.SteadyNs(), 0));
    ran += RunReady();
  }
  clock_.Advance(std::max<int64_t>(end_ns - clock_.SteadyNs(), 0));
  return ran;
}

}  // namespace cairn
