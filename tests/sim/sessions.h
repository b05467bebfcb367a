#pragma once
// ProducerEnd, ConsumerEnd: a tap::Producer or tap::Consumer with its end of a simulated connection, as
// tap/session.h gives it a thread and gRPC: messages in, Poll and Step until there is nothing left, at most a
// few messages on their way at once, timers, and for the consumer the dialling.
//
// Owner: a Node; destroyed with its engine. One thread.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tap/consumer.h"
#include "tap/producer.h"
#include "tests/sim/network.h"

namespace cairn::sim {

class Node;

/// Lets scheduled events find out that what they are about is gone.
using Alive = std::shared_ptr<int>;

class ProducerEnd : public std::enable_shared_from_this<ProducerEnd> {
 public:
  ProducerEnd(Node& node, LinkId link, NodeIndex consumer_node);
  ~ProducerEnd();

  void OnMessage(const tap::ConsumerMessage& message);
  void OnOperations(Vbid vbucket);
  /// The connection is gone.
  void OnClosed();
  void End(tap::EndReason reason) { producer_->End(reason, "replaced by a newer connection"); }
  /// Sends what there is, as far as the connection takes it.
  void Pump();

  const std::string& consumer() const { return consumer_; }
  LinkId link() const { return link_; }
  const tap::Producer& core() const { return *producer_; }
  bool over() const { return over_; }

 private:
  void ScheduleAt(int64_t time_ns);

  Node& node_;
  const LinkId link_;
  const NodeIndex consumer_node_;
  std::unique_ptr<tap::Producer> producer_;
  std::string consumer_;  // its name, once it has said it
  bool over_ = false;
  int64_t timer_ns_ = INT64_MAX;
};

class ConsumerEnd {
 public:
  ConsumerEnd(Node& node, NodeIndex source, const std::vector<Vbid>& vbuckets, bool takeover);
  ~ConsumerEnd();

  NodeIndex source() const { return source_; }
  const std::vector<Vbid>& vbuckets() const { return vbuckets_; }
  bool takeover() const { return takeover_; }
  const tap::Consumer& core() const { return *consumer_; }
  tap::Consumer& core() { return *consumer_; }
  LinkId link() const { return link_; }
  void OnMessage(tap::ProducerMessage message);
  void Pump();

 private:
  void Dial();
  void OnClosed(LinkId link);
  void DialLater();
  void ScheduleAt(int64_t time_ns);
  void CheckProgress(const tap::ConsumerMessage& message);

  Node& node_;
  const NodeIndex source_;
  const std::vector<Vbid> vbuckets_;
  const bool takeover_;
  std::unique_ptr<tap::Consumer> consumer_;
  LinkId link_ = 0;
  int64_t backoff_ns_ = 0;
  int64_t timer_ns_ = INT64_MAX;
  Alive alive_ = std::make_shared<int>(0);
};

}  // namespace cairn::sim
