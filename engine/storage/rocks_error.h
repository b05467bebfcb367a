#pragma once
// How RocksDB's statuses become ours. Internal to the RocksDB store. Any thread.

#include <rocksdb/status.h>

#include <string>
#include <string_view>

#include "base/status.h"

namespace cairn::storage {

/// `what` says what was tried and on what ("read data vb 3 key \"k\""). OK stays OK.
Status FromRocks(const rocksdb::Status& status, std::string_view what);
/// The answer to a failed opening; names `path`.
Status FromOpen(const rocksdb::Status& status, const std::string& path);

/// "log vb 3 seqno 17", 'data vb 3 key "k"', 'meta "n"': what an error text names.
std::string DescribeLogKey(std::string_view store_key);
std::string DescribeDataKey(std::string_view store_key);
std::string DescribeMeta(std::string_view name);

}  // namespace cairn::storage
