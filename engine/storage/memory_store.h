#pragma once
// MemoryStore: a KvStore for tests and the simulator. Maps in memory that know what would be durable, so that
// a crash can be played: of a disk it has the promises of kv_store.h and nothing more. Where the face allows
// several outcomes (which unsynced batches or unflushed data changes a crash keeps, how far a failed write
// got), a seeded generator picks one, so that a caller that relies on more is found.
//
// Owned by the test. Threads: as KvStore; Crash* and Reopen alone. Hooks run on the calling thread without
// the store's lock.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"
#include "engine/storage/kv_store.h"

namespace cairn::storage {

class MemoryStore final : public KvStore {
 public:
  enum class Op : uint8_t { kWriteLog, kSyncLog, kWriteData, kFlushData, kLoadData, kDropVbucket };

  explicit MemoryStore(uint64_t seed = 1);

  Status WriteLog(const LogBatch& batch, bool sync) override;
  Status SyncLog() override;
  Status WriteData(std::span<const DataChange> sorted_changes) override;
  Status FlushData() override;
  Status LoadData(std::span<const DataRun> runs) override;
  Status Settle() override { return Status::Ok(); }
  Result<std::string> GetLog(LogKey key) override;
  Result<std::string> GetData(Vbid vbucket, std::string_view key) override;
  Result<std::string> GetMeta(std::string_view name) override;
  Result<std::vector<std::pair<std::string, std::string>>> ScanMeta(std::string_view prefix) override;
  std::unique_ptr<Iterator> ReadLog(Vbid vbucket, Seqno first, Seqno last) override;
  std::unique_ptr<Iterator> ReadData(Vbid vbucket, std::string_view from_key) override;
  /// Released records vanish at once, and so do released tombstones.
  void ReleaseLog(Vbid vbucket, Seqno through) override;
  void ReleaseTombstones(Vbid vbucket, Seqno through) override;
  Status DropVbucket(Vbid vbucket) override;
  /// After AMBIGUOUS as CrashPower, else as CrashProcess; what is then there is durable. NO_SPACE while a
  /// plan of FailNth would still answer that.
  Status Reopen() override;
  StoreStats stats() const override;
  Status Compact() override;

  // Crashes: from now on the store shows what an opening after the crash would find, durable.
  /// The least that is promised: nothing unsynced, nothing unflushed.
  void Crash();
  /// kill -9: every log batch written, any subset of the unflushed data changes.
  void CrashProcess(uint64_t seed);
  /// Power loss: a prefix of the unsynced log batches, any subset of the unflushed data changes.
  void CrashPower(uint64_t seed);

  /// The `n`th mutating call from now (1 = the next one) answers `status`, and all after it when `forever`.
  /// A failed call may have had a part of its effect, as the face allows for its kind of error.
  void FailNth(uint64_t n, Status status, bool forever);
  /// The same for reads: Get*, ScanMeta, and an iterator from its first record on.
  void FailNthRead(uint64_t n, Status status, bool forever);
  /// Ends both plans; after AMBIGUOUS or NO_SPACE it still takes a Reopen.
  void ClearFailures();
  /// WriteLog, SyncLog, WriteData, FlushData, LoadData and DropVbucket so far.
  uint64_t mutating_calls() const;
  uint64_t read_calls() const;
  /// Called at the start of each mutating call. Set it while nobody else is inside.
  void SetHook(std::function<void(Op)> hook) { hook_ = std::move(hook); }

 private:
  // Values are shared between what is live, what is durable and what iterators hold.
  using Value = std::shared_ptr<const std::string>;
  using DataKey = std::pair<Vbid, std::string>;
  struct LogState {
    std::map<LogKey, Value> log;
    std::map<std::string, Value, std::less<>> meta;
  };
  struct PendingBatch {
    std::vector<std::pair<LogKey, Value>> records;
    std::vector<std::pair<std::string, Value>> meta_puts;
    std::vector<std::string> meta_deletes;
    std::vector<std::pair<Vbid, Seqno>> log_cuts;
    bool rejected = false;  // the caller got an error: not live, but a crash may bring it back
  };
  struct PendingChange {
    DataKey key;
    Value value;  // null: removed
  };
  struct FailurePlan {
    uint64_t at = 0;  // number of the call, 0 = never
    Status status;
    bool forever = false;
    Status Check(uint64_t call) const;
  };

  static PendingBatch Share(const LogBatch& batch);
  static void Apply(const PendingBatch& batch, LogState& state);
  static void Apply(const PendingChange& change, std::map<DataKey, Value>& data);
  // Counts the call and answers what the plan or what stopped the store earlier says.
  Status BeginMutation() CAIRN_REQUIRES(mutex_);
  Status BeginRead() CAIRN_REQUIRES(mutex_);
  void CallHook(Op op) CAIRN_EXCLUDES(mutex_);
  void Harden(LogState& state) CAIRN_REQUIRES(mutex_);
  void ForgetRejected() CAIRN_REQUIRES(mutex_);
  void KeepAfterCrash(size_t batches, Random* data_choice) CAIRN_REQUIRES(mutex_);
  void ApplyPart(std::vector<PendingChange> changes) CAIRN_REQUIRES(mutex_);
  /// BeginMutation of sorted changes; when it fails some of them have been applied.
  Status BeginChanges(const std::vector<PendingChange>& changes) CAIRN_REQUIRES(mutex_);
  /// Live log records that the batch's cuts make vanish.
  size_t CountCut(const LogBatch& batch) const CAIRN_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::function<void(Op)> hook_;
  Random random_ CAIRN_GUARDED_BY(mutex_);
  LogState live_ CAIRN_GUARDED_BY(mutex_);
  LogState durable_ CAIRN_GUARDED_BY(mutex_);
  std::vector<PendingBatch> unsynced_ CAIRN_GUARDED_BY(mutex_);  // in order of writing
  std::map<DataKey, Value> live_data_ CAIRN_GUARDED_BY(mutex_);
  std::map<DataKey, Value> durable_data_ CAIRN_GUARDED_BY(mutex_);
  std::vector<PendingChange> unflushed_ CAIRN_GUARDED_BY(mutex_);
  Status stopped_ CAIRN_GUARDED_BY(mutex_);  // AMBIGUOUS or NO_SPACE, until Reopen
  FailurePlan write_plan_ CAIRN_GUARDED_BY(mutex_);
  FailurePlan read_plan_ CAIRN_GUARDED_BY(mutex_);
  uint64_t mutating_calls_ CAIRN_GUARDED_BY(mutex_) = 0;
  uint64_t read_calls_ CAIRN_GUARDED_BY(mutex_) = 0;
  StoreStats stats_ CAIRN_GUARDED_BY(mutex_);
};

}  // namespace cairn::storage
