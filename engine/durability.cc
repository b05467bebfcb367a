#include "engine/durability.h"

#include <algorithm>
#include <utility>

namespace cairn::engine {
namespace {

constexpr std::pair<DurabilityLevel, std::string_view> kNames[] = {
    {DurabilityLevel::kMemory, "memory"},
    {DurabilityLevel::kPersisted, "persisted"},
    {DurabilityLevel::kMajority, "majority"},
    {DurabilityLevel::kMajorityAndPersisted, "majority-and-persisted"},
    {DurabilityLevel::kPersistedMajority, "persisted-majority"},
};

void WakeAll(const std::vector<WaiterRef>& waiters) {
  for (const WaiterRef& waiter : waiters) waiter->Wake();
}

}  // namespace

std::string_view DurabilityLevelName(DurabilityLevel level) {
  for (const auto& [named, name] : kNames) {
    if (named == level) return name;
  }
  return "unknown";
}

std::optional<DurabilityLevel> DurabilityLevelOf(std::string_view name) {
  for (const auto& [level, named] : kNames) {
    if (named == name) return level;
  }
  return std::nullopt;
}

uint32_t DurabilityTracker::Having(const Entry& entry, const Requirement& requirement) {
  const bool on_disk = requirement.level == DurabilityLevel::kPersistedMajority;
  return static_cast<uint32_t>(std::ranges::count_if(entry.copies, [&](const Copy& copy) {
    return copy.history == requirement.history &&
           (on_disk ? copy.persisted : copy.applied) >= requirement.seqno;
  }));
}

uint32_t DurabilityTracker::ReplicasFor(DurabilityLevel level, bool active_synced) const {
  const bool active_counts = level != DurabilityLevel::kPersistedMajority || active_synced;
  return active_counts ? majority() - 1 : majority();
}

template <class IsOver>
void DurabilityTracker::TakeWaits(Entry& entry, const IsOver& is_over, std::vector<WaiterRef>* woken) {
  for (auto it = entry.waits.begin(); it != entry.waits.end();) {
    if (is_over(it->second)) {
      woken->push_back(std::move(it->second.waiter));
      it = entry.waits.erase(it);
      waiting_.fetch_sub(1, std::memory_order_relaxed);
    } else {
      ++it;
    }
  }
}

void DurabilityTracker::Report(std::string_view replica, Vbid vbucket, uint64_t history, Seqno applied,
                               Seqno persisted) {
  std::vector<WaiterRef> woken;
  Shard& shard = ShardOf(vbucket);
  {
    MutexLock lock(shard.mutex);
    Entry& entry = shard.entries[vbucket];
    auto copy = std::ranges::find(entry.copies, replica, &Copy::replica);
    if (copy == entry.copies.end()) {
      if (entry.copies.size() == kReplicasMax) return;
      copy = entry.copies.insert(copy, {std::string(replica), 0, Seqno(), Seqno()});
    }
    copy->history = history;
    copy->applied = applied;
    copy->persisted = persisted;
    TakeWaits(
        entry, [&](const Wait& wait) { return Having(entry, wait.requirement) >= wait.replicas; }, &woken);
  }
  WakeAll(woken);
}

void DurabilityTracker::set_copies(uint32_t copies) {
  if (copies_.exchange(copies, std::memory_order_relaxed) == copies) return;
  std::vector<WaiterRef> woken;
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    for (auto& [vbucket, entry] : shard.entries) {
      TakeWaits(
          entry, [](const Wait&) { return true; }, &woken);
    }
  }
  WakeAll(woken);
}

void DurabilityTracker::Forget(std::string_view replica) {
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    for (auto it = shard.entries.begin(); it != shard.entries.end();) {
      Entry& entry = it->second;
      std::erase_if(entry.copies, [&](const Copy& copy) { return copy.replica == replica; });
      it = entry.copies.empty() && entry.waits.empty() ? shard.entries.erase(it) : std::next(it);
    }
  }
}

uint32_t DurabilityTracker::LiveReplicas(Vbid vbucket, uint64_t history) const {
  const Shard& shard = ShardOf(vbucket);
  MutexLock lock(shard.mutex);
  const auto it = shard.entries.find(vbucket);
  if (it == shard.entries.end()) return 0;
  return static_cast<uint32_t>(std::ranges::count(it->second.copies, history, &Copy::history));
}

Code DurabilityTracker::Outcome(const Requirement& requirement, const ActiveView& active) const {
  const DurabilityLevel level = requirement.level;
  if (level == DurabilityLevel::kMemory) return Code::kOk;
  if (!active.active || active.history != requirement.history) return Code::kAmbiguous;
  const bool synced = active.synced == Code::kOk;
  if (UsesDisk(level) && level != DurabilityLevel::kPersistedMajority) {
    if (active.synced == Code::kAmbiguous) return Code::kAmbiguous;
    if (!synced) return Code::kWouldBlock;
  }
  if (!UsesReplicas(level)) return Code::kOk;
  const uint32_t wanted = ReplicasFor(level, synced);
  if (wanted == 0) return Code::kOk;
  const Shard& shard = ShardOf(requirement.vbucket);
  MutexLock lock(shard.mutex);
  const auto it = shard.entries.find(requirement.vbucket);
  const uint32_t having = it == shard.entries.end() ? 0 : Having(it->second, requirement);
  return having >= wanted ? Code::kOk : Code::kWouldBlock;
}

DurabilityTracker::WaitId DurabilityTracker::Await(const Requirement& requirement, bool active_synced,
                                                   WaiterRef waiter) {
  const WaitId id = next_id_.fetch_add(1, std::memory_order_relaxed);
  Shard& shard = ShardOf(requirement.vbucket);
  MutexLock lock(shard.mutex);
  Wait wait{requirement, ReplicasFor(requirement.level, active_synced), std::move(waiter)};
  shard.entries[requirement.vbucket].waits.emplace(id, std::move(wait));
  waiting_.fetch_add(1, std::memory_order_relaxed);
  return id;
}

void DurabilityTracker::Cancel(Vbid vbucket, WaitId id) {
  Shard& shard = ShardOf(vbucket);
  MutexLock lock(shard.mutex);
  const auto it = shard.entries.find(vbucket);
  if (it == shard.entries.end()) return;
  if (it->second.waits.erase(id) > 0) waiting_.fetch_sub(1, std::memory_order_relaxed);
  if (it->second.copies.empty() && it->second.waits.empty()) shard.entries.erase(it);
}

// The vbucket is looked at outside of the shard's lock: vbuckets' locks come before it.
void DurabilityTracker::ReleaseStale(const std::function<ActiveView(Vbid)>& look) {
  if (waiting() == 0) return;
  for (Shard& shard : shards_) {
    std::vector<Vbid> waited_for;
    {
      MutexLock lock(shard.mutex);
      for (const auto& [vbucket, entry] : shard.entries) {
        if (!entry.waits.empty()) waited_for.push_back(vbucket);
      }
    }
    std::vector<WaiterRef> woken;
    for (const Vbid vbucket : waited_for) {
      const ActiveView view = look(vbucket);
      MutexLock lock(shard.mutex);
      const auto it = shard.entries.find(vbucket);
      if (it == shard.entries.end()) continue;
      const auto is_stale = [&view](const Wait& wait) {
        return !view.active || wait.requirement.history != view.history;
      };
      TakeWaits(it->second, is_stale, &woken);
    }
    WakeAll(woken);
  }
}

}  // namespace cairn::engine
