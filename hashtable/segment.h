#pragma once
// Segment: one open-addressed piece of a HashTable, and the directory entry that names it. Internal to this
// folder; hash_table.h includes it for the visitor only.
//
// Memory: `bucket_count` cache lines ("buckets") of 8 slots, in *blocks* of 8 buckets. All blocks of all
// segments have one size, 512 bytes, so what one segment gives back the next one takes, whatever their sizes
// are. (With an allocation of its own size for each segment, tables that grow in step move together from one
// size class of the allocator to the next and leave the slabs behind them half empty: 4.6 bytes per item.)
// Beside that a segment of less than 8 buckets, the only one of a small table, is one allocation, and so is
// one of more than 64, which only colliding keys lead to. All sizes are jemalloc's size classes
// (NextBucketCount), so nothing is lost to rounding. Slots of a bucket are packed: the first zero slot ends
// it.
//
// The addresses of the blocks stand in the directory entry itself, so a search goes from there straight to
// the bucket. They are 512-byte aligned, which leaves 5 bytes of each.
//
// Slot, 64 bits:
//   63..48  tag: the low 16 bits of the key's hash (the directory uses the high ones)
//   47..4   address of the item: user space has 47 bits, items are 16-byte aligned
//   3       spare: 0, but in the middle of a split, which marks the entries of the upper half with it
//   2..0    access frequency
//
// Invariant: the home bucket of an entry is (tag * bucket_count) >> 16; every bucket between its home and
// where it lies (cyclic) is full. So a bucket that is not full ends a search, and since homes follow from
// tags alone, removing and resizing never look at an item.
//
// Not thread-safe. A Segment is a plain value: the HashTable frees the memory and drops the references.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/item.h"

namespace cairn::hashtable {

using Slot = uint64_t;

inline constexpr uint32_t kBucketSlots = 8;
inline constexpr uint32_t kBlockBuckets = 8;
inline constexpr uint32_t kBlockSlots = kBlockBuckets * kBucketSlots;
/// A segment of this many buckets (4 KiB) is split when it is full, if the directory may grow.
inline constexpr uint32_t kBucketsMax = 64;
inline constexpr uint32_t kBlocksMax = kBucketsMax / kBlockBuckets;
inline constexpr int kFrequencyMax = 7;

inline constexpr int kTagShift = 48;
inline constexpr Slot kSplitMark = 8;
inline constexpr Slot kFrequencyMask = 7;
inline constexpr Slot kAddressMask = ((Slot{1} << kTagShift) - 1) & ~(kSplitMark | kFrequencyMask);

inline uint16_t TagOfHash(uint64_t hash) { return static_cast<uint16_t>(hash & 0xffff); }
inline uint32_t TagOf(Slot slot) { return static_cast<uint32_t>(slot >> kTagShift); }
inline Item* ItemOf(Slot slot) { return reinterpret_cast<Item*>(slot & kAddressMask); }
inline int FrequencyOf(Slot slot) { return static_cast<int>(slot & kFrequencyMask); }
inline Slot WithFrequency(Slot slot, int frequency) {
  return (slot & ~kFrequencyMask) | static_cast<Slot>(frequency);
}
/// Checks that the address fits into its bits.
Slot MakeSlot(uint16_t tag, Item* item, int frequency);

/// A hint; `address` may be null or out of bounds, and is computed as a number for that reason.
inline void PrefetchAt(const void* address, uintptr_t offset) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(address) + offset));
}
/// Both lines that the header and a short key of an item can lie on.
inline void PrefetchItemLines(const Item* item) {
  PrefetchAt(item, 0);
  PrefetchAt(item, 63);
}

/// Bit i is set when slot i of the bucket carries `tag`. A zero slot counts as one with tag 0.
inline uint32_t TagMatches(const Slot* bucket, uint16_t tag) {
#if defined(__SSE2__)
  const auto* const pairs = reinterpret_cast<const __m128i*>(bucket);
  // Of four slots: the tag, sign-extended to 32 bits, which the pack below turns back into 16 unchanged.
  const auto four_tags = [](__m128i a, __m128i b) {
    const __m128 high = _mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), _MM_SHUFFLE(3, 1, 3, 1));
    return _mm_srai_epi32(_mm_castps_si128(high), 16);
  };
  const __m128i tags = _mm_packs_epi32(four_tags(_mm_load_si128(pairs), _mm_load_si128(pairs + 1)),
                                       four_tags(_mm_load_si128(pairs + 2), _mm_load_si128(pairs + 3)));
  const __m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(static_cast<int16_t>(tag)));
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())));
#else
  uint32_t matches = 0;
  for (uint32_t i = 0; i < kBucketSlots; ++i) matches |= static_cast<uint32_t>(TagOf(bucket[i]) == tag) << i;
  return matches;
#endif
}

/// Sizes of a segment, in buckets: 0 … 8, then by blocks to 64, then four per doubling: 80, 96, 112, 128, …
constexpr uint32_t NextBucketCount(uint32_t buckets) {
  if (buckets < kBlockBuckets) return buckets + 1;
  return buckets + (buckets < kBucketsMax ? kBlockBuckets : std::bit_floor(buckets) / 4);
}
constexpr uint32_t PreviousBucketCount(uint32_t buckets) {
  if (buckets <= kBlockBuckets) return buckets - 1;
  return buckets - (buckets <= kBucketsMax ? kBlockBuckets : std::bit_ceil(buckets) / 8);
}
/// Entries that a segment may hold before it grows: 94 % of its slots, and all of them when there are few.
/// Each percent more saves 0.1 bytes per item, and makes the search for a missing key, which reads every
/// full bucket it meets, 6 % slower.
constexpr uint32_t CapacityOf(uint32_t buckets) {
  return buckets * kBucketSlots - buckets * kBucketSlots * 6 / 100;
}
/// The smallest size that holds `entries`.
uint32_t BucketsFor(uint32_t entries);

