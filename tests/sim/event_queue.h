#pragma once
// EventQueue: the simulator's time. Events happen in order of their time; which of two at the same time comes
// first is decided by a number drawn when they were scheduled, so another seed sees another order and the
// same seed the same. Owner: one World. One thread.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/random.h"

namespace cairn::sim {

inline constexpr int64_t kUs = 1'000;
inline constexpr int64_t kMs = 1'000'000;
inline constexpr int64_t kSecond = 1'000'000'000;

class EventQueue {
 public:
  using Event = std::function<void()>;

  explicit EventQueue(uint64_t seed) : random_(seed) {}

  int64_t now_ns() const { return now_ns_; }
  size_t pending() const { return heap_.size(); }
  uint64_t events_run() const { return events_run_; }
  /// Time of the next event; INT64_MAX: there is none.
  int64_t next_ns() const { return heap_.empty() ? INT64_MAX : heap_.front().time_ns; }

  /// A time that has passed means now.
  void At(int64_t time_ns, Event event) {
    heap_.push_back({std::max(time_ns, now_ns_), random_.Next64(), next_number_++, std::move(event)});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }
  void After(int64_t delay_ns, Event event) { At(now_ns_ + delay_ns, std::move(event)); }

  /// Nothing happens until then: time moves on to just before the next event, or to `time_ns`.
  void AdvanceTo(int64_t time_ns) { now_ns_ = std::max(now_ns_, std::min(time_ns, next_ns())); }

  /// Moves time on to the next event and runs it. False: there is none.
  bool RunNext() {
    if (heap_.empty()) return false;
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    Entry entry = std::move(heap_.back());
    heap_.pop_back();
    CAIRN_CHECK(entry.time_ns >= now_ns_);
    now_ns_ = entry.time_ns;
    ++events_run_;
    entry.event();
    return true;
  }

 private:
  struct Entry {
    int64_t time_ns;
    uint64_t tie;
    uint64_t number;  // so that even equal ties have one order
    Event event;
  };
  static bool Later(const Entry& a, const Entry& b) {
    if (a.time_ns != b.time_ns) return a.time_ns > b.time_ns;
    if (a.tie != b.tie) return a.tie > b.tie;
    return a.number > b.number;
  }

  Random random_;
  int64_t now_ns_ = 0;
  uint64_t next_number_ = 0;
  uint64_t events_run_ = 0;
  std::vector<Entry> heap_;
};

}  // namespace cairn::sim
