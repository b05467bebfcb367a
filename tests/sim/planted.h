#pragma once
// Bugs that are planted in the code behind test-only fault points: a simulator that does not find one of them
// is blind in that direction. Each is armed for whole runs.

#include <cstdint>
#include <string>

#include "tests/sim/run.h"

namespace cairn::sim {

struct Plant {
  const char* fault;
  double probability;
};

/// How many seeds from 1 on it takes until one fails that passes without the bug; 0: more than `seeds_max`.
inline uint64_t SeedsToFind(const Plant& plant, uint64_t seeds_max) {
  for (uint64_t seed = 1; seed <= seeds_max; ++seed) {
    if (RunSeed(seed, {false, plant.fault, plant.probability}).failure.empty()) continue;
    if (RunSeed(seed, {}).failure.empty()) return seed;
  }
  return 0;
}

}  // namespace cairn::sim
