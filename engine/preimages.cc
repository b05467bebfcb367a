#include "engine/preimages.h"

#include <utility>

namespace cairn::engine {
namespace {

// Absent and unknown entries are deleted items; the flags field, which they do not otherwise use, tells them
// apart.
constexpr uint32_t kAbsentFlag = 0;
constexpr uint32_t kUnknownFlag = 1;

Preimages::Kind KindOf(const Item* item) {
  if (item == nullptr) return Preimages::Kind::kNone;
  if (!item->is_deleted()) return Preimages::Kind::kItem;
  return item->flags() == kUnknownFlag ? Preimages::Kind::kUnknown : Preimages::Kind::kAbsent;
}

}  // namespace

Preimages::Kind Preimages::Find(const hashtable::HashedKey& key) const { return KindOf(table_.Find(key)); }

Item* Preimages::FindItem(const hashtable::HashedKey& key) const {
  Item* item = table_.Find(key);
  return KindOf(item) == Kind::kItem ? item : nullptr;
}

void Preimages::RecordAbsent(const hashtable::HashedKey& key) {
  table_.Put(key, Item::NewDeleted(key.key, false, ItemMeta{kAbsentFlag, 0, Cas(), Seqno()}));
}

void Preimages::RecordUnknown(const hashtable::HashedKey& key) {
  table_.Put(key, Item::NewDeleted(key.key, false, ItemMeta{kUnknownFlag, 0, Cas(), Seqno()}));
}

Preimages::Entry Preimages::ToEntry(ItemRef item) {
  const Kind kind = KindOf(item.get());
  return {kind, std::move(item)};
}

Preimages::Entry Preimages::Take(const hashtable::HashedKey& key) { return ToEntry(table_.Erase(key)); }

std::vector<Preimages::Entry> Preimages::TakeSome(size_t count_max) {
  std::vector<Entry> entries;
  for (ItemRef& item : table_.TakeSome(count_max)) entries.push_back(ToEntry(std::move(item)));
  return entries;
}

size_t Preimages::memory_bytes() const {
  const hashtable::TableStats stats = table_.stats();
  return stats.item_bytes + stats.table_bytes;
}

}  // namespace cairn::engine
