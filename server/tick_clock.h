#pragma once
// A clock for measuring single operations: the processor's time stamp counter where it runs at a constant
// rate (about 8 ns to read), else the monotonic clock. Only differences mean something. Any thread.

#include <cstdint>

namespace cairn::server {

class TickClock {
 public:
  /// Measures the counter against the monotonic clock for about 10 ms.
  TickClock();

  uint64_t Now() const {
#if defined(__x86_64__)
    if (__builtin_expect(constant_rate_, 1)) return __builtin_ia32_rdtsc();
#endif
    return MonotonicNs();
  }
  /// Nanoseconds between two readings. A counter that seems to go back (another core) counts as 0.
  uint64_t NsBetween(uint64_t begin, uint64_t end) const {
    if (end <= begin) return 0;
    return static_cast<uint64_t>(static_cast<double>(end - begin) * ns_per_tick_);
  }
  uint64_t TicksOf(uint64_t ns) const {
    return static_cast<uint64_t>(static_cast<double>(ns) / ns_per_tick_);
  }

  static uint64_t MonotonicNs();

 private:
  bool constant_rate_ = false;
  double ns_per_tick_ = 1.0;
};

}  // namespace cairn::server
