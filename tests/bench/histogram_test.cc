#include "bench/loadgen/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "bench/loadgen/random.h"

namespace cairn::loadgen {
namespace {

TEST(Histogram, EmptyAnswersZero) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0U);
  EXPECT_EQ(h.max(), 0U);
  EXPECT_EQ(h.Percentile(50), 0U);
  EXPECT_EQ(h.Mean(), 0.0);
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram h;
  for (uint64_t v = 0; v < 64; ++v) h.Record(v);
  EXPECT_EQ(h.count(), 64U);
  EXPECT_EQ(h.Percentile(0), 0U);
  EXPECT_EQ(h.Percentile(50), 31U);
  EXPECT_EQ(h.Percentile(100), 63U);
  EXPECT_DOUBLE_EQ(h.Mean(), 31.5);
}

TEST(Histogram, NeverAnswersMoreThanTheMaximum) {
  Histogram h;
  h.Record(1'000'003);
  EXPECT_EQ(h.Percentile(50), 1'000'003U);
  EXPECT_EQ(h.Percentile(99.9), 1'000'003U);
}

TEST(Histogram, WeighsByCount) {
  Histogram h;
  h.Record(10, 99);
  h.Record(5'000'000);
  h.Record(7, 0);
  EXPECT_EQ(h.count(), 100U);
  EXPECT_EQ(h.Percentile(99), 10U);
  EXPECT_EQ(h.Percentile(99.5), 5'000'000U);
  EXPECT_DOUBLE_EQ(h.Mean(), (10.0 * 99 + 5e6) / 100);
}

TEST(Histogram, AgreesWithSortedSamplesWithinOneStep) {
  Histogram h;
  Random random(7);
  std::vector<uint64_t> samples;
  for (int i = 0; i < 20'000; ++i) {
    // Log-uniform over nine decades, as latencies are spread.
    const auto v = static_cast<uint64_t>(std::exp(random.Unit() * 20.7));
    samples.push_back(v);
    h.Record(v);
  }
  std::sort(samples.begin(), samples.end());
  for (const double percent : {1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    const auto rank = static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(samples.size())));
    const uint64_t exact = samples[rank - 1];
    EXPECT_GE(h.Percentile(percent), exact) << percent;
    EXPECT_LE(static_cast<double>(h.Percentile(percent)), static_cast<double>(exact) * (1 + 1.0 / 64) + 1)
        << percent;
  }
}

TEST(Histogram, CountsValuesBeyondItsRangeAndKeepsTheirMaximum) {
  Histogram h;
  h.Record(UINT64_MAX);
  h.Record(Histogram::kValueMax);
  EXPECT_EQ(h.count(), 2U);
  EXPECT_EQ(h.max(), UINT64_MAX);
  EXPECT_EQ(h.Percentile(50), Histogram::kValueMax);
}

}  // namespace
}  // namespace cairn::loadgen
