#pragma once
// Mailbox: messages from any thread to the one thread that owns the box, such as answers of background
// reads to a connection loop. The owner is woken through a callback, not by waiting on the box, because
// it waits in its own event loop.
//
// Bound: at most `capacity` messages wait; Push answers false beyond that and leaves the message with
// the caller.
//
// Waking: `wake` is called, outside of the lock and on the pushing thread, by the Push that finds the box
// empty, and by no other. An owner that empties the box after each wake misses nothing; it may be woken
// once more for messages that it has taken already.

#include <cstddef>
#include <functional>
#include <iterator>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"

namespace cairn {

template <class T>
class Mailbox {
 public:
  /// `wake` must be callable from any thread for as long as somebody may push; it must not call DrainTo.
  Mailbox(size_t capacity, std::function<void()> wake) : capacity_(capacity), wake_(std::move(wake)) {
    CAIRN_CHECK(capacity > 0 && wake_ != nullptr);
  }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  /// From any thread. False when the box is full: `message` has not been touched.
  [[nodiscard]] bool Push(T&& message) CAIRN_EXCLUDES(mutex_) {
    bool was_empty = false;
    {
      MutexLock lock(mutex_);
      if (messages_.size() >= capacity_) return false;
      was_empty = messages_.empty();
      messages_.push_back(std::move(message));
    }
    if (was_empty) wake_();
    return true;
  }

  /// By the owner: appends everything that waits to `out`, in the order pushed, and returns how many that
  /// were. When `out` is empty its memory goes into the box, so that two vectors serve for ever.
  size_t DrainTo(std::vector<T>& out) CAIRN_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const size_t count = messages_.size();
    if (out.empty()) {
      out.swap(messages_);
    } else {
      out.insert(out.end(), std::make_move_iterator(messages_.begin()),
                 std::make_move_iterator(messages_.end()));
      messages_.clear();
    }
    return count;
  }

  /// Messages waiting; of the moment.
  size_t size() const CAIRN_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return messages_.size();
  }

 private:
  const size_t capacity_;
  const std::function<void()> wake_;
  mutable Mutex mutex_;
  std::vector<T> messages_ CAIRN_GUARDED_BY(mutex_);
};

}  // namespace cairn
