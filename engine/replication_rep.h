#pragma once
// What Replication keeps for itself. Included by the engine's own files only (replication*.cc).

#include <atomic>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "engine/core.h"
#include "engine/replication.h"

namespace cairn::engine {

/// Who wants to hear of new operations. Calling them costs no lock that Add and Remove hold for longer than
/// a pointer's copy.
class Listeners {
 public:
  using Callback = Announce;
  Replication::ListenerId Add(Callback callback) CAIRN_EXCLUDES(mutex_);
  /// On return it is not running and will not run again. Not from inside a callback.
  void Remove(Replication::ListenerId id) CAIRN_EXCLUDES(mutex_);
  void Call(std::span<const Vbid> vbuckets, bool may_work) CAIRN_EXCLUDES(mutex_);

 private:
  struct Listener {
    Replication::ListenerId id = 0;
    Callback callback;
    std::shared_mutex running;  // shared while the callback runs
    bool removed = false;       // under `running`
  };
  using List = std::vector<std::shared_ptr<Listener>>;

  mutable Mutex mutex_;
  std::shared_ptr<const List> list_ CAIRN_GUARDED_BY(mutex_) = std::make_shared<const List>();
  Replication::ListenerId last_id_ CAIRN_GUARDED_BY(mutex_) = 0;
};

struct Replication::Rep {
  explicit Rep(const ReplicationParts& all) : parts(all) {}

  const ReplicationParts parts;
  Listeners listeners;
};

}  // namespace cairn::engine
