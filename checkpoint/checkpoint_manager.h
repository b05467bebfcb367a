#pragma once
// CheckpointManager: the ordered sequence of one vbucket's operations, cut into checkpoints.
//
// The last checkpoint is open, the others are closed. Every operation, markers included, takes the next
// seqno and with it a slot of the open checkpoint, so that a superseded version is found without an index:
// the caller passes the seqno of the item it replaces. Within one checkpoint only the newest operation on a
// key is kept, and the older slot becomes a gap, unless a marker stands between the two: what a marker cuts
// off is never rewritten.
//
// A cursor is two positions (read, confirmed), each a checkpoint and a seqno. What remains for it is
// counted from the slots' live bitmaps and per-checkpoint counts, never adjusted by hand. A cursor passes
// *every* checkpoint's end, in a batch with `ends_checkpoint`, even when it had read all operations before
// the checkpoint was closed; such a batch has no operations.
//
// Memory: what every cursor has confirmed is released, also out of the open checkpoint, in whole chunks of
// at most 501 slots; with everything confirmed nothing is held. While there is no cursor nothing is released.
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
#include "checkpoint/trash.h"

namespace cairn::checkpoint {

struct Limits {
  size_t items_max = 10'000;           // live entries that close an open checkpoint
  size_t bytes_max = 8u << 20;         // bytes of live items and of slots that close it
  int64_t age_max_ns = 5'000'000'000;  // age of the first entry that closes it
};

/// What a checkpoint is, for cursors, stats and streams.
struct CheckpointInfo {
  CheckpointId id;
  Seqno first;  // seqno of the first slot
  Seqno last;   // seqno of the last slot; first - 1 when empty
  bool open = true;
  size_t live_items = 0;      // entries not superseded, released ones included
  size_t bytes = 0;           // Σ allocated bytes of entries still held
  uint64_t end_digest = 0;    // vbucket digest at the end …
  bool digest_known = false;  // … once closed, unless whoever closed it did not know it
  int64_t opened_ns = 0;      // when it was opened; its age counts from the first entry
};

/// Never used twice by one manager.
using CursorId = uint32_t;

/// One operation as a cursor sees it.
struct Operation {
  ItemRef item;  // value, ejected, deleted or marker
  CheckpointId checkpoint;
};

/// A batch taken by a cursor: live operations in seqno order, all of one checkpoint. The batches of a cursor
/// lie end to end: each begins at the seqno after the one before ended.
struct Batch {
  std::vector<Operation> operations;
  Seqno first;                   // the batch covers the seqnos first … last, gaps included
  Seqno last;                    // == first - 1 when it covers none
  bool ends_checkpoint = false;  // `last` is the last seqno of the closed checkpoint `checkpoint`
  CheckpointInfo checkpoint;     // that the batch was read from
  size_t bytes = 0;              // Σ allocated bytes of the operations' items

  /// Nothing was there: neither an operation, nor a gap, nor a checkpoint's end.
  bool nothing() const { return last < first && !ends_checkpoint; }
};

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
  /// The seqno of the last operation, which is next_seqno() - 1 but for a gap that SkipTo has just made.
  Seqno high_seqno() const;
  /// Raises the next seqno (never lowers it): a gap after an unclean restart or promotion. Only while the
  /// open checkpoint is empty (asserted); closes nothing.
  void SkipTo(Seqno next);

  /// Appends `item`, whose seqno is next_seqno() (asserted). `replaced` is the seqno of the version of the
  /// same key that it supersedes (Seqno(0): none); when that lies in the open checkpoint behind its last
  /// marker and is still held, its slot becomes a gap and its item goes to `trash`. When it has been
  /// released already (every cursor has dealt with it), the new version is just one more operation. O(1).
  /// `now_ns` starts the age of an empty checkpoint.
  void Append(ItemRef item, Seqno replaced, int64_t now_ns, Trash& trash);

