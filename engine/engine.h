#pragma once
// Engine: the vbuckets of one node, their flushers, and the online update over all of them. The one door
// through which server/, tap/ and tests use the core.
//
// Owner: main (or a test); several engines may live in one process. Threads: every public method may be
// called from any thread unless its comment says otherwise. Data operations take one vbucket's lock, never
// wait for I/O, and answer kWouldBlock with the waiter kept when a value must be read from disk, the
// vbucket is pending, or (during warm-up) the key is not known yet. Callbacks run on engine threads and
// must not block.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "engine/announce.h"
#include "engine/durability.h"
#include "engine/ops.h"
#include "engine/options.h"
#include "proto/meta_record.h"

namespace cairn::storage {
class KvStore;
}

namespace cairn::engine {

struct EngineDeps {
  Clock* clock = nullptr;                   // not owned; must outlive the engine
  std::unique_ptr<storage::KvStore> store;  // null: memory only
  bool threads = true;                      // false: tests step the background work with RunBackground
  uint64_t seed = 0;                        // 0: from the system's entropy
};

/// Where a vbucket stands and how it came there.
struct VbucketHistory {
  VbucketState state = VbucketState::kDead;
  std::vector<proto::FailoverEntry> failover_log;  // newest first
  Seqno high, persisted;
};

class Replication;

class Engine {
 public:
  /// Opens the store's state: recovers vbuckets, replays the log behind data, carries a decided online
  /// update to its end. On return operations are served; loading the rest into memory goes on behind.
  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options, EngineDeps deps);
  ~Engine();  // like Shutdown(false) when not shut down: as if killed
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Stops background work. `persist`: writes and syncs everything and marks the store clean; an error
  /// says what could not be written. No operation may run concurrently or follow.
  Status Shutdown(bool persist);

  // --- keys and time ---
  OpKey MakeKey(std::string_view key) const;
  uint32_t vbucket_count() const;
  /// memcached's rule: 0 never; negative: at once; up to 30 days: from now; else a Unix time.
  uint32_t AbsoluteExpiry(int64_t exptime) const;
  const EngineOptions& options() const;

  // --- data operations (any thread) ---
  GetResult Get(const OpKey& key, const WaiterRef& waiter);
  /// Many reads at once, with the memory latencies overlapped; results[i] belongs to keys[i].
  void GetMany(std::span<const OpKey> keys, std::span<GetResult> results, const WaiterRef& waiter);
  /// Hint before a batch of single operations: brings the keys' cache lines in. Any size.
  void Prefetch(std::span<const OpKey> keys);
  /// Before a batch of operations on the calling thread: streams are told of them when the result goes out of
  /// scope.
  [[nodiscard]] AnnounceLater AnnounceAtEnd() const;
  TouchedResult GetAndTouch(const OpKey& key, uint32_t expiry, const WaiterRef& waiter);
  MutationResult Touch(const OpKey& key, uint32_t expiry, const WaiterRef& waiter);
  MutationResult Store(const OpKey& key, const StoreRequest& request, const WaiterRef& waiter);
  MutationResult Delete(const OpKey& key, Cas cas, const WaiterRef& waiter);
  ArithmeticResult Arithmetic(const OpKey& key, const ArithmeticRequest& request, const WaiterRef& waiter);
  /// Everything stored before this call is gone at once; later stores stay. `delay_s`: happen that much
  /// later (0: now). NOT_SUPPORTED during an online update.
  Status FlushAll(uint32_t delay_s);

