#include "engine/promotion.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "engine/merger.h"
#include "engine/pager.h"
#include "proto/epoch.h"

namespace cairn::engine {
namespace {

// How long a promotion waits for a snapshot that is being applied, or an online update's command.
constexpr int kAttemptsMax = 10'000;
constexpr std::chrono::milliseconds kAttemptEvery{1};

}  // namespace

Status Promotion::Run(const std::vector<Vbid>& vbuckets) {
  Status status = Claim(vbuckets);
  if (status.ok() && members_.empty()) return status;
  if (status.ok()) status = parts_.wait_durable();
  if (status.ok()) status = FindUpdate();
  if (status.ok() && !members_.empty()) status = RecordAndActivate();
  if (!status.ok()) {
    Release();
    return status;
  }
  if (adopting_) parts_.coordinator.EndAdoption(update_);
  parts_.pager.KickSweep();  // a flush_all that was under way
  parts_.merger.Kick();
  return status;
}

std::vector<Status> Promotion::RunEach(const std::vector<Vbid>& vbuckets) {
  each_ = true;
  const Status status = Run(vbuckets);
  std::vector<Status> outcomes;
  outcomes.reserve(vbuckets.size());
  for (const Vbid vbucket : vbuckets) {
    const auto left_out = left_out_.find(vbucket);
    outcomes.push_back(left_out == left_out_.end() ? status : left_out->second);
  }
  return outcomes;
}

Status Promotion::Refuse(Vbid vbucket, Status why) {
  if (!each_) return why;
  CAIRN_PROBE("promotion.left_one_out");
  left_out_.emplace(vbucket, std::move(why));
  return Status::Ok();
}

Status Promotion::RefuseMembers(const std::function<Status(const Member&)>& refused) {
  std::vector<Member> kept;
  for (const Member& member : members_) {
    Status why = refused(member);
    if (why.ok()) {
      kept.push_back(member);
      continue;
    }
    CAIRN_RETURN_IF_ERROR(Refuse(member.vb->id(), std::move(why)));
    MutexLock lock(member.vb->mutex);
    member.vb->CancelPromotion();
  }
  members_.swap(kept);
  return Status::Ok();
}

// All wait at the same time for what is being applied to them.
Status Promotion::Claim(const std::vector<Vbid>& vbuckets) {
  std::vector<Vbid> waiting = vbuckets;
  const int attempts = parts_.threads ? kAttemptsMax : 1;
  for (int attempt = 1; !waiting.empty(); ++attempt) {
    if (attempt > 1) std::this_thread::sleep_for(kAttemptEvery);
    std::vector<Vbid> again;
    for (const Vbid vbucket : waiting) {
      Status claimed = ClaimOne(vbucket);
      if (claimed == Code::kWouldBlock && attempt < attempts) {
        again.push_back(vbucket);
        continue;
      }
      if (claimed == Code::kWouldBlock) claimed = Status(Code::kTmpFail, std::string(claimed.message()));
      if (!claimed.ok()) CAIRN_RETURN_IF_ERROR(Refuse(vbucket, std::move(claimed)));
    }
    waiting.swap(again);
  }
  return NumberBranches();
}

Status Promotion::ClaimOne(Vbid vbucket) {
  if (vbucket.get() >= core_.vbuckets.size()) {
    return Status(Code::kNotMyVbucket, "there is no such vbucket");
  }
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  Effects fx;
  Member member;
  member.vb = &vb;
  Code claimed = Code::kOk;
  bool enough = false;
  Seqno high, regain;
  {
    MutexLock lock(vb.mutex);
    vb.Enter(core_.CurrentPhase(), core_.Now(), fx);
    high = vb.high_seqno();
    if (vb.exists() && !options_.force) regain = vb.regain();
    if (vb.suspended()) vb.SetSuspended(false, fx);
    member.active = vb.exists() && vb.state() == VbucketState::kActive;
    enough = member.active && vb.epoch() >= options_.epoch_min && !vb.record_in_doubt();
    if (!enough && regain == Seqno()) claimed = vb.BeginPromotion();
  }
  core_.Finish(vb, fx);
  if (enough) return Status::Ok();
  const std::string name = "vbucket " + std::to_string(vb.id().get());
  if (regain != Seqno()) {
    return Status(Code::kNotSupported, name +
                                           " has given up operations in a rollback and has not got them "
                                           "again: it is at " +
                                           std::to_string(high.get()) + " of " +
                                           std::to_string(regain.get()));
  }
  switch (claimed) {
    case Code::kOk:
      members_.push_back(member);
      return Status::Ok();
    case Code::kNotMyVbucket:
      return Status(claimed, name + " does not exist here");
    case Code::kNotSupported:
      return Status(claimed, name + " is in the middle of a disk snapshot");
    default:
      return Status(claimed, name + " is just being applied to");
  }
}

Status Promotion::NumberBranches() {
  uint64_t known = 0;
  for (const Member& member : members_) {
    MutexLock lock(member.vb->mutex);
    known = std::max(known, member.vb->epoch());
  }
  const std::optional<uint64_t> next =
      proto::NextEpoch(known, options_.epoch_min, proto::EpochTagOf(parts_.node_uuid()));
  if (!next) return Status(Code::kOutOfRange, "no epoch is left above " + proto::FormatEpoch(known));
  for (Member& member : members_) {
    member.to.epoch = CAIRN_FAULT("plant.same_epoch") ? std::max<uint64_t>(known, 1) : *next;
    member.to.history_uuid = parts_.new_history();
    member.to.gap = options_.clean ? 0 : kUncleanGap;
  }
  return Status::Ok();
}

std::optional<bool> Promotion::DecisionOn(const UpdateId& id) const {
  // A marker that one vbucket of this node has seen tells what all of them have to do.
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    if (vb->exists() && vb->last_update().id == id) return vb->last_update().committed;
  }
  return parts_.coordinator.OutcomeOf(id);
}

