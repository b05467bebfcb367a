#pragma once
// SnapshotWriter: receives disk snapshots (docs/tap.md): empties or prepares the vbucket, puts the items into
// its table and, gathered over all vbuckets, into data, and records the new cut when all of one is there.
//
// Begin comes in steps that are repeated until they succeed, whatever the store answers: a vbucket that is
// being emptied is neither what it was nor empty on disk, so there is no way back. Until a cut is recorded
// the vbucket's log is held: a crash finds the record that says "in a disk snapshot", which starts again.
//
// Threads: Begin, Empty, Apply, End from any (one vbucket's from one at a time); RunOnce by one at a time
// (its own, or a test's). It works under the merger's pass mutex: two writers of data at a time would make
// each other's changes wait.

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "engine/core.h"
#include "engine/flusher.h"
#include "engine/merger.h"
#include "engine/replication.h"

namespace cairn::engine {

class SnapshotWriter {
 public:
  /// More than this is not taken before some is written.
  static constexpr size_t kQueuedBytesMax = size_t{32} << 20;

  SnapshotWriter(Core& core, Flusher& flusher, Merger& merger)
      : core_(core), flusher_(flusher), merger_(merger), loaded_(core.vbuckets.size()) {}
  ~SnapshotWriter() { Stop(); }
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  void Start();
  /// What has not ended is answered CANCELLED.
  void Stop() CAIRN_EXCLUDES(mutex_);

  /// As Replication::BeginSnapshot, ApplySnapshot and EndSnapshot.
  PendingRef Begin(Vbid vbucket, Seqno start, Seqno end) CAIRN_EXCLUDES(mutex_);
  Code Apply(Vbid vbucket, std::span<const ItemRef> items) CAIRN_EXCLUDES(mutex_);
  Status End(Vbid vbucket, CheckpointId open) CAIRN_EXCLUDES(mutex_);
  /// Empties the vbucket, in memory and on disk, without a snapshot to come. `held`: its log is held for that
  /// already.
  void Empty(Vbid vbucket, PendingRef done, bool held) CAIRN_EXCLUDES(mutex_);
  /// Answers true when it has ended. An error is logged, and it is called again after a pause.
  using Step = std::function<Result<bool>()>;
  /// `step` is called in each round, under the merger's pass mutex, until it has ended.
  void Post(Step step) CAIRN_EXCLUDES(mutex_);

  /// One round of everything that is to be done. True when something was.
  bool RunOnce() CAIRN_EXCLUDES(mutex_);

 private:
  enum class Stage : uint8_t { kWait, kIntent, kMerge, kDrop, kBare, kEnded };
  struct Job {
    Vbid vbucket;
    Seqno start, end;
    bool bare = false;  // only to be emptied
    bool held = false;  // its log is held for this
    Stage stage = Stage::kWait;
    bool drop = true;  // there may be something of it on disk
    PendingRef done;
  };
  /// Changes of one vbucket, or its snapshot's end.
  struct Piece {
    Vbid vbucket;
    uint64_t content = 0;
    bool ends = false;
    bool update = false;  // there was something before
    std::vector<storage::DataChange> changes;
    std::vector<Seqno> seqnos;  // of the changes
    size_t bytes = 0;
  };

  /// One change that is to be written, and of what: of which content, which was empty (or not: an update).
  struct Gathered {
    const storage::DataChange* change;
    uint64_t content;
    bool update;
  };

  void Run();
  bool WaitForWork() CAIRN_EXCLUDES(mutex_);
  bool RunSteps() CAIRN_EXCLUDES(mutex_);
  bool RunJobs() CAIRN_EXCLUDES(mutex_);
  void Answer(Job& job, Status status);
  /// kWait: what has to be before the intent can be recorded. False: not yet.
  bool Prepare(Job& job);
  static bool IsToBePrepared(const VBucket& vb, const Job& job) CAIRN_REQUIRES(vb.mutex);
  /// Its log is held.
  bool PrepareToEmpty(VBucket& vb, Job& job);
  bool PrepareToUpdate(VBucket& vb, Job& job) CAIRN_REQUIRES(vb.mutex);
  /// kMerge: what was there before the snapshot has to be in data.
  void AwaitMerge(Job& job);
  /// kDrop: empties the disk.
  Status Drop(Job& job);
  /// Their records, in as few synced writes as they fit into.
  Status WriteRecords(const std::vector<Job*>& jobs);
  Status AdvanceJobs(std::vector<Job>& jobs);
  void EndHold(Vbid vbucket);

  Result<bool> RunWrites() CAIRN_EXCLUDES(mutex_);
  bool Gather() CAIRN_EXCLUDES(mutex_);
  Status WriteGathered();
  Status WriteChanges(const std::vector<Gathered>& sorted, const std::vector<Vbid>& ended);
  Status RecordEnds(const std::vector<Vbid>& ended);
  void EjectWritten();
  /// Reports it, logs it unless it was just logged, and waits for a while.
  void NoteFailure(const Status& status, const char* what) CAIRN_EXCLUDES(mutex_);

  Core& core_;
  Flusher& flusher_;
  Merger& merger_;

  // Of the writing thread: they stay until they have succeeded.
  std::vector<Job> running_;
  std::vector<Step> steps_;
  std::vector<Piece> gathered_;
  size_t gathered_bytes_ = 0;
  std::vector<uint64_t> loaded_;  // by vbucket: the content of which a part has been loaded; 0: none
  std::string logged_;            // the failure that was logged last, and when
  int64_t logged_ns_ = 0;

  mutable Mutex mutex_;
  CondVar wake_;
  std::vector<Job> jobs_ CAIRN_GUARDED_BY(mutex_);
  std::vector<Step> new_steps_ CAIRN_GUARDED_BY(mutex_);
  std::deque<Piece> queue_ CAIRN_GUARDED_BY(mutex_);
  std::atomic<size_t> queued_bytes_{0};  // gathered ones included
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cairn::engine
