#pragma once
// Time as a dependency. Everything that reads a clock gets one passed in, so that a simulator can own
// time. Implementations may be called from any thread.

#include <atomic>
#include <cstdint>

namespace cairn {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Nanoseconds on a clock that never goes back; origin unspecified.
  virtual int64_t SteadyNs() const = 0;
  /// Nanoseconds since the Unix epoch; may jump in either direction.
  virtual int64_t WallNs() const = 0;
  /// Whole seconds since the Unix epoch, as item expiry counts them.
  uint32_t WallSeconds() const { return static_cast<uint32_t>(WallNs() / 1'000'000'000); }
};

class SystemClock final : public Clock {
 public:
  int64_t SteadyNs() const override;
  int64_t WallNs() const override;
};

/// A clock that stands still until told otherwise; for tests and the simulator.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t wall_ns = 1'700'000'000'000'000'000) : wall_ns_(wall_ns) {}
  int64_t SteadyNs() const override { return steady_ns_.load(std::memory_order_relaxed); }
  int64_t WallNs() const override { return wall_ns_.load(std::memory_order_relaxed); }
  /// Moves both clocks forward. `ns` must not be negative.
  void Advance(int64_t ns) {
    steady_ns_.fetch_add(ns, std::memory_order_relaxed);
    wall_ns_.fetch_add(ns, std::memory_order_relaxed);
  }
  /// Jumps the wall clock only, in either direction.
  void JumpWall(int64_t ns) { wall_ns_.fetch_add(ns, std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> steady_ns_{1};
  std::atomic<int64_t> wall_ns_;
};

}  // namespace cairn
