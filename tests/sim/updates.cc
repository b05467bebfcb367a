#include "tests/sim/updates.h"

#include <set>
#include <utility>

#include "tests/sim/node.h"

namespace cairn::sim {

using engine::UpdatePhase;

std::map<Vbid, uint64_t> Updates::ActiveBranches(NodeIndex node) {
  std::map<Vbid, uint64_t> branches;
  for (uint32_t v = 0; v < world_.plan.vbuckets; ++v) {
    const Vbid vbucket(static_cast<uint16_t>(v));
    const uint64_t branch = world_.oracle.Branch(node, vbucket);
    if (branch != 0) branches[vbucket] = branch;
  }
  return branches;
}

void Updates::Record(NodeIndex node, KeyOperation::Kind kind, int64_t begin_ns, bool answered,
                     const std::map<Vbid, uint64_t>& branches) {
  for (const auto& [vbucket, branch] : branches) {
    KeyOperation operation;
    operation.kind = kind;
    operation.begin_ns = begin_ns;
    // A vbucket that has changed hands meanwhile may or may not have taken part.
    const bool same = world_.node(node).up() && world_.oracle.Branch(node, vbucket) == branch;
    if (answered && same) operation.end_ns = world_.now_ns();
    history_.AddToAll(vbucket, branch, std::move(operation));
  }
}

void Updates::Progress(NodeIndex index) {
  Node& node = world_.node(index);
  if (!node.up()) return;
  const UpdatePhase phase = node.engine().update_status().phase;
  if (phase == UpdatePhase::kNormal) return Submit(index, Step::kStart);
  if (phase != UpdatePhase::kUpdating) return;
  Submit(index, world_.random.OneIn(2) ? Step::kRevert : Step::kComplete);
}

void Updates::Submit(NodeIndex index, Step step) {
  Node& node = world_.node(index);
  if (const auto it = busy_.find(index); it != busy_.end() && it->second == node.life()) return;
  node.SyncClock();
  busy_[index] = node.life();
  static constexpr const char* kNames[] = {"START", "COMPLETE", "REVERT"};
  world_.Note("update.submit", {index}, kNames[static_cast<size_t>(step)]);
  auto branches = ActiveBranches(index);
  const engine::UpdateId open = node.engine().update_status().id;
  std::set<Vbid> ended;  // elsewhere, before they came here
  for (uint32_t v = 0; v < world_.plan.vbuckets; ++v) {
    const Vbid vbucket(static_cast<uint16_t>(v));
    if (node.Position(vbucket).last_update.id == open) ended.insert(vbucket);
  }
  if (step == Step::kRevert) {
    // Vbuckets that were promoted here may have been no part of what began elsewhere.
    std::erase_if(branches, [&](const auto& entry) { return node.Position(entry.first).window != open; });
  }
  const int64_t begin_ns = world_.now_ns();
  // The answer comes from inside the engine's work: what follows is an event of its own.
  const auto done = [this, index, step, begin_ns, branches, open, ended,
                     life = node.life()](const Result<engine::UpdateStatus>& result) {
    const Status status = result.ok() ? Status::Ok() : result.status();
    const bool digest_equal = !result.ok() || result->history.empty() || result->history.front().digest_equal;
    world_.Note("update.answer", {index},
                std::string(kNames[static_cast<size_t>(step)]) + " " + status.ToString());
    if (const auto it = busy_.find(index); it != busy_.end() && it->second == life) busy_.erase(it);
    const bool refused = status == Code::kNotSupported || status == Code::kBusy || status == Code::kExists ||
                         status == Code::kNotFound || status == Code::kInvalidArgument;
    if (refused) return;
    if (step == Step::kStart) {
      // One that was being handed over, and was not after all, has taken part.
      auto all = branches;
      if (world_.node(index).up()) all.merge(ActiveBranches(index));
      Record(index, KeyOperation::Kind::kStart, begin_ns, status.ok(), all);
    }
    if (step == Step::kRevert) {
      // What was promoted here meanwhile in a window of that update has taken part.
      auto all = branches;
      if (world_.node(index).up()) {
        auto others = ActiveBranches(index);
        std::erase_if(others, [&](const auto& entry) {
          return ended.contains(entry.first) ||
                 world_.node(index).Position(entry.first).last_update.id != open;
        });
        all.merge(others);
      }
      Record(index, KeyOperation::Kind::kRevert, begin_ns, status.ok(), all);
      if (status.ok() && !digest_equal) {
        world_.Fail("node " + std::to_string(index) + ": the digest after REVERT is not the one at START");
      }
    }
    if (!status.ok()) return;
    ++(step == Step::kStart ? started_ : step == Step::kRevert ? reverted_ : completed_);
  };
  switch (step) {
    case Step::kStart:
      node.engine().StartUpdate({}, done);
      break;
    case Step::kComplete:
      node.engine().CompleteUpdate({}, done);
      break;
    case Step::kRevert:
      node.engine().RevertUpdate({}, done);
      break;
  }
  node.Touched();
}

void Updates::Stopping(NodeIndex index) {
  Node& node = world_.node(index);
  if (!node.up()) return;
  auto branches = ActiveBranches(index);
  std::erase_if(branches, [&](const auto& entry) { return node.Position(entry.first).window.is_none(); });
  Record(index, KeyOperation::Kind::kRevert, world_.now_ns(), false, branches);
}

void Updates::FlushAll(NodeIndex index) {
  Node& node = world_.node(index);
  if (!node.up()) return;
  node.SyncClock();
  const Status flushed = node.engine().FlushAll(0);
  node.Touched();
  world_.Note("flush_all", {index}, flushed.ToString());
  if (!flushed.ok()) return;
  const auto branches = ActiveBranches(index);
  for (const auto& [vbucket, branch] : branches) {
    world_.oracle.Flushed(index, vbucket, node.Position(vbucket).high);
  }
  Record(index, KeyOperation::Kind::kFlush, world_.now_ns(), true, branches);
}

std::string Updates::EndAll() {
  std::string open;
  for (const auto& node : world_.nodes) {
    if (!node->up()) {
      open = "node " + std::to_string(node->index()) + " is down";
      continue;
    }
    const UpdatePhase phase = node->engine().update_status().phase;
    if (phase == UpdatePhase::kNormal) continue;
    open = "an online update on node " + std::to_string(node->index()) + " is " +
           std::string(engine::UpdatePhaseName(phase));
    // A copy shows the window of its source, and follows it.
    if (phase == UpdatePhase::kUpdating && !ActiveBranches(node->index()).empty()) Progress(node->index());
  }
  return open;
}

}  // namespace cairn::sim
