#pragma once
// What every KvStore checks of a LogBatch before it writes it. Internal to the stores; pure, any thread.

#include <cstddef>

#include "base/status.h"
#include "engine/storage/kv_store.h"

namespace cairn::storage {

/// What a log record that vanishes counts for in a batch.
inline constexpr size_t kLogCutBytes = 32;

/// Keys, names and records added up. Cuts are not in it: only the store knows how many records vanish.
size_t BytesOf(const LogBatch& batch);
/// INVALID_ARGUMENT when it is larger than kLogBatchBytesMax, with `cut_records` records that vanish, or
/// touches the store's own record.
Status CheckLogBatch(const LogBatch& batch, size_t cut_records = 0);

}  // namespace cairn::storage
