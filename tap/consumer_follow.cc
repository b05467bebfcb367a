// Consumer: a vbucket's life from the question to its stream, and what has to be done before it is asked for
// again.

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "tap/consumer_rep.h"

namespace cairn::tap {
namespace {

/// Ends that nothing changes by asking the same source again on the same connection.
bool IsFinal(EndReason reason) {
  switch (reason) {
    case EndReason::kOk:
    case EndReason::kNotMyVbucket:
    case EndReason::kLostPrivilege:
    case EndReason::kBadMessage:
      return true;
    default:
      return false;
  }
}

}  // namespace

void Consumer::Rep::AskAt(Follow& follow, int64_t at) {
  asks.erase({follow.ask_ns, follow.vbucket});
  follow.phase = Follow::Phase::kIdle;
  follow.ask_ns = at;
  asks.insert({at, follow.vbucket});
}

/// Each time later, until something has been applied again.
void Consumer::Rep::AskLater(Follow& follow, int64_t now) {
  const int64_t doubled = std::min(2 * follow.delay_ns, options.reask_delay_max_ns);
  follow.delay_ns = std::max(doubled, options.reask_delay_min_ns);
  AskAt(follow, now + follow.delay_ns);
}

void Consumer::Rep::Ask(Follow& follow, ConsumerMessage& message) {
  OpenStream open;
  open.vbucket = follow.vbucket;
  if (Result<VbucketPosition> position = replication.Position(follow.vbucket); position.ok()) {
    // It was promoted here since it was followed: nobody else's business any more.
    if (position->state == VbucketState::kActive && follow.was_followed) {
      follow.ours = true;
      return EndFollow(follow, EndReason::kClosed, "active here");
    }
    const bool in_snapshot = position->in_snapshot;
    open.seqno = in_snapshot ? position->snapshot_start : position->high;
    open.snapshot_start = open.seqno;
    open.snapshot_end = in_snapshot ? position->snapshot_end : open.seqno;
    if (!position->failover_log.empty()) open.history_uuid = position->failover_log.front().uuid;
    open.checkpoint = position->open_checkpoint;
    if (position->window_start <= open.seqno) {
      open.window = position->window;
      open.window_start = position->window_start;
    }
    open.epoch = position->epoch;
    follow.persisted = std::min(position->persisted, open.seqno);
    follow.verified = position->verified;
    follow.verified_checkpoint = position->verified_checkpoint;
  }
  open.takeover = options.takeover;
  follow.applied = open.seqno;
  follow.history_uuid = open.history_uuid;
  follow.epoch = open.epoch;
  follow.in_data = false;
  follow.told_pending = false;
  follow.phase = Follow::Phase::kAsking;
  ++follow.asked;
  message.open.push_back(open);
}

void Consumer::Rep::OnAnswers(const std::vector<StreamAnswer>& answers, int64_t now) {
  std::vector<Vbid> adopt;
  for (const StreamAnswer& answer : answers) {
    if (OnAnswer(answer, now)) adopt.push_back(answer.vbucket);
    if (failed) return;
  }
  if (!adopt.empty()) Adopt(adopt);
}

/// True: the stream is open, and its history is to be adopted.
bool Consumer::Rep::OnAnswer(const StreamAnswer& answer, int64_t now) {
  Follow* follow = Find(answer.vbucket);
  if (follow == nullptr || follow->asked == 0) {
    FailFor(answer.vbucket, "an answer that nobody asked for");
    return false;
  }
  --follow->asked;
  follow->deaf = false;
  if (follow->phase != Follow::Phase::kAsking) {
    // It was dropped meanwhile.
    if (answer.reason == EndReason::kOk) {
      follow->open = true;
      CloseStream(*follow);
    }
    return false;
  }
  if (answer.reason == EndReason::kRollback || answer.reason == EndReason::kPurged) {
    follow->last_end = answer.reason;
    RollBack(*follow, answer.reason == EndReason::kPurged ? Seqno(0) : answer.rollback);
    return false;
  }
  if (answer.reason != EndReason::kOk) {
    Refused(*follow, answer.reason, answer.text, now);
    return false;
  }
  follow->open = true;
  if (answer.epoch < follow->epoch && !CAIRN_FAULT("plant.accept_old_epoch")) {
    Refused(*follow, EndReason::kFenced, "the source's epoch is lower", now);
    return false;
  }
  follow->source_high = answer.high;
  follow->adopting = engine::AdoptRequest{answer.vbucket, answer.failover_log, answer.epoch, answer.high};
  follow->adopting_alone = false;
  return true;
}

void Consumer::Rep::Adopt(const std::vector<Vbid>& vbuckets) {
  std::vector<engine::AdoptRequest> requests;
  requests.reserve(vbuckets.size());
  for (const Vbid vbucket : vbuckets) requests.push_back(*Find(vbucket)->adopting);
  const engine::PendingRef pending = replication.Adopt(std::move(requests));
  for (const Vbid vbucket : vbuckets) Wait(*Find(vbucket), Follow::Phase::kAdopting, pending);
}

void Consumer::Rep::RollBack(Follow& follow, Seqno to) {
  CloseStream(follow);
  follow.held.clear();
  follow.in_data = false;
  ++follow.rollbacks;
  follow.rollback_to = to;
  const Result<VbucketPosition> position = replication.Position(follow.vbucket);
  if (!position.ok() || position->state == VbucketState::kReplica) {
    return Wait(follow, Follow::Phase::kRollingBack, replication.Rollback(follow.vbucket, to));
  }
  if (position->state == VbucketState::kActive && follow.was_followed) {
    follow.ours = true;
    return EndFollow(follow, EndReason::kClosed, "active here");
  }
  // A former active: it steps down first, so that nobody writes to what is taken back.
  Wait(follow, Follow::Phase::kDemoting, replication.Demote({follow.vbucket}, VbucketState::kReplica));
}

void Consumer::Rep::Refused(Follow& follow, EndReason reason, std::string_view text, int64_t now) {
  if (reason == EndReason::kFenced) TellFence(follow);
  bool ended = IsFinal(reason) || follow.ours;
  if (reason == EndReason::kFenced) {
    // The source of a copy may follow whoever is active now, or be promoted itself.
    const Result<VbucketPosition> position = replication.Position(follow.vbucket);
    ended = ended || !position.ok() || position->state != VbucketState::kReplica;
  }
  if (ended) return EndFollow(follow, reason, text);
  CloseStream(follow);
  follow.held.clear();
  NoteEnd(follow, reason, text);
  AskLater(follow, now);
}

void Consumer::Rep::NoteEnd(Follow& follow, EndReason reason, std::string_view text) {
  follow.last_end = reason;
  if (reason == EndReason::kOk || reason == EndReason::kClosed) return;
  last_error = "vbucket " + std::to_string(follow.vbucket.get()) + ": " + std::string(EndReasonName(reason)) +
               (text.empty() ? "" : ": ") + std::string(text);
}

void Consumer::Rep::TellFence(const Follow& follow) { fences.push_back({follow.vbucket, follow.epoch}); }

void Consumer::Rep::EndFollow(Follow& follow, EndReason reason, std::string_view text) {
  CloseStream(follow);
  asks.erase({follow.ask_ns, follow.vbucket});
  follow.held.clear();
  NoteEnd(follow, reason, text);
  // What the engine is doing for it is waited for, so that nothing of it happens after we are gone.
  follow.phase = Follow::Phase::kEnded;
}

/// From now on nothing of the stream is listened to.
void Consumer::Rep::CloseStream(Follow& follow) {
  if (gathering.active && gathering.head.vbucket == follow.vbucket) gathering.ignored = true;
  if (!follow.listens()) return;
  follow.open = false;
  follow.deaf = true;
  closes.push_back(follow.vbucket);
}

void Consumer::Rep::Wait(Follow& follow, Follow::Phase phase, engine::PendingRef pending) {
  follow.phase = phase;
  follow.pending = std::move(pending);
  follow.stale = false;
  if (follow.on_busy) return;
  follow.on_busy = true;
  busy.push_back(follow.vbucket);
}

void Consumer::Rep::PollPending(int64_t now) {
  const std::vector<Vbid> waiting = std::exchange(busy, {});
  for (const Vbid vbucket : waiting) {
    Follow& follow = *Find(vbucket);
    if (!follow.pending->ready()) {
      busy.push_back(vbucket);
      continue;
    }
    follow.on_busy = false;
    PendingDone(follow, now);
  }
}

void Consumer::Rep::PendingDone(Follow& follow, int64_t now) {
  const Status status = std::exchange(follow.pending, nullptr)->status();
  const Follow::Phase phase = follow.phase;
  if (phase == Follow::Phase::kPromoting && status.ok()) {
    follow.promoted = follow.ours = true;
    return EndFollow(follow, EndReason::kOk, "");
  }
  if (phase == Follow::Phase::kEnded && follow.ours) return;
  if (follow.stale) {
    follow.stale = false;
    if (connected) AskAt(follow, now);
    return;
  }
  if (phase == Follow::Phase::kEnded) return;
  if (phase == Follow::Phase::kAdopting) return AdoptDone(follow, status, now);
  // Data cannot be brought to where the disk snapshot begins (in a window, in a flush_all): all of it anew.
  if (phase == Follow::Phase::kPreparing && status == Code::kNotSupported) return RollBack(follow, Seqno(0));
  if (!status.ok()) return Refused(follow, EndReason::kInternal, status.ToString(), now);
  if (phase == Follow::Phase::kPreparing) {
    follow.phase = Follow::Phase::kFollowing;
    follow.in_data = true;
    return;
  }
  if (phase == Follow::Phase::kDemoting) {
    return Wait(follow, Follow::Phase::kRollingBack,
                replication.Rollback(follow.vbucket, follow.rollback_to));
  }
  // Rolled back. A source that asks for it again and again is asked less often.
  if (follow.rollbacks <= 1) {
    AskAt(follow, now);
  } else {
    AskLater(follow, now);
  }
}

void Consumer::Rep::AdoptDone(Follow& follow, const Status& status, int64_t now) {
  if (status.ok()) {
    follow.phase = Follow::Phase::kFollowing;
    follow.was_followed = true;
    follow.history_uuid = follow.adopting->failover_log.front().uuid;
    follow.epoch = follow.adopting->epoch;
    follow.adopting.reset();
    MarkDirty(follow);
    // What was applied on the connection before may be waited for still.
    if (follow.persisted < follow.applied) WatchPersisted(follow);
    return;
  }
  // Nothing of the request was adopted because of one of them: each by itself.
  if (!follow.adopting_alone) {
    follow.adopting_alone = true;
    return Wait(follow, Follow::Phase::kAdopting, replication.Adopt({*follow.adopting}));
  }
  const bool fenced = status == Code::kAccessDenied;
  if (fenced) {
    if (const Result<VbucketPosition> position = replication.Position(follow.vbucket); position.ok()) {
      follow.epoch = position->epoch;
    }
  }
  Refused(follow, fenced ? EndReason::kFenced : EndReason::kInternal, status.ToString(), now);
}

}  // namespace cairn::tap
