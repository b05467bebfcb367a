#include "engine/update_coordinator.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "base/thread_role.h"

namespace cairn::engine {
namespace {

constexpr uint32_t kVbucketsPerStep = 64;
constexpr size_t kKeysPerLock = 64;
constexpr size_t kLocksPerStep = 64;
constexpr size_t kReclaimPerStep = 4096;
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kDurableDeadlineNs = 30 * kSecond;
constexpr size_t kNameSizeMax = 64;

/// ^[A-Za-z0-9._-]{0,64}$
bool IsName(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return name.size() <= kNameSizeMax && std::all_of(name.begin(), name.end(), allowed);
}

}  // namespace

UpdateCoordinator::UpdateCoordinator(Core& core, Flusher& flusher, Merger& merger, uint64_t seed)
    : core_(core), flusher_(flusher), merger_(merger), random_(seed) {
  phases_.push_back(std::make_unique<Phase>());
  core_.phase.store(phases_.back().get(), std::memory_order_release);
}

UpdateCoordinator::~UpdateCoordinator() { Stop(); }

void UpdateCoordinator::Adopt(const std::optional<proto::UpdateMeta>& current,
                              std::vector<proto::UpdateMeta> history) {
  {
    MutexLock lock(mutex_);
    for (const proto::UpdateMeta& meta : history) {
      history_.push_back(OutcomeOf(meta));
      next_number_ = std::max(next_number_, meta.number + 1);
    }
    if (current) {
      current_ = *current;
      next_number_ = std::max(next_number_, current->number + 1);
    }
  }
  if (current) Publish(UpdatePhase::kUpdating, /*begins_windows=*/false);
}

Status UpdateCoordinator::BeginAdoption(const UpdateId& id) {
  UpdateId open;
  {
    MutexLock lock(mutex_);
    open = current_.id;
  }
  const bool orphan = !open.is_none() && open != id && !HasWindowOf(open);
  MutexLock lock(mutex_);
  if (busy_ || adopting_) return Status(Code::kBusy, "an online update command is under way");
  if (!current_.id.is_none() && current_.id != id) {
    if (!orphan || current_.id != open) {
      return Status(Code::kNotSupported, "another online update is open here");
    }
    orphan_seen_ = true;
    return Status(Code::kBusy, "an online update that ended elsewhere is being forgotten");
  }
  adopting_ = true;
  return Status::Ok();
}

bool UpdateCoordinator::HasWindowOf(const UpdateId& id) const {
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    if (vb->exists() && vb->window() && vb->window()->id == id) return true;
  }
  return false;
}

std::optional<bool> UpdateCoordinator::OutcomeOf(const UpdateId& id) const {
  MutexLock lock(mutex_);
  for (const UpdateOutcome& outcome : history_) {
    if (outcome.id == id) return outcome.committed;
  }
  return std::nullopt;
}

proto::UpdateMeta UpdateCoordinator::AdoptionRecord(const Found& found) {
  proto::UpdateMeta record;
  {
    MutexLock lock(mutex_);
    if (current_.id == found.id) {
      record = current_;
    } else {
      record.id = found.id;
      record.name = found.name;
      record.started_ns = found.started_ns;
      record.number = next_number_++;
    }
  }
  CountKeys(&record);
  record.start_digest = 0;
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    if (vb->window() && vb->window()->id == found.id) record.start_digest += vb->window()->digest;
  }
  if (found.committed) {
    record.state = *found.committed ? proto::UpdateState::kCommitted : proto::UpdateState::kReverted;
    record.decided_ns = core_.clock->WallNs();
  } else {
    record.keys_added = record.keys_updated = record.keys_deleted = record.window_bytes = 0;
  }
  return record;
}

void UpdateCoordinator::PublishAdoption(const proto::UpdateMeta& record) {
  bool open_already = false;
  {
    MutexLock lock(mutex_);
    open_already = current_.id == record.id && phase_ == UpdatePhase::kUpdating;
    current_ = record;
    in_doubt_.reset();
  }
  switch (record.state) {
    case proto::UpdateState::kOpen:
      if (!open_already) Publish(UpdatePhase::kUpdating, /*begins_windows=*/false);
      break;
    case proto::UpdateState::kCommitted:
      Publish(UpdatePhase::kCompleting);
      break;
    case proto::UpdateState::kReverted:
      Publish(UpdatePhase::kReverting);
      break;
  }
  CAIRN_LOG(kWarn, "online update {} was found {} in vbuckets that become active", record.id.ToHex(),
            proto::UpdateStateName(record.state));
}

