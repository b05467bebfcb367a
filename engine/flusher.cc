#include "engine/flusher.h"

#include <algorithm>
#include <chrono>

#include "base/fault.h"
#include "base/log.h"
#include "base/thread_role.h"
#include "proto/disk_record.h"

namespace cairn::engine {
namespace {

// A batch costs about ten microseconds besides what its records cost.
constexpr size_t kBatchBytes = 32u << 10;
constexpr size_t kVbucketsPerTurn = 8;  // that are gathered
constexpr int64_t kMs = 1'000'000;
constexpr std::chrono::milliseconds kRetryDelay{200};

}  // namespace

Flusher::Flusher(Core& core) : core_(core) {
  MutexLock lock(mutex_);
  last_sync_ns_ = core_.clock->SteadyNs();
}

Flusher::~Flusher() { Stop(); }

void Flusher::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Flusher::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Flusher::Enqueue(Vbid vbucket) {
  MutexLock lock(mutex_);
  queue_.push_back(vbucket);
  if (queue_.size() == 1) wake_.NotifyOne();
}

Code Flusher::Outcome(uint64_t ticket) const {
  if (cycle_durable_.load(std::memory_order_acquire) >= ticket) return Code::kOk;
  if (cycle_ambiguous_.load(std::memory_order_acquire) >= ticket) return Code::kAmbiguous;
  return Code::kWouldBlock;
}

void Flusher::Await(uint64_t ticket, const WaiterRef& waiter) {
  MutexLock lock(mutex_);
  waiters_.emplace_back(ticket, waiter);
  // When the outcome came while the caller was on its way here, the next cycle wakes it.
  const bool known = Outcome(ticket) != Code::kWouldBlock;
  hurry_ = std::max(hurry_, known ? cycle_begun_.load(std::memory_order_relaxed) + 1 : ticket);
  wake_.NotifyOne();
}

void Flusher::Hurry(uint64_t ticket) {
  MutexLock lock(mutex_);
  hurry_ = std::max(hurry_, ticket);
  wake_.NotifyOne();
}

void Flusher::ReportStoreFailure() {
  MutexLock lock(mutex_);
  store_failed_.store(true, std::memory_order_relaxed);
  wake_.NotifyOne();
}

void Flusher::SetPaused(bool paused) {
  MutexLock lock(mutex_);
  paused_.store(paused, std::memory_order_relaxed);
  wake_.NotifyAll();
}

bool Flusher::idle() const {
  MutexLock lock(mutex_);
  return queue_.empty() && !unsynced_any_;
}

Status Flusher::last_error() const {
  MutexLock lock(mutex_);
  return last_error_;
}

bool Flusher::SyncDue(int64_t now_ns) const {
  switch (core_.options.sync) {
    case SyncPolicy::kAlways:
      return true;
    case SyncPolicy::kInterval:
      return now_ns - last_sync_ns_ >= int64_t{core_.options.sync_interval_ms} * kMs;
    case SyncPolicy::kNone:
      return false;
  }
  return false;
}

bool Flusher::WaitForWork() {
  MutexLock lock(mutex_);
  const int64_t gather_ns =
      core_.options.sync == SyncPolicy::kAlways ? 0 : int64_t{core_.options.flush_delay_ms} * kMs;
  int64_t work_since_ns = 0;
  while (!stopping_) {
    const int64_t now = core_.clock->SteadyNs();
    // Not only of a cycle to come: the one that was hurried may have failed.
    const bool hurried = hurry_ > cycle_durable_.load(std::memory_order_relaxed) ||
                         store_failed_.load(std::memory_order_relaxed);
    const bool work = !paused() && (!queue_.empty() || hurried || (unsynced_any_ && SyncDue(now)));
    if (work) {
      if (work_since_ns == 0) work_since_ns = now;
      const bool pressed = hurried || core_.memory.checkpoints_over_budget();
      if (pressed || now - work_since_ns >= gather_ns) return true;
      wake_.WaitFor(mutex_, std::chrono::nanoseconds(gather_ns - (now - work_since_ns)));
    } else if (unsynced_any_ && !paused()) {
      wake_.WaitFor(mutex_, std::chrono::milliseconds(20));
    } else {
      wake_.WaitFor(mutex_, std::chrono::seconds(1));
    }
  }
  return false;
}

void Flusher::Run() {
  BeginThread("flusher", ThreadRole::kSteady);
  while (WaitForWork()) {
    const Result<bool> done = RunCycle(false);
    if (done.ok()) continue;
    MutexLock lock(mutex_);
    if (!stopping_) wake_.WaitFor(mutex_, kRetryDelay);
  }
}

void Flusher::Forget(std::span<const Vbid> vbuckets) {
  MutexLock cycle(cycle_mutex_);
  for (const Vbid vbucket : vbuckets) unsynced_.erase(vbucket.get());
}

Result<bool> Flusher::RunCycle(bool sync) {
  MutexLock one_at_a_time(cycle_mutex_);
  std::vector<Vbid> vbuckets;
  uint64_t cycle = 0;
  bool sync_wanted = false;
  {
    MutexLock lock(mutex_);
    vbuckets.swap(queue_);
    cycle = cycle_begun_.load(std::memory_order_relaxed) + 1;
    // From here on a new ticket belongs to the next cycle: what is done now may miss this one.
    cycle_begun_.store(cycle, std::memory_order_release);
    const bool hurried = sync || hurry_ > cycle_durable_.load(std::memory_order_relaxed);
    sync_wanted = hurried || SyncDue(core_.clock->SteadyNs());
    unhurried_ = !hurried && core_.options.sync != SyncPolicy::kAlways;
  }
  core_.metrics.Add(Metric::kFlushCycles);
  if (store_failed_.exchange(false, std::memory_order_relaxed) && core_.store.present()) {
    return Fail(Status(Code::kAmbiguous, "another write to the store failed"), vbuckets, cycle);
  }
  wrote_ = false;
  Status status = WriteAll(vbuckets);
  const bool wrote = wrote_ || !gathered_.empty() || (sync_wanted && !unsynced_.empty());
  if (status.ok() && core_.store.present()) {
    if (!gathered_.empty()) {
      status = WriteGathered(sync_wanted);
    } else if (sync_wanted && !unsynced_.empty()) {
      CAIRN_CRASH_POINT("flusher.before_sync");
      status = StoreGate::Access(core_.store)->SyncLog();
    }
  }
  if (!status.ok()) return Fail(std::move(status), vbuckets, cycle);
  if (sync_wanted || !core_.store.present()) {
    MarkDurable(cycle);
  } else {
    MutexLock lock(mutex_);
    unsynced_any_ = !unsynced_.empty();
  }
  return wrote;
}

Status Flusher::WriteAll(const std::vector<Vbid>& vbuckets) {
  size_t count = 0;
  for (const Vbid vbucket : vbuckets) {
    CAIRN_RETURN_IF_ERROR(WriteVbucket(vbucket));
    if (++count % kVbucketsPerTurn == 0) GiveWay();
  }
  return Status::Ok();
}

Status Flusher::WriteVbucket(Vbid vbucket) {
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Seqno target;
  {
    MutexLock lock(vb.mutex);
    vb.set_queued(false);
    target = vb.high_seqno();
  }
  for (;;) {
    checkpoint::Batch batch;
    {
      MutexLock lock(vb.mutex);
      batch = vb.ReadForLog();
    }
    if (batch.nothing()) return Status::Ok();
    const size_t before = batch_bytes_;
    if (core_.store.present()) Encode(vbucket, batch);
    gathered_.push_back({vbucket, batch.last, batch_bytes_ - before});
    core_.metrics.Add(Metric::kFlushedOperations, batch.operations.size());
    if (batch_bytes_ >= kBatchBytes) CAIRN_RETURN_IF_ERROR(WriteGathered(false));
    if (batch.last >= target) return Status::Ok();
  }
}

void Flusher::Encode(Vbid vbucket, const checkpoint::Batch& batch) {
  for (const checkpoint::Operation& operation : batch.operations) {
    auto& record =
        batch_.records.emplace_back(storage::LogKey{vbucket, operation.item->seqno()}, std::string());
    proto::EncodeLogRecord(vbucket, *operation.item, operation.checkpoint, &record.second);
    batch_bytes_ += record.second.size() + 16;
  }
}

Status Flusher::WriteGathered(bool sync) {
  CAIRN_CRASH_POINT("flusher.before_write");
  if (CAIRN_FAULT("flusher.write_no_space")) return Status(Code::kNoSpace, "injected");
  // The mere end of a checkpoint is gathered without a record.
  if (!batch_.empty()) {
    const IdleScope idle(unhurried_ && !core_.memory.checkpoints_over_budget());
    CAIRN_RETURN_IF_ERROR(
        StoreGate::Access(core_.store)->WriteLog(batch_, sync && !CAIRN_FAULT("plant.skip_sync")));
  } else if (sync && !unsynced_.empty()) {
    CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->SyncLog());
  }
  CAIRN_CRASH_POINT("flusher.after_write");
  core_.metrics.Add(Metric::kFlushedBytes, batch_bytes_);
  unsynced_bytes_ += batch_bytes_;
  // Without a sync policy, what the operating system has is what counts as persisted.
  const bool persisted = core_.options.sync == SyncPolicy::kNone;
  for (const Written& written : gathered_) {
    unsynced_[written.vbucket.get()] = written.through;
    VBucket& vb = *core_.vbuckets[written.vbucket.get()];
    Effects fx;
    {
      MutexLock lock(vb.mutex);
      vb.CountLogged(written.through, written.bytes);
      if (persisted) vb.MarkPersisted(written.through, fx);
    }
    core_.Finish(vb, fx);
  }
  batch_ = {};
  batch_bytes_ = 0;
  gathered_.clear();
  wrote_ = true;
  if (persisted) OfferForMerge();
  GiveWay();
  return Status::Ok();
}

