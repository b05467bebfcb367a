#pragma once
// A std::mutex with clang's thread-safety annotations, so that `preset tsa` proves which lock guards
// which member. MutexLock is the only way to hold one; CondVar waits on it.

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define CAIRN_TSA(x) __attribute__((x))
#else
#define CAIRN_TSA(x)
#endif

#define CAIRN_CAPABILITY(x) CAIRN_TSA(capability(x))
#define CAIRN_SCOPED_CAPABILITY CAIRN_TSA(scoped_lockable)
#define CAIRN_GUARDED_BY(x) CAIRN_TSA(guarded_by(x))
#define CAIRN_PT_GUARDED_BY(x) CAIRN_TSA(pt_guarded_by(x))
#define CAIRN_REQUIRES(...) CAIRN_TSA(requires_capability(__VA_ARGS__))
#define CAIRN_EXCLUDES(...) CAIRN_TSA(locks_excluded(__VA_ARGS__))
#define CAIRN_ACQUIRE(...) CAIRN_TSA(acquire_capability(__VA_ARGS__))
#define CAIRN_RELEASE(...) CAIRN_TSA(release_capability(__VA_ARGS__))
#define CAIRN_TRY_ACQUIRE(...) CAIRN_TSA(try_acquire_capability(__VA_ARGS__))
#define CAIRN_ASSERT_CAPABILITY(...) CAIRN_TSA(assert_capability(__VA_ARGS__))
#define CAIRN_RETURN_CAPABILITY(x) CAIRN_TSA(lock_returned(x))
#define CAIRN_NO_TSA CAIRN_TSA(no_thread_safety_analysis)

namespace cairn {

class CAIRN_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void Lock() CAIRN_ACQUIRE() { mutex_.lock(); }
  void Unlock() CAIRN_RELEASE() { mutex_.unlock(); }
  /// Tells the analysis, where it cannot see it (in a lambda), that the caller holds this mutex.
  void AssertHeld() const CAIRN_ASSERT_CAPABILITY(this) {}
  bool TryLock() CAIRN_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class CAIRN_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) CAIRN_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() CAIRN_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// Waits release and take the mutex again; always wait in a loop on a condition.
class CondVar {
 public:
  void Wait(Mutex& mutex) CAIRN_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cond_.wait(lock);
    lock.release();
  }
  /// False when `timeout` passed without a notification.
  bool WaitFor(Mutex& mutex, std::chrono::nanoseconds timeout) CAIRN_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool notified = cond_.wait_for(lock, timeout) == std::cv_status::no_timeout;
    lock.release();
    return notified;
  }
  void NotifyOne() { cond_.notify_one(); }
  void NotifyAll() { cond_.notify_all(); }

 private:
  std::condition_variable cond_;
};

}  // namespace cairn
