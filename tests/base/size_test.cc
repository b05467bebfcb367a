#include "base/size.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(ParseSize, Units) {
  const struct {
    const char* text;
    uint64_t bytes;
  } cases[] = {{"0", 0},
               {"1048576", 1048576},
               {"10b", 10},
               {"1k", 1024},
               {"64MiB", 64U << 20},
               {"64 mb", 64U << 20},
               {"1g", 1U << 30},
               {"1.5GiB", 3U << 29},
               {"0.000001m", 1},
               {"2T", uint64_t{2} << 40},
               {"18446744073709551615", UINT64_MAX}};
  for (const auto& c : cases) {
    const auto parsed = ParseSize(c.text);
    ASSERT_TRUE(parsed.ok()) << c.text << ": " << parsed.status().ToString();
    EXPECT_EQ(*parsed, c.bytes) << c.text;
  }
}

TEST(ParseSize, RefusesAnythingElse) {
  for (const char* text :
       {"",    " ",          "k",    "-1", "+1", "1x",  "1kk",  "1kibb",  "1.5",  "1.5b", "1.k",
        ".5k", "1.1234567k", "1  k", "1 ", " 1", "1e3", "0x10", "64MiB ", "1m\n", "١"}) {
    EXPECT_EQ(ParseSize(text).code(), Code::kInvalidArgument) << '"' << text << '"';
  }
}

TEST(ParseSize, RefusesWhatDoesNotFit) {
  for (const char* text : {"18446744073709551616", "16777216t", "99999999999999999999999999999999999k"}) {
    EXPECT_EQ(ParseSize(text).code(), Code::kOutOfRange) << text;
  }
  EXPECT_EQ(*ParseSize("16777215t"), uint64_t{16777215} << 40);
}

TEST(FormatBytes, OneDecimal) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(64U << 20), "64.0 MiB");
  EXPECT_EQ(FormatBytes((1U << 20) - 1), "1.0 MiB");  // not "1024.0 KiB"
  EXPECT_EQ(FormatBytes(UINT64_MAX), "16.0 EiB");
}

TEST(FormatDuration, TheUnitThatReadsBest) {
  constexpr int64_t kSecond = 1'000'000'000;
  EXPECT_EQ(FormatDuration(0), "0 ns");
  EXPECT_EQ(FormatDuration(850), "850 ns");
  EXPECT_EQ(FormatDuration(12'345), "12.3 us");
  EXPECT_EQ(FormatDuration(999'960), "1.0 ms");  // not "1000.0 us"
  EXPECT_EQ(FormatDuration(4'500'000), "4.5 ms");
  EXPECT_EQ(FormatDuration(2'750'000'000), "2.75 s");
  EXPECT_EQ(FormatDuration(59'999'000'000), "1m 00s");
  EXPECT_EQ(FormatDuration(185 * kSecond), "3m 05s");
  EXPECT_EQ(FormatDuration((2 * 3600 + 3 * 60) * kSecond), "2h 03m");
  EXPECT_EQ(FormatDuration((4 * 24 + 7) * 3600 * kSecond), "4d 07h");
  EXPECT_EQ(FormatDuration(-1'500'000), "-1.5 ms");
  EXPECT_EQ(FormatDuration(INT64_MIN)[0], '-');
}

}  // namespace
}  // namespace cairn
