#include "engine/storage/rocks_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/write_batch.h>

#include <algorithm>

#include "base/thread_role.h"
#include "engine/storage/log_batch.h"
#include "engine/storage/rocks_error.h"
#include "engine/storage/rocks_iterator.h"
#include "engine/storage/store_key.h"

namespace cairn::storage {
namespace {

// One write of data changes: long enough to spread RocksDB's cost per write, short enough not to keep a log
// write, or a thread that serves and wants this CPU, waiting for more than a fraction of a millisecond.
constexpr size_t kDataBatchItems = 80;
constexpr size_t kDataBatchBytes = size_t{64} << 10;
constexpr size_t kDropBatchItems = 1000;

// RocksDB's bookkeeping per record of a WriteBatch, generously.
constexpr size_t kBatchRecordOverhead = 32;

// The memtable takes sorted keys several times faster than unsorted ones.
std::vector<const std::pair<LogKey, std::string>*> SortedRecords(const LogBatch& batch) {
  std::vector<const std::pair<LogKey, std::string>*> sorted;
  sorted.reserve(batch.records.size());
  for (const auto& record : batch.records) sorted.push_back(&record);
  const auto less = [](const auto* a, const auto* b) { return a->first < b->first; };
  if (!std::is_sorted(sorted.begin(), sorted.end(), less))
    std::stable_sort(sorted.begin(), sorted.end(), less);
  return sorted;
}

void RaiseTo(std::atomic<uint64_t>& target, uint64_t value) {
  uint64_t seen = target.load();
  while (seen < value && !target.compare_exchange_weak(seen, value)) {
  }
}

uint64_t Property(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family, const std::string& name) {
  uint64_t value = 0;
  return db.GetIntProperty(family, name, &value) ? value : 0;
}

}  // namespace

Status RocksStore::Readable() const {
  if (db_ != nullptr) return Status::Ok();
  MutexLock lock(error_mutex_);
  return closed_;
}

Status RocksStore::Writable() const {
  MutexLock lock(error_mutex_);
  if (!stopped_.ok()) return stopped_;
  return db_ != nullptr ? Status::Ok() : closed_;
}

Status RocksStore::StopOn(Status status) {
  if (status.code() != Code::kAmbiguous && status.code() != Code::kNoSpace) return status;
  MutexLock lock(error_mutex_);
  if (stopped_.ok() || stopped_ == Code::kNoSpace) stopped_ = status;
  return status;
}

Status RocksStore::WriteSynced(rocksdb::WriteBatch* batch, bool sync, std::string_view what) {
  const uint64_t before = unsynced_writes_.load();
  rocksdb::WriteOptions options;
  options.sync = sync;
  const rocksdb::Status status = db_->Write(options, batch);
  if (!status.ok()) {
    Status answer = FromRocks(status, what);
    // RocksDB does not tell whether bytes reached the file, and a failed sync may have dropped pages that a
    // second one would not miss. So nobody writes any more until Reopen has read back what is there.
    if (answer == Code::kIoError) answer = Status(Code::kAmbiguous, std::string(answer.message()));
    return StopOn(std::move(answer));
  }
  if (sync) {
    RaiseTo(synced_writes_, before);
    syncs_.fetch_add(1, std::memory_order_relaxed);
  } else {
    unsynced_writes_.fetch_add(1);
  }
  return Status::Ok();
}

Result<std::vector<std::string>> RocksStore::CutKeys(const LogBatch& batch) {
  std::vector<std::string> keys;
  for (const auto& [vbucket, seqno] : batch.log_cuts) {
    if (seqno.get() >= kSeqnoMax) continue;
    const auto it = ReadLog(vbucket, seqno + 1, Seqno(kSeqnoMax));
    for (; it->Valid() && keys.size() * kLogCutBytes <= kLogBatchBytesMax; it->Next()) {
      keys.push_back(EncodeLogKey(it->log_key()));
    }
    CAIRN_RETURN_IF_ERROR(it->status());
  }
  return keys;
}

Status RocksStore::WriteLog(const LogBatch& batch, bool sync) {
  CAIRN_RETURN_IF_ERROR(Writable());
  // RocksDB's DeleteRange has known errors in 7.8, so a cut names its records one by one. Whoever cuts a
  // vbucket's log is the only one to write to it, so none is missed.
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> cut_keys, CutKeys(batch));
  CAIRN_RETURN_IF_ERROR(CheckLogBatch(batch, cut_keys.size()));
  if (batch.empty()) return sync ? SyncLog() : Status::Ok();

  const size_t count =
      batch.records.size() + batch.meta_puts.size() + batch.meta_deletes.size() + cut_keys.size();
  rocksdb::WriteBatch write(BytesOf(batch) + count * kBatchRecordOverhead);
  rocksdb::Status status;
  for (const std::string& key : cut_keys) {
    if (status.ok()) status = write.Delete(handle(kLog), key);
  }
  for (const auto* record : SortedRecords(batch)) {
    if (!status.ok()) break;
    status = write.Put(handle(kLog), EncodeLogKey(record->first), record->second);
  }
  for (const auto& [name, record] : batch.meta_puts) {
    if (status.ok()) status = write.Put(handle(kMeta), name, record);
  }
  for (const auto& name : batch.meta_deletes) {
    if (status.ok()) status = write.Delete(handle(kMeta), name);
  }
  if (!status.ok()) return FromRocks(status, "build log batch");
  CAIRN_RETURN_IF_ERROR(WriteSynced(&write, sync, "write log"));
  log_writes_.fetch_add(1, std::memory_order_relaxed);
  return Status::Ok();
}

