#include "engine/pager.h"

#include <chrono>

#include "base/thread_role.h"

namespace cairn::engine {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int kFrequencyTop = 7;
constexpr size_t kSweepItems = 128;
constexpr uint32_t kTickVbuckets = 256;
constexpr int64_t kTickEveryNs = 100 * kMs;
constexpr std::chrono::milliseconds kIdle{5};
constexpr int64_t kRelieveEveryNs = 20 * kMs;

}  // namespace

void Pager::Start() {
  core_.RefreshTime();
  thread_ = std::thread([this] {
    BeginThread("pager", ThreadRole::kSteady);
    int64_t relieved_ns = 0;
    while (!stopping_.load(std::memory_order_relaxed)) {
      core_.RefreshTime();
      if (const int64_t now_ns = core_.clock->SteadyNs(); now_ns - relieved_ns >= kRelieveEveryNs) {
        relieved_ns = now_ns;
        RelieveIdle();
      }
      if (!RunStep()) std::this_thread::sleep_for(kIdle);
    }
  });
}

void Pager::Stop() {
  stopping_.store(true, std::memory_order_relaxed);
  if (thread_.joinable()) thread_.join();
}

bool Pager::RunStep() {
  const int64_t now = core_.clock->SteadyNs();
  if (next_expiry_ns_.load(std::memory_order_relaxed) == INT64_MAX) {
    if (expiry_interval_ms_.load(std::memory_order_relaxed) == 0) {
      expiry_interval_ms_.store(core_.options.expiry_pager_interval_ms, std::memory_order_relaxed);
    }
    next_expiry_ns_.store(now + expiry_interval_ms_.load(std::memory_order_relaxed) * kMs,
                          std::memory_order_relaxed);
  }
  core_.on_tick(now);
  TickCheckpoints(now);
  bool done = Eject();
  done = SweepFlushed() || done;
  return Expire(now) || done;
}

bool Pager::Eject() {
  if (!persistent_) return false;
  if (!ejecting_ && !core_.memory.above_high()) return false;
  ejecting_ = core_.memory.above_low();
  if (!ejecting_) {
    eject_frequency_max_ = 0;
    return true;
  }
  if (EjectIn(*core_.vbuckets[eject_vbucket_])) return true;
  eject_cursor_ = {};
  preimage_cursor_ = {};
  if (++eject_vbucket_ < core_.vbuckets.size()) return true;
  // A round is over: be less choosy; when even everything was tried, wait for persistence to go on.
  eject_vbucket_ = 0;
  const bool idle_round = ejected_in_round_ == 0 && eject_frequency_max_ >= kFrequencyTop;
  ejected_in_round_ = 0;
  if (eject_frequency_max_ < kFrequencyTop) ++eject_frequency_max_;
  return !idle_round;
}

bool Pager::EjectIn(VBucket& vb) {
  Effects fx;
  size_t freed = 0;
  bool more = false;
  size_t before = 0;
  {
    MutexLock lock(vb.mutex);
    if (!preimage_cursor_.done) {
      before = fx.dropped.size();
      if (!vb.EjectPreimages(preimage_cursor_, &freed, fx)) preimage_cursor_.done = true;
      more = true;
    } else {
      more = vb.EjectSome(eject_cursor_, eject_frequency_max_, &freed, fx);
    }
  }
  const size_t count = fx.dropped.size() - before;
  core_.metrics.Add(Metric::kEjections, count);
  core_.metrics.Add(Metric::kEjectedBytes, freed);
  ejected_in_round_ += count;
  core_.Finish(vb, fx);
  return more;
}

bool Pager::Expire(int64_t now_ns) {
  if (!expiring_) {
    if (now_ns < next_expiry_ns_.load(std::memory_order_relaxed)) return false;
    expiring_ = true;
    expire_vbucket_ = 0;
    expire_cursor_ = {};
  }
  VBucket& vb = *core_.vbuckets[expire_vbucket_];
  Effects fx;
  size_t expired = 0;
  bool more = false;
  {
    MutexLock lock(vb.mutex);
    vb.Enter(core_.CurrentPhase(), core_.Now(), fx);
    more = vb.exists() && vb.ExpireSome(expire_cursor_, &expired, core_.Now(), fx);
  }
  core_.Finish(vb, fx);
  core_.metrics.Add(Metric::kExpired, expired);
  if (more) return true;
  expire_cursor_ = {};
  if (++expire_vbucket_ < core_.vbuckets.size()) return true;
  expiring_ = false;
  next_expiry_ns_.store(now_ns + expiry_interval_ms_.load(std::memory_order_relaxed) * kMs,
                        std::memory_order_relaxed);
  return true;
}

bool Pager::SweepFlushed() {
  if (!sweeping_) {
    if (!sweep_.exchange(false, std::memory_order_acq_rel)) return false;
    sweeping_ = true;
    sweep_vbucket_ = 0;
    sweep_left_ = false;
  }
  VBucket& vb = *core_.vbuckets[sweep_vbucket_];
  Effects fx;
  bool more = false;
  {
    MutexLock lock(vb.mutex);
    vb.Enter(core_.CurrentPhase(), core_.Now(), fx);
    // A replica hears of the deletions from its source.
    if (vb.exists() && vb.flushing() && vb.state() == VbucketState::kActive) {
      if (vb.warm()) {
        more = !vb.SweepFlushed(kSweepItems, core_.clock->WallNs(), core_.Now(), fx);
      } else {
        sweep_left_ = true;
      }
    }
  }
  core_.Finish(vb, fx);
  if (more) return true;
  if (++sweep_vbucket_ < core_.vbuckets.size()) return true;
  sweeping_ = false;
  if (sweep_left_) sweep_.store(true, std::memory_order_release);
  return !sweep_left_;
}

void Pager::TickCheckpoints(int64_t now_ns) {
  if (tick_vbucket_ == 0 && now_ns < next_tick_ns_) return;
  const auto count = static_cast<uint32_t>(core_.vbuckets.size());
  for (uint32_t i = 0; i < kTickVbuckets && tick_vbucket_ < count; ++i, ++tick_vbucket_) {
    VBucket& vb = *core_.vbuckets[tick_vbucket_];
    Effects fx;
    {
      MutexLock lock(vb.mutex);
      vb.Tick(core_.Now(), fx);
    }
    core_.Finish(vb, fx);
  }
  if (tick_vbucket_ < count) return;
  tick_vbucket_ = 0;
  next_tick_ns_ = now_ns + kTickEveryNs;
}

}  // namespace cairn::engine