void UpdateCoordinator::EndAdoption(const std::optional<proto::UpdateMeta>& record) {
  MutexLock lock(mutex_);
  adopting_ = false;
  if (record && record->state != proto::UpdateState::kOpen) {
    Job job;
    job.action = record->state == proto::UpdateState::kCommitted ? Action::kComplete : Action::kRevert;
    job.stage = Stage::kMove;
    queue_.push_front(std::move(job));
  }
  wake_.NotifyAll();
}

void UpdateCoordinator::Start() {
  thread_ = std::thread([this] { Run(); });
}

void UpdateCoordinator::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  std::deque<Job> left;
  {
    MutexLock lock(mutex_);
    left.swap(queue_);
  }
  if (job_) Reply(*job_, Status(Code::kCancelled, "shutting down"));
  job_.reset();
  for (Job& job : left) Reply(job, Status(Code::kCancelled, "shutting down"));
}

void UpdateCoordinator::Run() {
  BeginThread("update");
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
    }
    if (Step()) continue;
    MutexLock lock(mutex_);
    if (stopping_) return;
    // A job that waits (for the disk, for warm-up) is looked at again soon; otherwise Submit wakes us.
    wake_.WaitFor(mutex_, busy_ ? std::chrono::milliseconds(2) : std::chrono::milliseconds(500));
  }
}

void UpdateCoordinator::Submit(Action action, const UpdateRequest& request, Done done) {
  {
    MutexLock lock(mutex_);
    if (!stopping_ && queue_.size() < kJobsMax) {
      Job job;
      job.action = action;
      job.request = request;
      job.done = std::move(done);
      queue_.push_back(std::move(job));
      wake_.NotifyAll();
      return;
    }
  }
  done(Status(Code::kBusy, "too many online update commands are waiting"));
}

void UpdateCoordinator::Reply(Job& job, Result<UpdateStatus> result) {
  if (job.done) job.done(std::move(result));
  job.done = nullptr;
}

bool UpdateCoordinator::Step() {
  if (!job_) {
    MutexLock lock(mutex_);
    if (!queue_.empty() && !adopting_) {
      job_ = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
    }
  }
  if (!job_) {
    CheckCaps();
    ResolveDoubt();
    if (!TakeOrphan()) return ReclaimSome();
  }
  const bool progress = Advance(*job_) || ReclaimSome();
  if (job_->stage == Stage::kEnded) {
    job_.reset();
    MutexLock lock(mutex_);
    busy_ = false;
    return true;
  }
  return progress;
}

bool UpdateCoordinator::Advance(Job& job) {
  switch (job.stage) {
    case Stage::kAdmit:
      return Admit(job);
    case Stage::kReady:
      return Ready(job);
    case Stage::kMove:
      return Move(job);
    case Stage::kDurable:
      return WaitDurable(job);
    case Stage::kRecord:
      return RecordOpen(job);
    case Stage::kDecide:
      return Decide(job);
    case Stage::kUndo:
      return Undo(job);
    case Stage::kAnswer:
      return Answer(job);
    case Stage::kSettle:
      return Settle(job);
    case Stage::kClose:
      return Close(job);
    case Stage::kAbort:
      return Abort(job);
    case Stage::kEnded:
      return false;
  }
  return false;
}

