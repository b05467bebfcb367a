#pragma once
// Merger: brings the log's operations into data, where the newest version of a key is found by key.
//
// A *pass* reads, vbucket by vbucket, the log between the merged cut and the bound (what is persisted; the
// window's start during an online update), keeps the newest operation on each key, leaves out what a revert
// has voided, and writes the changes sorted. When data is flushed, the new cuts are recorded in one synced
// meta write, and only then is the log behind them released. A crash at any point repeats the same work.
//
// A pass is bounded in bytes; what is left is for the next. One thread at a time.

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "engine/core.h"

namespace cairn::engine {

class Merger {
 public:
  explicit Merger(Core& core);
  ~Merger();
  Merger(const Merger&) = delete;
  Merger& operator=(const Merger&) = delete;

  void Start();
  void Stop();
  /// Makes a pass begin soon although little has gathered.
  void Kick() CAIRN_EXCLUDES(mutex_);

  /// Runs `action` while no pass is under way.
  template <class Action>
  void BetweenPasses(Action&& action) CAIRN_EXCLUDES(pass_mutex_) {
    MutexLock lock(pass_mutex_);
    action();
  }
  /// One pass. True when something was merged. Errors leave the cuts where they were.
  Result<bool> RunPass() CAIRN_EXCLUDES(pass_mutex_);
  /// Operations logged but not merged, held back ones included (an estimate from seqnos).
  uint64_t Backlog() const;

 private:
  struct Cut {
    Vbid vbucket;
    Seqno through;
  };
  void Run();
  bool WaitForWork() CAIRN_EXCLUDES(mutex_);
  void SettleIfIdle();
  /// Reads one vbucket's part into changes_; `through` is how far it came.
  Status Collect(Vbid vbucket, Seqno merged, Seqno bound, const std::vector<proto::VoidRange>& voids,
                 Seqno* through);
  Status WriteChanges();
  Status RecordCuts();

  Core& core_;
  std::vector<storage::DataChange> changes_;
  size_t changes_bytes_ = 0;
  size_t pass_bytes_ = 0;
  std::vector<Cut> cuts_;

  Mutex pass_mutex_;  // held through a pass
  mutable Mutex mutex_;
  CondVar wake_;
  bool kicked_ CAIRN_GUARDED_BY(mutex_) = false;
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  bool settled_ = false;       // the store was told that nothing is being written; of the merging thread
  uint32_t next_vbucket_ = 0;  // where the next pass begins, so that none starves
  std::thread thread_;
};

}  // namespace cairn::engine
