#include "tests/sim/world.h"

#include "tests/sim/node.h"

namespace cairn::sim {

World::World(const Plan& run_plan, bool print_trace)
    : plan(run_plan),
      random(run_plan.seed),
      queue(random.Next64()),
      trace(print_trace),
      network(queue, random.Next64()),
      oracle([this](const std::string& what) { Fail(what); }) {
  for (uint32_t i = 0; i < plan.nodes; ++i)
    nodes.push_back(std::make_unique<Node>(*this, i, random.Next64()));
}

World::~World() = default;

}  // namespace cairn::sim
