#pragma once
// Stage: a cluster with everybody who acts on it, and what any run ends with: the wait until all copies are
// in one state, and the comparison of every copy with the oracle, in memory and after a clean restart of
// every node. What happens before that is up to who derives from it: chance (run.h) or a script (scenario.h).
// One thread.

#include <cstdint>
#include <string>

#include "tests/sim/clients.h"
#include "tests/sim/history.h"
#include "tests/sim/operator.h"
#include "tests/sim/plan.h"
#include "tests/sim/updates.h"
#include "tests/sim/world.h"

namespace cairn::sim {

struct Outcome {
  std::string failure;  // empty: all is well
  uint64_t hash = 0;    // of everything that happened
  uint64_t events = 0, operations = 0, durable = 0, promotions = 0, takeovers = 0, messages = 0;
  uint64_t updates = 0, reverts = 0, points_compared = 0, points_unknown = 0, keys_checked = 0;
  void Add(const Outcome& other);
  std::string Summary() const;
};

class Stage {
 public:
  Stage(const Plan& plan, bool trace);
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

 protected:
  void ScheduleTicks();
  /// Runs events until the time, the first failure or the limit of events.
  void RunUntil(int64_t time_ns);
  /// Why the cluster is not in one state yet; empty: it is.
  std::string Unsettled();
  void WaitUntilSettled();
  void CompareCopies(const char* when);
  void RestartAll();
  /// The verdict; after all trouble has ended.
  void Finish();
  Outcome Report() const;

  World world_;
  History history_;
  Operator operator_;
  Clients clients_;
  Updates updates_;
  uint64_t keys_checked_ = 0;
};

}  // namespace cairn::sim
