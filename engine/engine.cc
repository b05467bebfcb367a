#include "engine/engine.h"

#include <chrono>
#include <thread>
#include <utility>

#include "base/key.h"
#include "base/log.h"
#include "engine/engine_impl.h"

namespace cairn::engine {
namespace {

constexpr uint32_t kThirtyDays = 60 * 60 * 24 * 30;
constexpr size_t kFetchThreads = 2;
constexpr std::chrono::seconds kDurableDeadline{10};
constexpr int kShutdownAttempts = 3;

Status CheckOptions(const EngineOptions& options) {
  const uint32_t n = options.vbuckets;
  if (n == 0 || n > kVbucketCountMax || (n & (n - 1)) != 0) {
    return Status(Code::kInvalidArgument, "the number of vbuckets must be a power of two, 1 to 65536");
  }
  if (options.max_item_size == 0 || options.max_item_size > kValueSizeMax) {
    return Status(Code::kInvalidArgument, "max_item_size must be 1 byte to 20 MiB");
  }
  const bool ordered = options.low_watermark_percent < options.high_watermark_percent &&
                       options.high_watermark_percent < options.refuse_percent &&
                       options.refuse_percent <= 100;
  if (!ordered) return Status(Code::kInvalidArgument, "watermarks must rise: low < high < refuse ≤ 100 %");
  if (options.memory_quota < (uint64_t{1} << 20)) {
    return Status(Code::kInvalidArgument, "memory_quota must be at least 1 MiB");
  }
  if (options.durability_copies < 1 || options.durability_copies > DurabilityTracker::kReplicasMax) {
    return Status(Code::kInvalidArgument, "durability_copies must be 1 to 64");
  }
  return Status::Ok();
}

}  // namespace

Engine::Impl::Impl(const EngineOptions& options, EngineDeps deps)
    : threads(deps.threads),
      core(options, deps.clock, std::move(deps.store), deps.seed != 0 ? deps.seed : SystemEntropy()),
      random(deps.seed != 0 ? deps.seed + 1 : SystemEntropy()),
      flusher(core),
      merger(core),
      fetcher(core),
      warmer(core),
      snapshots(core, flusher, merger),
      pager(core, core.store.present()),
      coordinator(core, flusher, merger, random.Next64()),
      replication(ReplicationSide()),
      persistence_waits(core) {
  core.hand_to_flusher = [this](Vbid vbucket) { flusher.Enqueue(vbucket); };
  core.hand_to_reclaimer = [this](std::unique_ptr<Preimages> preimages) {
    coordinator.Reclaim(std::move(preimages));
  };
  core.report_store_failure = [this] { flusher.ReportStoreFailure(); };
  core.on_loaded = [this](Vbid vbucket, Seqno highest) { merger.NoteLoaded(vbucket, highest); };
  core.on_tick = [this](int64_t now_ns) {
    persistence_waits.Check(now_ns);
    core.durability.ReleaseStale([this](Vbid vbucket) { return LookAt(vbucket); });
    int64_t at = flush_at_ns.load(std::memory_order_relaxed);
    if (at != 0 && now_ns >= at && flush_at_ns.compare_exchange_strong(at, 0)) {
      const Status flushed = FlushNow();
      if (!flushed.ok()) CAIRN_LOG(kWarn, "the delayed flush_all was not done: {}", flushed.ToString());
    }
  };
}

Engine::Impl::~Impl() { StopThreads(); }

ReplicationParts Engine::Impl::ReplicationSide() {
  return {core,
          flusher,
          merger,
          fetcher,
          warmer,
          snapshots,
          pager,
          coordinator,
          [this] { return recovered ? recovered->identity.uuid : node_uuid; },
          [this](Task task) {
            if (control != nullptr) return control->Post(std::move(task));
            task();
            return true;
          },
          [this] { return WaitDurable(); },
          [this] { return random.Next64(); },
          threads};
}

Status Engine::Impl::Open() {
  opened_ns = core.clock->SteadyNs();
  if (!core.store.present()) {
    for (const auto& vb : core.vbuckets) {
      MutexLock lock(vb->mutex);
      vb->OpenSequence(true, random.Next64(), core.Now());
      vb->set_phase(core.CurrentPhase());
    }
    node_uuid = RandomUuid(random);
    return Status::Ok();
  }
  CAIRN_ASSIGN_OR_RETURN(recovered, Recover(core, random));
  if (recovered->close_update) {
    // Nothing else is running: the markers just appended become durable, then the record may go.
    CAIRN_ASSIGN_OR_RETURN(const bool written, flusher.RunCycle(true));
    static_cast<void>(written);
    CAIRN_RETURN_IF_ERROR(CloseDecidedUpdate(core, &*recovered));
  }
  merger.NoteRecovered();
  coordinator.Adopt(recovered->update, recovered->history);
  for (const auto& vb : core.vbuckets) {
    MutexLock lock(vb->mutex);
    vb->set_phase(core.CurrentPhase());
  }
  if (recovered->replayed > 0) CAIRN_LOG(kInfo, "{} operations of the log replayed", recovered->replayed);
  return Status::Ok();
}

void Engine::Impl::StartThreads() {
  if (!threads) return;
  control = std::make_unique<ThreadExecutor>(ThreadExecutor::Options{"cairn-control", 4096});
  pager.Start();
  flusher.Start();
  coordinator.Start();
  if (!core.store.present()) return;
  merger.Start();
  fetcher.Start(kFetchThreads);
  warmer.Start();
  snapshots.Start();
}

void Engine::Impl::StopThreads() {
  stopping.store(true);
  persistence_waits.Stop();
  coordinator.Stop();
  if (control) control->Stop(ThreadExecutor::StopMode::kDrop);
  warmer.Stop();
  snapshots.Stop();
  pager.Stop();
  fetcher.Stop();
  merger.Stop();
  flusher.Stop();
}

void Engine::Impl::OnControl(Task task) {
  if (control == nullptr) {
    task();
    return;
  }
  if (!control->Post(std::move(task))) CAIRN_LOG(kWarn, "a control task was refused: shutting down or full");
}

Status Engine::Impl::WaitDurable() {
  if (!core.store.present()) return Status::Ok();
  const uint64_t ticket = flusher.Ticket();
  flusher.Hurry(ticket);
  if (!threads) {
    const Result<bool> done = flusher.RunCycle(true);
    return done.ok() ? Status::Ok() : done.status();
  }
  const auto deadline = std::chrono::steady_clock::now() + kDurableDeadline;
  while (flusher.Outcome(ticket) != Code::kOk) {
    if (stopping.load() || std::chrono::steady_clock::now() > deadline) {
      return Status(Code::kTmpFail, "not durable yet: " + std::string(flusher.last_error().message()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return Status::Ok();
}

Status Engine::Impl::Shutdown(bool persist) {
  if (shut_down) return Status::Ok();
  shut_down = true;
  StopThreads();
  if (!persist || !core.store.present()) return Status::Ok();
  flusher.SetPaused(false);
  // A cycle in which a write fails, be it another part's, reopens the store and leaves everything to the
  // next.
  Status written;
  for (int attempt = 0; attempt < kShutdownAttempts; ++attempt) {
    written = flusher.RunCycle(true).status();
    if (!NeedsReopen(written.code())) break;
  }
  CAIRN_RETURN_IF_ERROR(written);
  return MarkClean(core, recovered->identity);
}

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options, EngineDeps deps) {
  CAIRN_RETURN_IF_ERROR(CheckOptions(options));
  CAIRN_CHECK(deps.clock != nullptr);
  auto impl = std::make_unique<Impl>(options, std::move(deps));
  CAIRN_RETURN_IF_ERROR(impl->Open());
  impl->StartThreads();
  std::unique_ptr<Engine> engine(new Engine(std::move(impl)));
  CAIRN_RETURN_IF_ERROR(engine->SetDurability(options.durability));
  return engine;
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Status Engine::Shutdown(bool persist) { return impl_->Shutdown(persist); }
Replication& Engine::replication() { return impl_->replication; }
const EngineOptions& Engine::options() const { return impl_->core.options; }
uint32_t Engine::vbucket_count() const { return impl_->core.options.vbuckets; }

OpKey Engine::MakeKey(std::string_view key) const {
  return {{key, KeyHash(key, impl_->core.hash_seed)}, VbidOf(key, impl_->core.options.vbuckets)};
}

uint32_t Engine::AbsoluteExpiry(int64_t exptime) const {
  if (exptime == 0) return 0;
  if (exptime < 0) return 1;  // long past
  if (exptime > kThirtyDays) return exptime > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(exptime);
  return impl_->core.Now().wall_s + static_cast<uint32_t>(exptime);
}

uint64_t Engine::CommitTicket() { return impl_->flusher.Ticket(); }

Code Engine::CommitOutcome(uint64_t ticket) const {
  return impl_->core.store.present() ? impl_->flusher.Outcome(ticket) : Code::kOk;
}

void Engine::AwaitCommit(uint64_t ticket, const WaiterRef& waiter) { impl_->flusher.Await(ticket, waiter); }

void Engine::StartUpdate(const UpdateRequest& request, UpdateDone done) {
  impl_->coordinator.Submit(UpdateCoordinator::Action::kStart, request, std::move(done));
}
void Engine::CompleteUpdate(const UpdateRequest& request, UpdateDone done) {
  impl_->coordinator.Submit(UpdateCoordinator::Action::kComplete, request, std::move(done));
}
void Engine::RevertUpdate(const UpdateRequest& request, UpdateDone done) {
  impl_->coordinator.Submit(UpdateCoordinator::Action::kRevert, request, std::move(done));
}
UpdateStatus Engine::update_status() const { return impl_->coordinator.status(); }

bool Engine::RunBackground() {
  Impl& impl = *impl_;
  bool done = false;
  if (!impl.flusher.paused()) {
    const Result<bool> flushed = impl.flusher.RunCycle(false);
    done = flushed.ok() && flushed.value();
  }
  if (impl.core.unmerged_bytes.load(std::memory_order_relaxed) > 0) {
    const Result<bool> merged = impl.merger.RunPass();
    if (merged.code() == Code::kAmbiguous || merged.code() == Code::kIoError ||
        merged.code() == Code::kNoSpace)
      impl.flusher.ReportStoreFailure();
    done = (merged.ok() && merged.value()) || done;
  }
  const Result<bool> purged = impl.merger.RunPurge();
  if (NeedsReopen(purged.code())) impl.flusher.ReportStoreFailure();
  done = (purged.ok() && purged.value()) || done;
  done = impl.snapshots.RunOnce() || done;
  done = impl.fetcher.RunSome(64) > 0 || done;
  if (impl.core.store.present()) {
    const Result<bool> warming = impl.warmer.RunSome(256);
    done = (warming.ok() && warming.value()) || done;
  }
  done = impl.coordinator.Step() || done;
  done = impl.persistence_waits.Check(impl.core.clock->SteadyNs()) || done;
  return impl.pager.RunStep() || done;
}

uint64_t Engine::Digest() const {
  uint64_t digest = 0;
  for (const auto& vb : impl_->core.vbuckets) {
    MutexLock lock(vb->mutex);
    digest += vb->digest();
  }
  return digest;
}

}  // namespace cairn::engine
