#pragma once
// KvStore: what the engine needs of a disk. Three families: *log* (every operation, keyed by position),
// *data* (the state at a cut, keyed by key) and *meta* (small named records). The face shows neither
// RocksDB nor which write path the data family uses.
//
// Records are opaque to the store (proto/disk_record.h encodes them and checks their checksums), but for one
// question: is a data record a tombstone, and of which seqno.
// Threads: all methods may be called from any thread, except Reopen and the destructor: nobody else may be
// inside. An iterator belongs to one thread and ends before its store does.
//
// Errors. NO_SPACE: the disk is full; nothing that WriteLog or FlushData answered OK to is lost. AMBIGUOUS: a
// write or sync of the log failed; what was not synced before may or may not survive, so write again from
// what was durable. After either, reads go on, every write answers the same, and Reopen ends it.
// IO_ERROR, CORRUPTION: as their names say; CORRUPTION names the key. Whatever the error but
// INVALID_ARGUMENT, the fate of the failed batch stays open until a later write succeeds: a crash or Reopen
// may bring it back, whole, as the last batch.
//
// What is there after opening (also by Reopen) is durable, whatever it was before the crash.

#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace cairn::storage {

/// What a log record is keyed by. Order: by vbucket, then seqno.
struct LogKey {
  Vbid vbucket;
  Seqno seqno;
  auto operator<=>(const LogKey&) const = default;
};

/// A group commit: records of many vbuckets, all or nothing. Keep it below kLogBatchBytesSoft; one of more
/// than kLogBatchBytesMax (names and records added up) is refused with INVALID_ARGUMENT.
inline constexpr size_t kLogBatchBytesSoft = size_t{8} << 20;
inline constexpr size_t kLogBatchBytesMax = size_t{64} << 20;
/// The meta record in which a store keeps its own format version; nobody else may write it.
inline constexpr std::string_view kStoreFormatName = "store/format";
inline constexpr uint32_t kStoreFormatCurrent = 1;

struct LogBatch {
  std::vector<std::pair<LogKey, std::string>> records;         // any order
  std::vector<std::pair<std::string, std::string>> meta_puts;  // same write as the records
  std::vector<std::string> meta_deletes;
  /// Log records of the vbucket with a seqno above the given one vanish in the same write (a rollback), but
  /// for those in `records`. They count for kLogBatchBytesMax with 32 bytes each.
  std::vector<std::pair<Vbid, Seqno>> log_cuts{};
  bool empty() const {
    return records.empty() && meta_puts.empty() && meta_deletes.empty() && log_cuts.empty();
  }
};

/// One change of the data family.
struct DataChange {
  Vbid vbucket;
  std::string key;
  std::string record;  // ignored when `remove`
  bool remove = false;
};

/// Changes in order of (vbucket, key), for LoadData; at least one. The caller owns them.
using DataRun = std::vector<const DataChange*>;

/// Ordered reading; a snapshot of the moment it was made. Used by one thread.
class Iterator {
 public:
  virtual ~Iterator() = default;
  virtual bool Valid() const = 0;
  virtual void Next() = 0;
  /// Only of a log iterator, while Valid().
  virtual LogKey log_key() const = 0;
  /// Only of a data iterator, while Valid(). The bytes stay until Next().
  virtual std::string_view data_key() const = 0;
  /// While Valid(). The bytes stay until Next().
  virtual std::string_view record() const = 0;
  /// An error ends the iteration: Valid() is false and status() is not OK.
  virtual Status status() const = 0;
};

struct StoreStats {
  uint64_t log_bytes = 0, data_bytes = 0, wal_bytes = 0;  // on disk, estimated
  uint64_t memtable_bytes = 0, cache_bytes = 0;           // in memory
  uint64_t data_keys = 0;                                 // estimated
  uint64_t syncs = 0, log_writes = 0;
};

class KvStore {
 public:
  virtual ~KvStore() = default;

  /// Writes the batch to the log (and meta) atomically; when `sync`, it and everything written before it
  /// survives power loss once this has returned OK. Without it, it survives the end of the process.
  virtual Status WriteLog(const LogBatch& batch, bool sync) = 0;
  /// Makes everything written by WriteLog durable.
  virtual Status SyncLog() = 0;