bool UpdateCoordinator::Admit(Job& job) {
  Status refusal;
  bool repeated = false;
  {
    MutexLock lock(mutex_);
    const bool open = !current_.id.is_none();
    const UpdateId wanted = job.request.id;
    const bool named = !wanted.is_none();
    if (job.action == Action::kStart) {
      repeated = open && named && wanted == current_.id;
      if (!repeated && !IsName(job.request.name)) {
        refusal = Status(Code::kInvalidArgument,
                         "a name has at most 64 letters, digits, dots, underscores and dashes");
      } else if (open && !repeated) {
        refusal = Status(Code::kNotSupported, "an online update is open: complete or revert it first");
      }
    } else if (!open) {
      const bool committed = job.action == Action::kComplete;
      repeated = named && !history_.empty() && history_.front().id == wanted &&
                 history_.front().committed == committed;
      if (!repeated) refusal = Status(Code::kNotSupported, "no online update is open");
    } else if (named && wanted != current_.id) {
      refusal = Status(Code::kNotSupported, "another online update is open");
    } else if (in_doubt_ && *in_doubt_ != job.action) {
      refusal = Status(Code::kNotSupported, "the opposite was decided and is being made durable");
    }
  }
  if (repeated || !refusal.ok()) {
    Reply(job, repeated ? Result<UpdateStatus>(status()) : Result<UpdateStatus>(std::move(refusal)));
    job.stage = Stage::kEnded;
    return true;
  }
  job.deadline_ns = core_.clock->SteadyNs() + kDurableDeadlineNs;
  job.stage = job.action == Action::kStart ? Stage::kReady : Stage::kDecide;
  return true;
}

bool UpdateCoordinator::Ready(Job& job) {
  {
    // From here on flush_all is refused, so a sweep that is found to have ended has ended.
    MutexLock lock(mutex_);
    phase_ = UpdatePhase::kStarting;
  }
  const Result<std::string> hindrance = StartHindrance();
  if (!hindrance.ok() || !hindrance.value().empty()) {
    if (hindrance.ok() && core_.clock->SteadyNs() < job.deadline_ns) return false;
    {
      MutexLock lock(mutex_);
      phase_ = UpdatePhase::kNormal;
    }
    Reply(job, hindrance.ok() ? Status(Code::kTmpFail, hindrance.value()) : hindrance.status());
    job.stage = Stage::kEnded;
    return true;
  }
  {
    MutexLock lock(mutex_);
    current_ = proto::UpdateMeta();
    current_.id = job.request.id;
    if (current_.id.is_none()) current_.id.bytes = RandomUuid(random_);
    current_.name = job.request.name;
    current_.number = next_number_++;
    current_.started_ns = core_.clock->WallNs();
  }
  Publish(UpdatePhase::kUpdating);
  {
    MutexLock lock(mutex_);
    phase_ = UpdatePhase::kStarting;
  }
  job.stage = Stage::kMove;
  return true;
}

// START records each vbucket's digest, so everything has to be in memory, and a flush_all swept.
Result<std::string> UpdateCoordinator::StartHindrance() const {
  bool sweeping = false;
  bool suspended = false;
  size_t active = 0;
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    if (!vb->exists() || vb->recorded_state() != VbucketState::kActive) continue;
    ++active;
    sweeping = sweeping || vb->flushing();
    suspended = suspended || vb->suspended();
  }
  if (active == 0) return Status(Code::kNotSupported, "no active vbucket");
  if (sweeping) return std::string("flush_all is still removing items");
  if (suspended) return std::string("a vbucket is being handed over");
  return std::string(core_.warm.load(std::memory_order_acquire) ? "" : "still warming up");
}

void UpdateCoordinator::Publish(UpdatePhase kind, bool begins_windows) {
  auto phase = std::make_unique<Phase>();
  phase->begins_windows = begins_windows;
  {
    MutexLock lock(mutex_);
    phase->kind = kind;
    phase->id = current_.id;
    phase->name = current_.name;
    phase->started_ns = core_.clock->WallNs();
    phase_ = kind;
    moved_ = 0;
  }
  phases_.push_back(std::move(phase));
  core_.phase.store(phases_.back().get(), std::memory_order_release);
  // Every vbucket has reached the phase before last by now: each job moves all of them before the next
  // begins.
  if (phases_.size() > 16) phases_.erase(phases_.begin(), phases_.end() - 8);
}

