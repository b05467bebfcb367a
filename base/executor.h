#pragma once
// Executor: a place where tasks run one after another, in the order in which they were posted. What a
// component must do "on its own thread" is posted to one; tests give it a ManualExecutor and step.
//
// Bounds: an executor holds at most `pending_max` tasks, timers included. A Post beyond that, or after
// Stop, answers false, and the task has been destroyed without having run; the caller decides what that
// means (a periodic job skips a turn, a request answers BUSY).
//
// Post and PostAfter may be called from any thread, also from inside a task. Tasks must not throw.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"

namespace cairn {

using Task = std::function<void()>;

class Executor {
 public:
  virtual ~Executor() = default;
  /// Runs `task` after everything posted before it. False: full or stopped, it will not run.
  [[nodiscard]] virtual bool Post(Task task) = 0;
  /// Runs `task` once `delay_ns` nanoseconds have passed (0 or less: like Post, behind those already
  /// waiting). Timers that are due run in order of their time, those of one time in order of posting.
  [[nodiscard]] virtual bool PostAfter(int64_t delay_ns, Task task) = 0;
};

namespace internal {

/// The queue both executors share: ready tasks in order, and timers by (time, number). Not thread-safe.
class TaskQueue {
 public:
  explicit TaskQueue(size_t pending_max) : pending_max_(pending_max) {}
  bool Push(Task& task);
  bool PushAt(int64_t at_ns, Task& task);
  /// Moves timers due at `now_ns` behind the ready tasks.
  void Ripen(int64_t now_ns);
  bool PopReady(Task& task);
  bool has_ready() const { return !ready_.empty(); }
  bool has_timer() const { return !timers_.empty(); }
  /// Time of the earliest timer; only when has_timer().
  int64_t next_timer_ns() const { return timers_.begin()->first.first; }
  size_t pending() const { return ready_.size() + timers_.size(); }
  /// Empties the queue; the caller destroys the tasks, outside of its lock.
  std::vector<Task> TakeTimers();
  std::vector<Task> TakeAll();

 private:
  const size_t pending_max_;
  std::deque<Task> ready_;
  std::map<std::pair<int64_t, uint64_t>, Task> timers_;
  uint64_t next_number_ = 0;
};

}  // namespace internal

/// One named thread. Its timers follow the system's steady clock.
class ThreadExecutor final : public Executor {
 public:
  struct Options {
    std::string name = "cairn";   // shown by ps and gdb; Linux keeps 15 characters
    size_t pending_max = 65'536;  // tasks waiting, timers included
  };
  enum class StopMode : uint8_t {
    kDrain,  // run what is ready (timers that are not due are dropped), then end
    kDrop,   // finish the task that is running, drop the rest
  };

  explicit ThreadExecutor(Options options);
  /// Stops with kDrop unless Stop was called.
  ~ThreadExecutor() override;
  ThreadExecutor(const ThreadExecutor&) = delete;
  ThreadExecutor& operator=(const ThreadExecutor&) = delete;

  bool Post(Task task) override CAIRN_EXCLUDES(mutex_);
  bool PostAfter(int64_t delay_ns, Task task) override CAIRN_EXCLUDES(mutex_);

  /// Refuses new tasks, ends the thread as `mode` says and joins it; dropped tasks are destroyed on the
  /// calling thread. By the owner only, not from a task of this executor. A second call does nothing.
  void Stop(StopMode mode) CAIRN_EXCLUDES(mutex_);

  /// Is the caller on this executor's thread?
  bool OnThread() const;
  /// Tasks waiting, timers included.
  size_t pending() const CAIRN_EXCLUDES(mutex_);

 private:
  void Run() CAIRN_EXCLUDES(mutex_);
  bool WaitForTask(Task& task) CAIRN_EXCLUDES(mutex_);

  const Options options_;
  SystemClock clock_;
  mutable Mutex mutex_;
  CondVar wake_;
  internal::TaskQueue queue_ CAIRN_GUARDED_BY(mutex_);
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

/// No thread: tasks run inside RunReady and Advance, on the caller's. For tests and the simulator, which
/// own the clock. Not thread-safe.
class ManualExecutor final : public Executor {
 public:
  /// `clock` is not owned and outlives the executor.
  explicit ManualExecutor(ManualClock& clock, size_t pending_max = 65'536)
      : clock_(clock), queue_(pending_max) {}

  bool Post(Task task) override;
  bool PostAfter(int64_t delay_ns, Task task) override;

  /// Runs at most one task that is ready or due; false when there is none.
  bool RunOne();
  /// Runs until nothing is ready or due at the clock's time, also what these tasks post; at most
  /// `tasks_max`, so that a task that posts itself does not hang a test. Returns how many ran.
  size_t RunReady(size_t tasks_max = 1'000'000);
  /// Moves the clock forward by `ns` ≥ 0 in steps, stopping at each timer's time to run what is due.
  /// Returns how many tasks ran.
  size_t Advance(int64_t ns);

  size_t pending() const { return queue_.pending(); }
  bool has_timer() const { return queue_.has_timer(); }
  /// Steady time of the earliest timer; only when has_timer().
  int64_t next_timer_ns() const { return queue_.next_timer_ns(); }

 private:
  ManualClock& clock_;
  internal::TaskQueue queue_;
};

}  // namespace cairn
