#pragma once
// Waker: how other threads get a session's thread out of its sleep. A wake of a thread that is awake, or has
// been woken already, costs one atomic exchange.
//
// The owner calls Arm, then looks at everything it may be woken for, then Wait: nothing that came after Arm
// is slept through.

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/mutex.h"

namespace cairn::tap {

class Waker {
 public:
  Waker() = default;
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;

  /// From any thread.
  void Wake() CAIRN_EXCLUDES(mutex_) {
    if (woken_.exchange(true, std::memory_order_acq_rel)) return;
    MutexLock lock(mutex_);
    if (sleeping_) cond_.NotifyOne();
  }

  // --- by the owner ---
  /// Everything that was done before a wake that this takes back is visible afterwards.
  void Arm() { woken_.exchange(false, std::memory_order_acq_rel); }
  bool woken() const { return woken_.load(std::memory_order_acquire); }
  /// Until a wake since Arm, at most for so long.
  void Wait(int64_t ns) CAIRN_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (ns <= 0 || woken()) return;
    sleeping_ = true;
    cond_.WaitFor(mutex_, std::chrono::nanoseconds(ns));
    sleeping_ = false;
  }

 private:
  std::atomic<bool> woken_{false};
  Mutex mutex_;
  CondVar cond_;
  bool sleeping_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::tap
