#include "engine/storage/rocks_options.h"

#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/table_properties.h>

#include <algorithm>

#include "base/thread_role.h"
#include "engine/storage/store_key.h"

namespace cairn::storage {
namespace {

// Sixteenths of memtable_bytes_max. Each family has at most two memtables, so the sum stays within the
// limit: 2 · (4 + 3 + 1) = 16.
constexpr size_t kLogShare = 4;
constexpr size_t kDataShare = 3;
constexpr size_t kMetaShare = 1;

// How many young files (level 0) show that compactions have not kept up, and how many make writes wait.
constexpr int kYoungFilesBehind = 32;
constexpr int kYoungFilesSlowdown = 48;
constexpr int kYoungFilesStop = 64;

constexpr size_t kFileTransferBytes = size_t{64} << 10;

// RocksDB 7.8 resumes by itself when there is space again, and does it wrong: when its memtables are empty it
// keeps the WAL file whose writing failed, and the next write ends the process in an assertion (its issue
// 11643; Debian's build has assertions); and flushes answer OK too early (its issue 8046). So it stays
// stopped until KvStore::Reopen. Lack of space in a compaction stops nothing.
class NoAutoRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/, rocksdb::Status /*error*/,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
};

// Nobody waits for a compaction, nor for a flush, that is not late: RocksDB's threads run when nothing else
// does. They hold no lock that serving threads take. A compaction that is late has its share, before writes
// have to wait for it. (A library's threads: they have no role before their first work.)
class RolesOfThreads final : public rocksdb::EventListener {
 public:
  void OnFlushBegin(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& /*job*/) override {
    TakeRole(ThreadRole::kIdle);
  }
  void OnCompactionBegin(rocksdb::DB* /*db*/, const rocksdb::CompactionJobInfo& job) override {
    const auto young = std::count_if(job.input_file_infos.begin(), job.input_file_infos.end(),
                                     [](const rocksdb::CompactionFileInfo& file) { return file.level == 0; });
    TakeRole(young < kYoungFilesBehind ? ThreadRole::kIdle : ThreadRole::kBackground);
  }
};

// Gives way between the keys of a file that is written.
class TurnTaker final : public rocksdb::TablePropertiesCollector {
 public:
  rocksdb::Status AddUserKey(const rocksdb::Slice& /*key*/, const rocksdb::Slice& /*value*/,
                             rocksdb::EntryType /*type*/, rocksdb::SequenceNumber /*sequence*/,
                             uint64_t /*file_size*/) override {
    if (++keys_ % kKeysPerTurn == 0) GiveWay();
    return rocksdb::Status::OK();
  }
  rocksdb::Status Finish(rocksdb::UserCollectedProperties* /*properties*/) override {
    return rocksdb::Status::OK();
  }
  const char* Name() const override { return "cairn.turns"; }
  rocksdb::UserCollectedProperties GetReadableProperties() const override { return {}; }

 private:
  static constexpr uint32_t kKeysPerTurn = 32;
  uint32_t keys_ = 0;
};

class TurnTakerFactory final : public rocksdb::TablePropertiesCollectorFactory {
 public:
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context /*context*/) override {
    return new TurnTaker;
  }
  const char* Name() const override { return "cairn.turns"; }
};

rocksdb::DBOptions MakeDbOptions(const RocksStoreOptions& options) {
  rocksdb::DBOptions db;
  if (options.env != nullptr) db.env = static_cast<rocksdb::Env*>(options.env);
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.paranoid_checks = true;
  db.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  db.keep_log_file_num = 3;
  db.max_log_file_size = size_t{4} << 20;
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  db.max_open_files = 1024;
  db.max_background_jobs = static_cast<int>(std::max(2u, options.background_threads));
  // A family that is rarely written (meta) must not pin old WAL files for ever.
  db.max_total_wal_size = std::max<uint64_t>(options.memtable_bytes_max, uint64_t{4} << 20);
  db.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // After a failed sync the page cache shows bytes that the disk may not have. Recovery writes what it
  // replayed into synced files, so what is there after opening is durable.
  db.avoid_flush_during_recovery = false;
  // Closing is a crash without the crash: one way to start, which every test goes.
  db.avoid_flush_during_shutdown = true;
  // No resuming behind our back, of either kind: see NoAutoRecovery.
  db.max_bgerror_resume_count = 0;
  db.listeners.push_back(std::make_shared<NoAutoRecovery>());
  db.listeners.push_back(std::make_shared<RolesOfThreads>());
  // Needed for the insert hint of the log; our writers are few and their batches large.
  db.allow_concurrent_memtable_write = false;
  // A kernel without preemption runs nobody else on the CPU before a system call has copied all that it was
  // given: a mebibyte (RocksDB's own sizes) takes half a millisecond, which whoever serves would wait for.
  db.compaction_readahead_size = kFileTransferBytes;
  db.writable_file_max_buffer_size = kFileTransferBytes;
  return db;
}

