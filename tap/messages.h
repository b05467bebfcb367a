#pragma once
// What the two ends of a TAP connection say to each other, as plain values. tap/wire.h turns them into the
// protocol buffers of proto/tap.proto and back; in-process transports hand them over as they are. Field
// meanings and limits: docs/tap.md and proto/tap.proto. Value types, any thread.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "proto/meta_record.h"
#include "proto/update_id.h"

namespace cairn::tap {

inline constexpr uint32_t kProtocolVersionMin = 1;
inline constexpr uint32_t kProtocolVersionMax = 1;
inline constexpr size_t kNameSizeMax = 64;            // ^[A-Za-z0-9._-]{1,64}$
inline constexpr size_t kFeaturesMax = 64;            // of at most kNameSizeMax bytes each
inline constexpr size_t kEntriesMax = 4096;           // of one list in one message
inline constexpr size_t kChunkBytesSoft = 64u << 10;  // a chunk is sent when it has so many bytes
inline constexpr size_t kChunkBytesMax = (4u << 20) + kValueSizeMax + 1024;
inline constexpr uint64_t kWindowBytesMin = 1u << 20;  // credits at the beginning
inline constexpr uint64_t kWindowBytesMax = 1u << 30;

/// Why a stream, or a connection, ended. The names are part of the protocol and of metrics.
enum class EndReason : uint8_t {
  kOk = 0,              // everything asked for was sent (dump), or a takeover is complete
  kClosed = 1,          // the consumer asked
  kStateChanged = 2,    // the vbucket is no longer one that can be streamed
  kDisconnected = 3,    // the connection ended
  kTooSlow = 4,         // no credit for longer than the idle time-out
  kBackfillFailed = 5,  // the disk answered an error
  kRollback = 6,        // the consumer has to roll back: ask again
  kPurged = 7,          // what it needs was purged: from 0
  kLostPrivilege = 8,   // may not replicate any more
  kNotMyVbucket = 9,    // does not exist here
  kFenced = 10,         // the other side knows a higher epoch
  kBadMessage = 11,     // refused by name; the text says what
  kVersion = 12,        // no common protocol version
  kVbucketCount = 13,   // the two nodes have different numbers of vbuckets
  kSelf = 14,           // connected to itself
  kShutdown = 15,
  kIdle = 16,  // nothing heard for longer than the idle time-out
  kInternal = 17,
};
std::string_view EndReasonName(EndReason reason);  // "rollback"

// --- consumer → producer ---

struct Hello {
  uint32_t version_min = kProtocolVersionMin, version_max = kProtocolVersionMax;
  std::vector<std::string> features;  // "digest", "takeover", "keys-only", …: those it can use
  std::string name;                   // of this consumer, unique at the producer; replaces an older one
  std::array<uint8_t, 16> node_uuid{};
  uint32_t vbucket_count = 0;
  uint32_t noop_interval_ms = 0;  // how often the producer shall say something, 100 … 60,000
  uint32_t idle_timeout_ms = 0;   // how long either side may be silent, 1,000 … 3,600,000
  bool operator==(const Hello&) const = default;
};

struct OpenStream {
  Vbid vbucket;
  uint64_t history_uuid = 0;           // of the newest branch known; 0: none
  Seqno seqno;                         // everything up to it is here (an exact point)
  Seqno snapshot_start, snapshot_end;  // both == seqno, but in the middle of a disk snapshot
  CheckpointId checkpoint;             // open here
  proto::UpdateId window;              // of the window open here
  Seqno window_start;
  uint64_t epoch = 0;
  bool no_backfill = false;  // fail rather than read the disk
  bool dump = false;         // end when everything that is there now has been sent
  bool takeover = false;     // hand the vbucket over when caught up
  bool keys_only = false;    // no values
  bool operator==(const OpenStream&) const = default;
};

struct Progress {
  Vbid vbucket;
  uint64_t history_uuid = 0;
  Seqno applied, persisted;
  Seqno verified;                    // last checkpoint end with equal digests …
  CheckpointId verified_checkpoint;  // … and its id
  bool digest_mismatch = false;
  bool pending_ready = false;  // takeover: everything up to `applied` is persisted, ready to be active
  bool operator==(const Progress&) const = default;
};

/// Tells a former active that it is no longer (Replication::Fence).
struct FenceNotice {
  Vbid vbucket;
  uint64_t epoch = 0;
  bool operator==(const FenceNotice&) const = default;
};

struct ConsumerMessage {
  std::optional<Hello> hello;  // in the first message, and only there
  std::vector<OpenStream> open;
  std::vector<Vbid> close;
  std::vector<Progress> progress;
  std::vector<FenceNotice> fence;
  uint64_t credit_bytes = 0;  // granted on top of what is left
  bool noop_answer = false;
  bool goodbye = false;
  bool operator==(const ConsumerMessage&) const = default;
};

// --- producer → consumer ---

struct Welcome {
  uint32_t version = 0;
  std::vector<std::string> features;  // those both can use
  std::string name;                   // of the producer
  std::array<uint8_t, 16> node_uuid{};
  uint32_t vbucket_count = 0;
  uint64_t max_item_size = 0;
  bool operator==(const Welcome&) const = default;
};

struct StreamAnswer {
  Vbid vbucket;
  EndReason reason = EndReason::kOk;  // kOk: the stream is open. kRollback: to `rollback`. Else: refused
  std::string text;                   // of a refusal
  Seqno rollback;                     // roll back to at most here and ask again
  std::vector<proto::FailoverEntry> failover_log;  // kOk; newest first
  uint64_t epoch = 0;                              // of the source, also when it refuses
  Seqno high;                                      // of the source now; for progress
  Seqno purged;                                    // of the source: tombstones up to here may be gone
  bool disk_snapshot = false;                      // begins with one: prepare for `snapshot_end`
  bool operator==(const StreamAnswer&) const = default;
};

struct ProducerMessage {
  std::optional<Welcome> welcome;  // the first message
  std::vector<StreamAnswer> answers;
  std::string chunk;                 // frames, proto/tap_frame.h; costs its size in credits
  bool noop = false;                 // to be answered
  bool prompt = false;               // progress is waited for, until a chunk comes without this
  bool prompt_disk = false;          // … and with it the consumer's disk; likewise
  std::optional<EndReason> goodbye;  // the connection ends, with `goodbye_text`
  std::string goodbye_text;
  bool operator==(const ProducerMessage&) const = default;
};

/// Checks names, list sizes and ranges: what a stranger may have got wrong. INVALID_ARGUMENT names it.
Status Check(const ConsumerMessage& message, uint32_t vbucket_count, bool first);
Status Check(const ProducerMessage& message, uint32_t vbucket_count, bool first);

}  // namespace cairn::tap
