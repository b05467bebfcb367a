#pragma once
// A small dense number for each living thread, so that per-thread data can live in an array. The lowest
// free number is given at a thread's first call and returned when the thread ends; the next new thread
// then gets it again, after everything the ended thread wrote (the registry's mutex orders them). So a
// shard chosen by thread number has one writer at a time.
//
// State: the numbers in use are the process's, as threads are.

#include <cstdint>

namespace cairn {

/// What ThreadNumber answers in a thread whose number was returned already (inside destructors of
/// thread-local objects). Larger than any real number.
inline constexpr uint32_t kNoThreadNumber = UINT32_MAX - 1;

namespace internal {
inline constexpr uint32_t kThreadNumberUnset = UINT32_MAX;
inline constinit thread_local uint32_t thread_number = kThreadNumberUnset;
uint32_t AssignThreadNumber();
}  // namespace internal

/// Of the calling thread; 0, 1, 2 … Costs one thread-local load after the first call.
inline uint32_t ThreadNumber() {
  const uint32_t number = internal::thread_number;
  return __builtin_expect(number != internal::kThreadNumberUnset, 1) ? number
                                                                     : internal::AssignThreadNumber();
}

}  // namespace cairn
