#pragma once
// UpdateCoordinator: START, COMPLETE and REVERT of the online update over all vbuckets of one engine.
//
// A request is a job with stages; Step does one bounded piece of work, so a thread, or a test, drives it.
//   START     ready → publish kUpdating → move every vbucket → log durable → record OPEN, synced → answer
//   COMPLETE  record COMMITTED, synced (the decision) → publish kCompleting → move every vbucket → answer →
//   close REVERT    record REVERTED, synced (the decision) → publish kReverting → move every vbucket → put
//   all keys
//             back → answer → close
// "close" waits until the markers are durable and then replaces the record by one in the history. Until a
// decision is synced nothing has changed; once it is, it is carried to its end, also across a crash.
//
// START that cannot be made durable is taken back: the window ends like a COMPLETE without a decision, which
// recovery does the same (a window without a record never was).
//
// Threads: Submit and status from any; Step by one thread at a time.

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"
#include "engine/core.h"
#include "engine/flusher.h"
#include "engine/merger.h"
#include "proto/meta_record.h"

namespace cairn::engine {

class UpdateCoordinator {
 public:
  using Done = std::function<void(Result<UpdateStatus>)>;
  enum class Action : uint8_t { kStart, kComplete, kRevert };
  static constexpr size_t kJobsMax = 64;

  UpdateCoordinator(Core& core, Flusher& flusher, Merger& merger, uint64_t seed);
  ~UpdateCoordinator();
  UpdateCoordinator(const UpdateCoordinator&) = delete;
  UpdateCoordinator& operator=(const UpdateCoordinator&) = delete;

  /// Before threads: what the disk knows. `current`: the update that was open (its windows are open in the
  /// vbuckets). History: newest first.
  void Adopt(const std::optional<proto::UpdateMeta>& current, std::vector<proto::UpdateMeta> history);

  /// A promotion has found an update in the vbuckets that it makes active: still open, or decided.
  struct Found {
    UpdateId id;
    std::string name;
    int64_t started_ns = 0;  // wall clock
    std::optional<bool> committed;
  };
  /// Until EndAdoption no job begins and no phase changes. BUSY: a job is under way. NOT_SUPPORTED: another
  /// update is open here.
  Status BeginAdoption(const UpdateId& id) CAIRN_EXCLUDES(mutex_);
  /// How the update ended here, if it did.
  std::optional<bool> OutcomeOf(const UpdateId& id) const CAIRN_EXCLUDES(mutex_);
  /// The record `update/current` that has to be durable before the vbuckets are active.
  proto::UpdateMeta AdoptionRecord(const Found& found) CAIRN_EXCLUDES(mutex_);
  /// The record is durable: the engine moves to the update's phase, in which no further window begins.
  void PublishAdoption(const proto::UpdateMeta& record) CAIRN_EXCLUDES(mutex_);
  /// The vbuckets are active (or nothing has happened): a decision is carried to its end.
  void EndAdoption(const std::optional<proto::UpdateMeta>& record) CAIRN_EXCLUDES(mutex_);

  void Start();
  /// Jobs that have not ended are answered CANCELLED.
  void Stop();

  void Submit(Action action, const UpdateRequest& request, Done done) CAIRN_EXCLUDES(mutex_);
  /// True when something was done; false: nothing to do now.
  bool Step() CAIRN_EXCLUDES(mutex_);
  UpdateStatus status() const CAIRN_EXCLUDES(mutex_);
  bool active() const CAIRN_EXCLUDES(mutex_);
  /// For flush_all: runs `action` while no update is open, starting or ending. NOT_SUPPORTED otherwise.
  Status RunExclusive(const std::function<void()>& action) CAIRN_EXCLUDES(mutex_);
  /// A table of pre-images to be emptied in bounded steps.
  void Reclaim(std::unique_ptr<Preimages> preimages) CAIRN_EXCLUDES(mutex_);

 private:
  enum class Stage : uint8_t {
    kAdmit,
    kReady,
    kMove,
    kDurable,
    kRecord,
    kDecide,
    kUndo,
    kAnswer,
    kSettle,
    kClose,
    kAbort,
    kEnded
  };
  struct Job {
    Action action = Action::kStart;
    UpdateRequest request;
    Done done;
    Stage stage = Stage::kAdmit;
    uint32_t next_vbucket = 0;
    uint64_t ticket = 0;
    int64_t deadline_ns = 0;
    Status failure;  // of an aborted START
    bool digest_equal = true;
    uint64_t keys = 0;  // put back
  };

  void Run();
  bool Advance(Job& job);
  bool Admit(Job& job);
  bool Ready(Job& job);
  bool Move(Job& job);
  bool WaitDurable(Job& job);
  bool RecordOpen(Job& job);
  bool Decide(Job& job);
  bool Undo(Job& job);
  bool Answer(Job& job);
  bool Settle(Job& job);
  bool Close(Job& job);
  bool Abort(Job& job);

  void Publish(UpdatePhase kind, bool begins_windows = true);
  /// What START has to wait for; empty: nothing. NOT_SUPPORTED: there is nothing to update.
  Result<std::string> StartHindrance() const;
  void ShowReplicas(UpdateStatus* status) const;
  void Reply(Job& job, Result<UpdateStatus> result);
  void CountKeys(proto::UpdateMeta* meta) const;
  Status WriteMeta(const storage::LogBatch& batch);
  bool ReclaimSome() CAIRN_EXCLUDES(mutex_);
  void CheckCaps();
  /// When a decision could not be made durable and its command was given up: makes sure that it is not.
  void ResolveDoubt();
  /// Makes a job of forgetting the open update when no vbucket is in its window any more.
  bool TakeOrphan() CAIRN_EXCLUDES(mutex_);
  bool HasWindowOf(const UpdateId& id) const;
  UpdateOutcome OutcomeOf(const proto::UpdateMeta& meta) const;

  Core& core_;
  Flusher& flusher_;
  Merger& merger_;
  Random random_;
  std::vector<std::unique_ptr<Phase>> phases_;  // all that vbuckets may point to
  std::optional<Job> job_;                      // of the stepping thread
  int64_t next_cap_check_ns_ = 0;
  int64_t next_orphan_ns_ = 0;  // guarded like job_
  int64_t next_doubt_ns_ = 0;   // guarded like job_: of the stepping thread
  int cap_warned_percent_ = 0;

  mutable Mutex mutex_;
  CondVar wake_;
  std::deque<Job> queue_ CAIRN_GUARDED_BY(mutex_);
  proto::UpdateMeta current_ CAIRN_GUARDED_BY(mutex_);  // id none: no update
  UpdatePhase phase_ CAIRN_GUARDED_BY(mutex_) = UpdatePhase::kNormal;
  // A decision whose sync failed: its opposite is refused until it is known to be durable.
  std::optional<Action> in_doubt_ CAIRN_GUARDED_BY(mutex_);
  uint32_t moved_ CAIRN_GUARDED_BY(mutex_) = 0;
  uint64_t next_number_ CAIRN_GUARDED_BY(mutex_) = 1;
  std::vector<UpdateOutcome> history_ CAIRN_GUARDED_BY(mutex_);  // newest first
  std::vector<std::unique_ptr<Preimages>> reclaim_ CAIRN_GUARDED_BY(mutex_);
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  bool busy_ CAIRN_GUARDED_BY(mutex_) = false;         // a job is under way
  bool orphan_seen_ CAIRN_GUARDED_BY(mutex_) = false;  // somebody waits for TakeOrphan
  bool adopting_ CAIRN_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cairn::engine
