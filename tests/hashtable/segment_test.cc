#include "hashtable/segment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace cairn::hashtable {
namespace {

// Addresses that no test dereferences: a segment only looks at tags.
Slot EntryWith(uint32_t tag, uint64_t number) {
  return MakeSlot(static_cast<uint16_t>(tag), reinterpret_cast<Item*>((number + 1) << 4), 0);
}

// Every entry must be found, and be the only one with its slot value.
void ExpectHolds(const Segment& segment, const std::map<Slot, uint16_t>& entries) {
  ASSERT_EQ(segment.count, entries.size());
  for (const auto& [entry, tag] : entries) {
    const Slot wanted = entry;
    ASSERT_NE(segment.Find(tag, [wanted](Slot slot) { return slot == wanted; }), nullptr);
  }
  size_t found = 0;
  segment.ForEach([&found](Slot) { ++found; });
  ASSERT_EQ(found, entries.size());
}

TEST(SegmentTest, SizesAreBlocksAndBeyondThemJemallocSizeClasses) {
  // nallocx(64 n, 0) == 64 n holds for n ≤ 8 and all of those > 64 (jemalloc 5.3).
  const std::vector<uint32_t> sizes = {1,  2,  3,  4,  5,  6,  7,   8,   16,  24, 32,
                                       40, 48, 56, 64, 80, 96, 112, 128, 160, 192};
  uint32_t previous = 0;
  for (const uint32_t buckets : sizes) {
    EXPECT_EQ(NextBucketCount(previous), buckets);
    EXPECT_EQ(PreviousBucketCount(buckets), previous);
    previous = buckets;
  }
}

TEST(SegmentTest, ResizingInBlocksKeepsTheOthers) {
  Segment segment = Segment::Allocate(24, 0);
  const std::vector<Slot*> before = {segment.Bucket(0), segment.Bucket(8), segment.Bucket(16)};
  segment.Insert(EntryWith(0x1234, 1));
  for (const uint32_t buckets : {64u, 32u, 24u}) {
    segment.Resize(buckets);
    for (uint32_t i = 0; i < before.size(); ++i) EXPECT_EQ(segment.Bucket(8 * i), before[i]);
    for (uint32_t b = 0; b < buckets; ++b) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(segment.Bucket(b)) % 512, b % 8 * 64);
    }
  }
  segment.Free();
  EXPECT_EQ(segment.Bucket(0), nullptr);
}

TEST(SegmentTest, BucketsForIsTheSmallestClassWithRoom) {
  EXPECT_EQ(BucketsFor(0), 0u);
  for (uint32_t entries = 1; entries <= 2000; ++entries) {
    const uint32_t buckets = BucketsFor(entries);
    ASSERT_GE(CapacityOf(buckets), entries);
    ASSERT_LT(CapacityOf(PreviousBucketCount(buckets)), entries);
    ASSERT_EQ(NextBucketCount(PreviousBucketCount(buckets)), buckets);
  }
}

TEST(SegmentTest, TagMatchesAgreesWithALoop) {
  std::mt19937_64 random(1);
  alignas(64) Slot bucket[kBucketSlots];
  // The signs and ends of 16 bits, where a vector comparison would go wrong.
  const std::vector<uint16_t> tags = {0, 1, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};
  for (int round = 0; round < 2000; ++round) {
    for (Slot& slot : bucket)
      slot = Slot{tags[random() % tags.size()]} << kTagShift | (random() & kAddressMask);
    for (const uint16_t tag : tags) {
      uint32_t expected = 0;
      for (uint32_t i = 0; i < kBucketSlots; ++i) expected |= (bucket[i] >> 48 == tag ? 1u : 0u) << i;
      ASSERT_EQ(TagMatches(bucket, tag), expected);
    }
  }
}

TEST(SegmentTest, SlotKeepsItsParts) {
  Item* const highest = reinterpret_cast<Item*>(uint64_t{0x00007ffffffffff0});
  const Slot slot = MakeSlot(0xffff, highest, 7);
  EXPECT_EQ(TagOf(slot), 0xffffu);
  EXPECT_EQ(ItemOf(slot), highest);
  EXPECT_EQ(FrequencyOf(slot), 7);
  EXPECT_EQ(slot & kSplitMark, 0u);
  EXPECT_EQ(ItemOf(WithFrequency(slot, 2)), highest);
  EXPECT_EQ(FrequencyOf(WithFrequency(slot, 2)), 2);
}

