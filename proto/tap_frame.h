#pragma once
// Frames: how the operations of vbucket streams are packed into the chunks of a TAP connection. Byte layout
// and golden bytes: docs/tap.md. Protocol buffers carry a chunk as opaque bytes, because packed operations
// cost a third of what one message each does.
//
// A chunk is a format byte, frames, and a crc32c over all of it. Frames of several vbuckets may share a
// chunk; the operations of one snapshot may spread over several chunks, but the frames of another vbucket
// never come in between (a reader holds one unfinished snapshot, not one per vbucket).
//
// Writer and reader are plain values of one thread. The reader checks every bound before it copies anything;
// a chunk that does not hold is CORRUPTION, with a text that says where. The bytes must outlive the reader.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/item.h"
#include "base/status.h"
#include "base/types.h"

namespace cairn::proto {

inline constexpr uint8_t kTapChunkFormat = 1;

enum class TapFrameType : uint8_t {
  kSnapshot = 1,       // operations of this range follow
  kOperation = 2,      // one item
  kCheckpointEnd = 3,  // the source has closed a checkpoint
  kVbucketState = 4,   // takeover: become this
  kStreamEnd = 5,
};

enum class TapSnapshotKind : uint8_t {
  kMemory = 1,  // from checkpoints in memory: ascending seqnos of one checkpoint
  kLog = 2,     // the same, read from the source's log
  kData = 3,    // a disk snapshot: one version per key, any order
};

/// One decoded frame; which fields count depends on `type`.
struct TapFrame {
  TapFrameType type = TapFrameType::kOperation;
  Vbid vbucket;
  // kSnapshot
  TapSnapshotKind kind = TapSnapshotKind::kMemory;
  Seqno start, end;  // start < seqno ≤ end
  Seqno source_persisted;
  CheckpointId checkpoint;  // kSnapshot, kCheckpointEnd. kData: the checkpoint open at `end`
  bool continues = false;   // kSnapshot: more of the one that the chunk before left unfinished
  bool last_part = false;   // kSnapshot: it ends in this chunk, with the last of its operations here
  uint32_t operations = 0;  // kSnapshot: so many kOperation frames follow in this chunk
  // kOperation
  ItemRef item;  // value, ejected (keys only), deleted, marker; seqno and CAS set
  // kCheckpointEnd
  Seqno last;
  std::optional<uint64_t> digest;
  // kVbucketState
  uint8_t state = 0;  // 1 active, 2 replica, 3 pending, 4 dead
  uint64_t epoch = 0;
  // kStreamEnd
  uint8_t reason = 0;     // tap::EndReason
  std::string_view text;  // at most 255 bytes
};

class TapChunkWriter {
 public:
  /// Begins a snapshot, or goes on with one in a new chunk (frame.continues). `operations` and `last_part`
  /// are filled in by EndSnapshot.
  void BeginSnapshot(const TapFrame& snapshot);
  /// Of the snapshot begun. keys_only: a value goes as its size and digest. Not an ejected item otherwise.
  void AddOperation(const Item& item, bool keys_only);
  void EndSnapshot(bool last_part);
  void AddCheckpointEnd(Vbid vbucket, CheckpointId checkpoint, Seqno last, std::optional<uint64_t> digest);
  void AddVbucketState(Vbid vbucket, uint8_t state, uint64_t epoch);
  void AddStreamEnd(Vbid vbucket, uint8_t reason, std::string_view text);
  /// Bytes so far; 0 when nothing was added.
  size_t size() const;
  bool empty() const { return size() == 0; }
  /// Closes the chunk with its checksum; the writer is empty again.
  std::string Take();

 private:
  std::string bytes_;
  size_t snapshot_at_ = 0;  // where the begun snapshot's count stands; 0: none
  uint32_t operations_ = 0;
  Seqno last_seqno_;  // of the operation before, for differences
  uint64_t last_cas_ = 0;
};

class TapChunkReader {
 public:
  /// `item_size_max`: values above it are refused.
  TapChunkReader(std::string_view chunk, uint32_t vbucket_count, size_t item_size_max);
  /// The next frame, nothing at the end.
  Result<std::optional<TapFrame>> Next();

 private:
  Status Fail(std::string_view what) const;
  std::string_view chunk_;
  size_t at_ = 0;
  uint32_t vbucket_count_;
  size_t item_size_max_;
  bool checked_ = false;  // the checksum
  TapFrame snapshot_;     // the one whose operations are being read
  uint32_t operations_left_ = 0;
  Seqno last_seqno_;
  uint64_t last_cas_ = 0;
};

}  // namespace cairn::proto
