#include "bench/loadgen/server_usage.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace cairn::loadgen {
namespace {

TEST(ServerUsage, ReadsTimesBehindAnyProcessName) {
  ProcessUsage usage;
  const char* stat = "42 (a ) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 75 3 4 20 0 1 0 100 1000 200";
  ASSERT_TRUE(ParseStat(stat, 100, &usage).ok());
  EXPECT_DOUBLE_EQ(usage.user_seconds, 2.5);
  EXPECT_DOUBLE_EQ(usage.system_seconds, 0.75);
}

TEST(ServerUsage, RefusesAShortStat) {
  ProcessUsage usage;
  EXPECT_FALSE(ParseStat("", 100, &usage).ok());
  EXPECT_FALSE(ParseStat("42 (x) S 1 2 3", 100, &usage).ok());
  EXPECT_FALSE(ParseStat("42 (x) S 1 42 42 0 -1 4194560 100 0 0 0 250", 100, &usage).ok());
  EXPECT_FALSE(ParseStat("42 (x) S 1 42 42 0 -1 4194560 100 0 0 0 250 y", 100, &usage).ok());
}

TEST(ServerUsage, ReadsResidentSize) {
  ProcessUsage usage;
  ASSERT_TRUE(ParseStatus("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n", &usage).ok());
  EXPECT_EQ(usage.rss_bytes, 1024U * 1024);
  EXPECT_EQ(usage.rss_peak_bytes, 2048U * 1024);
  EXPECT_FALSE(ParseStatus("Name:\tzombie\n", &usage).ok());
}

TEST(ServerUsage, ReadsThisProcess) {
  const auto usage = ReadUsage(getpid());
  ASSERT_TRUE(usage.ok()) << usage.status().ToString();
  EXPECT_GT(usage->rss_bytes, 0U);
  EXPECT_GE(usage->rss_peak_bytes, usage->rss_bytes);
  EXPECT_EQ(ReadUsage(INT32_MAX).code(), Code::kNotFound);
}

}  // namespace
}  // namespace cairn::loadgen
