#include "base/item.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace cairn {

Item::Item(std::string_view key, size_t value_size, uint64_t state, const ItemMeta& meta)
    : value_size_(static_cast<uint32_t>(value_size)),
      cas_(meta.cas.get()),
      seqno_(meta.seqno.get() & kSeqnoMax),
      key_size_(key.size() & 0xff),
      state_(state & 0xff),
      flags_(meta.flags),
      expiry_(meta.expiry) {
  if (!key.empty()) std::memcpy(data(), key.data(), key.size());
}

Item* Item::Allocate(std::string_view key, size_t value_size, size_t stored_bytes, uint64_t state,
                     const ItemMeta& meta) {
  CAIRN_CHECK(key.size() <= kKeySizeMax && value_size <= kValueSizeMax);
  void* memory = std::malloc(sizeof(Item) + key.size() + stored_bytes);
  CAIRN_CHECK(memory != nullptr);
  return new (memory) Item(key, value_size, state, meta);
}

ItemRef Item::NewUninitialized(std::string_view key, size_t value_size, const ItemMeta& meta) {
  return ItemRef::Adopt(Allocate(key, value_size, value_size, static_cast<uint64_t>(ItemKind::kValue), meta));
}

ItemRef Item::NewValue(std::string_view key, std::string_view value, const ItemMeta& meta) {
  ItemRef item = NewUninitialized(key, value.size(), meta);
  if (!value.empty()) std::memcpy(item->mutable_value(), value.data(), value.size());
  return item;
}

ItemRef Item::NewEjected(std::string_view key, size_t value_size, uint64_t value_digest,
                         const ItemMeta& meta) {
  Item* item =
      Allocate(key, value_size, sizeof(value_digest), static_cast<uint64_t>(ItemKind::kEjected), meta);
  std::memcpy(item->data() + item->key_size_, &value_digest, sizeof(value_digest));
  return ItemRef::Adopt(item);
}

ItemRef Item::NewDeleted(std::string_view key, bool expired, const ItemMeta& meta) {
  const uint64_t state = static_cast<uint64_t>(ItemKind::kDeleted) | (expired ? kExpiredBit : 0);
  return ItemRef::Adopt(Allocate(key, 0, 0, state, meta));
}

ItemRef Item::NewMarker(std::string_view payload, Seqno seqno) {
  Item* item = Allocate({}, payload.size(), payload.size(), static_cast<uint64_t>(ItemKind::kMarker),
                        ItemMeta{0, 0, Cas(), seqno});
  std::memcpy(item->data(), payload.data(), payload.size());
  return ItemRef::Adopt(item);
}

ItemRef Item::Eject(Item* item) {
  if (!item->is_value()) return ItemRef::Share(item);
  return NewEjected(item->key(), item->value_size(), item->value_digest(), item->meta());
}

uint64_t Item::value_digest() const {
  if (is_ejected()) {
    uint64_t digest = 0;
    std::memcpy(&digest, data() + key_size_, sizeof(digest));
    return digest;
  }
  return is_value() ? XXH3_64bits(data() + key_size_, value_size_) : 0;
}

uint64_t Item::digest() const {
  if (is_deleted() || is_marker()) return 0;
  // One flat record, so that every field is covered and two fields never trade places.
  struct {
    uint64_t key, value, cas, seqno;
    uint32_t flags, expiry;
  } parts{XXH3_64bits(data(), key_size_), value_digest(), cas_, seqno_, flags_, expiry_};
  return XXH3_64bits(&parts, sizeof(parts));
}

size_t Item::stored_value_bytes() const { return is_ejected() ? sizeof(uint64_t) : value_size_; }

size_t Item::allocated_bytes() const { return sizeof(Item) + key_size_ + stored_value_bytes(); }

size_t Item::resident_bytes() const {
  // What malloc_usable_size answers with jemalloc, but without its look-up, which costs about as much as
  // finding the item: four classes per doubling, at least 16 bytes apart (jemalloc(3), "Implementation
  // notes"). Under another allocator it is an estimate, equal for equal items all the same.
  const size_t bytes = allocated_bytes();
  const size_t step = std::max(std::bit_ceil(bytes) / 8, size_t{16});
  return (bytes + step - 1) & ~(step - 1);
}

void Item::Free() {
  this->~Item();
  std::free(this);
}

}  // namespace cairn
