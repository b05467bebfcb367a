#include "engine/snapshot_writer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "base/thread_role.h"
#include "engine/record_writer.h"
#include "proto/disk_record.h"

namespace cairn::engine {
namespace {

// One write to data: its price is a file, whatever is in it.
constexpr size_t kWriteBytes = size_t{16} << 20;
constexpr size_t kWriteChanges = 50'000;
constexpr size_t kItemsPerLock = 64;
constexpr std::chrono::milliseconds kGatherFor{20};
constexpr std::chrono::milliseconds kLookAgain{10};
constexpr std::chrono::milliseconds kRetryDelay{200};
constexpr int64_t kSameTextEveryNs = 5'000'000'000;  // in the log, while a failure lasts

Status NotAReplica() { return Status(Code::kNotMyVbucket, "the vbucket is not a replica here"); }

size_t BytesOf(std::span<const ItemRef> items) {
  size_t bytes = 0;
  for (const ItemRef& item : items) bytes += item->allocated_bytes();
  return bytes;
}

}  // namespace

void SnapshotWriter::Start() {
  thread_ = std::thread([this] { Run(); });
}

void SnapshotWriter::Stop() {
  std::vector<Job> left;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    left.swap(jobs_);
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  for (std::vector<Job>* jobs : {&left, &running_}) {
    for (Job& job : *jobs) job.done->Set(Status(Code::kCancelled, "the engine is being closed"));
  }
  running_.clear();
}

// --- from outside ---

PendingRef SnapshotWriter::Begin(Vbid vbucket, Seqno start, Seqno end) {
  Job job;
  job.vbucket = vbucket;
  job.start = start;
  job.end = end;
  job.done = std::make_shared<Pending>();
  PendingRef done = job.done;
  if (end <= start) {
    done->Set(Status(Code::kInvalidArgument, "an empty disk snapshot"));
    return done;
  }
  MutexLock lock(mutex_);
  if (stopping_) {
    done->Set(Status(Code::kCancelled, "the engine is being closed"));
    return done;
  }
  jobs_.push_back(std::move(job));
  wake_.NotifyAll();
  return done;
}

void SnapshotWriter::Empty(Vbid vbucket, PendingRef done, bool held) {
  Job job;
  job.vbucket = vbucket;
  // Until it is empty on disk the record says that a disk snapshot from 0 is being received.
  job.end = Seqno(kSeqnoMax);
  job.bare = true;
  job.held = held;
  job.done = std::move(done);
  MutexLock lock(mutex_);
  jobs_.push_back(std::move(job));
  wake_.NotifyAll();
}

void SnapshotWriter::Post(Step step) {
  MutexLock lock(mutex_);
  new_steps_.push_back(std::move(step));
  wake_.NotifyAll();
}

Code SnapshotWriter::Apply(Vbid vbucket, std::span<const ItemRef> items) {
  if (queued_bytes_.load(std::memory_order_relaxed) >= kQueuedBytesMax) return Code::kWouldBlock;
  if (core_.memory.refuses(BytesOf(items))) return Code::kWouldBlock;
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Piece piece;
  piece.vbucket = vbucket;
  Seqno start;
  Seqno end;
  {
    MutexLock lock(vb.mutex);
    if (!vb.exists() || !vb.is_replica() || !vb.in_snapshot() || vb.log_held()) return Code::kNotMyVbucket;
    piece.content = vb.content();
    start = vb.snapshot_start();
    end = vb.snapshot_end();
  }
  piece.update = start != Seqno();
  for (const ItemRef& item : items) {
    if (!item->is_value() && !item->is_deleted()) return Code::kCorruption;
    if (item->seqno() <= start || item->seqno() > end) return Code::kOutOfRange;
    storage::DataChange& change = piece.changes.emplace_back();
    change.vbucket = vbucket;
    change.key = std::string(item->key());
    proto::EncodeDataRecord(vbucket, *item, &change.record);
    piece.seqnos.push_back(item->seqno());
    piece.bytes += change.key.size() + change.record.size() + sizeof(change);
  }
  for (size_t at = 0; at < items.size(); at += kItemsPerLock) {
    Effects fx;
    MutexLock lock(vb.mutex);
    if (vb.content() != piece.content || !vb.in_snapshot()) return Code::kNotMyVbucket;
    for (const ItemRef& item : items.subspan(at, std::min(kItemsPerLock, items.size() - at))) {
      vb.Receive(item, fx);
    }
  }
  queued_bytes_.fetch_add(piece.bytes, std::memory_order_relaxed);
  MutexLock lock(mutex_);
  queue_.push_back(std::move(piece));
  wake_.NotifyAll();
  return Code::kOk;
}

Status SnapshotWriter::End(Vbid vbucket, CheckpointId open) {
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Piece piece;
  piece.vbucket = vbucket;
  piece.ends = true;
  std::unique_ptr<checkpoint::CheckpointManager> before;
  Effects fx;
  {
    MutexLock lock(vb.mutex);
    if (!vb.exists() || !vb.is_replica() || !vb.in_snapshot() || vb.log_held()) return NotAReplica();
    before = vb.EndSnapshot(open, core_.Now(), fx);
    piece.content = vb.content();
  }
  core_.Finish(vb, fx);
  MutexLock lock(mutex_);
  queue_.push_back(std::move(piece));
  wake_.NotifyAll();
  return Status::Ok();
}

// --- the writing thread ---

bool SnapshotWriter::WaitForWork() {
  MutexLock lock(mutex_);
  while (!stopping_ && jobs_.empty() && new_steps_.empty() && queue_.empty()) {
    if (!gathered_.empty()) break;
    if (!running_.empty() || !steps_.empty()) {
      wake_.WaitFor(mutex_, kLookAgain);
      break;
    }
    wake_.WaitFor(mutex_, std::chrono::seconds(1));
  }
  // What comes in small pieces is worth waiting for.
  const bool only_pieces = jobs_.empty() && new_steps_.empty() && running_.empty() && steps_.empty();
  if (!stopping_ && only_pieces && queued_bytes_.load(std::memory_order_relaxed) < kWriteBytes) {
    wake_.WaitFor(mutex_, kGatherFor);
  }
  return !stopping_;
}

void SnapshotWriter::Run() {
  BeginThread("snap-writer", ThreadRole::kBackground);
  while (WaitForWork()) RunOnce();
}

bool SnapshotWriter::RunOnce() {
  if (!core_.store.present()) return false;
  bool done = RunSteps();
  done = RunJobs() || done;
  const Result<bool> written = RunWrites();
  if (!written.ok()) NoteFailure(written.status(), "write a disk snapshot");
  return (written.ok() && written.value()) || done;
}

void SnapshotWriter::NoteFailure(const Status& status, const char* what) {
  std::string text = std::string(what) + ": " + status.ToString();
  const int64_t now_ns = core_.clock->SteadyNs();
  if (text != logged_ || now_ns - logged_ns_ >= kSameTextEveryNs) {
    CAIRN_LOG(kError, "cannot {}", text);
    logged_ = std::move(text);
    logged_ns_ = now_ns;
  }
  if (NeedsReopen(status.code())) core_.report_store_failure();
  if (!thread_.joinable()) return;
  MutexLock lock(mutex_);
  if (!stopping_) wake_.WaitFor(mutex_, kRetryDelay);
}

bool SnapshotWriter::RunSteps() {
  {
    MutexLock lock(mutex_);
    std::move(new_steps_.begin(), new_steps_.end(), std::back_inserter(steps_));
    new_steps_.clear();
  }
  if (steps_.empty()) return false;
  const size_t before = steps_.size();
  Status failed;  // the first of them: one store is behind all
  merger_.BetweenPasses([&] {
    std::erase_if(steps_, [&failed](const Step& step) {
      Result<bool> ended = step();
      if (ended.ok()) return ended.value();
      if (failed.ok()) failed = ended.status();
      return false;
    });
  });
  if (!failed.ok()) NoteFailure(failed, "roll back");
  return steps_.size() < before;
}

// --- beginning ---

bool SnapshotWriter::RunJobs() {
  {
    MutexLock lock(mutex_);
    std::move(jobs_.begin(), jobs_.end(), std::back_inserter(running_));
    jobs_.clear();
  }
  if (running_.empty()) return false;
  const size_t before = running_.size();
  Status status;
  merger_.BetweenPasses([&] { status = AdvanceJobs(running_); });
  if (!status.ok()) NoteFailure(status, "begin a disk snapshot");
  std::erase_if(running_, [](const Job& job) { return job.stage == Stage::kEnded; });
  return running_.size() < before;
}

void SnapshotWriter::Answer(Job& job, Status status) {
  job.stage = Stage::kEnded;
  job.done->Set(std::move(status));
}

// Looked at and held in one step: a promotion comes before, and this is no replica any more, or finds the log
// held (or the snapshot under way) and is refused.
bool SnapshotWriter::Prepare(Job& job) {
  VBucket& vb = *core_.vbuckets[job.vbucket.get()];
  {
    MutexLock lock(vb.mutex);
    if (!IsToBePrepared(vb, job)) {
      Answer(job, NotAReplica());
      return false;
    }
    // The end of the one before is not recorded yet, or operations are just being applied.
    if ((vb.log_held() && !job.held) || vb.busy()) return false;
    if (job.start != Seqno()) return PrepareToUpdate(vb, job);
    vb.HoldLog();
  }
  flusher_.Forget({&job.vbucket, 1});
  return PrepareToEmpty(vb, job);
}

// One whose log was held for this before (a rollback) may lie between two contents, so it is emptied also
// when it was made dead since; as long as the log is held it is not promoted.
bool SnapshotWriter::IsToBePrepared(const VBucket& vb, const Job& job) {
  return vb.exists() && (job.held || vb.is_replica());
}

bool SnapshotWriter::PrepareToEmpty(VBucket& vb, Job& job) {
  VBucket fresh(vb.options());
  Effects fx;
  bool prepared = false;
  {
    MutexLock lock(vb.mutex);
    MutexLock fresh_lock(fresh.mutex);
    prepared = IsToBePrepared(vb, job);  // still
    if (prepared) {
      job.drop = vb.in_snapshot() || vb.high_seqno() != Seqno() || vb.merged() != Seqno();
      // Restore takes it from here; what is not set begins anew.
      proto::VbucketMeta empty;
      const proto::VbucketMeta present = vb.MetaAt(vb.merged());
      empty.state = present.state;
      empty.failover_log = present.failover_log;
      empty.epoch = present.epoch;
      empty.max_cas = present.max_cas;
      empty.open_checkpoint = CheckpointId(1);
      empty.snapshot_end = job.end;
      empty.regain = std::max(present.regain, vb.high_seqno());
      fresh.Restore(empty);
      fresh.OpenSequence(true, vb.history_uuid(), core_.Now());
      vb.ReplaceContent(fresh, fx);
      vb.HoldLog();
      fresh.ForgetMemory();
    } else if (vb.exists()) {
      vb.RewindLog();  // what the flusher has forgotten is written again
      vb.CancelHold(fx);
    }
  }
  core_.Finish(vb, fx);
  if (!prepared) Answer(job, NotAReplica());
  return prepared;
}

bool SnapshotWriter::PrepareToUpdate(VBucket& vb, Job& job) {
  const bool again = vb.in_snapshot() && vb.snapshot_start() == job.start;
  if (!again && (vb.in_snapshot() || vb.high_seqno() != job.start)) {
    Answer(job, Status(Code::kInvalidArgument, "a disk snapshot does not begin where the vbucket ends"));
    return false;
  }
  if (vb.window()) {
    Answer(job, Status(Code::kNotSupported, "no disk snapshot in the window of an online update"));
    return false;
  }
  vb.SetSnapshot(job.start, job.end);
  vb.SetMergeToEnd(true);
  return true;
}

void SnapshotWriter::AwaitMerge(Job& job) {
  VBucket& vb = *core_.vbuckets[job.vbucket.get()];
  {
    MutexLock lock(vb.mutex);
    if (!vb.exists() || !vb.in_snapshot()) {
      Answer(job, NotAReplica());
      return;
    }
    if (vb.AllMerged()) {
      Answer(job, Status::Ok());
      return;
    }
  }
  flusher_.Hurry(flusher_.Ticket());
  core_.unmerged_bytes.fetch_add(1, std::memory_order_relaxed);
  merger_.Kick();
}

Status SnapshotWriter::WriteRecords(const std::vector<Job*>& jobs) {
  MutexLock lock_records(core_.meta_mutex);
  RecordWriter records(core_);
  for (const Job* job : jobs) {
    VBucket& vb = *core_.vbuckets[job->vbucket.get()];
    proto::VbucketMeta meta;
    {
      MutexLock lock(vb.mutex);
      meta = vb.MetaAt(vb.merged());
    }
    CAIRN_RETURN_IF_ERROR(records.Add(job->vbucket, meta));
  }
  return records.Finish();
}

Status SnapshotWriter::AdvanceJobs(std::vector<Job>& jobs) {
  std::vector<Job*> begun;
  for (Job& job : jobs) {
    if (job.stage == Stage::kWait && Prepare(job)) job.stage = Stage::kIntent;
    if (job.stage == Stage::kIntent) begun.push_back(&job);
  }
  if (!begun.empty()) {
    CAIRN_CRASH_POINT("snapshot.before_intent");
    CAIRN_RETURN_IF_ERROR(WriteRecords(begun));
    CAIRN_CRASH_POINT("snapshot.after_intent");
    for (Job* job : begun) job->stage = job->start == Seqno() ? Stage::kDrop : Stage::kMerge;
  }
  std::vector<Job*> bare;
  for (Job& job : jobs) {
    if (job.stage == Stage::kMerge) AwaitMerge(job);
    if (job.stage == Stage::kDrop) CAIRN_RETURN_IF_ERROR(Drop(job));
    if (job.stage == Stage::kBare) bare.push_back(&job);
  }
  if (bare.empty()) return Status::Ok();
  CAIRN_RETURN_IF_ERROR(WriteRecords(bare));
  for (Job* job : bare) {
    EndHold(job->vbucket);
    Answer(*job, Status::Ok());
  }
  return Status::Ok();
}

Status SnapshotWriter::Drop(Job& job) {
  if (job.drop) CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->DropVbucket(job.vbucket));
  CAIRN_CRASH_POINT("snapshot.after_drop");
  merger_.NoteEmptied(job.vbucket);
  if (!job.bare) {
    EndHold(job.vbucket);
    Answer(job, Status::Ok());
    return Status::Ok();
  }
  job.stage = Stage::kBare;
  VBucket& vb = *core_.vbuckets[job.vbucket.get()];
  MutexLock lock(vb.mutex);
  vb.SetSnapshot(Seqno(), Seqno());
  return Status::Ok();
}

