// The admin service over loopback gRPC, asked with cairnctl's client and with bare requests. Nodes are whole
// but for the memcached door: a real engine on RocksDB, TAP, administration, all in this process.

#include "server/admin_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cli/admin_client.h"
#include "cli/copy_compare.h"
#include "engine/storage/kv_store.h"
#include "proto/admin.grpc.pb.h"
#include "tap/service.h"
#include "tests/base/temp_dir.h"

namespace cairn::server {
namespace {

namespace wire = ::cairn::admin::v1;
using cli::AdminClient;
using cli::VbucketChoice;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::StartsWith;

constexpr uint32_t kVbuckets = 8;
constexpr int kWaitMs = 20'000;

class WakeFlag final : public engine::Waiter {
 public:
  void Wake() override { woken_.store(true); }
  bool woken() const { return woken_.load(); }

 private:
  std::atomic<bool> woken_{false};
};

bool Within(int ms, const std::function<bool()>& holds) {
  for (int waited = 0; waited < ms; waited += 5) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return holds();
}

class Node {
 public:
  explicit Node(std::string name, bool with_tap = true) {
    engine::EngineOptions options;
    options.data_dir = dir_.path();
    options.vbuckets = kVbuckets;
    options.memory_quota = 256u << 20;
    options.checkpoint_age_max_ms = 50;
    engine::EngineDeps deps;
    deps.clock = &clock_;
    storage::RocksStoreOptions store;
    store.path = dir_.path();
    deps.store = storage::OpenRocksStore(store).value();
    engine_ = engine::Engine::Open(options, std::move(deps)).value();
    if (with_tap) StartTap(std::move(name));
    StartAdmin();
  }
  ~Node() {
    admin_.reset();
    tap_.reset();
    EXPECT_TRUE(engine_->Shutdown(true).ok());
  }

  engine::Engine& engine() { return *engine_; }
  AdminService& admin() { return *admin_; }
  std::string tap_address() const { return tap_->addresses().front(); }
  std::string admin_address() const { return admin_->addresses().front(); }
  std::unique_ptr<AdminClient> Client() const {
    cli::AdminOptions options;
    options.address = admin_address();
    options.timeout_ms = kWaitMs;
    return AdminClient::Make(options).value();
  }
  std::unique_ptr<wire::Admin::Stub> Stub() const {
    return wire::Admin::NewStub(grpc::CreateChannel(admin_address(), grpc::InsecureChannelCredentials()));
  }

  Code Set(const std::string& key, const std::string& value) {
    engine::StoreRequest request;
    request.value = value;
    for (int attempt = 0; attempt < 100; ++attempt) {
      const auto wake = std::make_shared<WakeFlag>();
      const Code code = engine_->Store(engine_->MakeKey(key), request, wake).code;
      if (code != Code::kWouldBlock) return code;
      if (!Within(kWaitMs, [&] { return wake->woken(); })) break;
    }
    return Code::kTimeout;
  }
  void Fill(int keys) {
    for (int i = 0; i < keys; ++i) ASSERT_EQ(Set("key-" + std::to_string(i), "value"), Code::kOk);
  }

 private:
  void StartTap(std::string name) {
    tap::TapService::Options options;
    options.node_name = std::move(name);
    options.data_dir = dir_.path();
    options.port = 0;
    tap_ = tap::TapService::Start(options, engine_->replication(), clock_).value();
  }
  void StartAdmin() {
    AdminOptions options;
    options.version = "1.2.3";
    options.memcached_addresses = {"127.0.0.1:1", "[::1]:1"};
    AdminDeps deps;
    deps.engine = engine_.get();
    deps.tap = tap_.get();
    deps.clock = &clock_;
    deps.stats = [](std::string_view request, const engine::StatSink& sink) {
      if (request != "settings 7") return false;
      sink("a", "1");
      sink("b", "two");
      return true;
    };
    admin_ = AdminService::Start(options, deps).value();
  }

