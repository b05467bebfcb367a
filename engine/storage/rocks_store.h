#pragma once
// RocksStore: the KvStore over one RocksDB with the families log, data and meta. docs/storage.md says how it
// works and why. Internal: everybody else opens one with OpenRocksStore.

#include <rocksdb/db.h>

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "engine/storage/kv_store.h"
#include "engine/storage/log_cleaner.h"
#include "engine/storage/log_release.h"
#include "engine/storage/rocks_options.h"

namespace cairn::storage {

class RocksStore final : public KvStore {
 public:
  explicit RocksStore(RocksStoreOptions options);
  ~RocksStore() override;

  /// Opens or creates; called once, before anything else.
  Status Open();

  Status WriteLog(const LogBatch& batch, bool sync) override;
  Status SyncLog() override;
  Status WriteData(std::span<const DataChange> sorted_changes) override;
  Status FlushData() override;
  Status LoadData(std::span<const DataRun> runs) override;
  Status Settle() override;
  Result<std::string> GetLog(LogKey key) override;
  Result<std::string> GetData(Vbid vbucket, std::string_view key) override;
  Result<std::string> GetMeta(std::string_view name) override;
  Result<std::vector<std::pair<std::string, std::string>>> ScanMeta(std::string_view prefix) override;
  std::unique_ptr<Iterator> ReadLog(Vbid vbucket, Seqno first, Seqno last) override;
  std::unique_ptr<Iterator> ReadData(Vbid vbucket, std::string_view from_key) override;
  void ReleaseLog(Vbid vbucket, Seqno through) override;
  void ReleaseTombstones(Vbid vbucket, Seqno through) override;
  Status DropVbucket(Vbid vbucket) override;
  Status Reopen() override;
  StoreStats stats() const override;
  Status Compact() override;

 private:
  enum Family : size_t { kDefault, kLog, kData, kMeta, kFamilies };

  // rocks_open.cc
  Status OpenRocks();
  Status PrepareDirectory() const;
  Status CheckFormat();
  Result<bool> IsEmpty() const;
  void Close();

  // rocks_load.cc
  Status WriteRun(const DataRun& run, const std::string& path) const;
  Status TakeOver(const std::vector<std::string>& paths) CAIRN_EXCLUDES(data_mutex_);
  Status RemoveLoadFiles() const;

  // OK when open and nothing has stopped the writes.
  Status Writable() const CAIRN_EXCLUDES(error_mutex_);
  Status Readable() const CAIRN_EXCLUDES(error_mutex_);
  // The answer to a failed write; lets no other one through until Reopen where the face says so.
  Status StopOn(Status status) CAIRN_EXCLUDES(error_mutex_);
  bool EnoughSpaceToOpen() const;
  /// Bytes of disk that must be free for opening after NO_SPACE.
  uint64_t SpaceToOpen() const;
  Status WriteSynced(rocksdb::WriteBatch* batch, bool sync, std::string_view what);
  Status WriteDataBatch(rocksdb::WriteBatch* batch) CAIRN_EXCLUDES(data_mutex_);
  Status FlushDataLocked() CAIRN_REQUIRES(data_mutex_);
  bool DataMemtablesAreEmpty() const CAIRN_REQUIRES(data_mutex_);
  /// The keys of the log records that the batch's cuts make vanish.
  Result<std::vector<std::string>> CutKeys(const LogBatch& batch);
  Status DeleteVbucketFrom(Family family, Vbid vbucket);
  Result<std::string> Get(Family family, const std::string& key, std::string (*describe)(std::string_view));

  rocksdb::ColumnFamilyHandle* handle(Family family) const { return handles_[family]; }

  const RocksStoreOptions options_;
  const std::shared_ptr<LogRelease> release_ = std::make_shared<LogRelease>();
  const std::shared_ptr<LogRelease> tombstone_release_ = std::make_shared<LogRelease>();
  const std::unique_ptr<rocksdb::Env> env_;  // outlives db_
  std::shared_ptr<rocksdb::Cache> cache_;
  std::unique_ptr<rocksdb::DB> db_;                    // null while closed
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // in the order of Family
  std::unique_ptr<LogCleaner> cleaner_;
  std::unique_ptr<const rocksdb::Options> load_options_;  // of files that LoadData makes
  std::atomic<uint64_t> load_files_{0};                   // that it has made; their names

  // Held for one write or load of data, and by FlushData until it has seen that nothing is left.
  Mutex data_mutex_;
  mutable Mutex error_mutex_;
  Status stopped_ CAIRN_GUARDED_BY(error_mutex_);  // AMBIGUOUS or NO_SPACE, until Reopen
  Status closed_ CAIRN_GUARDED_BY(error_mutex_);   // why db_ is null

  std::atomic<int> open_iterators_{0};
  // Counts unsynced log writes that returned, and how many of these are synced: SyncLog does nothing when
  // there is nothing to do.
  std::atomic<uint64_t> unsynced_writes_{0};
  std::atomic<uint64_t> synced_writes_{0};
  std::atomic<uint64_t> syncs_{0};
  std::atomic<uint64_t> log_writes_{0};
};

}  // namespace cairn::storage
