#pragma once
// Chunk: a run of slots of one checkpoint in one allocation (header, live bitmap, item pointers). A slot
// whose bit is set owns a reference to its item; any other slot's pointer is undefined, so that a new chunk
// need not be cleared. Offsets count from the chunk's first slot. Not thread-safe. Internal to checkpoint/.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/item.h"

namespace cairn::checkpoint {

class Chunk;
struct ChunkDeleter {
  /// Drops the references that are still held, then frees.
  void operator()(Chunk* chunk) const;
};
using ChunkPtr = std::unique_ptr<Chunk, ChunkDeleter>;

class Chunk {
 public:
  /// A chunk that takes exactly `bytes` of memory, 160 … 65,536.
  static ChunkPtr New(size_t bytes);
  /// Slots of a chunk of `bytes`.
  static constexpr uint32_t SlotsIn(size_t bytes);

  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  uint32_t capacity() const { return capacity_; }
  /// 1 + the highest offset that was ever filled; 0 when none was.
  uint32_t used() const { return used_; }
  /// Slots that hold an item.
  uint32_t live() const { return live_; }
  /// Σ allocated_bytes of the items held.
  size_t item_bytes() const { return item_bytes_; }
  size_t memory_bytes() const;

  /// Fills the slot `offset`, ≥ used() and < capacity(), with a reference that the chunk takes over.
  /// `bytes` is the item's allocated_bytes().
  void Put(uint32_t offset, ItemRef item, size_t bytes) {
    bits()[offset / 64] |= uint64_t{1} << (offset % 64);
    slots()[offset] = item.Release();
    used_ = offset + 1;
    ++live_;
    item_bytes_ += bytes;
  }

  bool Holds(uint32_t offset) const {
    return offset < used_ && (bits()[offset / 64] >> (offset % 64) & 1) != 0;
  }

  /// The item of a slot that Holds(), borrowed.
  Item* at(uint32_t offset) const { return slots()[offset]; }

  /// Empties a slot that Holds().
  ItemRef Take(uint32_t offset) {
    bits()[offset / 64] &= ~(uint64_t{1} << (offset % 64));
    --live_;
    ItemRef item = ItemRef::Adopt(slots()[offset]);
    item_bytes_ -= item->allocated_bytes();
    return item;
  }

  /// The lowest offset ≥ `from` that holds an item; used() when there is none.
  uint32_t NextLive(uint32_t from) const;
  /// How many slots at offsets ≥ `from` hold an item. O(capacity / 64).
  uint32_t CountFrom(uint32_t from) const;

 private:
  friend struct ChunkDeleter;

  static constexpr size_t kSlotBytes = sizeof(void*);

  explicit Chunk(uint32_t capacity);
  static constexpr uint32_t WordsFor(uint32_t capacity) { return (capacity + 63) / 64; }
  uint64_t* bits() { return reinterpret_cast<uint64_t*>(this + 1); }
  const uint64_t* bits() const { return reinterpret_cast<const uint64_t*>(this + 1); }
  Item** slots() { return reinterpret_cast<Item**>(bits() + words_); }
  Item* const* slots() const { return reinterpret_cast<Item* const*>(bits() + words_); }

  uint32_t capacity_;
  uint32_t used_ = 0;
  uint32_t live_ = 0;
  uint32_t words_;
  size_t item_bytes_ = 0;
};
static_assert(sizeof(Chunk) % alignof(uint64_t) == 0, "bitmap and slots follow the header directly");

constexpr uint32_t Chunk::SlotsIn(size_t bytes) {
  // One slot costs 8 bytes and a bit; start a little low and take what still fits.
  const size_t room = bytes - sizeof(Chunk);
  uint32_t slots = static_cast<uint32_t>(room * 8 / 65) - 8;
  while (size_t{slots + 1} * kSlotBytes + WordsFor(slots + 1) * sizeof(uint64_t) <= room) ++slots;
  return slots;
}

}  // namespace cairn::checkpoint
