#pragma once
// Replication: the engine's second door, for tap/ and the admin service. What a producer reads of a vbucket's
// sequence (from memory or from disk), what a consumer applies to one, and how a vbucket changes hands.
//
// Owner: the Engine (Engine::replication()). Threads: any, but one vbucket's consumer calls come from one
// thread at a time, and a StreamCursor and a Backfill belong to one thread. Nothing here waits for the disk
// but Backfill::Next and OpenBackfill: what takes longer answers a Pending, to be polled.
//
// Words. *Exact point*: a seqno at which a vbucket's state is one that clients of the active could have seen
// (a checkpoint's end, or the end of everything that was there when it was read). A replica's high seqno, as
// everybody sees it, its log's end and its data on disk are always at exact points of its source. *Disk
// snapshot*: items (and tombstones) with start < seqno ≤ end, one version per key, in any order; in the
// middle of one a vbucket is at no exact point and can be neither read, streamed nor promoted.

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/item.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/types.h"
#include "checkpoint/checkpoint_manager.h"
#include "engine/announce.h"
#include "engine/ops.h"
#include "proto/meta_record.h"

namespace cairn::engine {

struct Core;
class Fetcher;
class Flusher;
class Merger;
class Pager;
class SnapshotWriter;
class UpdateCoordinator;
class Warmer;

/// The outcome of work that engine threads do for a caller who polls. With EngineDeps::threads == false the
/// work is done before the call returns, unless its comment says that RunBackground does it.
class Pending {
 public:
  bool ready() const {
    MutexLock lock(mutex_);
    return status_.has_value();
  }
  /// Only when ready().
  Status status() const {
    MutexLock lock(mutex_);
    CAIRN_CHECK(status_.has_value());
    return *status_;
  }
  void Set(Status status) {
    MutexLock lock(mutex_);
    status_ = std::move(status);
  }

