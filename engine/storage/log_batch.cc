#include "engine/storage/log_batch.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "engine/storage/store_key.h"

namespace cairn::storage {

size_t BytesOf(const LogBatch& batch) {
  size_t bytes = 0;
  for (const auto& [key, record] : batch.records) bytes += kLogKeySize + record.size();
  for (const auto& [name, record] : batch.meta_puts) bytes += name.size() + record.size();
  for (const auto& name : batch.meta_deletes) bytes += name.size();
  return bytes;
}

Status CheckLogBatch(const LogBatch& batch, size_t cut_records) {
  if (const size_t bytes = BytesOf(batch) + cut_records * kLogCutBytes; bytes > kLogBatchBytesMax) {
    return Status(Code::kInvalidArgument, "log batch of " + std::to_string(bytes) + " bytes, at most " +
                                              std::to_string(kLogBatchBytesMax) + " are written at once");
  }
  const auto reserved = [](std::string_view name) { return name == kStoreFormatName; };
  if (std::any_of(batch.meta_puts.begin(), batch.meta_puts.end(),
                  [&](const auto& put) { return reserved(put.first); }) ||
      std::any_of(batch.meta_deletes.begin(), batch.meta_deletes.end(), reserved)) {
    return Status(Code::kInvalidArgument, "meta name \"store/format\" belongs to the store");
  }
  return Status::Ok();
}

}  // namespace cairn::storage
