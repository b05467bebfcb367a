// Looking, producing and applying: the parts of Replication that take a vbucket's lock and are done.

#include "engine/replication.h"

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "engine/evidence.h"
#include "engine/fetcher.h"
#include "engine/flusher.h"
#include "engine/replication_rep.h"
#include "proto/disk_record.h"

namespace cairn::engine {
namespace {

constexpr size_t kOperationsPerLock = 64;
constexpr size_t kKeysPerLock = 64;

Status NoSuchVbucket() { return Status(Code::kNotMyVbucket, "the vbucket does not exist here"); }

/// False: what the marker says of an online update's window cannot be, where the last operation before it is
/// `before`. A window begins where everything was that came before START, so of what is here nothing is in
/// it, and it ends where everything was that came before its end.
bool MarkerFits(const Item& item, Seqno before) {
  const Result<proto::Marker> parsed = proto::DecodeMarker(item.value());
  if (!parsed.ok()) return false;
  const proto::Marker& marker = parsed.value();
  switch (marker.type) {
    case proto::MarkerType::kOnlineUpdateStart:
      return marker.start >= before && marker.start < item.seqno();
    case proto::MarkerType::kOnlineUpdateComplete:
    case proto::MarkerType::kOnlineUpdateRevert:
      return marker.start <= marker.end && marker.end >= before && marker.end < item.seqno();
    default:
      return true;
  }
}

/// kOk, or what is wrong with what came, as far as that can be said without what is here (FirstFits).
Code CheckOperations(const SnapshotRange& range, std::span<const ItemRef> operations) {
  Seqno before = range.start;
  Seqno came;  // the last of them so far
  for (const ItemRef& item : operations) {
    if (item->seqno() <= before || item->seqno() > range.end) return Code::kOutOfRange;
    if (item->is_ejected()) return Code::kCorruption;
    if (item->is_marker() && !MarkerFits(*item, came)) return Code::kCorruption;
    before = came = item->seqno();
  }
  return range.end < range.start ? Code::kOutOfRange : Code::kOk;
}

/// Does the first of them, when it is a marker that could be applied now, fit behind what is here?
bool FirstFits(const VBucket& vb, std::span<const ItemRef> operations) CAIRN_REQUIRES(vb.mutex) {
  if (operations.empty() || !operations.front()->is_marker() || !vb.exists() || !vb.is_replica()) return true;
  const Seqno high = vb.checkpoints().high_seqno();
  return operations.front()->seqno() <= high || MarkerFits(*operations.front(), high);
}

/// Bytes that applying them may add; deletions are let in whatever is free, because they lead to more.
size_t BytesAdded(std::span<const ItemRef> operations) {
  size_t bytes = 0;
  for (const ItemRef& item : operations) {
    if (item->is_value()) bytes += item->allocated_bytes();
  }
  return bytes;
}

void RaiseAlarm(Core& core, const VBucket& vb, std::string_view what, uint64_t expected, uint64_t found) {
  core.metrics.Add(Metric::kDigestMismatches);
  CAIRN_LOG(kError, "vbucket {}: {} the digest is {:016x}, its source's was {:016x}", vb.id().get(), what,
            found, expected);
}

/// Puts everything back that a revert's marker has voided, before a later operation is applied.
void PutBack(Core& core, VBucket& vb) {
  for (bool ended = false; !ended;) {
    Effects fx;
    VBucket::RevertVerdict verdict;
    {
      MutexLock lock(vb.mutex);
      ended = vb.RevertSome(kKeysPerLock, fx);
      if (ended) verdict = vb.FinishReplicaRevert();
    }
    core.Finish(vb, fx);
    if (!verdict.equal) RaiseAlarm(core, vb, "after REVERT", verdict.expected, verdict.found);
  }
}

}  // namespace

// --- listeners ---

Replication::ListenerId Listeners::Add(Callback callback) {
  auto listener = std::make_shared<Listener>();
  listener->callback = std::move(callback);
  MutexLock lock(mutex_);
  listener->id = ++last_id_;
  auto list = std::make_shared<List>(*list_);
  list->push_back(listener);
  list_ = std::move(list);
  return listener->id;
}

void Listeners::Remove(Replication::ListenerId id) {
  std::shared_ptr<Listener> gone;
  {
    MutexLock lock(mutex_);
    auto list = std::make_shared<List>(*list_);
    const auto it = std::find_if(list->begin(), list->end(), [id](const auto& l) { return l->id == id; });
    if (it == list->end()) return;
    gone = *it;
    list->erase(it);
    list_ = std::move(list);
  }
  // Whoever has the old list waits here or finds it removed.
  const std::unique_lock<std::shared_mutex> running(gone->running);
  gone->removed = true;
}

void Listeners::Call(std::span<const Vbid> vbuckets, bool may_work) {
  std::shared_ptr<const List> list;
  {
    MutexLock lock(mutex_);
    list = list_;
  }
  for (const std::shared_ptr<Listener>& listener : *list) {
    const std::shared_lock<std::shared_mutex> running(listener->running);
    if (!listener->removed) listener->callback(vbuckets, may_work);
  }
}

Replication::Replication(const ReplicationParts& parts)
    : rep_(std::make_unique<Rep>(parts)), core_(parts.core) {
  core_.announce = [rep = rep_.get()](std::span<const Vbid> vbuckets, bool may_work) {
    rep->listeners.Call(vbuckets, may_work);
  };
}
Replication::~Replication() = default;

Replication::ListenerId Replication::AddListener(Announce on_operations) {
  return rep_->listeners.Add(std::move(on_operations));
}
void Replication::RemoveListener(ListenerId id) { rep_->listeners.Remove(id); }

// --- looking ---

bool Replication::clients_wait() const { return core_.durability.waiting() > 0; }
bool Replication::clients_wait_for_disks() const { return core_.durability.waiting_for_disks() > 0; }

uint32_t Replication::vbucket_count() const { return core_.options.vbuckets; }
bool Replication::persistent() const { return core_.store.present(); }
std::array<uint8_t, 16> Replication::node_uuid() const { return rep_->parts.node_uuid(); }

Result<VbucketPosition> Replication::Position(Vbid vbucket) const {
  if (vbucket.get() >= vbucket_count()) return NoSuchVbucket();
  const VBucket& vb = *core_.vbuckets[vbucket.get()];
  VbucketPosition at;
  MutexLock lock(vb.mutex);
  if (!vb.exists()) return NoSuchVbucket();
  at.state = vb.state();
  at.epoch = vb.epoch();
  at.failover_log = vb.failover_log();
  at.high = vb.high_seqno();
  at.persisted = vb.persisted_through();
  at.source_persisted = vb.is_replica() ? vb.source_persisted() : at.persisted;
  at.source_high = vb.source_high();
  at.merged = vb.merged();
  at.purged = vb.purged();
  at.open_checkpoint = vb.checkpoints().open_checkpoint().id;
  if (vb.window()) {
    at.window = vb.window()->id;
    at.window_start = vb.window()->start;
  }
  at.last_update = vb.last_update();
  at.in_snapshot = vb.in_snapshot();
  at.snapshot_start = vb.snapshot_start();
  at.snapshot_end = vb.snapshot_end();
  at.verified = vb.verified();
  at.verified_checkpoint = vb.verified_checkpoint();
  at.digest = vb.digest();
  at.warm = vb.warm();
  at.items = vb.live_items();
  at.regain = vb.regain();
  at.handover = vb.handover();
  return at;
}

void Replication::HurryToDisk() { rep_->parts.flusher.Hurry(rep_->parts.flusher.Ticket()); }

Result<Seqno> Replication::Persisted(Vbid vbucket) const {
  if (vbucket.get() >= vbucket_count()) return NoSuchVbucket();
  const VBucket& vb = *core_.vbuckets[vbucket.get()];
  MutexLock lock(vb.mutex);
  if (!vb.exists()) return NoSuchVbucket();
  return vb.persisted_through();
}

// --- producing ---

Result<StreamCursor> Replication::OpenCursor(Vbid vbucket, const std::string& name, Seqno after) {
  if (vbucket.get() >= vbucket_count()) return NoSuchVbucket();
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  MutexLock lock(vb.mutex);
  CAIRN_ASSIGN_OR_RETURN(const VBucket::StreamPlace place,
                         vb.OpenStream(name, CAIRN_FAULT("plant.cursor_off_by_one") ? after + 1 : after));
  return StreamCursor{place.id, place.incarnation};
}

Result<StreamBatch> Replication::Read(Vbid vbucket, const StreamCursor& cursor) {
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Effects fx;
  StreamBatch batch;
  Status status;
  {
    MutexLock lock(vb.mutex);
    vb.Enter(core_.CurrentPhase(), core_.Now(), fx);
    Result<checkpoint::Batch> read = vb.ReadStream({cursor.id, cursor.incarnation}, fx);
    if (read.ok()) {
      static_cast<checkpoint::Batch&>(batch) = std::move(read).value();
      batch.source_persisted = vb.persisted_through();
      batch.passed = vb.StreamPassed(batch.last);
      if (vb.is_replica()) batch.source_persisted = std::min(batch.source_persisted, vb.source_persisted());
    } else {
      status = read.status();
    }
  }
  core_.Finish(vb, fx);
  if (!status.ok()) return status;
  return batch;
}

std::optional<CheckpointEnd> Replication::LastEnd(Vbid vbucket) const {
  const VBucket& vb = *core_.vbuckets[vbucket.get()];
  MutexLock lock(vb.mutex);
  const std::optional<VBucket::LastEnd> end = vb.last_end();
  if (!end) return std::nullopt;
  return CheckpointEnd{end->checkpoint, end->last, end->digest};
}

void Replication::CloseCursor(Vbid vbucket, const StreamCursor& cursor) {
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Effects fx;
  {
    MutexLock lock(vb.mutex);
    vb.CloseStream({cursor.id, cursor.incarnation}, fx);
  }
  core_.Finish(vb, fx);
}

// --- consuming ---

Code Replication::Apply(Vbid vbucket, const SnapshotRange& range, std::span<const ItemRef> operations) {
  if (vbucket.get() >= vbucket_count()) return Code::kNotMyVbucket;
  if (const Code wrong = CheckOperations(range, operations); wrong != Code::kOk) return wrong;
  const size_t bytes = BytesAdded(operations);
  if (bytes > 0 && core_.memory.refuses(bytes)) return Code::kWouldBlock;
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  bool mismatch = false;
  {
    Effects fx;
    Code begun = Code::kOk;
    {
      MutexLock lock(vb.mutex);
      const Seqno first = operations.empty() ? Seqno(kSeqnoMax) : operations.front()->seqno();
      if (!FirstFits(vb, operations)) return Code::kCorruption;
      begun = vb.BeginApply({range.checkpoint, range.start, first}, core_.Now(), fx);
      mismatch = vb.mismatch();
    }
    core_.Finish(vb, fx);
    if (begun != Code::kOk) return begun;
  }
  while (!operations.empty()) {
    Effects fx;
    bool put_back = false;
    bool differs = false;
    {
      MutexLock lock(vb.mutex);
      const size_t count = std::min(kOperationsPerLock, operations.size());
      operations = operations.subspan(vb.ApplySlice(operations.first(count), core_.Now(), fx));
      put_back = vb.undoing();
      differs = vb.mismatch() && !mismatch;
    }
    core_.Finish(vb, fx);
    if (put_back) PutBack(core_, vb);
    if (differs) RaiseAlarm(core_, vb, "at START", 0, 0);
    mismatch = mismatch || differs;
  }
  Effects fx;
  bool merge = false;
  {
    MutexLock lock(vb.mutex);
    vb.EndApply(range.end, range.source_persisted, fx);
    merge = vb.CanMerge();
  }
  core_.Finish(vb, fx);
  // The merger counts what is logged, not what may be merged of it.
  if (merge) core_.unmerged_bytes.fetch_add(1, std::memory_order_relaxed);
  return Code::kOk;
}

Result<DigestVerdict> Replication::EndCheckpoint(Vbid vbucket, const CheckpointEnd& end) {
  if (vbucket.get() >= vbucket_count()) return NoSuchVbucket();
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  VBucket::CheckpointVerdict verdict;
  Effects fx;
  bool merge = false;
  {
    MutexLock lock(vb.mutex);
    verdict = vb.EndReplicaCheckpoint(end.checkpoint, end.last, end.digest, core_.Now(), fx);
    merge = verdict.code == Code::kOk && vb.CanMerge();
  }
  core_.Finish(vb, fx);
  if (merge) core_.unmerged_bytes.fetch_add(1, std::memory_order_relaxed);
  switch (verdict.code) {
    case Code::kOk:
      break;
    case Code::kOutOfRange:
      return Status(Code::kOutOfRange, "operations before the checkpoint's end are missing");
    case Code::kWouldBlock:
      return Status(Code::kTmpFail, "the vbucket is being promoted");
    default:
      return Status(verdict.code, "the vbucket is not a replica here");
  }
  if (!verdict.compared) return DigestVerdict::kNotCompared;
  if (verdict.equal) return DigestVerdict::kEqual;
  RaiseAlarm(core_, vb, "at the checkpoint's end", verdict.expected, verdict.found);
  WriteEvidence(core_, vb, {end.checkpoint, end.last, verdict.expected, verdict.found});
  return DigestVerdict::kDifferent;
}

GetResult Replication::GetReplica(const OpKey& key, const WaiterRef& waiter) {
  if (key.vbucket.get() >= vbucket_count()) return {Code::kNotMyVbucket, nullptr};
  VBucket& vb = *core_.vbuckets[key.vbucket.get()];
  const OpTime now = core_.Now();
  GetResult result;
  Effects fx;
  {
    MutexLock lock(vb.mutex);
    vb.Enter(core_.CurrentPhase(), now, fx);
    result = vb.PeekReplica(key.hashed, waiter, now, fx);
  }
  core_.Finish(vb, fx);
  if (fx.fetch && !rep_->parts.fetcher.Fetch(key.vbucket, key.text(), fx.fetch_seqno, waiter)) {
    result.code = Code::kTmpFail;
  }
  return result;
}

// --- durability of writes ---

void Replication::ReportReplica(std::string_view replica, Vbid vbucket, uint64_t history_uuid, Seqno applied,
                                Seqno persisted) {
  core_.durability.Report(replica, vbucket, history_uuid, applied, persisted);
}

void Replication::ForgetReplica(std::string_view replica) { core_.durability.Forget(replica); }

void Replication::ForgetReplica(std::string_view replica, Vbid vbucket) {
  core_.durability.Forget(replica, vbucket);
}

}  // namespace cairn::engine
