#include "tests/sim/linearizability.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace cairn::sim {
namespace {

constexpr size_t kConfigurationsMax = 20'000;

/// A state reached, and which of the operations under way have happened.
struct Configuration {
  Register state;
  std::vector<uint32_t> happened;  // sorted; of those under way
  auto operator<=>(const Configuration&) const = default;
};

bool Matches(const KeyState& state, const KeyState& seen) {
  return state.exists == seen.exists && state.value == seen.value && state.flags == seen.flags &&
         (state.cas == 0 || seen.cas == 0 || state.cas == seen.cas);
}

/// What the operation makes of `state`; nothing when its answer does not fit.
std::optional<Register> Apply(const KeyOperation& op, Register state) {
  using Kind = KeyOperation::Kind;
  const bool exists = state.now.exists;
  const auto store = [&](const std::string& value, uint32_t flags, uint32_t expiry) {
    state.now = {true, value, flags, expiry, op.answered() ? op.seen.cas : 0};
  };
  bool done = true;
  switch (op.kind) {
    case Kind::kGet:
      if (op.answered() && !Matches(state.now, op.seen)) return std::nullopt;
      if (op.answered() && exists && op.seen.cas != 0) state.now.cas = op.seen.cas;
      return state;
    case Kind::kStart:
      state.at_start = state.now;
      return state;
    case Kind::kRevert:
      state.now = state.at_start;
      return state;
    case Kind::kFlush:
      state.now = {};
      return state;
    case Kind::kSet:
      store(op.value, op.flags, op.expiry);
      break;
    case Kind::kAdd:
      done = !exists;
      if (done) store(op.value, op.flags, op.expiry);
      break;
    case Kind::kAppend:
      done = exists;
      if (done) store(state.now.value + op.value, state.now.flags, state.now.expiry);
      break;
    case Kind::kTouch:
      done = exists;
      if (done) store(state.now.value, state.now.flags, op.expiry);
      break;
    case Kind::kDelete:
      done = exists;
      if (done) state.now = {};
      break;
  }
  if (op.answered() && done != op.done) return std::nullopt;
  return state;
}

class Search {
 public:
  Search(const std::vector<KeyOperation>& operations, uint32_t wall_max)
      : operations_(operations), wall_max_(wall_max) {}

  void Begin(uint32_t op) { under_way_.push_back(op); }

  /// All that can be reached without an operation coming to its end.
  bool Close(std::set<Configuration>& all) {
    std::vector<Configuration> open(all.begin(), all.end());
    while (!open.empty()) {
      const Configuration from = std::move(open.back());
      open.pop_back();
      const auto reach = [&](Configuration next) {
        const auto [it, fresh] = all.insert(std::move(next));
        if (fresh) open.push_back(*it);
      };
      if (from.state.now.exists && from.state.now.expiry != 0 && from.state.now.expiry <= wall_max_) {
        Configuration gone = from;
        gone.state.now = {};
        reach(std::move(gone));
      }
      for (const uint32_t op : under_way_) {
        if (std::binary_search(from.happened.begin(), from.happened.end(), op)) continue;
        std::optional<Register> state = Apply(operations_[op], from.state);
        if (!state) continue;
        Configuration next{std::move(*state), from.happened};
        next.happened.insert(std::upper_bound(next.happened.begin(), next.happened.end(), op), op);
        reach(std::move(next));
      }
      if (all.size() > kConfigurationsMax) return false;
    }
    return true;
  }

  /// Keeps those in which `op` has happened, and forgets it.
  std::set<Configuration> End(const std::set<Configuration>& all, uint32_t op) {
    std::set<Configuration> left;
    for (Configuration configuration : all) {
      const auto it = std::find(configuration.happened.begin(), configuration.happened.end(), op);
      if (it == configuration.happened.end()) continue;
      configuration.happened.erase(it);
      left.insert(std::move(configuration));
    }
    std::erase(under_way_, op);
    return left;
  }

 private:
  const std::vector<KeyOperation>& operations_;
  const uint32_t wall_max_;
  std::vector<uint32_t> under_way_;
};

}  // namespace

std::string Describe(const KeyOperation& op) {
  static constexpr const char* kNames[] = {"get",    "set",       "add",   "append", "touch",
                                           "delete", "flush_all", "START", "REVERT"};
  std::string text = kNames[static_cast<size_t>(op.kind)];
  text += " [" + std::to_string(op.begin_ns) + ", " + (op.answered() ? std::to_string(op.end_ns) : "?") + "]";
  if (!op.value.empty()) text += " '" + op.value + "'";
  if (op.expiry != 0) text += " expiry " + std::to_string(op.expiry);
  if (!op.answered()) return text + " → no answer";
  if (op.kind == KeyOperation::Kind::kGet) {
    return text +
           (op.seen.exists ? " → '" + op.seen.value + "' cas " + std::to_string(op.seen.cas) : " → nothing");
  }
  return text + (op.done ? " → done, cas " + std::to_string(op.seen.cas) : " → refused");
}

Verdict CheckKey(std::vector<KeyOperation> operations, const std::set<Register>& beginnings,
                 uint32_t wall_max) {
  struct Moment {
    int64_t time_ns;
    bool end;
    uint32_t op;
  };
  std::vector<Moment> moments;
  for (uint32_t i = 0; i < operations.size(); ++i) {
    moments.push_back({operations[i].begin_ns, false, i});
    if (operations[i].answered()) moments.push_back({operations[i].end_ns, true, i});
  }
  // At the same time beginnings come first: that allows more, so it never accuses wrongly.
  std::sort(moments.begin(), moments.end(), [](const Moment& a, const Moment& b) {
    return std::tie(a.time_ns, a.end, a.op) < std::tie(b.time_ns, b.end, b.op);
  });
  Verdict verdict;
  Search search(operations, wall_max);
  std::set<Configuration> all;
  for (const Register& state : beginnings) all.insert({state, {}});
  for (const Moment& moment : moments) {
    if (!moment.end) {
      search.Begin(moment.op);
      continue;
    }
    if (!search.Close(all)) {
      verdict.gave_up = true;
      return verdict;
    }
    all = search.End(all, moment.op);
    if (!all.empty()) continue;
    verdict.linearizable = false;
    verdict.why = "no order explains " + Describe(operations[moment.op]);
    return verdict;
  }
  if (!search.Close(all)) verdict.gave_up = true;
  for (const Configuration& configuration : all) verdict.ends.insert(configuration.state);
  return verdict;
}

}  // namespace cairn::sim