void Flusher::OfferForMerge() {
  core_.unmerged_bytes.fetch_add(unsynced_bytes_, std::memory_order_relaxed);
  unsynced_bytes_ = 0;
}

void Flusher::MarkDurable(uint64_t cycle) {
  for (const Written& written : gathered_) unsynced_[written.vbucket.get()] = written.through;
  gathered_.clear();
  for (const auto& [vbucket, through] : unsynced_) {
    VBucket& vb = *core_.vbuckets[vbucket];
    Effects fx;
    {
      MutexLock lock(vb.mutex);
      vb.MarkPersisted(through, fx);
    }
    core_.Finish(vb, fx);
  }
  unsynced_.clear();
  OfferForMerge();
  cycle_durable_.store(cycle, std::memory_order_release);
  {
    MutexLock lock(mutex_);
    last_sync_ns_ = core_.clock->SteadyNs();
    unsynced_any_ = false;
    last_error_ = Status::Ok();
  }
  WakeDone();
}

Status Flusher::Fail(Status status, const std::vector<Vbid>& vbuckets, uint64_t cycle) {
  core_.metrics.Add(Metric::kFlushErrors);
  CAIRN_LOG(kError, "cannot persist: {}", status.ToString());
  // What was synced is sure; all the rest is written again, which does no harm where it had arrived.
  std::vector<Vbid> again = vbuckets;
  for (const Written& written : gathered_) again.push_back(written.vbucket);
  for (const auto& [vbucket, through] : unsynced_) again.push_back(Vbid(static_cast<uint16_t>(vbucket)));
  unsynced_.clear();
  unsynced_bytes_ = 0;
  batch_ = {};
  batch_bytes_ = 0;
  gathered_.clear();
  std::sort(again.begin(), again.end());
  again.erase(std::unique(again.begin(), again.end()), again.end());
  for (const Vbid vbucket : again) {
    VBucket& vb = *core_.vbuckets[vbucket.get()];
    MutexLock lock(vb.mutex);
    vb.RewindLog();
    vb.set_queued(true);
  }
  if (NeedsReopen(status.code())) {
    core_.metrics.Add(Metric::kReopens);
    // A full disk loses nothing that was answered; after the other two, what is not durable is in doubt.
    if (status.code() != Code::kNoSpace) cycle_ambiguous_.store(cycle, std::memory_order_release);
    Status reopened = core_.store.Reopen();
    if (!reopened.ok()) {
      CAIRN_LOG(kError, "cannot reopen the store: {}", reopened.ToString());
      status = std::move(reopened);  // what stands in the way now
    }
  }
  {
    MutexLock lock(mutex_);
    queue_.insert(queue_.end(), again.begin(), again.end());
    unsynced_any_ = !unsynced_.empty();
    last_error_ = status;
  }
  WakeDone();
  return status;
}

void Flusher::WakeDone() {
  std::vector<WaiterRef> ready;
  {
    MutexLock lock(mutex_);
    auto done = [this](const std::pair<uint64_t, WaiterRef>& w) {
      return Outcome(w.first) != Code::kWouldBlock;
    };
    for (const auto& w : waiters_) {
      if (done(w)) ready.push_back(w.second);
    }
    std::erase_if(waiters_, done);
  }
  for (const WaiterRef& waiter : ready) waiter->Wake();
}

}  // namespace cairn::engine
