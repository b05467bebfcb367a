#include "server/server_stats.h"

namespace cairn::server {

std::string_view OpClassName(OpClass op) {
  switch (op) {
    case OpClass::kGet:
      return "get";
    case OpClass::kStore:
      return "store";
    case OpClass::kDelete:
      return "delete";
    case OpClass::kArithmetic:
      return "arithmetic";
    case OpClass::kTouch:
      return "touch";
    case OpClass::kOther:
    case OpClass::kCount:
      break;
  }
  return "other";
}

void OpTimings::Raise(size_t index, uint64_t ticks) {
  uint64_t seen = max_ticks_[index].load(std::memory_order_relaxed);
  while (ticks > seen && !max_ticks_[index].compare_exchange_weak(seen, ticks, std::memory_order_relaxed)) {
  }
}

void OpTimings::CountSlow(uint64_t ticks) {
  slow_.fetch_add(1, std::memory_order_relaxed);
  if (ticks >= stall_ticks_) stalled_.fetch_add(1, std::memory_order_relaxed);
}

uint64_t OpTimings::MaxNs(OpClass op) const {
  return clock_.NsBetween(0, max_ticks_[static_cast<size_t>(op)].load(std::memory_order_relaxed));
}

void OpTimings::Reset() {
  for (std::atomic<uint64_t>& max : max_ticks_) max.store(0, std::memory_order_relaxed);
  for (Histogram& histogram : histograms_) histogram.Reset();
  slow_.store(0, std::memory_order_relaxed);
  stalled_.store(0, std::memory_order_relaxed);
  waits_.Reset();
}

void ServerStats::Reset() {
  counters_.Reset();
  timings_.Reset();
}

}  // namespace cairn::server
