#pragma once
// Phase: in which part of an online update the engine is. There is one current Phase per engine, behind an
// atomic pointer; every operation compares it with its vbucket's under that vbucket's lock and first moves
// the vbucket on. So a change of phase is one cut over all vbuckets, in real time, without stopping anyone.
// Immutable once published; the engine keeps every phase that a vbucket may still point to.

#include <string>

#include "base/types.h"
#include "engine/ops.h"

namespace cairn::engine {

struct Phase {
  UpdatePhase kind = UpdatePhase::kNormal;  // kNormal, kUpdating, kCompleting or kReverting
  UpdateId id;
  std::string name;
  int64_t started_ns = 0;  // wall clock
  // False for an update that was found open (at a restart or a promotion): who has no window has none.
  bool begins_windows = true;
};

}  // namespace cairn::engine
