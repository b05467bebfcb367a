#include "bench/loadgen/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "bench/loadgen/options.h"
#include "bench/loadgen/workload.h"

namespace cairn::loadgen {
namespace {

TEST(Permutation, VisitsEveryNumberOnce) {
  for (const uint64_t n : {1U, 2U, 3U, 64U, 65U, 1000U, 4097U}) {
    const Permutation permutation(n, 42);
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t x = permutation(i);
      ASSERT_LT(x, n);
      seen.insert(x);
    }
    EXPECT_EQ(seen.size(), n);
  }
}

TEST(Permutation, HasNoLocality) {
  constexpr uint64_t kN = 100'000;
  const Permutation permutation(kN, 42);
  double distance = 0;
  for (uint64_t i = 0; i + 1 < kN; ++i) {
    distance += std::abs(static_cast<double>(permutation(i)) - static_cast<double>(permutation(i + 1)));
  }
  // Neighbours of a random order are n/3 apart on average.
  EXPECT_NEAR(distance / kN, kN / 3.0, kN / 100.0);
}

TEST(Random, BelowStaysBelowAndReachesAll) {
  Random random(1);
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i) ++counts[random.Below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);
}

TEST(Zipf, RanksFollowThePowerLaw) {
  constexpr uint64_t kN = 1000;
  constexpr double kExponent = 0.99;
  constexpr int kDraws = 400'000;
  const Zipf zipf(kN, kExponent);
  Random random(3);
  std::vector<int> counts(kN);
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t rank = zipf.Next(random);
    ASSERT_LT(rank, kN);
    ++counts[rank];
  }
  double sum = 0;
  for (uint64_t r = 1; r <= kN; ++r) sum += std::pow(static_cast<double>(r), -kExponent);
  for (const uint64_t rank : {0U, 1U, 9U, 99U}) {
    const double expected = kDraws * std::pow(static_cast<double>(rank + 1), -kExponent) / sum;
    EXPECT_NEAR(counts[rank], expected, 5 * std::sqrt(expected)) << rank;
  }
}

std::vector<uint64_t> FirstKeys(const Options& options, Supply& supply, uint64_t connection) {
  Workload workload(options, supply, connection);
  std::vector<uint64_t> keys;
  const KeySpace space({options.keys, options.prefix, options.key_size, options.value_size});
  Counters counters;
  Batch batch(space, Protocol::kText, {}, counters);
  EXPECT_TRUE(workload.Fill(&batch));
  std::string text;
  batch.Encode(&text);
  for (size_t at = text.find("key-"); at != std::string::npos; at = text.find("key-", at + 1)) {
    keys.push_back(std::stoull(text.substr(at + 4, options.key_size - 4)));
  }
  return keys;
}

TEST(Workload, NoTwoConnectionsAskForTheSameSequence) {
  Options options;
  options.ops = 1'000'000;
  options.multiget = 20;
  Supply supply(options);
  std::set<std::vector<uint64_t>> sequences;
  for (uint64_t c = 0; c < 200; ++c) sequences.insert(FirstKeys(options, supply, c));
  EXPECT_EQ(sequences.size(), 200U);
}

TEST(Workload, OnceCoversEveryKeyOverAllConnectionsAndThenEnds) {
  Options options;
  options.keys = 103;
  options.ops = 103;
  options.order = Order::kOnce;
  options.multiget = 4;
  options.depth = 5;
  Supply supply(options);
  std::multiset<uint64_t> seen;
  for (uint64_t c = 0; c < 6; ++c) {
    for (const uint64_t key : FirstKeys(options, supply, c)) seen.insert(key);
  }
  EXPECT_EQ(seen.size(), 103U);
  EXPECT_EQ(std::set<uint64_t>(seen.begin(), seen.end()).size(), 103U);
  EXPECT_EQ(supply.Take(1), 0U);
}

}  // namespace
}  // namespace cairn::loadgen
