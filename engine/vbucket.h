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

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
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
  bool dirty = false;  // hand the vbucket to the flusher
  bool fetch = false;  // read the key from disk, then wake the waiter
  Seqno fetch_seqno;   // of the ejected item; 0: by key alone (the vbucket is cold)

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
/// … and writes are refused when so many are not durable, so that none is ever given out twice.
inline constexpr uint64_t kUnpersistedMax = uint64_t{1} << 27;

class VBucket {
 public:
  explicit VBucket(const VBucketOptions& options);
  VBucket(const VBucket&) = delete;
  VBucket& operator=(const VBucket&) = delete;

  Vbid id() const { return options_.id; }
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
  /// Appends the marker and wakes who was parked. No change: nothing happens.
  void SetState(VbucketState state, int64_t wall_ns, const OpTime& now, Effects& fx) CAIRN_REQUIRES(mutex);
  /// Forgets all content of a dead vbucket; seqno and CAS go on rising if it is made again.
  void Delete(Effects& fx) CAIRN_REQUIRES(mutex);
  /// Makes it again, empty and dead.
  void Recreate(uint64_t history_uuid) CAIRN_REQUIRES(mutex);
  bool CloseCheckpoint(const OpTime& now) CAIRN_REQUIRES(mutex);
  /// Closes the open checkpoint when it is old enough; over the checkpoints' budget, drops the cursor that
  /// stands furthest behind, if it may be dropped (a stream's: it goes back to disk).
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
  Seqno high_seqno() const CAIRN_REQUIRES(mutex) { return checkpoints_->high_seqno(); }
  Seqno persisted() const CAIRN_REQUIRES(mutex) { return persisted_; }
  Seqno merged() const CAIRN_REQUIRES(mutex) { return merged_; }
  CheckpointId last_persisted_checkpoint() const CAIRN_REQUIRES(mutex) { return persisted_checkpoint_; }
  /// Merge may take data up to here: S while a window is open, else what is persisted.
  Seqno MergeBound() const CAIRN_REQUIRES(mutex);
  const std::vector<proto::VoidRange>& void_ranges() const CAIRN_REQUIRES(mutex) { return void_ranges_; }
  void MarkMerged(Seqno through) CAIRN_REQUIRES(mutex);
  /// The meta record for a data family at the cut `merged`.
  proto::VbucketMeta MetaAt(Seqno merged) const CAIRN_REQUIRES(mutex);

  // --- disk answers ---
  /// What a fetch found: `found` is the value item on disk, null: no such key. `seqno` as in fetch_seqno.
  void ApplyFetched(const hashtable::HashedKey& key, ItemRef found, Seqno seqno, Effects& fx)
      CAIRN_REQUIRES(mutex);
  void FetchFailed(std::string_view key, Code code) CAIRN_REQUIRES(mutex);
  /// Is `seqno` still the ejected version of `key` (in the table or among the pre-images)?
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
  void OpenWindow(const UpdateId& id, Seqno start, CheckpointId checkpoint, uint64_t digest)
      CAIRN_REQUIRES(mutex);
  void TakeBack(Seqno end) CAIRN_REQUIRES(mutex);
  /// Ranges come in ascending order; one that is known, merged or empty is not added.
  void AddVoidRange(const proto::VoidRange& range) CAIRN_REQUIRES(mutex);
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
  std::vector<proto::VoidRange> void_ranges_ CAIRN_GUARDED_BY(mutex);
  std::vector<proto::FailoverEntry> failover_log_ CAIRN_GUARDED_BY(mutex);  // newest first
  std::deque<ItemRef> tombstones_ CAIRN_GUARDED_BY(mutex);  // deleted items in the table, by seqno
  std::unordered_map<std::string, Code> fetch_errors_ CAIRN_GUARDED_BY(mutex);  // each told once
  std::vector<WaiterRef> parked_ CAIRN_GUARDED_BY(mutex);                       // waiting for another state
  int64_t accounted_ CAIRN_GUARDED_BY(mutex) = 0;
  int64_t accounted_checkpoints_ CAIRN_GUARDED_BY(mutex) = 0;
  // Where the replayed log stood; meaningless once checkpoints_ is there.
  Seqno replayed_ CAIRN_GUARDED_BY(mutex);
  CheckpointId replayed_checkpoint_ CAIRN_GUARDED_BY(mutex);
};

}  // namespace cairn::engine
