#pragma once
// World: what all parts of one run share: time, chance, the network, the oracle, the trace, and the first
// thing that was found to be wrong. Owner: one run; one thread.

#include <cinttypes>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/plan.h"
#include "tests/sim/trace.h"

namespace cairn::sim {

class Node;

struct World {
  World(const Plan& run_plan, bool print_trace);
  ~World();

  int64_t now_ns() const { return queue.now_ns(); }
  void Note(std::string_view what, std::initializer_list<uint64_t> numbers, std::string_view text = {}) {
    trace.Note(queue.now_ns(), what, numbers, text);
  }
  /// A line of the trace that is no part of the hash.
  void Show(std::string_view what, std::initializer_list<uint64_t> numbers, std::string_view text = {}) {
    trace.Show(queue.now_ns(), what, numbers, text);
  }
  /// Only the first one counts: what follows is often its consequence.
  void Fail(std::string what) {
    if (!failure.empty()) return;
    failure = std::move(what);
    Note("FAIL", {}, failure);
  }
  bool failed() const { return !failure.empty(); }
  Node& node(NodeIndex index) { return *nodes[index]; }

  const Plan plan;
  Random random;
  EventQueue queue;
  Trace trace;
  Network network;
  Oracle oracle;
  std::string failure;
  uint32_t wall_max = 0;  // the latest that any node's wall clock has shown
  bool calm = false;      // no more trouble: everything has to come to its end
  std::vector<std::unique_ptr<Node>> nodes;
};

}  // namespace cairn::sim
