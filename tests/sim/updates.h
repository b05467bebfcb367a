#pragma once
// Updates: the operator of online updates and flush_all, which concern all vbuckets that are active on a
// node. Owner: one Run; one thread.

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "tests/sim/history.h"
#include "tests/sim/world.h"

namespace cairn::sim {

class Updates {
 public:
  Updates(World& world, History& history) : world_(world), history_(history) {}

  enum class Step : uint8_t { kStart, kComplete, kRevert };
  /// START when no update is open on the node, else COMPLETE or REVERT; nothing while one is answered.
  void Progress(NodeIndex node);
  void Submit(NodeIndex node, Step step);
  void FlushAll(NodeIndex node);
  /// The node is about to be stopped cleanly: its branches go on afterwards, but its start may take the
  /// window back (EngineOptions::update_on_restart).
  void Stopping(NodeIndex node);
  /// COMPLETE or REVERT where one is open. Says which is open or under way still; empty: none on any node.
  std::string EndAll();
  uint64_t started() const { return started_; }
  uint64_t reverted() const { return reverted_; }
  uint64_t completed() const { return completed_; }

 private:
  void Record(NodeIndex node, KeyOperation::Kind kind, int64_t begin_ns, bool answered,
              const std::map<Vbid, uint64_t>& branches);
  std::map<Vbid, uint64_t> ActiveBranches(NodeIndex node);

  World& world_;
  History& history_;
  std::map<NodeIndex, uint64_t> busy_;  // node → its life when something was submitted
  uint64_t started_ = 0, reverted_ = 0, completed_ = 0;
};

}  // namespace cairn::sim