 private:
  mutable Mutex mutex_;
  std::optional<Status> status_ CAIRN_GUARDED_BY(mutex_);
};
using PendingRef = std::shared_ptr<Pending>;

/// Where a vbucket stands, taken at one moment.
struct VbucketPosition {
  VbucketState state = VbucketState::kDead;
  uint64_t epoch = 0;                              // fencing: rises with each promotion
  std::vector<proto::FailoverEntry> failover_log;  // newest first
  Seqno high;                                      // the last operation; on a replica an exact point
  Seqno persisted;                                 // in the log, synced
  Seqno source_persisted;        // replica: what its source said of itself; active: == persisted
  Seqno source_high{kSeqnoMax};  // replica: where its source stood when it was joined; kSeqnoMax: was not yet
  Seqno merged;                  // data on disk is the state at this cut
  Seqno purged;                  // tombstones up to here may be gone
  CheckpointId open_checkpoint;
  UpdateId window;                             // of the open online update; none: no window
  Seqno window_start;                          // S
  proto::VbucketMeta::LastUpdate last_update;  // the last one that ended here
  bool in_snapshot = false;                    // a disk snapshot is being received
  Seqno snapshot_start, snapshot_end;
  Seqno verified;                    // replica: the last checkpoint end with equal digests …
  CheckpointId verified_checkpoint;  // … and its checkpoint
  uint64_t digest = 0;
  bool warm = true;  // digest is of everything
  size_t items = 0;  // live, in memory or ejected
  Seqno regain;      // a rollback gave operations up, and up to here they are not here again; 0: all are
  proto::VbucketMeta::Handover
      handover;  // dead, because it was given to that node; none: not because of that
};

/// A producer's place in a vbucket's sequence in memory.
struct StreamCursor {
  checkpoint::CursorId id = 0;
  uint64_t incarnation = 0;  // of the vbucket's sequence
};

/// What a producer reads at one look.
struct StreamBatch : checkpoint::Batch {
  Seqno source_persisted;  // what this node, and its own source, has persisted
  // Beyond `last` when there is nothing behind the batch but seqnos without operations, which a replica's own
  // source has passed over (and no cursor can count).
  Seqno passed;
};

/// Reads what lies on disk behind `after`: first data (items and tombstones with after < seqno ≤ data_end(),
/// by key), when the log does not reach back so far, then the log up to an exact point, one checkpoint at a
/// time with one version per key. One vbucket; holds iterators, so do not keep it for longer than minutes.
class Backfill {
 public:
  virtual ~Backfill() = default;
  enum class Kind : uint8_t { kData, kLog, kEnd };
  struct Chunk {
    Kind kind = Kind::kEnd;
    std::vector<ItemRef> items;  // values, deleted items, markers; kData: by key; kLog: by seqno
    CheckpointId checkpoint;     // kLog: of the items. kData: the checkpoint that holds `end`
    Seqno start, end;            // kLog: all items of one checkpoint lie in (start, end] and end is exact
    bool ends_part = false;      // kData: the last of data. kLog: the last of this checkpoint's
    size_t bytes = 0;            // Σ allocated bytes
  };
  /// About bytes_max bytes (at least one item). kEnd when everything is read; then end() is where to join.
  virtual Result<Chunk> Next(size_t bytes_max) = 0;
  /// There is a data part: it is the state at data_end() without what was not changed behind `after`.
  virtual bool has_data() const = 0;
  virtual Seqno data_end() const = 0;
  /// What has been read reaches to this exact point.
  virtual Seqno end() const = 0;
  /// Estimate of the records in the data part still to be looked at; for progress.
  virtual uint64_t records_left() const = 0;
};

/// What a vbucket of this node takes over from its source before it follows it.
struct AdoptRequest {
  Vbid vbucket;
  std::vector<proto::FailoverEntry> failover_log;  // newest first; of the source
  uint64_t epoch = 0;
  Seqno source_high{};  // where the source stands: a copy that has given something up has it again from there
                        // on
};

/// Of a vbucket another node is active, with this epoch.
struct FenceRequest {
  Vbid vbucket;
  uint64_t epoch = 0;
};

/// A suspended vbucket becomes dead with this epoch, and is that node's, which has everything up to that
/// seqno.
struct HandoverRequest {
  Vbid vbucket;
  uint64_t epoch = 0;
  proto::VbucketMeta::Handover to;
};

/// The range that operations arrive in: they are applied as a whole, and `end` is exact.
struct SnapshotRange {
  CheckpointId checkpoint;
  Seqno start, end;        // operations have start < seqno ≤ end
  Seqno source_persisted;  // what the source has persisted
};

struct CheckpointEnd {
  CheckpointId checkpoint;
  Seqno last;
  std::optional<uint64_t> digest;  // of the source's vbucket; none: read from its log, not known any more
};

enum class DigestVerdict : uint8_t { kNotCompared, kEqual, kDifferent };

struct PromoteOptions {
  uint64_t epoch_min = 0;  // the new epoch is at least this, and counts on from the one known (proto/epoch.h)
  bool clean = false;      // a takeover: the source is fenced, so no seqnos have to be skipped
  bool force = false;      // also what has given operations up in a rollback and has not got them again
};

/// What of the engine replication uses. The engine outlives it.
struct ReplicationParts {
  Core& core;
  Flusher& flusher;
  Merger& merger;
  Fetcher& fetcher;
  Warmer& warmer;
  SnapshotWriter& snapshots;
  Pager& pager;
  UpdateCoordinator& coordinator;
  std::function<std::array<uint8_t, 16>()> node_uuid;
  /// Runs a task on the control thread; inline when there are no threads. False: shutting down, or too many.
  std::function<bool(std::function<void()>)> on_control;
  /// On the control thread: waits (bounded) until everything done so far is durable.
  std::function<Status()> wait_durable;
  /// On the control thread: a number for a new branch of history.
  std::function<uint64_t()> new_history;
  bool threads = true;
};

class Replication {
 public:
  explicit Replication(const ReplicationParts& parts);
  ~Replication();
  Replication(const Replication&) = delete;
  Replication& operator=(const Replication&) = delete;

