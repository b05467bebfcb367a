#include "base/thread_number.h"

#include <functional>
#include <queue>
#include <vector>

#include "base/mutex.h"

namespace cairn::internal {
namespace {

class Numbers {
 public:
  uint32_t Take() CAIRN_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (free_.empty()) return next_++;
    const uint32_t number = free_.top();
    free_.pop();
    return number;
  }
  void Give(uint32_t number) CAIRN_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    free_.push(number);
  }

 private:
  Mutex mutex_;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> free_ CAIRN_GUARDED_BY(mutex_);
  uint32_t next_ CAIRN_GUARDED_BY(mutex_) = 0;
};

// Never destroyed: threads may end after main's static objects have gone.
Numbers& ProcessNumbers() {
  static Numbers* const numbers = new Numbers;
  return *numbers;
}

struct Return {
  bool armed = false;
  ~Return() {
    if (!armed) return;
    ProcessNumbers().Give(thread_number);
    thread_number = kNoThreadNumber;
  }
};

thread_local Return return_at_exit;

}  // namespace

uint32_t AssignThreadNumber() {
  thread_number = ProcessNumbers().Take();
  return_at_exit.armed = true;
  return thread_number;
}

}  // namespace cairn::internal
