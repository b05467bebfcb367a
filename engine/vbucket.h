#pragma once
// VBucket: one hash partition. Its table, its checkpoints, its state and its part of an online update live
// under one mutex, so the order of the table's changes is the order of the sequence by construction.
//
// Owner: the Engine, for its whole life. Threads: any, each call with `mutex` held (clang proves it). Under
// the mutex nothing waits, does I/O, calls back or loops without a bound; what has to happen afterwards is
// returned in Effects and done by the caller after unlocking.
//
// Invariants
//  - Every change of the table by a client goes through Commit: seqno, CAS, pre-image, table, checkpoint.
//  - A key that the table does not hold does not exist, once the vbucket is warm; before, data on disk knows.
//  - An item may be ejected only when its seqno ≤ persisted().
//  - While a window is open, data on disk stays at the window's start (MergeBound).
//  - Seqno and CAS only rise, whatever happens.
//  - A replica's operations, checkpoints and windows are its source's: it changes through BeginApply …
//    EndApply and EndReplicaCheckpoint alone, and what the flusher, streams and clients see of it is always
//    at an exact point (engine/replication.h).

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/item.h"
#include "base/mutex.h"
#include "base/types.h"
#include "checkpoint/checkpoint_manager.h"
#include "engine/memory.h"
#include "engine/ops.h"
#include "engine/phase.h"
#include "engine/preimages.h"
#include "hashtable/hash_table.h"
#include "proto/disk_record.h"
#include "proto/meta_record.h"

namespace cairn::engine {

/// What a locked call leaves to be done after unlocking.
struct Effects {
  checkpoint::Trash trash;               // memory to free, by destruction
  ItemRef replaced;                      // likewise; the usual case of one
  std::vector<ItemRef> dropped;          // likewise
  std::unique_ptr<Preimages> preimages;  // a table of them to be emptied in bounded steps
  std::vector<WaiterRef> wake;
  bool dirty = false;     // hand the vbucket to the flusher
  bool announce = false;  // tell the streams' listeners that there is something new
  bool fetch = false;     // read the key from disk, then wake the waiter
  Seqno fetch_seqno;      // of the ejected item; 0: by key alone (the vbucket is cold)

  Effects() = default;
  Effects(Effects&&) = default;
  Effects& operator=(Effects&&) = default;
  /// A vbucket that says it was handed over, and was not, would never be written again: Core::Finish does it.
  ~Effects() { CAIRN_DCHECK(!dirty); }

  void Drop(ItemRef item) {
    if (!replaced) {
      replaced = std::move(item);
    } else if (item) {
      dropped.push_back(std::move(item));
    }
  }
};

/// The time of an operation, read once.
struct OpTime {
  uint32_t wall_s = 0;    // Unix seconds, for expiry
  int64_t steady_ns = 0;  // for the age of checkpoints
};

struct VBucketOptions {
  Vbid id;
  uint64_t hash_seed = 0;
  checkpoint::Limits checkpoint_limits;
  MemoryUsage* memory = nullptr;  // not owned
  bool persistent = true;         // there is a disk: a persistence cursor is kept
};

/// The window of an online update in this vbucket.
struct Window {
  UpdateId id;
  std::string name;
  int64_t started_ns = 0;                        // wall clock
  Seqno start;                                   // S: the last seqno before it
  CheckpointId checkpoint;                       // the first of the window
  uint64_t digest = 0;                           // at S
  uint64_t added = 0, updated = 0, deleted = 0;  // keys, compared with S
  uint64_t bytes = 0;                            // logged since
};

/// A window that was taken back and whose keys are being put back.
struct Undoing {
  UpdateId id;
  Seqno start, end;              // (start, end] is void
  uint64_t digest_at_start = 0;  // of the vbucket at `start`
  uint64_t digest_delta = 0;     // what clients have added since the decision (mod 2^64)
};

/// After an unclean end, seqnos and CAS go on this far above what was recovered …
inline constexpr uint64_t kUncleanGap = uint64_t{1} << 28;
/// … and checkpoints so far above the one that was open: copies may have been told of ends that are not known
/// here (of empty checkpoints, at a seqno that is), and take nothing of an earlier one than theirs.
inline constexpr uint64_t kCheckpointGap = uint64_t{1} << 28;
/// … and writes are refused when so many are not durable, so that none is ever given out twice.
inline constexpr uint64_t kUnpersistedMax = uint64_t{1} << 27;

class VBucket {
 public:
  explicit VBucket(const VBucketOptions& options);
  VBucket(const VBucket&) = delete;
  VBucket& operator=(const VBucket&) = delete;

  Vbid id() const { return options_.id; }
  const VBucketOptions& options() const { return options_; }
  mutable Mutex mutex;

