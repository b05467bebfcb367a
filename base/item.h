#pragma once
// Item: one version of one key, in one allocation (32-byte header, key, value). Once published under a
// vbucket's lock it is immutable but for its reference count, so the hash table, checkpoints, answers in
// flight, pre-images of an online update and streams all share it and nothing copies values.
//
// Kinds: a value; an *ejected* item (key and metadata, the value is on disk, its 8-byte digest stands in
// its place); a *deleted* item (a tombstone, no value); a *marker* (an operation without a key, see
// proto/disk_record.h for its payload, which is the item's value).
//
// Ownership: ItemRef holds one reference; the last one frees. Any thread may copy or drop an ItemRef.
// Seqno and CAS are assigned by the one owner before the item is published.

#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/types.h"

namespace cairn {

enum class ItemKind : uint8_t { kValue = 0, kEjected = 1, kDeleted = 2, kMarker = 3 };

/// Client-visible metadata of a new item.
struct ItemMeta {
  uint32_t flags = 0;
  uint32_t expiry = 0;  // seconds since the Unix epoch, 0 = never
  Cas cas{};
  Seqno seqno{};
};

class Item;

/// Owning, intrusively counted pointer. Copying costs one atomic add.
class ItemRef {
 public:
  ItemRef() = default;
  ItemRef(std::nullptr_t) {}  // NOLINT(google-explicit-constructor)
  /// Takes over a reference that the caller owns.
  static ItemRef Adopt(Item* item) {
    ItemRef ref;
    ref.item_ = item;
    return ref;
  }
  /// Adds a reference.
  static ItemRef Share(Item* item);
  ItemRef(const ItemRef& other);
  ItemRef(ItemRef&& other) noexcept : item_(std::exchange(other.item_, nullptr)) {}
  ItemRef& operator=(const ItemRef& other) {
    ItemRef copy(other);
    std::swap(item_, copy.item_);
    return *this;
  }
  ItemRef& operator=(ItemRef&& other) noexcept {
    ItemRef moved(std::move(other));
    std::swap(item_, moved.item_);
    return *this;
  }
  ~ItemRef();

  Item* get() const { return item_; }
  Item* operator->() const { return item_; }
  Item& operator*() const { return *item_; }
  explicit operator bool() const { return item_ != nullptr; }
  /// Gives the reference to the caller.
  Item* Release() { return std::exchange(item_, nullptr); }
  void Reset() { ItemRef().Swap(*this); }
  void Swap(ItemRef& other) { std::swap(item_, other.item_); }

 private:
  Item* item_ = nullptr;
};

class Item {
 public:
  /// A value. key ≤ kKeySizeMax, value ≤ kValueSizeMax (checked: callers have refused larger ones).
  static ItemRef NewValue(std::string_view key, std::string_view value, const ItemMeta& meta);
  /// A value whose bytes the caller writes through mutable_value() before publishing.
  static ItemRef NewUninitialized(std::string_view key, size_t value_size, const ItemMeta& meta);
  /// Key and metadata of an item whose value is on disk.
  static ItemRef NewEjected(std::string_view key, size_t value_size, uint64_t value_digest,
                            const ItemMeta& meta);
  static ItemRef NewDeleted(std::string_view key, bool expired, const ItemMeta& meta);
  static ItemRef NewMarker(std::string_view payload, Seqno seqno);
  /// The ejected form of a value item (same metadata); of anything else, itself.
  static ItemRef Eject(Item* item);

  Item(const Item&) = delete;
  Item& operator=(const Item&) = delete;

  ItemKind kind() const { return static_cast<ItemKind>(state_ & kKindMask); }
  bool is_value() const { return kind() == ItemKind::kValue; }
  bool is_ejected() const { return kind() == ItemKind::kEjected; }
  bool is_deleted() const { return kind() == ItemKind::kDeleted; }
  bool is_marker() const { return kind() == ItemKind::kMarker; }
  /// Of a deleted item: its time ran out, nobody deleted it.
  bool deleted_by_expiry() const { return (state_ & kExpiredBit) != 0; }

  std::string_view key() const { return {data(), key_size_}; }
  /// The value's bytes; empty unless the item is a value or a marker.
  std::string_view value() const {
    return is_value() || is_marker() ? std::string_view(data() + key_size_, value_size_) : std::string_view();
  }
  /// Logical size of the value in bytes, also while it is ejected.
  uint32_t value_size() const { return value_size_; }
  uint32_t flags() const { return flags_; }
  uint32_t expiry() const { return expiry_; }
  Cas cas() const { return Cas(cas_); }
  Seqno seqno() const { return Seqno(seqno_); }
  ItemMeta meta() const { return {flags_, expiry_, cas(), seqno()}; }
  bool expired_at(uint32_t unix_seconds) const { return expiry_ != 0 && expiry_ <= unix_seconds; }

  /// Only before publication, by the one owner.
  char* mutable_value() { return data() + key_size_; }
  void set_cas(Cas cas) { cas_ = cas.get(); }
  void set_seqno(Seqno seqno) {
    CAIRN_DCHECK(seqno.get() <= kSeqnoMax);
    seqno_ = seqno.get() & kSeqnoMax;
  }
  void set_expiry(uint32_t unix_seconds) { expiry_ = unix_seconds; }

  /// Digest of the value's bytes (xxh3-64), also known while it is ejected; 0 for deleted items.
  uint64_t value_digest() const;
  /// This item's part of the vbucket digest: xxh3-64 over key, value digest, flags, expiry, CAS and
  /// seqno. 0 for deleted items and markers, which take no part.
  uint64_t digest() const;

  /// Bytes of the allocation as asked for.
  size_t allocated_bytes() const;
  /// Bytes that the allocator really takes: the jemalloc size class of allocated_bytes().
  size_t resident_bytes() const;

  void AddRef() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void DropRef() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) Free();
  }
  /// Approximate; for asserts and memory decisions.
  uint32_t ref_count() const { return refs_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint64_t kKindMask = 3;
  static constexpr uint64_t kExpiredBit = 4;

  Item(std::string_view key, size_t value_size, uint64_t state, const ItemMeta& meta);
  static Item* Allocate(std::string_view key, size_t value_size, size_t stored_bytes, uint64_t state,
                        const ItemMeta& meta);
  void Free();
  size_t stored_value_bytes() const;
  char* data() { return reinterpret_cast<char*>(this + 1); }
  const char* data() const { return reinterpret_cast<const char*>(this + 1); }

  std::atomic<uint32_t> refs_{1};
  uint32_t value_size_;
  uint64_t cas_;
  uint64_t seqno_ : 48;
  uint64_t key_size_ : 8;
  uint64_t state_ : 8;
  uint32_t flags_;
  uint32_t expiry_;
};
static_assert(sizeof(Item) == 32, "the memory targets rest on a 32-byte header");

inline ItemRef ItemRef::Share(Item* item) {
  item->AddRef();
  return Adopt(item);
}
inline ItemRef::ItemRef(const ItemRef& other) : item_(other.item_) {
  if (item_ != nullptr) item_->AddRef();
}
inline ItemRef::~ItemRef() {
  if (item_ != nullptr) item_->DropRef();
}

}  // namespace cairn
