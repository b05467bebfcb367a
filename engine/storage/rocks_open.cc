// Opening, creating and closing the RocksDB store.

#include <rocksdb/env.h>

#include <algorithm>
#include <charconv>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "engine/storage/keeping_env.h"
#include "engine/storage/rocks_error.h"
#include "engine/storage/rocks_store.h"

namespace cairn::storage {
namespace {

// Below this, cleaning the log is not worth the work.
constexpr uint64_t kCleanLogBytesMin = uint64_t{16} << 20;

// What has to be free beside that which opening needs, so that it does not end in the same place at once.
constexpr uint64_t kSpareBytes = uint64_t{4} << 20;

bool EndsWith(std::string_view name, std::string_view suffix) {
  return name.size() >= suffix.size() && name.substr(name.size() - suffix.size()) == suffix;
}

Result<uint32_t> ParseFormat(const std::string& text) {
  uint32_t version = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, version);
  if (error != std::errc() || rest != end || version == 0) {
    return Status(Code::kCorruption, "meta \"store/format\" is not a version: \"" + EscapeKey(text) + "\"");
  }
  return version;
}

}  // namespace

RocksStore::RocksStore(RocksStoreOptions options)
    : options_(std::move(options)),
      env_(MakeKeepingEnv(options_.env != nullptr ? static_cast<rocksdb::Env*>(options_.env)
                                                  : rocksdb::Env::Default())) {}

RocksStore::~RocksStore() {
  CAIRN_CHECK(open_iterators_.load() == 0);
  Close();
}

Status RocksStore::Open() {
  const Status status = OpenRocks();
  if (status.ok()) return status;
  Close();
  MutexLock lock(error_mutex_);
  closed_ = status;
  return status;
}

bool RocksStore::EnoughSpaceToOpen() const {
  rocksdb::Env* const env =
      options_.env != nullptr ? static_cast<rocksdb::Env*>(options_.env) : rocksdb::Env::Default();
  uint64_t free_bytes = 0;
  if (!env->GetFreeSpace(options_.path, &free_bytes).ok()) return true;  // cannot tell
  return free_bytes >= SpaceToOpen();
}

uint64_t RocksStore::SpaceToOpen() const {
  // Opening writes what the WAL holds, at most about one filling of the memtables, into tables, while the
  // WAL is still there.
  return options_.memtable_bytes_max + kSpareBytes;
}

Status RocksStore::Reopen() {
  if (open_iterators_.load() != 0) return Status(Code::kBusy, "reopen: iterators are open");
  {
    MutexLock lock(error_mutex_);
    // A store that cannot be opened again for lack of space would not even answer reads.
    if (stopped_ == Code::kNoSpace && db_ != nullptr && !EnoughSpaceToOpen()) {
      return Status(Code::kNoSpace,
                    "the disk is full; writing goes on when " + FormatBytes(SpaceToOpen()) + " are free");
    }
  }
  Close();
  CAIRN_RETURN_IF_ERROR(Open());
  // What is there now is durable, so nothing waits for a sync.
  synced_writes_.store(unsynced_writes_.load());
  MutexLock lock(error_mutex_);
  stopped_ = Status::Ok();
  closed_ = Status::Ok();
  return Status::Ok();
}

// RocksDB makes a new store where CURRENT is missing, and then deletes the files it does not know. A
// creation that was cut short leaves a MANIFEST at most.
Status RocksStore::PrepareDirectory() const {
  rocksdb::Env* env = rocksdb::Env::Default();
  if (options_.env != nullptr) {
    env = static_cast<rocksdb::Env*>(options_.env);
    CAIRN_RETURN_IF_ERROR(FromRocks(env->CreateDirIfMissing(options_.path), "create " + options_.path));
  } else {
    CAIRN_RETURN_IF_ERROR(MakeDirs(options_.path));
  }
  const rocksdb::Status current = env->FileExists(options_.path + "/CURRENT");
  if (current.ok()) return Status::Ok();
  if (!current.IsNotFound()) return FromRocks(current, "look for " + options_.path + "/CURRENT");
  std::vector<std::string> names;
  CAIRN_RETURN_IF_ERROR(FromRocks(env->GetChildren(options_.path, &names), "list " + options_.path));
  for (const std::string& name : names) {
    if (EndsWith(name, ".sst") || EndsWith(name, ".log")) {
      return Status(Code::kCorruption, "the store at " + options_.path + " has data (" + name +
                                           ") but its file CURRENT is missing");
    }
  }
  return Status::Ok();
}

