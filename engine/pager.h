#pragma once
// Pager: the engine's upkeep in small steps: ejects values when memory is above the high watermark until it
// is below the low one, deletes expired items, sweeps after a flush_all, closes aged checkpoints, refreshes
// the cached time. No step holds a vbucket's lock for more than one segment of its table.
//
// One thread at a time (its own, or a test's).

#include <atomic>
#include <cstdint>
#include <thread>

#include "engine/core.h"

namespace cairn::engine {

class Pager {
 public:
  /// `persistent`: values can be read back from disk, so they may be ejected.
  Pager(Core& core, bool persistent) : core_(core), persistent_(persistent) {}
  ~Pager() { Stop(); }
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  void Start();
  void Stop();
  /// One bounded step of everything that is due. True when something was done.
  bool RunStep();
  /// Begins a pass over expired items now.
  void KickExpiry() { next_expiry_ns_.store(0, std::memory_order_relaxed); }
  /// There are vbuckets to sweep after a flush_all.
  void KickSweep() { sweep_.store(true, std::memory_order_release); }
  void SetExpiryInterval(uint32_t ms) { expiry_interval_ms_.store(ms, std::memory_order_relaxed); }

 private:
  bool Eject();
  bool EjectIn(VBucket& vb);
  bool Expire(int64_t now_ns);
  bool SweepFlushed();
  void TickCheckpoints(int64_t now_ns);

  Core& core_;
  const bool persistent_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> sweep_{true};  // a restart may have left one unfinished
  std::atomic<int64_t> next_expiry_ns_{INT64_MAX};
  std::atomic<uint32_t> expiry_interval_ms_{0};
  bool ejecting_ = false;
  uint32_t eject_vbucket_ = 0;
  int eject_frequency_max_ = 0;
  size_t ejected_in_round_ = 0;
  bool expiring_ = false;
  uint32_t expire_vbucket_ = 0;
  hashtable::VisitCursor expire_cursor_;
  hashtable::VisitCursor eject_cursor_;
  hashtable::VisitCursor preimage_cursor_;
  bool sweeping_ = false;  // a walk is under way
  uint32_t sweep_vbucket_ = 0;
  bool sweep_left_ = false;
  int64_t next_tick_ns_ = 0;
  uint32_t tick_vbucket_ = 0;
  std::thread thread_;
};

}  // namespace cairn::engine
