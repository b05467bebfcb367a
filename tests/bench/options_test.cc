#include "bench/loadgen/options.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::loadgen {
namespace {

Result<Options> Parse(std::vector<const char*> args) {
  args.insert(args.begin(), "cairn-loadgen");
  return ParseOptions(static_cast<int>(args.size()), args.data());
}

TEST(LoadgenOptions, ReadsACommandLine) {
  const auto options = Parse({"--port", "11211", "--protocol", "binary", "--ops", "1000", "--depth", "30",
                              "--set-ratio", "0.25", "--version", "random", "--pin", "1"});
  ASSERT_TRUE(options.ok()) << options.status().ToString();
  EXPECT_EQ(options->port, 11211);
  EXPECT_EQ(options->protocol, Protocol::kBinary);
  EXPECT_EQ(options->ops, 1000U);
  EXPECT_EQ(options->depth, 30U);
  EXPECT_DOUBLE_EQ(options->set_ratio, 0.25);
  EXPECT_FALSE(options->version.has_value());
  EXPECT_EQ(options->pin_cpu, 1);
  EXPECT_EQ(options->connections, 50U);
}

TEST(LoadgenOptions, LoadMeansEveryKeyOnce) {
  const auto options = Parse({"--unix", "/run/x", "--load", "--keys", "77"});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->order, Order::kOnce);
  EXPECT_EQ(options->ops, 77U);
  EXPECT_DOUBLE_EQ(options->set_ratio, 1.0);
}

TEST(LoadgenOptions, ExpectVersionImpliesVerify) {
  const auto options = Parse({"--port", "1", "--ops", "1", "--expect-version", "3"});
  ASSERT_TRUE(options.ok());
  EXPECT_TRUE(options->verify);
  EXPECT_EQ(options->expect_version, 3U);
}

TEST(LoadgenOptions, RefusesWhatMakesNoSense) {
  const std::vector<std::vector<const char*>> bad = {
      {"--ops", "1"},
      {"--port", "1", "--unix", "/x", "--ops", "1"},
      {"--port", "1"},
      {"--port", "0", "--ops", "1"},
      {"--port", "65536", "--ops", "1"},
      {"--port", "1", "--ops", "1x"},
      {"--port", "1", "--ops"},
      {"--port", "1", "--ops", "1", "--bogus"},
      {"--port", "1", "--ops", "1", "--protocol", "http"},
      {"--port", "1", "--ops", "1", "--set-ratio", "1.5"},
      {"--port", "1", "--ops", "1", "--set-ratio", "nan"},
      {"--port", "1", "--ops", "1", "--depth", "1000", "--multiget", "1000"},
      {"--port", "1", "--ops", "1", "--keys", "1000000", "--key-size", "9"},
      {"--port", "1", "--ops", "1", "--prefix", "a b"},
      {"--port", "1", "--ops", "11", "--order", "once", "--keys", "10"},
      {"--port", "1", "--ops", "1", "--value-size", "10", "--version", "1"},
      {"--port", "1", "--ops", "1", "--zipf-exponent", "1"},
      {"--port", "1", "--ops", "1", "--replica"},
      {"--port", "1", "--ops", "1", "--count-distinct", "--keys", "5000000000"},
      {"--port", "1", "--ops", "1", "--max-seconds", "100000"},
  };
  for (const auto& args : bad) {
    std::string line;
    for (const char* arg : args) line += std::string(arg) + " ";
    EXPECT_EQ(Parse(args).code(), Code::kInvalidArgument) << line;
  }
}

}  // namespace
}  // namespace cairn::loadgen
