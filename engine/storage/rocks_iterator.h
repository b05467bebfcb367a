#pragma once
// Iterators of the RocksDB store: a range of one family within one vbucket. They read past the cache (a scan
// must not throw out what clients use), with checksums, and never write. Internal to the RocksDB store.

#include <rocksdb/db.h>

#include <atomic>
#include <memory>
#include <string>

#include "engine/storage/kv_store.h"

namespace cairn::storage {

struct RocksRange {
  rocksdb::DB* db;
  rocksdb::ColumnFamilyHandle* family;
  bool is_log;
  std::string first;             // included
  std::string end;               // excluded
  std::atomic<int>* open_count;  // of iterators; the store outlives them
};

/// Positions at the first record of the range.
std::unique_ptr<Iterator> NewRocksIterator(RocksRange range);
/// An iterator that is at its end with this error.
std::unique_ptr<Iterator> NewFailedIterator(Status status);

}  // namespace cairn::storage