bool UpdateCoordinator::Move(Job& job) {
  const auto count = static_cast<uint32_t>(core_.vbuckets.size());
  const uint32_t end = std::min(count, job.next_vbucket + kVbucketsPerStep);
  for (; job.next_vbucket < end; ++job.next_vbucket) {
    VBucket& vb = *core_.vbuckets[job.next_vbucket];
    Effects fx;
    {
      MutexLock lock(vb.mutex);
      vb.Enter(core_.CurrentPhase(), core_.Now(), fx);
    }
    core_.Finish(vb, fx);
  }
  {
    MutexLock lock(mutex_);
    moved_ = job.next_vbucket;
  }
  if (job.next_vbucket < count) return true;
  CAIRN_CRASH_POINT("update.after_move");
  job.next_vbucket = 0;
  if (!job.failure.ok()) {
    job.stage = Stage::kAbort;
  } else if (job.action == Action::kStart) {
    job.stage = Stage::kDurable;
  } else {
    job.stage = job.action == Action::kRevert ? Stage::kUndo : Stage::kAnswer;
  }
  job.ticket = flusher_.Ticket();
  flusher_.Hurry(job.ticket);
  job.deadline_ns = core_.clock->SteadyNs() + kDurableDeadlineNs;
  return true;
}

bool UpdateCoordinator::WaitDurable(Job& job) {
  const Code outcome = core_.store.present() ? flusher_.Outcome(job.ticket) : Code::kOk;
  if (outcome == Code::kOk) {
    job.stage = Stage::kRecord;
    return true;
  }
  if (core_.clock->SteadyNs() < job.deadline_ns) return false;
  job.failure = Status(Code::kTmpFail, "the state at START cannot be made durable: " +
                                           std::string(flusher_.last_error().message()));
  Publish(UpdatePhase::kCompleting);
  job.stage = Stage::kMove;
  return true;
}

Status UpdateCoordinator::WriteMeta(const storage::LogBatch& batch) {
  if (!core_.store.present()) return Status::Ok();
  if (CAIRN_FAULT("update.write_meta")) return Status(Code::kIoError, "injected");
  return StoreGate::Access(core_.store)->WriteLog(batch, true);
}

bool UpdateCoordinator::RecordOpen(Job& job) {
  CAIRN_CRASH_POINT("update.before_open_record");
  uint64_t digest = 0;
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    if (vb->window()) digest += vb->window()->digest;
  }
  storage::LogBatch batch;
  {
    MutexLock lock(mutex_);
    current_.state = proto::UpdateState::kOpen;
    current_.start_digest = digest;
    batch.meta_puts.emplace_back(proto::kUpdateCurrentName,
                                 proto::EncodeUpdateMeta(proto::kUpdateCurrentName, current_));
  }
  const Status written = WriteMeta(batch);
  if (!written.ok()) {
    job.failure = Status(written.code(), "the start cannot be recorded: " + std::string(written.message()));
    Publish(UpdatePhase::kCompleting);
    job.stage = Stage::kMove;
    return true;
  }
  CAIRN_CRASH_POINT("update.after_open_record");
  {
    MutexLock lock(mutex_);
    phase_ = UpdatePhase::kUpdating;
    cap_warned_percent_ = 0;
    CAIRN_LOG(kInfo, "online update {} '{}' started", current_.id.ToHex(), EscapeKey(current_.name));
  }
  core_.metrics.Add(Metric::kUpdatesStarted);
  merger_.Kick();
  Reply(job, status());
  job.stage = Stage::kEnded;
  return true;
}

bool UpdateCoordinator::Abort(Job& job) {
  storage::LogBatch batch;
  batch.meta_deletes.emplace_back(proto::kUpdateCurrentName);
  // If the record made it to disk after all, recovery sees windows that have ended and takes it for
  // completed.
  if (const Status removed = WriteMeta(batch); !removed.ok()) {
    CAIRN_LOG(kWarn, "the record of a start that failed may be left: {}", removed.ToString());
  }
  {
    MutexLock lock(mutex_);
    current_ = proto::UpdateMeta();
  }
  Publish(UpdatePhase::kNormal);
  Reply(job, std::move(job.failure));
  job.stage = Stage::kEnded;
  return true;
}

void UpdateCoordinator::CountKeys(proto::UpdateMeta* meta) const {
  meta->keys_added = meta->keys_updated = meta->keys_deleted = meta->window_bytes = 0;
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    if (!vb->window() || vb->window()->id != meta->id) continue;
    meta->keys_added += vb->window()->added;
    meta->keys_updated += vb->window()->updated;
    meta->keys_deleted += vb->window()->deleted;
    meta->window_bytes += vb->window()->bytes;
  }
}

