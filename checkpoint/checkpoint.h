#pragma once
// Checkpoint: one contiguous run of a vbucket's sequence. Internal to checkpoint/; CheckpointManager owns
// all of a vbucket's checkpoints and hands out copies of the facts only.
//
// Slots: seqno - (base seqno of its chunk) is the offset in the chunk, and a chunk's base is the seqno of
// the first operation that was put into it. On an active the chunks lie end to end. A replica's sequence
// has gaps (versions that its active superseded before they were sent): an operation beyond the last chunk
// starts a new chunk at its own seqno, a small one, so a gap of any width costs at most 176 bytes, and a
// chunk is found by bisection where the arithmetic guess fails.
//
// Chunks grow (kChunkBytes) with the number that is held: an open checkpoint with few entries stays cheap
// on each of 65,536 vbuckets, a busy one pays 8.2 bytes per slot. They come and go by themselves:
//  - a full chunk whose slots have all been superseded is given up at once (a *hollow* entry remains), so a
//    small set of hot keys does not hold the memory of its history;
//  - a chunk whose operations are all confirmed is given up whole; when a cursor has confirmed part of the
//    last chunk, the chunk is sealed: the next operation starts a new one, so what is confirmed never waits
//    for the chunk to fill up, and everything confirmed means nothing held.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/item.h"
#include "base/types.h"
#include "checkpoint/checkpoint_manager.h"
#include "checkpoint/chunk.h"
#include "checkpoint/fifo.h"
#include "checkpoint/trash.h"

namespace cairn::checkpoint {

class Checkpoint {
 public:
  /// An open checkpoint without operations. `live_before` is the number of live operations in all earlier
  /// checkpoints since the manager was made.
  Checkpoint(CheckpointId id, Seqno first, uint64_t live_before, int64_t opened_ns)
      : id_(id), first_(first), last_(first - 1), live_before_(live_before), opened_ns_(opened_ns) {}
  Checkpoint(Checkpoint&&) = default;
  Checkpoint& operator=(Checkpoint&&) = default;

  CheckpointId id() const { return id_; }
  Seqno first() const { return first_; }
  Seqno last() const { return last_; }
  bool open() const { return open_; }
  bool empty() const { return last_ < first_; }
  int64_t first_append_ns() const { return first_append_ns_; }
  uint64_t live_items() const { return live_items_; }
  /// Live operations up to this checkpoint's end since the manager was made. Never changes once closed.
  uint64_t live_through() const { return live_before_ + live_items_; }
  /// Bytes of what was not superseded, whether still held or not, and of the slots held.
  size_t logical_bytes() const { return item_bytes_ + released_item_bytes_ + slot_bytes_; }
  /// Bytes held: slots and items.
  size_t memory_bytes() const { return item_bytes_ + slot_bytes_; }
  CheckpointInfo info() const;

  /// Only while empty: another identity, or another beginning.
  void Renumber(CheckpointId id) { id_ = id; }
  void SetFirst(Seqno first) {
    first_ = first;
    last_ = first - 1;
  }

  /// Puts `item` into the slot of its seqno, which is above last().
  void Append(ItemRef item, int64_t now_ns, Trash& trash) {
    const Seqno seqno = item->seqno();
    if (tail_ == nullptr || seqno - tail_base_ >= tail_->capacity()) AddTail(seqno, trash);
    if (empty()) first_append_ns_ = now_ns;
    if (item->is_marker()) last_marker_ = seqno;
    const size_t bytes = item->allocated_bytes();
    tail_->Put(static_cast<uint32_t>(seqno - tail_base_), std::move(item), bytes);
    item_bytes_ += bytes;
    ++live_items_;
    last_ = seqno;
  }

  /// Makes the slot of `replaced` a gap when it is still held and no marker stands behind it. An older
  /// version that may not go (it lies in an earlier checkpoint, before a marker, or has been released
  /// already) just stays what it is: the newer one is one more operation.
  void Supersede(Seqno replaced, Trash& trash) {
    if (replaced < first_ || replaced <= last_marker_ || replaced > last_) return;
    SupersedeHeld(replaced, trash);
  }

  void Close(std::optional<uint64_t> digest);

  /// Releases the chunks whose operations are all ≤ `through`. Returns the last seqno that was released,
  /// Seqno(0) when none.
  Seqno Release(Seqno through, Trash& trash);
  /// Releases everything, O(1).
  void ReleaseAll(Trash& trash);

  /// Appends the live operations after `after` to the batch, within its limits (at least one operation),
  /// and sets its `last`, which is last() when nothing live remains.
  void Read(Seqno after, size_t items_max, size_t bytes_max, Batch& batch) const;
  /// Live operations after `after`, which must not have been released. O(slots / 64).
  uint64_t CountAfter(Seqno after) const;

 private:
  struct Entry {
    Seqno base;
    ChunkPtr chunk;  // null: hollow
    Seqno last() const { return base + (chunk->used() - 1); }
  };
  friend struct Trash::Rest;

  // Size classes of jemalloc, so that nothing is lost to rounding: 16 slots in the first, 501 in the last.
  static constexpr std::array<size_t, 6> kChunkBytes = {160, 320, 640, 1280, 2560, 4096};
  static constexpr uint32_t kFullChunkSlots = Chunk::SlotsIn(kChunkBytes.back());

  void AddTail(Seqno base, Trash& trash);
  void SealTail(Trash& trash);
  void SupersedeHeld(Seqno replaced, Trash& trash);
  void GiveUp(ChunkPtr chunk, Trash& trash);
  /// The entry that covers `seqno`: the last whose base is not above it; chunks_.size() when none.
  size_t EntryOf(Seqno seqno) const;

  CheckpointId id_;
  Seqno first_;
  Seqno last_;
  bool open_ = true;
  Seqno last_marker_;
  uint64_t live_before_;
  uint64_t live_items_ = 0;
  size_t item_bytes_ = 0;
  size_t released_item_bytes_ = 0;
  size_t slot_bytes_ = 0;
  std::optional<uint64_t> end_digest_;
  int64_t opened_ns_;
  int64_t first_append_ns_ = 0;
  Fifo<Entry> chunks_;
  Chunk* tail_ = nullptr;  // the chunk that takes the next operation; null: a new one is made
  Seqno tail_base_;
};

struct Trash::Rest {
  std::vector<ItemRef> items;
  std::vector<ChunkPtr> chunks;
  std::vector<Fifo<Checkpoint::Entry>> lists;
};

}  // namespace cairn::checkpoint
