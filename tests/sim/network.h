#pragma once
// Network: links between nodes, each a pair of ordered, delayed one-way pipes, as a TCP connection is. A link
// can be cut at any moment: of what is on its way a prefix arrives, the rest is lost, and each end learns of
// it at its own time (an end that learns late is *half-open*). A partition cuts all links between two nodes
// and refuses new ones until it heals.
//
// What a message is, the network does not know: the sender gives what is to be done on arrival. Owner: one
// World; one thread.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "base/random.h"
#include "tests/sim/event_queue.h"

namespace cairn::sim {

using LinkId = uint64_t;  // 0: none
using NodeIndex = uint32_t;

/// Which end of a link: the consumer opens it.
enum class Side : uint8_t { kConsumer = 0, kProducer = 1 };
inline Side Other(Side side) { return side == Side::kConsumer ? Side::kProducer : Side::kConsumer; }

class Network {
 public:
  struct Delays {
    int64_t min_ns = 50 * kUs, max_ns = 2 * kMs;
  };
  /// Called when that end learns that the link is gone; once.
  using Closed = std::function<void()>;
  using Deliver = std::function<void()>;

  Network(EventQueue& queue, uint64_t seed) : queue_(queue), random_(seed) {}

  void set_delays(const Delays& delays) { delays_ = delays; }
  /// Runs after each message that has arrived; for scripted faults. The number counts from 1.
  void set_on_arrival(std::function<void(uint64_t number, LinkId link)> hook) {
    on_arrival_ = std::move(hook);
  }
  uint64_t arrivals() const { return arrivals_; }

  /// 0 when the nodes cannot reach each other.
  LinkId Connect(NodeIndex consumer, NodeIndex producer, Closed consumer_closed, Closed producer_closed);
  /// Arrives after some time, in order; nothing arrives on a link that is cut.
  void Send(LinkId link, Side from, Deliver deliver);
  /// Messages of that side that have not arrived.
  size_t in_flight(LinkId link, Side from) const;
  /// (consumer, producer) of an open link.
  std::pair<NodeIndex, NodeIndex> ends(LinkId link) const;
  /// It carries what is sent from now on.
  bool open(LinkId link) const;

  enum class Knowing : uint8_t { kBothSoon, kConsumerLate, kProducerLate };
  /// Cuts the link; what is on its way is lost but for a random prefix.
  void Cut(LinkId link, Knowing knowing = Knowing::kBothSoon);
  /// That end closes the link: its messages on their way arrive, the other end learns after them. The closing
  /// end is not told.
  void Close(LinkId link, Side by);
  /// The node has died: its ends are gone (and not told), its peers learn soon or late.
  void CutNode(NodeIndex node);
  /// One of the open links; 0: there is none.
  LinkId AnyLink();

  void Partition(NodeIndex a, NodeIndex b);
  void Heal() { partitions_.clear(); }
  bool reachable(NodeIndex a, NodeIndex b) const { return !partitions_.contains(std::minmax(a, b)); }

 private:
  struct Message {
    int64_t arrives_ns;
    Deliver deliver;
  };
  struct Link {
    std::array<NodeIndex, 2> nodes{};
    std::array<std::deque<Message>, 2> pipes;  // by sending side
    std::array<Closed, 2> closed;              // null: knows already
    bool cut = false;                          // what is left in the pipes still arrives
  };

  const std::deque<Message>& Pipe(const Link& link, Side from) const {
    return link.pipes[static_cast<size_t>(from)];
  }
  void Arrive(LinkId id, Side from);
  /// After everything that still arrives there and `delay_ns`.
  void Tell(LinkId id, Side side, int64_t delay_ns);
  void LoseTail(std::deque<Message>& pipe);
  int64_t Delay() {
    return static_cast<int64_t>(
        random_.Between(static_cast<uint64_t>(delays_.min_ns), static_cast<uint64_t>(delays_.max_ns)));
  }

  EventQueue& queue_;
  Random random_;
  Delays delays_;
  std::function<void(uint64_t, LinkId)> on_arrival_;
  uint64_t arrivals_ = 0;
  LinkId next_link_ = 1;
  std::map<LinkId, Link> links_;  // also those that are cut, until both ends know
  std::set<std::pair<NodeIndex, NodeIndex>> partitions_;
};

}  // namespace cairn::sim
