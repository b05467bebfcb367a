#include "hashtable/hash_table.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace cairn::hashtable {
namespace {

// High enough to survive the first pass of an evictor that takes entries of frequency 0.
constexpr int kFrequencyNew = 1;

// A segment shrinks to the next smaller class when that would then be filled to this many percent of its
// slots. Growing starts at 93, so a twelfth of the entries must come or go before it turns around.
constexpr uint32_t kShrinkFillPercent = 85;

// Buddies merge when both together have no more entries than this: 60 % of what makes a segment split again.
constexpr uint32_t kMergeItemsMax = 300;
// One operation goes on merging until it has moved this many entries.
constexpr uint32_t kMergeMovedMax = 512;

// Directory entries are bounded by depth, and by content: with a good hash there is one per 120 items or
// more, and only keys that collide on purpose ask for more than one per 32.
constexpr uint32_t kDepthMax = 32;
constexpr size_t kItemsPerEntryMin = 32;
constexpr size_t kEntriesAlways = 8;
// Fewer items per entry than this let the directory halve; a split doubles it at about twice as many.
constexpr size_t kItemsPerEntryHalve = 100;

Slot Touched(Slot slot, uint32_t random) {
  const int frequency = FrequencyOf(slot);
  const uint32_t mask = (uint32_t{1} << frequency) - 1;
  return frequency < kFrequencyMax && (random & mask) == 0 ? WithFrequency(slot, frequency + 1) : slot;
}

}  // namespace

HashTable::HashTable(uint64_t hash_seed, HashFunction hash_function)
    : hash_seed_(hash_seed), hash_function_(hash_function) {}

HashTable::~HashTable() {
  const size_t entries = size_t{1} << depth_;
  for (size_t first = 0; first < entries;) {
    Segment& segment = directory_[first];
    first += Span(segment);
    segment.ForEachItem([](Slot slot) { ItemOf(slot)->DropRef(); });
    segment.Free();
  }
  SetDirectory(&own_entry_, 0);
}

TableStats HashTable::stats() const {
  TableStats stats;
  stats.items = items_;
  stats.value_items = items_ - ejected_items_ - deleted_items_;
  stats.ejected_items = ejected_items_;
  stats.deleted_items = deleted_items_;
  stats.item_bytes = item_bytes_;
  stats.slots = buckets_ * kBucketSlots;
  // Both are size classes of the allocator, so this is what it takes.
  stats.table_bytes = stats.slots * sizeof(Slot) + (depth_ == 0 ? 0 : sizeof(Segment) << depth_);
  stats.digest = digest_;
  stats.segments = segments_;
  stats.slots_moved = slots_moved_;
  return stats;
}

// ---- Finding

size_t HashTable::FirstEntryOf(uint64_t hash) const {
  const size_t entry = EntryOf(hash);
  return entry & ~(Span(directory_[entry]) - 1);
}

HashTable::HashRange HashTable::RangeAt(uint64_t hash) const {
  const size_t first = FirstEntryOf(hash);
  const Segment& segment = directory_[first];
  const uint64_t width_less_one = ~uint64_t{0} >> segment.depth;
  const uint64_t start = hash & ~width_less_one;
  return {&segment, start, start | width_less_one};
}

Slot* HashTable::FindSlot(const HashedKey& key) const {
  return EntryAt(key.hash).Find(TagOfHash(key.hash),
                                [&key](Slot slot) { return ItemOf(slot)->key() == key.key; });
}

Slot* HashTable::FindSlot(uint64_t hash, const Item* item) const {
  return EntryAt(hash).Find(TagOfHash(hash), [item](Slot slot) { return ItemOf(slot) == item; });
}

Item* HashTable::Find(const HashedKey& key) const {
  const Slot* const slot = FindSlot(key);
  return slot == nullptr ? nullptr : ItemOf(*slot);
}

Item* HashTable::FindAndTouch(const HashedKey& key, uint32_t random) {
  Slot* const slot = FindSlot(key);
  if (slot == nullptr) return nullptr;
  *slot = Touched(*slot, random);
  return ItemOf(*slot);
}

void HashTable::Touch(const HashedKey& key, uint32_t random) { FindAndTouch(key, random); }

int HashTable::Frequency(const HashedKey& key) const {
  const Slot* const slot = FindSlot(key);
  return slot == nullptr ? 0 : FrequencyOf(*slot);
}

