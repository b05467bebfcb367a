#include "hashtable/segment.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace cairn::hashtable {
namespace {

constexpr size_t kBucketBytes = kBucketSlots * sizeof(Slot);
constexpr size_t kBlockBytes = kBlockBuckets * kBucketBytes;

bool BucketFull(const Slot* bucket) { return bucket[kBucketSlots - 1] != 0; }

// Entries of a bucket that is not full: slots are packed, so three probes find the first zero.
uint32_t EntriesIn(const Slot* bucket) {
  uint32_t entries = bucket[3] != 0 ? 4 : 0;
  entries += bucket[entries + 1] != 0 ? 2 : 0;
  return entries + (bucket[entries] != 0 ? 1 : 0);
}

// Empties `*slot` and keeps its bucket packed; the order within a bucket means nothing.
void CloseGap(Slot* bucket, Slot* slot) {
  Slot* const last = BucketFull(bucket) ? bucket + kBucketSlots - 1 : bucket + EntriesIn(bucket) - 1;
  *slot = *last;
  *last = 0;
}

constexpr uint32_t RoundUpToSize(uint32_t buckets) {
  if (buckets <= kBlockBuckets) return buckets;
  const uint32_t step = buckets <= kBucketsMax ? kBlockBuckets : std::bit_ceil(buckets) / 8;
  return (buckets + step - 1) / step * step;
}

Slot* AllocateAligned(size_t alignment, size_t bytes) {
  void* const memory = std::aligned_alloc(alignment, bytes);
  CAIRN_CHECK(memory != nullptr);
  return static_cast<Slot*>(memory);
}

}  // namespace

Slot MakeSlot(uint16_t tag, Item* item, int frequency) {
  const Slot address = reinterpret_cast<Slot>(item);
  CAIRN_CHECK(address != 0 && (address & ~kAddressMask) == 0);
  return static_cast<Slot>(tag) << kTagShift | address | static_cast<Slot>(frequency);
}

uint32_t BucketsFor(uint32_t entries) {
  uint32_t buckets = RoundUpToSize((entries + kBucketSlots - 1) / kBucketSlots);
  while (CapacityOf(buckets) < entries) buckets = NextBucketCount(buckets);
  return buckets;
}

Segment Segment::Allocate(uint32_t buckets, uint32_t depth) {
  Segment segment;
  segment.depth = depth & 0xff;
  segment.Reserve(buckets);
  return segment;
}

void Segment::Free() { Reserve(0); }

void Segment::SetBlock(uint32_t index, Slot* block) {
  static_assert(size_t{1} << kBlockShift == kBlockBytes);
  const uint64_t number = reinterpret_cast<uint64_t>(block) >> kBlockShift;
  block_low_[index] = static_cast<uint32_t>(number);
  block_high_[index] = static_cast<uint8_t>(number >> 32);
  CAIRN_CHECK(Block(index) == block);
}

// Makes the segment one of `buckets` empty buckets. Entries are forgotten, blocks kept as far as needed.
void Segment::Reserve(uint32_t buckets) {
  CAIRN_CHECK(buckets < (uint32_t{1} << 24));
  const uint32_t blocks_before = InBlocks(bucket_count) ? bucket_count / kBlockBuckets : 0;
  const uint32_t blocks = InBlocks(buckets) ? buckets / kBlockBuckets : 0;
  if (blocks_before == 0) std::free(array_);
  for (uint32_t i = blocks; i < blocks_before; ++i) std::free(Block(i));
  for (uint32_t i = blocks_before; i < blocks; ++i) SetBlock(i, AllocateAligned(kBlockBytes, kBlockBytes));
  for (uint32_t i = 0; i < blocks; ++i) std::memset(Block(i), 0, kBlockBytes);
  if (blocks == 0) {
    array_ = buckets == 0 ? nullptr : AllocateAligned(kBucketBytes, buckets * kBucketBytes);
    if (array_ != nullptr) std::memset(array_, 0, buckets * kBucketBytes);
  }
  bucket_count = buckets & 0xffffff;
  count = 0;
}

void Segment::Insert(Slot entry) {
  CAIRN_DCHECK(count < slot_count());
  uint32_t bucket = HomeOf(TagOf(entry));
  while (BucketFull(Bucket(bucket))) bucket = NextBucket(bucket);
  Slot* const first = Bucket(bucket);
  first[EntriesIn(first)] = entry;
  ++count;
}

// An entry of `bucket` that a search would also find in the free slot of bucket `hole`, or null: one whose
// home is not behind the hole.
Slot* Segment::FindMovable(uint32_t bucket, uint32_t hole) const {
  Slot* const first = Bucket(bucket);
  const uint32_t to_hole = Distance(hole, bucket);
  for (uint32_t i = 0; i < kBucketSlots && first[i] != 0; ++i) {
    if (Distance(HomeOf(TagOf(first[i])), bucket) >= to_hole) return first + i;
  }
  return nullptr;
}

uint32_t Segment::Remove(Slot* slot) {
  // Behind its home, where a search has just found it.
  uint32_t hole = HomeOf(TagOf(*slot));
  while (slot < Bucket(hole) || slot >= Bucket(hole) + kBucketSlots) hole = NextBucket(hole);
  bool was_full = BucketFull(Bucket(hole));
  CloseGap(Bucket(hole), slot);
  --count;
  // A hole in a bucket that was full would cut off entries that went past it. The run of full buckets
  // behind it, and the first one that is not full, hold all of them.
  uint32_t moved = 0;
  uint32_t bucket = hole;
  for (uint32_t left = bucket_count - 1; was_full && left != 0; --left) {
    bucket = NextBucket(bucket);
    was_full = BucketFull(Bucket(bucket));
    Slot* const movable = FindMovable(bucket, hole);
    if (movable == nullptr) continue;
    Bucket(hole)[kBucketSlots - 1] = *movable;
    CloseGap(Bucket(bucket), movable);
    hole = bucket;
    ++moved;
  }
  return moved;
}

void Segment::InsertAll(const Segment& other) {
  other.ForEach([this](Slot slot) { Insert(slot); });
}

void Segment::Resize(uint32_t buckets) {
  CAIRN_CHECK(count <= buckets * kBucketSlots);
  if (buckets <= kBucketsMax) {
    Slot entries[kBucketsMax * kBucketSlots];
    uint32_t taken = 0;
    ForEach([&](Slot slot) { entries[taken++] = slot; });
    Reserve(buckets);
    for (uint32_t i = 0; i < taken; ++i) Insert(entries[i]);
    return;
  }
  Segment resized = Allocate(buckets, depth);
  resized.InsertAll(*this);
  Free();
  *this = resized;
}

}  // namespace cairn::hashtable
