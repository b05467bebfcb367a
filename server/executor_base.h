#pragma once
// What the text and the binary executor have in common: their surroundings, and timing. An executor lives
// on the stack for one batch of one session.

#include <string_view>

#include "server/session.h"

namespace cairn::server {

class ExecutorBase {
 public:
  ExecutorBase(Service& service, Unfinished& unfinished, Output& out, const engine::WaiterRef& waiter)
      : service_(service),
        engine_(service.engine),
        stats_(service.stats),
        unfinished_(unfinished),
        out_(out),
        waiter_(waiter),
        lap_(service.stats.tick_clock().Now()) {}

  /// The time since the last call, or since construction, went into one operation of that class.
  void Lap(OpClass op) {
    const uint64_t now = stats_.tick_clock().Now();
    const bool sampled = (++service_.op_number & (OpTimings::kSampleEvery - 1)) == 0;
    stats_.timings().Record(op, lap_, now, sampled);
    lap_ = now;
  }
  /// What was done since the last call is no operation (parsing ahead).
  void SkipLap() { lap_ = stats_.tick_clock().Now(); }

  bool output_full() const { return out_.size() >= service_.output_bytes_max; }

 protected:
  /// The engine parked the request.
  Outcome Park() {
    if (unfinished_.parked_ticks == 0) {
      stats_.Add(Counter::kParked);
      unfinished_.parked_ticks = stats_.tick_clock().Now();
    }
    return Outcome::kParked;
  }

  /// Runs an engine command that answers through a callback: `start(call)` the first time; afterwards only
  /// looks whether it is done. Returns null while it is not.
  template <class Start>
  std::shared_ptr<AsyncCall> Await(Start&& start) {
    if (unfinished_.call == nullptr) {
      unfinished_.call = std::make_shared<AsyncCall>(waiter_);
      start(unfinished_.call);
    }
    return unfinished_.call->done() ? std::move(unfinished_.call) : nullptr;
  }

  Service& service_;
  engine::Engine& engine_;
  ServerStats& stats_;
  Unfinished& unfinished_;
  Output& out_;
  const engine::WaiterRef& waiter_;

 private:
  uint64_t lap_;
};

/// flush_all's time → seconds from now; past and negative times are now. Same rule as an item's expiry.
uint32_t FlushDelay(int64_t exptime, uint32_t now_s);
/// Logs at the level that memcached's verbosity number stands for: 0 warnings, 1 information, 2 and more
/// everything.
void ApplyVerbosity(uint32_t level);

}  // namespace cairn::server
