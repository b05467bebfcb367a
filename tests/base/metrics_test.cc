#include "base/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>

#include "base/random.h"

namespace cairn {
namespace {

/// Runs `body(i)` in `count` threads that are alive at the same time.
template <class Body>
void InThreads(uint32_t count, Body body) {
  std::barrier all_alive(count);
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      ThreadNumber();
      all_alive.arrive_and_wait();
      body(i);
      all_alive.arrive_and_wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Counters, SumOverThreadsIsExact) {
  Counters counters(3);
  InThreads(8, [&](uint32_t) {
    for (int i = 0; i < 10'000; ++i) counters.Add(1);
    counters.Add(2, 5);
  });
  EXPECT_EQ(counters.Sum(0), 0U);
  EXPECT_EQ(counters.Sum(1), 80'000U);
  EXPECT_EQ(counters.Sum(2), 40U);
}

TEST(Counters, MoreThreadsThanShardsLoseNothing) {
  Counters counters(1);
  InThreads(kMetricShards + 16, [&](uint32_t) {
    for (int i = 0; i < 1'000; ++i) counters.Add(0);
  });
  EXPECT_EQ(counters.Sum(0), (kMetricShards + 16) * 1'000U);
}

TEST(Counters, ThreadsThatFollowOneAnotherShareAShard) {
  Counters counters(1);
  for (int i = 0; i < 200; ++i) std::thread([&] { counters.Add(0); }).join();
  EXPECT_EQ(counters.Sum(0), 200U);
}

TEST(Counters, GoUpInOneThreadAndDownInAnother) {
  Counters counters(1);
  counters.Add(0, 10);
  std::thread([&] { counters.Sub(0, 4); }).join();
  EXPECT_EQ(counters.Sum(0), 6U);
}

TEST(Counters, ResetWhileCountingLosesNothing) {
  Counters counters(1);
  std::atomic<bool> done{false};
  constexpr uint64_t kAdds = 500'000;
  std::thread writer([&] {
    for (uint64_t i = 0; i < kAdds; ++i) counters.Add(0);
    done = true;
  });
  uint64_t last = 0;
  while (!done) {
    counters.Reset();
    last = counters.Sum(0);
    EXPECT_LE(last, kAdds);  // never "below zero", which would be huge
  }
  writer.join();
  counters.Reset();
  EXPECT_EQ(counters.Sum(0), 0U);
  counters.Add(0, 3);
  EXPECT_EQ(counters.Sum(0), 3U);
}

enum class Event { kHit, kMiss, kCount };

TEST(CounterSet, IsNamedByAnEnum) {
  CounterSet<Event> events;
  events.Add(Event::kHit);
  events.Add(Event::kMiss, 4);
  events.Sub(Event::kMiss);
  EXPECT_EQ(events.Sum(Event::kHit), 1U);
  EXPECT_EQ(events.Sum(Event::kMiss), 3U);
  events.Reset();
  EXPECT_EQ(events.Sum(Event::kMiss), 0U);
}

TEST(Histogram, BucketsCoverEveryValueOnceAndInOrder) {
  EXPECT_EQ(Histogram::LowOf(0), 0U);
  for (size_t b = 0; b + 1 < Histogram::kBuckets; ++b) {
    const uint64_t low = Histogram::LowOf(b);
    const uint64_t high = Histogram::HighOf(b);
    ASSERT_LE(low, high);
    ASSERT_EQ(Histogram::BucketOf(low), b);
    ASSERT_EQ(Histogram::BucketOf(high), b);
    ASSERT_EQ(Histogram::LowOf(b + 1), high + 1);
    ASSERT_LE(high - low, low / 16) << "at most a sixteenth wide";
  }
  EXPECT_EQ(Histogram::BucketOf((uint64_t{1} << 42) - 1), Histogram::kBuckets - 1);
  EXPECT_EQ(Histogram::BucketOf(UINT64_MAX), Histogram::kBuckets - 1);
}

TEST(Histogram, PercentilesAreWithinTheirPrecision) {
  Histogram histogram;
  Random random(1);
  std::vector<uint64_t> values;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(random.Uniform(uint64_t{1} << random.Between(1, 40)));
    histogram.Record(values.back());
  }
  std::sort(values.begin(), values.end());
  const Histogram::Snapshot snapshot = histogram.Read();
  ASSERT_EQ(snapshot.count(), values.size());
  EXPECT_EQ(snapshot.max(), values.back());
  for (const double percent : {0.01, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    const auto rank = static_cast<size_t>(std::ceil(percent / 100 * 20'000));
    const uint64_t exact = values[rank - 1];
    EXPECT_GE(snapshot.Percentile(percent), exact) << percent;
    EXPECT_LE(snapshot.Percentile(percent), exact + exact / 16) << percent;
  }
  EXPECT_EQ(snapshot.Percentile(100), values.back());
}

TEST(Histogram, EmptyAndExtremes) {
  Histogram histogram;
  EXPECT_EQ(histogram.Read().count(), 0U);
  EXPECT_EQ(histogram.Read().Percentile(99), 0U);
  EXPECT_EQ(histogram.Read().mean(), 0);
  histogram.Record(0);
  EXPECT_EQ(histogram.Read().Percentile(100), 0U);
  histogram.Record(UINT64_MAX);
  EXPECT_EQ(histogram.Read().max(), UINT64_MAX);
  EXPECT_EQ(histogram.Read().Percentile(100), UINT64_MAX);
  EXPECT_EQ(histogram.Read().Percentile(0), 0U);
}

TEST(Histogram, BucketsListWhatIsThere) {
  Histogram histogram;
  histogram.Record(3);
  histogram.Record(3);
  histogram.Record(100);
  const auto buckets = histogram.Read().buckets();
  ASSERT_EQ(buckets.size(), 2U);
  EXPECT_EQ(buckets[0].low, 3U);
  EXPECT_EQ(buckets[0].high, 3U);
  EXPECT_EQ(buckets[0].count, 2U);
  EXPECT_LE(buckets[1].low, 100U);
  EXPECT_GE(buckets[1].high, 100U);
}

TEST(Histogram, ThreadsAddUpAlsoBeyondTheShards) {
  Histogram histogram;
  InThreads(kMetricShards + 8, [&](uint32_t i) {
    for (int n = 0; n < 100; ++n) histogram.Record(i);
  });
  const auto snapshot = histogram.Read();
  EXPECT_EQ(snapshot.count(), (kMetricShards + 8) * 100U);
  EXPECT_EQ(snapshot.max(), kMetricShards + 7U);
  EXPECT_EQ(snapshot.sum(), 100U * (kMetricShards + 8) * (kMetricShards + 7) / 2);
}

TEST(Histogram, ResetForgetsInEveryThread) {
  Histogram histogram;
  InThreads(4, [&](uint32_t) { histogram.Record(1'000); });
  histogram.Reset();
  EXPECT_EQ(histogram.Read().count(), 0U);
  EXPECT_EQ(histogram.Read().max(), 0U);
  histogram.Record(7);
  const auto snapshot = histogram.Read();
  EXPECT_EQ(snapshot.count(), 1U);
  EXPECT_EQ(snapshot.max(), 7U);
  EXPECT_EQ(snapshot.sum(), 7U);
}

TEST(Histogram, ReadAndResetWhileRecording) {
  Histogram histogram;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t i = 0; i < 100'000; ++i) histogram.Record(i % 100);
    done = true;
  });
  while (!done) {
    const auto snapshot = histogram.Read();
    EXPECT_LE(snapshot.count(), 100'000U);
    EXPECT_LE(snapshot.max(), 99U);
    histogram.Reset();
  }
  writer.join();
  histogram.Reset();
  histogram.Record(5);
  EXPECT_EQ(histogram.Read().count(), 1U);
}

}  // namespace
}  // namespace cairn