  // --- entering (every operation first) ---
  /// Moves to the engine's phase when that has changed.
  void Enter(const Phase* phase, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex) {
    if (phase != phase_) MoveTo(phase, now, fx);
  }
  /// kOk, kNotMyVbucket, or kWouldBlock with the waiter parked until the state changes.
  Code Admit(const WaiterRef& waiter) CAIRN_REQUIRES(mutex);

  // --- client operations; now is the operation's time ---
  GetResult Get(const hashtable::HashedKey& key, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// The current version for a read-modify-write outside the lock: like Get, no access counted.
  GetResult Peek(const hashtable::HashedKey& key, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Publishes `fresh` (a value item that nobody else knows).
  MutationResult Store(const hashtable::HashedKey& key, StoreMode mode, Cas cas, ItemRef fresh,
                       const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Publishes `fresh` if the live version is still `expected` (null: absent); kBusy otherwise.
  MutationResult StoreIfUnchanged(const hashtable::HashedKey& key, const Item* expected, ItemRef fresh,
                                  const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  MutationResult Delete(const hashtable::HashedKey& key, Cas cas, const OpTime& now, Effects& fx)
      CAIRN_REQUIRES(mutex);
  /// Without Admit: also of a replica. Changes nothing.
  KeyObservation Observe(const hashtable::HashedKey& key, const OpTime& now, Effects& fx)
      CAIRN_REQUIRES(mutex);
  void Prefetch(uint64_t hash, int stage) const CAIRN_REQUIRES(mutex) {
    stage == 0 ? table_.PrefetchBucket(hash) : table_.PrefetchItem(hash);
  }

  // --- state ---
  bool exists() const CAIRN_REQUIRES(mutex) { return exists_; }
  VbucketState state() const CAIRN_REQUIRES(mutex) { return state_; }
  bool is_replica() const CAIRN_REQUIRES(mutex) { return state_ == VbucketState::kReplica; }
  /// As it is recorded: a suspended vbucket is still active.
  VbucketState recorded_state() const CAIRN_REQUIRES(mutex) {
    return suspended_ ? VbucketState::kActive : state_;
  }
  /// Wakes who was parked; what becomes active says so in its sequence. The caller makes the record durable
  /// (MetaAt). No change: nothing happens.
  void SetState(VbucketState state, int64_t wall_ns, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Of a takeover's giver: clients wait, in memory only; the record says active until it is given away.
  void SetSuspended(bool suspended, Effects& fx) CAIRN_REQUIRES(mutex);
  bool suspended() const CAIRN_REQUIRES(mutex) { return suspended_; }
  /// Its record as a dead one may be on disk already: whoever suspended it earlier may not resume it now.
  void set_handing_over(bool handing_over) CAIRN_REQUIRES(mutex) { handing_over_ = handing_over; }
  bool handing_over() const CAIRN_REQUIRES(mutex) { return handing_over_; }
  uint64_t epoch() const CAIRN_REQUIRES(mutex) { return epoch_; }
  void set_epoch(uint64_t epoch) CAIRN_REQUIRES(mutex) {
    if (epoch != epoch_) handover_ = {};
    epoch_ = epoch;
  }
  /// To whom it was given when it became dead. Forgotten with another state or epoch.
  const proto::VbucketMeta::Handover& handover() const CAIRN_REQUIRES(mutex) { return handover_; }
  void set_handover(const proto::VbucketMeta::Handover& to) CAIRN_REQUIRES(mutex) { handover_ = to; }
  const std::vector<proto::FailoverEntry>& failover_log() const CAIRN_REQUIRES(mutex) {
    return failover_log_;
  }
  /// Takes over a source's history. Streams from here are cancelled when it differs.
  void SetHistory(std::vector<proto::FailoverEntry> failover_log, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Forgets all content of a dead vbucket; seqno and CAS go on rising if it is made again.
  void Delete(Effects& fx) CAIRN_REQUIRES(mutex);
  /// Makes it again, empty and dead.
  void Recreate(uint64_t history_uuid) CAIRN_REQUIRES(mutex);
  bool CloseCheckpoint(const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Closes an active's open checkpoint when it is old enough; over the checkpoints' budget, drops the cursor
  /// that stands furthest behind, if it may be dropped (a stream's: it goes back to disk).
  void Tick(const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);

  // --- flush_all ---
  /// Everything up to now is gone at once; SweepFlushed removes it.
  void BeginFlush(int64_t wall_ns, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  bool flushing() const CAIRN_REQUIRES(mutex) { return flush_seqno_ != Seqno(); }
  /// Deletes up to about items_max flushed items; true when the sweep has ended. Only when warm.
  bool SweepFlushed(size_t items_max, int64_t wall_ns, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);

  // --- online update: moves are made by Enter; these are the bounded steps behind ---
  const std::optional<Window>& window() const CAIRN_REQUIRES(mutex) { return window_; }
  bool undoing() const CAIRN_REQUIRES(mutex) { return undoing_.has_value(); }
  size_t preimages_left() const CAIRN_REQUIRES(mutex) { return preimages_ ? preimages_->size() : 0; }
  size_t preimage_bytes() const CAIRN_REQUIRES(mutex) { return preimages_ ? preimages_->memory_bytes() : 0; }
  /// Puts up to keys_max keys back. True when nothing is left.
  bool RevertSome(size_t keys_max, Effects& fx) CAIRN_REQUIRES(mutex);
  struct RevertVerdict {
    bool checked = false;  // false: the vbucket is not warm, the digest is not known
    bool equal = true;
    uint64_t expected = 0, found = 0;
  };
  /// Ends the undoing (nothing may be left) and compares the digest with the one at START.
  RevertVerdict FinishRevert() CAIRN_REQUIRES(mutex);
  /// The last one that ended here.
  const proto::VbucketMeta::LastUpdate& last_update() const CAIRN_REQUIRES(mutex) { return last_update_; }

  // --- replica: vbucket_replica.cc ---
  struct ApplyBegin {
    CheckpointId checkpoint;
    Seqno start;  // what comes follows this
    Seqno first;  // of the first operation; kSeqnoMax: there is none, all were left out
  };
  /// Begins to apply operations, which come in slices until EndApply: until then the log, streams, promotion
  /// and readers see the vbucket as it was. kNotMyVbucket: not a replica; kWouldBlock: it is being promoted,
  /// or keys are still being put back; kOutOfRange: something between here and `start` is missing, `first`
  /// is not above what is here, or the checkpoint is an earlier one.
  Code BeginApply(const ApplyBegin& begin, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Applies operations (of the checked kinds, ascending) up to and including the first revert marker;
  /// returns how many. When undoing() then, RevertSome and FinishReplicaRevert come before the next slice.
  size_t ApplySlice(std::span<const ItemRef> operations, const OpTime& now, Effects& fx)
      CAIRN_REQUIRES(mutex);
  RevertVerdict FinishReplicaRevert() CAIRN_REQUIRES(mutex);
  /// Everything up to `end` is here.
  void EndApply(Seqno end, Seqno source_persisted, Effects& fx) CAIRN_REQUIRES(mutex);
  bool applying() const CAIRN_REQUIRES(mutex) { return applying_; }
  struct CheckpointVerdict {
    Code code = Code::kOk;  // kNotMyVbucket; kOutOfRange: operations before its end are missing
    bool compared = false, equal = true;
    uint64_t expected = 0, found = 0;
  };
  /// Closes the checkpoint with the source's digest (none: not known). One that was closed: no effect.
  CheckpointVerdict EndReplicaCheckpoint(CheckpointId id, Seqno last, std::optional<uint64_t> digest,
                                         const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// An online update's digest was not what its marker said: the next checkpoint's end says so too.
  bool mismatch() const CAIRN_REQUIRES(mutex) { return mismatch_; }
  /// Is there more to merge than was?
  bool CanMerge() const CAIRN_REQUIRES(mutex) { return MergeBound() > merged_; }
  Seqno source_persisted() const CAIRN_REQUIRES(mutex) { return source_persisted_; }
  /// Where the source stood when it was joined; kSeqnoMax: none was, since this content is here.
  Seqno source_high() const CAIRN_REQUIRES(mutex) { return source_high_; }
  void set_source_high(Seqno high) CAIRN_REQUIRES(mutex) { source_high_ = high; }
  /// Data holds an operation at `seqno` already: a pass was cut short, which reached to the first checkpoint
  /// end behind it or further, so the source had persisted that.
  void AllowMergeBehind(Seqno seqno) CAIRN_REQUIRES(mutex);
  Seqno verified() const CAIRN_REQUIRES(mutex) { return verified_; }
  CheckpointId verified_checkpoint() const CAIRN_REQUIRES(mutex) { return verified_checkpoint_; }
  /// The value of a key of a replica (or an active), without changing anything; kWouldBlock with the waiter
  /// parked while a snapshot is being applied.
  GetResult PeekReplica(const hashtable::HashedKey& key, const WaiterRef& waiter, const OpTime& now,
                        Effects& fx) CAIRN_REQUIRES(mutex);
  /// Before it follows a source: a gap of seqnos and numbers of checkpoints that it has made itself, as an
  /// active or at a restart, are not the source's. False: not everything is persisted yet.
  bool ForgetOwnSequence(const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// The record on disk may be another than MetaAt says (a write failed).
  bool record_in_doubt() const CAIRN_REQUIRES(mutex) { return record_in_doubt_; }
  void set_record_in_doubt(bool in_doubt) CAIRN_REQUIRES(mutex) { record_in_doubt_ = in_doubt; }
  /// A rollback has given operations up, and what the source had when it was joined since is not here yet up
  /// to this seqno. 0: nothing is missing.
  Seqno regain() const CAIRN_REQUIRES(mutex) { return high_seqno() < regain_ ? regain_ : Seqno(); }
  /// A source was joined that stands at `high`: when something was given up, that is what has to come.
  /// Numbers of another history mean nothing here.
  void RegainUpTo(Seqno high) CAIRN_REQUIRES(mutex);
  /// What RegainUpTo makes of `regain`. A source that has nothing may have lost it all: its first operation
  /// is waited for then.
  static Seqno RegainOf(Seqno regain, Seqno high) {
    return regain == Seqno() ? regain : std::max(high, Seqno(1));
  }
  /// Nothing is applied from here until FinishPromotion or CancelPromotion. kWouldBlock: just being applied
  /// to; kNotSupported: in a disk snapshot; kNotMyVbucket: does not exist.
  Code BeginPromotion() CAIRN_REQUIRES(mutex);
  void CancelPromotion() CAIRN_REQUIRES(mutex) { promoting_ = false; }
  struct Promotion {
    uint64_t epoch = 0;
    uint64_t history_uuid = 0;
    uint64_t gap = 0;  // seqnos and CAS to be skipped
  };
  /// The record of the vbucket once it is promoted.
  proto::VbucketMeta MetaPromoted(const Promotion& promotion) const CAIRN_REQUIRES(mutex);
  /// Makes it so, in memory; in the same hold of the lock as Enter.
  void FinishPromotion(const Promotion& promotion, int64_t wall_ns, const OpTime& now, Effects& fx)
      CAIRN_REQUIRES(mutex);

  // --- streams ---
  struct StreamPlace {
    checkpoint::CursorId id = 0;
    uint64_t incarnation = 0;
  };
  /// OUT_OF_RANGE, INVALID_ARGUMENT, BUSY, EXISTS as Replication::OpenCursor.
  Result<StreamPlace> OpenStream(const std::string& name, Seqno after) CAIRN_REQUIRES(mutex);
  /// Of a cursor that has read everything up to `read`: how far the source has passed over seqnos behind it.
  Seqno StreamPassed(Seqno read) const CAIRN_REQUIRES(mutex) {
    return applying_ || read < checkpoints_->high_seqno() ? read : std::max(read, high_seqno());
  }
  /// Everything up to an exact point, confirmed at once.
  Result<checkpoint::Batch> ReadStream(const StreamPlace& place, Effects& fx) CAIRN_REQUIRES(mutex);
  /// When everything lies in closed checkpoints: the last one's end, if its digest is known. For streams that
  /// had it from disk, where digests are not kept.
  struct LastEnd {
    CheckpointId checkpoint;
    Seqno last;
    uint64_t digest = 0;
  };
  std::optional<LastEnd> last_end() const CAIRN_REQUIRES(mutex);
  void CloseStream(const StreamPlace& place, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Every stream of now will find itself cancelled.
  void CancelStreams(Effects& fx) CAIRN_REQUIRES(mutex);

  // --- disk snapshot (start, end], end 0: none ---
  bool in_snapshot() const CAIRN_REQUIRES(mutex) { return snapshot_end_ != Seqno(); }
  Seqno snapshot_start() const CAIRN_REQUIRES(mutex) { return snapshot_start_; }
  Seqno snapshot_end() const CAIRN_REQUIRES(mutex) { return snapshot_end_; }
  void SetSnapshot(Seqno start, Seqno end) CAIRN_REQUIRES(mutex) {
    snapshot_start_ = start;
    snapshot_end_ = end;
  }

  // --- persistence ---
  /// The next operations for the log, always up to the end of a checkpoint: a batch never cuts a checkpoint
  /// in the middle of what it superseded, so the log's end is a state that clients could have seen.
  checkpoint::Batch ReadForLog() CAIRN_REQUIRES(mutex);
  /// Everything ≤ through is durable.
  void MarkPersisted(Seqno through, Effects& fx) CAIRN_REQUIRES(mutex);
  /// `bytes` were written to the log, for operations up to `through`.
  void CountLogged(Seqno through, size_t bytes) CAIRN_REQUIRES(mutex) {
    if (window_ && through > window_->start) window_->bytes += bytes;
  }
  /// A write failed: what is not known to be durable is read again.
  void RewindLog() CAIRN_REQUIRES(mutex);
  size_t unpersisted() const CAIRN_REQUIRES(mutex);
  bool queued() const CAIRN_REQUIRES(mutex) { return queued_; }
  void set_queued(bool queued) CAIRN_REQUIRES(mutex) { queued_ = queued; }
  /// Of a replica an exact point.
  Seqno high_seqno() const CAIRN_REQUIRES(mutex) {
    return applying_ ? passed_ : std::max(passed_, checkpoints_->high_seqno());
  }
  Seqno persisted() const CAIRN_REQUIRES(mutex) { return persisted_; }
  Seqno merged() const CAIRN_REQUIRES(mutex) { return merged_; }
  /// persisted(), with what the source passed over behind it.
  Seqno persisted_through() const CAIRN_REQUIRES(mutex) {
    return persisted_ >= checkpoints_->high_seqno() ? std::max(persisted_, high_seqno()) : persisted_;
  }
  CheckpointId last_persisted_checkpoint() const CAIRN_REQUIRES(mutex) { return persisted_checkpoint_; }
  /// Merge may take data up to here: S while a window is open or the marker that completed it is not durable,
  /// else what is persisted; on a replica the last checkpoint's end up to there that the source has persisted
  /// too, so that a rollback has somewhere to go.
  Seqno MergeBound() const CAIRN_REQUIRES(mutex);
  const std::vector<proto::VoidRange>& void_ranges() const CAIRN_REQUIRES(mutex) { return void_ranges_; }
  void MarkMerged(Seqno through) CAIRN_REQUIRES(mutex);
  /// The meta record for a data family at the cut `merged`.
  proto::VbucketMeta MetaAt(Seqno merged) const CAIRN_REQUIRES(mutex);

  // --- disk answers ---
  /// What a fetch found: `found` is the value item on disk, null: no such key. `seqno` as in fetch_seqno.
  void ApplyFetched(const hashtable::HashedKey& key, ItemRef found, Seqno seqno, Effects& fx)
      CAIRN_REQUIRES(mutex);
  /// The version `seqno` could not be read (0: the key): told to the next client who asks for that.
  void FetchFailed(std::string_view key, Seqno seqno, Code code) CAIRN_REQUIRES(mutex);
  /// Is `seqno` still the ejected version of `key` that clients see? Not one that is just being taken back:
  /// the table may hold it when the merge has released its log record already.
  bool StillEjected(const hashtable::HashedKey& key, Seqno seqno) const CAIRN_REQUIRES(mutex);

  // --- recovery and warm-up ---
  void Restore(const proto::VbucketMeta& meta) CAIRN_REQUIRES(mutex);
  /// One operation of the log behind data, in order.
  Status Replay(ItemRef item, CheckpointId checkpoint) CAIRN_REQUIRES(mutex);
  /// The log is replayed: opens the sequence behind it; after an unclean end with a gap, and a new branch.
  void OpenSequence(bool clean, uint64_t new_uuid, const OpTime& now) CAIRN_REQUIRES(mutex);
  /// An item of data, when the table does not know its key. False: it did.
  bool LoadFromData(ItemRef item) CAIRN_REQUIRES(mutex);
  bool warm() const CAIRN_REQUIRES(mutex) { return warm_; }
  void SetCold() CAIRN_REQUIRES(mutex) { warm_ = false; }
  /// Data is loaded; from now on what the table does not hold does not exist.
  void SetWarm() CAIRN_REQUIRES(mutex) { warm_ = true; }
  /// Removes tombstones that only mattered while the vbucket was cold; false at the end.
  bool SweepTombstones(hashtable::VisitCursor& cursor, Effects& fx) CAIRN_REQUIRES(mutex);
  void set_phase(const Phase* phase) CAIRN_REQUIRES(mutex) { phase_ = phase; }
  /// Moves on regardless of phases: a decision found at recovery.
  void EndWindow(bool commit, int64_t wall_ns, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);

  // --- rebuild and disk snapshots (vbucket_recovery.cc) ---
  /// Rises when table and sequence are replaced: who remembers something of them compares it.
  uint64_t content() const CAIRN_REQUIRES(mutex) { return content_; }
  /// Tombstones up to here may be gone from data.
  Seqno purged() const CAIRN_REQUIRES(mutex) { return purge_seqno_; }
  void RaisePurge(Seqno through) CAIRN_REQUIRES(mutex) { purge_seqno_ = std::max(purge_seqno_, through); }
  /// Nothing is read for the log: what is on disk is being replaced, or a disk snapshot is not recorded yet.
  bool log_held() const CAIRN_REQUIRES(mutex) { return log_held_ || unrecorded_.has_value(); }
  /// Operations are just being applied, or it is being promoted.
  bool busy() const CAIRN_REQUIRES(mutex) { return applying_ || promoting_; }
  bool snapshot_unrecorded() const CAIRN_REQUIRES(mutex) { return unrecorded_.has_value(); }
  /// Ended by ReplaceContent or CancelHold.
  void HoldLog() CAIRN_REQUIRES(mutex) { log_held_ = true; }
  void CancelHold(Effects& fx) CAIRN_REQUIRES(mutex);
  /// A replica's log may be merged to its end, whatever its source has persisted: a disk snapshot goes on
  /// behind it.
  void SetMergeToEnd(bool to_end) CAIRN_REQUIRES(mutex) { merge_to_end_ = to_end; }
  /// Everything up to the end is in the log, and that in data.
  bool AllMerged() const CAIRN_REQUIRES(mutex) {
    return !applying_ && !undoing_ && persisted_ >= checkpoints_->high_seqno() &&
           merged_ >= checkpoints_->high_seqno();
  }
  /// Table, sequence and where they stand become those of `fresh`, which was restored from disk and nobody
  /// else knows, and the other way round, so that what was here is freed with it. Streams are cancelled.
  /// State and epoch stay. Not while something is applied.
  void ReplaceContent(VBucket& fresh, Effects& fx) CAIRN_REQUIRES(mutex, fresh.mutex);
  /// What it holds counts no more for the engine's memory: it is about to be destroyed.
  void ForgetMemory() CAIRN_REQUIRES(mutex);
  /// An item of the disk snapshot that is being received; a newer version that is known wins.
  void Receive(const ItemRef& item, Effects& fx) CAIRN_REQUIRES(mutex);
  /// `key` is on disk in this version, and memory is short: its value leaves memory.
  void EjectReceived(std::string_view key, Seqno seqno, Effects& fx) CAIRN_REQUIRES(mutex);
  /// The vbucket stands at the snapshot's end; until FinishSnapshot nothing behind it is read for the log.
  /// Returns the sequence of before, to be destroyed.
  std::unique_ptr<checkpoint::CheckpointManager> EndSnapshot(CheckpointId open, const OpTime& now,
                                                             Effects& fx) CAIRN_REQUIRES(mutex);
  /// Once the snapshot is in data: the record that says so …
  proto::VbucketMeta MetaAtSnapshotEnd() const CAIRN_REQUIRES(mutex);
  /// … and when that is durable.
  void FinishSnapshot(Effects& fx) CAIRN_REQUIRES(mutex);

  // --- memory ---
  /// Ejects values of persisted, rarely used items and pre-images among the next segment's; false at the end
  /// of the table. `frequency_max`: items used more often are spared and aged.
  bool EjectSome(hashtable::VisitCursor& cursor, int frequency_max, size_t* freed, Effects& fx)
      CAIRN_REQUIRES(mutex);
  bool EjectPreimages(hashtable::VisitCursor& cursor, size_t* freed, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Deletes expired items among the next segment's; false at the end.
  bool ExpireSome(hashtable::VisitCursor& cursor, size_t* expired, const OpTime& now, Effects& fx)
      CAIRN_REQUIRES(mutex);
  /// Items of the next segment, for dumps.
  bool CollectSome(hashtable::VisitCursor& cursor, size_t items_min, const OpTime& now,
                   std::vector<ItemRef>* items) const CAIRN_REQUIRES(mutex);

  /// Everything of the next segment, tombstones included; for evidence.
  bool CollectEverySome(hashtable::VisitCursor& cursor, size_t items_min, std::vector<ItemRef>* items) const
      CAIRN_REQUIRES(mutex);

  // --- looking ---
  uint64_t digest() const CAIRN_REQUIRES(mutex) { return table_.digest(); }
  hashtable::TableStats table_stats() const CAIRN_REQUIRES(mutex) { return table_.stats(); }
  const checkpoint::CheckpointManager& checkpoints() const CAIRN_REQUIRES(mutex) { return *checkpoints_; }
  uint64_t history_uuid() const CAIRN_REQUIRES(mutex) {
    return failover_log_.empty() ? 0 : failover_log_.front().uuid;
  }
  Cas max_cas() const CAIRN_REQUIRES(mutex) { return max_cas_; }
  size_t live_items() const CAIRN_REQUIRES(mutex) {
    const hashtable::TableStats stats = table_.stats();
    return stats.items - stats.deleted_items;
  }

 private:
  enum class Known : uint8_t { kLive, kAbsent, kUnknown };

  void MoveTo(const Phase* phase, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  void BeginWindow(const Phase& phase, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  void OpenWindow(const proto::Marker& marker) CAIRN_REQUIRES(mutex);
  void TakeBack(Seqno end) CAIRN_REQUIRES(mutex);
  /// Ranges come in ascending order; one that is known, merged or empty is not added.
  void AddVoidRange(const proto::VoidRange& range) CAIRN_REQUIRES(mutex);
  /// The window's COMPLETE has been appended.
  void KeepWindow(Effects& fx) CAIRN_REQUIRES(mutex);
  /// Brings the key's live version; turns an expired or flushed one into a deletion first.
  Known Lookup(const hashtable::HashedKey& key, const OpTime& now, Item** item, Effects& fx)
      CAIRN_REQUIRES(mutex);
  bool Gone(const Item& item, const OpTime& now) const CAIRN_REQUIRES(mutex) {
    return item.expired_at(now.wall_s) || item.seqno() <= flush_seqno_;
  }
  /// So much has not become durable that an unclean end might give a seqno out twice: writes wait.
  bool TooFarBehind() const CAIRN_REQUIRES(mutex) {
    return checkpoints_->high_seqno().get() > std::max(persisted_, seqno_base_).get() + kUnpersistedMax;
  }
  Code BlockForFetch(const hashtable::HashedKey& key, Seqno seqno, Effects& fx) CAIRN_REQUIRES(mutex);
  /// The one way a client's change comes about. `old` is what the table holds (null: nothing).
  MutationResult Commit(const hashtable::HashedKey& key, Item* old, ItemRef fresh, const OpTime& now,
                        Effects& fx) CAIRN_REQUIRES(mutex);
  /// Of the vbucket as the sequence says it is; nothing while that is not in memory.
  std::optional<uint64_t> EndDigest() const CAIRN_REQUIRES(mutex);
  void AppendMarker(const proto::Marker& marker, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  void RecordPreimage(const hashtable::HashedKey& key, Item* old, const Item& fresh) CAIRN_REQUIRES(mutex);
  void RestoreKey(const hashtable::HashedKey& key, Preimages::Entry entry, Effects& fx) CAIRN_REQUIRES(mutex);
  void RestoreIfUndoing(const hashtable::HashedKey& key, Effects& fx) CAIRN_REQUIRES(mutex);
  Status ReplayMarker(const Item& item) CAIRN_REQUIRES(mutex);
  void DropConsumedTombstones(Effects& fx) CAIRN_REQUIRES(mutex);
  void ApplyOperation(const ItemRef& item, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  void ApplyMarker(const ItemRef& item, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  void FollowUpdate(const proto::Marker& marker, Effects& fx) CAIRN_REQUIRES(mutex);
  /// A new branch of history from behind `seqno` on. Entries above it speak of operations that are not here.
  void AddBranch(uint64_t uuid, Seqno seqno) CAIRN_REQUIRES(mutex);
  /// What had been given up is here again, durably.
  void NoteRegained() CAIRN_REQUIRES(mutex) {
    if (regain_ != Seqno() && persisted_through() >= regain_) regain_ = Seqno();
  }
  /// The source's checkpoint ended at `seqno`.
  void NoteCheckpointEnd(Seqno seqno) CAIRN_REQUIRES(mutex);
  /// Where the log of a replica may be merged to, at most `limit`.
  Seqno CheckpointEndUpTo(Seqno limit) const CAIRN_REQUIRES(mutex);
  void Announce(Effects& fx) CAIRN_REQUIRES(mutex) {
    if (__builtin_expect(announce_armed_, 0)) {
      announce_armed_ = false;
      fx.announce = true;
    }
  }
  void WakeParked(Effects& fx) CAIRN_REQUIRES(mutex);
  hashtable::HashedKey Hash(std::string_view key) const;
  /// Tells the engine's MemoryUsage what has changed.
  void Account() CAIRN_REQUIRES(mutex);
  void Queue(Effects& fx) CAIRN_REQUIRES(mutex) {
    if (!queued_ && options_.persistent) {
      queued_ = true;
      fx.dirty = true;
    }
  }

  const VBucketOptions options_;
  bool exists_ CAIRN_GUARDED_BY(mutex) = true;
  bool warm_ CAIRN_GUARDED_BY(mutex) = true;
  bool queued_ CAIRN_GUARDED_BY(mutex) = false;  // known to the flusher
  // A stream has read since the last announcement: what comes now is news to it.
  bool announce_armed_ CAIRN_GUARDED_BY(mutex) = false;
  bool applying_ CAIRN_GUARDED_BY(mutex) = false;
  bool promoting_ CAIRN_GUARDED_BY(mutex) = false;
  bool suspended_ CAIRN_GUARDED_BY(mutex) = false;
  bool handing_over_ CAIRN_GUARDED_BY(mutex) = false;
  bool record_in_doubt_ CAIRN_GUARDED_BY(mutex) = false;
  bool own_sequence_ CAIRN_GUARDED_BY(mutex) = true;  // not a source's
  VbucketState state_ CAIRN_GUARDED_BY(mutex) = VbucketState::kActive;
  const Phase* phase_ CAIRN_GUARDED_BY(mutex) = nullptr;
  hashtable::HashTable table_ CAIRN_GUARDED_BY(mutex);
  std::unique_ptr<checkpoint::CheckpointManager> checkpoints_ CAIRN_GUARDED_BY(mutex);
  checkpoint::CursorId persistence_cursor_ CAIRN_GUARDED_BY(mutex) = 0;
  Cas max_cas_ CAIRN_GUARDED_BY(mutex);
  Seqno persisted_ CAIRN_GUARDED_BY(mutex);
  Seqno seqno_base_ CAIRN_GUARDED_BY(mutex);  // this process's seqnos are above it
  CheckpointId persisted_checkpoint_ CAIRN_GUARDED_BY(mutex);
  Seqno merged_ CAIRN_GUARDED_BY(mutex);
  Seqno flush_seqno_ CAIRN_GUARDED_BY(mutex);  // items at or below are gone; 0: none
  hashtable::VisitCursor flush_cursor_ CAIRN_GUARDED_BY(mutex);
  // The log has to keep the flush marker until the end of its sweep is durable: merge stops in front of it.
  Seqno flush_hold_ CAIRN_GUARDED_BY(mutex);  // the marker's seqno; 0: none
  Seqno flush_end_ CAIRN_GUARDED_BY(mutex);   // of the end marker; 0: still sweeping
  std::optional<Window> window_ CAIRN_GUARDED_BY(mutex);
  std::optional<Undoing> undoing_ CAIRN_GUARDED_BY(mutex);
  std::unique_ptr<Preimages> preimages_ CAIRN_GUARDED_BY(mutex);
  /// A window that was completed, until the merge has passed its marker: a crash that loses the marker opens
  /// the window again, and data must not have left its start by then.
  struct Completed {
    Seqno start, marker;
  };
  std::optional<Completed> completed_ CAIRN_GUARDED_BY(mutex);
  std::vector<proto::VoidRange> void_ranges_ CAIRN_GUARDED_BY(mutex);
  std::vector<proto::FailoverEntry> failover_log_ CAIRN_GUARDED_BY(mutex);  // newest first
  std::deque<ItemRef> tombstones_ CAIRN_GUARDED_BY(mutex);  // deleted items in the table, by seqno
  struct FetchError {
    Seqno seqno;
    Code code = Code::kOk;
  };
  std::unordered_map<std::string, FetchError> fetch_errors_ CAIRN_GUARDED_BY(mutex);  // each told once
  std::vector<WaiterRef> parked_ CAIRN_GUARDED_BY(mutex);  // waiting for another state
  uint64_t content_ CAIRN_GUARDED_BY(mutex) = 1;
  bool log_held_ CAIRN_GUARDED_BY(mutex) = false;
  bool merge_to_end_ CAIRN_GUARDED_BY(mutex) = false;
  /// A disk snapshot that is complete in memory, but not on disk.
  struct Unrecorded {
    Seqno start, end;
    CheckpointId open;
  };
  std::optional<Unrecorded> unrecorded_ CAIRN_GUARDED_BY(mutex);
  Seqno purge_seqno_ CAIRN_GUARDED_BY(mutex);
  int64_t accounted_ CAIRN_GUARDED_BY(mutex) = 0;
  int64_t accounted_checkpoints_ CAIRN_GUARDED_BY(mutex) = 0;
  // Where the replayed log stood; meaningless once checkpoints_ is there.
  Seqno replayed_ CAIRN_GUARDED_BY(mutex);
  CheckpointId replayed_checkpoint_ CAIRN_GUARDED_BY(mutex);
  Seqno replay_last_ CAIRN_GUARDED_BY(mutex);  // of the last record that was replayed
  CheckpointId replay_last_checkpoint_ CAIRN_GUARDED_BY(mutex);
  // Replication.
  uint64_t epoch_ CAIRN_GUARDED_BY(mutex) = 0;
  uint64_t stream_incarnation_ CAIRN_GUARDED_BY(mutex) = 1;  // rises when streams are cancelled
  std::vector<checkpoint::CursorId> streams_ CAIRN_GUARDED_BY(mutex);
  Seqno passed_ CAIRN_GUARDED_BY(mutex);  // replica: all of the source's operations up to here were applied
  Seqno source_persisted_ CAIRN_GUARDED_BY(mutex);
  Seqno source_high_ CAIRN_GUARDED_BY(mutex){kSeqnoMax};
  Seqno regain_ CAIRN_GUARDED_BY(mutex);  // as in the record: until it is reached durably
  proto::VbucketMeta::Handover handover_ CAIRN_GUARDED_BY(mutex);
  // A vector, because an empty deque has an allocation, on each of 65,536 vbuckets.
  std::vector<Seqno> checkpoint_ends_ CAIRN_GUARDED_BY(mutex);  // replica: ascending, above merged_
  Seqno verified_ CAIRN_GUARDED_BY(mutex);
  CheckpointId verified_checkpoint_ CAIRN_GUARDED_BY(mutex);
  bool mismatch_ CAIRN_GUARDED_BY(mutex) = false;
  proto::VbucketMeta::LastUpdate last_update_ CAIRN_GUARDED_BY(mutex);
  Seqno snapshot_start_ CAIRN_GUARDED_BY(mutex);
  Seqno snapshot_end_ CAIRN_GUARDED_BY(mutex);
};

}  // namespace cairn::engine
