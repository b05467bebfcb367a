#pragma once
// Records of the meta family: the engine's identity, where each vbucket stands, and the decisions of online
// updates. Names and byte layouts: docs/storage-format.md.
//
// Each record carries a format version and a crc32c over its name and all fields. Decoding checks them and
// every bound (lists are bounded), and skips fields behind the known ones, so that a later version of the
// same format may append some. Errors: CORRUPTION (damage, names the record), NOT_SUPPORTED (a newer format).
// Pure functions and plain values, any thread.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "proto/update_id.h"

namespace cairn::proto {

inline constexpr uint32_t kStoreFormatVersion = 1;
inline constexpr size_t kFailoverEntriesMax = 1024;
inline constexpr size_t kVoidRangesMax = 4096;
inline constexpr size_t kUpdateHistoryMax = 10;

inline constexpr std::string_view kEngineMetaName = "meta/engine";
inline constexpr std::string_view kUpdateCurrentName = "update/current";
inline constexpr std::string_view kUpdateHistoryPrefix = "update/history/";
inline constexpr std::string_view kVbucketMetaPrefix = "vb/";
/// "vb/00042"
std::string VbucketMetaName(Vbid vbucket);
/// "update/history/3"; `slot` < kUpdateHistoryMax: update number n lives in slot n mod kUpdateHistoryMax.
std::string UpdateHistoryName(uint64_t slot);

/// `meta/engine`: written at creation, at start (clean = false) and at clean shutdown (clean = true).
struct EngineMeta {
  uint32_t format_version = kStoreFormatVersion;  // of the whole store
  std::array<uint8_t, 16> uuid{};
  uint32_t vbucket_count = 0;  // power of two, 1 … 65,536
  bool clean = false;          // the last process said goodbye
  uint64_t epoch = 0;          // rises at each start

  bool operator==(const EngineMeta&) const = default;
};

/// A branch of history: `uuid` is valid from the operation after `seqno` on.
struct FailoverEntry {
  uint64_t uuid = 0;
  Seqno seqno;
  bool operator==(const FailoverEntry&) const = default;
};

/// Log positions (start, end] that an online update took back.
struct VoidRange {
  Seqno start;
  Seqno end;
  bool operator==(const VoidRange&) const = default;
};

/// `vb/<5 digits>`: where a vbucket stands.
struct VbucketMeta {
  uint8_t state = 0;                        // 1 active, 2 replica, 3 pending, 4 dead
  std::vector<FailoverEntry> failover_log;  // newest first, at most kFailoverEntriesMax
  Seqno high_seqno;                         // everything up to it is in the log
  CheckpointId open_checkpoint;
  Seqno merged_seqno;                  // data is the state at this cut
  uint64_t merged_digest = 0;          // digest at that cut
  Seqno purge_seqno;                   // tombstones up to it may be gone
  Cas max_cas;                         // no CAS above it was ever given out
  std::vector<VoidRange> void_ranges;  // ascending, disjoint, at most kVoidRangesMax
  // The open window of an online update; window_update is none when there is no window.
  UpdateId window_update;
  Seqno window_start;              // S
  CheckpointId window_checkpoint;  // id of the first checkpoint of the window
  // Replication (docs/tap.md).
  uint64_t epoch = 0;    // fencing: rises with each promotion
  Seqno snapshot_start;  // a disk snapshot (start, end] is being received …
  Seqno snapshot_end;    // … until end is reached; 0: none
  /// The last online update that ended in this vbucket: what a promotion has to know.
  struct LastUpdate {
    UpdateId id;  // none: there was none
    bool committed = false;
    bool operator==(const LastUpdate&) const = default;
  };
  LastUpdate last_update;
  /// A rollback has given up operations that were acknowledged: before it is there again the vbucket is not
  /// to be promoted. 0: nothing is missing.
  Seqno regain;
  /// A takeover's giver: to which node it was given, with everything up to which seqno. Only of a dead
  /// vbucket, and only in the epoch in which it became dead by that.
  struct Handover {
    std::array<uint8_t, 16> receiver{};  // its node uuid; zeros: it was given to nobody
    Seqno seqno;
    bool is_none() const { return receiver == std::array<uint8_t, 16>{}; }
    bool operator==(const Handover&) const = default;
  };
  Handover handover;

  bool operator==(const VbucketMeta&) const = default;
};

enum class UpdateState : uint8_t { kOpen = 1, kCommitted = 2, kReverted = 3 };
/// "open"
std::string_view UpdateStateName(UpdateState state);

/// `update/current` and `update/history/<n>`: one online update. The record with kCommitted or kReverted,
/// once synced, *is* the decision.
struct UpdateMeta {
  UpdateId id;
  std::string name;  // at most kUpdateNameSizeMax bytes
  UpdateState state = UpdateState::kOpen;
  uint64_t number = 0;     // 1 for the engine's first update
  int64_t started_ns = 0;  // wall clock, nanoseconds since the Unix epoch
  int64_t decided_ns = 0;  // 0 while open
  // Counts at the decision; 0 while open.
  uint64_t keys_added = 0;
  uint64_t keys_updated = 0;
  uint64_t keys_deleted = 0;
  uint64_t window_bytes = 0;
  uint64_t start_digest = 0;  // sum over all vbuckets at START

  bool operator==(const UpdateMeta&) const = default;
};

std::string EncodeEngineMeta(const EngineMeta& meta);
Result<EngineMeta> DecodeEngineMeta(std::string_view record);
/// The vbucket is part of the checksum: a record found under another name is refused.
std::string EncodeVbucketMeta(Vbid vbucket, const VbucketMeta& meta);
Result<VbucketMeta> DecodeVbucketMeta(Vbid vbucket, std::string_view record);
/// `record_name` is kUpdateCurrentName or an UpdateHistoryName.
std::string EncodeUpdateMeta(std::string_view record_name, const UpdateMeta& meta);
Result<UpdateMeta> DecodeUpdateMeta(std::string_view record_name, std::string_view record);

}  // namespace cairn::proto
