#pragma once
// Merger: brings the log's operations into data, where the newest version of a key is found by key.
//
// A *pass* reads, vbucket by vbucket, the log between the merged cut and the bound (what is persisted; the
// window's start during an online update), keeps the newest operation on each key, leaves out what a revert
// has voided, and writes the changes sorted. When data is flushed, the new cuts are recorded in one synced
// meta write, and only then is the log behind them released. A crash at any point repeats the same work.
//
// A pass is bounded in bytes and ends, where it does not reach the bound, at a checkpoint's end; what is left
// is for the next. So data is always at an exact point (docs/tap.md), never inside a range that was voided
// or between a flush_all and its end. One thread at a time.
//
// Data is *stable* in a vbucket while it is exactly the state at the merged cut: not from the first write of
// a pass that concerns it until its new cut is recorded, whether the pass succeeds or a later one does.
//
// A deletion goes to data as a tombstone. Tombstones older than the retention are purged: every sixteenth of
// it the cuts are remembered; when they are old enough, the purge seqnos are raised to them, durably, and the
// store may drop what is below. The ages are forgotten when the process ends: then they stay for longer.

#include <atomic>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
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
  /// A copy of data is being read or written here: for a second, passes begin only when much more has
  /// gathered than otherwise, or after two minutes. They would use up what the copy needs, and keep it
  /// waiting. Costs an atomic store; any thread.
  void PutOff() { put_off_until_ns_.store(core_.clock->SteadyNs() + kPutOffNs, std::memory_order_relaxed); }

  /// Runs `action` while no pass is under way. One that is ends when it has read 4 MiB, with the vbucket that
  /// it reads then, and the next one lets us go first.
  template <class Action>
  void BetweenPasses(Action&& action) CAIRN_EXCLUDES(pass_mutex_) {
    awaited_.fetch_add(1, std::memory_order_relaxed);
    MutexLock lock(pass_mutex_);
    awaited_.fetch_sub(1, std::memory_order_relaxed);
    action();
  }
  /// One pass. True when something was merged. Errors leave the cuts where they were.
  Result<bool> RunPass() CAIRN_EXCLUDES(pass_mutex_);
  /// Remembers the cuts and purges what is old enough, when that is due. True when something was purged.
  Result<bool> RunPurge() CAIRN_EXCLUDES(pass_mutex_);
  /// Operations logged but not merged, held back ones included (an estimate from seqnos).
  uint64_t Backlog() const;

  /// Once after recovery: where a pass may have been cut short, data is not stable until it was merged or
  /// seen.
  void NoteRecovered() CAIRN_EXCLUDES(stable_mutex_);
  /// All of the vbucket's data was read: no record is above `highest`. So it is known whether a pass was cut
  /// short; a replica, whose source may be silent, need not wait for the next pass to know.
  void NoteLoaded(Vbid vbucket, Seqno highest) CAIRN_EXCLUDES(stable_mutex_);
  /// Data of the vbucket was emptied.
  void NoteEmptied(Vbid vbucket) CAIRN_EXCLUDES(stable_mutex_);
  bool stable(Vbid vbucket) const CAIRN_EXCLUDES(stable_mutex_);
  /// Runs `look` with the merged cut while data of the vbucket is stable, and keeps it so meanwhile: only for
  /// making iterators. Then holds the log behind the cut as HoldLog does. False: not stable now, nothing was
  /// done; the pass ends soon, and the ones of the next seconds leave the vbucket to whoever asks again.
  bool WithStableData(Vbid vbucket, const std::function<void(Seqno merged)>& look)
      CAIRN_EXCLUDES(stable_mutex_);
  /// Keeps the log of the vbucket behind `after`, though it is merged, until DropLogHold of the same. False:
  /// a part of it is gone already.
  bool HoldLog(Vbid vbucket, Seqno after) CAIRN_EXCLUDES(stable_mutex_);
  void DropLogHold(Vbid vbucket, Seqno after) CAIRN_EXCLUDES(stable_mutex_);

 private:
  static constexpr int64_t kPutOffNs = 1'000'000'000;

  struct Cut {
    Vbid vbucket;
    Seqno through;
  };
  /// One vbucket's share of a pass.
  struct Part {
    Vbid vbucket;
    Seqno merged, bound;
    std::vector<proto::VoidRange> voids;
  };
  /// Where the vbuckets were merged to at some time.
  struct Remembered {
    int64_t at_ns = 0;
    struct Place {
      Seqno merged;
      uint64_t content = 0;
    };
    std::vector<Place> places;
  };
  void Run();
  bool WaitForWork() CAIRN_EXCLUDES(mutex_);
  /// `pass_ns`: how long the last pass took; 0: this is the first one.
  void LetOthersIn(int64_t pass_ns) CAIRN_EXCLUDES(mutex_);
  bool IsPutOff(int64_t now_ns) const { return now_ns < put_off_until_ns_.load(std::memory_order_relaxed); }
  /// Somebody waits until this pass is over.
  bool InHurry() const {
    return awaited_.load(std::memory_order_relaxed) > 0 || wanted_now_.load(std::memory_order_relaxed);
  }
  /// Its data is stable, and somebody was about to read it who has found it was not.
  bool IsLeftAlone(Vbid vbucket) CAIRN_EXCLUDES(stable_mutex_);
  void SettleIfIdle();
  /// What there is to merge; false: nothing.
  static bool LookAt(VBucket& vb, Part* part);
  /// Reads the part's operations into items; `through` is how far it came.
  Status ReadPart(const Part& part, std::vector<ItemRef>* items, Seqno* through) CAIRN_REQUIRES(pass_mutex_);
  /// Reads one vbucket's part into changes_; `through` is how far it came.
  Status Collect(const Part& part, Seqno* through) CAIRN_REQUIRES(pass_mutex_);
  Status WriteChanges() CAIRN_REQUIRES(pass_mutex_);
  Status RecordCuts() CAIRN_REQUIRES(pass_mutex_);
  /// Meta records at the present cuts, durable.
  Status WriteMetas(const std::vector<Cut>& cuts);
  /// The log up to here may go: what nobody holds.
  Seqno Releasable(Vbid vbucket, Seqno through) const CAIRN_EXCLUDES(stable_mutex_);
  void RaisePurges(const Remembered& old) CAIRN_REQUIRES(pass_mutex_);
  Status WriteCuts();

  Core& core_;
  Mutex pass_mutex_;  // held through a pass
  std::vector<storage::DataChange> changes_ CAIRN_GUARDED_BY(pass_mutex_);
  size_t changes_bytes_ CAIRN_GUARDED_BY(pass_mutex_) = 0;
  size_t pass_bytes_ = 0;  // that were read; of the merging thread
  bool more_ = false;      // the pass has left something that is due; of the merging thread
  std::vector<Cut> cuts_ CAIRN_GUARDED_BY(pass_mutex_);
  std::deque<Remembered> remembered_ CAIRN_GUARDED_BY(pass_mutex_);  // oldest first
  std::vector<Cut> purges_ CAIRN_GUARDED_BY(pass_mutex_);            // not durable yet
  std::atomic<int64_t> next_purge_ns_{0};

  mutable Mutex stable_mutex_;                                             // taken before a vbucket's
  std::unordered_set<uint32_t> unstable_ CAIRN_GUARDED_BY(stable_mutex_);  // a pass has begun to write it
  std::unordered_set<uint32_t> doubtful_ CAIRN_GUARDED_BY(stable_mutex_);  // … perhaps, before the restart
  std::unordered_map<uint32_t, int64_t> wanted_ CAIRN_GUARDED_BY(stable_mutex_);  // left alone until (steady)
  std::atomic<bool> wanted_now_{false};  // of what this pass has begun to write
  std::atomic<uint32_t> awaited_{0};     // who wait in BetweenPasses
  std::atomic<int64_t> put_off_until_ns_{0};
  std::unordered_map<uint32_t, std::multiset<Seqno>> log_holds_ CAIRN_GUARDED_BY(stable_mutex_);

  mutable Mutex mutex_;
  CondVar wake_;
  bool kicked_ CAIRN_GUARDED_BY(mutex_) = false;
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  bool settled_ = false;       // the store was told that nothing is being written; of the merging thread
  uint32_t next_vbucket_ = 0;  // where the next pass begins, so that none starves
  std::thread thread_;
};

}  // namespace cairn::engine
