#pragma once
// How long a test waits for what must come: so long as its process runs. One that was stopped for a while (by
// a debugger, by whoever measures on the same machine) finds every deadline passed when it goes on, and what
// it waits for has not had a moment to happen. So time is counted in slices, of which each counts as one
// however long it took.

#include <chrono>
#include <thread>

namespace cairn {

/// Calls `wait(slice)`, which waits at most so long and answers whether it has come, until it has, or slices
/// of `limit` together have passed: false then.
template <class Wait>
bool Patiently(std::chrono::milliseconds limit, Wait&& wait,
               std::chrono::milliseconds slice = std::chrono::milliseconds(10)) {
  for (std::chrono::milliseconds waited{0}; waited < limit; waited += slice) {
    if (wait(slice)) return true;
  }
  return false;
}

/// Looks every two milliseconds.
template <class Condition>
bool PatientlyUntil(std::chrono::milliseconds limit, Condition&& holds) {
  const auto look = [&](std::chrono::milliseconds slice) {
    if (holds()) return true;
    std::this_thread::sleep_for(slice);
    return false;
  };
  return Patiently(limit, look, std::chrono::milliseconds(2)) || holds();
}

}  // namespace cairn