TEST(SegmentDeathTest, RefusesAddressesThatDoNotFit) {
  EXPECT_DEATH(MakeSlot(1, reinterpret_cast<Item*>(uint64_t{0x1008}), 0), "kAddressMask");
  EXPECT_DEATH(MakeSlot(1, reinterpret_cast<Item*>(uint64_t{1} << 48), 0), "kAddressMask");
  EXPECT_DEATH(MakeSlot(1, nullptr, 0), "address != 0");
}

TEST(SegmentTest, EveryClassFillsToCapacityAndEmptiesInAnyOrder) {
  std::mt19937_64 random(2);
  for (uint32_t buckets = 1; buckets <= 96; buckets = NextBucketCount(buckets)) {
    Segment segment = Segment::Allocate(buckets, 0);
    std::map<Slot, uint16_t> entries;
    std::vector<Slot> order;
    for (uint32_t i = 0; i < CapacityOf(buckets); ++i) {
      ASSERT_FALSE(segment.full());
      const auto tag = static_cast<uint16_t>(random());
      order.push_back(EntryWith(tag, i));
      entries[order.back()] = tag;
      segment.Insert(order.back());
    }
    EXPECT_TRUE(segment.full());
    ExpectHolds(segment, entries);
    std::shuffle(order.begin(), order.end(), random);
    for (const Slot entry : order) {
      Slot* const slot = segment.Find(entries[entry], [entry](Slot s) { return s == entry; });
      ASSERT_NE(slot, nullptr);
      segment.Remove(slot);
      entries.erase(entry);
      ExpectHolds(segment, entries);
      if (HasFatalFailure()) return;
    }
    segment.Free();
  }
}

// Few homes, runs over many buckets and around the end: where shifting back could lose an entry.
TEST(SegmentTest, RemovalKeepsSpilledEntriesReachable) {
  std::mt19937_64 random(3);
  const std::vector<uint16_t> tags = {0, 0x0100, 0x7000, 0xf000, 0xfff0, 0xffff};
  for (int round = 0; round < 50; ++round) {
    Segment segment = Segment::Allocate(round % 2 == 0 ? 7 : 16, 0);
    std::map<Slot, uint16_t> entries;
    for (uint64_t step = 0; step < 600; ++step) {
      if (!segment.full() && (entries.empty() || random() % 5 < 3)) {
        const uint16_t tag = tags[random() % tags.size()];
        const Slot entry = EntryWith(tag, step);
        entries[entry] = tag;
        segment.Insert(entry);
      } else {
        auto victim = entries.begin();
        std::advance(victim, random() % entries.size());
        const Slot entry = victim->first;
        segment.Remove(segment.Find(victim->second, [entry](Slot s) { return s == entry; }));
        entries.erase(victim);
      }
      ExpectHolds(segment, entries);
      if (HasFatalFailure()) return;
    }
    segment.Free();
  }
}

TEST(SegmentTest, ResizeKeepsEntriesAndDepth) {
  std::mt19937_64 random(4);
  Segment segment = Segment::Allocate(24, 5);
  std::map<Slot, uint16_t> entries;
  for (uint32_t i = 0; i < 100; ++i) {
    const auto tag = static_cast<uint16_t>(random());
    entries[EntryWith(tag, i)] = tag;
    segment.Insert(EntryWith(tag, i));
  }
  // Within blocks, to one array and back, and the same below a block with as many entries as fit there.
  for (const uint32_t buckets : {16u, 64u, 24u, 80u, 96u, 64u, 16u}) {
    segment.Resize(buckets);
    EXPECT_EQ(segment.bucket_count, buckets);
    EXPECT_EQ(segment.depth, 5u);
    ExpectHolds(segment, entries);
  }
  segment.Free();
}

}  // namespace
}  // namespace cairn::hashtable
