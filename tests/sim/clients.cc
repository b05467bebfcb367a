#include "tests/sim/clients.h"

#include <algorithm>
#include <utility>

#include "base/key.h"
#include "tests/sim/node.h"

namespace cairn::sim {
namespace {

using engine::DurabilityLevel;
using engine::StoreMode;
using Kind = KeyOperation::Kind;

constexpr int64_t kClientDelayMaxNs = 3 * kMs;
constexpr int64_t kDurableTimeoutNs = 5 * kSecond;
constexpr int kAttemptsMax = 200;

/// Calls back, once, as an event.
class EventWaiter final : public engine::Waiter {
 public:
  EventWaiter(World& world, std::function<void()> woken) : world_(world), woken_(std::move(woken)) {}
  void Wake() override {
    if (woken_) world_.queue.After(0, std::exchange(woken_, nullptr));
  }
  /// Whatever comes now comes too late.
  void Forget() { woken_ = nullptr; }

 private:
  World& world_;
  std::function<void()> woken_;
};

bool Writes(Kind kind) { return kind != Kind::kGet; }

}  // namespace

struct Clients::Request {
  std::string key;
  Vbid vbucket;
  NodeIndex node = 0;
  uint64_t life = 0;
  KeyOperation operation;
  DurabilityLevel durability = DurabilityLevel::kMemory;
  int attempts = 0;
  bool answer_lost = false;
  // Once executed:
  Code code = Code::kOk;
  uint64_t branch = 0;
  engine::MutationResult written;
  engine::GetResult read;
  uint64_t wait_number = 0;
};

Clients::Clients(World& world, History& history, std::function<NodeIndex(Vbid)> leader_of)
    : world_(world), history_(history), leader_of_(std::move(leader_of)) {
  for (uint32_t i = 0; i < world_.plan.keys; ++i) keys_.push_back("k" + std::to_string(i));
}

Vbid Clients::VbucketOf(const std::string& key) const { return VbidOf(key, world_.plan.vbuckets); }

Clients::RequestRef Clients::RandomRequest() {
  Random& random = world_.random;
  auto request = std::make_shared<Request>();
  request->key = keys_[random.Uniform(keys_.size())];
  constexpr Kind kKinds[] = {Kind::kGet,    Kind::kGet,   Kind::kGet,    Kind::kSet,
                             Kind::kSet,    Kind::kSet,   Kind::kSet,    Kind::kAdd,
                             Kind::kAppend, Kind::kTouch, Kind::kDelete, Kind::kDelete};
  KeyOperation& operation = request->operation;
  operation.kind = kKinds[random.Uniform(std::size(kKinds))];
  if (operation.kind == Kind::kSet || operation.kind == Kind::kAdd) {
    operation.value = std::to_string(++counter_);
    if (world_.plan.large_values && random.OneIn(2)) operation.value.append(random.Uniform(40'000), '.');
    operation.flags = static_cast<uint32_t>(random.Uniform(3));
  } else if (operation.kind == Kind::kAppend) {
    operation.value = "+" + std::to_string(++counter_);
  }
  if (random.OneIn(6) && operation.kind != Kind::kAppend && Writes(operation.kind)) {
    operation.expiry = world_.node(0).clock().WallSeconds() + 1 + static_cast<uint32_t>(random.Uniform(5));
  }
  if (Writes(operation.kind) && random.OneIn(5)) {
    constexpr DurabilityLevel kLevels[] = {DurabilityLevel::kPersisted, DurabilityLevel::kPersistedMajority,
                                           DurabilityLevel::kMajorityAndPersisted};
    request->durability = kLevels[random.Uniform(3)];
  }
  return request;
}

void Clients::Operate() {
  RequestRef request = RandomRequest();
  request->vbucket = VbucketOf(request->key);
  request->node = world_.random.OneIn(12) ? static_cast<NodeIndex>(world_.random.Uniform(world_.nodes.size()))
                                          : leader_of_(request->vbucket);
  request->answer_lost = world_.plan.cuts && !world_.calm && world_.random.OneIn(20);
  Send(request);
}

void Clients::ReadAll() {
  for (const std::string& key : keys_) SendTo(leader_of_(VbucketOf(key)), Kind::kGet, key, {});
}

void Clients::SendTo(NodeIndex node, Kind kind, const std::string& key, const std::string& value) {
  auto request = std::make_shared<Request>();
  request->key = key;
  request->vbucket = VbucketOf(key);
  request->node = node;
  request->operation.kind = kind;
  request->operation.value = value;
  Send(request);
}

void Clients::Send(const RequestRef& request) {
  request->operation.begin_ns = world_.now_ns();
  request->life = world_.node(request->node).life();
  world_.queue.After(static_cast<int64_t>(world_.random.Uniform(kClientDelayMaxNs)), [this, request] {
    // Never executed: no trace of it is needed, as it can have had no effect.
    if (world_.node(request->node).life() == request->life && world_.node(request->node).up())
      Execute(request);
  });
}

Code Clients::Run(Node& node, Request& request, const engine::WaiterRef& waiter) {
  engine::Engine& engine = node.engine();
  const engine::OpKey key = engine.MakeKey(request.key);
  const KeyOperation& operation = request.operation;
  switch (operation.kind) {
    case Kind::kGet:
      request.read = engine.Get(key, waiter);
      return request.read.code;
    case Kind::kTouch:
      request.written = engine.Touch(key, operation.expiry, waiter);
      return request.written.code;
    case Kind::kDelete:
      request.written = engine.Delete(key, Cas(), waiter);
      return request.written.code;
    default:
      break;
  }
  engine::StoreRequest store;
  store.mode = operation.kind == Kind::kSet   ? StoreMode::kSet
               : operation.kind == Kind::kAdd ? StoreMode::kAdd
                                              : StoreMode::kAppend;
  store.value = operation.value;
  store.flags = operation.flags;
  store.expiry = operation.expiry;
  request.written = engine.Store(key, store, waiter);
  return request.written.code;
}

void Clients::Execute(const RequestRef& request) {
  Node& node = world_.node(request->node);
  if (node.life() != request->life || !node.up()) return;
  node.SyncClock();
  if (request->durability != DurabilityLevel::kMemory &&
      node.engine().AdmitDurability(request->vbucket, request->durability) !=
          engine::DurabilityAdmission::kOk) {
    return;
  }
  const auto waiter = std::make_shared<EventWaiter>(world_, [this, request] { Execute(request); });
  request->code = Run(node, *request, waiter);
  if (request->code == Code::kWouldBlock) {
    node.Touched();
    if (++request->attempts > kAttemptsMax) Complain(node, *request, "is parked again and again");
    return;
  }
  waiter->Forget();
  const uint64_t ticket = node.engine().CommitTicket();
  node.Touched();
  ++operations_;
  Compare(node, *request);
  world_.trace.Mix(static_cast<uint64_t>(request->code) * 31 + request->written.seqno.get());
  if (world_.trace.printing()) {
    world_.Note(
        "client", {request->node, request->vbucket.get(), request->written.seqno.get()},
        request->key + " " + std::string(CodeName(request->code)) + " " + Describe(request->operation));
  }
  if (request->durability != DurabilityLevel::kMemory && request->written.code == Code::kOk &&
      Writes(request->operation.kind)) {
    AwaitDurable(request, ticket, world_.now_ns() + kDurableTimeoutNs);
    return;
  }
  Reply(request);
}

std::optional<Version> Clients::Expect(Node& node, const Request& request, bool* maybe_gone) {
  const Content& content = world_.oracle.Expected(node.index(), request.vbucket);
  const auto it = content.find(request.key);
  *maybe_gone = false;
  if (it == content.end()) return std::nullopt;
  const uint32_t expiry = it->second.expiry;
  if (expiry != 0 && expiry <= node.clock().WallSeconds()) return std::nullopt;
  *maybe_gone = expiry != 0 && expiry <= world_.wall_max;
  return it->second;
}

void Clients::Complain(Node& node, const Request& request, const std::string& what) {
  world_.Fail("node " + std::to_string(node.index()) + " vbucket " + std::to_string(request.vbucket.get()) +
              ": " + request.key + ": " + Describe(request.operation) + " answered " +
              std::string(CodeName(request.code)) + ": " + what);
}

void Clients::Compare(Node& node, Request& request) {
  KeyOperation& operation = request.operation;
  const Code code = request.code;
  const bool done = code == Code::kOk;
  if (!done && code != Code::kNotFound && code != Code::kNotStored) {
    if (code == Code::kInternal || code == Code::kCorruption) Complain(node, request, "cannot be");
    return;
  }
  request.branch = world_.oracle.Branch(node.index(), request.vbucket);
  if (request.branch == 0) return Complain(node, request, "it is not active");
  bool maybe_gone = false;
  const std::optional<Version> expected = Expect(node, request, &maybe_gone);
  operation.done = done;
  const bool wants_absent = operation.kind == Kind::kAdd;
  if (operation.kind != Kind::kSet && done != (expected.has_value() != wants_absent)) {
    // Clocks that jump back make what has expired live again, unless it was removed meanwhile.
    if (!maybe_gone || (done && !wants_absent)) {
      return Complain(node, request,
                      expected ? "it exists as '" + expected->value + "'" : "it does not exist");
    }
  }
  if (operation.kind == Kind::kGet) {
    if (!done) return;
    const Item& item = *request.read.item;
    operation.seen = {true, std::string(item.value()), item.flags(), item.expiry(), item.cas().get()};
    const Version found{operation.seen.value, item.flags(), item.expiry(), item.cas().get()};
    if (!expected || !(found == *expected)) {
      Complain(node, request,
               Difference({{request.key, expected.value_or(Version())}}, {{request.key, found}}));
    }
    return;
  }
  if (!done) return;
  operation.seen.cas = request.written.cas.get();
  Version version{operation.value, operation.flags, operation.expiry, request.written.cas.get()};
  if (operation.kind == Kind::kAppend) {
    version = {expected->value + operation.value, expected->flags, expected->expiry,
               request.written.cas.get()};
  } else if (operation.kind == Kind::kTouch) {
    version = {expected->value, expected->flags, operation.expiry, request.written.cas.get()};
  }
  world_.oracle.Changed(node.index(), request.vbucket, request.written.seqno, request.key,
                        operation.kind == Kind::kDelete ? std::nullopt : std::optional(std::move(version)));
}

Content Clients::ReadCopy(NodeIndex index, Vbid vbucket) {
  Node& node = world_.node(index);
  node.SyncClock();
  Content content;
  for (const std::string& key : keys_) {
    if (VbucketOf(key) != vbucket) continue;
    engine::GetResult result;
    for (int i = 0; i < kAttemptsMax; ++i) {
      result = node.replication().GetReplica(node.engine().MakeKey(key),
                                             std::make_shared<EventWaiter>(world_, nullptr));
      if (result.code != Code::kWouldBlock) break;
      node.engine().RunBackground();
    }
    if (result.code == Code::kOk) {
      const Item& item = *result.item;
      content[key] = {std::string(item.value()), item.flags(), item.expiry(), item.cas().get()};
    } else if (result.code != Code::kNotFound) {
      world_.Fail("node " + std::to_string(index) + ": " + key +
                  " cannot be read: " + std::string(CodeName(result.code)));
    }
  }
  return content;
}

void Clients::AwaitDurable(const RequestRef& request, uint64_t ticket, int64_t deadline_ns) {
  Node& node = world_.node(request->node);
  const engine::Requirement requirement{request->vbucket, request->durability, request->written.seqno,
                                        request->branch};
  const bool gone = node.life() != request->life || !node.up();
  const Code outcome = gone ? Code::kAmbiguous : node.engine().DurabilityOutcome(requirement, ticket);
  if (outcome == Code::kWouldBlock && world_.now_ns() < deadline_ns) {
    // Asked again when woken, and now and then: a wake may come before the wait is set up.
    const auto again = [this, request, ticket, deadline_ns, asked = std::make_shared<bool>(false)] {
      if (!std::exchange(*asked, true)) AwaitDurable(request, ticket, deadline_ns);
    };
    const auto waiter = std::make_shared<EventWaiter>(world_, again);
    if (request->wait_number == 0) request->wait_number = ++waits_;
    node.Keep(request->wait_number, node.engine().AwaitDurability(requirement, ticket, waiter));
    world_.queue.After(kSecond, again);
    return;
  }
  if (!gone) node.Release(request->wait_number);
  if (outcome == Code::kOk) {
    ++acknowledged_durable_;
    using Level = DurabilityLevel;
    const Level level = request->durability;
    Oracle& oracle = world_.oracle;
    oracle.Acknowledged(Oracle::Durability::kPersisted, request->vbucket, request->branch, requirement.seqno);
    // What is in the memory of a majority is safe from anything but their crashes.
    const bool nobody_forgets =
        !world_.plan.crashes && !world_.plan.store_faults && !world_.plan.fault_points;
    if (level == Level::kPersistedMajority || (engine::UsesReplicas(level) && nobody_forgets)) {
      oracle.Acknowledged(Oracle::Durability::kMajority, request->vbucket, request->branch,
                          requirement.seqno);
    }
  } else {
    request->answer_lost = true;  // ambiguous
  }
  Reply(request);
}

void Clients::Reply(const RequestRef& request) {
  if (request->branch == 0) return;  // refused: no effect
  const auto record = [this, request](bool answered) {
    KeyOperation operation = request->operation;
    operation.end_ns = answered ? world_.now_ns() : INT64_MAX;
    const bool wrote = Writes(operation.kind) && request->code == Code::kOk;
    if (!answered && !wrote) return;
    history_.Add(request->vbucket, request->branch, request->key, wrote ? request->written.seqno : Seqno(),
                 std::move(operation));
  };
  if (request->answer_lost) return record(false);
  world_.queue.After(static_cast<int64_t>(world_.random.Uniform(kClientDelayMaxNs)), [this, request, record] {
    const Node& node = world_.node(request->node);
    record(node.life() == request->life);  // its connection went down with it
  });
}

}  // namespace cairn::sim
