#pragma once
// Flusher: carries the vbuckets' operations into the log, many vbuckets in one write (group commit).
//
// It works in *cycles*. A cycle takes the vbuckets that were handed over, writes everything they hold, and
// syncs when the policy, the interval or a waiter asks for it. Cycles are numbered; a ticket is the number of
// the next cycle to begin, so when that one is durable, everything done before the ticket was drawn is.
//
// What was written but not synced stays in the checkpoints. When a sync fails the outcome is unknown: tickets
// answer AMBIGUOUS, the store is reopened, and everything since the last sync is written again, which is
// idempotent (same position, same record). A full disk is waited out.
//
// Threads: Enqueue, Ticket, Outcome, Await from any; RunCycle by one thread at a time (its own, or a test's).

#include <atomic>
#include <cstdint>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "engine/core.h"

namespace cairn::engine {

class Flusher {
 public:
  explicit Flusher(Core& core);
  ~Flusher();
  Flusher(const Flusher&) = delete;
  Flusher& operator=(const Flusher&) = delete;

  void Start();
  /// Ends the thread; nothing is written any more.
  void Stop();

  void Enqueue(Vbid vbucket) CAIRN_EXCLUDES(mutex_);

  uint64_t Ticket() const { return cycle_begun_.load(std::memory_order_acquire) + 1; }
  Code Outcome(uint64_t ticket) const;
  void Await(uint64_t ticket, const WaiterRef& waiter) CAIRN_EXCLUDES(mutex_);
  /// Asks that the cycle of `ticket` begins at once and is synced whatever the policy.
  void Hurry(uint64_t ticket) CAIRN_EXCLUDES(mutex_);

  /// Another user of the store met AMBIGUOUS or IO_ERROR: the next cycle reopens it and writes again.
  void ReportStoreFailure() CAIRN_EXCLUDES(mutex_);

  void SetPaused(bool paused) CAIRN_EXCLUDES(mutex_);
  bool paused() const { return paused_.load(std::memory_order_relaxed); }

  /// Waits for the end of a cycle that is under way, and forgets what was written of these vbuckets: nothing
  /// that was read of them before is marked durable any more. Their logs are held (VBucket::HoldLog), so
  /// nothing more is read either.
  void Forget(std::span<const Vbid> vbuckets) CAIRN_EXCLUDES(cycle_mutex_);

  /// One cycle. `sync`: whatever the policy. True when something was written or synced. On an error the rest
  /// is handed over again and the error returned (and counted).
  Result<bool> RunCycle(bool sync) CAIRN_EXCLUDES(mutex_, cycle_mutex_);
  /// Is there anything to write or to sync?
  bool idle() const CAIRN_EXCLUDES(mutex_);
  Status last_error() const CAIRN_EXCLUDES(mutex_);

 private:
  struct Written {
    Vbid vbucket;
    Seqno through;
    size_t bytes;
  };
  void Run();
  bool WaitForWork() CAIRN_EXCLUDES(mutex_);
  bool SyncDue(int64_t now_ns) const CAIRN_REQUIRES(mutex_);
  Status WriteVbucket(Vbid vbucket) CAIRN_EXCLUDES(mutex_);
  void Encode(Vbid vbucket, const checkpoint::Batch& batch);
  Status WriteGathered(bool sync) CAIRN_EXCLUDES(mutex_);
  Status WriteAll(const std::vector<Vbid>& vbuckets) CAIRN_EXCLUDES(mutex_);
  /// What is durable now may be merged. (Not what is only written: a pass would pass over it and forget it.)
  void OfferForMerge();
  void MarkDurable(uint64_t cycle) CAIRN_EXCLUDES(mutex_);
  Status Fail(Status status, const std::vector<Vbid>& vbuckets, uint64_t cycle) CAIRN_EXCLUDES(mutex_);
  void WakeDone() CAIRN_EXCLUDES(mutex_);

  Core& core_;
  std::atomic<uint64_t> cycle_begun_{0};
  std::atomic<uint64_t> cycle_durable_{0};
  std::atomic<uint64_t> cycle_ambiguous_{0};  // tickets up to here that are not durable are ambiguous
  std::atomic<bool> paused_{false};
  std::atomic<bool> store_failed_{false};

  mutable Mutex mutex_;
  CondVar wake_;
  std::vector<Vbid> queue_ CAIRN_GUARDED_BY(mutex_);
  std::vector<std::pair<uint64_t, WaiterRef>> waiters_ CAIRN_GUARDED_BY(mutex_);
  uint64_t hurry_ CAIRN_GUARDED_BY(mutex_) = 0;
  int64_t last_sync_ns_ CAIRN_GUARDED_BY(mutex_) = 0;
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  bool unsynced_any_ CAIRN_GUARDED_BY(mutex_) = false;
  Status last_error_ CAIRN_GUARDED_BY(mutex_);

  // Held through a cycle; what follows is the cycle's alone.
  Mutex cycle_mutex_;
  storage::LogBatch batch_;
  size_t batch_bytes_ = 0;
  std::vector<Written> gathered_;                 // in batch_
  bool wrote_ = false;                            // this cycle has written already
  bool unhurried_ = false;                        // nobody waits for this cycle
  std::unordered_map<uint32_t, Seqno> unsynced_;  // written, by vbucket
  uint64_t unsynced_bytes_ = 0;                   // written, not offered for merging yet
  std::thread thread_;
};

}  // namespace cairn::engine
