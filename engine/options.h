#pragma once
// How an engine is set up. Every field has a default that just works; server/config.cc fills it from flags
// and the configuration file and checks the ranges given here.

#include <cstdint>
#include <string>

namespace cairn::engine {

/// When an acknowledged write is safe from what (docs/durability.md is the promise in full):
///  always    the answer is sent after the write is synced: survives power loss;
///  interval  written to the operating system within about 50 ms, synced every sync_interval_ms;
///  none      written within about 50 ms, never synced but at shutdown and at online update decisions.
enum class SyncPolicy : uint8_t { kAlways, kInterval, kNone };

/// How far a write has to have come before it is answered, unless its request says so (engine/durability.h).
enum class DurabilityLevel : uint8_t {
  kMemory,                // executed here
  kPersisted,             // and synced here
  kMajority,              // in memory of a majority of the copies
  kMajorityAndPersisted,  // both
  kPersistedMajority,     // synced on a majority of the copies, this one among them
};

enum class OnRestart : uint8_t { kResume, kRevert };
/// What happens when an online update reaches its cap of bytes or age.
enum class AtWindowCap : uint8_t { kRefuseWrites, kRevert, kComplete };

struct EngineOptions {
  std::string data_dir;      // empty: nothing is persisted (memory only, for tests and caches)
  uint32_t vbuckets = 1024;  // 1 … 65,536, a power of two
  uint64_t memory_quota = uint64_t{1} << 30;  // bytes of items, tables and checkpoints
  uint32_t low_watermark_percent = 75;        // ejection stops here …
  uint32_t high_watermark_percent = 85;       // … and begins here
  uint32_t refuse_percent = 93;               // from here on writes get TMP_OOM
  uint32_t checkpoint_memory_percent = 20;    // of the quota
  uint32_t max_item_size = 1u << 20;          // bytes of a value, at most 20 MiB
  SyncPolicy sync = SyncPolicy::kInterval;
  uint32_t sync_interval_ms = 1000;
  DurabilityLevel durability = DurabilityLevel::kMemory;
  uint32_t durability_copies = 2;  // 1 … 64: the active and its replicas; what a majority is counted of
  uint32_t flush_delay_ms = 20;    // how long writes are gathered before they go to the log
  // Less of a disk snapshot at a time than this is written like any other change instead of as files that
  // stay as they are (KvStore::LoadData).
  uint64_t load_bytes_min = uint64_t{1} << 20;
  uint32_t checkpoint_items_max = 10'000;
  uint32_t checkpoint_age_max_ms = 5'000;
  uint32_t expiry_pager_interval_ms = 60'000;
  uint64_t update_bytes_max = 0;  // cap of an online update's window on disk; 0: none
  uint32_t update_age_max_s = 0;  // cap of its age; 0: none
  AtWindowCap update_at_cap = AtWindowCap::kRefuseWrites;
  OnRestart update_on_restart = OnRestart::kResume;
  uint32_t tombstone_retention_s = 3 * 86'400;  // deletions younger than this are kept for replicas
};

}  // namespace cairn::engine
