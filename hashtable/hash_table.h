#pragma once
// HashTable: the items of one vbucket, by key.
//
// Shape: extendible hashing over *segments*. The top bits of the key's hash choose a directory entry, which
// names a segment: 1 … 64 cache-line buckets of 8 slots, in blocks of 8 buckets. A slot is 8 bytes: 16 bits
// of the hash, the item's address, and 4 spare bits (3 of them an access-frequency counter). Inside a segment
// the same 16 bits choose the home bucket, and a full bucket spills into the next one (linear probing by
// bucket; deletion shifts back, so there are no tombstones and a bucket that is not full ends a search).
// A segment takes one more block when 94 % of its slots are taken, gives one back likewise, and splits into
// two, or merges with its buddy, at the ends of its range: the table's memory follows its content closely
// (9.2 … 9.8 bytes per item from 1,000 items on), and an empty table has no allocation. As all blocks have
// one size, that is also what the allocator keeps from the system, however tables grow and shrink together.
//
// Cost: an operation moves at most about 1,000 slots (a split: 477, each of whose keys is hashed again,
// 10 to 20 µs; a resize: 477, 2 to 4 µs). Beside that a split may double the directory and a merge may halve
// it: one sequential copy of 48 bytes per entry, one entry per 120 … 480 items (0.3 ms for 5 million items
// in one table, nothing worth a thought in a table of 5,000). These bounds rest on the hash being good, which
// the secret seed ensures. Keys of equal hash are still kept correctly: where splitting would not help or
// the directory would outgrow its content, a segment grows beyond 64 buckets instead.
//
// Owner: a VBucket (or its pre-image table). Not thread-safe: every call under the vbucket's lock.
// Holds one reference to each item. Keys are unique. Deleted and ejected items are entries like others;
// markers are not allowed.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/item.h"
#include "base/key.h"
#include "hashtable/segment.h"

namespace cairn::hashtable {

/// A key with its hash, computed once per operation. The hash must be what the table's hash function says
/// (base/key.h KeyHash with the engine's seed): the table computes it again when it splits.
struct HashedKey {
  std::string_view key;
  uint64_t hash = 0;
};

struct TableStats {
  size_t items = 0;          // entries of any kind
  size_t value_items = 0;    // resident values
  size_t ejected_items = 0;  // value on disk
  size_t deleted_items = 0;  // tombstones
  size_t item_bytes = 0;     // Σ Item::resident_bytes of the entries
  size_t table_bytes = 0;    // directory and segments as the allocator takes them
  uint64_t digest = 0;       // Σ Item::digest() mod 2^64 of the entries
  size_t segments = 0;
  size_t slots = 0;          // capacity
  uint64_t slots_moved = 0;  // work of resizing, splitting, merging and closing gaps, since the beginning
};

/// Position of a paused visit; a default-made one stands at the beginning. Survives any change of the
/// table between two calls.
struct VisitCursor {
  uint64_t next_hash = 0;  // everything with a smaller hash has been visited
  bool done = false;
};

class HashTable {
 public:
  /// Hash of a key under a seed. Other than KeyHash only in tests, to make keys collide.
  using HashFunction = uint64_t (*)(std::string_view key, uint64_t seed);

  explicit HashTable(uint64_t hash_seed, HashFunction hash_function = &KeyHash);
  /// Drops all references at once; TakeSome empties a large table in steps.
  ~HashTable();
  HashTable(const HashTable&) = delete;
  HashTable& operator=(const HashTable&) = delete;

  /// The item of `key`, or null. Borrowed: valid until the lock is released; Share() to keep it.
  Item* Find(const HashedKey& key) const;

  /// Find and Touch in one search; what a GET does.
  Item* FindAndTouch(const HashedKey& key, uint32_t random);

  /// Puts `item` in place of the item with the same key, or adds it. Returns the one replaced, or null.
  /// Updates digest and counts. A replaced entry's access frequency is kept, a new one starts at 1.
  ItemRef Put(const HashedKey& key, ItemRef item);

  /// Like Put, when the caller has just found `old` under the same lock with Find (saves comparing keys).
  ItemRef Replace(const HashedKey& key, Item* old, ItemRef item);

  /// Replaces `old` by its ejected (or fetched) form: same key, metadata and digest, which are not
  /// computed again. False when the table does not hold `old` any more.
  bool SwapForm(const HashedKey& key, Item* old, ItemRef form);

  /// Removes and returns the entry, or null.
  ItemRef Erase(const HashedKey& key);

  /// Counts an access: raises the frequency f, 0 … 7, with a probability of 1 in 2^f (Morris, "Counting
  /// large numbers of events in small registers", 1978), so that 7 stands for about 127 accesses.
  void Touch(const HashedKey& key, uint32_t random);
  /// Of the entry, 0 when absent.
  int Frequency(const HashedKey& key) const;
  /// `frequency` 0 … 7. Does nothing when the key is absent.
  void SetFrequency(const HashedKey& key, int frequency);

  /// Hints for batches of keys: first call for all keys, then the second for all, then Find.
  void PrefetchBucket(uint64_t hash) const;
  void PrefetchItem(uint64_t hash) const;

