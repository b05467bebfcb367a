#include "server/tick_clock.h"

#include <ctime>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace cairn::server {
namespace {

#if defined(__x86_64__)
// Intel SDM volume 2, CPUID leaf 80000007H: EDX bit 8 says the counter runs at one rate in every state.
bool CounterIsInvariant() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) != 0 && (edx & (1U << 8)) != 0;
}
#endif

}  // namespace

uint64_t TickClock::MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

TickClock::TickClock() {
#if defined(__x86_64__)
  if (!CounterIsInvariant()) return;
  constexpr uint64_t kCalibrationNs = 10'000'000;
  const uint64_t begin_ns = MonotonicNs();
  const uint64_t begin = __builtin_ia32_rdtsc();
  const timespec pause{0, static_cast<long>(kCalibrationNs)};
  nanosleep(&pause, nullptr);
  const uint64_t end_ns = MonotonicNs();
  const uint64_t end = __builtin_ia32_rdtsc();
  if (end <= begin || end_ns <= begin_ns) return;
  ns_per_tick_ = static_cast<double>(end_ns - begin_ns) / static_cast<double>(end - begin);
  constant_rate_ = true;
#endif
}

}  // namespace cairn::server
