// TapService while vbuckets change hands: what is written down, what a crash leaves, and what can be ended.
// Whole nodes in one process over real gRPC on loopback.

#include <gmock/gmock.h>

#include "base/fault.h"
#include "base/file.h"
#include "tests/tap/listener.h"
#include "tests/tap/node.h"

namespace cairn::tap {
namespace {

using engine::VbucketState;
using ::testing::HasSubstr;

std::string Conf(const TapNode& node) {
  const Result<std::string> bytes = ReadFile(node.dir().File("replication.conf"));
  return bytes.ok() ? *bytes : "";
}

/// Of the only source; empty when there is none, or there are more.
std::string Followed(const TapService& service) {
  const std::vector<Source> sources = service.sources();
  return sources.size() == 1 ? FormatVbuckets(sources[0].vbuckets) : "";
}

class TapHandsTest : public ::testing::Test {
 protected:
  void TearDown() override { FaultRegistry::Global().DisarmAll(); }
  /// b follows a and has everything.
  void Pair() {
    a.Open().Fill("k", 300);
    b.Follow(a);
    ASSERT_TRUE(Eventually([&] { return b.SameAs(a); }));
  }

  TapNode a{"a"}, b{"b"};
};

/// A promotion is written down, and the engine takes its time; meanwhile the former source of an earlier one
/// is tried again.
TEST_F(TapHandsTest, APromotionThatIsUnderWayIsNotTakenForOneThatWasTold) {
  Pair();
  a.Close();
  ASSERT_TRUE(b.tap().Promote({Vbid(0)}, {}).ok());
  FaultRegistry::Global().Arm("flusher.write_no_space", FaultSpec::Always());
  Status promoted;
  std::thread promoting([&] { promoted = b.tap().Promote({Vbid(1), Vbid(2)}, {}); });
  EXPECT_TRUE(Eventually([&] { return Conf(b).find(" untold 0-2") != std::string::npos; }));
  // The attempts are at most twice as far apart as the first promotion is ago.
  std::this_thread::sleep_for(std::chrono::milliseconds(1'500));
  EXPECT_EQ(b.engine().GetVbucketState(Vbid(1)).value(), VbucketState::kReplica);
  FaultRegistry::Global().DisarmAll();
  promoting.join();
  ASSERT_TRUE(promoted.ok()) << promoted.ToString();
  a.Open();
  EXPECT_TRUE(Eventually([&] { return a.engine().HighSeqnos(VbucketState::kDead).size() == 3; }, 10));
  EXPECT_TRUE(Eventually([&] { return Conf(b).find(" told 0-2") != std::string::npos; })) << Conf(b);
}

/// The receiver is started with --replica-of its giver, and its process ends when one vbucket is still
/// missing: a second service stands for its next start, which finds the same directory and the same vbuckets.
TEST_F(TapHandsTest, WhatATakeoverHasBroughtStaysActiveWhenTheReceiverCrashesInIt) {
  Pair();
  // The giver is active for all but the last.
  ASSERT_TRUE(a.tap().Demote({Vbid(7)}, VbucketState::kDead).ok());
  std::atomic<bool> stopped{false};
  std::thread taking([&] {
    const Status status = b.tap().Takeover(a.address(), {}, 60'000);
    EXPECT_TRUE(stopped) << status.ToString();
  });
  const auto active = [&] { return b.engine().HighSeqnos(VbucketState::kActive).size(); };
  EXPECT_TRUE(Eventually([&] { return active() == 7; }));
  {
    TapService::Options options = b.tap_options;
    options.port.reset();
    SystemClock clock;
    const auto restarted = TapService::Start(options, b.engine().replication(), clock);
    EXPECT_TRUE(restarted.ok()) << restarted.status().ToString();
    EXPECT_EQ(active(), 7U) << "nobody else is";
    EXPECT_EQ(restarted.ok() ? Followed(**restarted) : "", "7");
  }
  stopped = true;
  b.tap().Stop();
  taking.join();
}

/// The giver's clients wait while the receiver writes down what came last: not for a sync that is due some
/// time.
TEST_F(TapHandsTest, TheReceiverOfATakeoverDoesNotWaitForItsNextSync) {
  b.engine_options.sync_interval_ms = 600'000;
  Pair();
  std::atomic<bool> done{false};
  std::thread writing([&] {
    for (int i = 0; !done; ++i) a.Set("w" + std::to_string(i), "v");
  });
  const Status status = b.tap().Takeover(a.address(), {}, 20'000);
  done = true;
  writing.join();
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_F(TapHandsTest, WhatATakeoverHasNotBroughtIsFollowedAgain) {
  Pair();
  ASSERT_TRUE(a.tap().Demote({Vbid(7)}, VbucketState::kDead).ok());
  const Status status = b.tap().Takeover(a.address(), {}, 3'000);
  EXPECT_EQ(status.code(), Code::kTimeout);
  EXPECT_THAT(std::string(status.message()), HasSubstr("7 of 8 vbuckets are active here"));
  EXPECT_THAT(Conf(b), HasSubstr(" told 0-6\n"));
  EXPECT_EQ(Followed(b.tap()), "7");
}

TEST_F(TapHandsTest, ATakeoverThatNobodyWantsAnyMoreEndsAndItsVbucketsAreFollowedAgain) {
  Pair();
  const auto begun = std::chrono::steady_clock::now();
  const auto wanted = [&] {
    return std::chrono::steady_clock::now() - begun < std::chrono::milliseconds(200);
  };
  const Status status = b.tap().Takeover("127.0.0.1:1", {}, 10'000, wanted);
  EXPECT_EQ(status.code(), Code::kCancelled) << status.ToString();
  EXPECT_THAT(std::string(status.message()), HasSubstr("0 of 8 vbuckets are active here"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  a.Fill("later", 100);
  EXPECT_TRUE(Eventually([&] { return b.SameAs(a); }));
}

/// What is active here is not given up before its new source has answered. It was waited for for five
/// seconds.
TEST_F(TapHandsTest, AQuestionToASilentSourceEndsWithTheService) {
  a.Open();
  const Listener silent;
  Status added;
  std::thread adding([&] { added = a.tap().Add({silent.At("127.0.0.1"), "", {}}).status(); });
  const UniqueFd asked = silent.Accept();
  const auto begun = std::chrono::steady_clock::now();
  a.tap().Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  adding.join();
  EXPECT_EQ(added.code(), Code::kCancelled) << added.ToString();
  EXPECT_TRUE(a.All(VbucketState::kActive));
  EXPECT_EQ(Followed(a.tap()), "");
}

TEST_F(TapHandsTest, AQuestionToASilentSourceEndsWhenNobodyWantsItAnyMore) {
  a.Open();
  const Listener silent;
  std::atomic<bool> wanted{true};
  Status taken;
  std::thread taking(
      [&] { taken = a.tap().Takeover(silent.At("127.0.0.1"), {}, 60'000, [&] { return wanted.load(); }); });
  const UniqueFd asked = silent.Accept();
  const auto begun = std::chrono::steady_clock::now();
  wanted = false;
  taking.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  EXPECT_EQ(taken.code(), Code::kCancelled) << taken.ToString();
  EXPECT_TRUE(a.All(VbucketState::kActive));
}

/// Each waits for its turn behind a takeover, and its client has gone when that ends.
TEST_F(TapHandsTest, ChangesThatNobodyWantsAnyMoreAreNotMade) {
  Pair();
  const std::string before = Conf(b);
  std::thread taking([&] { EXPECT_EQ(b.tap().Takeover("127.0.0.1:1", {}, 1'000).code(), Code::kTimeout); });
  EXPECT_TRUE(Eventually([&] { return b.Connection(false).address == "127.0.0.1:1"; }));
  const auto gone = [] { return false; };
  EXPECT_EQ(b.tap().Promote({}, {}, gone).code(), Code::kCancelled);
  EXPECT_EQ(b.tap().Demote({}, VbucketState::kDead, gone).code(), Code::kCancelled);
  EXPECT_EQ(b.tap().Remove(a.address(), gone).code(), Code::kCancelled);
  EXPECT_EQ(b.tap().Add({"127.0.0.1:1", "", {}}, gone).code(), Code::kCancelled);
  EXPECT_EQ(b.tap().Takeover(a.address(), {}, 5'000, gone).code(), Code::kCancelled);
  taking.join();
  EXPECT_TRUE(b.All(VbucketState::kReplica));
  EXPECT_TRUE(a.All(VbucketState::kActive));
  EXPECT_EQ(Conf(b), before);
}

}  // namespace
}  // namespace cairn::tap