void SnapshotWriter::EndHold(Vbid vbucket) {
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Effects fx;
  {
    MutexLock lock(vb.mutex);
    vb.CancelHold(fx);
  }
  core_.Finish(vb, fx);
}

// --- writing ---

bool SnapshotWriter::Gather() {
  MutexLock lock(mutex_);
  size_t count = 0;
  for (const Piece& piece : gathered_) count += piece.changes.size();
  while (!queue_.empty() && gathered_bytes_ < kWriteBytes && count < kWriteChanges) {
    Piece& piece = queue_.front();
    gathered_bytes_ += piece.bytes;
    count += piece.changes.size();
    gathered_.push_back(std::move(piece));
    queue_.pop_front();
  }
  return !gathered_.empty();
}

Result<bool> SnapshotWriter::RunWrites() {
  if (!Gather()) return false;
  Status status;
  merger_.PutOff();
  merger_.BetweenPasses([&] { status = WriteGathered(); });
  if (!status.ok()) return status;  // what was gathered is written again
  if (core_.memory.above_low()) EjectWritten();
  gathered_.clear();
  queued_bytes_.fetch_sub(std::exchange(gathered_bytes_, 0), std::memory_order_relaxed);
  return true;
}

Status SnapshotWriter::WriteGathered() {
  std::vector<Vbid> ended;
  std::vector<Gathered> gathered;
  // Files that overlap nothing are never put together, so small ones would stay small.
  const bool few = gathered_bytes_ < core_.options.load_bytes_min;
  for (const Piece& piece : gathered_) {
    VBucket& vb = *core_.vbuckets[piece.vbucket.get()];
    {
      MutexLock lock(vb.mutex);
      if (!vb.exists() || vb.content() != piece.content) continue;  // emptied since
    }
    if (piece.ends) ended.push_back(piece.vbucket);
    for (const storage::DataChange& change : piece.changes) {
      gathered.push_back({&change, piece.content, piece.update || few});
    }
  }
  std::stable_sort(gathered.begin(), gathered.end(), [](const Gathered& a, const Gathered& b) {
    const storage::DataChange& left = *a.change;
    const storage::DataChange& right = *b.change;
    return left.vbucket != right.vbucket ? left.vbucket < right.vbucket : left.key < right.key;
  });
  // Of a snapshot that was begun again the later one counts.
  const auto same_key = [](const Gathered& a, const Gathered& b) {
    return a.change->vbucket == b.change->vbucket && a.change->key == b.change->key;
  };
  gathered.erase(gathered.begin(), std::unique(gathered.rbegin(), gathered.rend(), same_key).base());
  if (!gathered.empty()) {
    CAIRN_CRASH_POINT("snapshot.before_data");
    CAIRN_RETURN_IF_ERROR(WriteChanges(gathered, ended));
  }
  CAIRN_CRASH_POINT("snapshot.before_cut");
  return ended.empty() ? Status::Ok() : RecordEnds(ended);
}

