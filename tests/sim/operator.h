#pragma once
// Operator: who is to be active, and who follows whom: what an administrator or a cluster manager does with
// the admin commands. It sees every node that is up, at once, and acts on one after the other. Which of
// several actives is the right one is told by the epoch. Owner: one Run; one thread.

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "tests/sim/world.h"

namespace cairn::sim {

class Node;

class Operator {
 public:
  explicit Operator(World& world);

  /// First start of all nodes: the vbuckets are active on node 0 (mixed: on all in turn), replicas elsewhere.
  void Begin();
  /// Looks at everything and puts right what is not as it should be.
  void Tick();
  /// Makes another node active for what `node` leads, without asking it (it may be down or cut off). `force`:
  /// when there is no other copy, also one that has given up what it had acknowledged.
  void FailOver(NodeIndex from, bool force = false);
  /// Promotes one node for what `from` leads.
  bool Promote(NodeIndex to, NodeIndex from);
  /// Two administrators who do not know of each other promote two nodes for what `from` leads.
  void PromoteApart(NodeIndex from);
  void TakeOver(NodeIndex to, NodeIndex from);
  /// Has the node follow another one, with all that it has as a replica, whether that one is active or not.
  void Misdirect(NodeIndex node);
  NodeIndex leader(Vbid vbucket) const { return leaders_[vbucket.get()]; }
  std::vector<Vbid> LedBy(NodeIndex node) const;
  uint64_t promotions() const { return promotions_; }
  uint64_t takeovers() const { return takeovers_; }
  bool taking_over() const { return takeover_.has_value(); }
  /// An old active is told only so much later that it is not any more.
  void set_patience_ns(int64_t ns) { patience_ns_ = ns; }

 private:
  struct Takeover {
    NodeIndex from = 0, to = 0;
    uint64_t life_from = 0, life_to = 0;
    std::vector<Vbid> vbuckets;
    int64_t deadline_ns = 0;
  };

  void FindLeaders();
  void FollowTakeover();
  void FillVacancies();
  void Arrange(Node& node);
  NodeIndex SourceFor(const Node& node, Vbid vbucket);
  enum class How : uint8_t { kNormal, kForced, kUnaware };
  bool PromoteVbuckets(NodeIndex to, const std::vector<Vbid>& vbuckets, How how = How::kNormal);
  /// Has `to` all that a majority can have been told is durable?
  bool UpToDate(NodeIndex to, Vbid vbucket);

  World& world_;
  std::vector<NodeIndex> leaders_;
  std::vector<uint64_t> led_epochs_;      // the highest in which somebody was active
  std::vector<int64_t> vacant_since_ns_;  // 0: there is an active, or its node may come back
  std::map<std::pair<NodeIndex, uint16_t>, int64_t> deposed_since_ns_;
  std::optional<Takeover> takeover_;
  uint64_t epoch_seen_ = 0;
  int64_t patience_ns_ = 0;
  uint64_t promotions_ = 0, takeovers_ = 0;
};

}  // namespace cairn::sim
