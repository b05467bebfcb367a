#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <unordered_map>

#include "tests/hashtable/table_test_util.h"

namespace cairn::hashtable {
namespace {

constexpr size_t kOvershootMax = 512;

TEST(HashTableVisitTest, AnEmptyTableIsDoneAtOnce) {
  TestTable t;
  VisitCursor cursor;
  EXPECT_FALSE(t.table.Visit(cursor, 10, [](Item*) { FAIL(); }));
  EXPECT_TRUE(cursor.done);
  t.Put("a", "v");
  EXPECT_FALSE(t.table.Visit(cursor, 10, [](Item*) { FAIL(); })) << "a visit that is done stays done";
}

TEST(HashTableVisitTest, VisitsEachItemOnceInBoundedSteps) {
  TestTable t;
  for (uint64_t i = 0; i < 20000; ++i) t.Put(KeyOf(i), "v", i);
  VisitCursor cursor;
  std::set<std::string> seen;
  bool more = true;
  while (more) {
    size_t step = 0;
    more = t.table.Visit(cursor, 100, [&](Item* item) {
      ++step;
      EXPECT_TRUE(seen.emplace(item->key()).second);
    });
    EXPECT_TRUE(step >= 100 || !more);
    EXPECT_LE(step, 100 + kOvershootMax);
  }
  EXPECT_EQ(seen.size(), 20000u);
}

TEST(HashTableVisitTest, AgingSetsTheFrequencyOfEachEntry) {
  TestTable t;
  for (uint64_t i = 0; i < 2000; ++i) {
    t.Put(KeyOf(i), "v", i);
    t.table.SetFrequency(t.Hashed(KeyOf(i)), static_cast<int>(i % 8));
  }
  VisitCursor cursor;
  while (t.table.VisitFrequencies(cursor, 50, [](Item*, int frequency) { return frequency / 2; })) {
  }
  for (uint64_t i = 0; i < 2000; ++i) {
    ASSERT_EQ(t.table.Frequency(t.Hashed(KeyOf(i))), static_cast<int>(i % 8 / 2));
  }
  HashTableInspector::Check(t.table);
}

// A merge moves the part of a segment that was visited and the part that was not into one.
TEST(HashTableVisitTest, AMergeBehindTheCursorRepeatsNothing) {
  TestTable t(&HexHash);
  const auto hash_of = [](uint64_t i) { return i % 2 << 63 | i * 0x9e3779b97f4a7c15 >> 1; };
  for (uint64_t i = 0; i < 600; ++i) t.Put(HexKey(hash_of(i), i), "v", i);
  ASSERT_EQ(t.table.stats().segments, 2u);
  VisitCursor cursor;
  std::multiset<std::string> seen;
  const auto see = [&seen](Item* item) { seen.emplace(item->key()); };
  ASSERT_TRUE(t.table.Visit(cursor, 1, see));
  ASSERT_EQ(seen.size(), 300u) << "the lower half";
  for (uint64_t i = 0; i < 400; ++i) t.Erase(HexKey(hash_of(i), i));
  ASSERT_EQ(t.table.stats().segments, 1u) << "merged";
  ASSERT_FALSE(t.table.Visit(cursor, 1, see));
  EXPECT_EQ(seen.size(), 400u);
  for (uint64_t i = 400; i < 600; ++i) ASSERT_EQ(seen.count(HexKey(hash_of(i), i)), 1u);
}

class HashTableVisitRandomTest : public testing::TestWithParam<uint64_t> {};

// Between any two steps the table may grow or shrink by a large factor. Whatever was there all the time is
// visited once, and nothing is ever visited twice: each hash is passed once.
TEST_P(HashTableVisitRandomTest, ExactlyOnceUnderChange) {
  std::mt19937_64 random(GetParam());
  TestTable t;
  std::unordered_map<std::string, bool> live;  // key → there since the visit began
  uint64_t next_key = 0;
  const auto grow = [&](uint64_t count) {
    for (uint64_t i = 0; i < count; ++i, ++next_key) {
      t.Put(KeyOf(next_key), "v", next_key);
      live[KeyOf(next_key)] = false;
    }
  };
  const auto shrink = [&](uint64_t one_in) {
    for (auto it = live.begin(); it != live.end();) {
      if (random() % one_in == 0) {
        it = std::next(it);
        continue;
      }
      ASSERT_TRUE(t.Erase(it->first));
      it = live.erase(it);
    }
  };
  for (int visit = 0; visit < 6; ++visit) {
    grow(1000 + random() % 8000);
    for (auto& [key, since_begin] : live) since_begin = true;
    VisitCursor cursor;
    std::unordered_map<std::string, int> seen;
    while (t.table.Visit(cursor, 1 + random() % 300, [&](Item* item) { ++seen[std::string(item->key())]; })) {
      const uint64_t choice = random() % 8;
      if (choice == 0) shrink(2 + random() % 8);
      if (choice <= 2) grow(random() % 3000);
    }
    for (const auto& [key, times] : seen) ASSERT_EQ(times, 1) << key;
    for (const auto& [key, since_begin] : live) {
      ASSERT_TRUE(!since_begin || seen.count(key) == 1) << key;
    }
    shrink(4);
    HashTableInspector::Check(t.table);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, HashTableVisitRandomTest, testing::Range<uint64_t>(1, 9));

}  // namespace
}  // namespace cairn::hashtable
