#include "cli/compare.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

Difference Different() { return {Verdict::kDifferent, "different"}; }
Difference Missing() { return {Verdict::kMissing, "missing"}; }

TEST(CompareTest, ValuesAreComparedByteByByte) {
  EXPECT_EQ(CompareRecord({"k", "value", {}, {}}, "value", 9).verdict, Verdict::kEqual);
  const Difference difference = CompareRecord({"k", "value", {}, {}}, "valve!", 0);
  EXPECT_EQ(difference.verdict, Verdict::kDifferent);
  EXPECT_EQ(difference.what, "values differ from byte 3 on (5 bytes in the file, 6 on the server)");
  EXPECT_EQ(CompareRecord({"k", "value", {}, {}}, "valu", 0).verdict, Verdict::kDifferent);
  EXPECT_EQ(CompareRecord({"k", "", {}, {}}, "", 0).verdict, Verdict::kEqual);
}

TEST(CompareTest, FlagsOnlyWhenTheFileHasThem) {
  EXPECT_EQ(CompareRecord({"k", "v", 7, {}}, "v", 7).verdict, Verdict::kEqual);
  EXPECT_EQ(CompareRecord({"k", "v", 7, {}}, "v", 8).what, "flags 7 in the file, 8 on the server");
}

TEST(CompareTest, TheLastRecordOfAKeyCounts) {
  Comparison comparison(10);
  comparison.Add("a", Different());
  comparison.Add("a", {});
  comparison.Add("b", {});
  comparison.Add("b", Missing());
  EXPECT_EQ(comparison.counts().equal, 1u);
  EXPECT_EQ(comparison.counts().different, 0u);
  EXPECT_EQ(comparison.counts().missing, 1u);
  EXPECT_EQ(comparison.Examples(), (std::vector<std::pair<std::string, std::string>>{{"b", "missing"}}));
}

TEST(CompareTest, ListedKeysAreExtraOnceAndOnlyWhenTheFileHasThemNot) {
  Comparison comparison(10);
  comparison.Add("a", {});
  comparison.AddListed("a");
  comparison.AddListed("x");
  comparison.AddListed("x");
  EXPECT_EQ(comparison.counts().equal, 1u);
  EXPECT_EQ(comparison.counts().extra, 1u);
  EXPECT_EQ(comparison.Examples().size(), 1u);
}

TEST(CompareTest, ExamplesAreBoundedAndCountsAreNot) {
  Comparison comparison(2);
  for (int i = 0; i < 5000; ++i) comparison.Add(std::to_string(i), Different());
  EXPECT_EQ(comparison.counts().different, 5000u);
  EXPECT_EQ(comparison.Examples().size(), 2u);
}

}  // namespace
}  // namespace cairn::cli
