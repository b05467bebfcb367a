#pragma once
// Run: one seed from its beginning to its verdict. First trouble: clients, updates, promotions, crashes, cuts
// and failures as the plan allows; then calm: everything heals and has to come to the same state everywhere.

#include <cstdint>
#include <string>

#include "tests/sim/stage.h"

namespace cairn::sim {

class Run : private Stage {
 public:
  Run(const Plan& plan, bool trace) : Stage(plan, trace), troubles_left_(plan.events) {}
  Outcome Execute();

 private:
  void ScheduleTrouble();
  void Trouble();
  void CrashSomebody();
  void BreakNetwork();
  void BreakDisk();
  void ChangeHands();
  void ArmFaultPoints();
  void CalmDown();

  uint64_t troubles_left_;
};

struct RunOptions {
  bool trace = false;
  std::string fault;               // armed throughout; a planted bug
  double fault_probability = 1.0;  // of each time it is reached
};
/// Fault points are reset before and after: they belong to the process.
Outcome RunSeed(uint64_t seed, const RunOptions& options);

}  // namespace cairn::sim
