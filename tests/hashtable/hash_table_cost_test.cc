// The table's promises about memory and about the work of one operation.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/hashtable/table_test_util.h"

namespace cairn::hashtable {
namespace {

// A split of a full segment, and the resize that may follow.
constexpr uint64_t kMovedMax = 1024;

double BytesPerItem(const HashTable& table) {
  return static_cast<double>(table.stats().table_bytes) / static_cast<double>(table.size());
}

TEST(HashTableCostTest, OneTableNeedsAtMost9Point8BytesPerItem) {
  TestTable t;
  uint64_t items = 0;
  double worst = 0;
  // Two doublings: after that the pattern of segment sizes repeats.
  for (uint64_t size = 100'000; size <= 400'000; size += size / 50) {
    for (; items < size; ++items) t.Put(KeyOf(items), "v", items);
    worst = std::max(worst, BytesPerItem(t.table));
    EXPECT_LE(BytesPerItem(t.table), 9.8) << "at " << size << " items";
  }
  RecordProperty("worst_bytes_per_item", std::to_string(worst));
  HashTableInspector::Check(t.table);
}

TEST(HashTableCostTest, ManyMiddlingTablesNeedAtMost10Point5BytesPerItem) {
  std::vector<std::unique_ptr<TestTable>> tables;
  for (int i = 0; i < 32; ++i) tables.push_back(std::make_unique<TestTable>());
  uint64_t items = 0;
  for (uint64_t size = 3000; size <= 6000; size += 100) {
    size_t bytes = 0;
    for (; items < size; ++items) {
      for (size_t i = 0; i < tables.size(); ++i) tables[i]->Put(KeyOf(items * tables.size() + i), "v", items);
    }
    for (const auto& t : tables) bytes += t->table.stats().table_bytes + sizeof(HashTable);
    EXPECT_LE(static_cast<double>(bytes) / static_cast<double>(items * tables.size()), 10.5)
        << size << " items";
  }
}

TEST(HashTableCostTest, ATableThatShrankNeedsAtMost13BytesPerItem) {
  TestTable t;
  uint64_t left = 200'000;
  for (uint64_t i = 0; i < left; ++i) t.Put(KeyOf(i), "v", i);
  while (left > 1000) {
    t.Erase(KeyOf(--left));
    if (left % 1000 != 0) continue;
    EXPECT_LE(BytesPerItem(t.table), 13) << "at " << left << " items";
  }
}

TEST(HashTableCostTest, NoOperationMovesMoreThanTwoSegments) {
  TestTable t;
  uint64_t worst = 0;
  uint64_t before = 0;
  const auto note = [&] {
    const uint64_t now = t.table.stats().slots_moved;
    worst = std::max(worst, now - before);
    before = now;
  };
  constexpr uint64_t kItems = 100'000;
  for (uint64_t i = 0; i < kItems; ++i) {
    t.Put(KeyOf(i), "v", i);
    note();
  }
  EXPECT_GT(worst, 400u) << "splits have been counted";
  const uint64_t growing = before;
  EXPECT_LE(growing, kItems * 12) << "slots moved per added item";
  for (uint64_t i = 0; i < kItems; ++i) {
    t.Erase(KeyOf(i));
    note();
  }
  EXPECT_LE(worst, kMovedMax);
  EXPECT_LE(before - growing, kItems * 16) << "slots moved per removed item";
}

// Going up and down by a fortieth must not resize or split back and forth, at whatever size, and whether
// that was reached by adding or by removing. Closing gaps moves some entries all the same.
TEST(HashTableCostTest, ResizingHasHysteresis) {
  constexpr uint64_t kRounds = 20;
  for (uint64_t size = 1; size <= 1500; size += 1 + size / 100) {
    for (const bool from_above : {false, true}) {
      const uint64_t swing = 1 + size / 40;
      TestTable t;
      const auto fill = [&t](uint64_t begin, uint64_t end) {
        for (uint64_t i = begin; i < end; ++i) t.Put(KeyOf(i), "v", i);
      };
      const auto drain = [&t](uint64_t begin, uint64_t end) {
        for (uint64_t i = begin; i < end; ++i) t.Erase(KeyOf(i));
      };
      fill(0, from_above ? 2 * size : size + swing);
      drain(size, from_above ? 2 * size : size + swing);
      fill(size, size + swing);
      drain(size, size + swing);
      const uint64_t before = t.table.stats().slots_moved;
      for (uint64_t round = 0; round < kRounds; ++round) {
        fill(size, size + swing);
        drain(size, size + swing);
      }
      EXPECT_LE(t.table.stats().slots_moved - before, kRounds * swing * 4)
          << "at " << size << " items, from " << (from_above ? "above" : "below");
    }
  }
}

TEST(HashTableCostTest, OverwritingMovesNothing) {
  TestTable t;
  for (uint64_t i = 0; i < 10000; ++i) t.Put(KeyOf(i), "v", i);
  const TableStats before = t.table.stats();
  for (uint64_t i = 0; i < 10000; ++i) t.Put(KeyOf(i), "w", i);
  EXPECT_EQ(t.table.stats().slots_moved, before.slots_moved);
  EXPECT_EQ(t.table.stats().table_bytes, before.table_bytes);
}

}  // namespace
}  // namespace cairn::hashtable