  // --- durability (docs/durability.md) ---
  /// A number for "everything done before this call".
  uint64_t CommitTicket();
  /// kOk: durable. kWouldBlock: not yet. kAmbiguous: a sync failed since; whether it is durable is unknown.
  Code CommitOutcome(uint64_t ticket) const;
  /// Wakes the waiter when CommitOutcome(ticket) stops being kWouldBlock. Never wakes before returning.
  void AwaitCommit(uint64_t ticket, const WaiterRef& waiter);
  /// What a write has to reach when its request does not say; with policy always never less than the sync.
  DurabilityLevel durability() const;
  /// Sync policy always, and a disk.
  bool syncs_always() const;
  /// INVALID_ARGUMENT when there is no disk for it.
  Status SetDurability(DurabilityLevel level);
  DurabilitySettings durability_settings() const;
  /// All of it or nothing; until the next start. INVALID_ARGUMENT: no disk for the level, or out of range.
  Status SetDurability(const DurabilitySettings& settings);
  /// To be asked before a write with that level: it is not executed unless kOk.
  DurabilityAdmission AdmitDurability(Vbid vbucket, DurabilityLevel level);
  DurabilityAdmission AdmitDurabilityOfAll(DurabilityLevel level);
  /// What was done so far in all active vbuckets, as one write.
  std::vector<Requirement> RequireAll(DurabilityLevel level) const;
  /// `ticket`: a CommitTicket drawn after the write. kOk, kWouldBlock, or kAmbiguous (DurabilityTracker).
  Code DurabilityOutcome(const Requirement& requirement, uint64_t ticket) const;
  /// Wakes the waiter when DurabilityOutcome may have changed, maybe before returning; to be called again
  /// while that is kWouldBlock. The wait ends with what is returned.
  DurabilityWait AwaitDurability(const Requirement& requirement, uint64_t ticket, const WaiterRef& waiter);

  // --- online update: done is called exactly once, with the state after the step, or the error ---
  using UpdateDone = std::function<void(Result<UpdateStatus>)>;
  void StartUpdate(const UpdateRequest& request, UpdateDone done);
  void CompleteUpdate(const UpdateRequest& request, UpdateDone done);
  void RevertUpdate(const UpdateRequest& request, UpdateDone done);
  UpdateStatus update_status() const;

  /// What streams from and to other nodes use (engine/replication.h). Lives as long as the engine.
  Replication& replication();

  // --- vbuckets ---
  using Done = std::function<void(Status)>;
  Result<VbucketState> GetVbucketState(Vbid vbucket) const;  // NOT_MY_VBUCKET when it does not exist
  void SetVbucketState(Vbid vbucket, VbucketState state, Done done);
  /// Only of a dead vbucket; not during an online update. Its data is gone when done is called.
  void DeleteVbucket(Vbid vbucket, Done done);
  Result<CheckpointId> CreateCheckpoint(Vbid vbucket);            // id of the open checkpoint afterwards
  Result<CheckpointId> LastClosedCheckpoint(Vbid vbucket) const;  // last closed and persisted
  Result<VbucketHistory> History(Vbid vbucket) const;             // NOT_MY_VBUCKET when it does not exist
  /// Of an active vbucket or a replica; changes nothing.
  KeyObservation Observe(const OpKey& key, const WaiterRef& waiter);
  /// Calls `done` once, when the seqno and the closed checkpoint (0: neither) are persisted; TMP_FAIL after
  /// `timeout_ms`, NOT_MY_VBUCKET when it is deleted meanwhile. What is written so far is hurried.
  void AwaitPersisted(Vbid vbucket, Seqno seqno, CheckpointId checkpoint, uint32_t timeout_ms, Done done);
  /// (vbucket, high seqno) of those in `state`, or of all.
  std::vector<std::pair<Vbid, Seqno>> HighSeqnos(std::optional<VbucketState> state) const;

  // --- operating ---
  Status StopPersistence();
  Status StartPersistence();
  /// Names: see docs/operations.md. INVALID_ARGUMENT for an unknown name or a value out of its range.
  Status SetParam(std::string_view name, std::string_view value);
  Status CompactStore();
  /// Groups: "" (general), "settings", "checkpoint", "vbucket", "hash", "timings", "online_update",
  /// "warmup", "memory", "kvstore". NOT_FOUND for another. `argument` narrows (a vbucket number) or is
  /// empty.
  Status Stats(std::string_view group, std::string_view argument, const StatSink& sink) const;
  void ResetStats();
  /// Writes as many items as asked, for `cairnctl dump` and metadump: keys in no particular order, from
  /// `position` (empty: the beginning); returns the position to go on from, empty at the end.
  struct DumpPage {
    std::vector<ItemRef> items;  // values or ejected items
    std::string position;
  };
  Result<DumpPage> DumpItems(std::string_view position, size_t items_max);

  // --- tests ---
  /// With deps.threads == false: does one bounded step of every background duty that is due (flush, merge,
  /// fetch, update walk, warm-up, pagers). True when something was done.
  bool RunBackground();
  /// What Replication::ReportReplica tells.
  DurabilityTracker& durability_tracker();
  /// Sums the digests of all vbuckets.
  uint64_t Digest() const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::engine