  // --- looking ---
  uint32_t vbucket_count() const;
  /// There is a disk: without one a node can neither produce nor consume.
  bool persistent() const;
  std::array<uint8_t, 16> node_uuid() const;
  /// NOT_MY_VBUCKET when it does not exist.
  Result<VbucketPosition> Position(Vbid vbucket) const;
  /// Position().persisted alone, for those who ask often.
  Result<Seqno> Persisted(Vbid vbucket) const;
  /// What was applied by now goes to disk without waiting for the next sync that is due. Any thread.
  void HurryToDisk();
  /// A client waits for replicas at this moment. Costs one load; listeners are called when the first begins
  /// to.
  bool clients_wait() const;
  /// One of them for what replicas have synced. As cheap; listeners hear of the first of these too.
  bool clients_wait_for_disks() const;

  // --- producing ---
  /// `on_operations` is called by whichever thread has added to a vbucket that has a cursor (or changed its
  /// state), after its lock was released; it must not block. Once per batch of a connection or so.
  using ListenerId = uint64_t;
  ListenerId AddListener(Announce on_operations);
  /// On return it is not running and will not run again.
  void RemoveListener(ListenerId id);

  /// Will read everything behind `after`. OUT_OF_RANGE: that is on disk only. INVALID_ARGUMENT: beyond the
  /// end. BUSY: a disk snapshot is being received. NOT_MY_VBUCKET: does not exist. The cursor can be dropped
  /// when it pins too much memory.
  Result<StreamCursor> OpenCursor(Vbid vbucket, const std::string& name, Seqno after);
  /// Everything from the cursor to the end of its checkpoint, or to the end of what is there: batch.last is
  /// an exact point. batch.nothing(): nothing new. What is returned is confirmed: only the batch holds it.
  /// OUT_OF_RANGE: the cursor was dropped, go on from disk. CANCELLED: the sequence was replaced (rollback,
  /// resynchronisation, deletion): end the stream.
  Result<StreamBatch> Read(Vbid vbucket, const StreamCursor& cursor);
  void CloseCursor(Vbid vbucket, const StreamCursor& cursor);
  /// The end of the last checkpoint, when there is nothing behind it and its digest is known: what a stream
  /// that had it from the log, where digests are not kept, can still be told.
  std::optional<CheckpointEnd> LastEnd(Vbid vbucket) const;
  /// BUSY: data is just being merged; again in a moment. NOT_SUPPORTED: no disk.
  Result<std::unique_ptr<Backfill>> OpenBackfill(Vbid vbucket, Seqno after);

  // --- consuming ---
  /// Takes over history and epoch, durable when ready; a vbucket that is not a replica becomes one (is made
  /// when it does not exist). ACCESS_DENIED when an epoch is lower than the one known here: the source is
  /// fenced. Nothing is adopted then.
  PendingRef Adopt(std::vector<AdoptRequest> requests);
  /// Takes the vbucket's table, log and data back to an exact point ≤ `to` (0: empty), in one durable step
  /// that recovery repeats when it was cut short. Position() tells where it is then. Streams from here are
  /// cancelled.
  PendingRef Rollback(Vbid vbucket, Seqno to);
  /// Prepares for a disk snapshot: `start` is the high seqno, or 0, which empties the vbucket. Ready when
  /// everything up to `start` is in data and the intent is durable (RunBackground without threads).
  /// NOT_SUPPORTED in the window of an online update; INVALID_ARGUMENT: `start` is not where it stands.
  PendingRef BeginSnapshot(Vbid vbucket, Seqno start, Seqno end);
  /// Items in any order; a newer version that is known wins. kOk, or kWouldBlock: the writer to disk is
  /// behind, nothing was taken.
  Code ApplySnapshot(Vbid vbucket, std::span<const ItemRef> items);
  /// The vbucket stands at the snapshot's end, in the open checkpoint `open`. Durable some time later, before
  /// anything that follows.
  Status EndSnapshot(Vbid vbucket, CheckpointId open);
  /// All operations of `range`, ascending by seqno: visible and persisted together or not at all. Bounded
  /// slices under the lock. kWouldBlock: over the memory quota, or about to be promoted; nothing was taken,
  /// try again. OUT_OF_RANGE: a seqno at or below the high one or outside the range, a range that begins
  /// behind the high one (something is missing), an earlier checkpoint than the open one. CORRUPTION: a
  /// marker that does not parse, an item without its value. NOT_MY_VBUCKET: not a replica (any more), or in a
  /// disk snapshot.
  Code Apply(Vbid vbucket, const SnapshotRange& range, std::span<const ItemRef> operations);
  /// Closes the checkpoint as the source did and compares digests. kDifferent: an alarm has been raised and
  /// the evidence written; the caller rolls back to 0. An end that was seen already is kNotCompared.
  /// OUT_OF_RANGE: operations before the end are missing. TMP_FAIL: about to be promoted. NOT_MY_VBUCKET.
  Result<DigestVerdict> EndCheckpoint(Vbid vbucket, const CheckpointEnd& end);
  /// Read-only; replica or active; expired is absent. kWouldBlock like Engine::Get.
  /// TMP_FAIL in a disk snapshot; NOT_MY_VBUCKET: dead, or does not exist.
  GetResult GetReplica(const OpKey& key, const WaiterRef& waiter);