rocksdb::BlockBasedTableOptions MakeTableOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.format_version = 5;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  // Not pinned: the filters of eight young files would take several times what the whole cache is allowed.
  table.pin_l0_filter_and_index_blocks_in_cache = false;
  table.checksum = rocksdb::kXXH3;
  return table;
}

rocksdb::ColumnFamilyOptions MakeFamily(const RocksStoreOptions& options, size_t memtable_share) {
  rocksdb::ColumnFamilyOptions family;
  family.write_buffer_size = std::max<size_t>(options.memtable_bytes_max / 16 * memtable_share, 64u << 10);
  family.max_write_buffer_number = 2;
  family.level_compaction_dynamic_level_bytes = true;
  family.compression = rocksdb::kNoCompression;
  family.table_properties_collector_factories.push_back(std::make_shared<TurnTakerFactory>());
  return family;
}

}  // namespace

RocksOptions MakeRocksOptions(const RocksStoreOptions& options, std::shared_ptr<const LogRelease> log,
                              std::shared_ptr<const LogRelease> tombstones) {
  RocksOptions out;
  out.db = MakeDbOptions(options);
  rocksdb::LRUCacheOptions cache;
  cache.capacity = options.cache_bytes;
  cache.num_shard_bits = 2;
  out.cache = rocksdb::NewLRUCache(cache);

  rocksdb::BlockBasedTableOptions table = MakeTableOptions(out.cache);
  out.meta = MakeFamily(options, kMetaShare);
  out.meta.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));

  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  // In pieces: with one block per file a cache that does not hold all of them reads hundreds of kilobytes for
  // one key.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  out.data = MakeFamily(options, kDataShare);
  out.data.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  // Young files too: what arrives in order (a disk snapshot) then moves down without being rewritten.
  out.data.compression = rocksdb::kLZ4Compression;
  // Changes come sorted: each goes behind the one before.
  out.data.memtable_insert_with_hint_prefix_extractor.reset(
      rocksdb::NewFixedPrefixTransform(kVbucketPrefixSize));
  // Merges write many small sorted files; these two halve what compaction rewrites.
  out.data.level0_file_num_compaction_trigger = 24;
  out.data.level0_slowdown_writes_trigger = kYoungFilesSlowdown;
  out.data.level0_stop_writes_trigger = kYoungFilesStop;
  out.data.max_bytes_for_level_base = uint64_t{64} << 20;
  out.data.target_file_size_base = uint64_t{16} << 20;
  out.data.compaction_filter_factory = std::make_shared<TombstoneFilterFactory>(std::move(tombstones));

  // The log is read in ranges; a filter would be dead weight. Larger blocks suit it.
  table.filter_policy.reset();
  table.index_type = rocksdb::BlockBasedTableOptions::kBinarySearch;
  table.partition_filters = false;
  table.block_size = size_t{16} << 10;
  out.log = MakeFamily(options, kLogShare);
  out.log.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  out.log.level0_file_num_compaction_trigger = 12;
  out.log.level0_slowdown_writes_trigger = kYoungFilesSlowdown;
  out.log.level0_stop_writes_trigger = kYoungFilesStop;
  out.log.max_bytes_for_level_base = uint64_t{64} << 20;
  out.log.target_file_size_base = uint64_t{16} << 20;
  out.log.memtable_insert_with_hint_prefix_extractor.reset(
      rocksdb::NewFixedPrefixTransform(kVbucketPrefixSize));
  out.log.compaction_filter_factory = std::make_shared<LogReleaseFilterFactory>(std::move(log));
  return out;
}

}  // namespace cairn::storage
