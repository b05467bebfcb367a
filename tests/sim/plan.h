#pragma once
// Plan: everything about a run that its seed decides before it begins. Plain values.

#include <cstdint>

#include "engine/options.h"

namespace cairn::sim {

struct Plan {
  uint64_t seed = 1;
  uint32_t nodes = 3;
  uint32_t vbuckets = 4;  // power of two
  uint32_t keys = 16;
  uint32_t events = 400;  // of the workload
  bool rocks = false;     // the real store on a file system in memory, else the memory store
  bool chains = false;    // copies may follow copies
  bool mixed = false;     // vbuckets of one cluster may be active on different nodes
  // What goes wrong; each is off in some seeds, so that one kind of trouble does not hide another.
  bool crashes = true, cuts = true, promotions = true, takeovers = true;
  bool store_faults = false;  // writes and reads fail
  bool fault_points = false;  // CAIRN_FAULT of the code
  bool clock_jumps = false;   // of the wall clocks
  bool apart = false;         // two nodes are promoted that do not know of each other
  bool updates = true;        // online updates
  bool flushes = true;        // flush_all
  bool large_values = false;  // with a small quota: ejection
  engine::EngineOptions engine;
  uint32_t chunk_bytes = 1024;
  uint64_t window_bytes = 1u << 20;
  uint32_t apply_operations = 16;     // per step
  int64_t background_ns = 5'000'000;  // between two steps of a busy engine

  static Plan FromSeed(uint64_t seed);
};

}  // namespace cairn::sim
