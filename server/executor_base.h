#pragma once
// What the text and the binary executor have in common: their surroundings, and timing. An executor lives
// on the stack for one batch of one session.

#include <algorithm>
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
  ~ExecutorBase() { ForgetRun(); }
  ExecutorBase(const ExecutorBase&) = delete;
  ExecutorBase& operator=(const ExecutorBase&) = delete;

  /// A window of `count` requests has been parsed and will be executed in order.
  void BeginWindow(size_t count) {
    ForgetRun();
    window_count_ = count;
  }

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
  /// The engine parked an operation on a key; how long it waits is recorded.
  Outcome Park() {
    if (unfinished_.parked_ticks == 0) {
      stats_.Add(Counter::kParked);
      unfinished_.parked_ticks = stats_.tick_clock().Now();
    }
    return Outcome::kParked;
  }

  /// The outcome of the read at `index` of the window. The reads that directly follow it (`is_read(i)`) are
  /// done with it, so that their values are on the way to the cache while the first ones are answered.
  template <class IsRead>
  engine::GetResult& LookUp(size_t index, IsRead&& is_read) {
    if (index < run_end_) return service_.results[index - run_begin_];
    ForgetRun();
    run_begin_ = run_end_ = index;
    bool more = true;
    while (more) {
      engine::GetResult& result = service_.results[run_end_ - run_begin_];
      result = engine_.Get(service_.keys[run_end_], waiter_);
      if (result.code == Code::kOk) PrefetchValue(*result.item);
      const bool answered = result.code == Code::kOk || result.code == Code::kNotFound;
      more = ++run_end_ < window_count_ && answered && is_read(run_end_);
    }
    return service_.results[index - run_begin_];
  }

  /// Brings the beginning of the value into the cache.
  static void PrefetchValue(const Item& item) {
    constexpr size_t kLine = 64;
    constexpr size_t kBytesMax = 4 * kLine;
    const std::string_view value = item.value();
    const size_t bytes = std::min(value.size(), kBytesMax);
    for (size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(value.data() + at);
    if (bytes > 0) __builtin_prefetch(value.data() + bytes - 1);
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

  // --- durability of the write being executed ---
  using Level = engine::DurabilityLevel;
  /// What a write of a request that says nothing has to reach. One load when nobody asks for anything.
  void DemandDefault() {
    level_ = engine_.durability();
    if (__builtin_expect(level_ != Level::kMemory, 0)) {
      const bool by_policy = level_ == Level::kPersisted && engine_.syncs_always();
      timeout_ms_ = by_policy ? service_.commit_timeout_ms : engine_.durability_settings().timeout_ms;
    }
  }
  void Demand(Level level, uint32_t timeout_ms) {
    level_ = engine_.syncs_always() ? engine::WithSync(level) : level;
    timeout_ms_ = timeout_ms != 0 ? timeout_ms : engine_.durability_settings().timeout_ms;
  }
  /// Is the write's answer one that may have to wait, or be taken back?
  bool demanding() const { return __builtin_expect(level_ != Level::kMemory, 0); }
  /// May the batch take an answer that has this long to become durable? Else the write begins the next one.
  bool TimeoutFits() const { return out_.TakesTimeout(timeout_ms_); }
  engine::Requirement RequirementOf(Vbid vbucket, Seqno seqno, uint64_t history) const {
    return {vbucket, level_, seqno, history};
  }

  Service& service_;
  engine::Engine& engine_;
  ServerStats& stats_;
  Unfinished& unfinished_;
  Output& out_;
  const engine::WaiterRef& waiter_;
  Level level_ = Level::kMemory;
  uint32_t timeout_ms_ = 0;

 private:
  // Lets go of items whose answers were not made, because an earlier request was parked.
  void ForgetRun() {
    for (size_t i = run_begin_; i < run_end_; ++i) service_.results[i - run_begin_].item.Reset();
    run_begin_ = run_end_ = 0;
  }

  uint64_t lap_;
  size_t window_count_ = 0;
  size_t run_begin_ = 0;  // requests of the window whose results are in service_.results
  size_t run_end_ = 0;
};

/// flush_all's time → seconds from now; past and negative times are now. Same rule as an item's expiry.
uint32_t FlushDelay(int64_t exptime, uint32_t now_s);
/// Logs at the level that memcached's verbosity number stands for: 0 warnings, 1 information, 2 and more
/// everything.
void ApplyVerbosity(uint32_t level);

}  // namespace cairn::server
