#pragma once
// Every RocksDB option that is not the default, in one place. docs/storage.md has the reasons and figures.
// Internal to the RocksDB store.

#include <rocksdb/options.h>

#include <memory>

#include "engine/storage/kv_store.h"
#include "engine/storage/log_release.h"

namespace cairn::storage {

struct RocksOptions {
  rocksdb::DBOptions db;
  rocksdb::ColumnFamilyOptions log;
  rocksdb::ColumnFamilyOptions data;
  rocksdb::ColumnFamilyOptions meta;  // also for RocksDB's own `default`, which stays empty
  std::shared_ptr<rocksdb::Cache> cache;
};

/// `log` and `tombstones`: what nobody needs any more of the log and of data.
RocksOptions MakeRocksOptions(const RocksStoreOptions& options, std::shared_ptr<const LogRelease> log,
                              std::shared_ptr<const LogRelease> tombstones);

}  // namespace cairn::storage
