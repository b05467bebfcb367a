#pragma once
// LogCleaner: compacts the log family when enough of it is released, so that its disk space comes back also
// when nothing else would compact it. Owns one thread, which sleeps until ReleaseLog wakes it. Internal to
// the RocksDB store, which stops it before it closes RocksDB. NoteReleased may be called from any thread.

#include <rocksdb/db.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "base/mutex.h"

namespace cairn::storage {

class LogCleaner {
 public:
  /// Neither `db` nor `log` is owned; both outlive the cleaner. Starts the thread.
  LogCleaner(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* log, uint64_t log_bytes_min);
  /// Interrupts a running compaction and ends the thread.
  ~LogCleaner();
  LogCleaner(const LogCleaner&) = delete;
  LogCleaner& operator=(const LogCleaner&) = delete;

  /// `positions` more positions of some vbucket were released.
  void NoteReleased(uint64_t positions);

 private:
  void Run();
  bool WorthCleaning(uint64_t positions) const;
  void Clean();

  rocksdb::DB* const db_;
  rocksdb::ColumnFamilyHandle* const log_;
  const uint64_t log_bytes_min_;
  std::atomic<bool> stop_{false};
  Mutex mutex_;
  CondVar wake_;
  uint64_t released_ CAIRN_GUARDED_BY(mutex_) = 0;   // positions since the last cleaning
  uint64_t looked_at_ CAIRN_GUARDED_BY(mutex_) = 0;  // of these, when the thread last looked
  std::thread thread_;
};

}  // namespace cairn::storage
