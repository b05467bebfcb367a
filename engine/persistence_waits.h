#pragma once
// PersistenceWaits: clients that asked to be told when a vbucket has a seqno or a checkpoint on disk
// (SEQNO_PERSISTENCE, CHECKPOINT_PERSISTENCE). They ask about any position, also one that does not exist yet,
// so nothing is hooked to the flusher: every few milliseconds the waits are compared with where the vbuckets
// are. Each ends exactly once: done, out of time, the vbucket deleted, or the engine shutting down.
//
// Owner: the Engine. Threads: Add from any, Check from one at a time, Stop once.

#include <cstdint>
#include <functional>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/types.h"
#include "engine/core.h"

namespace cairn::engine {

class PersistenceWaits {
 public:
  /// Beyond it a wait is answered BUSY at once; a connection has at most one.
  static constexpr size_t kWaitsMax = 20'000;

  struct Wait {
    Vbid vbucket;
    Seqno seqno;              // persisted up to here …
    CheckpointId checkpoint;  // … and this one closed and persisted; 0: not asked for
    int64_t deadline_ns = 0;  // steady
    std::function<void(Status)> done;
  };

  explicit PersistenceWaits(Core& core) : core_(core) {}
  PersistenceWaits(const PersistenceWaits&) = delete;
  PersistenceWaits& operator=(const PersistenceWaits&) = delete;

  /// `done` is called before it returns when there is nothing to wait for.
  void Add(Wait wait) CAIRN_EXCLUDES(mutex_);
  /// True when a wait has ended.
  bool Check(int64_t now_ns) CAIRN_EXCLUDES(mutex_);
  /// Ends all with CANCELLED; from now on each is at once.
  void Stop() CAIRN_EXCLUDES(mutex_);

 private:
  /// kOk, kWouldBlock (not yet), kNotMyVbucket.
  Code Look(const Wait& wait) const;

  Core& core_;
  Mutex mutex_;
  std::vector<Wait> waits_ CAIRN_GUARDED_BY(mutex_);
  bool stopped_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::engine
