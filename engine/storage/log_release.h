#pragma once
// Which log records nobody needs any more, and how they leave the disk: a filter that RocksDB asks while it
// flushes and compacts the log family. Records that are released before their memtable is full never reach
// a file at all; the others go with the next compaction, as whole ranges, without tombstones. Tombstones in
// data go the same way, one by one, in compactions.
// Internal to the RocksDB store. All methods may be called from any thread.

#include <rocksdb/compaction_filter.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/mutex.h"
#include "base/types.h"

namespace cairn::storage {

class LogRelease {
 public:
  using Table = std::unordered_map<uint16_t, uint64_t>;  // vbucket → highest released seqno

  /// Returns by how many positions the vbucket's mark rose.
  uint64_t Release(Vbid vbucket, Seqno through);
  void Forget(Vbid vbucket);
  Table Copy() const;

 private:
  mutable Mutex mutex_;
  Table released_ CAIRN_GUARDED_BY(mutex_);
};

/// Drops tombstones of the data family that `release` says nobody needs. In a family of single versions the
/// filter leaves RocksDB's own deletion in their place where an older version may lie below.
class TombstoneFilterFactory final : public rocksdb::CompactionFilterFactory {
 public:
  explicit TombstoneFilterFactory(std::shared_ptr<const LogRelease> release) : release_(std::move(release)) {}
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context& context) override;
  const char* Name() const override { return "cairn.TombstoneFilterFactory"; }

 private:
  const std::shared_ptr<const LogRelease> release_;
};

/// Drops what `release` says at the moment a flush or compaction starts. A filter works on that copy to its
/// end: files and memtables are picked before the filter is made, so records that are written after
/// LogRelease::Forget never meet a mark from before it.
class LogReleaseFilterFactory final : public rocksdb::CompactionFilterFactory {
 public:
  explicit LogReleaseFilterFactory(std::shared_ptr<const LogRelease> release)
      : release_(std::move(release)) {}
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context& context) override;
  bool ShouldFilterTableFileCreation(rocksdb::TableFileCreationReason reason) const override;
  const char* Name() const override { return "cairn.LogReleaseFilterFactory"; }

 private:
  const std::shared_ptr<const LogRelease> release_;
};

}  // namespace cairn::storage
