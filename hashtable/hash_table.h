#pragma once
// HashTable: the items of one vbucket, by key.
//
// Shape: extendible hashing over *segments*. The top bits of the key's hash choose a directory entry, which
// names a segment: one allocation of 1 … 64 cache-line buckets of 8 slots. A slot is 8 bytes: 16 bits of the
// hash, the item's address, and 4 spare bits (3 of them an access-frequency counter). Inside a segment the
// same 16 bits choose the home bucket, and a full bucket spills into the next one (linear probing by
// bucket; deletion shifts back, so there are no tombstones and a bucket that is not full ends a search).
// A segment grows and shrinks by about an eighth at a time and splits into two, or merges with its buddy,
// at the ends of its range: no operation touches more than two segments (1,024 slots), and the table's
// memory follows its content closely (about 9.3 bytes per item).
//
// Owner: a VBucket (or its pre-image table). Not thread-safe: every call under the vbucket's lock.
// Holds one reference to each item. Keys are unique. Deleted and ejected items are entries like others.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/item.h"
#include "base/types.h"

namespace cairn::hashtable {

/// A key with its hash (base/key.h KeyHash with the engine's seed), computed once per operation.
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
};

/// Position of a paused visit; a default-made one stands at the beginning. Survives any change of the
/// table between two calls.
struct VisitCursor {
  uint64_t next_hash = 0;  // everything with a smaller hash has been visited
  bool done = false;
};

class HashTable {
 public:
  explicit HashTable(uint64_t hash_seed);
  ~HashTable();
  HashTable(const HashTable&) = delete;
  HashTable& operator=(const HashTable&) = delete;

  /// The item of `key`, or null. Borrowed: valid until the lock is released; Share() to keep it.
  Item* Find(const HashedKey& key) const;

  /// Puts `item` in place of the item with the same key, or adds it. Returns the one replaced, or null.
  /// Updates digest and counts. The access counter of a replaced entry is kept.
  ItemRef Put(const HashedKey& key, ItemRef item);

  /// Like Put, when the caller has just found `old` under the same lock with Find (saves comparing keys).
  ItemRef Replace(const HashedKey& key, Item* old, ItemRef item);

  /// Replaces `old` by its ejected (or fetched) form: same key, metadata and digest, which are not
  /// computed again. False when the table does not hold `old` any more.
  bool SwapForm(const HashedKey& key, Item* old, ItemRef form);

  /// Removes and returns the entry, or null.
  ItemRef Erase(const HashedKey& key);

  /// Access frequency, 0 … 7, kept in the slot and raised probabilistically: Touch with a random number.
  void Touch(const HashedKey& key, uint32_t random);
  /// Of the entry, 0 when absent. Decayed by eviction passes through SetFrequency.
  int Frequency(const HashedKey& key) const;
  void SetFrequency(const HashedKey& key, int frequency);

  /// Hints for batches of keys: first call for all keys, then the second for all, then Find.
  void PrefetchBucket(uint64_t hash) const;
  void PrefetchItem(uint64_t hash) const;

  /// Visits whole segments until at least `items_min` items were visited or the end. Every item that is in
  /// the table during the whole visit is visited exactly once, whatever is added, removed, split or merged
  /// between calls. `visit(Item*)` must not change the table; collect and change afterwards.
  /// At most items_min + 512 calls. Returns false, and sets cursor.done, at the end.
  template <class Visit>
  bool Visit(VisitCursor& cursor, size_t items_min, Visit&& visit) const;

  /// Removes and returns up to `count_max` entries, any; to empty a table in bounded steps.
  std::vector<ItemRef> TakeSome(size_t count_max);

  size_t size() const { return stats_.items; }
  uint64_t digest() const { return stats_.digest; }
  uint64_t hash_seed() const { return hash_seed_; }
  TableStats stats() const;

 private:
  // Filled in by the implementation.
  uint64_t hash_seed_;
  TableStats stats_;
};

}  // namespace cairn::hashtable
