#include "tests/sim/network.h"

#include <algorithm>
#include <vector>

namespace cairn::sim {
namespace {

constexpr int64_t kKnowSoonNs = 5 * kMs;
constexpr int64_t kKnowLateNs = 15 * kSecond;

}  // namespace

LinkId Network::Connect(NodeIndex consumer, NodeIndex producer, Closed consumer_closed,
                        Closed producer_closed) {
  if (!reachable(consumer, producer)) return 0;
  const LinkId id = next_link_++;
  Link& link = links_[id];
  link.nodes = {consumer, producer};
  link.closed = {std::move(consumer_closed), std::move(producer_closed)};
  return id;
}

bool Network::open(LinkId link) const {
  const auto it = links_.find(link);
  return it != links_.end() && !it->second.cut;
}

std::pair<NodeIndex, NodeIndex> Network::ends(LinkId link) const {
  const Link& found = links_.at(link);
  return {found.nodes[0], found.nodes[1]};
}

size_t Network::in_flight(LinkId link, Side from) const {
  const auto it = links_.find(link);
  return it == links_.end() ? 0 : Pipe(it->second, from).size();
}

void Network::Send(LinkId id, Side from, Deliver deliver) {
  const auto it = links_.find(id);
  if (it == links_.end() || it->second.cut) return;
  std::deque<Message>& pipe = it->second.pipes[static_cast<size_t>(from)];
  int64_t arrives = queue_.now_ns() + Delay();
  if (!pipe.empty()) arrives = std::max(arrives, pipe.back().arrives_ns + 1);
  pipe.push_back({arrives, std::move(deliver)});
  queue_.At(arrives, [this, id, from] { Arrive(id, from); });
}

void Network::Arrive(LinkId id, Side from) {
  const auto it = links_.find(id);
  if (it == links_.end()) return;
  std::deque<Message>& pipe = it->second.pipes[static_cast<size_t>(from)];
  if (pipe.empty() || pipe.front().arrives_ns > queue_.now_ns()) return;
  const Deliver deliver = std::move(pipe.front().deliver);
  pipe.pop_front();
  deliver();
  ++arrivals_;
  if (on_arrival_) on_arrival_(arrivals_, id);
}

void Network::LoseTail(std::deque<Message>& pipe) {
  while (!pipe.empty() && random_.OneIn(2)) pipe.pop_back();
}

void Network::Tell(LinkId id, Side side, int64_t delay_ns) {
  const Link& link = links_.at(id);
  if (!link.closed[static_cast<size_t>(side)]) return;
  const std::deque<Message>& pipe = Pipe(link, Other(side));
  const int64_t after = pipe.empty() ? 0 : pipe.back().arrives_ns + 1;
  queue_.At(std::max(after, queue_.now_ns() + delay_ns), [this, id, side] {
    const auto it = links_.find(id);
    if (it == links_.end()) return;
    const Closed closed = std::move(it->second.closed[static_cast<size_t>(side)]);
    it->second.closed[static_cast<size_t>(side)] = nullptr;
    if (!it->second.closed[0] && !it->second.closed[1]) links_.erase(it);
    if (closed) closed();
  });
}

void Network::Cut(LinkId id, Knowing knowing) {
  const auto it = links_.find(id);
  if (it == links_.end() || it->second.cut) return;
  it->second.cut = true;
  for (auto& pipe : it->second.pipes) LoseTail(pipe);
  const auto soon = [this] { return static_cast<int64_t>(random_.Uniform(kKnowSoonNs)); };
  Tell(id, Side::kConsumer, knowing == Knowing::kConsumerLate ? kKnowLateNs : soon());
  Tell(id, Side::kProducer, knowing == Knowing::kProducerLate ? kKnowLateNs : soon());
}

void Network::Close(LinkId id, Side by) {
  const auto it = links_.find(id);
  if (it == links_.end()) return;
  it->second.cut = true;
  it->second.closed[static_cast<size_t>(by)] = nullptr;
  it->second.pipes[static_cast<size_t>(Other(by))].clear();  // nobody is there to take it
  if (!it->second.closed[static_cast<size_t>(Other(by))]) {
    links_.erase(it);
    return;
  }
  Tell(id, Other(by), Delay());
}

void Network::CutNode(NodeIndex node) {
  std::vector<LinkId> ids;
  for (const auto& [id, link] : links_) {
    if (link.nodes[0] == node || link.nodes[1] == node) ids.push_back(id);
  }
  for (const LinkId id : ids) {
    Link& link = links_.at(id);
    link.cut = true;
    const Side own = link.nodes[0] == node ? Side::kConsumer : Side::kProducer;
    link.closed[static_cast<size_t>(own)] = nullptr;
    link.pipes[static_cast<size_t>(Other(own))].clear();
    LoseTail(link.pipes[static_cast<size_t>(own)]);
    if (!link.closed[static_cast<size_t>(Other(own))]) {
      links_.erase(id);
      continue;
    }
    // A process that dies is noticed at once, a machine that loses its power late.
    Tell(id, Other(own), random_.OneIn(4) ? kKnowLateNs : static_cast<int64_t>(random_.Uniform(kKnowSoonNs)));
  }
}

LinkId Network::AnyLink() {
  std::vector<LinkId> ids;
  for (const auto& [id, link] : links_) {
    if (!link.cut) ids.push_back(id);
  }
  return ids.empty() ? 0 : ids[random_.Uniform(ids.size())];
}

void Network::Partition(NodeIndex a, NodeIndex b) {
  partitions_.insert(std::minmax(a, b));
  for (auto& [id, link] : links_) {
    if (link.cut || reachable(link.nodes[0], link.nodes[1])) continue;
    // Neither end is told before its time-out, but for a lucky one.
    link.cut = true;
    for (auto& pipe : link.pipes) LoseTail(pipe);
    Tell(id, Side::kConsumer, random_.OneIn(3) ? kMs : kKnowLateNs);
    Tell(id, Side::kProducer, random_.OneIn(3) ? kMs : kKnowLateNs);
  }
}

}  // namespace cairn::sim
