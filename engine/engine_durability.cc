// The engine's face for durability of single writes, and for looking how far something is.

#include <string>
#include <utility>

#include "engine/engine.h"
#include "engine/engine_impl.h"

namespace cairn::engine {
namespace {

constexpr int64_t kMs = 1'000'000;

}  // namespace

ActiveView Engine::Impl::LookAt(Vbid vbucket) const {
  const VBucket& vb = *core.vbuckets[vbucket.get()];
  MutexLock lock(vb.mutex);
  const bool active = vb.exists() && vb.state() == VbucketState::kActive;
  return {active, vb.history_uuid(), Code::kWouldBlock};
}

DurabilityLevel Engine::durability() const { return impl_->core.durability.level(); }

DurabilityTracker& Engine::durability_tracker() { return impl_->core.durability; }

bool Engine::syncs_always() const {
  return impl_->core.options.sync == SyncPolicy::kAlways && impl_->core.store.present();
}

Status Engine::SetDurability(DurabilityLevel level) {
  if (UsesDisk(level) && !impl_->core.store.present()) {
    return Status(Code::kInvalidArgument, "this engine keeps nothing on disk");
  }
  impl_->core.durability.set_level(syncs_always() ? WithSync(level) : level);
  return Status::Ok();
}

DurabilitySettings Engine::durability_settings() const {
  const DurabilityTracker& tracker = impl_->core.durability;
  return {tracker.level(), tracker.copies(), tracker.timeout_ms()};
}

Status Engine::SetDurability(const DurabilitySettings& settings) {
  if (settings.copies < 1 || settings.copies > DurabilityTracker::kReplicasMax) {
    return Status(Code::kInvalidArgument, "copies must be 1 to 64");
  }
  if (settings.timeout_ms < 1 || settings.timeout_ms > kDurabilityTimeoutMaxMs) {
    return Status(Code::kInvalidArgument, "the time-out must be 1 to 600,000 ms");
  }
  CAIRN_RETURN_IF_ERROR(SetDurability(settings.level));
  impl_->core.durability.set_copies(settings.copies);
  impl_->core.durability.set_timeout_ms(settings.timeout_ms);
  return Status::Ok();
}

DurabilityAdmission Engine::AdmitDurability(Vbid vbucket, DurabilityLevel level) {
  if (level == DurabilityLevel::kMemory) return DurabilityAdmission::kOk;
  DurabilityTracker& tracker = impl_->core.durability;
  tracker.Use();
  if (UsesDisk(level) && !impl_->core.store.present()) return DurabilityAdmission::kInvalidLevel;
  if (!UsesReplicas(level)) return DurabilityAdmission::kOk;
  const ActiveView view = impl_->LookAt(vbucket);
  // The write itself finds out that this is the wrong place.
  if (!view.active || tracker.Possible(level, vbucket, view.history)) return DurabilityAdmission::kOk;
  impl_->core.metrics.Add(Metric::kDurabilityImpossible);
  return DurabilityAdmission::kImpossible;
}

DurabilityAdmission Engine::AdmitDurabilityOfAll(DurabilityLevel level) {
  for (uint32_t i = 0; i < vbucket_count(); ++i) {
    const DurabilityAdmission admission = AdmitDurability(Vbid(static_cast<uint16_t>(i)), level);
    if (admission != DurabilityAdmission::kOk) return admission;
  }
  return DurabilityAdmission::kOk;
}

std::vector<Requirement> Engine::RequireAll(DurabilityLevel level) const {
  std::vector<Requirement> requirements;
  if (level == DurabilityLevel::kMemory) return requirements;
  for (const auto& vb : impl_->core.vbuckets) {
    MutexLock lock(vb->mutex);
    if (!vb->exists() || vb->state() != VbucketState::kActive) continue;
    requirements.push_back({vb->id(), level, vb->high_seqno(), vb->history_uuid()});
  }
  return requirements;
}

Code Engine::DurabilityOutcome(const Requirement& requirement, uint64_t ticket) const {
  ActiveView view = impl_->LookAt(requirement.vbucket);
  if (UsesDisk(requirement.level)) view.synced = impl_->flusher.Outcome(ticket);
  return impl_->core.durability.Outcome(requirement, view);
}

DurabilityWait Engine::AwaitDurability(const Requirement& requirement, uint64_t ticket,
                                       const WaiterRef& waiter) {
  DurabilityWait wait;
  if (UsesDisk(requirement.level) && impl_->flusher.Outcome(ticket) != Code::kOk) {
    impl_->flusher.Await(ticket, waiter);
  }
  if (UsesReplicas(requirement.level)) {
    DurabilityTracker& tracker = impl_->core.durability;
    bool first = false;
    wait = DurabilityWait(tracker, requirement.vbucket, tracker.Await(requirement, waiter, &first));
    // The write may be on its way already, and its progress in no hurry.
    if (first && impl_->core.announce) impl_->core.announce({&requirement.vbucket, 1}, false);
  }
  // What came while the wait was being set up has woken nobody.
  if (DurabilityOutcome(requirement, ticket) != Code::kWouldBlock) waiter->Wake();
  return wait;
}

void Engine::AwaitPersisted(Vbid vbucket, Seqno seqno, CheckpointId checkpoint, uint32_t timeout_ms,
                            Done done) {
  if (vbucket.get() >= vbucket_count()) {
    return done(Status(Code::kNotMyVbucket, "the vbucket does not exist here"));
  }
  if (!impl_->core.store.present()) {
    return done(Status(Code::kNotSupported, "this engine keeps nothing on disk"));
  }
  impl_->flusher.Hurry(impl_->flusher.Ticket());
  PersistenceWaits::Wait wait;
  wait.vbucket = vbucket;
  wait.seqno = seqno;
  wait.checkpoint = checkpoint;
  wait.deadline_ns = impl_->core.clock->SteadyNs() + int64_t{timeout_ms} * kMs;
  wait.done = std::move(done);
  impl_->persistence_waits.Add(std::move(wait));
}

Result<VbucketHistory> Engine::History(Vbid vbucket) const {
  if (vbucket.get() >= vbucket_count()) return Status(Code::kNotMyVbucket, "there is no such vbucket");
  const VBucket& vb = *impl_->core.vbuckets[vbucket.get()];
  MutexLock lock(vb.mutex);
  if (!vb.exists()) return Status(Code::kNotMyVbucket, "the vbucket does not exist here");
  return VbucketHistory{vb.state(), vb.MetaAt(vb.merged()).failover_log, vb.high_seqno(), vb.persisted()};
}

KeyObservation Engine::Observe(const OpKey& key, const WaiterRef& waiter) {
  VBucket& vb = *impl_->core.vbuckets[key.vbucket.get()];
  const OpTime now = impl_->core.Now();
  KeyObservation seen;
  Effects fx;
  {
    MutexLock lock(vb.mutex);
    vb.Enter(impl_->core.CurrentPhase(), now, fx);
    seen = vb.Observe(key.hashed, now, fx);
  }
  impl_->core.Finish(vb, fx);
  if (fx.fetch && !impl_->fetcher.Fetch(key.vbucket, key.text(), fx.fetch_seqno, waiter)) {
    seen.code = Code::kTmpFail;
  }
  return seen;
}

}  // namespace cairn::engine
