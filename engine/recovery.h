#pragma once
// Recovery: what an engine finds on disk becomes its vbuckets: identity, where each stands, the log behind
// data replayed, and an online update resumed or carried to its end. Runs once, before there are threads.

#include <optional>
#include <vector>

#include "base/random.h"
#include "engine/core.h"
#include "proto/meta_record.h"

namespace cairn::engine {

struct RecoveredState {
  proto::EngineMeta identity;
  bool fresh = false;                       // the directory was empty
  bool clean = false;                       // the last process said goodbye
  uint64_t replayed = 0;                    // operations of the log
  std::optional<proto::UpdateMeta> update;  // still open, or decided (then close_update)
  bool close_update = false;                // its windows were ended; see CloseDecidedUpdate
  std::vector<proto::UpdateMeta> history;   // newest first
};

/// Errors: CORRUPTION; INVALID_ARGUMENT when the store was made with another number of vbuckets;
/// NOT_SUPPORTED for a newer format.
Result<RecoveredState> Recover(Core& core, Random& random);

/// After the markers that Recover appended are durable: the record of the update leaves `current`.
Status CloseDecidedUpdate(Core& core, RecoveredState* state);

/// Marks the store as left in good order; after everything else was written.
Status MarkClean(Core& core, const proto::EngineMeta& identity);

}  // namespace cairn::engine