bool UpdateCoordinator::Decide(Job& job) {
  const bool commit = job.action == Action::kComplete;
  proto::UpdateMeta decided;
  {
    MutexLock lock(mutex_);
    decided = current_;
  }
  CountKeys(&decided);
  decided.state = commit ? proto::UpdateState::kCommitted : proto::UpdateState::kReverted;
  decided.decided_ns = core_.clock->WallNs();
  storage::LogBatch batch;
  batch.meta_puts.emplace_back(proto::kUpdateCurrentName,
                               proto::EncodeUpdateMeta(proto::kUpdateCurrentName, decided));
  CAIRN_CRASH_POINT("update.before_decision");
  const Status written = WriteMeta(batch);
  CAIRN_CRASH_POINT("update.after_decision");
  if (written == Code::kAmbiguous || written == Code::kIoError || written == Code::kNoSpace) {
    // It may be on disk. Only the same decision may follow; it is tried again until the deadline.
    {
      MutexLock lock(mutex_);
      in_doubt_ = job.action;
    }
    flusher_.ReportStoreFailure();  // reopens it
    if (core_.clock->SteadyNs() < job.deadline_ns) return false;
    Reply(job, Status(Code::kAmbiguous, "the decision may or may not be durable; repeat the same command: " +
                                            std::string(written.message())));
    job.stage = Stage::kEnded;
    return true;
  }
  if (!written.ok()) {
    Reply(job, Status(written.code(), "the decision cannot be recorded, nothing has changed: " +
                                          std::string(written.message())));
    job.stage = Stage::kEnded;
    return true;
  }
  {
    MutexLock lock(mutex_);
    in_doubt_.reset();
    current_ = decided;
  }
  Publish(commit ? UpdatePhase::kCompleting : UpdatePhase::kReverting);
  job.stage = Stage::kMove;
  return true;
}

/// An update whose every window is gone: this node was deposed, and its vbuckets were rolled back to before
/// START, or have followed their source to the update's end. Nobody would end it here, and nothing else could
/// begin, so it is forgotten. Its outcome is not noted: the vbuckets know it that have seen it.
bool UpdateCoordinator::TakeOrphan() {
  UpdateId open;
  {
    MutexLock lock(mutex_);
    const int64_t now = core_.clock->SteadyNs();
    if (phase_ != UpdatePhase::kUpdating || adopting_ || in_doubt_) return false;
    if (now < next_orphan_ns_ && !orphan_seen_) return false;
    orphan_seen_ = false;
    next_orphan_ns_ = now + kSecond;
    open = current_.id;
  }
  if (HasWindowOf(open)) return false;
  CAIRN_PROBE("update.orphan");
  CAIRN_LOG(kWarn, "online update {} has no window here any more and is forgotten", open.ToHex());
  Job job;
  job.stage = Stage::kAbort;
  job.failure = Status(Code::kCancelled, "its windows are gone");
  job_ = std::move(job);
  MutexLock lock(mutex_);
  busy_ = !adopting_;
  if (!busy_) job_.reset();
  return busy_;
}

void UpdateCoordinator::ResolveDoubt() {
  storage::LogBatch batch;
  {
    MutexLock lock(mutex_);
    const int64_t now = core_.clock->SteadyNs();
    if (!in_doubt_ || now < next_doubt_ns_) return;
    next_doubt_ns_ = now + kSecond;
    batch.meta_puts.emplace_back(proto::kUpdateCurrentName,
                                 proto::EncodeUpdateMeta(proto::kUpdateCurrentName, current_));
  }
  // OPEN over whatever is there: once this is durable nothing was decided, and either command may follow.
  const Status written = WriteMeta(batch);
  if (!written.ok()) {
    if (NeedsReopen(written.code())) flusher_.ReportStoreFailure();
    return;
  }
  MutexLock lock(mutex_);
  in_doubt_.reset();
}

