#include "cli/format.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

TEST(FormatTest, CountsHaveThousandsSeparators) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(63440), "63,440");
  EXPECT_EQ(FormatCount(UINT64_MAX), "18,446,744,073,709,551,615");
}

TEST(FormatTest, BytesChangeUnitBeforeTheyNeedFourDigits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(FormatBytes(50'060'337), "47.7 MiB");
  EXPECT_EQ(FormatBytes(UINT64_MAX), "16.0 EiB");
}

TEST(FormatTest, DurationsAreAsPreciseAsUseful) {
  EXPECT_EQ(FormatDuration(-1), "0 ms");
  EXPECT_EQ(FormatDuration(0), "0 ms");
  EXPECT_EQ(FormatDuration(0.0123), "12 ms");
  EXPECT_EQ(FormatDuration(0.9996), "1.0 s");
  EXPECT_EQ(FormatDuration(59.94), "59.9 s");
  EXPECT_EQ(FormatDuration(59.96), "1 min 00 s");
  EXPECT_EQ(FormatDuration(185), "3 min 05 s");
  EXPECT_EQ(FormatDuration(3599.6), "1 h 00 min");
  EXPECT_EQ(FormatDuration(2 * 86400 + 3 * 3600), "2 d 3 h");
}

TEST(FormatTest, ARateWithoutTimeIsNoDivisionByZero) {
  EXPECT_EQ(FormatRate(100, 0), "0");
  EXPECT_EQ(FormatRate(31204, 2), "15,602");
}

TEST(FormatTest, TimesAreUtc) {
  EXPECT_EQ(FormatTime(0), "-");
  EXPECT_EQ(FormatTime(1'715'938'264), "2024-05-17 09:31:04Z");
}

TEST(FormatTest, NumbersAreTheWholeTextAndInRange) {
  EXPECT_EQ(ParseU64("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(ParseU64("18446744073709551616"), std::nullopt);
  for (const char* bad : {"", " 1", "1 ", "-1", "+1", "0x10", "1.5", "ten"}) {
    EXPECT_EQ(ParseU64(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(ParseU32("4294967295"), UINT32_MAX);
  EXPECT_EQ(ParseU32("4294967296"), std::nullopt);
}

}  // namespace
}  // namespace cairn::cli
