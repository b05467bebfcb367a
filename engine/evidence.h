#pragma once
// Evidence: what a replica held when its digest was not its source's, in DATA_DIR/evidence/, before the
// vbucket is copied anew. One file per alarm, the last sixteen are kept.

#include <cstdint>

#include "engine/core.h"

namespace cairn::engine {

struct DigestAlarm {
  CheckpointId checkpoint;
  Seqno last;  // of the checkpoint
  uint64_t expected = 0, found = 0;
};

/// Lists every item of `vb` (key, seqno, CAS, digest, kind). Looks at it in bounded slices; nobody may change
/// it meanwhile. An engine without a directory writes nothing. What goes wrong is logged.
void WriteEvidence(const Core& core, const VBucket& vb, const DigestAlarm& alarm);

}  // namespace cairn::engine