Status Promotion::BeginAdoption(const UpdateId& id) {
  Status begun;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    begun = parts_.coordinator.BeginAdoption(id);
    if (begun != Code::kBusy || !parts_.threads) break;
    std::this_thread::sleep_for(kAttemptEvery);
  }
  return begun;
}

Status Promotion::FindUpdate() {
  UpdateCoordinator::Found found;
  CAIRN_RETURN_IF_ERROR(RefuseMembers([&found](const Member& member) {
    MutexLock lock(member.vb->mutex);
    const std::optional<Window>& window = member.vb->window();
    if (!window || member.active) return Status::Ok();
    if (!found.id.is_none() && found.id != window->id) {
      return Status(Code::kNotSupported, "they are in the windows of different online updates");
    }
    found.id = window->id;
    found.name = window->name;
    found.started_ns = window->started_ns;
    return Status::Ok();
  }));
  if (found.id.is_none()) return Status::Ok();
  const Status begun = BeginAdoption(found.id);
  if (!begun.ok()) {
    return RefuseMembers([&begun](const Member& member) {
      MutexLock lock(member.vb->mutex);
      return member.vb->window() && !member.active ? begun : Status::Ok();
    });
  }
  adopting_ = true;
  found.committed = DecisionOn(found.id);
  update_ = parts_.coordinator.AdoptionRecord(found);
  return Status::Ok();
}

Status Promotion::Record() {
  if (!core_.store.present()) return Status::Ok();
  storage::LogBatch batch;
  // One write has a limit: when there are very many vbuckets, the oldest branches of each are given up, and a
  // copy that is still on one of those is copied anew.
  const size_t entries_max = std::max<size_t>(storage::kLogBatchBytesMax / 2 / 24 / members_.size(), 2);
  for (const Member& member : members_) {
    const Vbid vbucket = member.vb->id();
    proto::VbucketMeta meta;
    {
      MutexLock lock(member.vb->mutex);
      if (member.active) {
        meta = member.vb->MetaAt(member.vb->merged());
        meta.epoch = member.to.epoch;
      } else {
        meta = member.vb->MetaPromoted(member.to);
      }
      member.vb->set_record_in_doubt(true);
    }
    if (meta.failover_log.size() > entries_max) meta.failover_log.resize(entries_max);
    batch.meta_puts.emplace_back(proto::VbucketMetaName(vbucket), proto::EncodeVbucketMeta(vbucket, meta));
  }
  if (update_) {
    batch.meta_puts.emplace_back(proto::kUpdateCurrentName,
                                 proto::EncodeUpdateMeta(proto::kUpdateCurrentName, *update_));
  }
  CAIRN_CRASH_POINT("promotion.before_record");
  Status written = StoreGate::Access(core_.store)->WriteLog(batch, true);
  CAIRN_CRASH_POINT("promotion.after_record");
  if (!written.ok() && NeedsReopen(written.code())) core_.report_store_failure();
  return written;
}

Status Promotion::RecordAndActivate() {
  std::vector<Effects> effects(members_.size());
  {
    MutexLock meta(core_.meta_mutex);
    CAIRN_RETURN_IF_ERROR(Record());
    if (update_) parts_.coordinator.PublishAdoption(*update_);
    for (size_t i = 0; i < members_.size(); ++i) Activate(members_[i], effects[i]);
  }
  for (size_t i = 0; i < members_.size(); ++i) core_.Finish(*members_[i].vb, effects[i]);
  CAIRN_LOG(kInfo, "{} vbuckets promoted, epoch {}", members_.size(),
            proto::FormatEpoch(members_.front().to.epoch));
  return Status::Ok();
}

void Promotion::Activate(Member& member, Effects& fx) {
  VBucket& vb = *member.vb;
  const OpTime now = core_.Now();
  MutexLock lock(vb.mutex);
  vb.set_record_in_doubt(false);
  if (member.active) {
    vb.CancelPromotion();
    vb.set_epoch(member.to.epoch);
    return;
  }
  vb.Enter(core_.CurrentPhase(), now, fx);
  const int64_t wall_ns = core_.clock->WallNs();
  vb.FinishPromotion(member.to, wall_ns, now, fx);
  // A decided update ends before the first client is let in; what it takes back is put back as always.
  if (update_ && update_->state != proto::UpdateState::kOpen && vb.window() &&
      vb.window()->id == update_->id) {
    vb.EndWindow(update_->state == proto::UpdateState::kCommitted, wall_ns, now, fx);
  }
}

void Promotion::Release() {
  for (const Member& member : members_) {
    MutexLock lock(member.vb->mutex);
    member.vb->CancelPromotion();
  }
  if (adopting_) parts_.coordinator.EndAdoption(std::nullopt);
}

}  // namespace cairn::engine
