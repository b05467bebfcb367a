#include "tests/sim/history.h"

namespace cairn::sim {

void History::Add(Vbid vbucket, uint64_t branch, const std::string& key, Seqno seqno,
                  KeyOperation operation) {
  known_[vbucket.get()][key] = true;
  keys_[{vbucket.get(), branch}][key].push_back({seqno, std::move(operation)});
}

void History::AddToAll(Vbid vbucket, uint64_t branch, KeyOperation operation) {
  all_[{vbucket.get(), branch}].push_back(std::move(operation));
}

std::vector<KeyOperation> History::Of(const Branch& branch, const std::string& key) const {
  std::vector<KeyOperation> operations;
  if (const auto all = all_.find(branch); all != all_.end()) operations = all->second;
  const auto keys = keys_.find(branch);
  if (keys == keys_.end()) return operations;
  const auto entries = keys->second.find(key);
  if (entries == keys->second.end()) return operations;
  for (const Entry& entry : entries->second) operations.push_back(entry.operation);
  return operations;
}

std::vector<KeyOperation> History::Until(const Branch& branch, const std::string& key, Seqno fork) const {
  std::vector<KeyOperation> operations;
  if (const auto all = all_.find(branch); all != all_.end()) {
    for (KeyOperation operation : all->second) {
      operation.end_ns = INT64_MAX;  // it may lie behind the fork
      operations.push_back(std::move(operation));
    }
  }
  const auto keys = keys_.find(branch);
  if (keys == keys_.end()) return operations;
  const auto entries = keys->second.find(key);
  if (entries == keys->second.end()) return operations;
  for (const Entry& entry : entries->second) {
    if (entry.seqno == Seqno() || entry.seqno > fork) continue;
    operations.push_back(entry.operation);
  }
  return operations;
}

namespace {

/// What becomes of a window between two branches.
std::set<Register> AtBeginning(const Oracle::BranchInfo& branch, const std::set<Register>& before) {
  std::set<Register> states;
  for (Register state : before) {
    if (branch.reverted) state.now = state.at_start;
    if (branch.joined) state.at_start = state.now;
    states.insert(std::move(state));
  }
  return states;
}

}  // namespace

History::Result History::Check(const std::vector<Oracle::BranchInfo>& branches, uint32_t wall_max) const {
  Result result;
  for (const auto& [vbucket, keys] : known_) {
    for (const auto& [key, unused] : keys) {
      std::map<uint64_t, std::set<Register>> beginnings;  // by branch; not there: not known
      for (const Oracle::BranchInfo& branch : branches) {
        if (branch.vbucket.get() != vbucket) continue;
        std::set<Register> from;
        if (branch.parent == 0) {
          from.insert(Register());
        } else {
          const auto parent = beginnings.find(branch.parent);
          if (parent == beginnings.end()) continue;
          const Verdict until =
              CheckKey(Until({vbucket, branch.parent}, key, branch.fork), parent->second, wall_max);
          if (until.gave_up) {
            ++result.given_up;
            continue;
          }
          from = until.ends;
        }
        from = AtBeginning(branch, from);
        const std::vector<KeyOperation> operations = Of({vbucket, branch.uuid}, key);
        const Verdict verdict = CheckKey(operations, from, wall_max);
        beginnings[branch.uuid] = std::move(from);
        ++result.checked;
        if (verdict.gave_up) ++result.given_up;
        if (verdict.linearizable) continue;
        result.failure =
            "not linearizable: vbucket " + std::to_string(vbucket) + " key " + key + ": " + verdict.why;
        for (const KeyOperation& operation : operations) result.failure += "\n  " + Describe(operation);
        return result;
      }
    }
  }
  return result;
}

}  // namespace cairn::sim
