#pragma once
// Fifo: a contiguous queue that costs nothing while it is empty. (An empty std::deque already takes 576
// bytes, and there are two queues per vbucket and up to 65,536 vbuckets.) Elements are indexed from the
// front, so that it can be searched by bisection. A moved-from Fifo may only be assigned or destroyed.
// Not thread-safe. Internal to checkpoint/.

#include <cstddef>
#include <utility>
#include <vector>

namespace cairn::checkpoint {

template <class T>
class Fifo {
 public:
  bool empty() const { return head_ == items_.size(); }
  size_t size() const { return items_.size() - head_; }
  /// `i` counts from the front, < size().
  T& operator[](size_t i) { return items_[head_ + i]; }
  const T& operator[](size_t i) const { return items_[head_ + i]; }
  T& front() { return items_[head_]; }
  const T& front() const { return items_[head_]; }
  T& back() { return items_.back(); }
  const T& back() const { return items_.back(); }

  void PushBack(T item) { items_.push_back(std::move(item)); }

  /// Removes and returns the front. Amortized O(1): what has been taken is squeezed out only when it is at
  /// least half of the storage.
  T PopFront() {
    T front = std::move(items_[head_++]);
    if (head_ == items_.size()) {
      head_ = 0;
      items_.clear();
      if (items_.capacity() > kIdleCapacity) std::vector<T>().swap(items_);
    } else if (head_ * 2 >= items_.size()) {
      items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(head_));
      head_ = 0;
    }
    return front;
  }

  /// Index of the first element for which `pred` holds, size() when none. `pred` must be false for a prefix
  /// and true for the rest.
  template <class Pred>
  size_t FirstIndex(Pred pred) const {
    size_t begin = 0;
    size_t count = size();
    while (count > 0) {
      const size_t half = count / 2;
      const bool skip = !pred((*this)[begin + half]);
      begin += skip ? half + 1 : 0;
      count = skip ? count - half - 1 : half;
    }
    return begin;
  }

 private:
  // Storage for a few elements is kept for the next round, more is given back.
  static constexpr size_t kIdleCapacity = 4;

  std::vector<T> items_;
  size_t head_ = 0;
};

}  // namespace cairn::checkpoint