void HashTable::SetFrequency(const HashedKey& key, int frequency) {
  CAIRN_CHECK(frequency >= 0 && frequency <= kFrequencyMax);
  Slot* const slot = FindSlot(key);
  if (slot != nullptr) *slot = WithFrequency(*slot, frequency);
}

void HashTable::PrefetchBucket(uint64_t hash) const {
  // Both the home bucket and the one that it spills into (which the last one of a block has elsewhere: to
  // look for it costs more than it saves).
  const Segment& segment = EntryAt(hash);
  const Slot* const home = segment.Bucket(segment.HomeOf(TagOfHash(hash)));
  PrefetchAt(home, 0);
  PrefetchAt(home, kBucketSlots * sizeof(Slot));
}

void HashTable::PrefetchItem(uint64_t hash) const {
  // Takes the first entry with the tag: that it is another key's is one case in a hundred.
  EntryAt(hash).Find(TagOfHash(hash), [](Slot slot) {
    PrefetchItemLines(ItemOf(slot));
    return true;
  });
}

// ---- Changing entries

void HashTable::AccountForm(const Item& item, bool add) {
  CAIRN_DCHECK(!item.is_marker());
  const size_t one = add ? 1 : ~size_t{0};  // subtraction modulo 2^64
  if (item.is_ejected()) ejected_items_ += one;
  if (item.is_deleted()) deleted_items_ += one;
  const size_t bytes = item.resident_bytes();
  item_bytes_ += add ? bytes : size_t{0} - bytes;
}

void HashTable::Account(const Item& item, bool add) {
  AccountForm(item, add);
  items_ += add ? 1 : ~size_t{0};
  const uint64_t digest = item.digest();
  digest_ += add ? digest : uint64_t{0} - digest;
}

ItemRef HashTable::ReplaceIn(Slot* slot, ItemRef item) {
  ItemRef old = ItemRef::Adopt(ItemOf(*slot));
  Account(*old, false);
  Account(*item, true);
  *slot = MakeSlot(static_cast<uint16_t>(TagOf(*slot)), item.Release(), FrequencyOf(*slot));
  return old;
}

ItemRef HashTable::Put(const HashedKey& key, ItemRef item) {
  CAIRN_DCHECK(item->key() == key.key);
  Slot* const slot = FindSlot(key);
  if (slot != nullptr) return ReplaceIn(slot, std::move(item));
  Add(key.hash, std::move(item));
  return nullptr;
}

ItemRef HashTable::Replace(const HashedKey& key, Item* old, ItemRef item) {
  CAIRN_DCHECK(item->key() == key.key);
  Slot* const slot = FindSlot(key.hash, old);
  CAIRN_CHECK(slot != nullptr);
  return ReplaceIn(slot, std::move(item));
}

bool HashTable::SwapForm(const HashedKey& key, Item* old, ItemRef form) {
  Slot* const slot = FindSlot(key.hash, old);
  if (slot == nullptr) return false;
  CAIRN_DCHECK(form->key() == old->key() && form->cas() == old->cas() && form->seqno() == old->seqno());
  AccountForm(*old, false);
  AccountForm(*form, true);
  *slot = MakeSlot(static_cast<uint16_t>(TagOf(*slot)), form.Release(), FrequencyOf(*slot));
  old->DropRef();
  return true;
}

ItemRef HashTable::Erase(const HashedKey& key) {
  Slot* const slot = FindSlot(key);
  if (slot == nullptr) return nullptr;
  ItemRef item = ItemRef::Adopt(ItemOf(*slot));
  Account(*item, false);
  const size_t first = FirstEntryOf(key.hash);
  slots_moved_ += directory_[first].Remove(slot);
  Shrink(first);
  return item;
}

std::vector<ItemRef> HashTable::TakeSome(size_t count_max) {
  std::vector<ItemRef> taken;
  taken.reserve(std::min(count_max, items_));
  while (taken.size() < count_max && items_ != 0) {
    // Emptied segments merge with their buddies, so the first entries in use are never far from the front.
    size_t first = 0;
    while (directory_[first].count == 0) first += Span(directory_[first]);
    TakeFrom(first, count_max, taken);
  }
  return taken;
}

