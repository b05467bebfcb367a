#pragma once
// What the hash table's tests share: items, hashes chosen by the test, and the inspector, which recounts
// everything a table claims about itself.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/item.h"
#include "base/key.h"
#include "hashtable/hash_table.h"

namespace cairn::hashtable {

/// A hash function that reads the hash from the key's first 16 characters (hexadecimal), so that a test
/// chooses each key's hash.
inline uint64_t HexHash(std::string_view key, uint64_t /*seed*/) {
  return std::strtoull(std::string(key.substr(0, 16)).c_str(), nullptr, 16);
}

/// A key with the given HexHash; `number` tells keys of one hash apart.
inline std::string HexKey(uint64_t hash, uint64_t number) {
  char text[64];
  std::snprintf(text, sizeof(text), "%016llx-%llu", static_cast<unsigned long long>(hash),
                static_cast<unsigned long long>(number));
  return text;
}

inline std::string KeyOf(uint64_t number) { return "key-" + std::to_string(number); }

inline ItemRef ValueItem(std::string_view key, std::string_view value, uint64_t seqno = 1) {
  return Item::NewValue(key, value, ItemMeta{0, 0, Cas(seqno + 1000), Seqno(seqno)});
}

/// A table and the hash function it was made with.
struct TestTable {
  explicit TestTable(HashTable::HashFunction function = &KeyHash) : hash(function), table(kSeed, function) {}

  HashedKey Hashed(std::string_view key) const { return {key, hash(key, kSeed)}; }
  ItemRef Put(std::string_view key, std::string_view value, uint64_t seqno = 1) {
    return table.Put(Hashed(key), ValueItem(key, value, seqno));
  }
  Item* Find(std::string_view key) const { return table.Find(Hashed(key)); }
  ItemRef Erase(std::string_view key) { return table.Erase(Hashed(key)); }

  static constexpr uint64_t kSeed = 0x5eed;
  HashTable::HashFunction hash;
  HashTable table;
};

/// Checks a table's structure and compares its statistics with a recount. Failures are gtest failures.
class HashTableInspector {
 public:
  static void Check(const HashTable& table) {
    TableStats found;
    uint32_t deepest = 0;
    const size_t entries = size_t{1} << table.depth_;
    for (size_t first = 0; first < entries; first += table.Span(table.directory_[first])) {
      const Segment& segment = table.directory_[first];
      CheckRange(table, first);
      CheckSegment(table, segment, first, found);
      deepest += segment.depth == table.depth_ ? 1 : 0;
      found.segments += segment.bucket_count != 0 ? 1 : 0;
      found.slots += segment.slot_count();
    }
    EXPECT_EQ(table.directory_ == &table.own_entry_, table.depth_ == 0);
    EXPECT_EQ(table.deepest_segments_, deepest);
    found.table_bytes = found.slots * 8 + (table.depth_ == 0 ? 0 : entries * 48);
    Compare(table.stats(), found);
    EXPECT_EQ(table.size(), found.items);
    EXPECT_EQ(table.digest(), found.digest);
  }

  static uint32_t DirectoryDepth(const HashTable& table) { return table.depth_; }

 private:
  static Slot SlotAt(const Segment& segment, uint32_t position) {
    return segment.Bucket(position / kBucketSlots)[position % kBucketSlots];
  }

  static void CheckRange(const HashTable& table, size_t first) {
    const Segment& segment = table.directory_[first];
    ASSERT_LE(segment.depth, table.depth_);
    ASSERT_EQ(first % table.Span(segment), 0u) << "a range starts at a multiple of its length";
    for (size_t i = 1; i < table.Span(segment); ++i) {
      const Segment& other = table.directory_[first + i];
      ASSERT_EQ(other.bucket_count, segment.bucket_count);
      ASSERT_EQ(other.depth, segment.depth);
      for (uint32_t b = 0; b < segment.bucket_count; ++b) ASSERT_EQ(other.Bucket(b), segment.Bucket(b));
    }
  }

  static void CheckSegment(const HashTable& table, const Segment& segment, size_t first, TableStats& found) {
    EXPECT_EQ(segment.Bucket(0) == nullptr, segment.bucket_count == 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(segment.Bucket(0)) % 64, 0u);
    if (segment.bucket_count != 0) {
      EXPECT_EQ(NextBucketCount(PreviousBucketCount(segment.bucket_count)), segment.bucket_count);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < segment.slot_count(); ++i) {
      const Slot slot = SlotAt(segment, i);
      if (slot == 0) continue;
      ++count;
      CheckSlot(table, segment, first, i);
      Count(*ItemOf(slot), found);
    }
    EXPECT_EQ(segment.count, count);
    EXPECT_LE(count, CapacityOf(segment.bucket_count));
  }

  static void CheckSlot(const HashTable& table, const Segment& segment, size_t first, uint32_t position) {
    const Slot slot = SlotAt(segment, position);
    const uint64_t hash = table.HashOf(ItemOf(slot));
    ASSERT_EQ(TagOf(slot), TagOfHash(hash));
    ASSERT_EQ(slot & kSplitMark, 0u);
    ASSERT_EQ(table.FirstEntryOf(hash), first);
    for (uint32_t i = position / kBucketSlots * kBucketSlots; i < position; ++i) {
      ASSERT_NE(SlotAt(segment, i), 0u) << "slots are packed";
    }
    const uint32_t bucket = position / kBucketSlots;
    for (uint32_t b = segment.HomeOf(TagOf(slot)); b != bucket; b = (b + 1) % segment.bucket_count) {
      ASSERT_NE(segment.Bucket(b)[kBucketSlots - 1], 0u) << "a search would end here";
    }
  }

  static void Count(const Item& item, TableStats& found) {
    ++found.items;
    found.value_items += item.is_value() ? 1 : 0;
    found.ejected_items += item.is_ejected() ? 1 : 0;
    found.deleted_items += item.is_deleted() ? 1 : 0;
    found.item_bytes += item.resident_bytes();
    found.digest += item.digest();
  }

  static void Compare(const TableStats& said, const TableStats& found) {
    EXPECT_EQ(said.items, found.items);
    EXPECT_EQ(said.value_items, found.value_items);
    EXPECT_EQ(said.ejected_items, found.ejected_items);
    EXPECT_EQ(said.deleted_items, found.deleted_items);
    EXPECT_EQ(said.item_bytes, found.item_bytes);
    EXPECT_EQ(said.table_bytes, found.table_bytes);
    EXPECT_EQ(said.digest, found.digest);
    EXPECT_EQ(said.segments, found.segments);
    EXPECT_EQ(said.slots, found.slots);
  }
};

}  // namespace cairn::hashtable