  /// Closes the open checkpoint with the vbucket digest at its end (none: not known) and opens the next. An
  /// empty one is not closed; returns whether it was. O(1). Cursors then have at least the checkpoint's end
  /// to read.
  bool CloseOpen(std::optional<uint64_t> digest, int64_t now_ns);
  /// Does a limit (items, bytes, age) ask for CloseOpen? Never while the open checkpoint is empty.
  bool ShouldClose(int64_t now_ns) const;

  // --- writing (replica side): seqnos and ids are the active's ---

  /// Append with the seqno that `item` carries, at least next_seqno(); what lies between are versions that
  /// the active has superseded. A gap of any width costs at most 176 bytes. OUT_OF_RANGE when the seqno goes
  /// back.
  Status AppendAt(ItemRef item, Seqno replaced, int64_t now_ns, Trash& trash);
  /// Closes the open checkpoint with `digest` and opens `id`; ids may be skipped. An empty open checkpoint
  /// is not closed but takes the id. Success without effect when `id` is open already, INVALID_ARGUMENT when
  /// it is older than that. O(1).
  Status OpenNext(CheckpointId id, std::optional<uint64_t> digest, int64_t now_ns);

  // --- reading ---
  // A cursor that does not exist (any more) is a programmer error but in HasCursor and RemoveCursor: whoever
  // owns a droppable cursor asks HasCursor first.

  /// Registers a cursor that will see everything from `from` on. Fails with OUT_OF_RANGE when operations
  /// ≥ from have been released already (the caller reads them from disk), INVALID_ARGUMENT when
  /// from > next_seqno(), and EXISTS when a cursor has that name.
  Result<CursorId> AddCursor(std::string name, Seqno from);
  /// The same for a cursor that DropSlowestCursor may take away.
  Result<CursorId> AddDroppableCursor(std::string name, Seqno from);
  bool HasCursor(CursorId cursor) const;
  /// Releases what only this cursor held. Success without effect when it is gone already.
  void RemoveCursor(CursorId cursor, Trash& trash);
  /// Up to `items_max` live operations and about `bytes_max` bytes (at least one operation), ending at the
  /// latest at a checkpoint's end, from the read position; moves the read position, releases nothing.
  Batch Read(CursorId cursor, size_t items_max, size_t bytes_max);
  /// Would Read give anything, be it only a checkpoint's end? O(1).
  bool HasMore(CursorId cursor) const;
  /// Everything ≤ `through` has been dealt with for good, with the checkpoints' ends that were read up to
  /// there; what no cursor needs goes to `trash`, also out of the open checkpoint. Lower than before: no
  /// effect. Beyond the read position (the caller knows it from elsewhere): reading goes on there. At most
  /// next_seqno() - 1. O(what is released / 501).
  void Advance(CursorId cursor, Seqno through, Trash& trash);
  /// Puts the read position back to what Advance has confirmed (a write failed).
  void Rewind(CursorId cursor);
  /// Live operations from the read position to the end, exact. O(slots of one checkpoint / 64).
  size_t Remaining(CursorId cursor) const;
  /// Confirmed position: everything ≤ it has been dealt with.
  Seqno Confirmed(CursorId cursor) const;
  /// Last seqno handed out.
  Seqno ReadPosition(CursorId cursor) const;

  // --- memory ---

  /// Bytes held: slots, closed checkpoints, and all items that slots refer to, whether the table shares them
  /// or not (allocated bytes). Exact, O(1).
  size_t memory_bytes() const;
  /// Drops the droppable cursor whose confirmed position is the lowest and returns its name (the stream goes
  /// back to disk). Nothing when none stands behind all undroppable cursors: dropping it would free nothing.
  std::optional<std::string> DropSlowestCursor(Trash& trash);

  // --- looking ---

  CheckpointInfo open_checkpoint() const;
  /// 0 when none was closed in this process.
  CheckpointId last_closed_id() const;
  /// Those still held, the open one last.
  std::vector<CheckpointInfo> checkpoints() const;
  struct CursorInfo {
    std::string name;
    Seqno read, confirmed;
    size_t remaining = 0;
    bool droppable = false;
  };
  std::vector<CursorInfo> cursors() const;

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace cairn::checkpoint
