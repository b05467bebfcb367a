#pragma once
// Records of the log and data families: what an operation or a value looks like on disk. Byte layouts and
// their golden bytes: docs/storage-format.md.
//
// Each record starts with a format version and a crc32c over where it belongs (vbucket and seqno, or vbucket
// and key), all its fields and the value; decoding verifies it, so a record that was damaged, cut short or
// found under another key answers CORRUPTION with a text that names the vbucket and the seqno or key.
// Pure functions, any thread.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/item.h"
#include "base/status.h"
#include "base/types.h"
#include "proto/update_id.h"

namespace cairn::proto {

struct LogRecord {
  ItemRef item;             // a value, a deleted item or a marker
  CheckpointId checkpoint;  // the checkpoint it was appended to
};

/// Replaces *out. `item` is a value, a deleted item or a marker; an ejected one has lost its value and is a
/// programmer's error (checked).
void EncodeLogRecord(Vbid vbucket, const Item& item, CheckpointId checkpoint, std::string* out);
Result<LogRecord> DecodeLogRecord(Vbid vbucket, Seqno seqno, std::string_view record);

/// Replaces *out. Data holds values and deleted items, the tombstones (checked).
void EncodeDataRecord(Vbid vbucket, const Item& item, std::string* out);
/// A value or a deleted item.
Result<ItemRef> DecodeDataRecord(Vbid vbucket, std::string_view key, std::string_view record);
/// The same, but a value as an ejected item that carries its size and digest. Reads (and checks) the value.
Result<ItemRef> DecodeDataAsEjected(Vbid vbucket, std::string_view key, std::string_view record);
/// The seqno of a data record that is a tombstone; nothing when it is a value or does not look like a record
/// of this version. Looks at the first bytes only: no checksum is verified.
std::optional<Seqno> DataTombstone(std::string_view record);

enum class MarkerType : uint8_t {
  kOnlineUpdateStart = 1,
  kOnlineUpdateComplete = 2,
  kOnlineUpdateRevert = 3,
  kSetVbucketState = 4,
  kFlush = 5,
  kFlushEnd = 6,
  kRestoreCommit = 7,  // reserved
};
/// "online_update_start"
std::string_view MarkerTypeName(MarkerType type);

/// An operation without a key. Fields that a type does not use stay zero.
struct Marker {
  MarkerType type = MarkerType::kOnlineUpdateStart;
  UpdateId update;            // online_update_*
  std::string name;           // online_update_start: at most kUpdateNameSizeMax bytes
  CheckpointId checkpoint;    // the checkpoint whose operation it is
  Seqno start;                // window (start, end]: S, the last seqno before it …
  Seqno end;                  // … and E, its last one; online_update_complete and _revert
  uint64_t digest = 0;        // of the vbucket at `start`
  uint8_t vbucket_state = 0;  // set_vbucket_state: 1 active, 2 replica, 3 pending, 4 dead
  int64_t time_ns = 0;        // wall clock, nanoseconds since the Unix epoch

  bool operator==(const Marker&) const = default;
};

/// The payload for Item::NewMarker. It has no checksum of its own: the record around it has.
std::string EncodeMarker(const Marker& marker);
/// CORRUPTION when it does not parse or its type is not known.
Result<Marker> DecodeMarker(std::string_view payload);

}  // namespace cairn::proto
