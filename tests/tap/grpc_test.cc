// Whole nodes in one process that replicate over real gRPC on loopback.

#include <gmock/gmock.h>

#include "base/file.h"
#include "tap/client.h"
#include "tap/server.h"
#include "tests/tap/certificates.h"
#include "tests/tap/cutting_proxy.h"
#include "tests/tap/node.h"

namespace cairn::tap {
namespace {

using engine::VbucketState;
using ::testing::HasSubstr;

VbucketSet AllVbuckets() {
  VbucketSet all;
  for (uint16_t i = 0; i < TapNode::kVbuckets; ++i) all.push_back(Vbid(i));
  return all;
}

std::string Conf(const TapNode& node) {
  const Result<std::string> bytes = ReadFile(node.dir().File("replication.conf"));
  return bytes.ok() ? *bytes : "";
}

// What a stranger says, message by message.
class RawConsumer {
 public:
  explicit RawConsumer(const std::string& address) : link_(MakeDialer({})(address).value()) {
    EXPECT_TRUE(link_->Open());
  }
  ~RawConsumer() {
    if (!finished_) static_cast<void>(End());
  }
  /// Why the call ended.
  Status End() {
    finished_ = true;
    link_->Cancel();
    return link_->Finish();
  }
  Status Ended() {
    finished_ = true;
    return link_->Finish();
  }
  static ConsumerMessage Hello(const std::string& name) {
    ConsumerMessage message;
    auto& hello = message.hello.emplace();
    hello.name = name;
    hello.node_uuid[0] = 1;
    hello.vbucket_count = TapNode::kVbuckets;
    hello.noop_interval_ms = 100;
    hello.idle_timeout_ms = 60'000;
    return message;
  }
  bool Say(const ConsumerMessage& message) { return link_->Write(message); }
  std::optional<ProducerMessage> Hear() {
    Result<std::optional<ProducerMessage>> read = link_->Read();
    return read.ok() ? *read : std::nullopt;
  }
  /// Reads on until the goodbye; nothing when the connection ended without one.
  std::optional<EndReason> HearGoodbye() {
    while (const std::optional<ProducerMessage> message = Hear()) {
      if (message->goodbye.has_value()) return message->goodbye;
    }
    return std::nullopt;
  }

