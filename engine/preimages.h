#pragma once
// Preimages: what the keys touched in an online update's window were at START, one entry per key.
//
// An entry is the item itself (shared; or its ejected form when memory is short), or the knowledge that the
// key did not exist, or - only while the vbucket is still warming up after a restart - that the answer lies
// in data on disk. Owner: a VBucket, for the time of the window and of its undoing. Under its lock.

#include <cstddef>
#include <vector>

#include "base/item.h"
#include "hashtable/hash_table.h"

namespace cairn::engine {

class Preimages {
 public:
  enum class Kind : uint8_t { kNone, kAbsent, kUnknown, kItem };
  struct Entry {
    Kind kind = Kind::kNone;
    ItemRef item;  // kItem: the pre-image; kAbsent, kUnknown: carries the key only
  };

  explicit Preimages(uint64_t hash_seed) : table_(hash_seed) {}

  /// Kind of the entry of `key`; kNone when the key was not touched.
  Kind Find(const hashtable::HashedKey& key) const;
  /// The entry's item for kItem (borrowed), else null.
  Item* FindItem(const hashtable::HashedKey& key) const;
  void RecordItem(const hashtable::HashedKey& key, ItemRef item) { table_.Put(key, std::move(item)); }
  void RecordAbsent(const hashtable::HashedKey& key);
  void RecordUnknown(const hashtable::HashedKey& key);
  /// Removes and returns the entry of `key`.
  Entry Take(const hashtable::HashedKey& key);
  /// Removes and returns up to `count_max` entries, any.
  std::vector<Entry> TakeSome(size_t count_max);

  size_t size() const { return table_.size(); }
  size_t memory_bytes() const;
  hashtable::HashTable& table() { return table_; }

 private:
  static Entry ToEntry(ItemRef item);
  hashtable::HashTable table_;
};

}  // namespace cairn::engine
