#pragma once
// Scenario: a life in sixty messages or so, always the same: an initial copy, live writes, an online update
// that is taken back, one that is kept, a takeover, and writes at the new active. With one fault after any
// one of its messages; whatever it is, the same life goes on and has to end in the same way. Exhaustive where
// the seeds of run.h are random.

#include <cstdint>

#include "tests/sim/stage.h"

namespace cairn::sim {

enum class ScenarioFault : uint8_t {
  kNone,
  kCut,            // both ends learn of it
  kDuplicate,      // the consumer connects again while the producer believes in the old connection
  kHalfOpen,       // the consumer learns late
  kCrashConsumer,  // power loss
  kCrashProducer,
  kCount
};
const char* ScenarioFaultName(ScenarioFault fault);

class Scenario : private Stage {
 public:
  /// The fault happens when the message with that number has arrived; 1 is the first.
  Scenario(ScenarioFault fault, uint64_t at_message, bool trace);
  Outcome Execute();

 private:
  static Plan ThePlan();
  void OnArrival(uint64_t number, LinkId link);
  /// Runs until everything is in one state (or the fault has made that impossible: a failure).
  void Sync();
  void Write(int first, int last, const char* value);
  /// Until the update is open, or none is.
  void Update(Updates::Step step);
  void TakeOver();

  const ScenarioFault fault_;
  const uint64_t at_message_;
};

Outcome RunScenario(ScenarioFault fault, uint64_t at_message, bool trace);

}  // namespace cairn::sim
