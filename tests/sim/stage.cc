#include "tests/sim/stage.h"

#include <utility>

#include "tests/sim/node.h"

namespace cairn::sim {
namespace {

using engine::VbucketPosition;
using engine::VbucketState;

constexpr int64_t kSettledWithinNs = 120 * kSecond;
constexpr int64_t kOperatorEveryNs = 200 * kMs;
constexpr uint64_t kEventsMax = 400'000;  // more is a livelock
constexpr size_t kPendingMax = 5'000;     // events scheduled at once

}  // namespace

void Outcome::Add(const Outcome& other) {
  events += other.events;
  operations += other.operations;
  durable += other.durable;
  promotions += other.promotions;
  takeovers += other.takeovers;
  updates += other.updates;
  reverts += other.reverts;
  points_compared += other.points_compared;
  points_unknown += other.points_unknown;
  keys_checked += other.keys_checked;
}

std::string Outcome::Summary() const {
  const auto number = [](const char* name, uint64_t n) {
    return std::string(name) + " " + std::to_string(n) + ", ";
  };
  return number("events", events) + number("operations", operations) + number("durable", durable) +
         number("promotions", promotions) + number("takeovers", takeovers) + number("updates", updates) +
         number("reverts", reverts) + number("digests compared", points_compared) +
         number("not comparable", points_unknown) + "key histories " + std::to_string(keys_checked);
}

Stage::Stage(const Plan& plan, bool trace)
    : world_(plan, trace),
      operator_(world_),
      clients_(world_, history_, [this](Vbid vbucket) { return operator_.leader(vbucket); }),
      updates_(world_, history_) {}

// Engines that end answer what was asked of them: those who asked must still be there.
Stage::~Stage() { world_.nodes.clear(); }

void Stage::RunUntil(int64_t time_ns) {
  while (!world_.failed() && world_.queue.next_ns() <= time_ns) {
    world_.queue.RunNext();
    if (world_.queue.events_run() > kEventsMax) world_.Fail("it does not come to an end: " + Unsettled());
    if (world_.queue.pending() > kPendingMax) world_.Fail("the number of things to do grows without bound");
  }
  world_.queue.AdvanceTo(time_ns);
}

void Stage::ScheduleTicks() {
  world_.queue.After(kOperatorEveryNs, [this] {
    operator_.Tick();
    ScheduleTicks();
  });
}

std::string Stage::Unsettled() {
  for (uint32_t v = 0; v < world_.plan.vbuckets; ++v) {
    const Vbid vbucket(static_cast<uint16_t>(v));
    Node& leader = world_.node(operator_.leader(vbucket));
    if (!leader.up()) return "node " + std::to_string(leader.index()) + " is down";
    const VbucketPosition active = leader.Position(vbucket);
    const std::string where = "vbucket " + std::to_string(v) + " on node ";
    if (active.epoch < world_.oracle.HighestEpoch(vbucket)) {
      return where + std::to_string(leader.index()) + " has a lower epoch than somebody had";
    }
    for (const auto& node : world_.nodes) {
      const std::string here = where + std::to_string(node->index());
      if (!node->up()) return here + ": down";
      const VbucketPosition position = node->Position(vbucket);
      const bool leads = node->index() == leader.index();
      if (position.state != (leads ? VbucketState::kActive : VbucketState::kReplica)) {
        return here + " is " + std::string(engine::VbucketStateName(position.state));
      }
      if (position.in_snapshot) return here + " is in a disk snapshot";
      if (!position.warm) return here + " is not warm";
      if (position.high != active.high) {
        return here + " is at " + std::to_string(position.high.get()) + " of " +
               std::to_string(active.high.get());
      }
      if (position.failover_log != active.failover_log) return here + " has another history";
      if (position.persisted != position.high) return here + " is not persisted";
      if (position.window != active.window) return here + " has another window";
      if (position.digest != active.digest) return here + " has another digest";
    }
  }
  return {};
}

void Stage::WaitUntilSettled() {
  const int64_t deadline = world_.now_ns() + kSettledWithinNs;
  int settled = 0;
  std::string unsettled;
  while (!world_.failed() && world_.now_ns() < deadline) {
    RunUntil(world_.now_ns() + 500 * kMs);
    unsettled = updates_.EndAll();
    if (unsettled.empty()) unsettled = Unsettled();
    settled = unsettled.empty() ? settled + 1 : 0;
    if (settled == 3) return;
  }
  world_.Fail("not in one state " + std::to_string(kSettledWithinNs / kSecond) +
              " s after all trouble: " + unsettled);
}

void Stage::CompareCopies(const char* when) {
  for (uint32_t v = 0; v < world_.plan.vbuckets && !world_.failed(); ++v) {
    const Vbid vbucket(static_cast<uint16_t>(v));
    const NodeIndex leader = operator_.leader(vbucket);
    for (const auto& node : world_.nodes) {
      // Reading first: it notes how late it is.
      const Content copy = clients_.ReadCopy(node->index(), vbucket);
      const Content expected = clients_.WithoutMaybeGone(world_.oracle.Expected(leader, vbucket));
      const Content found = clients_.WithoutMaybeGone(copy);
      const std::string difference = Difference(expected, found);
      if (difference.empty()) continue;
      world_.Fail("node " + std::to_string(node->index()) + " vbucket " + std::to_string(v) + " " + when +
                  ": " + difference);
    }
  }
}

void Stage::RestartAll() {
  for (const auto& node : world_.nodes) node->StopCleanly();
  for (const auto& node : world_.nodes) node->Start();
}

void Stage::Finish() {
  if (!world_.failed()) WaitUntilSettled();
  if (!world_.failed()) CompareCopies("in the end");
  if (!world_.failed()) {
    RestartAll();
    WaitUntilSettled();
  }
  if (!world_.failed()) CompareCopies("after a restart of every node");
  if (world_.failed()) return;
  const History::Result checked = history_.Check(world_.oracle.branches(), world_.wall_max);
  keys_checked_ = checked.checked;
  if (!checked.failure.empty()) world_.Fail(checked.failure);
}

Outcome Stage::Report() const {
  Outcome outcome;
  outcome.failure = world_.failure;
  outcome.hash = world_.trace.hash();
  outcome.events = world_.queue.events_run();
  outcome.operations = clients_.operations();
  outcome.durable = clients_.acknowledged_durable();
  outcome.promotions = operator_.promotions();
  outcome.takeovers = operator_.takeovers();
  outcome.updates = updates_.started();
  outcome.reverts = updates_.reverted();
  outcome.points_compared = world_.oracle.points_compared();
  outcome.points_unknown = world_.oracle.points_unknown();
  outcome.keys_checked = keys_checked_;
  outcome.messages = world_.network.arrivals();
  return outcome;
}

}  // namespace cairn::sim
