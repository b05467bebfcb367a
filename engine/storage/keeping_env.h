#pragma once
// KeepingEnv: an Env in which a thread can forbid RocksDB to delete files during a call.

#include <rocksdb/env.h>

#include <memory>

namespace cairn::storage {

/// The same as `base`, which has to outlive it, but that files are kept in a KeepFiles.
std::unique_ptr<rocksdb::Env> MakeKeepingEnv(rocksdb::Env* base);

/// While it lives on a thread's stack, deletions of files by that thread answer OK and do nothing. Not
/// nested.
class KeepFiles {
 public:
  KeepFiles();
  ~KeepFiles();
  KeepFiles(const KeepFiles&) = delete;
  KeepFiles& operator=(const KeepFiles&) = delete;
};

}  // namespace cairn::storage