void HashTable::TakeFrom(size_t first, size_t count_max, std::vector<ItemRef>& taken) {
  Segment& segment = directory_[first];
  segment.ForEachItem([&](Slot& slot) {
    if (taken.size() == count_max) return;
    taken.push_back(ItemRef::Adopt(ItemOf(slot)));
    Account(*taken.back(), false);
    slot = 0;
    --segment.count;
  });
  // The holes are gone with the old slots.
  Resize(first, BucketsFor(segment.count));
  MergeUp(first);
  HalveSparseDirectory();
}

// ---- Growing

void HashTable::Add(uint64_t hash, ItemRef item) {
  size_t first = FirstEntryOf(hash);
  if (directory_[first].full()) {
    MakeRoom(hash);
    first = FirstEntryOf(hash);
  }
  Account(*item, true);
  directory_[first].Insert(MakeSlot(TagOfHash(hash), item.Release(), kFrequencyNew));
}

void HashTable::MakeRoom(uint64_t hash) {
  size_t first = FirstEntryOf(hash);
  if (directory_[first].bucket_count >= kBucketsMax && MaySplit(directory_[first])) {
    Split(first);
    first = FirstEntryOf(hash);
    if (!directory_[first].full()) return;
    // All entries went to one side. Once is enough for one operation.
  }
  Resize(first, NextBucketCount(directory_[first].bucket_count));
}

void HashTable::Resize(size_t first, uint32_t buckets) {
  Segment& segment = directory_[first];
  buckets_ += size_t{buckets} - segment.bucket_count;
  segments_ += size_t{buckets != 0} - size_t{segment.bucket_count != 0};
  slots_moved_ += segment.count;
  segment.Resize(buckets);
  Publish(first);
}

// Copies a changed first entry to the others of its segment: one or two with a good hash.
void HashTable::Publish(size_t first) {
  const Segment& segment = directory_[first];
  std::fill_n(directory_ + first + 1, Span(segment) - 1, segment);
}

bool HashTable::MaySplit(const Segment& segment) const {
  if (segment.depth < depth_) return true;
  const size_t entries = size_t{2} << depth_;
  return depth_ < kDepthMax && (entries <= kEntriesAlways || entries <= items_ / kItemsPerEntryMin);
}

// Marks in their slots the entries whose next hash bit is set, and returns their number. The slots have no
// such bit at hand: a tag holds the other end of the hash.
uint32_t HashTable::MarkUpperHalf(const Segment& segment) {
  const int bit = 63 - static_cast<int>(segment.depth);
  uint32_t marked = 0;
  segment.ForEachItem([&](Slot& slot) {
    const bool upper = (HashOf(ItemOf(slot)) >> bit & 1) != 0;
    if (!upper) return;
    slot |= kSplitMark;
    ++marked;
  });
  return marked;
}

void HashTable::Split(size_t first) {
  if (directory_[first].depth == depth_) {
    DoubleDirectory();
    first *= 2;
  }
  Segment old = directory_[first];
  const uint32_t upper_count = MarkUpperHalf(old);
  const uint32_t lower_count = old.count - upper_count;
  // With room for one more, so that the entry that caused the split does not have to resize its half.
  Segment lower = Segment::Allocate(lower_count == 0 ? 0 : BucketsFor(lower_count + 1), old.depth + 1);
  Segment upper = Segment::Allocate(upper_count == 0 ? 0 : BucketsFor(upper_count + 1), old.depth + 1);
  old.ForEach([&](Slot slot) { ((slot & kSplitMark) != 0 ? upper : lower).Insert(slot & ~kSplitMark); });
  slots_moved_ += old.count;
  buckets_ += size_t{lower.bucket_count} + upper.bucket_count - old.bucket_count;
  segments_ += size_t{lower.bucket_count != 0} + size_t{upper.bucket_count != 0} - 1;
  if (lower.depth == depth_) deepest_segments_ += 2;
  old.Free();
  const size_t half = Span(lower);
  directory_[first] = lower;
  directory_[first + half] = upper;
  Publish(first);
  Publish(first + half);
}

// ---- Shrinking

void HashTable::Shrink(size_t first) {
  const Segment& segment = directory_[first];
  const uint32_t smaller = PreviousBucketCount(segment.bucket_count);
  if (segment.count * 100 > smaller * kBucketSlots * kShrinkFillPercent) return;
  // Buddies are looked at only here: whatever makes two segments small enough to merge shrinks one of them.
  if (!MergeUp(first)) Resize(first, smaller);
  HalveSparseDirectory();
}

