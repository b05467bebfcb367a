#include "tests/sim/sessions.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "proto/tap_frame.h"
#include "tests/sim/node.h"

namespace cairn::sim {
namespace {

// As many as a socket's buffers may hold.
constexpr size_t kProducerInFlightMax = 4;
constexpr size_t kConsumerInFlightMax = 16;
constexpr int kStepsAtOnce = 4;
constexpr int64_t kBackoffMinNs = 50 * kMs, kBackoffMaxNs = 5 * kSecond;

tap::Producer::Options ProducerOptions(Node& node) {
  tap::Producer::Options options;
  options.name = node.name();
  options.chunk_bytes = node.world().plan.chunk_bytes;
  options.max_item_size = node.world().plan.engine.max_item_size;
  return options;
}

tap::Consumer::Options ConsumerOptions(Node& node, const std::vector<Vbid>& vbuckets, bool takeover) {
  tap::Consumer::Options options;
  options.name = node.name() + (takeover ? "-takeover" : "");
  options.vbuckets = vbuckets;
  options.window_bytes = node.world().plan.window_bytes;
  options.idle_timeout_ms = 10'000;
  options.apply_operations_per_step = node.world().plan.apply_operations;
  options.max_item_size = node.world().plan.engine.max_item_size;
  options.takeover = takeover;
  return options;
}

// For --trace only: not part of the hash, or traced runs would differ from others.
void Print(World& world, NodeIndex node, LinkId link, const tap::ProducerMessage& message) {
  world.Show("producer.send", {node, link, message.chunk.size()},
             message.goodbye ? message.goodbye_text : "");
  for (const tap::StreamAnswer& answer : message.answers) {
    world.Show("  answer: vbucket, rollback, epoch, high",
               {answer.vbucket.get(), answer.rollback.get(), answer.epoch, answer.high.get()},
               std::string(tap::EndReasonName(answer.reason)) + " " + answer.text);
  }
  proto::TapChunkReader reader(message.chunk, world.plan.vbuckets, kValueSizeMax);
  while (!message.chunk.empty()) {
    const Result<std::optional<proto::TapFrame>> frame = reader.Next();
    if (!frame.ok() || !frame->has_value()) return;
    const proto::TapFrame& f = **frame;
    constexpr const char* kNames[] = {"",
                                      "  snapshot: vbucket, start, end, checkpoint, kind",
                                      "  operation: seqno",
                                      "  checkpoint end: vbucket, last, id",
                                      "  state: vbucket, state, epoch",
                                      "  stream end: vbucket, reason"};
    const char* name = kNames[static_cast<size_t>(f.type)];
    using Type = proto::TapFrameType;
    if (f.type == Type::kSnapshot) {
      world.Show(name, {f.vbucket.get(), f.start.get(), f.end.get(), f.checkpoint.get(),
                        static_cast<uint64_t>(f.kind)});
    } else if (f.type == Type::kOperation) {
      world.Show(name, {f.item->seqno().get()}, f.item->is_marker() ? "marker" : f.item->key());
    } else if (f.type == Type::kCheckpointEnd) {
      world.Show(name, {f.vbucket.get(), f.last.get(), f.checkpoint.get()});
    } else if (f.type == Type::kVbucketState) {
      world.Show(name, {f.vbucket.get(), f.state, f.epoch});
    } else {
      world.Show(name, {f.vbucket.get(), f.reason}, f.text);
    }
  }
}

void Print(World& world, NodeIndex node, LinkId link, const tap::ConsumerMessage& message) {
  world.Show("consumer.send", {node, link, message.progress.size(), message.credit_bytes},
             message.hello ? "hello" : "");
  for (const tap::OpenStream& open : message.open) {
    world.Show("  open: vbucket, seqno, checkpoint, epoch, history",
               {open.vbucket.get(), open.seqno.get(), open.checkpoint.get(), open.epoch, open.history_uuid});
  }
  for (const tap::Progress& progress : message.progress) {
    world.Show(
        "  progress: vbucket, applied, persisted, ready",
        {progress.vbucket.get(), progress.applied.get(), progress.persisted.get(), progress.pending_ready});
  }
  for (const tap::FenceNotice& fence : message.fence) {
    world.Show("  fence: vbucket, epoch", {fence.vbucket.get(), fence.epoch});
  }
}

}  // namespace

// --- producer ---

ProducerEnd::ProducerEnd(Node& node, LinkId link, NodeIndex consumer_node)
    : node_(node),
      link_(link),
      consumer_node_(consumer_node),
      producer_(std::make_unique<tap::Producer>(node.replication(), ProducerOptions(node),
                                                node.clock().SteadyNs())) {}

ProducerEnd::~ProducerEnd() = default;

void ProducerEnd::OnMessage(const tap::ConsumerMessage& message) {
  if (over_) return;
  node_.SyncClock();
  if (message.hello && consumer_.empty()) {
    consumer_ = message.hello->name;
    // The older connection of that name goes now, or lives on beside this one for a moment.
    if (!node_.world().random.OneIn(3)) node_.ReplaceOlder(consumer_, this);
  }
  producer_->OnMessage(message, node_.clock().SteadyNs());
  Pump();
  node_.Touched();
}

void ProducerEnd::OnOperations(Vbid vbucket) { producer_->OnOperations(vbucket); }

void ProducerEnd::OnClosed() {
  over_ = true;
  node_.world().Note("producer.closed", {node_.index(), link_});
  std::erase_if(node_.producers_, [this](const auto& end) { return end.get() == this; });
}

void ProducerEnd::Pump() {
  if (over_) return;
  World& world = node_.world();
  node_.SyncClock();
  while (world.network.in_flight(link_, Side::kProducer) < kProducerInFlightMax) {
    std::optional<tap::ProducerMessage> message = producer_->Poll(node_.clock().SteadyNs());
    if (!message) break;
    world.trace.Mix(message->chunk.size() + message->answers.size() * 7 + (message->goodbye ? 1 : 0));
    if (world.trace.printing()) Print(world, node_.index(), link_, *message);
    const auto shared = std::make_shared<tap::ProducerMessage>(std::move(*message));
    world.network.Send(link_, Side::kProducer, [&world, consumer = consumer_node_, shared, link = link_] {
      world.node(consumer).Deliver(link, std::move(*shared));
    });
  }
  if (producer_->ended()) {
    // After a goodbye the consumer hangs up; this end does after a while.
    const std::weak_ptr<ProducerEnd> self = weak_from_this();
    world.queue.After(2 * kSecond, [self, &world] {
      const auto end = self.lock();
      if (end == nullptr || end->over_) return;
      world.network.Close(end->link_, Side::kProducer);
      end->OnClosed();
    });
    over_ = true;
    return;
  }
  const int64_t next = producer_->NextPollNs();
  if (next != INT64_MAX) ScheduleAt(std::max(world.now_ns() + kUs, node_.WorldTime(next)));
  if (world.network.in_flight(link_, Side::kProducer) >= kProducerInFlightMax)
    ScheduleAt(world.now_ns() + kMs);
}

void ProducerEnd::ScheduleAt(int64_t time_ns) {
  if (time_ns >= timer_ns_) return;
  timer_ns_ = time_ns;
  const std::weak_ptr<ProducerEnd> self = weak_from_this();
  node_.world().queue.At(time_ns, [self, time_ns] {
    const auto end = self.lock();
    if (end == nullptr || end->timer_ns_ != time_ns) return;
    end->timer_ns_ = INT64_MAX;
    end->Pump();
  });
}

// --- consumer ---

ConsumerEnd::ConsumerEnd(Node& node, NodeIndex source, const std::vector<Vbid>& vbuckets, bool takeover)
    : node_(node),
      source_(source),
      vbuckets_(vbuckets),
      takeover_(takeover),
      consumer_(
          std::make_unique<tap::Consumer>(node.replication(), ConsumerOptions(node, vbuckets, takeover))) {
  DialLater();
}

ConsumerEnd::~ConsumerEnd() {
  if (link_ != 0) node_.world().network.Close(link_, Side::kConsumer);
}

void ConsumerEnd::DialLater() {
  Random& random = node_.world().random;
  const int64_t delay =
      static_cast<int64_t>(random.Between(1 * kMs, static_cast<uint64_t>(kBackoffMinNs + backoff_ns_)));
  backoff_ns_ = std::min(std::max(2 * backoff_ns_, kBackoffMinNs), kBackoffMaxNs);
  node_.world().queue.After(delay, [this, alive = std::weak_ptr<int>(alive_)] {
    if (!alive.expired()) Dial();
  });
}

void ConsumerEnd::Dial() {
  if (link_ != 0) return;
  World& world = node_.world();
  Node& source = world.node(source_);
  if (!source.up()) return DialLater();
  const auto end = std::make_shared<std::weak_ptr<ProducerEnd>>();
  // Closed may be told long after this object is gone.
  const std::weak_ptr<int> alive = alive_;
  const auto id = std::make_shared<LinkId>(0);
  *id = world.network.Connect(
      node_.index(), source_,
      [this, alive, id] {
        if (!alive.expired()) OnClosed(*id);
      },
      [end] {
        if (const auto producer = end->lock()) producer->OnClosed();
      });
  if (*id == 0) return DialLater();
  link_ = *id;
  *end = source.Accept(link_, node_.index());
  world.Note("consumer.connected", {node_.index(), source_, link_});
  node_.SyncClock();
  consumer_->Connected(node_.clock().SteadyNs());
  Pump();
}

void ConsumerEnd::OnClosed(LinkId link) {
  if (link != link_) return;
  node_.world().Note("consumer.closed", {node_.index(), source_, link_});
  link_ = 0;
  node_.SyncClock();
  consumer_->Disconnected("the connection was cut", node_.clock().SteadyNs());
  Pump();
  DialLater();
}

void ConsumerEnd::OnMessage(tap::ProducerMessage message) {
  backoff_ns_ = 0;
  node_.SyncClock();
  consumer_->OnMessage(std::move(message), node_.clock().SteadyNs());
  Pump();
}

void ConsumerEnd::CheckProgress(const tap::ConsumerMessage& message) {
  for (const tap::Progress& progress : message.progress) {
    if (progress.digest_mismatch) {
      node_.world().Fail("node " + std::to_string(node_.index()) + " vbucket " +
                         std::to_string(progress.vbucket.get()) + ": its digest differs from its source's");
    }
  }
}

void ConsumerEnd::Pump() {
  World& world = node_.world();
  node_.SyncClock();
  bool more = true;
  for (int i = 0; i < kStepsAtOnce && more; ++i) more = consumer_->Step(node_.clock().SteadyNs());
  while (link_ != 0 && world.network.in_flight(link_, Side::kConsumer) < kConsumerInFlightMax) {
    std::optional<tap::ConsumerMessage> message = consumer_->Poll(node_.clock().SteadyNs());
    if (!message) break;
    CheckProgress(*message);
    world.trace.Mix(message->open.size() * 3 + message->progress.size() + message->credit_bytes);
    if (world.trace.printing()) Print(world, node_.index(), link_, *message);
    const auto shared = std::make_shared<tap::ConsumerMessage>(std::move(*message));
    world.network.Send(link_, Side::kConsumer, [&world, source = source_, shared, link = link_] {
      world.node(source).Deliver(link, *shared);
    });
  }
  if (link_ != 0 && consumer_->wants_disconnect()) {
    world.Note("consumer.leaves", {node_.index(), source_, link_},
               tap::EndReasonName(consumer_->end_reason()));
    const LinkId link = link_;
    link_ = 0;
    world.network.Close(link, Side::kConsumer);
    consumer_->Disconnected("left", node_.clock().SteadyNs());
    DialLater();
  }
  if (more) ScheduleAt(world.now_ns() + 200 * kUs);
  const int64_t next = consumer_->NextPollNs();
  if (next != INT64_MAX) ScheduleAt(std::max(world.now_ns() + kUs, node_.WorldTime(next)));
  node_.Touched();
}

void ConsumerEnd::ScheduleAt(int64_t time_ns) {
  if (time_ns >= timer_ns_) return;
  timer_ns_ = time_ns;
  node_.world().queue.At(time_ns, [this, time_ns, alive = std::weak_ptr<int>(alive_)] {
    if (alive.expired() || timer_ns_ != time_ns) return;
    timer_ns_ = INT64_MAX;
    Pump();
  });
}

}  // namespace cairn::sim
