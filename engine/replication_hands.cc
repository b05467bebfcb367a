#include "engine/replication_hands.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "engine/promotion.h"
#include "engine/record_writer.h"
#include "engine/replication_rep.h"
#include "proto/epoch.h"

namespace cairn::engine {
namespace {

Status NoSuchVbucket() { return Status(Code::kNotMyVbucket, "the vbucket does not exist here"); }

Status Written(Core& core, Status status) {
  if (!status.ok() && NeedsReopen(status.code())) core.report_store_failure();
  return status;
}

/// The record of a replica that follows the source of `request`.
proto::VbucketMeta MetaAdopted(const VBucket& vb, const AdoptRequest& request) CAIRN_REQUIRES(vb.mutex) {
  proto::VbucketMeta meta = vb.MetaAt(vb.merged());
  meta.epoch = request.epoch;
  meta.failover_log = request.failover_log;
  meta.regain = VBucket::RegainOf(meta.regain, request.source_high);
  return meta;
}

/// ACCESS_DENIED when one of the sources is fenced; OUT_OF_RANGE for a number that cannot be.
Status CheckSources(Core& core, const std::vector<AdoptRequest>& requests) {
  for (const AdoptRequest& request : requests) {
    if (request.vbucket.get() >= core.vbuckets.size()) {
      return Status(Code::kOutOfRange, "there is no such vbucket");
    }
    const VBucket& vb = *core.vbuckets[request.vbucket.get()];
    MutexLock lock(vb.mutex);
    if (vb.exists() && request.epoch < vb.epoch() && !CAIRN_FAULT("plant.accept_old_epoch")) {
      return Status(Code::kAccessDenied, "vbucket " + std::to_string(request.vbucket.get()) +
                                             ": the source has epoch " + proto::FormatEpoch(request.epoch) +
                                             ", known is " + proto::FormatEpoch(vb.epoch()));
    }
  }
  return Status::Ok();
}

/// Makes it a replica, in memory. True when the source's history is news to it.
bool Follow(const ReplicationParts& parts, VBucket& vb, const AdoptRequest& request, bool* gap) {
  Core& core = parts.core;
  Effects fx;
  bool news = false;
  {
    MutexLock lock(vb.mutex);
    if (!vb.exists()) vb.Recreate(parts.new_history());
    vb.Enter(core.CurrentPhase(), core.Now(), fx);
    news = !vb.is_replica() || vb.record_in_doubt() || vb.epoch() != request.epoch ||
           vb.failover_log() != request.failover_log || vb.regain() != Seqno();
    if (news) vb.set_record_in_doubt(true);
    // Before anything is recorded: what is answered to clients from here on would not be kept.
    vb.SetState(VbucketState::kReplica, core.clock->WallNs(), core.Now(), fx);
    *gap = !vb.ForgetOwnSequence(core.Now(), fx);
    vb.set_source_high(request.source_high);
  }
  core.Finish(vb, fx);
  return news;
}

Status WriteAdopted(Core& core, const std::vector<AdoptRequest>& requests) {
  MutexLock lock_records(core.meta_mutex);
  RecordWriter records(core);
  for (const AdoptRequest& request : requests) {
    const VBucket& vb = *core.vbuckets[request.vbucket.get()];
    proto::VbucketMeta meta;
    {
      MutexLock lock(vb.mutex);
      meta = MetaAdopted(vb, request);
    }
    CAIRN_RETURN_IF_ERROR(Written(core, records.Add(request.vbucket, meta)));
  }
  CAIRN_RETURN_IF_ERROR(Written(core, records.Finish()));
  std::vector<Effects> effects(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    VBucket& vb = *core.vbuckets[requests[i].vbucket.get()];
    {
      MutexLock lock(vb.mutex);
      vb.set_epoch(requests[i].epoch);
      vb.RegainUpTo(requests[i].source_high);
      vb.SetHistory(requests[i].failover_log, effects[i]);
      vb.set_record_in_doubt(false);
    }
    core.Finish(vb, effects[i]);
  }
  return Status::Ok();
}

/// A Pending that is answered whatever becomes of the task that carries it.
class Answer {
 public:
  explicit Answer(PendingRef pending) : pending_(std::move(pending)) {}
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;
  ~Answer() {
    if (!pending_->ready()) pending_->Set(Status(Code::kCancelled, "shutting down"));
  }
  void Set(Status status) { pending_->Set(std::move(status)); }

