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

bool DurabilityTracker::Have(const Entry& entry, const Requirement& requirement) const {
  const bool on_disk = UsesReplicasDisks(requirement.level);
  const Reached& reached = entry.reached;
  if (reached.history == requirement.history && reached.majority == majority()) {
    if ((on_disk ? reached.persisted : reached.applied) >= requirement.seqno) return true;
  }
  const auto having = std::ranges::count_if(entry.copies, [&](const Copy& copy) {
    return copy.history == requirement.history &&
           (on_disk ? copy.persisted : copy.applied) >= requirement.seqno;
  });
  return static_cast<uint32_t>(having) + 1 >= majority();
}

void DurabilityTracker::RaiseReached(Entry& entry, uint64_t history) const {
  Reached& reached = entry.reached;
  const uint32_t wanted = majority();
  if (reached.history != history || reached.majority != wanted) {
    reached = {history, wanted, Seqno(), Seqno()};
  }
  const uint32_t replicas = wanted - 1;
  std::array<Seqno, kReplicasMax> seqnos;
  // The seqno that the first `replicas` of the copies have in common.
  const auto raise = [&](Seqno Copy::*which, Seqno& target) {
    size_t count = 0;
    for (const Copy& copy : entry.copies) {
      if (copy.history == history) seqnos[count++] = copy.*which;
    }
    if (replicas == 0 || count < replicas) return;
    const auto nth = seqnos.begin() + (replicas - 1);
    std::nth_element(seqnos.begin(), nth, seqnos.begin() + static_cast<ptrdiff_t>(count), std::greater<>());
    target = std::max(target, *nth);
  };
  raise(&Copy::applied, reached.applied);
  raise(&Copy::persisted, reached.persisted);
}

void DurabilityTracker::CountOut(const Wait& wait) {
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  if (UsesReplicasDisks(wait.requirement.level)) waiting_for_disks_.fetch_sub(1, std::memory_order_relaxed);
}

template <class IsOver>
void DurabilityTracker::TakeWaits(Entry& entry, const IsOver& is_over, std::vector<WaiterRef>* woken) {
  for (auto it = entry.waits.begin(); it != entry.waits.end();) {
    if (is_over(it->second)) {
      CountOut(it->second);
      woken->push_back(std::move(it->second.waiter));
      it = entry.waits.erase(it);
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
    RaiseReached(entry, history);
    TakeWaits(
        entry, [&](const Wait& wait) { return Have(entry, wait.requirement); }, &woken);
  }
  WakeAll(woken);
}

void DurabilityTracker::set_copies(uint32_t copies) {
  if (copies_.exchange(copies, std::memory_order_relaxed) == copies) return;
  std::vector<WaiterRef> woken;
  for (Shard& shard : *shards_) {
    MutexLock lock(shard.mutex);
    for (auto& [vbucket, entry] : shard.entries) {
      TakeWaits(
          entry, [](const Wait&) { return true; }, &woken);
    }
  }
  WakeAll(woken);
}

void DurabilityTracker::Forget(std::string_view replica) {
  for (Shard& shard : *shards_) {
    MutexLock lock(shard.mutex);
    for (auto& [vbucket, entry] : shard.entries) {
      std::erase_if(entry.copies, [&](const Copy& copy) { return copy.replica == replica; });
    }
  }
}

void DurabilityTracker::Forget(std::string_view replica, Vbid vbucket) {
  Shard& shard = ShardOf(vbucket);
  MutexLock lock(shard.mutex);
  const auto it = shard.entries.find(vbucket);
  if (it == shard.entries.end()) return;
  std::erase_if(it->second.copies, [&](const Copy& copy) { return copy.replica == replica; });
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
  // A majority always includes the active: what comes back after its restart is what the others are measured
  // by, and they would be made to give up what it has not.
  if (UsesDisk(level) && active.synced != Code::kOk) return active.synced;
  if (!UsesReplicas(level) || majority() == 1) return Code::kOk;
  const Shard& shard = ShardOf(requirement.vbucket);
  MutexLock lock(shard.mutex);
  const auto it = shard.entries.find(requirement.vbucket);
  const bool have = it != shard.entries.end() && Have(it->second, requirement);
  return have ? Code::kOk : Code::kWouldBlock;
}

DurabilityTracker::WaitId DurabilityTracker::Await(const Requirement& requirement, WaiterRef waiter,
                                                   bool* first) {
  const WaitId id = next_id_.fetch_add(1, std::memory_order_relaxed);
  Shard& shard = ShardOf(requirement.vbucket);
  MutexLock lock(shard.mutex);
  shard.entries[requirement.vbucket].waits.emplace(id, Wait{requirement, std::move(waiter)});
  bool alone = waiting_.fetch_add(1, std::memory_order_relaxed) == 0;
  if (UsesReplicasDisks(requirement.level)) {
    alone = waiting_for_disks_.fetch_add(1, std::memory_order_relaxed) == 0 || alone;
  }
  if (first != nullptr) *first = alone;
  return id;
}

void DurabilityTracker::Cancel(Vbid vbucket, WaitId id) {
  Shard& shard = ShardOf(vbucket);
  MutexLock lock(shard.mutex);
  const auto it = shard.entries.find(vbucket);
  if (it == shard.entries.end()) return;
  const auto wait = it->second.waits.find(id);
  if (wait == it->second.waits.end()) return;
  CountOut(wait->second);
  it->second.waits.erase(wait);
}

// The vbucket is looked at outside of the shard's lock: vbuckets' locks come before it.
void DurabilityTracker::ReleaseStale(const std::function<ActiveView(Vbid)>& look) {
  if (waiting() == 0) return;
  for (Shard& shard : *shards_) {
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