// Merges the segment with its buddy, and what comes of it with its own, as long as they are small. False
// when nothing was merged.
bool HashTable::MergeUp(size_t first) {
  uint32_t moved = 0;
  bool merged = false;
  while (moved < kMergeMovedMax && directory_[first].depth != 0) {
    const Segment& segment = directory_[first];
    const size_t span = Span(segment);
    const Segment& buddy = directory_[first ^ span];
    if (buddy.depth != segment.depth || segment.count + buddy.count > kMergeItemsMax) break;
    const size_t lower = first & ~span;
    moved += Merge(lower, lower + span);
    first = lower;
    merged = true;
  }
  return merged;
}

// Returns the number of entries moved.
uint32_t HashTable::Merge(size_t lower, size_t upper) {
  Segment left = directory_[lower];
  Segment right = directory_[upper];
  const uint32_t count = left.count + right.count;
  Segment both = Segment::Allocate(BucketsFor(count), left.depth - 1);
  both.InsertAll(left);
  both.InsertAll(right);
  buckets_ += size_t{both.bucket_count} - left.bucket_count - right.bucket_count;
  segments_ +=
      size_t{both.bucket_count != 0} - size_t{left.bucket_count != 0} - size_t{right.bucket_count != 0};
  slots_moved_ += count;
  if (left.depth == depth_) deepest_segments_ -= 2;
  left.Free();
  right.Free();
  directory_[lower] = both;
  Publish(lower);
  return count;
}

// ---- Directory

// Makes `directory` the directory; frees the one before, whose segments live on in the new one.
void HashTable::Swap(HashTable& other) {
  CAIRN_CHECK(hash_seed_ == other.hash_seed_ && hash_function_ == other.hash_function_);
  std::swap(directory_, other.directory_);
  std::swap(depth_, other.depth_);
  std::swap(deepest_segments_, other.deepest_segments_);
  std::swap(items_, other.items_);
  std::swap(ejected_items_, other.ejected_items_);
  std::swap(deleted_items_, other.deleted_items_);
  std::swap(item_bytes_, other.item_bytes_);
  std::swap(digest_, other.digest_);
  std::swap(segments_, other.segments_);
  std::swap(buckets_, other.buckets_);
  std::swap(slots_moved_, other.slots_moved_);
  std::swap(own_entry_, other.own_entry_);
  // A directory of one entry lies in the table itself.
  if (directory_ == &other.own_entry_) directory_ = &own_entry_;
  if (other.directory_ == &own_entry_) other.directory_ = &other.own_entry_;
}

void HashTable::SetDirectory(Segment* directory, uint32_t depth) {
  if (directory_ != &own_entry_) std::free(directory_);
  directory_ = directory;
  depth_ = depth;
}

void HashTable::DoubleDirectory() {
  const size_t entries = size_t{1} << depth_;
  auto* const doubled = static_cast<Segment*>(std::malloc(2 * entries * sizeof(Segment)));
  CAIRN_CHECK(doubled != nullptr);
  for (size_t i = 0; i < entries; ++i) doubled[2 * i] = doubled[2 * i + 1] = directory_[i];
  SetDirectory(doubled, depth_ + 1);
  deepest_segments_ = 0;
}

// Segments that just merged may split again soon; the directory waits until that is further away.
void HashTable::HalveSparseDirectory() {
  while (depth_ != 0 && deepest_segments_ == 0 && items_ < (kItemsPerEntryHalve << depth_)) HalveDirectory();
}

void HashTable::HalveDirectory() {
  const size_t entries = size_t{1} << (depth_ - 1);
  auto* halved = &own_entry_;
  if (entries != 1) {
    halved = static_cast<Segment*>(std::malloc(entries * sizeof(Segment)));
    CAIRN_CHECK(halved != nullptr);
  }
  // No segment has a single entry, so the first entry of each is an even one.
  uint32_t deepest = 0;
  for (size_t i = 0; i < entries; ++i) {
    halved[i] = directory_[2 * i];
    deepest += halved[i].depth == depth_ - 1 ? 1 : 0;
  }
  SetDirectory(halved, depth_ - 1);
  deepest_segments_ = deepest;
}

}  // namespace cairn::hashtable