bool UpdateCoordinator::Undo(Job& job) {
  const auto count = static_cast<uint32_t>(core_.vbuckets.size());
  for (size_t locks = 0; locks < kLocksPerStep && job.next_vbucket < count; ++locks) {
    VBucket& vb = *core_.vbuckets[job.next_vbucket];
    Effects fx;
    bool ended = false;
    VBucket::RevertVerdict verdict;
    {
      MutexLock lock(vb.mutex);
      const size_t before = vb.preimages_left();
      ended = vb.RevertSome(kKeysPerLock, fx);
      job.keys += before - vb.preimages_left();
      if (ended) verdict = vb.FinishRevert();
    }
    core_.Finish(vb, fx);
    if (!ended) continue;
    if (!verdict.equal) {
      job.digest_equal = false;
      core_.metrics.Add(Metric::kDigestMismatches);
      CAIRN_LOG(kError, "vbucket {}: after REVERT the digest is {:016x}, at START it was {:016x}",
                job.next_vbucket, verdict.found, verdict.expected);
    }
    ++job.next_vbucket;
  }
  if (job.next_vbucket < count) return true;
  core_.metrics.Add(Metric::kRevertedKeys, job.keys);
  job.stage = Stage::kAnswer;
  return true;
}

bool UpdateCoordinator::Answer(Job& job) {
  {
    MutexLock lock(mutex_);
    UpdateOutcome outcome = OutcomeOf(current_);
    outcome.finished_ns = core_.clock->WallNs();
    outcome.digest_equal = job.digest_equal;
    std::erase_if(history_, [&](const UpdateOutcome& other) { return other.id == outcome.id; });
    history_.insert(history_.begin(), outcome);
    if (history_.size() > proto::kUpdateHistoryMax) history_.resize(proto::kUpdateHistoryMax);
    CAIRN_LOG(kInfo, "online update {} {}: {} added, {} updated, {} deleted", outcome.id.ToHex(),
              outcome.committed ? "completed" : "reverted", outcome.added, outcome.updated, outcome.deleted);
  }
  core_.metrics.Add(job.action == Action::kComplete ? Metric::kUpdatesCompleted : Metric::kUpdatesReverted);
  core_.refuse_writes.store(false, std::memory_order_relaxed);
  Publish(UpdatePhase::kNormal);
  merger_.Kick();
  Reply(job, status());
  job.stage = Stage::kSettle;
  return true;
}

bool UpdateCoordinator::Settle(Job& job) {
  // A next job waits until this one is closed, or until it is clear that the disk does not let it: the record
  // stays then, and says the same thing again after a restart.
  const Code outcome = core_.store.present() ? flusher_.Outcome(job.ticket) : Code::kOk;
  if (outcome != Code::kOk && core_.clock->SteadyNs() < job.deadline_ns) return false;
  job.stage = Stage::kClose;
  if (outcome != Code::kOk) job.failure = Status(Code::kTmpFail, "markers are not durable yet");
  return true;
}

bool UpdateCoordinator::Close(Job& job) {
  storage::LogBatch batch;
  {
    MutexLock lock(mutex_);
    const std::string name = proto::UpdateHistoryName(current_.number % proto::kUpdateHistoryMax);
    batch.meta_puts.emplace_back(name, proto::EncodeUpdateMeta(name, current_));
    batch.meta_deletes.emplace_back(proto::kUpdateCurrentName);
  }
  CAIRN_CRASH_POINT("update.before_close");
  if (job.failure.ok()) {
    const Status written = WriteMeta(batch);
    if (!written.ok()) CAIRN_LOG(kWarn, "an ended update's record stays: {}", written.ToString());
  }
  {
    MutexLock lock(mutex_);
    current_ = proto::UpdateMeta();
  }
  job.stage = Stage::kEnded;
  return true;
}

UpdateOutcome UpdateCoordinator::OutcomeOf(const proto::UpdateMeta& meta) const {
  UpdateOutcome outcome;
  outcome.id = meta.id;
  outcome.name = meta.name;
  outcome.committed = meta.state == proto::UpdateState::kCommitted;
  outcome.started_ns = meta.started_ns;
  outcome.decided_ns = outcome.finished_ns = meta.decided_ns;
  outcome.added = meta.keys_added;
  outcome.updated = meta.keys_updated;
  outcome.deleted = meta.keys_deleted;
  return outcome;
}

bool UpdateCoordinator::active() const {
  MutexLock lock(mutex_);
  return phase_ != UpdatePhase::kNormal;
}

