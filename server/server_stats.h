#pragma once
// What the server counts and times. One object per Server, shared by its loops; raised and read from any
// thread. Names in the comments are those of `stats`.

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "base/metrics.h"
#include "server/tick_clock.h"

namespace cairn::server {

enum class Counter : uint32_t {
  kConnectionsTotal,
  kConnectionsRejected,
  kAcceptOutOfDescriptors,  // listen_disabled_num
  kAcceptErrors,
  kIdleKicks,
  kSlowKicks,
  kYields,  // conn_yields: a connection gave its loop away with work left
  kBytesRead,
  kBytesWritten,
  kProtocolErrors,
  kCmdGet,
  kGetHits,
  kGetMisses,
  kCmdSet,
  kStoreTooLarge,
  kStoreNoMemory,
  kCasHits,
  kCasMisses,
  kCasBadval,
  kDeleteHits,
  kDeleteMisses,
  kIncrHits,
  kIncrMisses,
  kDecrHits,
  kDecrMisses,
  kCmdTouch,
  kTouchHits,
  kTouchMisses,
  kCmdFlush,
  kParked,     // operations that waited for the engine (a disk read)
  kHeld,       // batches whose answers waited for durability
  kAmbiguous,  // answers turned into "ambiguous"
  kCount
};

/// What is timed together.
enum class OpClass : uint8_t { kGet, kStore, kDelete, kArithmetic, kTouch, kOther, kCount };
std::string_view OpClassName(OpClass op);

/// Times of operations in the engine. Every operation is measured for the maximum; one in kSampleEvery
/// enters the histogram.
class OpTimings {
 public:
  static constexpr uint32_t kSampleEvery = 64;

  explicit OpTimings(const TickClock& clock)
      : clock_(clock), slow_ticks_(clock.TicksOf(kSlowNs)), stall_ticks_(clock.TicksOf(kStallNs)) {}

  /// `sampled`: also enter the histogram.
  void Record(OpClass op, uint64_t begin_ticks, uint64_t end_ticks, bool sampled) {
    const uint64_t ticks = end_ticks > begin_ticks ? end_ticks - begin_ticks : 0;
    const auto index = static_cast<size_t>(op);
    if (__builtin_expect(ticks > max_ticks_[index].load(std::memory_order_relaxed), 0)) Raise(index, ticks);
    if (__builtin_expect(ticks >= slow_ticks_, 0)) CountSlow(ticks);
    if (__builtin_expect(sampled, 0)) histograms_[index].Record(clock_.NsBetween(begin_ticks, end_ticks));
  }
  /// An operation was repeated after the engine had parked it for so long.
  void RecordWait(uint64_t begin_ticks, uint64_t end_ticks) {
    waits_.Record(clock_.NsBetween(begin_ticks, end_ticks));
  }

  uint64_t MaxNs(OpClass op) const;
  Histogram::Snapshot Read(OpClass op) const { return histograms_[static_cast<size_t>(op)].Read(); }
  Histogram::Snapshot ReadWaits() const { return waits_.Read(); }
  /// Operations that took at least a millisecond, and at least ten.
  uint64_t slow_ops() const { return slow_.load(std::memory_order_relaxed); }
  uint64_t stalled_ops() const { return stalled_.load(std::memory_order_relaxed); }
  void Reset();
  const TickClock& clock() const { return clock_; }

 private:
  static constexpr uint64_t kSlowNs = 1'000'000;
  static constexpr uint64_t kStallNs = 10'000'000;
  static constexpr size_t kClasses = static_cast<size_t>(OpClass::kCount);

  void Raise(size_t index, uint64_t ticks);
  void CountSlow(uint64_t ticks);

  const TickClock& clock_;
  const uint64_t slow_ticks_;
  const uint64_t stall_ticks_;
  std::array<std::atomic<uint64_t>, kClasses> max_ticks_{};
  std::atomic<uint64_t> slow_{0};
  std::atomic<uint64_t> stalled_{0};
  std::array<Histogram, kClasses> histograms_;
  Histogram waits_;
};

/// Everything the loops share and `stats` shows.
class ServerStats {
 public:
  ServerStats() : timings_(tick_clock_) {}

  void Add(Counter counter, uint64_t n = 1) { counters_.Add(counter, n); }
  uint64_t Sum(Counter counter) const { return counters_.Sum(counter); }
  /// A connection came or went; this gauge survives Reset.
  void ConnectionOpened() {
    connections_.fetch_add(1, std::memory_order_relaxed);
    Add(Counter::kConnectionsTotal);
  }
  void ConnectionClosed() { connections_.fetch_sub(1, std::memory_order_relaxed); }
  uint32_t connections() const { return connections_.load(std::memory_order_relaxed); }

  OpTimings& timings() { return timings_; }
  const OpTimings& timings() const { return timings_; }
  const TickClock& tick_clock() const { return tick_clock_; }
  /// `stats reset`.
  void Reset();

 private:
  const TickClock tick_clock_;
  CounterSet<Counter> counters_;
  std::atomic<uint32_t> connections_{0};
  OpTimings timings_;
};

}  // namespace cairn::server