Status RocksStore::SyncLog() {
  CAIRN_RETURN_IF_ERROR(Writable());
  if (synced_writes_.load() >= unsynced_writes_.load()) return Status::Ok();
  // A blob is written to the WAL alone. Unlike DB::SyncWAL it shares RocksDB's group commit.
  rocksdb::WriteBatch mark;
  const rocksdb::Status status = mark.PutLogData("sync");
  if (!status.ok()) return FromRocks(status, "build sync mark");
  return WriteSynced(&mark, true, "sync log");
}

Status RocksStore::WriteDataBatch(rocksdb::WriteBatch* batch) {
  // Without WAL: the log has these changes until the cut that covers them is recorded, after FlushData.
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  MutexLock lock(data_mutex_);
  Status answer = StopOn(FromRocks(db_->Write(options, batch), "write data"));
  batch->Clear();
  return answer;
}

Status RocksStore::WriteData(std::span<const DataChange> sorted_changes) {
  CAIRN_RETURN_IF_ERROR(Writable());
  rocksdb::WriteBatch write(kDataBatchBytes);
  std::string store_key;
  for (const DataChange& change : sorted_changes) {
    if (change.key.size() > kKeySizeMax) return Status(Code::kInvalidArgument, "data key is too long");
    store_key.clear();
    AppendVbucket(change.vbucket, store_key);
    store_key += change.key;
    const rocksdb::Status status = change.remove ? write.Delete(handle(kData), store_key)
                                                 : write.Put(handle(kData), store_key, change.record);
    if (!status.ok()) return FromRocks(status, "build data batch");
    if (write.Count() >= kDataBatchItems || write.GetDataSize() >= kDataBatchBytes) {
      CAIRN_RETURN_IF_ERROR(WriteDataBatch(&write));
      GiveWay();
    }
  }
  return write.Count() > 0 ? WriteDataBatch(&write) : Status::Ok();
}

// Records, not memtables: a write to the log that fills the WAL puts an empty memtable of this family behind
// the one that is being flushed.
bool RocksStore::DataMemtablesAreEmpty() const {
  using Properties = rocksdb::DB::Properties;
  uint64_t active = 0;
  uint64_t immutable = 0;
  return db_->GetIntProperty(handle(kData), Properties::kNumEntriesActiveMemTable, &active) &&
         db_->GetIntProperty(handle(kData), Properties::kNumEntriesImmMemTables, &immutable) && active == 0 &&
         immutable == 0;
}

Status RocksStore::FlushData() {
  CAIRN_RETURN_IF_ERROR(Writable());
  MutexLock lock(data_mutex_);
  return FlushDataLocked();
}

Status RocksStore::FlushDataLocked() {
  rocksdb::FlushOptions options;
  options.wait = true;
  options.allow_write_stall = true;  // otherwise it waits first until a flush would stall nobody
  const rocksdb::Status status = db_->Flush(options, handle(kData));
  if (!status.ok()) return StopOn(FromRocks(status, "flush data"));
  // RocksDB 7.8 has a way to answer OK before it has done anything (its issue 8046). We keep off that way,
  // but a lost merge would be too dear: look, and trust only that.
  if (!DataMemtablesAreEmpty())
    return Status(Code::kIoError, "flush data: answered OK, but records are left");
  return Status::Ok();
}

Status RocksStore::Settle() {
  CAIRN_RETURN_IF_ERROR(Writable());
  rocksdb::FlushOptions options;
  options.wait = true;
  options.allow_write_stall = true;
  for (const Family family : {kLog, kMeta}) {
    const rocksdb::Status status = db_->Flush(options, handle(family));
    if (!status.ok()) return StopOn(FromRocks(status, "settle"));
  }
  return Status::Ok();
}

Result<std::string> RocksStore::Get(Family family, const std::string& key,
                                    std::string (*describe)(std::string_view)) {
  CAIRN_RETURN_IF_ERROR(Readable());
  std::string record;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), handle(family), key, &record);
  if (!status.ok()) return FromRocks(status, describe(key));
  return record;
}

Result<std::string> RocksStore::GetLog(LogKey key) { return Get(kLog, EncodeLogKey(key), DescribeLogKey); }

Result<std::string> RocksStore::GetData(Vbid vbucket, std::string_view key) {
  return Get(kData, EncodeDataKey(vbucket, key), DescribeDataKey);
}

Result<std::string> RocksStore::GetMeta(std::string_view name) {
  return Get(kMeta, std::string(name), DescribeMeta);
}