Status UpdateCoordinator::RunExclusive(const std::function<void()>& action) {
  MutexLock lock(mutex_);
  if (phase_ != UpdatePhase::kNormal) {
    return Status(Code::kNotSupported, "not while an online update is open");
  }
  action();
  return Status::Ok();
}

void UpdateCoordinator::Reclaim(std::unique_ptr<Preimages> preimages) {
  MutexLock lock(mutex_);
  reclaim_.push_back(std::move(preimages));
}

bool UpdateCoordinator::ReclaimSome() {
  std::unique_ptr<Preimages> preimages;
  {
    MutexLock lock(mutex_);
    if (reclaim_.empty()) return false;
    preimages = std::move(reclaim_.back());
    reclaim_.pop_back();
  }
  preimages->TakeSome(kReclaimPerStep);
  if (preimages->size() > 0) Reclaim(std::move(preimages));
  return true;
}

UpdateStatus UpdateCoordinator::status() const {
  UpdateStatus status;
  {
    MutexLock lock(mutex_);
    status.phase = phase_;
    if (phase_ != UpdatePhase::kNormal) {
      status.id = current_.id;
      status.name = current_.name;
      status.started_ns = current_.started_ns;
      status.digest_at_start = current_.start_digest;
    }
    status.vbuckets_moved = moved_;
    status.vbuckets_total = static_cast<uint32_t>(core_.vbuckets.size());
    status.history = history_;
  }
  if (status.phase == UpdatePhase::kNormal) ShowReplicas(&status);
  if (!status.id.is_none()) status.age_ns = core_.clock->WallNs() - status.started_ns;
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    status.digest_now += vb->digest();
    status.preimage_bytes += vb->preimage_bytes();
    if (vb->undoing()) status.keys_to_revert += vb->preimages_left();
    if (!vb->window() || vb->window()->id != status.id) continue;
    status.added += vb->window()->added;
    status.updated += vb->window()->updated;
    status.deleted += vb->window()->deleted;
    status.window_bytes += vb->window()->bytes;
  }
  return status;
}

// Nothing is open here, but a source may have an update open that replicas of this node follow.
void UpdateCoordinator::ShowReplicas(UpdateStatus* status) const {
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    if (!vb->exists() || !vb->is_replica() || !vb->window()) continue;
    const Window& window = *vb->window();
    if (!status->id.is_none() && status->id != window.id) continue;
    status->phase = UpdatePhase::kUpdating;
    status->id = window.id;
    status->name = window.name;
    status->started_ns = window.started_ns;
    status->digest_at_start += window.digest;
    ++status->vbuckets_moved;
  }
}

void UpdateCoordinator::CheckCaps() {
  const EngineOptions& options = core_.options;
  if (options.update_bytes_max == 0 && options.update_age_max_s == 0) return;
  const int64_t now = core_.clock->SteadyNs();
  if (now < next_cap_check_ns_) return;
  next_cap_check_ns_ = now + kSecond;
  if (!active()) return;  // a replica's window is its source's to cap
  const UpdateStatus open = status();
  if (open.phase != UpdatePhase::kUpdating) return;
  double percent = 0;
  if (options.update_bytes_max != 0) {
    percent = 100.0 * static_cast<double>(open.window_bytes) / static_cast<double>(options.update_bytes_max);
  }
  if (options.update_age_max_s != 0) {
    const double age_s = static_cast<double>(open.age_ns) / 1e9;
    percent = std::max(percent, 100.0 * age_s / options.update_age_max_s);
  }
  for (const int mark : {50, 80, 100}) {
    if (percent < mark || cap_warned_percent_ >= mark) continue;
    cap_warned_percent_ = mark;
    CAIRN_LOG(kWarn, "online update {} has used {:.0f} % of its cap", open.id.ToHex(), percent);
  }
  if (percent < 100) return;
  UpdateRequest request;
  request.id = open.id;
  switch (options.update_at_cap) {
    case AtWindowCap::kRefuseWrites:
      core_.refuse_writes.store(true, std::memory_order_relaxed);
      break;
    case AtWindowCap::kRevert:
      Submit(Action::kRevert, request, [](const Result<UpdateStatus>&) {});
      break;
    case AtWindowCap::kComplete:
      Submit(Action::kComplete, request, [](const Result<UpdateStatus>&) {});
      break;
  }
}

}  // namespace cairn::engine