  /// Visits whole segments until at least `items_min` items were visited or the end. Every item that is in
  /// the table during the whole visit is visited exactly once, whatever is added, removed, split or merged
  /// between calls. `visit(Item*)` must not change the table; collect and change afterwards.
  /// At most items_min + 512 calls (items_min ≥ 1). Returns false, and sets cursor.done, at the end.
  template <class VisitItem>
  bool Visit(VisitCursor& cursor, size_t items_min, VisitItem&& visit) const;

  /// The same for a pass that ages the entries: `visit(Item*, int frequency)` returns the new frequency.
  template <class VisitItem>
  bool VisitFrequencies(VisitCursor& cursor, size_t items_min, VisitItem&& visit);

  /// Removes and returns up to `count_max` entries, any; to empty a table in bounded steps.
  std::vector<ItemRef> TakeSome(size_t count_max);

  /// Exchanges the content of two tables of the same hash seed and function. O(1).
  void Swap(HashTable& other);

  size_t size() const { return items_; }
  uint64_t digest() const { return digest_; }
  uint64_t hash_seed() const { return hash_seed_; }
  /// A few loads; cheap enough to take after each operation.
  TableStats stats() const;

 private:
  friend class HashTableInspector;  // tests: checks the structure from outside

  // The range of hashes that a segment serves.
  struct HashRange {
    const Segment* segment;
    uint64_t first;
    uint64_t last;
  };

  uint64_t HashOf(const Item* item) const { return hash_function_(item->key(), hash_seed_); }
  size_t EntryOf(uint64_t hash) const { return static_cast<size_t>((hash >> 1) >> (63 - depth_)); }
  // For a search. Half of the entries lie on two cache lines, and which address will be read depends on the
  // bucket count: both lines are asked for at once.
  const Segment& EntryAt(uint64_t hash) const {
    const Segment& entry = directory_[EntryOf(hash)];
    PrefetchAt(&entry, sizeof(Segment) - 1);
    return entry;
  }
  size_t Span(const Segment& segment) const { return size_t{1} << (depth_ - segment.depth); }
  size_t FirstEntryOf(uint64_t hash) const;
  HashRange RangeAt(uint64_t hash) const;

  Slot* FindSlot(const HashedKey& key) const;
  Slot* FindSlot(uint64_t hash, const Item* item) const;
  ItemRef ReplaceIn(Slot* slot, ItemRef item);
  void Account(const Item& item, bool add);
  void AccountForm(const Item& item, bool add);

  void Add(uint64_t hash, ItemRef item);
  void MakeRoom(uint64_t hash);
  void Resize(size_t first, uint32_t buckets);
  void Publish(size_t first);
  bool MaySplit(const Segment& segment) const;
  void Split(size_t first);
  uint32_t MarkUpperHalf(const Segment& segment);
  void Shrink(size_t first);
  bool MergeUp(size_t first);
  uint32_t Merge(size_t lower, size_t upper);
  void SetDirectory(Segment* directory, uint32_t depth);
  void DoubleDirectory();
  void HalveSparseDirectory();
  void HalveDirectory();
  void TakeFrom(size_t first, size_t count_max, std::vector<ItemRef>& taken);

  template <class VisitSlot>
  bool VisitSlots(VisitCursor& cursor, size_t items_min, VisitSlot&& visit) const;

  // One entry per value of the first depth_ bits of a hash. Entries of one segment are neighbours and equal
  // but for `count`, which only the first of them knows. With depth 0 it is own_entry_, not allocated.
  Segment* directory_ = &own_entry_;
  uint32_t depth_ = 0;
  uint32_t deepest_segments_ = 1;  // those whose depth is depth_; none left: the directory can be halved
  const uint64_t hash_seed_;
  const HashFunction hash_function_;
  size_t items_ = 0;
  size_t ejected_items_ = 0;
  size_t deleted_items_ = 0;
  size_t item_bytes_ = 0;
  uint64_t digest_ = 0;
  size_t segments_ = 0;
  size_t buckets_ = 0;
  uint64_t slots_moved_ = 0;
  Segment own_entry_;
};

template <class VisitSlot>
bool HashTable::VisitSlots(VisitCursor& cursor, size_t items_min, VisitSlot&& visit) const {
  size_t visited = 0;
  while (!cursor.done && visited < items_min) {
    const HashRange range = RangeAt(cursor.next_hash);
    // Of a segment that has been merged since, the part below the cursor is done already.
    const bool partly_done = range.first < cursor.next_hash;
    range.segment->ForEachItem([&](Slot& slot) {
      if (partly_done && HashOf(ItemOf(slot)) < cursor.next_hash) return;
      visit(slot);
      ++visited;
    });
    cursor.done = range.last == ~uint64_t{0};
    cursor.next_hash = cursor.done ? range.last : range.last + 1;
  }
  return !cursor.done;
}

template <class VisitItem>
bool HashTable::Visit(VisitCursor& cursor, size_t items_min, VisitItem&& visit) const {
  return VisitSlots(cursor, items_min, [&](const Slot& slot) { visit(ItemOf(slot)); });
}

template <class VisitItem>
bool HashTable::VisitFrequencies(VisitCursor& cursor, size_t items_min, VisitItem&& visit) {
  return VisitSlots(cursor, items_min, [&](Slot& slot) {
    const int frequency = visit(ItemOf(slot), FrequencyOf(slot));
    CAIRN_DCHECK(frequency >= 0 && frequency <= kFrequencyMax);
    slot = WithFrequency(slot, frequency);
  });
}

}  // namespace cairn::hashtable