// Of a vbucket that was empty everything is new, and comes in the order of keys: it is loaded as files that
// overlap nothing, so that no file is ever rewritten because of it. For that a file begins where a vbucket
// goes on of which an earlier write has brought a part, and ends behind one of which the rest is to come.
Status SnapshotWriter::WriteChanges(const std::vector<Gathered>& sorted, const std::vector<Vbid>& ended) {
  std::vector<storage::DataChange> updates;
  std::vector<storage::DataRun> runs;
  bool run_ended = true;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const Gathered& gathered = sorted[i];
    const storage::DataChange& change = *gathered.change;
    if (gathered.update) {
      updates.push_back(change);
      run_ended = true;
      continue;
    }
    const bool first = i == 0 || sorted[i - 1].change->vbucket != change.vbucket;
    if (run_ended || (first && loaded_[change.vbucket.get()] == gathered.content)) runs.emplace_back();
    runs.back().push_back(&change);
    const bool last = i + 1 == sorted.size() || sorted[i + 1].change->vbucket != change.vbucket;
    run_ended = last && std::find(ended.begin(), ended.end(), change.vbucket) == ended.end();
  }
  const uint64_t generation = core_.store.generation();
  if (!updates.empty()) {
    CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->WriteData(updates));
    StoreGate::Access store(core_.store);
    CAIRN_RETURN_IF_ERROR(store->FlushData());
    if (core_.store.generation() != generation) return Status(Code::kTmpFail, "the store was reopened");
  }
  if (!runs.empty()) CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->LoadData(runs));
  for (const Gathered& gathered : sorted) {
    if (!gathered.update) loaded_[gathered.change->vbucket.get()] = gathered.content;
  }
  return Status::Ok();
}