  // --- changing hands ---
  /// To active, all of them or none: an epoch above all known, which no other node can have, a new branch of
  /// history, and the state are durable before the first write. A replica in the window of an online update
  /// carries it on, and a decision that one of them has seen is carried out for all. NOT_SUPPORTED in the
  /// middle of a disk snapshot, and, unless forced, of a copy that has given operations up in a rollback and
  /// not got them again.
  PendingRef Promote(std::vector<Vbid> vbuckets, const PromoteOptions& options);
  /// The same, but those that cannot be promoted are left out. An answer for each, in their order; it happens
  /// whether or not somebody waits for them.
  std::vector<PendingRef> PromoteEach(std::vector<Vbid> vbuckets, const PromoteOptions& options);
  /// To replica or dead, durable when ready. Parked clients are answered.
  PendingRef Demote(std::vector<Vbid> vbuckets, VbucketState to);
  /// Somebody else is active with these epochs: at or above one's own an active or pending vbucket becomes
  /// dead. All of them before anything is written, then durable when ready. ACCESS_DENIED when one is below:
  /// that one stays as it is.
  PendingRef Fence(std::vector<FenceRequest> requests);
  /// Takeover, giving side: clients wait from now on (state pending, in memory only) until Resume, or
  /// Handover. NOT_MY_VBUCKET when it is not active; NOT_SUPPORTED in the window of an online update.
  Status Suspend(Vbid vbucket);
  void Resume(Vbid vbucket);
  /// Makes suspended vbuckets dead, each with its epoch, and remembers to whom it was given for as long as it
  /// is dead in that epoch: durable when ready, in one synced write. An answer for each, in the order of the
  /// requests; those that are refused stay, and their clients go on. NOT_MY_VBUCKET: is not suspended.
  /// ACCESS_DENIED: the epoch does not rise. INVALID_ARGUMENT: the receiver has not exactly what is here.
  /// NOT_SUPPORTED as Suspend.
  std::vector<PendingRef> Handover(std::vector<HandoverRequest> requests);

  // --- durability of writes: what the copies have ---
  /// A replica told how far it is. Seqnos of another branch of history (uuid) do not count.
  void ReportReplica(std::string_view replica, Vbid vbucket, uint64_t history_uuid, Seqno applied,
                     Seqno persisted);
  /// It is disconnected: what it has counts no more for new decisions.
  void ForgetReplica(std::string_view replica);
  /// Its stream of the vbucket has ended: the same, until it reports again.
  void ForgetReplica(std::string_view replica, Vbid vbucket);

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
  Core& core_;
};

}  // namespace cairn::engine