  /// Applies changes to data, which must be sorted by (vbucket, key) and unique; in any number of steps, of
  /// which a crash may keep any subset: idempotent by design (a record says "key = this version").
  /// Neither power loss nor the end of the process leaves more than that subset before FlushData. After an
  /// error any subset may have been applied: give the same changes again.
  virtual Status WriteData(std::span<const DataChange> sorted_changes) = 0;
  /// Everything given to WriteData before is durable on return. Then the caller records the new cut in meta.
  /// Writes a file, so its price (milliseconds) is to be shared by 10,000 changes or more where possible.
  virtual Status FlushData() = 0;
  /// For much that is new: the calling thread makes a file of each run, which goes below everything that is
  /// there when it overlaps nothing, and is not rewritten then. All runs together are sorted and unique as
  /// for WriteData, without `remove`. They, and everything given to WriteData before, are durable on return.
  /// After an error, or a crash in the middle, any subset may have been applied: give the same again.
  virtual Status LoadData(std::span<const DataRun> runs) = 0;
  /// Hint that nothing is being written: the log's memory is written out and freed, and the next opening has
  /// less to replay. Changes nothing that can be read.
  virtual Status Settle() = 0;

  virtual Result<std::string> GetLog(LogKey key) = 0;                           // NOT_FOUND
  virtual Result<std::string> GetData(Vbid vbucket, std::string_view key) = 0;  // NOT_FOUND
  virtual Result<std::string> GetMeta(std::string_view name) = 0;               // NOT_FOUND
  /// All meta records whose name starts with `prefix`, in order of name.
  virtual Result<std::vector<std::pair<std::string, std::string>>> ScanMeta(std::string_view prefix) = 0;

  /// Log records of `vbucket` with first ≤ seqno ≤ last, in order.
  virtual std::unique_ptr<Iterator> ReadLog(Vbid vbucket, Seqno first, Seqno last) = 0;
  /// Data records of `vbucket` from `from_key` on, in order of key.
  virtual std::unique_ptr<Iterator> ReadData(Vbid vbucket, std::string_view from_key) = 0;

  /// Log records of `vbucket` with seqno ≤ `through` are not needed any more and may vanish, at any later
  /// time, from ReadLog and GetLog. Call only after a meta record that says so is durable. Not remembered
  /// across opening: call again after it. Never lowers what was released before.
  virtual void ReleaseLog(Vbid vbucket, Seqno through) = 0;
  /// Data records of `vbucket` that are tombstones (proto::DataTombstone) with seqno ≤ `through` are not
  /// needed any more and may vanish, at any later time. As ReleaseLog: only after a meta record that says so
  /// is durable, not remembered across opening, never lowered.
  virtual void ReleaseTombstones(Vbid vbucket, Seqno through) = 0;
  /// Removes every log and data record of a vbucket (deletion of the vbucket) and forgets what was released
  /// of it. Nobody may write to the vbucket meanwhile. Durable on return; a crash or an error in the middle
  /// leaves any part, so repeat it.
  virtual Status DropVbucket(Vbid vbucket) = 0;

  /// Closes and opens again, after NO_SPACE, AMBIGUOUS or IO_ERROR. Data changes that were not flushed may be
  /// gone: give them again. Changes nothing and answers BUSY while an iterator is left, or NO_SPACE while
  /// there is too little space after NO_SPACE. With any other error the store is closed and every call
  /// answers an error until a later Reopen succeeds.
  virtual Status Reopen() = 0;
  virtual StoreStats stats() const = 0;
  /// Compacts data and log now (COMPACT_DB).
  virtual Status Compact() = 0;
};

struct RocksStoreOptions {
  std::string path;                       // created (0700) when missing
  size_t memtable_bytes_max = 32u << 20;  // over all families
  size_t cache_bytes = 16u << 20;
  uint32_t background_threads = 2;
  void* env = nullptr;  // rocksdb::Env* for tests (FaultEnv::env()); not owned
};
/// Opens or creates. BUSY: another process has it open. NOT_SUPPORTED: written by a newer format.
/// CORRUPTION: damaged, or not a Cairn store.
Result<std::unique_ptr<KvStore>> OpenRocksStore(const RocksStoreOptions& options);

}  // namespace cairn::storage
