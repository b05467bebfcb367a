#include "tests/sim/operator.h"

#include <algorithm>
#include <utility>

#include "tests/sim/node.h"

namespace cairn::sim {
namespace {

using engine::VbucketPosition;
using engine::VbucketState;

constexpr int64_t kTakeoverMaxNs = 10 * kSecond;
constexpr int64_t kVacantMaxNs = 3 * kSecond;
// Then no better copy comes back any more.
constexpr int64_t kForceAfterNs = 15 * kSecond;

Vbid At(size_t index) { return Vbid(static_cast<uint16_t>(index)); }

}  // namespace

Operator::Operator(World& world)
    : world_(world),
      leaders_(world.plan.vbuckets),
      led_epochs_(world.plan.vbuckets),
      vacant_since_ns_(world.plan.vbuckets) {}

void Operator::Begin() {
  for (uint32_t v = 0; v < world_.plan.vbuckets; ++v) {
    leaders_[v] = world_.plan.mixed ? v % world_.plan.nodes : 0;
  }
  for (const auto& node : world_.nodes) {
    node->Start();
    std::vector<Vbid> others;
    for (size_t v = 0; v < leaders_.size(); ++v) {
      if (leaders_[v] != node->index()) others.push_back(At(v));
    }
    const engine::PendingRef demoted = node->replication().Demote(others, VbucketState::kReplica);
    if (!demoted->ready() || !demoted->status().ok()) world_.Fail("a new node cannot be made a replica");
    world_.oracle.Forget(node->index());
    node->Touched();
  }
  Tick();
}

std::vector<Vbid> Operator::LedBy(NodeIndex node) const {
  std::vector<Vbid> vbuckets;
  for (size_t v = 0; v < leaders_.size(); ++v) {
    if (leaders_[v] == node) vbuckets.push_back(At(v));
  }
  return vbuckets;
}

void Operator::Tick() {
  FindLeaders();
  FollowTakeover();
  FillVacancies();
  for (const auto& node : world_.nodes) {
    if (node->up()) Arrange(*node);
  }
}

void Operator::FindLeaders() {
  for (size_t v = 0; v < leaders_.size(); ++v) {
    uint64_t best = 0;
    bool found = false;
    for (const auto& node : world_.nodes) {
      if (!node->up()) continue;
      const VbucketPosition position = node->Position(At(v));
      epoch_seen_ = std::max(epoch_seen_, position.epoch);
      if (position.state != VbucketState::kActive) continue;
      // One that was deposed by a node that is down now is no leader again: its next epoch is taken.
      if (position.epoch < led_epochs_[v] || (found && position.epoch <= best)) continue;
      found = true;
      best = led_epochs_[v] = position.epoch;
      leaders_[v] = node->index();
    }
    if (found) {
      vacant_since_ns_[v] = 0;
    } else if (vacant_since_ns_[v] == 0) {
      vacant_since_ns_[v] = std::max<int64_t>(world_.now_ns(), 1);
    }
  }
}

void Operator::FollowTakeover() {
  if (!takeover_) return;
  Node& to = world_.node(takeover_->to);
  const bool gone = !to.up() || to.life() != takeover_->life_to;
  bool done = !gone;
  for (const Vbid vbucket : takeover_->vbuckets)
    done = done && to.Position(vbucket).state == VbucketState::kActive;
  if (!done && !gone && world_.now_ns() < takeover_->deadline_ns) return;
  world_.Note("takeover.over", {takeover_->to, takeover_->from}, done ? "done" : gone ? "gone" : "too long");
  if (done) ++takeovers_;
  takeover_.reset();
}

void Operator::FillVacancies() {
  if (takeover_) return;
  for (size_t v = 0; v < leaders_.size(); ++v) {
    if (vacant_since_ns_[v] == 0 || world_.now_ns() - vacant_since_ns_[v] < kVacantMaxNs) continue;
    const NodeIndex former = leaders_[v];
    // It comes back soon enough, as the active it was, unless it has been told that it is not any more.
    if (!world_.node(former).up() && !world_.calm && !world_.plan.promotions) continue;
    FailOver(former, world_.now_ns() - vacant_since_ns_[v] >= kForceAfterNs);
    return;
  }
}

bool Operator::UpToDate(NodeIndex to, Vbid vbucket) {
  const uint32_t majority = engine::MajorityOf(world_.plan.nodes);
  const VbucketPosition mine = world_.node(to).Position(vbucket);
  if (mine.regain != Seqno()) return false;
  uint32_t copies = 0;
  for (const auto& node : world_.nodes) {
    if (!node->up() || node->index() == leaders_[vbucket.get()]) continue;
    const VbucketPosition theirs = node->Position(vbucket);
    // What it has says nothing of what it had.
    if (theirs.in_snapshot || theirs.failover_log.empty() || theirs.regain != Seqno()) continue;
    ++copies;
    if (theirs.failover_log.front() != mine.failover_log.front()) {
      // Comparable only when theirs is a branch that mine goes on from.
      bool known = false;
      for (const auto& entry : mine.failover_log) known = known || entry == theirs.failover_log.front();
      if (!known) return false;
    }
    if (theirs.high > mine.high) return false;
  }
  return copies + majority > world_.plan.nodes;
}

bool Operator::PromoteVbuckets(NodeIndex to, const std::vector<Vbid>& vbuckets, How how) {
  Node& node = world_.node(to);
  if (!node.up() || vbuckets.empty()) return false;
  bool incomplete = false;
  for (const Vbid vbucket : vbuckets) {
    const VbucketPosition position = node.Position(vbucket);
    if (position.in_snapshot || position.state == VbucketState::kActive) return false;
    incomplete = incomplete || position.regain != Seqno();
  }
  const bool refused = incomplete && how != How::kForced;
  for (const Vbid vbucket : vbuckets) {
    if (!refused && !UpToDate(to, vbucket)) world_.oracle.AllowLoss(to, vbucket);
  }
  node.SyncClock();
  // Nothing of these vbuckets is applied any more.
  for (const auto& [source, consumer] : node.consumers()) consumer->core().Drop(vbuckets);
  engine::PromoteOptions options;
  if (how != How::kUnaware) options.epoch_min = ++epoch_seen_;
  options.force = how == How::kForced;
  const engine::PendingRef promoted = node.replication().Promote(vbuckets, options);
  const Status status = promoted->ready() ? promoted->status() : Status(Code::kTimeout, "pending");
  world_.Note("promote", {to, vbuckets.size(), options.epoch_min}, status.ToString());
  if (refused && status.ok()) world_.Fail("a copy is promoted that has given up what it had acknowledged");
  node.Touched();
  if (!status.ok()) {
    node.FollowNobody();  // what was dropped is followed again with the next Arrange
    return false;
  }
  ++promotions_;
  for (const Vbid vbucket : vbuckets) {
    const uint64_t epoch = node.Position(vbucket).epoch;
    vacant_since_ns_[vbucket.get()] = 0;
    if (epoch < led_epochs_[vbucket.get()]) continue;  // somebody else was promoted, and wins
    leaders_[vbucket.get()] = to;
    led_epochs_[vbucket.get()] = epoch;
  }
  return true;
}

bool Operator::Promote(NodeIndex to, NodeIndex from) {
  if (takeover_ || to == from) return false;
  return PromoteVbuckets(to, LedBy(from));
}

void Operator::PromoteApart(NodeIndex from) {
  if (takeover_) return;
  const std::vector<Vbid> vbuckets = LedBy(from);
  const auto count = static_cast<NodeIndex>(world_.nodes.size());
  const auto first = static_cast<NodeIndex>((from + 1 + world_.random.Uniform(count - 1)) % count);
  const auto second = static_cast<NodeIndex>((from + 1 + world_.random.Uniform(count - 1)) % count);
  if (first == second) return;
  world_.Note("promote.apart", {first, second});
  PromoteVbuckets(first, vbuckets, How::kUnaware);
  PromoteVbuckets(second, vbuckets, How::kUnaware);
}

void Operator::FailOver(NodeIndex from, bool force) {
  // The best copy first; when it cannot be promoted, any other, the old one too.
  const std::vector<Vbid> vbuckets = LedBy(from);
  std::vector<NodeIndex> order;
  for (uint32_t i = 0; i < world_.plan.nodes; ++i) order.push_back((from + 1 + i) % world_.plan.nodes);
  std::stable_sort(order.begin(), order.end(), [&](NodeIndex a, NodeIndex b) {
    const auto score = [&](NodeIndex node) {
      int n = 0;
      for (const Vbid vbucket : vbuckets) n += world_.node(node).up() && UpToDate(node, vbucket) ? 1 : 0;
      return n;
    };
    return score(a) > score(b);
  });
  for (const NodeIndex to : order) {
    if (PromoteVbuckets(to, vbuckets)) return;
  }
  // Not all on one node, then each where it can be.
  for (const Vbid vbucket : vbuckets) {
    bool promoted = false;
    for (size_t i = 0; i < order.size() && !promoted; ++i) promoted = PromoteVbuckets(order[i], {vbucket});
    for (size_t i = 0; i < order.size() && !promoted && force; ++i) {
      promoted = PromoteVbuckets(order[i], {vbucket}, How::kForced);
    }
  }
}

void Operator::TakeOver(NodeIndex to, NodeIndex from) {
  if (takeover_ || to == from || !world_.node(to).up() || !world_.node(from).up()) return;
  std::vector<Vbid> vbuckets = LedBy(from);
  if (vbuckets.empty()) return;
  for (const Vbid vbucket : vbuckets) {
    if (world_.node(to).Position(vbucket).state != VbucketState::kReplica) return;
  }
  takeover_ = Takeover{
      from, to, world_.node(from).life(), world_.node(to).life(), vbuckets, world_.now_ns() + kTakeoverMaxNs};
  world_.node(to).TakeOver(from, vbuckets);
}

void Operator::Misdirect(NodeIndex index) {
  Node& node = world_.node(index);
  const auto to = static_cast<NodeIndex>((index + 1 + world_.random.Uniform(world_.nodes.size() - 1)) %
                                         world_.nodes.size());
  if (!node.up() || (takeover_ && takeover_->to == index)) return;
  std::vector<Vbid> vbuckets;
  for (size_t v = 0; v < leaders_.size(); ++v) {
    if (node.Position(At(v)).state == VbucketState::kReplica) vbuckets.push_back(At(v));
  }
  if (!vbuckets.empty()) node.Follow({{to, vbuckets}});
}

NodeIndex Operator::SourceFor(const Node& node, Vbid vbucket) {
  const NodeIndex leader = leaders_[vbucket.get()];
  if (!world_.plan.chains || world_.calm) return leader;
  // The next one in the row, towards the leader.
  const NodeIndex next = (node.index() + world_.plan.nodes - 1) % world_.plan.nodes;
  return world_.node(next).up() ? next : leader;
}

void Operator::Arrange(Node& node) {
  if (takeover_ && takeover_->to == node.index()) return;
  std::map<NodeIndex, std::vector<Vbid>> sources;
  for (size_t v = 0; v < leaders_.size(); ++v) {
    if (leaders_[v] == node.index()) continue;
    const VbucketPosition position = node.Position(At(v));
    if (position.state != VbucketState::kReplica) {
      // The giver of a takeover must not be disturbed; an old active finds out by itself, or is told at last.
      if (takeover_ && takeover_->from == node.index()) continue;
      int64_t& since = deposed_since_ns_[{node.index(), static_cast<uint16_t>(v)}];
      if (since == 0) since = std::max<int64_t>(world_.now_ns(), 1);
      if (world_.now_ns() - since < patience_ns_) continue;
      since = 0;
      node.SyncClock();
      const engine::PendingRef demoted = node.replication().Demote({At(v)}, VbucketState::kReplica);
      world_.Note("demote", {node.index(), v},
                  demoted->ready() ? demoted->status().ToString() : std::string("pending"));
      node.Touched();
      continue;
    }
    sources[SourceFor(node, At(v))].push_back(At(v));
  }
  node.Follow(sources);
}

}  // namespace cairn::sim