Status SnapshotWriter::RecordEnds(const std::vector<Vbid>& ended) {
  std::vector<std::pair<VBucket*, Effects>> finished;
  finished.reserve(ended.size());  // Effects must not be moved once they hold something
  {
    MutexLock lock_records(core_.meta_mutex);
    RecordWriter records(core_);
    for (const Vbid vbucket : ended) {
      VBucket& vb = *core_.vbuckets[vbucket.get()];
      proto::VbucketMeta meta;
      {
        MutexLock lock(vb.mutex);
        if (!vb.exists() || !vb.snapshot_unrecorded()) continue;
        meta = vb.MetaAtSnapshotEnd();
      }
      CAIRN_RETURN_IF_ERROR(records.Add(vbucket, meta));
    }
    CAIRN_RETURN_IF_ERROR(records.Finish());
    CAIRN_CRASH_POINT("snapshot.after_cut");
    for (const Vbid vbucket : ended) {
      VBucket& vb = *core_.vbuckets[vbucket.get()];
      finished.emplace_back(&vb, Effects());
      MutexLock lock(vb.mutex);
      if (vb.exists() && vb.snapshot_unrecorded()) vb.FinishSnapshot(finished.back().second);
    }
  }
  for (auto& [vb, fx] : finished) core_.Finish(*vb, fx);
  return Status::Ok();
}

// A node with less memory than data goes on receiving: what is on disk may be looked up there.
void SnapshotWriter::EjectWritten() {
  for (const Piece& piece : gathered_) {
    VBucket& vb = *core_.vbuckets[piece.vbucket.get()];
    for (size_t at = 0; at < piece.changes.size(); at += kItemsPerLock) {
      GiveWay();
      Effects fx;
      MutexLock lock(vb.mutex);
      if (vb.content() != piece.content) break;
      const size_t end = std::min(at + kItemsPerLock, piece.changes.size());
      for (size_t i = at; i < end; ++i) vb.EjectReceived(piece.changes[i].key, piece.seqnos[i], fx);
    }
  }
}

}  // namespace cairn::engine
