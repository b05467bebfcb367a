#include "engine/storage/log_cleaner.h"

#include "base/log.h"

namespace cairn::storage {
namespace {

// The thread looks at the file sizes once per so many released positions: often enough for 100-byte records
// (a few MiB), rarely enough to cost nothing.
constexpr uint64_t kLookEvery = 32'768;

uint64_t Property(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family, const std::string& name) {
  uint64_t value = 0;
  return db->GetIntProperty(family, name, &value) ? value : 0;
}

}  // namespace

LogCleaner::LogCleaner(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* log, uint64_t log_bytes_min)
    : db_(db), log_(log), log_bytes_min_(log_bytes_min), thread_([this] { Run(); }) {}

LogCleaner::~LogCleaner() {
  {
    MutexLock lock(mutex_);
    stop_.store(true);
  }
  wake_.NotifyAll();
  thread_.join();
}

void LogCleaner::NoteReleased(uint64_t positions) {
  bool look = false;
  {
    MutexLock lock(mutex_);
    released_ += positions;
    look = released_ - looked_at_ >= kLookEvery;
  }
  if (look) wake_.NotifyOne();
}

void LogCleaner::Run() {
  while (true) {
    uint64_t released = 0;
    {
      MutexLock lock(mutex_);
      while (!stop_.load() && released_ - looked_at_ < kLookEvery) wake_.Wait(mutex_);
      if (stop_.load()) return;
      released = looked_at_ = released_;
    }
    if (!WorthCleaning(released)) continue;
    Clean();
    MutexLock lock(mutex_);
    released_ -= released;
    looked_at_ -= released;
  }
}

// A cleaning rewrites what is still needed. Waiting until as many positions are released as the files hold
// records bounds that to one rewritten record per released position, and the disk to twice what is needed
// plus the minimum. Positions that never reached a file, or were superseded within their checkpoint, only
// make it come earlier.
bool LogCleaner::WorthCleaning(uint64_t positions) const {
  if (Property(db_, log_, rocksdb::DB::Properties::kTotalSstFilesSize) < log_bytes_min_) return false;
  return positions >= Property(db_, log_, rocksdb::DB::Properties::kEstimateNumKeys);
}

void LogCleaner::Clean() {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  options.canceled = &stop_;
  const rocksdb::Status status = db_->CompactRange(options, log_, nullptr, nullptr);
  // An error is a background error of RocksDB's; whoever writes next gets it. Here it only means later.
  if (!status.ok() && !stop_.load()) CAIRN_LOG(kWarn, "cleaning the log failed: {}", status.ToString());
}

}  // namespace cairn::storage