 private:
  const PendingRef pending_;
};

/// So many, each with its Pending.
std::vector<std::shared_ptr<Answer>> AnswersFor(size_t count, std::vector<PendingRef>* pending) {
  std::vector<std::shared_ptr<Answer>> answers;
  for (size_t i = 0; i < count; ++i) {
    pending->push_back(std::make_shared<Pending>());
    answers.push_back(std::make_shared<Answer>(pending->back()));
  }
  return answers;
}

/// Does `work` on the control thread.
template <class Work>
PendingRef OnControl(const ReplicationParts& parts, Work&& work) {
  auto pending = std::make_shared<Pending>();
  auto answer = std::make_shared<Answer>(pending);
  // A task that is refused is destroyed, and with it the last reference to the answer.
  static_cast<void>(parts.on_control([answer, work = std::forward<Work>(work)] { answer->Set(work()); }));
  return pending;
}

}  // namespace

Status WriteVbucketRecords(Core& core, const std::vector<Vbid>& vbuckets) {
  if (!core.store.present()) return Status::Ok();
  MutexLock lock_records(core.meta_mutex);
  RecordWriter records(core);
  for (const Vbid vbucket : vbuckets) {
    const VBucket& vb = *core.vbuckets[vbucket.get()];
    proto::VbucketMeta meta;
    {
      MutexLock lock(vb.mutex);
      meta = vb.MetaAt(vb.merged());
    }
    CAIRN_RETURN_IF_ERROR(Written(core, records.Add(vbucket, meta)));
  }
  CAIRN_RETURN_IF_ERROR(Written(core, records.Finish()));
  for (const Vbid vbucket : vbuckets) {
    VBucket& vb = *core.vbuckets[vbucket.get()];
    MutexLock lock(vb.mutex);
    vb.set_record_in_doubt(false);
  }
  return Status::Ok();
}

Status AdoptNow(const ReplicationParts& parts, const std::vector<AdoptRequest>& requests) {
  Core& core = parts.core;
  CAIRN_RETURN_IF_ERROR(CheckSources(core, requests));
  std::vector<AdoptRequest> news;
  bool gaps = false;
  for (const AdoptRequest& request : requests) {
    AdoptRequest bounded = request;
    if (bounded.failover_log.size() > proto::kFailoverEntriesMax) {
      bounded.failover_log.resize(proto::kFailoverEntriesMax);
    }
    bool gap = false;
    if (Follow(parts, *core.vbuckets[request.vbucket.get()], bounded, &gap)) news.push_back(bounded);
    gaps = gaps || gap;
  }
  if (gaps) {
    CAIRN_RETURN_IF_ERROR(parts.wait_durable());
    for (const AdoptRequest& request : requests) {
      bool gap = false;
      Follow(parts, *core.vbuckets[request.vbucket.get()], request, &gap);
      if (gap) return Status(Code::kTmpFail, "what it took as an active is not durable yet");
    }
  }
  return news.empty() ? Status::Ok() : WriteAdopted(core, news);
}

Status PromoteNow(const ReplicationParts& parts, const std::vector<Vbid>& vbuckets,
                  const PromoteOptions& options) {
  return Promotion(parts, options).Run(vbuckets);
}

Status DemoteNow(const ReplicationParts& parts, const std::vector<Vbid>& vbuckets, VbucketState to) {
  Core& core = parts.core;
  if (to == VbucketState::kActive) return Status(Code::kInvalidArgument, "active is not a step down");
  for (const Vbid vbucket : vbuckets) {
    if (vbucket.get() >= core.vbuckets.size()) return NoSuchVbucket();
    VBucket& vb = *core.vbuckets[vbucket.get()];
    MutexLock lock(vb.mutex);
    if (!vb.exists()) return NoSuchVbucket();
  }
  for (const Vbid vbucket : vbuckets) {
    VBucket& vb = *core.vbuckets[vbucket.get()];
    Effects fx;
    {
      MutexLock lock(vb.mutex);
      vb.Enter(core.CurrentPhase(), core.Now(), fx);
      vb.set_record_in_doubt(true);
      vb.SetState(to, core.clock->WallNs(), core.Now(), fx);
    }
    core.Finish(vb, fx);
  }
  return WriteVbucketRecords(core, vbuckets);
}

/// In memory. True: it is to be recorded.
Result<bool> FenceInMemory(Core& core, const FenceRequest& request) {
  if (request.vbucket.get() >= core.vbuckets.size()) return NoSuchVbucket();
  VBucket& vb = *core.vbuckets[request.vbucket.get()];
  Effects fx;
  bool serves = false;
  bool changed = false;
  {
    MutexLock lock(vb.mutex);
    if (!vb.exists()) return NoSuchVbucket();
    if (request.epoch < vb.epoch()) {
      return Status(Code::kAccessDenied, "the epoch here is " + proto::FormatEpoch(vb.epoch()));
    }
    vb.Enter(core.CurrentPhase(), core.Now(), fx);
    serves = vb.state() == VbucketState::kActive || vb.state() == VbucketState::kPending;
    changed = serves || request.epoch > vb.epoch() || vb.record_in_doubt();
    if (changed) vb.set_record_in_doubt(true);
    vb.set_epoch(request.epoch);
    if (serves) vb.SetState(VbucketState::kDead, core.clock->WallNs(), core.Now(), fx);
  }
  core.Finish(vb, fx);
  if (serves) {
    CAIRN_LOG(kWarn, "vbucket {}: fenced, another node is active with epoch {}", request.vbucket.get(),
              proto::FormatEpoch(request.epoch));
  }
  return changed;
}

/// What is acknowledged behind a fence is lost, so nothing is written before all are dead.
Status FenceNow(const ReplicationParts& parts, const std::vector<FenceRequest>& requests) {
  Core& core = parts.core;
  Status status;
  std::vector<Vbid> changed;
  for (const FenceRequest& request : requests) {
    const Result<bool> news = FenceInMemory(core, request);
    if (!news.ok() && status.ok()) status = news.status();
    if (news.ok() && *news) changed.push_back(request.vbucket);
  }
  if (!changed.empty()) CAIRN_RETURN_IF_ERROR(WriteVbucketRecords(core, changed));
  return status;
}

/// Its record as a dead one. While it is suspended nobody is answered, so that it is dead may be recorded
/// first: should that fail, it still can be resumed.
Status PrepareHandover(Core& core, const HandoverRequest& request, std::optional<proto::VbucketMeta>* dead) {
  if (request.vbucket.get() >= core.vbuckets.size()) return NoSuchVbucket();
  VBucket& vb = *core.vbuckets[request.vbucket.get()];
  MutexLock lock(vb.mutex);
  if (!vb.exists()) return NoSuchVbucket();
  // The receiver asks again when it has not heard the answer.
  const bool again = vb.state() == VbucketState::kDead && vb.epoch() == request.epoch &&
                     vb.handover() == request.to && !vb.record_in_doubt();
  if (again) return Status::Ok();
  if (!vb.suspended()) return Status(Code::kNotMyVbucket, "the vbucket is not being handed over");
  if (request.to.seqno != vb.high_seqno()) {
    return Status(Code::kInvalidArgument, "the receiver does not have what is here");
  }
  if (request.epoch <= vb.epoch()) return Status(Code::kAccessDenied, "the epoch has to rise");
  if (vb.window() || vb.undoing()) return Status(Code::kNotSupported, "not in an online update");
  *dead = vb.MetaAt(vb.merged());
  (*dead)->state = static_cast<uint8_t>(VbucketState::kDead);
  (*dead)->epoch = request.epoch;
  (*dead)->handover = request.to;
  vb.set_record_in_doubt(true);
  vb.set_handing_over(true);
  return Status::Ok();
}

std::vector<Status> HandoverNow(const ReplicationParts& parts, const std::vector<HandoverRequest>& requests) {
  Core& core = parts.core;
  std::vector<Status> outcomes(requests.size());
  std::vector<size_t> written;
  std::vector<Effects> effects(requests.size());
  {
    MutexLock lock_records(core.meta_mutex);
    RecordWriter records(core);
    Status status;
    for (size_t i = 0; i < requests.size(); ++i) {
      std::optional<proto::VbucketMeta> dead;
      outcomes[i] = PrepareHandover(core, requests[i], &dead);
      if (!dead) continue;
      written.push_back(i);
      if (status.ok()) status = Written(core, records.Add(requests[i].vbucket, *dead));
    }
    if (status.ok() && !written.empty()) status = Written(core, records.Finish());
    CAIRN_CRASH_POINT("handover.after_record");
    for (const size_t i : written) {
      outcomes[i] = status;
      VBucket& vb = *core.vbuckets[requests[i].vbucket.get()];
      MutexLock lock(vb.mutex);
      vb.set_handing_over(false);
      if (!status.ok()) continue;
      vb.set_epoch(requests[i].epoch);
      vb.SetState(VbucketState::kDead, core.clock->WallNs(), core.Now(), effects[i]);
      vb.set_handover(requests[i].to);
      vb.set_record_in_doubt(false);
    }
  }
  for (const size_t i : written) core.Finish(*core.vbuckets[requests[i].vbucket.get()], effects[i]);
  return outcomes;
}

// --- the face ---

PendingRef Replication::Adopt(std::vector<AdoptRequest> requests) {
  const ReplicationParts& parts = rep_->parts;
  return OnControl(parts, [&parts, all = std::move(requests)] { return AdoptNow(parts, all); });
}

PendingRef Replication::Promote(std::vector<Vbid> vbuckets, const PromoteOptions& options) {
  const ReplicationParts& parts = rep_->parts;
  return OnControl(parts,
                   [&parts, options, all = std::move(vbuckets)] { return PromoteNow(parts, all, options); });
}

std::vector<PendingRef> Replication::PromoteEach(std::vector<Vbid> vbuckets, const PromoteOptions& options) {
  std::vector<PendingRef> pending;
  std::vector<std::shared_ptr<Answer>> answers = AnswersFor(vbuckets.size(), &pending);
  const ReplicationParts& parts = rep_->parts;
  static_cast<void>(
      parts.on_control([&parts, options, all = std::move(vbuckets), answers = std::move(answers)] {
        std::vector<Status> outcomes = Promotion(parts, options).RunEach(all);
        for (size_t i = 0; i < all.size(); ++i) answers[i]->Set(std::move(outcomes[i]));
      }));
  return pending;
}

PendingRef Replication::Demote(std::vector<Vbid> vbuckets, VbucketState to) {
  const ReplicationParts& parts = rep_->parts;
  return OnControl(parts, [&parts, to, all = std::move(vbuckets)] {
    if (to != VbucketState::kReplica && to != VbucketState::kDead) {
      return Status(Code::kInvalidArgument, "to replica or dead");
    }
    return DemoteNow(parts, all, to);
  });
}

PendingRef Replication::Fence(std::vector<FenceRequest> requests) {
  const ReplicationParts& parts = rep_->parts;
  return OnControl(parts, [&parts, all = std::move(requests)] { return FenceNow(parts, all); });
}

std::vector<PendingRef> Replication::Handover(std::vector<HandoverRequest> requests) {
  std::vector<PendingRef> pending;
  std::vector<std::shared_ptr<Answer>> answers = AnswersFor(requests.size(), &pending);
  const ReplicationParts& parts = rep_->parts;
  static_cast<void>(parts.on_control([this, &parts, all = std::move(requests), answers = std::move(answers)] {
    std::vector<Status> outcomes = HandoverNow(parts, all);
    for (size_t i = 0; i < all.size(); ++i) {
      // Who asked may be gone; its clients must not wait for ever.
      if (!outcomes[i].ok()) Resume(all[i].vbucket);
      answers[i]->Set(std::move(outcomes[i]));
    }
  }));
  return pending;
}

Status Replication::Suspend(Vbid vbucket) {
  if (vbucket.get() >= vbucket_count()) return NoSuchVbucket();
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Effects fx;
  Status status;
  {
    MutexLock lock(vb.mutex);
    vb.Enter(core_.CurrentPhase(), core_.Now(), fx);
    if (!vb.exists() || vb.state() != VbucketState::kActive) {
      status = Status(Code::kNotMyVbucket, "the vbucket is not active here");
    } else if (vb.window() || vb.undoing()) {
      status = Status(Code::kNotSupported, "not in an online update");
    } else {
      vb.SetSuspended(true, fx);
    }
  }
  core_.Finish(vb, fx);
  return status;
}

void Replication::Resume(Vbid vbucket) {
  if (vbucket.get() >= vbucket_count()) return;
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Effects fx;
  {
    MutexLock lock(vb.mutex);
    if (vb.suspended() && !vb.handing_over()) vb.SetSuspended(false, fx);
  }
  core_.Finish(vb, fx);
}

}  // namespace cairn::engine
