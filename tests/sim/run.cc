#include "tests/sim/run.h"

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "tests/sim/node.h"

namespace cairn::sim {
namespace {

// Places where the code can fail, armed in a quarter of the runs, one time in four each.
constexpr const char* kFaultPoints[] = {"flusher.write_no_space", "update.write_meta"};

}  // namespace

void Run::ScheduleTrouble() {
  if (troubles_left_ == 0) return;
  --troubles_left_;
  // Mostly bursts, sometimes a pause in which the cluster can come to itself.
  const int64_t pause = world_.random.OneIn(40) ? static_cast<int64_t>(world_.random.Uniform(6 * kSecond))
                                                : static_cast<int64_t>(world_.random.Uniform(30 * kMs));
  world_.queue.After(pause, [this] {
    Trouble();
    ScheduleTrouble();
  });
}

void Run::Trouble() {
  Random& random = world_.random;
  const Plan& plan = world_.plan;
  const uint64_t dice = random.Uniform(1000);
  const auto any = static_cast<NodeIndex>(random.Uniform(world_.nodes.size()));
  if (dice < 830) {
    clients_.Operate();
  } else if (dice < 860) {
    const NodeIndex leader = operator_.leader(Vbid(static_cast<uint16_t>(random.Uniform(plan.vbuckets))));
    if (plan.updates) updates_.Progress(leader);
  } else if (dice < 865) {
    if (plan.flushes) updates_.FlushAll(operator_.leader(Vbid(0)));
  } else if (dice < 890) {
    Node& node = world_.node(operator_.leader(Vbid(static_cast<uint16_t>(any))));
    if (!node.up()) return;
    node.SyncClock();
    const auto created = node.engine().CreateCheckpoint(Vbid(static_cast<uint16_t>(any)));
    world_.trace.Mix(created.ok() ? created->get() : 0);
    node.Touched();
  } else if (dice < 915) {
    if (plan.crashes) CrashSomebody();
  } else if (dice < 950) {
    if (plan.cuts) BreakNetwork();
  } else if (dice < 953) {
    // Somebody who does not know better has a node follow any other; put right with the next look.
    operator_.Misdirect(any);
  } else if (dice < 970) {
    ChangeHands();
  } else if (dice < 980) {
    if (plan.store_faults) BreakDisk();
  } else if (dice < 990) {
    if (!plan.clock_jumps) return;
    const int64_t jump = static_cast<int64_t>(random.Uniform(10 * kSecond)) - 5 * kSecond;
    world_.Note("clock.jump", {any}, std::to_string(jump));
    world_.node(any).clock().JumpWall(jump);
  } else {
    clients_.ReadAll();
  }
}

void Run::CrashSomebody() {
  Random& random = world_.random;
  Node& node = world_.node(static_cast<NodeIndex>(random.Uniform(world_.nodes.size())));
  if (!node.up()) return;
  // What a policy without syncs gives to the operating system survives the process only.
  const bool power = world_.plan.engine.sync != engine::SyncPolicy::kNone && random.OneIn(2);
  switch (random.Uniform(5)) {
    case 0:
      updates_.Stopping(node.index());
      node.StopCleanly();
      break;
    case 1:
      if (power) {
        node.CrashInsideWrite(1 + random.Uniform(6));
        break;
      }
      [[fallthrough]];
    default:
      node.Crash(power ? CrashKind::kPower : CrashKind::kProcess);
  }
  const int64_t down = random.OneIn(3) ? static_cast<int64_t>(random.Uniform(8 * kSecond))
                                       : static_cast<int64_t>(random.Uniform(300 * kMs));
  world_.queue.After(down, [&node] { node.Start(); });
  // A crash inside a write comes when the write does.
  world_.queue.After(down + 5 * kSecond, [&node] { node.Start(); });
}

void Run::BreakNetwork() {
  Random& random = world_.random;
  if (random.OneIn(5)) {
    const auto a = static_cast<NodeIndex>(random.Uniform(world_.nodes.size()));
    const auto b =
        static_cast<NodeIndex>((a + 1 + random.Uniform(world_.nodes.size() - 1)) % world_.nodes.size());
    world_.Note("net.partition", {a, b});
    world_.network.Partition(a, b);
    world_.queue.After(static_cast<int64_t>(random.Uniform(5 * kSecond)), [this] {
      world_.Note("net.heal", {});
      world_.network.Heal();
    });
    return;
  }
  const LinkId link = world_.network.AnyLink();
  if (link == 0) return;
  constexpr Network::Knowing kKnowing[] = {Network::Knowing::kBothSoon, Network::Knowing::kProducerLate,
                                           Network::Knowing::kConsumerLate};
  world_.Note("net.cut", {link});
  world_.network.Cut(link, kKnowing[random.Uniform(3)]);
}

void Run::BreakDisk() {
  Random& random = world_.random;
  Node& node = world_.node(static_cast<NodeIndex>(random.Uniform(world_.nodes.size())));
  if (!node.up()) return;
  constexpr Code kCodes[] = {Code::kNoSpace, Code::kIoError, Code::kAmbiguous};
  const bool forever = random.OneIn(3);
  world_.Note("disk.break", {node.index()}, forever ? "for ever" : "once");
  if (random.OneIn(3)) {
    node.disk().FailReads(1 + random.Uniform(5), forever);
  } else {
    // Without syncs, what a failed write-back loses is lost for good (docs/durability.md): only a full disk
    // then.
    const bool syncs = world_.plan.engine.sync != engine::SyncPolicy::kNone;
    node.disk().FailWrites(1 + random.Uniform(5), syncs ? kCodes[random.Uniform(3)] : Code::kNoSpace,
                           forever);
  }
  world_.queue.After(static_cast<int64_t>(random.Uniform(3 * kSecond)), [&node] { node.disk().Repair(); });
}

void Run::ChangeHands() {
  Random& random = world_.random;
  const NodeIndex from = operator_.leader(Vbid(static_cast<uint16_t>(random.Uniform(world_.plan.vbuckets))));
  const auto to = static_cast<NodeIndex>(random.Uniform(world_.nodes.size()));
  if (to == from) return;
  operator_.set_patience_ns(random.OneIn(2) ? 0 : static_cast<int64_t>(random.Uniform(3 * kSecond)));
  if (world_.plan.takeovers && random.OneIn(2)) {
    operator_.TakeOver(to, from);
  } else if (world_.plan.promotions) {
    if (world_.plan.apart && random.OneIn(3)) {
      operator_.PromoteApart(from);
    } else {
      operator_.Promote(to, from);
    }
    clients_.ReadAll();
  }
}

void Run::ArmFaultPoints() {
  if (!world_.plan.fault_points) return;
  for (const char* point : kFaultPoints) {
    if (!world_.random.OneIn(4)) continue;
    FaultRegistry::Global().Arm(point, FaultSpec::WithProbability(0.25, world_.random.Next64()));
  }
}

void Run::CalmDown() {
  world_.Note("calm", {});
  world_.calm = true;
  for (const char* point : kFaultPoints) FaultRegistry::Global().Disarm(point);
  world_.network.Heal();
  operator_.set_patience_ns(0);
  for (const auto& node : world_.nodes) {
    node->disk().Repair();
    node->Start();
  }
}

Outcome Run::Execute() {
  ArmFaultPoints();
  operator_.Begin();
  ScheduleTicks();
  ScheduleTrouble();
  while (troubles_left_ > 0 && !world_.failed()) RunUntil(world_.now_ns() + kSecond);
  if (!world_.failed()) CalmDown();
  Finish();
  return Report();
}

Outcome RunSeed(uint64_t seed, const RunOptions& options) {
  FaultRegistry& faults = FaultRegistry::Global();
  faults.DisarmAll();
  if (!options.fault.empty()) {
    faults.Arm(options.fault, FaultSpec::WithProbability(options.fault_probability, seed));
  }
  Outcome outcome;
  {
    Run run(Plan::FromSeed(seed), options.trace);
    outcome = run.Execute();
  }
  faults.DisarmAll();
  return outcome;
}

}  // namespace cairn::sim