  TempDir dir_;
  SystemClock clock_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<tap::TapService> tap_;
  std::unique_ptr<AdminService> admin_;
};

void Bound(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + milliseconds(kWaitMs));
}

// Are they the same, as `cairnctl replicate verify` finds out?
testing::AssertionResult Equal(AdminClient& here, AdminClient& peer) {
  cli::CopyCompare compare({});
  const bool decided = Within(kWaitMs, [&] {
    const auto rows = here.ListVbuckets({});
    const auto peer_rows = peer.ListVbuckets({});
    if (!rows.ok() || !peer_rows.ok()) return false;
    compare.Add(cli::CopyCompare::Side::kHere, *rows);
    compare.Add(cli::CopyCompare::Side::kPeer, *peer_rows);
    return compare.decided();
  });
  if (decided && compare.equal() == kVbuckets) return testing::AssertionSuccess();
  testing::AssertionResult no = testing::AssertionFailure();
  for (const auto& difference : compare.Differences()) {
    no << "vbucket " << difference.vbucket << ": " << difference.what << "\n";
  }
  return no;
}

uint32_t CountIn(AdminClient& client, std::string_view state) {
  const auto rows = client.ListVbuckets({});
  uint32_t count = 0;
  if (!rows.ok()) return count;
  for (const auto& row : *rows) count += row.state == state ? 1 : 0;
  return count;
}

TEST(AdminServiceTest, ANodeSaysWhoItIs) {
  Node node("node-a");
  const Result<cli::NodeInfo> info = node.Client()->GetNode();
  ASSERT_TRUE(info.ok()) << info.status().ToString();
  EXPECT_EQ(info->version, "1.2.3");
  EXPECT_EQ(info->name, "node-a");
  EXPECT_EQ(info->uuid.size(), 32u);
  EXPECT_NE(info->uuid, std::string(32, '0'));
  EXPECT_EQ(info->vbucket_count, kVbuckets);
  EXPECT_EQ(info->memcached_address, "127.0.0.1:1,[::1]:1");
  EXPECT_THAT(info->tap_address, HasSubstr(node.tap_address()));
}

TEST(AdminServiceTest, StatisticsAreThoseOfTheProtocol) {
  Node node("a", false);
  const auto stub = node.Stub();
  wire::GetStatsRequest request;
  wire::Stats stats;
  request.set_group("settings");
  request.set_argument("7");
  {
    grpc::ClientContext context;
    Bound(context);
    ASSERT_TRUE(stub->GetStats(&context, request, &stats).ok());
  }
  ASSERT_EQ(stats.stats_size(), 2);
  EXPECT_EQ(stats.stats(1).name() + "=" + stats.stats(1).value(), "b=two");
  request.set_group("nonsense");
  grpc::ClientContext context;
  Bound(context);
  const grpc::Status unknown = stub->GetStats(&context, request, &stats);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(unknown.error_message(), StartsWith("NOT_FOUND: "));
}

class UpdateCalls : public testing::Test {
 protected:
  using Call = grpc::Status (wire::Admin::Stub::*)(grpc::ClientContext*, const wire::UpdateRequest&,
                                                   wire::UpdateState*);
  grpc::Status Do(Call call, const wire::UpdateRequest& request) {
    grpc::ClientContext context;
    Bound(context);
    state_.Clear();
    return (stub_.get()->*call)(&context, request, &state_);
  }

