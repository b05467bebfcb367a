#pragma once
// Oracle: knows what every vbucket must hold. It is told of each change that a client made on an active,
// looks at each node after each event, and keeps, for each *branch of history* (vbucket, uuid), what was in
// it at each seqno, so that a restart or a promotion, which goes on from a point of the branch before, is
// checked against exactly that point; and the digest at each exact point that the active has shown, so that
// every copy, at every moment at which it can be looked at, is compared with its source at the same seqno.
//
// What it checks itself (a violation is reported once, by the function given): copies against actives; epochs
// that go back; two nodes that write, or were promoted, in one epoch; a sequence that goes back; a copy that
// gives operations up and does not say so; writes that were acknowledged as durable and are gone. Owner: one
// World; one thread.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/replication.h"
#include "tests/sim/network.h"

namespace cairn::sim {

/// A live item.
struct Version {
  std::string value;
  uint32_t flags = 0;
  uint32_t expiry = 0;
  uint64_t cas = 0;
  bool operator==(const Version&) const = default;
};
using Content = std::map<std::string, Version>;
/// Without what has expired at `wall_s`.
Content Live(const Content& content, uint32_t wall_s);
/// "k1 is missing; k2 has cas 5, expected 4"; empty when equal.
std::string Difference(const Content& expected, const Content& found);

class Oracle {
 public:
  using Report = std::function<void(std::string)>;
  explicit Oracle(Report report) : report_(std::move(report)) {}

  /// Where a vbucket of a node stands now; after each event of the node, and before Changed. `undoing`: the
  /// node is just putting keys back, so what its digest is now is no state that a copy could have.
  void Look(NodeIndex node, Vbid vbucket, const engine::VbucketPosition& position, bool undoing,
            int64_t now_ns);
  /// The node has started again: what it was in the middle of is over.
  void Restarted(NodeIndex node);
  /// The node was set up: what it was before does not count (every new node begins as active of its own).
  void Forget(NodeIndex node);
  /// A client's change was made on `node` (an active that was looked at since): null is a deletion.
  void Changed(NodeIndex node, Vbid vbucket, Seqno seqno, const std::string& key,
               std::optional<Version> version);
  /// Everything up to `seqno` is gone.
  void Flushed(NodeIndex node, Vbid vbucket, Seqno seqno);
  /// What the node, which is active, must hold now, expired items included.
  const Content& Expected(NodeIndex node, Vbid vbucket);
  /// The branch that the node, which is active, writes to.
  uint64_t Branch(NodeIndex node, Vbid vbucket) const;

  enum class Durability : uint8_t { kPersisted, kMajority };
  /// The client was told so.
  void Acknowledged(Durability durability, Vbid vbucket, uint64_t uuid, Seqno seqno);
  /// The promotion about to happen takes the node's copy, which may lack what a majority has (the operator
  /// was told). It may also come true when the node comes back from a crash in the middle of it.
  void AllowLoss(NodeIndex node, Vbid vbucket) { loss_allowed_.insert({node, vbucket.get()}); }

  /// A branch and where it begins, for the check of linearizability. Ordered from the root on.
  struct BranchInfo {
    Vbid vbucket;
    uint64_t uuid = 0, parent = 0;
    Seqno fork;
    bool reverted = false;  // the window that was open at the fork was taken back on the way
    bool joined = false;    // begins in a window that was not open at the fork: with what it has
  };
  const std::vector<BranchInfo>& branches() const { return order_; }
  /// The highest in which somebody was active.
  uint64_t HighestEpoch(Vbid vbucket) const;
  uint64_t points_compared() const { return points_compared_; }
  uint64_t points_unknown() const { return points_unknown_; }

 private:
  struct Change {
    enum class Kind : uint8_t { kPut, kRemove, kFlush, kStart, kEnd, kRevert };
    Kind kind = Kind::kPut;
    Seqno seqno;
    std::string key;
    Version version;
    engine::UpdateId window;  // kStart, kEnd, kRevert
    Seqno window_start;       // kStart, kRevert
  };
  struct History {
    uint64_t uuid = 0, parent = 0;
    Seqno fork;
    NodeIndex owner = 0;
    Content base;
    engine::UpdateId base_window;  // open at the beginning
    Seqno base_window_start;
    std::vector<Change> changes;  // by seqno
    Content now;
    engine::UpdateId window;
    Seqno window_start;
    Seqno high;
    Seqno first_high;                                // where it was seen first, behind the fork by a gap
    bool fork_compared = false;                      // its digest there with the one of the branch before
    std::map<uint64_t, std::set<uint64_t>> digests;  // by seqno: those the active has shown there
    Seqno persisted_ack, majority_ack;
  };
  struct Seen {
    uint64_t epoch = 0;
    Seqno high;                     // 0: was not looked at in this life
    bool copy = false;              // it was a copy then
    uint64_t active_uuid = 0;       // 0: not active
    uint64_t last_active_uuid = 0;  // also while it is down; 0: it was no active when it went down
    int64_t differs_since_ns = 0;   // 0: does not
    Seqno differs_at;
  };
  using BranchKey = std::pair<uint16_t, uint64_t>;

  History* Find(Vbid vbucket, uint64_t uuid);
  History& Begin(NodeIndex node, Vbid vbucket, const engine::VbucketPosition& position);
  void LookAtActive(NodeIndex node, Vbid vbucket, const engine::VbucketPosition& position, bool undoing,
                    Seen& seen);
  void LookAtCopy(NodeIndex node, Vbid vbucket, const engine::VbucketPosition& position, Seen& seen,
                  int64_t now_ns);
  bool HasBeen(Vbid vbucket, const engine::VbucketPosition& position);
  void CompareAtFork(NodeIndex node, Vbid vbucket, const engine::VbucketPosition& position, History& history);
  void FollowWindow(Vbid vbucket, History& history, const engine::VbucketPosition& position);
  void CheckAcknowledged(NodeIndex node, Vbid vbucket, const History& parent, Seqno fork);
  Content At(Vbid vbucket, const History& history, Seqno seqno);
  void Apply(Vbid vbucket, const History& history, const Change& change, Content* content);
  void Add(Vbid vbucket, History& history, Change change);
  static void WindowAt(const History& history, Seqno seqno, engine::UpdateId* window, Seqno* start);
  void Fail(NodeIndex node, Vbid vbucket, const std::string& what);

  Report report_;
  std::map<BranchKey, History> histories_;
  std::vector<BranchInfo> order_;
  std::map<std::pair<NodeIndex, uint16_t>, Seen> seen_;
  std::map<std::pair<uint16_t, uint64_t>, NodeIndex> writer_of_epoch_, active_in_epoch_;
  std::set<std::pair<NodeIndex, uint16_t>> loss_allowed_;
  uint64_t points_compared_ = 0, points_unknown_ = 0;
};

}  // namespace cairn::sim
