#include "engine/storage/rocks_error.h"

#include <fmt/core.h>

#include "base/log.h"
#include "engine/storage/store_key.h"

namespace cairn::storage {
namespace {

Code CodeOf(const rocksdb::Status& status) {
  using Rocks = rocksdb::Status;
  if (status.ok()) return Code::kOk;
  // Comes as IOError or as Incomplete, depending on who noticed.
  if (status.subcode() == Rocks::kNoSpace || status.subcode() == Rocks::kSpaceLimit) return Code::kNoSpace;
  switch (status.code()) {
    case Rocks::kNotFound:
      return Code::kNotFound;
    case Rocks::kCorruption:
      return Code::kCorruption;
    case Rocks::kInvalidArgument:
      return Code::kInvalidArgument;
    case Rocks::kNotSupported:
      return Code::kNotSupported;
    case Rocks::kShutdownInProgress:
    case Rocks::kAborted:
      return Code::kCancelled;
    default:
      return Code::kIoError;
  }
}

bool Mentions(const rocksdb::Status& status, std::string_view text) {
  return status.ToString().find(text) != std::string::npos;
}

}  // namespace

Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  const Code code = CodeOf(status);
  if (code == Code::kOk) return Status::Ok();
  if (code == Code::kNotFound) return Status(code, std::string(what));
  return Status(code, fmt::format("{}: {}", what, status.ToString()));
}

Status FromOpen(const rocksdb::Status& status, const std::string& path) {
  // RocksDB has no code for these two.
  if (status.IsIOError() && (Mentions(status, "/LOCK") || Mentions(status, "lock hold by current process"))) {
    return Status(Code::kBusy,
                  fmt::format("the store at {} is open already, in another process or this one ({})", path,
                              status.ToString()));
  }
  if (status.IsInvalidArgument() && Mentions(status, "olumn famil")) {
    return Status(
        Code::kNotSupported,
        fmt::format("the store at {} has parts that this program does not know; a newer version wrote "
                    "it, or it is not a Cairn store ({})",
                    path, status.ToString()));
  }
  return FromRocks(status, fmt::format("open store {}", path));
}

std::string DescribeLogKey(std::string_view store_key) {
  if (store_key.size() != kLogKeySize) return fmt::format("log key \"{}\"", EscapeKey(store_key));
  const LogKey key = DecodeLogKey(store_key);
  return fmt::format("log vb {} seqno {}", key.vbucket.get(), key.seqno.get());
}

std::string DescribeDataKey(std::string_view store_key) {
  if (store_key.size() < kVbucketPrefixSize) return fmt::format("data key \"{}\"", EscapeKey(store_key));
  return fmt::format("data vb {} key \"{}\"", VbucketOfKey(store_key).get(),
                     EscapeKey(store_key.substr(kVbucketPrefixSize)));
}

std::string DescribeMeta(std::string_view name) { return fmt::format("meta \"{}\"", EscapeKey(name)); }

}  // namespace cairn::storage