  Node node_{"a", false};
  std::unique_ptr<wire::Admin::Stub> stub_ = node_.Stub();
  wire::UpdateState state_;
};

TEST_F(UpdateCalls, RunEachStepToItsEnd) {
  wire::UpdateRequest start;
  start.set_name("one");
  start.set_id(std::string(16, 'u'));
  ASSERT_TRUE(Do(&wire::Admin::Stub::StartUpdate, start).ok());
  EXPECT_EQ(state_.phase(), "updating");
  EXPECT_EQ(state_.id(), start.id());
  EXPECT_EQ(state_.name(), "one");
  node_.Fill(10);
  grpc::ClientContext context;
  Bound(context);
  ASSERT_TRUE(stub_->GetUpdate(&context, wire::GetUpdateRequest(), &state_).ok());
  EXPECT_EQ(state_.added(), 10u);
  EXPECT_NE(state_.digest_now(), state_.digest_at_start());
  ASSERT_TRUE(Do(&wire::Admin::Stub::RevertUpdate, {}).ok());
  EXPECT_EQ(state_.phase(), "normal");
  EXPECT_EQ(node_.engine().Digest(), 0u);
}

TEST_F(UpdateCalls, RefuseByName) {
  const grpc::Status none_open = Do(&wire::Admin::Stub::CompleteUpdate, {});
  EXPECT_EQ(none_open.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(none_open.error_message(), StartsWith("NOT_SUPPORTED: "));
  wire::UpdateRequest bad;
  bad.set_id("short");
  EXPECT_EQ(Do(&wire::Admin::Stub::StartUpdate, bad).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(AdminServiceTest, WithoutReplicationItsCallsAreRefusedAndTheOthersWork) {
  Node node("a", false);
  const auto client = node.Client();
  EXPECT_EQ(client->AddSource("127.0.0.1:1", {}, "").status(), Code::kNotSupported);
  EXPECT_EQ(client->RemoveSource("127.0.0.1:1").status(), Code::kNotSupported);
  EXPECT_EQ(client->ListReplication(true).status(), Code::kNotSupported);
  EXPECT_EQ(client->WatchReplication(100, [](const auto&) { return true; }), Code::kNotSupported);
  EXPECT_EQ(client->Promote({}, {0, false, kWaitMs}).status(), Code::kNotSupported);
  EXPECT_EQ(client->Demote({}, "replica", kWaitMs).status(), Code::kNotSupported);
  EXPECT_EQ(client->Takeover({"127.0.0.1:1", {}, 100}, [] {}).status(), Code::kNotSupported);
  const auto rows = client->ListVbuckets({});
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->size(), kVbuckets);
  EXPECT_EQ(rows->front().state, "active");
}

TEST(AdminServiceTest, WhatIsAskedForIsChecked) {
  Node node("a");
  const auto client = node.Client();
  EXPECT_EQ(client->ListVbuckets({.all = false, .vbuckets = {}}).status(), Code::kInvalidArgument);
  const Status beyond = client->ListVbuckets({.all = false, .vbuckets = {1, kVbuckets}}).status();
  EXPECT_EQ(beyond, Code::kInvalidArgument);
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("0 to 7"));
  EXPECT_EQ(client->ListVbuckets({.all = false, .vbuckets = {3, 1, 3}}).value().size(), 2u);
  EXPECT_EQ(client->Demote({}, "active", kWaitMs).status(), Code::kInvalidArgument);
  EXPECT_EQ(client->AddSource("no address", {}, "").status(), Code::kInvalidArgument);
  EXPECT_EQ(client->AddSource(node.tap_address(), {}, "").status(), Code::kInvalidArgument);
  EXPECT_EQ(client->Takeover({node.tap_address(), {}, 100}, [] {}).status(), Code::kInvalidArgument);
  EXPECT_EQ(CountIn(*client, "active"), kVbuckets);
  EXPECT_FALSE(client->RemoveSource("127.0.0.1:1").ok());
  EXPECT_EQ(client->SetDurability({"safe", 0, 0}).status(), Code::kInvalidArgument);
  // Everything is active already.
  EXPECT_EQ(client->Promote({}, {0, false, kWaitMs}).status(), Code::kNotSupported);
}

TEST(AdminServiceTest, DurabilityIsShownAndSet) {
  Node node("a");
  const auto client = node.Client();
  Result<cli::DurabilityView> view = client->GetDurability();
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->level, "memory");
  EXPECT_EQ(view->copies, 2u);
  EXPECT_EQ(view->timeout_ms, 5000u);
  ASSERT_TRUE(client->SetDurability({"persisted-majority", 3, 777}).ok());
  view = client->GetDurability();
  EXPECT_EQ(view->level, "persisted-majority");
  EXPECT_EQ(view->copies, 3u);
  EXPECT_EQ(view->timeout_ms, 777u);
  // Out of range: nothing is changed.
  EXPECT_EQ(client->SetDurability({"memory", 0, 777}).status(), Code::kInvalidArgument);
  EXPECT_EQ(client->SetDurability({"memory", 65, 777}).status(), Code::kInvalidArgument);
  EXPECT_EQ(client->SetDurability({"memory", 3, 0}).status(), Code::kInvalidArgument);
  EXPECT_EQ(client->GetDurability().value().level, "persisted-majority");
}

TEST(AdminServiceTest, AReplicaFollowsIsSeenAndIsPromoted) {
  Node a("node-a");
  Node b("node-b");
  a.Fill(500);
  const auto at_a = a.Client();
  const auto at_b = b.Client();
  const Result<cli::AddedSource> added = at_b->AddSource(a.tap_address(), {}, "");
  ASSERT_TRUE(added.ok()) << added.status().ToString();
  EXPECT_EQ(added->vbuckets, kVbuckets);
  EXPECT_EQ(CountIn(*at_b, "replica"), kVbuckets);
  ASSERT_TRUE(Equal(*at_b, *at_a));

  // Both ends see the connection, with all its streams.
  const auto from = at_b->ListReplication(true);
  ASSERT_TRUE(from.ok());
  ASSERT_EQ(from->connections.size(), 1u);
  EXPECT_FALSE(from->connections[0].producing);
  EXPECT_EQ(from->connections[0].streams.size(), kVbuckets);
  EXPECT_EQ(from->connections[0].streams_total, kVbuckets);
  const auto to = at_a->ListReplication(false);
  ASSERT_TRUE(to.ok());
  ASSERT_EQ(to->connections.size(), 1u);
  EXPECT_TRUE(to->connections[0].producing);
  EXPECT_EQ(to->connections[0].name, "node-b");
  EXPECT_TRUE(to->connections[0].streams.empty());
  EXPECT_EQ(to->connections[0].streams_total, kVbuckets);

  // A replica takes no writes; promoted, it does, with a higher epoch.
  EXPECT_EQ(b.Set("key-1", "x"), Code::kNotMyVbucket);
  const uint64_t epoch = at_b->ListVbuckets({}).value().front().epoch;
  const Result<uint32_t> promoted = at_b->Promote({}, {epoch + 10, false, kWaitMs});
  ASSERT_TRUE(promoted.ok()) << promoted.status().ToString();
  EXPECT_EQ(*promoted, kVbuckets);
  EXPECT_GE(at_b->ListVbuckets({}).value().front().epoch, epoch + 10);
  EXPECT_EQ(b.Set("key-1", "x"), Code::kOk);
  // The former active hears of it and gives up.
  EXPECT_TRUE(Within(kWaitMs, [&] { return CountIn(*at_a, "dead") == kVbuckets; }));
  EXPECT_EQ(a.Set("key-1", "y"), Code::kNotMyVbucket);

  // It comes back as a replica of the new one.
  ASSERT_TRUE(at_a->AddSource(b.tap_address(), {}, "").ok());
  EXPECT_TRUE(Equal(*at_a, *at_b));
}

TEST(AdminServiceTest, ACopyThatHasGivenSomethingUpSaysSoAndIsPromotedByForceOnly) {
  Node a("node-a");
  a.Fill(50);
  const auto client = a.Client();
  ASSERT_TRUE(client->Demote({}, "replica", kWaitMs).ok());
  const uint64_t high = client->ListVbuckets({}).value().front().high;
  ASSERT_GT(high, 0u);
  const engine::PendingRef back = a.engine().replication().Rollback(Vbid(0), Seqno(0));
  ASSERT_TRUE(Within(kWaitMs, [&] { return back->ready(); }));
  ASSERT_TRUE(back->status().ok());
  EXPECT_EQ(client->ListVbuckets({}).value().front().regain, high);
  const Status refused = client->Promote({}, {0, false, kWaitMs}).status();
  EXPECT_EQ(refused, Code::kNotSupported) << refused.ToString();
  EXPECT_NE(refused.message().find("vbucket 0 has given up operations"), std::string::npos);
  EXPECT_EQ(CountIn(*client, "replica"), kVbuckets) << "all or none";
  ASSERT_TRUE(client->Promote({}, {0, true, kWaitMs}).ok());
  EXPECT_EQ(CountIn(*client, "active"), kVbuckets);
  EXPECT_EQ(client->ListVbuckets({}).value().front().regain, 0u);
}

TEST(AdminServiceTest, SomeVbucketsAreFollowedAndLeftAgain) {
  Node a("node-a");
  Node b("node-b");
  const auto at_b = b.Client();
  const VbucketChoice some = {.all = false, .vbuckets = {1, 5}};
  ASSERT_TRUE(at_b->AddSource(a.tap_address(), some, "some").ok());
  EXPECT_EQ(CountIn(*at_b, "replica"), 2u);
  const Result<uint32_t> left = at_b->RemoveSource(a.tap_address());
  ASSERT_TRUE(left.ok()) << left.status().ToString();
  EXPECT_EQ(*left, 2u);
  EXPECT_EQ(CountIn(*at_b, "replica"), 2u);
  // NOT_FOUND of a node is no missing key.
  const Status again = at_b->RemoveSource(a.tap_address()).status();
  EXPECT_THAT(std::string(again.message()), StartsWith("NOT_FOUND: "));
  const Result<uint32_t> promoted = at_b->Promote({}, {0, false, kWaitMs});
  ASSERT_TRUE(promoted.ok()) << promoted.status().ToString();
  EXPECT_EQ(*promoted, 2u);
  const Result<uint32_t> demoted = at_b->Demote(some, "dead", kWaitMs);
  ASSERT_TRUE(demoted.ok()) << demoted.status().ToString();
  EXPECT_EQ(CountIn(*at_b, "dead"), 2u);
}

TEST(AdminServiceTest, TakeoverMovesVbucketsWhileTheyAreWritten) {
  Node a("node-a");
  Node b("node-b");
  a.Fill(300);
  const auto at_a = a.Client();
  const auto at_b = b.Client();
  ASSERT_TRUE(at_b->AddSource(a.tap_address(), {}, "").ok());
  ASSERT_TRUE(Equal(*at_b, *at_a));
  std::atomic<bool> stop{false};
  std::atomic<int> written{0};
  std::thread writer([&] {
    while (!stop.load()) {
      if (a.Set("during-" + std::to_string(written.load()), "v") != Code::kOk) break;
      ++written;
    }
  });
  const Result<uint32_t> taken = at_b->Takeover({a.tap_address(), {}, kWaitMs}, [] {});
  stop = true;
  writer.join();
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_EQ(*taken, kVbuckets);
  EXPECT_EQ(CountIn(*at_b, "active"), kVbuckets);
  EXPECT_EQ(CountIn(*at_a, "active"), 0u);
  uint64_t items = 0;
  const auto rows = at_b->ListVbuckets({});
  ASSERT_TRUE(rows.ok());
  for (const auto& row : *rows) items += row.items;
  EXPECT_EQ(items, 300u + static_cast<uint64_t>(written.load()));
}

TEST(AdminServiceTest, ATakeoverFromNobodyEndsInTimeAndSaysSo) {
  Node b("node-b");
  const auto at_b = b.Client();
  const auto begun = std::chrono::steady_clock::now();
  const Result<uint32_t> taken = at_b->Takeover({"127.0.0.1:1", {}, 500}, [] {});
  EXPECT_THAT(std::string(taken.status().message()), StartsWith("TMP_FAIL: "));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
}

// A node of replicas that takes them over from nobody, until `for_ms` is over or somebody ends it.
class HopelessTakeover {
 public:
  HopelessTakeover(Node& node, uint32_t for_ms) {
    EXPECT_TRUE(node.Client()->Demote({}, "replica", kWaitMs).ok());
    call_ = std::thread([this, &node, for_ms] {
      const Result<uint32_t> taken = node.Client()->Takeover({"127.0.0.1:1", {}, for_ms}, [] {});
      answer_ = std::string(taken.status().message());
    });
    EXPECT_TRUE(Within(kWaitMs, [&] { return Runs(node); }));
  }
  ~HopelessTakeover() { Answer(); }
  HopelessTakeover(const HopelessTakeover&) = delete;
  HopelessTakeover& operator=(const HopelessTakeover&) = delete;
  static bool Runs(Node& node) {
    const auto state = node.Client()->ListReplication(false);
    return state.ok() && state->connections.size() == 1;
  }
  const std::string& Answer() {
    if (call_.joinable()) call_.join();
    return answer_;
  }