 private:
  std::unique_ptr<ConsumerLink> link_;
  bool finished_ = false;
};

TEST(TapOverGrpc, AReplicaGetsWhatIsThereAndWhatComes) {
  TapNode a("a"), b("b");
  a.Open().Fill("before", 500);
  b.Follow(a);
  EXPECT_TRUE(b.All(VbucketState::kReplica));
  EXPECT_EQ(b.Get("before1"), std::nullopt) << "a replica serves nobody";
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  a.Fill("after", 500);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(a.Delete("before" + std::to_string(i)), Code::kOk);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  EXPECT_TRUE(Eventually([&] { return b.Connection(false).streams.size() == TapNode::kVbuckets; }));
  EXPECT_EQ(b.Connection(false).name, "a");
  EXPECT_EQ(a.Connection(true).name, "b");
}

TEST(TapOverGrpc, AnEmptyPairStaysConnected) {
  TapNode a("a"), b("b");
  b.tap_options.noop_interval_ms = 100;
  b.tap_options.idle_timeout_ms = 1'000;
  a.Open();
  b.Follow(a);
  ASSERT_TRUE(Eventually([&] { return b.Connection(false).connected; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(2'500));
  EXPECT_TRUE(b.Connection(false).connected);
  EXPECT_EQ(b.Connection(false).reconnects, 0U);
}

TEST(TapOverGrpc, CutsAreResumedWithoutLossOrRepetition) {
  TapNode a("a"), b("b");
  a.Open();
  CuttingProxy proxy(*a.tap_options.port);
  b.tap_options.replica_of = proxy.address();
  b.Open();
  for (int round = 0; round < 8; ++round) {
    ASSERT_TRUE(Eventually([&] { return b.Connection(false).connected; }));
    a.Fill("round" + std::to_string(round) + "-", 400);
    proxy.Cut();
    a.Fill("cut" + std::to_string(round) + "-", 200);
  }
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  const ConnectionInfo info = b.Connection(false);
  EXPECT_GE(info.reconnects, 1U);
  EXPECT_EQ(info.backfilled_operations, 0U) << "memory holds all of it";
}

TEST(TapOverGrpc, ASourceThatWasAwayIsFollowedAgain) {
  TapNode a("a"), b("b");
  a.Open().Fill("first", 300);
  b.Follow(a);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  a.Close();
  ASSERT_TRUE(Eventually([&] { return !b.Connection(false).connected; }));
  EXPECT_NE(b.Connection(false).last_error, "");
  a.Open().Fill("second", 300);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  // And a replica that was away, without being told again whom it follows.
  b.Close();
  a.Fill("third", 300);
  b.tap_options.replica_of.clear();
  b.Open();
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
}

TEST(TapOverGrpc, ASourceThatSaysNothingIsGivenUp) {
  TapNode a("a"), b("b");
  a.Open();
  CuttingProxy proxy(*a.tap_options.port);
  b.tap_options.replica_of = proxy.address();
  b.tap_options.noop_interval_ms = 100;
  b.tap_options.idle_timeout_ms = 1'000;
  b.Open();
  ASSERT_TRUE(Eventually([&] { return b.Connection(false).connected; }));
  proxy.Stall(true);
  ASSERT_TRUE(Eventually([&] { return !b.Connection(false).connected; }));
  proxy.Cut();
  proxy.Stall(false);
  a.Fill("later", 100);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
}

TEST(TapOverGrpc, NodesWithCertificatesReplicateAndOthersDoNot) {
  TempDir dir;
  const CertificateAuthority ours(dir, "ours"), others(dir, "others");
  TapNode a("a"), b("b"), stranger("stranger"), plain("plain");
  a.tap_options.tls = ours.Sign("a");
  b.tap_options.tls = ours.Sign("b");
  stranger.tap_options.tls = others.Sign("stranger");
  stranger.tap_options.tls.ca = ours.path();
  a.Open().Fill("secret", 100);
  b.Follow(a);
  stranger.Follow(a);
  plain.Follow(a);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  for (TapNode* refused : {&stranger, &plain}) {
    ASSERT_TRUE(Eventually([&] { return refused->Connection(false).reconnects >= 2; }));
    EXPECT_FALSE(refused->Connection(false).connected);
    EXPECT_NE(refused->Connection(false).last_error, "");
  }
  EXPECT_EQ(a.tap().Connections(false).size(), 1U);
}

TEST(TapOverGrpc, APromotionIsToldToTheFormerSourceAndSurvivesRestarts) {
  TapNode a("a"), b("b");
  a.Open().Fill("k", 300);
  b.Follow(a);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  ASSERT_TRUE(b.tap().Promote(AllVbuckets(), {}).ok());
  EXPECT_TRUE(b.All(VbucketState::kActive));
  EXPECT_TRUE(b.tap().sources().empty());
  EXPECT_TRUE(Eventually([&] { return a.All(VbucketState::kDead); })) << "told";
  EXPECT_TRUE(Eventually([&] { return Conf(b).find(" told 0-7") != std::string::npos; })) << Conf(b);
  EXPECT_EQ(b.Set("k1", "new"), Code::kOk);
  b.Close();
  b.Open();  // with --replica-of a
  EXPECT_TRUE(b.All(VbucketState::kActive)) << "what was promoted here is not demoted";
  EXPECT_EQ(b.Get("k1"), "new");
  // The former active comes back as a replica of the new one, and takes its history.
  a.tap_options.replica_of = b.address();
  a.Close();
  a.Open();
  ASSERT_TRUE(Eventually([&] { return a.SameAs(b); }));
  EXPECT_TRUE(a.All(VbucketState::kReplica));
}

TEST(TapOverGrpc, OfTwoThatArePromotedApartTheHigherEpochWins) {
  TapNode a("a"), b("b"), c("c");
  a.Open().Fill("k", 300);
  b.Follow(a);
  c.Follow(a);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a) && c.SameAs(a); }));
  a.Close();  // neither hears of the other
  ASSERT_TRUE(b.tap().Promote(AllVbuckets(), {}).ok());
  ASSERT_TRUE(c.tap().Promote(AllVbuckets(), {}).ok());
  const auto epoch = [](TapNode& node) { return node.engine().replication().Position(Vbid(0))->epoch; };
  ASSERT_NE(epoch(b), epoch(c));
  TapNode& winner = epoch(b) > epoch(c) ? b : c;
  TapNode& loser = epoch(b) > epoch(c) ? c : b;
  a.Open();
  EXPECT_TRUE(Eventually([&] { return a.All(VbucketState::kDead) && loser.All(VbucketState::kDead); }));
  EXPECT_TRUE(winner.All(VbucketState::kActive));
  EXPECT_EQ(winner.Set("k1", "new"), Code::kOk);
  EXPECT_EQ(epoch(a), epoch(winner));
}

TEST(TapOverGrpc, AFormerSourceThatWasAwayIsToldWhenItIsBack) {
  TapNode a("a"), b("b");
  a.Open().Fill("k", 300);
  b.Follow(a);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  a.Close();
  ASSERT_TRUE(b.tap().Promote(AllVbuckets(), {}).ok());
  EXPECT_THAT(Conf(b), HasSubstr(" untold 0-7"));
  b.Close();
  b.Open();
  EXPECT_TRUE(b.All(VbucketState::kActive));
  a.Open();
  EXPECT_TRUE(Eventually([&] { return a.All(VbucketState::kDead); }));
  EXPECT_TRUE(Eventually([&] { return Conf(b).find(" told 0-7") != std::string::npos; })) << Conf(b);
}

TEST(TapOverGrpc, ATakeoverMovesVbucketsWithoutLosingAWrite) {
  TapNode a("a"), b("b");
  a.Open().Fill("k", 300);
  b.Follow(a);
  std::atomic<bool> stop{false};
  std::atomic<int> stored{0};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      if (a.Set("w" + std::to_string(i), "x") != Code::kOk) return;
      stored = i + 1;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  const Status status = b.tap().Takeover(a.address(), {}, 30'000);
  stop = true;
  writer.join();
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(b.All(VbucketState::kActive));
  EXPECT_TRUE(a.All(VbucketState::kDead));
  for (int i = 0; i < stored; ++i) ASSERT_EQ(b.Get("w" + std::to_string(i)), "x") << i;
  EXPECT_EQ(b.Get("k299"), "value 299");
  EXPECT_TRUE(b.tap().Takeover(a.address(), {}, 1'000).ok()) << "asked again: it is done";
  b.Close();
  b.Open();
  EXPECT_TRUE(b.All(VbucketState::kActive));
}

TEST(TapOverGrpc, ATakeoverFromNobodyLeavesEverythingAsItWas) {
  TapNode a("a"), b("b");
  a.Open().Fill("k", 100);
  b.Follow(a);
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  EXPECT_EQ(b.tap().Takeover("127.0.0.1:1", {}, 300).code(), Code::kTimeout);
  EXPECT_TRUE(b.All(VbucketState::kReplica));
  a.Fill("later", 100);
  EXPECT_TRUE(Eventually([&] { return b.SameAs(a); })) << "follows again";
}

TEST(TapOverGrpc, ATakeoverThrowsNothingAwayThatIsActiveHere) {
  TapNode a("a"), b("b");
  a.Open().Fill("a", 50);
  b.Open();
  // Vbucket 0 of b has data of its own, the others are empty.
  std::string own;
  for (int i = 0; own.empty(); ++i) {
    const std::string key = "b" + std::to_string(i);
    if (b.engine().MakeKey(key).vbucket == Vbid(0)) own = key;
  }
  ASSERT_EQ(b.Set(own, "mine"), Code::kOk);
  const Status named = b.tap().Takeover(a.address(), {Vbid(0)}, 5'000);
  EXPECT_EQ(named.code(), Code::kInvalidArgument) << named.ToString();
  const Status all = b.tap().Takeover(a.address(), {}, 20'000);
  EXPECT_TRUE(all.ok()) << all.ToString();
  EXPECT_TRUE(b.All(VbucketState::kActive));
  EXPECT_EQ(b.Get(own), "mine");
  EXPECT_EQ(a.engine().HighSeqnos(VbucketState::kActive).size(), 1U) << "vbucket 0 stayed";
}

TEST(TapOverGrpc, SourcesAreAddedRemovedAndRemembered) {
  TapNode a("a"), c("c"), b("b");
  a.Open().Fill("k", 300);
  c.Open().Fill("k", 200);
  b.Open();
  ASSERT_TRUE(b.tap().Add({a.address(), "", {}}).ok());
  ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  // A vbucket has one source.
  const Result<Source> added = b.tap().Add({c.address(), "other-name", {Vbid(1), Vbid(0), Vbid(1)}});
  ASSERT_TRUE(added.ok()) << added.status().ToString();
  EXPECT_EQ(FormatVbuckets(added->vbuckets), "0-1");
  const auto check = [&] {
    const std::vector<Source> sources = b.tap().sources();
    ASSERT_EQ(sources.size(), 2U);
    EXPECT_EQ(sources[0].address, a.address());
    EXPECT_EQ(sources[0].name, "b");
    EXPECT_EQ(FormatVbuckets(sources[0].vbuckets), "2-7");
    EXPECT_EQ(sources[1], (Source{c.address(), "other-name", {Vbid(0), Vbid(1)}}));
  };
  check();
  b.Close();
  b.Open();
  check();
  EXPECT_EQ(b.tap().Remove(c.address()).value(), 2U);
  EXPECT_EQ(b.tap().Remove(c.address()).code(), Code::kNotFound);
  EXPECT_EQ(b.tap().sources().size(), 1U);
  EXPECT_EQ(b.tap().Add({"nonsense", "", {}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(b.tap().Add({a.address(), "a b", {}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(b.tap().Add({a.address(), "", {Vbid(8)}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(b.tap().sources().size(), 1U);
}

TEST(TapOverGrpc, ANodeDoesNotFollowItself) {
  TapNode a("a");
  a.Open().Fill("k", 10);
  const Result<Source> itself = a.tap().Add({a.address(), "", {Vbid(0)}});
  EXPECT_EQ(itself.code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(itself.status().message()), HasSubstr("self"));
  EXPECT_TRUE(a.All(VbucketState::kActive)) << "nothing was given up for it";
  EXPECT_EQ(a.Get("k1"), "value 1");
}

TEST(TapOverGrpc, AnActiveIsNotGivenUpForASourceThatDoesNotAnswer) {
  TapNode a("a");
  a.Open().Fill("k", 10);
  EXPECT_EQ(a.tap().Add({"127.0.0.1:1", "", {}}).code(), Code::kTmpFail);
  EXPECT_TRUE(a.All(VbucketState::kActive));
  EXPECT_TRUE(a.tap().sources().empty());
}

TEST(TapOverGrpc, ADamagedConfigurationIsNotOverwritten) {
  TapNode b("b");
  ASSERT_TRUE(WriteFileAtomic(b.dir().File("replication.conf"), "cairn replication 9\n").ok());
  const Status status = b.TryOpen();
  EXPECT_EQ(status.code(), Code::kCorruption);
  EXPECT_THAT(std::string(status.message()), HasSubstr("replication.conf: line 1"));
  EXPECT_EQ(Conf(b), "cairn replication 9\n");
}

TEST(TapOverGrpc, ASecondConnectionOfANameReplacesTheFirst) {
  TapNode a("a");
  a.Open();
  RawConsumer first(a.address());
  ASSERT_TRUE(first.Say(RawConsumer::Hello("twin")));
  ASSERT_TRUE(first.Hear().has_value());
  RawConsumer second(a.address());
  ASSERT_TRUE(second.Say(RawConsumer::Hello("twin")));
  const std::optional<ProducerMessage> welcome = second.Hear();
  ASSERT_TRUE(welcome.has_value());
  EXPECT_TRUE(welcome->welcome.has_value());
  while (first.Hear().has_value()) {
  }
  EXPECT_EQ(a.tap().Connections(false).size(), 1U);
}

TEST(TapOverGrpc, NonsenseIsRefusedByName) {
  TapNode a("a");
  a.Open();
  {
    RawConsumer silent_first(a.address());
    ASSERT_TRUE(silent_first.Say({}));
    EXPECT_EQ(silent_first.HearGoodbye(), EndReason::kBadMessage);
  }
  {
    RawConsumer name(a.address());
    ASSERT_TRUE(name.Say(RawConsumer::Hello("no/name")));
    EXPECT_EQ(name.HearGoodbye(), EndReason::kBadMessage);
  }
  {
    RawConsumer count(a.address());
    ConsumerMessage hello = RawConsumer::Hello("x");
    hello.hello->vbucket_count = 16;
    ASSERT_TRUE(count.Say(hello));
    EXPECT_EQ(count.HearGoodbye(), EndReason::kVbucketCount);
  }
  {
    RawConsumer twice(a.address());
    ASSERT_TRUE(twice.Say(RawConsumer::Hello("x")));
    ASSERT_TRUE(twice.Say(RawConsumer::Hello("x")));
    EXPECT_EQ(twice.HearGoodbye(), EndReason::kBadMessage);
  }
  EXPECT_TRUE(Eventually([&] { return a.tap().Connections(false).empty(); }));
}

// A server of its own, whose patience is short.
class TapServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    node_.tap_options.port.reset();
    node_.Open();
    options_.rpc.addresses = {"127.0.0.1"};
    options_.session.producer.name = "a";
  }
  void Start() {
    Result<std::unique_ptr<TapServer>> started =
        TapServer::Start(options_, node_.engine().replication(), clock_);
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    server_ = std::move(started).value();
  }
  std::string address() const { return server_->addresses().front(); }
  /// Watches until the condition holds.
  bool WatchedEventually(const std::function<bool()>& condition) {
    return Eventually([&] {
      server_->Watch();
      return condition();
    });
  }
  void TearDown() override { server_.reset(); }

  TapNode node_{"a"};
  SystemClock clock_;
  TapServer::Options options_;
  std::unique_ptr<TapServer> server_;
};

TEST_F(TapServerTest, ACallThatSaysNothingIsEnded) {
  options_.hello_ns = 200'000'000;
  Start();
  RawConsumer silent(address());
  std::atomic<bool> ended{false};
  std::thread reader([&] {
    EXPECT_EQ(silent.Hear(), std::nullopt);
    ended = true;
  });
  EXPECT_TRUE(WatchedEventually([&] { return ended.load(); }));
  reader.join();
}

TEST_F(TapServerTest, AConsumerThatTakesNothingIsEnded) {
  options_.session.stuck_ns = 500'000'000;
  Start();
  const std::string value(100'000, 'v');
  for (int i = 0; i < 500; ++i) ASSERT_EQ(node_.Set("big" + std::to_string(i), value), Code::kOk);
  RawConsumer lazy(address());
  ConsumerMessage hello = RawConsumer::Hello("lazy");
  hello.credit_bytes = kWindowBytesMax;
  for (const Vbid vbucket : AllVbuckets()) {
    OpenStream open;
    open.vbucket = vbucket;
    hello.open.push_back(open);
  }
  ASSERT_TRUE(lazy.Say(hello));
  ASSERT_TRUE(Eventually([&] { return server_->Connections(false).size() == 1; }));
  EXPECT_TRUE(WatchedEventually([&] { return server_->Connections(false).empty(); }));
}

TEST_F(TapServerTest, CallsBeyondTheLimitAreRefusedAndPlacesComeBack) {
  options_.rpc.threads_max = 2;
  Start();
  RawConsumer first(address());
  ASSERT_TRUE(first.Say(RawConsumer::Hello("first")));
  ASSERT_TRUE(first.Hear().has_value());
  {
    RawConsumer second(address());
    ASSERT_TRUE(second.Say(RawConsumer::Hello("second")));
    ASSERT_TRUE(second.Hear().has_value());
    RawConsumer third(address());
    static_cast<void>(third.Say(RawConsumer::Hello("third")));
    while (third.Hear().has_value()) {
    }
    EXPECT_THAT(third.Ended().ToString(), HasSubstr("too many calls"));
  }
  EXPECT_TRUE(Eventually([&] {
    RawConsumer next(address());
    return next.Say(RawConsumer::Hello("next")) && next.Hear().has_value();
  }));
  EXPECT_TRUE(first.Say({})) << "the others did not notice";
}

// Many who come, say something or nothing, and go: each call has a thread of its own, which must end.
TEST_F(TapServerTest, ConsumersThatComeAndGoLeaveNothing) {
  Start();
  std::vector<std::thread> strangers;
  for (int t = 0; t < 4; ++t) {
    strangers.emplace_back([this, t] {
      for (int i = 0; i < 25; ++i) {
        RawConsumer consumer(address());
        if (i % 3 == 0) continue;
        static_cast<void>(consumer.Say(RawConsumer::Hello("c" + std::to_string(i % 5 == 0 ? 0 : t))));
        if (i % 3 == 1) static_cast<void>(consumer.Hear());
      }
    });
  }
  for (std::thread& stranger : strangers) stranger.join();
  EXPECT_TRUE(Eventually([&] { return server_->Connections(false).empty(); }));
  RawConsumer last(address());
  ASSERT_TRUE(last.Say(RawConsumer::Hello("last")));
  EXPECT_TRUE(last.Hear().has_value());
}

TEST_F(TapServerTest, StopSaysGoodbye) {
  Start();
  RawConsumer consumer(address());
  ASSERT_TRUE(consumer.Say(RawConsumer::Hello("x")));
  ASSERT_TRUE(consumer.Hear().has_value());
  std::thread stopper([&] { server_->Stop(); });
  EXPECT_EQ(consumer.HearGoodbye(), EndReason::kShutdown);
  stopper.join();
}

}  // namespace
}  // namespace cairn::tap
