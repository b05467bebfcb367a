#include "cli/copy_compare.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

using Side = CopyCompare::Side;

VbucketRow Row(uint32_t vbucket, uint64_t high, uint64_t digest, uint64_t items = 10) {
  VbucketRow row;
  row.vbucket = vbucket;
  row.state = "active";
  row.history_uuid = 77;
  row.high = high;
  row.digest = digest;
  row.items = items;
  row.warm = true;
  return row;
}

TEST(CopyCompareTest, EqualFiguresAtEqualSeqnosDecide) {
  CopyCompare compare({});
  compare.Add(Side::kHere, {Row(0, 5, 1), Row(1, 6, 2, 7)});
  EXPECT_FALSE(compare.decided());
  compare.Add(Side::kPeer, {Row(0, 5, 1), Row(1, 6, 2, 7)});
  EXPECT_TRUE(compare.decided());
  EXPECT_EQ(compare.equal(), 2u);
  EXPECT_EQ(compare.items(), 17u);
  EXPECT_TRUE(compare.Differences().empty());
}

TEST(CopyCompareTest, NodesThatMoveAreComparedWhereBothHaveBeen) {
  CopyCompare compare({});
  compare.Add(Side::kHere, {Row(0, 5, 100)});
  compare.Add(Side::kPeer, {Row(0, 3, 300)});
  EXPECT_FALSE(compare.decided());
  EXPECT_EQ(compare.Open(), std::vector<uint32_t>{0});
  compare.Add(Side::kHere, {Row(0, 9, 900)});
  compare.Add(Side::kPeer, {Row(0, 5, 100)});  // where the other was two answers ago
  EXPECT_TRUE(compare.decided());
  EXPECT_EQ(compare.equal(), 1u);
}

TEST(CopyCompareTest, ADifferenceIsBelievedWhenItWasSeenThreeTimes) {
  CopyCompare compare({});
  compare.Add(Side::kHere, {Row(4, 5, 0xa)});
  compare.Add(Side::kPeer, {Row(4, 5, 0xb)});
  EXPECT_FALSE(compare.decided());
  compare.Add(Side::kHere, {Row(4, 5, 0xa)});
  EXPECT_FALSE(compare.decided());
  compare.Add(Side::kPeer, {Row(4, 5, 0xb)});
  EXPECT_TRUE(compare.decided());
  EXPECT_EQ(compare.equal(), 0u);
  ASSERT_EQ(compare.Differences().size(), 1u);
  EXPECT_EQ(compare.Differences()[0].vbucket, 4u);
  EXPECT_EQ(compare.Differences()[0].what, "digest 000000000000000a here, 000000000000000b there at seqno 5");
}

TEST(CopyCompareTest, ADifferenceThatWasOnlySeenOnceGoesAwayWithAnEqualCut) {
  CopyCompare compare({});
  compare.Add(Side::kHere, {Row(0, 5, 1)});
  compare.Add(Side::kPeer, {Row(0, 5, 2)});
  compare.Add(Side::kPeer, {Row(0, 6, 3)});
  compare.Add(Side::kHere, {Row(0, 6, 3)});
  EXPECT_TRUE(compare.decided());
  EXPECT_EQ(compare.equal(), 1u);
}

TEST(CopyCompareTest, ItemsAndHistoryCountToo) {
  CopyCompare compare({});
  VbucketRow other_branch = Row(1, 5, 1);
  other_branch.history_uuid = 78;
  for (int round = 0; round < 3; ++round) {
    compare.Add(Side::kHere, {Row(0, 5, 1, 1000), Row(1, 5, 1)});
    compare.Add(Side::kPeer, {Row(0, 5, 1, 1001), other_branch});
  }
  EXPECT_EQ(compare.Open(), std::vector<uint32_t>{1}) << "a copy on another branch may still roll back";
  const auto differences = compare.Differences();
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].what, "1,000 items here, 1,001 there at seqno 5");
  EXPECT_EQ(differences[1].what, "another branch of history here than there at seqno 5");
}

TEST(CopyCompareTest, ACopyThatHasNotRolledBackYetIsWaitedFor) {
  CopyCompare compare({});
  VbucketRow before = Row(0, 5, 7);
  before.history_uuid = 78;
  for (int round = 0; round < 5; ++round) {
    compare.Add(Side::kHere, {Row(0, 5, 1)});
    compare.Add(Side::kPeer, {before});
  }
  EXPECT_FALSE(compare.decided());
  compare.Add(Side::kPeer, {Row(0, 5, 1)});
  EXPECT_TRUE(compare.decided());
  EXPECT_EQ(compare.equal(), 1u);
}

TEST(CopyCompareTest, WhatOneSideDoesNotHaveIsADifferenceAtOnce) {
  CopyCompare compare({});
  VbucketRow dead = Row(2, 5, 1);
  dead.state = "dead";
  compare.Add(Side::kHere, {Row(0, 5, 1), Row(1, 5, 1), Row(2, 5, 1)});
  compare.Add(Side::kPeer, {Row(0, 5, 1), dead});
  EXPECT_TRUE(compare.decided());
  const auto differences = compare.Differences();
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].what, "missing there");
  EXPECT_EQ(differences[1].what, "dead there");
}

TEST(CopyCompareTest, WhatNeitherHasCountsOnlyWhenItWasNamed) {
  VbucketRow dead = Row(3, 5, 1);
  dead.state = "dead";
  CopyCompare all({});
  all.Add(Side::kHere, {dead});
  all.Add(Side::kPeer, {dead});
  EXPECT_TRUE(all.decided());
  EXPECT_TRUE(all.Differences().empty());
  CopyCompare named({3, 9});
  named.Add(Side::kHere, {dead});
  named.Add(Side::kPeer, {dead});
  ASSERT_EQ(named.Differences().size(), 2u);
  EXPECT_EQ(named.Differences()[1].what, "missing here");
}

TEST(CopyCompareTest, ACopyThatIsStillLoadingIsWaitedFor) {
  CopyCompare compare({});
  VbucketRow cold = Row(0, 5, 1);
  cold.warm = false;
  compare.Add(Side::kHere, {cold});
  compare.Add(Side::kPeer, {Row(0, 5, 2)});
  EXPECT_FALSE(compare.decided());
  EXPECT_EQ(compare.Differences()[0].what, "still loading here");
  compare.Add(Side::kHere, {Row(0, 5, 2)});
  EXPECT_TRUE(compare.decided());
  EXPECT_EQ(compare.equal(), 1u);
}

TEST(CopyCompareTest, WhatACopyHadBeforeItRolledBackIsForgotten) {
  CopyCompare compare({});
  compare.Add(Side::kHere, {Row(0, 9, 0xdead)});
  compare.Add(Side::kPeer, {Row(0, 7, 1)});
  compare.Add(Side::kHere, {Row(0, 4, 2)});  // rolled back
  compare.Add(Side::kPeer, {Row(0, 9, 3)});
  EXPECT_FALSE(compare.decided());
  EXPECT_EQ(compare.Differences()[0].what, "never seen at one seqno: 4 (active) here, 9 (active) there");
}

}  // namespace
}  // namespace cairn::cli
