#include "tests/sim/scenario.h"

#include <string>

#include "base/fault.h"
#include "tests/sim/node.h"

namespace cairn::sim {
namespace {

constexpr int64_t kStepMaxNs = 60 * kSecond;
constexpr int64_t kLookEveryNs = 20 * kMs;
constexpr int64_t kRestartAfterNs = 30 * kMs;

}  // namespace

const char* ScenarioFaultName(ScenarioFault fault) {
  constexpr const char* kNames[] = {
      "none", "cut", "duplicate", "half open", "consumer crashes", "producer crashes"};
  return kNames[static_cast<size_t>(fault)];
}

Plan Scenario::ThePlan() {
  Plan plan;
  plan.seed = 1;
  plan.nodes = 2;
  plan.vbuckets = 2;
  plan.keys = 12;
  plan.engine.vbuckets = 2;
  plan.engine.memory_quota = 64u << 20;
  plan.engine.checkpoint_items_max = 5;
  plan.engine.sync_interval_ms = 20;
  plan.engine.flush_delay_ms = 0;
  plan.engine.durability_copies = 2;
  plan.background_ns = 2 * kMs;
  return plan;
}

Scenario::Scenario(ScenarioFault fault, uint64_t at_message, bool trace)
    : Stage(ThePlan(), trace), fault_(fault), at_message_(at_message) {
  world_.network.set_on_arrival([this](uint64_t number, LinkId link) { OnArrival(number, link); });
}

void Scenario::OnArrival(uint64_t number, LinkId link) {
  if (number != at_message_ || fault_ == ScenarioFault::kNone) return;
  world_.Note("scenario.fault", {number, link}, ScenarioFaultName(fault_));
  const auto [consumer, producer] = world_.network.ends(link);
  switch (fault_) {
    case ScenarioFault::kCut:
      return world_.network.Cut(link);
    case ScenarioFault::kDuplicate:
      return world_.network.Cut(link, Network::Knowing::kProducerLate);
    case ScenarioFault::kHalfOpen:
      return world_.network.Cut(link, Network::Knowing::kConsumerLate);
    default:
      break;
  }
  Node& node = world_.node(fault_ == ScenarioFault::kCrashConsumer ? consumer : producer);
  // What the message has set off is still under way on the stack.
  world_.queue.After(0, [this, &node] {
    node.Crash(CrashKind::kPower);
    world_.queue.After(kRestartAfterNs, [&node] { node.Start(); });
  });
}

void Scenario::Sync() {
  const int64_t deadline = world_.now_ns() + kStepMaxNs;
  std::string unsettled;
  do {
    RunUntil(world_.now_ns() + kLookEveryNs);
    unsettled = Unsettled();
  } while (!unsettled.empty() && !world_.failed() && world_.now_ns() < deadline);
  if (!unsettled.empty()) world_.Fail("does not come to one state: " + unsettled);
}

void Scenario::Write(int first, int last, const char* value) {
  for (int i = first; i <= last && !world_.failed(); ++i) {
    const std::string key = "k" + std::to_string(i);
    const NodeIndex leader = operator_.leader(clients_.VbucketOf(key));
    const bool remove = value == std::string_view();
    clients_.SendTo(leader, remove ? KeyOperation::Kind::kDelete : KeyOperation::Kind::kSet, key,
                    remove ? std::string() : value + std::to_string(i));
    RunUntil(world_.now_ns() + 5 * kMs);
  }
}

void Scenario::Update(Updates::Step step) {
  using engine::UpdatePhase;
  const UpdatePhase wanted = step == Updates::Step::kStart ? UpdatePhase::kUpdating : UpdatePhase::kNormal;
  const int64_t deadline = world_.now_ns() + kStepMaxNs;
  bool submitted = false;
  while (!world_.failed() && world_.now_ns() < deadline) {
    Node& leader = world_.node(operator_.leader(Vbid(0)));
    if (leader.up()) {
      const UpdatePhase phase = leader.engine().update_status().phase;
      if (phase == wanted && submitted) return;
      const bool before =
          phase == (step == Updates::Step::kStart ? UpdatePhase::kNormal : UpdatePhase::kUpdating);
      if (before) updates_.Submit(leader.index(), step);
      submitted = true;
    }
    RunUntil(world_.now_ns() + kLookEveryNs);
  }
  world_.Fail("the online update does not go on");
}

void Scenario::TakeOver() {
  const NodeIndex to = 1;
  const int64_t deadline = world_.now_ns() + kStepMaxNs;
  while (!world_.failed() && world_.now_ns() < deadline) {
    if (operator_.leader(Vbid(0)) == to && operator_.leader(Vbid(1)) == to) return;
    if (!operator_.taking_over()) operator_.TakeOver(to, 0);
    RunUntil(world_.now_ns() + kLookEveryNs);
  }
  world_.Fail("the takeover does not come to its end");
}

Outcome Scenario::Execute() {
  operator_.Begin();
  Write(0, 5, "first");
  ScheduleTicks();
  Sync();
  Write(2, 7, "live");
  Write(3, 3, "");
  Sync();
  Update(Updates::Step::kStart);
  Write(0, 8, "in the window");
  Write(1, 1, "");
  Sync();
  Update(Updates::Step::kRevert);
  Write(9, 9, "after the revert");
  Sync();
  Update(Updates::Step::kStart);
  Write(4, 10, "kept");
  Update(Updates::Step::kComplete);
  Write(11, 11, "after the update");
  TakeOver();
  Write(0, 3, "at the new active");
  Sync();
  world_.calm = true;
  Finish();
  return Report();
}

Outcome RunScenario(ScenarioFault fault, uint64_t at_message, bool trace) {
  FaultRegistry::Global().DisarmAll();
  Scenario scenario(fault, at_message, trace);
  return scenario.Execute();
}

}  // namespace cairn::sim