Status RocksStore::OpenRocks() {
  CAIRN_RETURN_IF_ERROR(PrepareDirectory());
  RocksStoreOptions options = options_;
  options.env = env_.get();
  const RocksOptions rocks = MakeRocksOptions(options, release_, tombstone_release_);
  load_options_ = std::make_unique<const rocksdb::Options>(rocks.db, rocks.data);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, rocks.meta},
      {"log", rocks.log},
      {"data", rocks.data},
      {"meta", rocks.meta},
  };
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(rocks.db, options_.path, families, &handles_, &db);
  if (!status.ok()) return FromOpen(status, options_.path);
  db_.reset(db);
  cache_ = rocks.cache;
  CAIRN_RETURN_IF_ERROR(CheckFormat());
  CAIRN_RETURN_IF_ERROR(RemoveLoadFiles());
  cleaner_ = std::make_unique<LogCleaner>(db_.get(), handle(kLog), kCleanLogBytesMin);
  return Status::Ok();
}

Result<bool> RocksStore::IsEmpty() const {
  for (rocksdb::ColumnFamilyHandle* const family : handles_) {
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions(), family));
    it->SeekToFirst();
    if (it->Valid()) return false;
    if (!it->status().ok()) return FromRocks(it->status(), "look into family " + family->GetName());
  }
  return true;
}

Status RocksStore::CheckFormat() {
  const std::string name(kStoreFormatName);
  std::string text;
  rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), handle(kMeta), name, &text);
  if (status.IsNotFound()) {
    CAIRN_ASSIGN_OR_RETURN(const bool empty, IsEmpty());
    if (!empty) {
      return Status(Code::kCorruption,
                    "the database at " + options_.path + " has records but no format: not a Cairn store");
    }
    rocksdb::WriteOptions synced;
    synced.sync = true;
    return FromRocks(db_->Put(synced, handle(kMeta), name, std::to_string(kStoreFormatCurrent)),
                     "write the format of the store at " + options_.path);
  }
  if (!status.ok()) return FromRocks(status, DescribeMeta(name));
  CAIRN_ASSIGN_OR_RETURN(const uint32_t version, ParseFormat(text));
  if (version > kStoreFormatCurrent) {
    return Status(Code::kNotSupported, "unknown store format " + std::to_string(version) + " at " +
                                           options_.path + ": this program knows formats up to " +
                                           std::to_string(kStoreFormatCurrent) + "; use a newer one");
  }
  return Status::Ok();
}

void RocksStore::Close() {
  cleaner_.reset();
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* const family : handles_) {
    if (const rocksdb::Status status = db_->DestroyColumnFamilyHandle(family); !status.ok()) {
      CAIRN_LOG(kWarn, "closing a family of {}: {}", options_.path, status.ToString());
    }
  }
  handles_.clear();
  // Everything that has to survive is in the WAL already; an error here changes nothing.
  if (const rocksdb::Status status = db_->Close(); !status.ok()) {
    CAIRN_LOG(kWarn, "closing {}: {}", options_.path, status.ToString());
  }
  db_.reset();
}

Result<std::unique_ptr<KvStore>> OpenRocksStore(const RocksStoreOptions& options) {
  auto store = std::make_unique<RocksStore>(options);
  CAIRN_RETURN_IF_ERROR(store->Open());
  return std::unique_ptr<KvStore>(std::move(store));
}

}  // namespace cairn::storage
