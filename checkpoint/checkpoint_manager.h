#pragma once
// CheckpointManager: the ordered sequence of one vbucket's operations, cut into checkpoints.
//
// The last checkpoint is open, the others are closed. Every operation, markers included, takes the next
// seqno and the next slot of the open checkpoint, so that slot = seqno - checkpoint's first seqno, and a
// superseded version is found without an index: the caller passes the seqno of the item it replaces.
// Within one checkpoint only the newest operation on a key is kept; the older slot becomes a gap.
// What remains for a cursor is counted from the slots' live bitmap, never adjusted by hand.
//
// Checkpoints know neither vbucket nor table. Pure: no clock (time is passed in), no thread, no I/O.
// Owner: a VBucket; every call under its lock. Destruction of items never happens inside: what is dropped
// is handed back to the caller as a Trash, to be destroyed after the lock is released.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/item.h"
#include "base/status.h"
#include "base/types.h"

namespace cairn::checkpoint {

struct Limits {
  size_t items_max = 10'000;        // live entries that close an open checkpoint
  size_t bytes_max = 8u << 20;      // bytes of live items that close it
  int64_t age_max_ns = 5'000'000'000;  // age of a non-empty open checkpoint that closes it (Tick)
};

/// What a checkpoint is, for cursors, stats and streams.
struct CheckpointInfo {
  CheckpointId id;
  Seqno first;               // seqno of the first slot
  Seqno last;                // seqno of the last slot; first - 1 when empty
  bool open = true;
  size_t live_items = 0;     // entries not superseded, expelled ones included
  size_t bytes = 0;          // Σ resident bytes of entries still held
  uint64_t end_digest = 0;   // vbucket digest at the end, known once closed
};

using CursorId = uint32_t;

/// One operation as a cursor sees it.
struct Operation {
  ItemRef item;              // value, ejected, deleted or marker
  CheckpointId checkpoint;
};

/// A batch taken by a cursor: live operations in seqno order.
struct Batch {
  std::vector<Operation> operations;
  Seqno first;               // the batch covers the seqnos first … last, gaps included
  Seqno last;                // == first - 1 when nothing was there
  bool ends_checkpoint = false;  // `last` is the last seqno of a closed checkpoint
  CheckpointInfo checkpoint;     // of `last`
  size_t bytes = 0;
};

/// Memory given back; destroy it after the lock is released.
using Trash = std::vector<std::shared_ptr<void>>;

class CheckpointManager {
 public:
  /// The sequence goes on after `last_seqno`; the open checkpoint gets `open_id`.
  CheckpointManager(const Limits& limits, Seqno last_seqno, CheckpointId open_id, int64_t now_ns);
  ~CheckpointManager();
  CheckpointManager(const CheckpointManager&) = delete;
  CheckpointManager& operator=(const CheckpointManager&) = delete;

  // --- writing (active side) ---

  /// The seqno that the next Append will take.
  Seqno next_seqno() const;
  Seqno high_seqno() const;
  /// Raises the next seqno (never lowers it): a gap after an unclean restart or promotion. Only while the
  /// open checkpoint is empty; closes nothing.
  void SkipTo(Seqno next);

  /// Appends `item`, whose seqno is next_seqno(). `replaced` is the seqno of the version of the same key
  /// that it supersedes (Seqno(0): none); when that lies in the open checkpoint and is still held, its slot
  /// becomes a gap and its item goes to `trash`. O(1). `now_ns` starts the age of an empty checkpoint.
  void Append(ItemRef item, Seqno replaced, int64_t now_ns, Trash& trash);

  /// Closes the open checkpoint with the vbucket digest at its end and opens the next. An empty one is not
  /// closed; returns whether it was. O(1).
  bool CloseOpen(uint64_t digest, int64_t now_ns);
  /// Does a limit (items, bytes, age) ask for CloseOpen?
  bool ShouldClose(int64_t now_ns) const;

  // --- reading ---

  /// Registers a cursor that will see everything from `from` on that is still held. Fails with
  /// OUT_OF_RANGE when operations ≥ from have been dropped already (the caller reads them from disk), and
  /// INVALID_ARGUMENT when from > next_seqno().
  Result<CursorId> AddCursor(std::string name, Seqno from);
  /// Releases what only this cursor held.
  void RemoveCursor(CursorId cursor, Trash& trash);
  /// Up to `items_max` live operations and about `bytes_max` bytes (at least one operation), ending at the
  /// latest at a checkpoint's end, from the read position; moves the read position, releases nothing.
  Batch Read(CursorId cursor, size_t items_max, size_t bytes_max);
  /// Everything ≤ `through` has been dealt with for good; what no cursor needs goes to `trash`, also out of
  /// the open checkpoint.
  void Advance(CursorId cursor, Seqno through, Trash& trash);
  /// Puts the read position back to what Advance has confirmed (a write failed).
  void Rewind(CursorId cursor);
  /// Live operations from the read position to the end, exact. O(slots / 64).
  size_t Remaining(CursorId cursor) const;
  /// Confirmed position: everything ≤ it has been dealt with.
  Seqno Confirmed(CursorId cursor) const;
  Seqno ReadPosition(CursorId cursor) const;   // last seqno handed out

  // --- memory ---

  /// Bytes held by checkpoints (slots, and items that only checkpoints hold are counted in full).
  size_t memory_bytes() const;
  /// Drops the droppable cursor that stands furthest behind and returns its name (the stream goes back to
  /// disk). Cursors are droppable when AddDroppableCursor made them.
  Result<CursorId> AddDroppableCursor(std::string name, Seqno from);
  std::optional<std::string> DropSlowestCursor(Trash& trash);

  // --- looking ---
  CheckpointInfo open_checkpoint() const;
  CheckpointId last_closed_id() const;   // 0 when none was closed in this process
  std::vector<CheckpointInfo> checkpoints() const;
  struct CursorInfo {
    std::string name;
    Seqno read, confirmed;
    size_t remaining;
    bool droppable;
  };
  std::vector<CursorInfo> cursors() const;

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace cairn::checkpoint
