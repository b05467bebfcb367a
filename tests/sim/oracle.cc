#include "tests/sim/oracle.h"

#include <algorithm>
#include <iterator>

namespace cairn::sim {
namespace {

using engine::VbucketPosition;
using engine::VbucketState;

// A copy that takes a window back does so in steps; for so long its digest may lie between.
constexpr int64_t kUndoingMaxNs = 5 * kSecond;

std::string Number(Seqno seqno) { return std::to_string(seqno.get()); }

}  // namespace

Content Live(const Content& content, uint32_t wall_s) {
  Content live;
  for (const auto& [key, version] : content) {
    if (version.expiry == 0 || version.expiry > wall_s) live.emplace(key, version);
  }
  return live;
}

std::string Difference(const Content& expected, const Content& found) {
  std::string text;
  const auto describe = [](const Version& v) {
    return "'" + v.value + "' flags " + std::to_string(v.flags) + " expiry " + std::to_string(v.expiry) +
           " cas " + std::to_string(v.cas);
  };
  for (const auto& [key, version] : expected) {
    const auto it = found.find(key);
    if (it == found.end()) {
      text += "; " + key + " is missing (" + describe(version) + ")";
    } else if (!(it->second == version)) {
      text += "; " + key + " is " + describe(it->second) + ", expected " + describe(version);
    }
  }
  for (const auto& [key, version] : found) {
    if (!expected.contains(key)) text += "; " + key + " should not be (" + describe(version) + ")";
  }
  return text.empty() ? text : text.substr(2);
}

void Oracle::Fail(NodeIndex node, Vbid vbucket, const std::string& what) {
  report_("node " + std::to_string(node) + " vbucket " + std::to_string(vbucket.get()) + ": " + what);
}

Oracle::History* Oracle::Find(Vbid vbucket, uint64_t uuid) {
  const auto it = histories_.find({vbucket.get(), uuid});
  return it == histories_.end() ? nullptr : &it->second;
}

void Oracle::Restarted(NodeIndex node) {
  for (auto& [key, seen] : seen_) {
    if (key.first != node) continue;
    seen.high = Seqno();
    seen.active_uuid = 0;
    // That of an active is durable before its first write; one that was only heard of need not be recorded.
    if (seen.last_active_uuid == 0) seen.epoch = 0;
    seen.differs_since_ns = 0;
  }
}

void Oracle::Forget(NodeIndex node) {
  std::erase_if(seen_, [node](const auto& entry) { return entry.first.first == node; });
}

void Oracle::Look(NodeIndex node, Vbid vbucket, const VbucketPosition& position, bool undoing,
                  int64_t now_ns) {
  Seen& seen = seen_[{node, vbucket.get()}];
  if (position.epoch < seen.epoch) {
    Fail(node, vbucket,
         "its epoch went back from " + std::to_string(seen.epoch) + " to " + std::to_string(position.epoch));
  }
  seen.epoch = position.epoch;
  if (position.state == VbucketState::kActive && !position.failover_log.empty()) {
    LookAtActive(node, vbucket, position, undoing, seen);
    return;
  }
  seen.active_uuid = seen.last_active_uuid = 0;
  if (position.state == VbucketState::kReplica) LookAtCopy(node, vbucket, position, seen, now_ns);
}

void Oracle::LookAtActive(NodeIndex node, Vbid vbucket, const VbucketPosition& position, bool undoing,
                          Seen& seen) {
  if (position.epoch != 0) {  // that of a new node
    const auto [active, fresh] = active_in_epoch_.emplace(std::pair(vbucket.get(), position.epoch), node);
    if (!fresh && active->second != node) {
      Fail(node, vbucket, "is active in an epoch in which node " + std::to_string(active->second) + " was");
    }
  }
  const uint64_t uuid = position.failover_log.front().uuid;
  History* history = Find(vbucket, uuid);
  if (history == nullptr) {
    history = &Begin(node, vbucket, position);
  } else {
    if (seen.active_uuid != uuid && history->owner != node) {
      Fail(node, vbucket, "is active on a branch that node " + std::to_string(history->owner) + " has made");
    }
    if (position.high < history->high) {
      Fail(node, vbucket,
           "its sequence went back from " + Number(history->high) + " to " + Number(position.high));
    }
    FollowWindow(vbucket, *history, position);
  }
  seen.active_uuid = seen.last_active_uuid = uuid;
  seen.copy = false;
  seen.high = position.high;
  history->high = position.high;
  if (!position.warm) return;
  if (undoing && position.window.is_none()) {
    // Also what was seen before the marker's event was over.
    history->digests.erase(position.high.get());
    return;
  }
  history->digests[position.high.get()].insert(position.digest);
  if (!history->fork_compared) CompareAtFork(node, vbucket, position, *history);
}

void Oracle::CompareAtFork(NodeIndex node, Vbid vbucket, const VbucketPosition& position, History& history) {
  history.fork_compared = true;
  History* parent = Find(vbucket, history.parent);
  if (parent == nullptr || position.high != history.first_high) return;
  const auto point = parent->digests.find(history.fork.get());
  bool taken_back = parent->window != history.window || !parent->base_window.is_none();
  for (const Change& change : parent->changes)
    taken_back = taken_back || change.kind == Change::Kind::kRevert;
  if (point == parent->digests.end() || taken_back) {
    // What was being taken back when the branch before ended has been taken back since.
    parent->digests[history.fork.get()].insert(position.digest);
  } else if (!point->second.contains(position.digest)) {
    Fail(node, vbucket, "goes on from " + Number(history.fork) + " with a digest that was never there");
  }
}

void Oracle::FollowWindow(Vbid vbucket, History& history, const VbucketPosition& position) {
  const bool same = position.window == history.window;
  if (!same && !history.window.is_none()) {
    // The marker is the first operation after what was there; a client's operation may lie behind it.
    const bool reverted = position.last_update.id == history.window && !position.last_update.committed;
    Change change;
    change.kind = reverted ? Change::Kind::kRevert : Change::Kind::kEnd;
    change.seqno = history.high + 1;
    change.window = history.window;
    change.window_start = history.window_start;
    Add(vbucket, history, std::move(change));
    history.window = engine::UpdateId();
  }
  if (!same && !position.window.is_none()) {
    Change change;
    change.kind = Change::Kind::kStart;
    change.seqno = position.window_start + 1;
    change.window = position.window;
    change.window_start = position.window_start;
    Add(vbucket, history, std::move(change));
    history.window = position.window;
    history.window_start = position.window_start;
  }
}

Content Oracle::At(Vbid vbucket, const History& history, Seqno seqno) {
  if (seqno <= history.fork) {
    // Inside what was there before this branch (a window that began on the branch before).
    if (History* parent = Find(vbucket, history.parent); parent != nullptr && seqno < history.fork) {
      return At(vbucket, *parent, seqno);
    }
    return history.base;
  }
  Content content = history.base;
  for (const Change& change : history.changes) {
    if (change.seqno > seqno) break;
    Apply(vbucket, history, change, &content);
  }
  return content;
}

void Oracle::Apply(Vbid vbucket, const History& history, const Change& change, Content* content) {
  switch (change.kind) {
    case Change::Kind::kPut:
      (*content)[change.key] = change.version;
      break;
    case Change::Kind::kRemove:
      content->erase(change.key);
      break;
    case Change::Kind::kFlush:
      content->clear();
      break;
    case Change::Kind::kRevert:
      *content = At(vbucket, history, change.window_start);
      break;
    case Change::Kind::kStart:
    case Change::Kind::kEnd:
      break;
  }
}

void Oracle::Add(Vbid vbucket, History& history, Change change) {
  Apply(vbucket, history, change, &history.now);
  history.changes.push_back(std::move(change));
}

void Oracle::WindowAt(const History& history, Seqno seqno, engine::UpdateId* window, Seqno* start) {
  *window = history.base_window;
  *start = history.base_window_start;
  for (const Change& change : history.changes) {
    if (change.seqno > seqno) break;
    if (change.kind == Change::Kind::kStart) {
      *window = change.window;
      *start = change.window_start;
    } else if (change.kind == Change::Kind::kEnd || change.kind == Change::Kind::kRevert) {
      *window = engine::UpdateId();
    }
  }
}

Oracle::History& Oracle::Begin(NodeIndex node, Vbid vbucket, const VbucketPosition& position) {
  const proto::FailoverEntry& entry = position.failover_log.front();
  History history;
  history.uuid = entry.uuid;
  history.fork = entry.seqno;
  history.owner = node;
  history.high = history.first_high = position.high;
  BranchInfo info{vbucket, entry.uuid, 0, entry.seqno, false, false};
  // Branches in between were never seen: a promotion that was recorded by a node that died before it
  // answered.
  History* parent = nullptr;
  for (size_t i = 1; i < position.failover_log.size() && parent == nullptr; ++i) {
    history.parent = position.failover_log[i].uuid;
    parent = Find(vbucket, history.parent);
    if (parent == nullptr) history.fork = std::min(history.fork, position.failover_log[i].seqno);
  }
  info.fork = history.fork;
  if (parent != nullptr) {
    info.parent = parent->uuid;
    engine::UpdateId open;
    Seqno start;
    WindowAt(*parent, history.fork, &open, &start);
    history.base = At(vbucket, *parent, history.fork);
    info.joined = !position.window.is_none() && position.window != open;
    if (!open.is_none() && position.window != open && position.last_update.id == open &&
        !position.last_update.committed) {
      history.base = At(vbucket, *parent, start);
      info.reverted = true;
    }
    CheckAcknowledged(node, vbucket, *parent, history.fork);
  } else if (position.failover_log.size() > 1) {
    Fail(node, vbucket, "is active on a branch that comes from none that was active");
  }
  history.base_window = history.window = position.window;
  history.base_window_start = history.window_start = position.window_start;
  history.now = history.base;
  order_.push_back(info);
  return histories_[{vbucket.get(), entry.uuid}] = std::move(history);
}

void Oracle::CheckAcknowledged(NodeIndex node, Vbid vbucket, const History& parent, Seqno fork) {
  const bool allowed = loss_allowed_.erase({node, vbucket.get()}) > 0;
  // A node that was deposed in between gives up what only it had.
  const bool restarted = seen_[{node, vbucket.get()}].last_active_uuid == parent.uuid;
  if (restarted && parent.persisted_ack > fork) {
    Fail(node, vbucket,
         "came back at " + Number(fork) + ", but " + Number(parent.persisted_ack) +
             " was acknowledged as persisted");
  }
  if ((!allowed || restarted) && parent.majority_ack > fork) {
    Fail(node, vbucket,
         "took over at " + Number(fork) + ", but " + Number(parent.majority_ack) +
             " was acknowledged as on a majority");
  }
}

void Oracle::LookAtCopy(NodeIndex node, Vbid vbucket, const VbucketPosition& position, Seen& seen,
                        int64_t now_ns) {
  if (seen.copy && position.high < seen.high && position.regain < seen.high) {
    Fail(node, vbucket,
         "went back from " + Number(seen.high) + " to " + Number(position.high) + " and wants only " +
             Number(position.regain) + " again");
  }
  seen.high = position.high;
  seen.copy = true;
  if (position.in_snapshot || !position.warm || position.high == Seqno()) return;
  // The branch in which the operation at `high` was written: the newest that begins below it.
  const History* history = nullptr;
  for (const proto::FailoverEntry& entry : position.failover_log) {
    if (entry.seqno >= position.high) continue;
    history = Find(vbucket, entry.uuid);
    break;
  }
  if (history == nullptr) return;
  const auto point = history->digests.find(position.high.get());
  if (point == history->digests.end()) {
    ++points_unknown_;
    return;
  }
  ++points_compared_;
  if (point->second.contains(position.digest)) {
    seen.differs_since_ns = 0;
    return;
  }
  if (seen.differs_since_ns == 0 || seen.differs_at != position.high) {
    seen.differs_since_ns = std::max<int64_t>(now_ns, 1);
    seen.differs_at = position.high;
  }
  const bool undoing = !position.last_update.id.is_none() && !position.last_update.committed;
  if (undoing && HasBeen(vbucket, position)) return;
  if (undoing && now_ns - seen.differs_since_ns < kUndoingMaxNs) return;
  Fail(node, vbucket, "is a copy at " + Number(position.high) + " whose digest the active never had there");
}

/// What a revert took back is not copied, so the last operation of a copy may lie before the point where it
/// stands: is it in the state of one of the points behind?
bool Oracle::HasBeen(Vbid vbucket, const VbucketPosition& position) {
  for (const proto::FailoverEntry& entry : position.failover_log) {
    const History* history = Find(vbucket, entry.uuid);
    if (history == nullptr) continue;
    for (auto it = history->digests.lower_bound(position.high.get()); it != history->digests.end(); ++it) {
      if (it->second.contains(position.digest)) return true;
    }
  }
  return false;
}

void Oracle::Changed(NodeIndex node, Vbid vbucket, Seqno seqno, const std::string& key,
                     std::optional<Version> version) {
  const Seen& seen = seen_[{node, vbucket.get()}];
  History* history = Find(vbucket, seen.active_uuid);
  if (history == nullptr) {
    Fail(node, vbucket, "took a write and is not active");
    return;
  }
  const auto [writer, fresh] = writer_of_epoch_.emplace(std::pair(vbucket.get(), seen.epoch), node);
  if (!fresh && writer->second != node) {
    Fail(node, vbucket,
         "took a write in epoch " + std::to_string(seen.epoch) + ", in which node " +
             std::to_string(writer->second) + " did");
  }
  Change change;
  change.kind = version ? Change::Kind::kPut : Change::Kind::kRemove;
  change.seqno = seqno;
  change.key = key;
  if (version) change.version = std::move(*version);
  if (seqno > history->high) Fail(node, vbucket, "gave out seqno " + Number(seqno) + " above its end");
  Add(vbucket, *history, std::move(change));
}

void Oracle::Flushed(NodeIndex node, Vbid vbucket, Seqno seqno) {
  History* history = Find(vbucket, seen_[{node, vbucket.get()}].active_uuid);
  if (history == nullptr) return;
  Change change;
  change.kind = Change::Kind::kFlush;
  change.seqno = seqno;
  Add(vbucket, *history, std::move(change));
}

const Content& Oracle::Expected(NodeIndex node, Vbid vbucket) {
  static const Content kNothing;
  History* history = Find(vbucket, seen_[{node, vbucket.get()}].active_uuid);
  if (history == nullptr) return kNothing;
  return history->now;
}

uint64_t Oracle::HighestEpoch(Vbid vbucket) const {
  const auto behind = active_in_epoch_.upper_bound({vbucket.get(), UINT64_MAX});
  if (behind == active_in_epoch_.begin()) return 0;
  const auto last = std::prev(behind);
  return last->first.first == vbucket.get() ? last->first.second : 0;
}

uint64_t Oracle::Branch(NodeIndex node, Vbid vbucket) const {
  const auto it = seen_.find({node, vbucket.get()});
  return it == seen_.end() ? 0 : it->second.active_uuid;
}

void Oracle::Acknowledged(Durability durability, Vbid vbucket, uint64_t uuid, Seqno seqno) {
  History* history = Find(vbucket, uuid);
  if (history == nullptr) return;
  Seqno& acknowledged = durability == Durability::kPersisted ? history->persisted_ack : history->majority_ack;
  acknowledged = std::max(acknowledged, seqno);
}

}  // namespace cairn::sim