Result<std::vector<std::pair<std::string, std::string>>> RocksStore::ScanMeta(std::string_view prefix) {
  CAIRN_RETURN_IF_ERROR(Readable());
  std::vector<std::pair<std::string, std::string>> found;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions(), handle(kMeta)));
  for (it->Seek(rocksdb::Slice(prefix)); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    found.emplace_back(it->key().ToString(), it->value().ToString());
  }
  if (!it->status().ok()) return FromRocks(it->status(), "scan " + DescribeMeta(prefix));
  return found;
}

std::unique_ptr<Iterator> RocksStore::ReadLog(Vbid vbucket, Seqno first, Seqno last) {
  if (Status status = Readable(); !status.ok()) return NewFailedIterator(std::move(status));
  std::string end = last.get() == UINT64_MAX ? EndOfVbucket(vbucket) : EncodeLogKey({vbucket, last + 1});
  std::string begin = std::min(EncodeLogKey({vbucket, first}), end);  // an empty range stays one
  return NewRocksIterator(
      {db_.get(), handle(kLog), true, std::move(begin), std::move(end), &open_iterators_});
}

std::unique_ptr<Iterator> RocksStore::ReadData(Vbid vbucket, std::string_view from_key) {
  if (Status status = Readable(); !status.ok()) return NewFailedIterator(std::move(status));
  return NewRocksIterator({db_.get(), handle(kData), false, EncodeDataKey(vbucket, from_key),
                           EndOfVbucket(vbucket), &open_iterators_});
}

void RocksStore::ReleaseLog(Vbid vbucket, Seqno through) {
  const uint64_t positions = release_->Release(vbucket, through);
  if (positions > 0 && cleaner_ != nullptr) cleaner_->NoteReleased(positions);
}

void RocksStore::ReleaseTombstones(Vbid vbucket, Seqno through) {
  tombstone_release_->Release(vbucket, through);
}

Status RocksStore::DeleteVbucketFrom(Family family, Vbid vbucket) {
  const bool is_log = family == kLog;
  const std::unique_ptr<Iterator> it =
      NewRocksIterator({db_.get(), handle(family), is_log, EncodeDataKey(vbucket, {}), EndOfVbucket(vbucket),
                        &open_iterators_});
  rocksdb::WriteBatch write;
  const auto flush = [&] {
    if (!is_log) return WriteDataBatch(&write);
    const Status status = WriteSynced(&write, false, "drop vbucket from log");
    write.Clear();
    return status;
  };
  for (; it->Valid(); it->Next()) {
    const rocksdb::Status status = write.Delete(
        handle(family), is_log ? EncodeLogKey(it->log_key()) : EncodeDataKey(vbucket, it->data_key()));
    if (!status.ok()) return FromRocks(status, "build drop batch");
    if (write.Count() >= kDropBatchItems) CAIRN_RETURN_IF_ERROR(flush());
  }
  CAIRN_RETURN_IF_ERROR(it->status());
  return write.Count() > 0 ? flush() : Status::Ok();
}

Status RocksStore::DropVbucket(Vbid vbucket) {
  CAIRN_RETURN_IF_ERROR(Writable());
  CAIRN_RETURN_IF_ERROR(DeleteVbucketFrom(kLog, vbucket));
  CAIRN_RETURN_IF_ERROR(DeleteVbucketFrom(kData, vbucket));
  CAIRN_RETURN_IF_ERROR(FlushData());
  CAIRN_RETURN_IF_ERROR(SyncLog());
  release_->Forget(vbucket);
  tombstone_release_->Forget(vbucket);
  return Status::Ok();
}

StoreStats RocksStore::stats() const {
  StoreStats out;
  out.syncs = syncs_.load(std::memory_order_relaxed);
  out.log_writes = log_writes_.load(std::memory_order_relaxed);
  if (db_ == nullptr) return out;
  using Properties = rocksdb::DB::Properties;
  out.log_bytes = Property(*db_, handle(kLog), Properties::kTotalSstFilesSize);
  out.data_bytes = Property(*db_, handle(kData), Properties::kTotalSstFilesSize);
  out.data_keys = Property(*db_, handle(kData), Properties::kEstimateNumKeys);
  for (const Family family : {kDefault, kLog, kData, kMeta}) {
    out.memtable_bytes += Property(*db_, handle(family), Properties::kSizeAllMemTables);
    out.cache_bytes += Property(*db_, handle(family), Properties::kEstimateTableReadersMem);
  }
  out.cache_bytes += cache_->GetUsage();
  rocksdb::VectorLogPtr wals;
  if (db_->GetSortedWalFiles(wals).ok()) {
    for (const auto& wal : wals) out.wal_bytes += wal->SizeFileBytes();
  }
  return out;
}

Status RocksStore::Compact() {
  CAIRN_RETURN_IF_ERROR(Writable());
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  for (const Family family : {kLog, kData, kMeta}) {
    const rocksdb::Status status = db_->CompactRange(options, handle(family), nullptr, nullptr);
    if (!status.ok()) return FromRocks(status, "compact " + handle(family)->GetName());
  }
  return Status::Ok();
}

}  // namespace cairn::storage
