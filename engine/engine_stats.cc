// The statistics of the engine's face. Names follow memcached and ep-engine where they have one for the
// thing.

#include <fmt/format.h>

#include <charconv>
#include <string>
#include <utility>

#include "base/random.h"
#include "base/size.h"
#include "engine/engine.h"
#include "engine/engine_impl.h"

namespace cairn::engine {
namespace {

/// Emits names and values of any kind.
class Emitter {
 public:
  explicit Emitter(const StatSink& sink) : sink_(sink) {}
  void Add(std::string_view name, std::string_view value) const { sink_(name, value); }
  void Add(std::string_view name, const char* value) const { sink_(name, value); }
  void Add(std::string_view name, bool value) const { sink_(name, value ? "true" : "false"); }
  template <class T>
  requires std::is_arithmetic_v<T>
  void Add(std::string_view name, T value) const { sink_(name, fmt::format("{}", value)); }

 private:
  const StatSink& sink_;
};

struct Totals {
  hashtable::TableStats table;
  size_t live = 0, checkpoint_bytes = 0, preimage_bytes = 0, unpersisted = 0;
  uint64_t checkpoints = 0, cursors = 0;
  uint32_t active = 0, replica = 0, pending = 0, dead = 0;
};

Totals Sum(const Core& core) {
  Totals t;
  for (const auto& vb : core.vbuckets) {
    MutexLock lock(vb->mutex);
    if (!vb->exists()) continue;
    const hashtable::TableStats s = vb->table_stats();
    t.table.items += s.items;
    t.table.value_items += s.value_items;
    t.table.ejected_items += s.ejected_items;
    t.table.deleted_items += s.deleted_items;
    t.table.item_bytes += s.item_bytes;
    t.table.table_bytes += s.table_bytes;
    t.table.segments += s.segments;
    t.table.slots += s.slots;
    t.table.digest += s.digest;
    t.live += s.items - s.deleted_items;
    t.checkpoint_bytes += vb->checkpoints().memory_bytes();
    t.preimage_bytes += vb->preimage_bytes();
    t.unpersisted += vb->unpersisted();
    switch (vb->state()) {
      case VbucketState::kActive:
        ++t.active;
        break;
      case VbucketState::kReplica:
        ++t.replica;
        break;
      case VbucketState::kPending:
        ++t.pending;
        break;
      case VbucketState::kDead:
        ++t.dead;
        break;
    }
  }
  return t;
}

std::string_view SyncName(SyncPolicy policy) {
  switch (policy) {
    case SyncPolicy::kAlways:
      return "always";
    case SyncPolicy::kInterval:
      return "interval";
    case SyncPolicy::kNone:
      return "none";
  }
  return "unknown";
}

std::string Time(int64_t wall_ns) { return fmt::format("{}", wall_ns / 1'000'000'000); }

void UpdateStats(const UpdateStatus& s, const CounterSet<Metric>& metrics, const Emitter& out) {
  const bool open = s.phase != UpdatePhase::kNormal;
  out.Add("ep_onlineupdate", open);
  out.Add("online_update_state", UpdatePhaseName(s.phase));
  if (open) {
    out.Add("online_update_id", s.id.ToHex());
    out.Add("online_update_name", s.name);
    out.Add("online_update_started", Time(s.started_ns));
    out.Add("online_update_age_ms", s.age_ns / 1'000'000);
    out.Add("online_update_digest_at_start", HexEncode(s.digest_at_start));
    out.Add("online_update_vbuckets_moved", s.vbuckets_moved);
    out.Add("online_update_vbuckets_total", s.vbuckets_total);
  }
  out.Add("online_update_digest_now", HexEncode(s.digest_now));
  out.Add("online_update_keys_added", s.added);
  out.Add("online_update_keys_updated", s.updated);
  out.Add("online_update_keys_deleted", s.deleted);
  out.Add("online_update_window_bytes", s.window_bytes);
  out.Add("online_update_preimage_bytes", s.preimage_bytes);
  out.Add("online_update_keys_to_revert", s.keys_to_revert);
  // What REVERT would do, under the names of the first implementation.
  out.Add("ep_onlineupdate_revert_add", s.deleted);
  out.Add("ep_onlineupdate_revert_update", s.updated);
  out.Add("ep_onlineupdate_revert_delete", s.added);
  out.Add("online_updates_started", metrics.Sum(Metric::kUpdatesStarted));
  out.Add("online_updates_completed", metrics.Sum(Metric::kUpdatesCompleted));
  out.Add("online_updates_reverted", metrics.Sum(Metric::kUpdatesReverted));
  out.Add("online_update_digest_mismatches", metrics.Sum(Metric::kDigestMismatches));
  for (size_t i = 0; i < s.history.size(); ++i) {
    const UpdateOutcome& h = s.history[i];
    const std::string prefix = fmt::format("online_update_history_{}_", i);
    out.Add(prefix + "id", h.id.ToHex());
    out.Add(prefix + "name", h.name);
    out.Add(prefix + "outcome", h.committed ? "completed" : "reverted");
    out.Add(prefix + "started", Time(h.started_ns));
    out.Add(prefix + "decided", Time(h.decided_ns));
    out.Add(prefix + "open_ms", (h.decided_ns - h.started_ns) / 1'000'000);
    out.Add(prefix + "duration_us", (h.finished_ns - h.decided_ns) / 1000);
    out.Add(prefix + "added", h.added);
    out.Add(prefix + "updated", h.updated);
    out.Add(prefix + "deleted", h.deleted);
    out.Add(prefix + "digest_equal", h.digest_equal);
  }
}

void VbucketStats(const VBucket& vb, const Emitter& out) CAIRN_REQUIRES(vb.mutex) {
  const std::string p = fmt::format("vb_{}:", vb.id().get());
  const hashtable::TableStats s = vb.table_stats();
  out.Add(p + "state", VbucketStateName(vb.state()));
  out.Add(p + "items", s.items - s.deleted_items);
  out.Add(p + "ejected", s.ejected_items);
  out.Add(p + "high_seqno", vb.high_seqno().get());
  out.Add(p + "persisted_seqno", vb.persisted().get());
  out.Add(p + "merged_seqno", vb.merged().get());
  out.Add(p + "regain_seqno", vb.regain().get());
  out.Add(p + "uuid", vb.history_uuid());
  out.Add(p + "max_cas", vb.max_cas().get());
  out.Add(p + "digest", HexEncode(s.digest));
  out.Add(p + "warm", vb.warm());
}

void CheckpointStats(const VBucket& vb, const Emitter& out) CAIRN_REQUIRES(vb.mutex) {
  const std::string p = fmt::format("vb_{}:", vb.id().get());
  const checkpoint::CheckpointInfo open = vb.checkpoints().open_checkpoint();
  out.Add(p + "open_checkpoint_id", open.id.get());
  out.Add(p + "last_closed_checkpoint_id", vb.checkpoints().last_closed_id().get());
  out.Add(p + "persisted_checkpoint_id", vb.last_persisted_checkpoint().get());
  out.Add(p + "num_checkpoints", vb.checkpoints().checkpoints().size());
  out.Add(p + "num_open_checkpoint_items", open.live_items);
  out.Add(p + "num_items_for_persistence", vb.unpersisted());
  out.Add(p + "memory_bytes", vb.checkpoints().memory_bytes());
  for (const auto& cursor : vb.checkpoints().cursors()) {
    out.Add(p + cursor.name + ":read_seqno", cursor.read.get());
    out.Add(p + cursor.name + ":confirmed_seqno", cursor.confirmed.get());
    out.Add(p + cursor.name + ":remaining", cursor.remaining);
  }
}

void HashStats(const VBucket& vb, const Emitter& out) CAIRN_REQUIRES(vb.mutex) {
  const std::string p = fmt::format("vb_{}:", vb.id().get());
  const hashtable::TableStats s = vb.table_stats();
  out.Add(p + "items", s.items);
  out.Add(p + "values", s.value_items);
  out.Add(p + "ejected", s.ejected_items);
  out.Add(p + "deleted", s.deleted_items);
  out.Add(p + "segments", s.segments);
  out.Add(p + "slots", s.slots);
  out.Add(p + "item_bytes", s.item_bytes);
  out.Add(p + "table_bytes", s.table_bytes);
}

template <class Each>
Status ForVbuckets(const Core& core, std::string_view argument, Each&& each) {
  if (!argument.empty()) {
    uint32_t number = 0;
    const auto [end, error] = std::from_chars(argument.data(), argument.data() + argument.size(), number);
    if (error != std::errc() || end != argument.data() + argument.size() || number >= core.vbuckets.size()) {
      return Status(Code::kNotFound, "there is no such vbucket");
    }
    each(*core.vbuckets[number]);
    return Status::Ok();
  }
  for (const auto& vb : core.vbuckets) each(*vb);
  return Status::Ok();
}

void MemoryStats(const Core& core, const Totals& t, const Emitter& out) {
  out.Add("mem_used", core.memory.used());
  out.Add("ep_max_size", core.memory.quota());
  out.Add("ep_mem_low_wat", core.memory.low());
  out.Add("ep_mem_high_wat", core.memory.high());
  out.Add("ep_mem_refuse", core.memory.refuse());
  out.Add("ep_item_bytes", t.table.item_bytes);
  out.Add("ep_table_bytes", t.table.table_bytes);
  out.Add("ep_checkpoint_memory", t.checkpoint_bytes);
  out.Add("ep_checkpoint_memory_budget", core.memory.checkpoint_budget());
  out.Add("ep_onlineupdate_preimage_memory", t.preimage_bytes);
}

void PersistenceStats(const Core& core, const Flusher& flusher, const Totals& t, const Emitter& out) {
  const auto metric = [&](Metric m) { return core.metrics.Sum(m); };
  const Status error = flusher.last_error();
  out.Add("ep_queue_size", t.unpersisted);
  out.Add("ep_persistence", !core.store.present() ? "off" : flusher.paused() ? "stopped" : "running");
  out.Add("ep_persistence_error", error.ok() ? std::string("none") : error.ToString());
  out.Add("ep_total_persisted", metric(Metric::kFlushedOperations));
  out.Add("ep_flush_cycles", metric(Metric::kFlushCycles));
  out.Add("ep_flush_bytes", metric(Metric::kFlushedBytes));
  out.Add("ep_flush_errors", metric(Metric::kFlushErrors));
  out.Add("ep_store_reopens", metric(Metric::kReopens));
  out.Add("ep_merge_passes", metric(Metric::kMergePasses));
  out.Add("ep_merged_operations", metric(Metric::kMergedOperations));
  out.Add("ep_merge_errors", metric(Metric::kMergeErrors));
  out.Add("ep_merge_backlog_bytes", core.unmerged_bytes.load(std::memory_order_relaxed));
}

std::string_view WarmupState(const Core& core, const Warmer& warmer) {
  if (core.warm.load(std::memory_order_acquire)) return "done";
  return warmer.damaged_vbuckets() > 0 && warmer.warm_vbuckets() == core.options.vbuckets ? "damaged"
                                                                                          : "loading";
}

void SettingStats(const Core& core, const Emitter& out) {
  const EngineOptions& o = core.options;
  out.Add("data_dir", o.data_dir);
  out.Add("vbuckets", o.vbuckets);
  out.Add("memory_quota", core.memory.quota());
  out.Add("sync", SyncName(o.sync));
  out.Add("sync_interval_ms", o.sync_interval_ms);
  out.Add("flush_delay_ms", o.flush_delay_ms);
  out.Add("item_size_max", o.max_item_size);
  out.Add("checkpoint_items_max", o.checkpoint_items_max);
  out.Add("checkpoint_age_max_ms", o.checkpoint_age_max_ms);
  out.Add("update_bytes_max", o.update_bytes_max);
  out.Add("update_age_max_s", o.update_age_max_s);
  out.Add("update_on_restart", o.update_on_restart == OnRestart::kResume ? "resume" : "revert");
}

void StoreStats(StoreGate& store, const Emitter& out) {
  if (!store.present()) return;
  const storage::StoreStats s = StoreGate::Access(store)->stats();
  out.Add("log_bytes", s.log_bytes);
  out.Add("data_bytes", s.data_bytes);
  out.Add("wal_bytes", s.wal_bytes);
  out.Add("memtable_bytes", s.memtable_bytes);
  out.Add("cache_bytes", s.cache_bytes);
  out.Add("data_keys", s.data_keys);
  out.Add("syncs", s.syncs);
  out.Add("log_writes", s.log_writes);
}

void TimingStats(const UpdateStatus& status, const CounterSet<Metric>& metrics, const Emitter& out) {
  out.Add("online_update_reverted_keys", metrics.Sum(Metric::kRevertedKeys));
  for (const UpdateOutcome& h : status.history) {
    if (h.committed) continue;
    out.Add("online_update_revert", (h.finished_ns - h.decided_ns) / 1000);
    return;
  }
}

}  // namespace

void Engine::Impl::GeneralStats(const StatSink& sink) const {
  const Emitter out(sink);
  const auto metric = [&](Metric m) { return core.metrics.Sum(m); };
  const Totals t = Sum(core);
  out.Add("curr_items", t.live);
  out.Add("bytes", t.table.item_bytes);
  out.Add("limit_maxbytes", core.memory.quota());
  MemoryStats(core, t, out);
  out.Add("ep_resident_items", t.table.value_items);
  out.Add("ep_ejected_items", t.table.ejected_items);
  out.Add("ep_deleted_items", t.table.deleted_items);
  PersistenceStats(core, flusher, t, out);
  out.Add("ep_bg_fetched", metric(Metric::kFetches));
  out.Add("ep_bg_fetch_errors", metric(Metric::kFetchErrors));
  out.Add("ep_bg_fetch_queue", fetcher.pending());
  out.Add("ep_num_value_ejects", metric(Metric::kEjections));
  out.Add("ep_expired", metric(Metric::kExpired));
  out.Add("ep_tmp_oom_errors", metric(Metric::kTmpOom));
  out.Add("ep_durability_impossible", metric(Metric::kDurabilityImpossible));
  out.Add("ep_warmup_state", WarmupState(core, warmer));
  out.Add("ep_onlineupdate", coordinator.active());
  out.Add("ep_digest", HexEncode(t.table.digest));
  out.Add("ep_vb_total", core.options.vbuckets);
  out.Add("vb_active_num", t.active);
  out.Add("vb_replica_num", t.replica);
  out.Add("vb_pending_num", t.pending);
  out.Add("vb_dead_num", t.dead);
}

void Engine::Impl::WarmupStats(const StatSink& sink) const {
  const Emitter out(sink);
  const bool warm = core.warm.load(std::memory_order_acquire);
  out.Add("ep_warmup_state", WarmupState(core, warmer));
  out.Add("ep_warmup_vbuckets_warm", warm ? core.options.vbuckets : warmer.warm_vbuckets());
  out.Add("ep_warmup_vbuckets_damaged", warmer.damaged_vbuckets());
  out.Add("ep_warmup_items", warmer.loaded_items());
  out.Add("ep_warmup_time_us", warmer.duration_ns() / 1000);
  out.Add("ep_warmup_log_replayed", recovered ? recovered->replayed : 0);
  out.Add("ep_last_shutdown_clean", !recovered || recovered->clean || recovered->fresh);
}

Status Engine::Stats(std::string_view group, std::string_view argument, const StatSink& sink) const {
  const Core& core = impl_->core;
  const Emitter out(sink);
  if (group.empty()) {
    impl_->GeneralStats(sink);
  } else if (group == "memory") {
    MemoryStats(core, Sum(core), out);
  } else if (group == "settings") {
    SettingStats(core, out);
  } else if (group == "online_update") {
    UpdateStats(update_status(), core.metrics, out);
  } else if (group == "warmup") {
    impl_->WarmupStats(sink);
  } else if (group == "timings") {
    TimingStats(update_status(), core.metrics, out);
  } else if (group == "kvstore") {
    StoreStats(impl_->core.store, out);
  } else if (group == "vbucket" || group == "checkpoint" || group == "hash") {
    return ForVbuckets(core, argument, [&](const VBucket& vb) {
      MutexLock lock(vb.mutex);
      if (!vb.exists()) return;
      if (group == "vbucket") VbucketStats(vb, out);
      if (group == "checkpoint") CheckpointStats(vb, out);
      if (group == "hash") HashStats(vb, out);
    });
  } else {
    return Status(Code::kNotFound, "there is no such group of statistics");
  }
  return Status::Ok();
}

void Engine::ResetStats() { impl_->core.metrics.Reset(); }

}  // namespace cairn::engine
