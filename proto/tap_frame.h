#pragma once
// Frames: how the operations of vbucket streams are packed into the chunks of a TAP connection. Byte layout
// and golden bytes: docs/tap.md. Protocol buffers carry a chunk as opaque bytes, because packed operations
// cost a third of what one message each does.
//
// A chunk is a format byte, frames, and a crc32c over all of it. Frames of several vbuckets may share a
// chunk. The operations of one snapshot may spread over several chunks; if it is applied as a whole (kinds
// memory and log) the frames of another vbucket never come in between, so that a reader holds one unfinished
// snapshot, not one per vbucket. Each part can be read without the ones before.
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

class WireReader;

inline constexpr uint8_t kTapChunkFormat = 1;
inline constexpr size_t kTapTextMax = 255;  // of a stream's end
/// The highest number of a checkpoint that another node may name: a copy goes on counting behind it.
inline constexpr uint64_t kTapCheckpointMax = uint64_t{1} << 62;

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
  /// Of the snapshot begun, and within its range (checked). keys_only: a value goes as its size and digest.
  /// Not an ejected item otherwise.
  void AddOperation(const Item& item, bool keys_only);
  void EndSnapshot(bool last_part);
  void AddCheckpointEnd(Vbid vbucket, CheckpointId checkpoint, Seqno last, std::optional<uint64_t> digest);
  void AddVbucketState(Vbid vbucket, uint8_t state, uint64_t epoch);
  /// A longer text is cut.
  void AddStreamEnd(Vbid vbucket, uint8_t reason, std::string_view text);
  /// Bytes so far, with the checksum to come; 0 when nothing was added.
  size_t size() const { return bytes_.empty() ? 0 : bytes_.size() + sizeof(uint32_t); }
  bool empty() const { return bytes_.empty(); }
  /// Closes the chunk with its checksum; the writer is empty again.
  std::string Take();
  /// An upper bound of what AddOperation adds for `item`.
  static size_t OperationSizeMax(const Item& item);

 private:
  void BeginFrame(TapFrameType type, Vbid vbucket);

  std::string bytes_;
  size_t flags_at_ = 0;  // where the begun snapshot's flags stand; 0: none
  size_t count_at_ = 0;  // and its count
  uint32_t operations_ = 0;
  TapSnapshotKind kind_ = TapSnapshotKind::kMemory;
  Seqno base_, end_;  // seqnos are written as the difference to base_
  uint64_t last_cas_ = 0;
};

class TapChunkReader {
 public:
  /// `item_size_max`: values above it are refused.
  TapChunkReader(std::string_view chunk, uint32_t vbucket_count, size_t item_size_max);
  /// The next frame, nothing at the end.
  Result<std::optional<TapFrame>> Next();

 private:
  Status Open();
  Status ReadSnapshot(WireReader& in, TapFrame* frame);
  Status ReadOperation(WireReader& in, TapFrame* frame);
  Status ReadOther(WireReader& in, TapFrame* frame);
  Status Fail(std::string_view what) const;

  std::string_view chunk_;
  size_t at_ = 0;   // of the frame to be read
  size_t end_ = 0;  // where the checksum begins
  uint32_t vbucket_count_;
  size_t item_size_max_;
  TapSnapshotKind kind_ = TapSnapshotKind::kMemory;  // of the snapshot that is being read
  bool unfinished_ = false;                          // it goes on in the next chunk, alone
  uint32_t operations_left_ = 0;
  Vbid vbucket_;
  Seqno base_, last_;  // seqnos are the difference to base_, at most last_
  uint64_t last_cas_ = 0;
};

}  // namespace cairn::proto
