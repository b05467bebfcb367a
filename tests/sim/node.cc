#include "tests/sim/node.h"

#include <algorithm>
#include <utility>

namespace cairn::sim {
namespace {

constexpr int64_t kIdleBackgroundNs = 100 * kMs;
constexpr int64_t kOpenAgainNs = 300 * kMs;
constexpr int kSettleStepsMax = 20'000;

}  // namespace

Node::Node(World& world, NodeIndex index, uint64_t seed)
    : world_(world),
      index_(index),
      random_(seed),
      disk_(world.plan.rocks ? NewRocksDisk() : NewMemoryDisk(random_.Next64())) {}

Node::~Node() { Down(); }

void Node::SyncClock() {
  clock_.Advance(world_.now_ns() - clock_at_ns_);
  clock_at_ns_ = world_.now_ns();
  world_.wall_max = std::max(world_.wall_max, clock_.WallSeconds());
}

void Node::Start() {
  if (up()) return;
  SyncClock();
  Result<std::unique_ptr<storage::KvStore>> store = disk_->Open();
  Status failure = store.ok() ? Status::Ok() : store.status();
  if (store.ok()) {
    engine::EngineDeps deps;
    deps.clock = &clock_;
    deps.store = std::move(store).value();
    deps.threads = false;
    deps.seed = random_.Next64() | 1;
    Result<std::unique_ptr<engine::Engine>> opened =
        engine::Engine::Open(world_.plan.engine, std::move(deps));
    if (opened.ok()) {
      engine_ = std::move(opened).value();
    } else {
      failure = opened.status();
    }
  }
  if (!failure.ok()) {
    world_.Note("node.cannot_start", {index_}, failure.ToString());
    // An opening that has failed leaves a store that has to be opened again, as a process that ends does.
    if (world_.calm) disk_->Repair();
    if (failure.code() == Code::kCorruption || failure.code() == Code::kInternal) {
      world_.Fail("node " + std::to_string(index_) + " cannot start: " + failure.ToString());
    }
    disk_->PowerOff();
    disk_->Crash(CrashKind::kProcess, random_.Next64());
    const uint64_t life = life_;
    world_.queue.After(kOpenAgainNs, [this, life] {
      if (life == life_) Start();
    });
    return;
  }
  ++life_;
  world_.Note("node.up", {index_, life_});
  world_.oracle.Restarted(index_);
  listener_ = replication().AddListener([this](std::span<const Vbid> vbuckets, bool) {
    notices_.insert(notices_.end(), vbuckets.begin(), vbuckets.end());
    if (notices_scheduled_) return;
    notices_scheduled_ = true;
    world_.queue.After(50 * kUs, [this, life = life_] {
      if (life == life_ && up()) PassNotices();
    });
  });
  background_at_ns_ = INT64_MAX;
  Touched();
}

void Node::PassNotices() {
  notices_scheduled_ = false;
  const std::vector<Vbid> notices = std::exchange(notices_, {});
  const auto producers = producers_;  // a Pump may end one
  for (const auto& producer : producers) {
    for (const Vbid vbucket : notices) producer->OnOperations(vbucket);
    producer->Pump();
  }
}

void Node::Down() {
  waits_.clear();
  consumers_.clear();
  producers_.clear();
  if (engine_ != nullptr) replication().RemoveListener(listener_);
  engine_.reset();
  notices_.clear();
  notices_scheduled_ = false;
  background_at_ns_ = INT64_MAX;
  ++life_;
}

void Node::Crash(CrashKind kind) {
  if (!up()) return;
  SyncClock();
  world_.Note("node.crash", {index_}, kind == CrashKind::kPower ? "power" : "process");
  world_.network.CutNode(index_);
  disk_->PowerOff();
  Down();
  disk_->Crash(kind, random_.Next64());
}

void Node::StopCleanly() {
  if (!up()) return;
  SyncClock();
  world_.network.CutNode(index_);
  consumers_.clear();
  producers_.clear();
  const Status stopped = engine_->Shutdown(true);
  world_.Note("node.stop", {index_}, stopped.ToString());
  if (!stopped.ok()) {
    // It could not write everything: that is a crash.
    disk_->PowerOff();
    Down();
    disk_->Crash(CrashKind::kProcess, random_.Next64());
    return;
  }
  Down();
}

void Node::CrashInsideWrite(uint64_t n) {
  disk_->CrashInside(n, [this, life = life_] {
    world_.queue.After(0, [this, life] {
      if (life == life_) Crash(CrashKind::kPower);
    });
  });
}

void Node::Wipe() {
  CAIRN_CHECK(!up());
  world_.Note("node.wipe", {index_});
  disk_->Wipe();
}

void Node::Follow(const std::map<NodeIndex, std::vector<Vbid>>& sources) {
  std::erase_if(consumers_, [&](const auto& entry) {
    const auto it = sources.find(entry.first);
    return it == sources.end() || entry.second->takeover() || it->second != entry.second->vbuckets();
  });
  for (const auto& [source, vbuckets] : sources) {
    if (consumers_.contains(source)) continue;
    world_.Note("node.follow", {index_, source, vbuckets.size()});
    consumers_[source] = std::make_unique<ConsumerEnd>(*this, source, vbuckets, false);
  }
}

void Node::FollowNobody() { consumers_.clear(); }

void Node::TakeOver(NodeIndex source, const std::vector<Vbid>& vbuckets) {
  world_.Note("node.take_over", {index_, source, vbuckets.size()});
  consumers_.clear();  // a vbucket has one source
  consumers_[source] = std::make_unique<ConsumerEnd>(*this, source, vbuckets, true);
}

std::weak_ptr<ProducerEnd> Node::Accept(LinkId link, NodeIndex consumer) {
  SyncClock();
  producers_.push_back(std::make_shared<ProducerEnd>(*this, link, consumer));
  return producers_.back();
}

void Node::ReplaceOlder(const std::string& consumer, const ProducerEnd* keep) {
  const auto producers = producers_;
  for (const auto& producer : producers) {
    if (producer.get() == keep || producer->consumer() != consumer) continue;
    producer->End(tap::EndReason::kDisconnected);
    producer->Pump();
  }
}

void Node::Deliver(LinkId link, const tap::ConsumerMessage& message) {
  const auto producers = producers_;
  for (const auto& producer : producers) {
    if (producer->link() == link) producer->OnMessage(message);
  }
}

void Node::Deliver(LinkId link, tap::ProducerMessage message) {
  for (const auto& [source, consumer] : consumers_) {
    if (consumer->link() != link) continue;
    consumer->OnMessage(std::move(message));
    return;
  }
}

engine::VbucketPosition Node::Position(Vbid vbucket) {
  Result<engine::VbucketPosition> position = replication().Position(vbucket);
  return position.ok() ? std::move(position).value() : engine::VbucketPosition{};
}

void Node::Touched() {
  if (!up()) return;
  const bool undoing = engine_->update_status().phase == engine::UpdatePhase::kReverting;
  for (uint32_t v = 0; v < world_.plan.vbuckets; ++v) {
    const Vbid vbucket(static_cast<uint16_t>(v));
    world_.oracle.Look(index_, vbucket, Position(vbucket), undoing, world_.now_ns());
  }
  ScheduleBackground(world_.plan.background_ns);
}

void Node::ScheduleBackground(int64_t delay_ns) {
  const int64_t at = world_.now_ns() + delay_ns;
  if (at >= background_at_ns_) return;
  background_at_ns_ = at;
  world_.queue.At(at, [this, at, life = life_] {
    if (life != life_ || at != background_at_ns_) return;
    background_at_ns_ = INT64_MAX;
    RunBackground();
  });
}

void Node::RunBackground() {
  SyncClock();
  const bool busy = engine_->RunBackground();
  world_.trace.Mix(busy ? 1 : 2);
  Touched();
  if (!busy) {
    background_at_ns_ = INT64_MAX;
    ScheduleBackground(kIdleBackgroundNs);
  }
}

void Node::Settle() {
  SyncClock();
  for (int i = 0; i < kSettleStepsMax && engine_->RunBackground(); ++i) {
  }
  Touched();
}

}  // namespace cairn::sim
