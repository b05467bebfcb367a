#pragma once
// What every KvStore checks of a LogBatch before it writes it. Internal to the stores; pure, any thread.

#include <cstddef>

#include "base/status.h"
#include "engine/storage/kv_store.h"

namespace cairn::storage {

/// Keys, names and records added up.
size_t BytesOf(const LogBatch& batch);
/// INVALID_ARGUMENT when it is larger than kLogBatchBytesMax or touches the store's own record.
Status CheckLogBatch(const LogBatch& batch);

}  // namespace cairn::storage
