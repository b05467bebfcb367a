#pragma once
// Clients: operations on keys, sent to the node that is believed to be the active (sometimes to another),
// with requests and answers that take time and can get lost. Each result is compared at once with what the
// oracle says the vbucket holds, and recorded for the check of linearizability. Owner: one Run; one thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/durability.h"
#include "tests/sim/history.h"
#include "tests/sim/world.h"

namespace cairn::sim {

class Clients {
 public:
  Clients(World& world, History& history, std::function<NodeIndex(Vbid)> leader_of);

  /// A random operation on a random key.
  void Operate();
  /// A read of every key, as after a failover.
  void ReadAll();
  /// For scripted runs.
  void SendTo(NodeIndex node, KeyOperation::Kind kind, const std::string& key, const std::string& value);

  /// Every key of a vbucket as `node` shows it, active or copy; its background work is done meanwhile.
  Content ReadCopy(NodeIndex node, Vbid vbucket);
  /// Without what has expired on some clock: it may be there or not.
  Content WithoutMaybeGone(const Content& content) const { return Live(content, world_.wall_max); }

  const std::vector<std::string>& keys() const { return keys_; }
  Vbid VbucketOf(const std::string& key) const;
  uint64_t operations() const { return operations_; }
  uint64_t acknowledged_durable() const { return acknowledged_durable_; }

 private:
  struct Request;
  using RequestRef = std::shared_ptr<Request>;

  RequestRef RandomRequest();
  void Send(const RequestRef& request);
  void Execute(const RequestRef& request);
  Code Run(Node& node, Request& request, const engine::WaiterRef& waiter);
  void AwaitDurable(const RequestRef& request, uint64_t ticket, int64_t deadline_ns);
  void Reply(const RequestRef& request);
  /// What the oracle holds of the key; `maybe_gone`: its time has come, but clocks have jumped since.
  std::optional<Version> Expect(Node& node, const Request& request, bool* maybe_gone);
  void Compare(Node& node, Request& request);
  void Complain(Node& node, const Request& request, const std::string& what);

  World& world_;
  History& history_;
  std::function<NodeIndex(Vbid)> leader_of_;
  std::vector<std::string> keys_;
  uint64_t counter_ = 0;
  uint64_t waits_ = 0;
  uint64_t operations_ = 0, acknowledged_durable_ = 0;
};

}  // namespace cairn::sim
