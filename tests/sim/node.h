#pragma once
// Node: a server of the simulated cluster: a disk that stays, an engine that comes and goes, and the ends of
// its TAP connections. Plays what server/main.cc and tap/service.h do in a process: drives the engine's
// background work, passes notices to producers, dials sources again with a growing delay.
//
// A crash destroys every object at once, between two events or inside a call to the disk; a restart opens
// what the disk kept. Owner: the World; one thread.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/durability.h"
#include "engine/engine.h"
#include "engine/replication.h"
#include "tests/sim/disk.h"
#include "tests/sim/sessions.h"
#include "tests/sim/world.h"

namespace cairn::sim {

class Node {
 public:
  Node(World& world, NodeIndex index, uint64_t seed);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  NodeIndex index() const { return index_; }
  std::string name() const { return "node" + std::to_string(index_); }
  bool up() const { return engine_ != nullptr; }
  /// Rises with each start: what was asked of an earlier life must not act on this one.
  uint64_t life() const { return life_; }
  engine::Engine& engine() { return *engine_; }
  engine::Replication& replication() { return engine_->replication(); }
  ManualClock& clock() { return clock_; }
  Disk& disk() { return *disk_; }
  World& world() { return world_; }

  /// Opens the engine; when that fails (the disk does), again after a while.
  void Start();
  void Crash(CrashKind kind);
  /// Says goodbye and writes everything.
  void StopCleanly();
  /// The disk loses its power inside the n-th call from now that writes; the node crashes at the next event.
  void CrashInsideWrite(uint64_t n);
  /// Forgets everything; only while down.
  void Wipe();

  /// Follows these vbuckets from these sources from now on, and no others.
  void Follow(const std::map<NodeIndex, std::vector<Vbid>>& sources);
  /// Asks `source` to hand the vbuckets over.
  void TakeOver(NodeIndex source, const std::vector<Vbid>& vbuckets);
  /// Ends all connections to sources and leaves them.
  void FollowNobody();
  const std::map<NodeIndex, std::unique_ptr<ConsumerEnd>>& consumers() const { return consumers_; }
  /// A consumer has connected; what its link delivers goes to the end that is returned.
  std::weak_ptr<ProducerEnd> Accept(LinkId link, NodeIndex consumer);
  /// A message has arrived here; nobody may be there for it any more.
  void Deliver(LinkId link, const tap::ConsumerMessage& message);
  void Deliver(LinkId link, tap::ProducerMessage message);

  /// Something was done with the engine: the oracle looks, notices are passed on, background work is near.
  void Touched();
  /// Brings the node's clock to the world's time. Before anything is done on the node.
  void SyncClock();
  /// The world's time at a time of the node's steady clock.
  int64_t WorldTime(int64_t steady_ns) const { return steady_ns - clock_.SteadyNs() + clock_at_ns_; }
  engine::VbucketPosition Position(Vbid vbucket);
  /// Keeps a wait of a client for as long as the engine lives at most.
  void Keep(uint64_t client, engine::DurabilityWait wait) { waits_[client] = std::move(wait); }
  void Release(uint64_t client) { waits_.erase(client); }
  /// The engine's background work, at once, until there is none (bounded). For scripted runs and the end.
  void Settle();

 private:
  friend class ConsumerEnd;
  friend class ProducerEnd;

  void Down();
  void ScheduleBackground(int64_t delay_ns);
  void RunBackground();
  void PassNotices();
  void ReplaceOlder(const std::string& consumer, const ProducerEnd* keep);

  World& world_;
  const NodeIndex index_;
  Random random_;
  ManualClock clock_;
  int64_t clock_at_ns_ = 0;  // world time that clock_ shows
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<engine::Engine> engine_;
  uint64_t life_ = 0;
  engine::Replication::ListenerId listener_ = 0;
  std::vector<Vbid> notices_;
  bool notices_scheduled_ = false;
  int64_t background_at_ns_ = INT64_MAX;
  std::map<uint64_t, engine::DurabilityWait> waits_;
  std::vector<std::shared_ptr<ProducerEnd>> producers_;
  std::map<NodeIndex, std::unique_ptr<ConsumerEnd>> consumers_;
};

}  // namespace cairn::sim
