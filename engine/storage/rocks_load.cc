// LoadData of the RocksDB store: sorted changes as files that RocksDB takes over (ingests) instead of as
// writes, which would be sorted into memory, written to files from there, and merged.

#include <rocksdb/sst_file_writer.h>

#include <string>
#include <vector>

#include "engine/storage/keeping_env.h"
#include "engine/storage/rocks_error.h"
#include "engine/storage/rocks_store.h"
#include "engine/storage/store_key.h"

namespace cairn::storage {
namespace {

// RocksDB leaves files alone whose names are none of its own; what a crash leaves goes at the next opening.
constexpr std::string_view kLoadFilePrefix = "load-";

}  // namespace

Status RocksStore::RemoveLoadFiles() const {
  std::vector<std::string> names;
  CAIRN_RETURN_IF_ERROR(FromRocks(env_->GetChildren(options_.path, &names), "list " + options_.path));
  for (const std::string& name : names) {
    if (!std::string_view(name).starts_with(kLoadFilePrefix)) continue;
    CAIRN_RETURN_IF_ERROR(FromRocks(env_->DeleteFile(options_.path + "/" + name), "remove " + name));
  }
  return Status::Ok();
}

Status RocksStore::WriteRun(const DataRun& run, const std::string& path) const {
  rocksdb::SstFileWriter file(rocksdb::EnvOptions(), *load_options_, handle(kData));
  CAIRN_RETURN_IF_ERROR(FromRocks(file.Open(path), "make a file of data"));
  std::string store_key;
  for (const DataChange* const change : run) {
    if (change->key.size() > kKeySizeMax) return Status(Code::kInvalidArgument, "data key is too long");
    store_key.clear();
    AppendVbucket(change->vbucket, store_key);
    store_key += change->key;
    CAIRN_RETURN_IF_ERROR(FromRocks(file.Put(store_key, change->record), "write a file of data"));
  }
  return FromRocks(file.Finish(), "finish a file of data");  // syncs it
}

// RocksDB 7.8 orders young files by their sequence numbers, which can go wrong for files that are taken over
// while there are records in memory (its pull request 10922). So there are none.
//
// And when its manifest cannot be synced it deletes the files, but the manifest may name them already: the
// store could not be opened again. So they stay; those that are not named go with the next opening.
Status RocksStore::TakeOver(const std::vector<std::string>& paths) {
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  options.write_global_seqno = false;
  MutexLock lock(data_mutex_);
  if (!DataMemtablesAreEmpty()) CAIRN_RETURN_IF_ERROR(FlushDataLocked());
  const KeepFiles keep;
  return FromRocks(db_->IngestExternalFile(handle(kData), paths, options), "take over files of data");
}

Status RocksStore::LoadData(std::span<const DataRun> runs) {
  CAIRN_RETURN_IF_ERROR(Writable());
  if (runs.empty()) return Status::Ok();
  std::vector<std::string> paths;
  Status status;
  for (const DataRun& run : runs) {
    if (!status.ok()) break;
    paths.push_back(options_.path + "/" + std::string(kLoadFilePrefix) +
                    std::to_string(load_files_.fetch_add(1, std::memory_order_relaxed)));
    status = WriteRun(run, paths.back());
  }
  if (status.ok()) status = TakeOver(paths);
  // What RocksDB has taken over has another name now.
  for (const std::string& path : paths) {
    if (env_->FileExists(path).ok()) static_cast<void>(env_->DeleteFile(path));
  }
  return StopOn(std::move(status));
}

}  // namespace cairn::storage
