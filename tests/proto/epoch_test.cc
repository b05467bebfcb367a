#include "proto/epoch.h"

#include <gtest/gtest.h>

namespace cairn::proto {
namespace {

TEST(Epoch, CountsOnFromWhatIsKnown) {
  EXPECT_EQ(NextEpoch(0, 0, 7), MakeEpoch(1, 7));
  EXPECT_EQ(NextEpoch(MakeEpoch(1, 7), 0, 7), MakeEpoch(2, 7));
  EXPECT_EQ(NextEpoch(MakeEpoch(1, 9), 0, 7), MakeEpoch(2, 7));
  EXPECT_EQ(NextEpoch(MakeEpoch(1, 5), 0, 7), MakeEpoch(2, 7)) << "also where its tag would do";
}

TEST(Epoch, IsAtLeastWhatIsAskedFor) {
  EXPECT_EQ(NextEpoch(0, MakeEpoch(5, 0), 7), MakeEpoch(5, 7));
  EXPECT_EQ(NextEpoch(0, MakeEpoch(5, 7), 7), MakeEpoch(5, 7));
  EXPECT_EQ(NextEpoch(0, MakeEpoch(5, 8), 7), MakeEpoch(6, 7));
  EXPECT_EQ(NextEpoch(MakeEpoch(9, 1), MakeEpoch(5, 8), 7), MakeEpoch(10, 7));
  EXPECT_EQ(NextEpoch(MakeEpoch(4, 1), MakeEpoch(5, 8), 7), MakeEpoch(6, 7));
}

TEST(Epoch, OfTwoNodesThatDoNotKnowOfEachOtherDiffers) {
  std::array<uint8_t, 16> a{}, b{};
  b[0] = 1;
  EXPECT_NE(EpochTagOf(a), EpochTagOf(b));
  EXPECT_NE(EpochTagOf(a), 0u);
  EXPECT_NE(*NextEpoch(0, 0, EpochTagOf(a)), *NextEpoch(0, 0, EpochTagOf(b)));
}

TEST(Epoch, OfAGiverLiesBelowTheReceivers) {
  const uint64_t known = MakeEpoch(3, 99);
  EXPECT_GT(*HandoverEpoch(known), known);
  EXPECT_GT(*NextEpoch(known, *HandoverEpoch(known), 1), *HandoverEpoch(known));
  EXPECT_EQ(EpochCounter(*NextEpoch(known, *HandoverEpoch(known), 1)), 4u);
}

TEST(Epoch, HasAnEnd) {
  EXPECT_EQ(NextEpoch(MakeEpoch(kEpochCounterMax, 1), 0, 7), std::nullopt);
  EXPECT_EQ(NextEpoch(0, MakeEpoch(kEpochCounterMax, 8), 7), std::nullopt);
  EXPECT_EQ(NextEpoch(UINT64_MAX, UINT64_MAX, 7), std::nullopt);
  EXPECT_EQ(HandoverEpoch(UINT64_MAX), std::nullopt);
  EXPECT_EQ(NextEpoch(MakeEpoch(kEpochCounterMax - 1, 1), 0, 7), MakeEpoch(kEpochCounterMax, 7));
}

TEST(Epoch, IsWrittenAsCountAndTag) {
  EXPECT_EQ(FormatEpoch(0), "0");
  EXPECT_EQ(FormatEpoch(MakeEpoch(3, 0)), "3");
  EXPECT_EQ(FormatEpoch(MakeEpoch(3, 0x9f3a)), "3.00009f3a");
}

}  // namespace
}  // namespace cairn::proto