 private:
  std::string answer_;
  std::thread call_;
};

TEST(AdminServiceTest, ATakeoverEndsWithTheService) {
  Node b("node-b");
  HopelessTakeover takeover(b, 20'000);
  const auto begun = std::chrono::steady_clock::now();
  b.admin().Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  EXPECT_THAT(takeover.Answer(), StartsWith("CANCELLED: "));
}

TEST(AdminServiceTest, ATakeoverEndsWithItsClient) {
  Node b("node-b");
  ASSERT_TRUE(b.Client()->Demote({}, "replica", kWaitMs).ok());
  wire::TakeoverRequest request;
  request.set_address("127.0.0.1:1");
  request.mutable_vbuckets()->set_all(true);
  request.set_timeout_ms(20'000);
  wire::ChangeReply reply;
  grpc::ClientContext context;
  std::thread impatient([&] {
    EXPECT_TRUE(Within(kWaitMs, [&] { return HopelessTakeover::Runs(b); }));
    context.TryCancel();
  });
  EXPECT_EQ(b.Stub()->Takeover(&context, request, &reply).error_code(), grpc::StatusCode::CANCELLED);
  impatient.join();
  EXPECT_TRUE(Within(2'000, [&] { return !HopelessTakeover::Runs(b); }));
}

TEST(AdminServiceTest, APromotionWhoseClientHasGoneBeforeItsTurnIsNotMade) {
  Node b("node-b");
  HopelessTakeover takeover(b, 2'000);
  EXPECT_EQ(b.Client()->Promote({}, {0, false, 300}).status(), Code::kTimeout);
  EXPECT_THAT(takeover.Answer(), StartsWith("TIMEOUT: "));
  std::this_thread::sleep_for(milliseconds(300));
  b.admin().Stop();
  EXPECT_EQ(b.engine().HighSeqnos(engine::VbucketState::kReplica).size(), kVbuckets);
}

TEST(AdminServiceTest, AWatchSendsOneStatePerIntervalAndEndsWithTheService) {
  Node node("a");
  const auto client = node.Client();
  int states = 0;
  int64_t first_ms = 0, last_ms = 0;
  ASSERT_TRUE(client
                  ->WatchReplication(100,
                                     [&](const cli::ReplicationView& view) {
                                       (states == 0 ? first_ms : last_ms) = view.unix_ms;
                                       return ++states < 3;
                                     })
                  .ok());
  EXPECT_EQ(states, 3);
  EXPECT_GE(last_ms - first_ms, 190);
  // One that would last an hour ends with the service.
  std::thread stopper;
  const Status ended = client->WatchReplication(3'600'000, [&](const cli::ReplicationView&) {
    stopper = std::thread([&] { node.admin().Stop(); });
    return true;
  });
  stopper.join();
  EXPECT_EQ(ended, Code::kCancelled) << ended.ToString();
}

TEST(AdminServiceTest, WatchersAreCounted) {
  Node node("a");
  std::atomic<uint32_t> watching{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> watchers;
  for (uint32_t i = 0; i < AdminService::kWatchersMax; ++i) {
    watchers.emplace_back([&] {
      bool counted = false;
      const auto client = node.Client();
      static_cast<void>(client->WatchReplication(100, [&](const cli::ReplicationView&) {
        if (!std::exchange(counted, true)) ++watching;
        return !stop.load();
      }));
    });
  }
  EXPECT_TRUE(Within(kWaitMs, [&] { return watching.load() == AdminService::kWatchersMax; }));
  const auto one_more = node.Client();
  EXPECT_EQ(one_more->WatchReplication(100, [](const auto&) { return false; }), Code::kBusy);
  stop = true;
  for (std::thread& watcher : watchers) watcher.join();
  // A place is free again.
  EXPECT_TRUE(Within(
      kWaitMs, [&] { return one_more->WatchReplication(100, [](const auto&) { return false; }).ok(); }));
}

TEST(AdminServiceTest, ANodeThatIsGoneIsSaidToBe) {
  std::unique_ptr<AdminClient> client;
  {
    Node node("a");
    client = node.Client();
    EXPECT_TRUE(client->GetNode().ok());
  }
  const Status gone = client->GetNode().status();
  EXPECT_EQ(gone, Code::kIoError);
  EXPECT_THAT(std::string(gone.message()), StartsWith("cannot reach the admin port 127.0.0.1:"));
}

}  // namespace
}  // namespace cairn::server
