// TapService while vbuckets change hands: what is written down, what a crash leaves, and what can be ended.
// Whole nodes in one process over real gRPC on loopback.

#include <gmock/gmock.h>

#include "base/fault.h"
#include "base/file.h"
#include "tests/tap/node.h"

namespace cairn::tap {
namespace {

using engine::VbucketState;

std::string Conf(const TapNode& node) {
  const Result<std::string> bytes = ReadFile(node.dir().File("replication.conf"));
  return bytes.ok() ? *bytes : "";
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

}  // namespace
}  // namespace cairn::tap