struct Segment {
  uint32_t count = 0;  // entries; authoritative in the first directory entry of the segment's range
  uint32_t bucket_count : 24 = 0;
  uint32_t depth : 8 = 0;  // leading hash bits that all entries share

  /// Allocates zeroed slots. `buckets`: one of the sizes above, below 2^24, which takes 10^8 keys of one and
  /// the same hash to reach.
  static Segment Allocate(uint32_t buckets, uint32_t depth);
  /// Returns the memory; the entries' references are the caller's.
  void Free();

  uint32_t slot_count() const { return bucket_count * kBucketSlots; }
  bool full() const { return count >= CapacityOf(bucket_count); }
  uint32_t HomeOf(uint32_t tag) const {
    return static_cast<uint32_t>((static_cast<uint64_t>(tag) * bucket_count) >> 16);
  }
  uint32_t NextBucket(uint32_t bucket) const { return bucket + 1 == bucket_count ? 0 : bucket + 1; }
  /// The slots of a bucket; null in a segment without any.
  Slot* Bucket(uint32_t bucket) const {
    if (!InBlocks(bucket_count)) return array_ + size_t{bucket} * kBucketSlots;
    return Block(bucket / kBlockBuckets) + bucket % kBlockBuckets * kBucketSlots;
  }

  /// The first slot with this tag that `match(Slot)` accepts, or null.
  template <class Match>
  Slot* Find(uint16_t tag, Match&& match) const;

  /// Adds an entry; there must be a free slot.
  void Insert(Slot entry);
  /// Removes the entry in `*slot` and moves back those that had to spill because of it. Returns the number
  /// of entries moved between buckets.
  uint32_t Remove(Slot* slot);
  /// Moves the entries into `buckets` buckets, which must have room for them. There may be holes before.
  /// Up to kBucketsMax this happens in place, and takes or gives back the blocks that make the difference.
  void Resize(uint32_t buckets);
  /// Inserts all entries of `other`, which keeps its memory.
  void InsertAll(const Segment& other);

  /// Calls `visit(Slot&)` for each entry, in any order. It may change or empty the slot.
  template <class VisitSlot>
  void ForEach(VisitSlot&& visit) const;
  /// The same for a visitor that looks at the items, which are prefetched.
  template <class VisitSlot>
  void ForEachItem(VisitSlot&& visit) const;

 private:
  static constexpr int kBlockShift = 9;  // log2 of the bytes of a block

  static constexpr bool InBlocks(uint32_t buckets) {
    return buckets >= kBlockBuckets && buckets <= kBucketsMax;
  }
  Slot* Block(uint32_t index) const {
    const uint64_t number = block_low_[index] | static_cast<uint64_t>(block_high_[index]) << 32;
    return reinterpret_cast<Slot*>(number << kBlockShift);
  }
  void SetBlock(uint32_t index, Slot* block);
  void Reserve(uint32_t buckets);
  uint32_t Distance(uint32_t from, uint32_t to) const {
    return to >= from ? to - from : to + bucket_count - from;
  }
  Slot* FindMovable(uint32_t bucket, uint32_t hole) const;

  // Which of the two it is, follows from bucket_count.
  union {
    Slot* array_ = nullptr;           // the one allocation; null when bucket_count is 0
    uint32_t block_low_[kBlocksMax];  // of the address of each block in units of a block
  };
  uint8_t block_high_[kBlocksMax] = {};
};
static_assert(sizeof(Segment) == 48, "48 << depth bytes of directory are a size class of jemalloc");

template <class Match>
Slot* Segment::Find(uint16_t tag, Match&& match) const {
  uint32_t bucket = HomeOf(tag);
  for (uint32_t left = bucket_count; left != 0; --left) {
    Slot* const first = Bucket(bucket);
    for (uint32_t matches = TagMatches(first, tag); matches != 0; matches &= matches - 1) {
      Slot* const slot = first + std::countr_zero(matches);
      if (*slot != 0 && match(*slot)) return slot;
    }
    if (first[kBucketSlots - 1] == 0) return nullptr;
    bucket = NextBucket(bucket);
  }
  return nullptr;
}

template <class VisitSlot>
void Segment::ForEach(VisitSlot&& visit) const {
  for (uint32_t b = 0; b < bucket_count; ++b) {
    Slot* const bucket = Bucket(b);
    for (uint32_t i = 0; i < kBucketSlots; ++i) {
      if (bucket[i] != 0) visit(bucket[i]);
    }
  }
}

template <class VisitSlot>
void Segment::ForEachItem(VisitSlot&& visit) const {
  constexpr uint32_t kAhead = 2;
  for (uint32_t b = 0; b < bucket_count; ++b) {
    Slot* const bucket = Bucket(b);
    const Slot* const ahead = Bucket(std::min(b + kAhead, bucket_count - 1u));
    for (uint32_t i = 0; i < kBucketSlots; ++i) {
      PrefetchItemLines(ItemOf(ahead[i]));
      if (bucket[i] != 0) visit(bucket[i]);
    }
  }
}

}  // namespace cairn::hashtable
