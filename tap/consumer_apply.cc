// Consumer: what the source sends, decoded and applied in the order of each vbucket. What cannot be applied
// yet (history not adopted, disk not prepared, memory full) is held; credits bound how much that can be.

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "tap/consumer_rep.h"

namespace cairn::tap {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kRetryNs = kMs;  // when memory or the writer to disk is full
// How often vbuckets are asked that have more applied than persisted.
constexpr int64_t kPersistedPollNs = 10 * kMs;
constexpr size_t kPersistedLooksSteady = 32;  // at a time, in turn, when nobody waits
constexpr int64_t kPersistedPollFewNs = kMs;  // when a client waits and these are few
constexpr size_t kFewUnpersisted = 16;

}  // namespace

/// Applies what it may, at most Options::apply_operations_per_step and a snapshot. True: more at once.
bool Consumer::Rep::Step(int64_t now) {
  budget = options.apply_operations_per_step;
  PollPending(now);
  ApplyHeld(now);
  while (!queue.empty() && budget > 0 && !failed) TakeMessage(now);
  PromoteGiven();
  // Once for all that this step has applied, or the ones before it had when the source came to wait for it.
  if (prompt_disk && std::exchange(unhurried, false)) replication.HurryToDisk();
  PollPersisted(now);
  return !queue.empty() && !failed;
}

/// Goes on with the first message; takes it off the queue when it is done.
void Consumer::Rep::TakeMessage(int64_t now) {
  ProducerMessage& message = queue.front();
  if (!message.answers.empty()) {
    const std::vector<StreamAnswer> answers = std::exchange(message.answers, {});
    OnAnswers(answers, now);
    if (failed) return;
  }
  if (!message.chunk.empty() && !TakeFrames(now)) return;
  if (message.goodbye) Fail(*message.goodbye, message.goodbye_text);
  queue.pop_front();
}

/// False: it did not come to the chunk's end.
bool Consumer::Rep::TakeFrames(int64_t now) {
  const std::string& chunk = queue.front().chunk;
  if (!reader) {
    reader.emplace(chunk, replication.vbucket_count(), options.max_item_size);
    credit = std::make_shared<ChunkCredit>(this, connection, chunk.size());
  }
  while (budget > 0 && !failed) {
    Result<std::optional<proto::TapFrame>> frame = reader->Next();
    if (!frame.ok()) {
      Fail(EndReason::kBadMessage, frame.status().message());
      return false;
    }
    if (!frame->has_value()) {
      reader.reset();
      credit.reset();
      return true;
    }
    OnFrame(**frame, now);
  }
  return false;
}

void Consumer::Rep::OnFrame(proto::TapFrame& frame, int64_t now) {
  using Type = proto::TapFrameType;
  if (frame.type == Type::kOperation) return OnOperation(frame, now);
  Follow* follow = Find(frame.vbucket);
  if (follow == nullptr || (!follow->open && !follow->deaf)) {
    return FailFor(frame.vbucket, "a frame of a stream that is not open");
  }
  if (frame.type == Type::kSnapshot) return OnSnapshot(frame, now);
  if (gathering.active && gathering.head.vbucket != frame.vbucket && !gathering.ignored) {
    return FailFor(frame.vbucket, "a frame in the middle of another vbucket's snapshot");
  }
  // Only the end of its stream may come in the middle of a snapshot.
  if (gathering.active && frame.type != Type::kStreamEnd && !gathering.ignored) {
    return FailFor(frame.vbucket, "a frame in the middle of a snapshot");
  }
  gathering = {};
  granted_ahead = 0;
  if (!follow->listens()) return;
  Event event;
  switch (frame.type) {
    case Type::kCheckpointEnd:
      event.kind = Event::Kind::kCheckpointEnd;
      event.end = {frame.checkpoint, frame.last, frame.digest};
      break;
    case Type::kVbucketState:
      event.kind = Event::Kind::kState;
      event.state = static_cast<VbucketState>(frame.state);
      event.epoch = frame.epoch;
      break;
    default:
      event.kind = Event::Kind::kEnd;
      if (frame.reason > static_cast<uint8_t>(EndReason::kInternal)) {
        return FailFor(frame.vbucket, "a stream's end with an unknown reason");
      }
      event.reason = static_cast<EndReason>(frame.reason);
      event.text = std::string(frame.text);
      follow->open = false;
  }
  event.credits.push_back(credit);
  Deliver(frame.vbucket, std::move(event), now);
}

void Consumer::Rep::OnSnapshot(const proto::TapFrame& frame, int64_t now) {
  const bool whole = frame.kind != proto::TapSnapshotKind::kData;
  const bool goes_on = whole && frame.continues;
  const proto::TapFrame& head = gathering.head;
  const bool same = goes_on && gathering.active && head.vbucket == frame.vbucket;
  if (gathering.active && !gathering.ignored && !same) {
    return FailFor(frame.vbucket, "a snapshot in the middle of another");
  }
  const Follow& follow = *Find(frame.vbucket);
  if (!same) {
    if (goes_on && follow.listens())
      return FailFor(frame.vbucket, "the rest of a snapshot that did not begin");
    gathering = {};
    granted_ahead = 0;
    gathering.active = true;
    gathering.ignored = !follow.listens();
    gathering.whole = whole;
    gathering.head = frame;
    gathering.last = frame.start;
    gathering.event.kind = whole ? Event::Kind::kSnapshot : Event::Kind::kData;
    gathering.event.range = {frame.checkpoint, frame.start, frame.end, frame.source_persisted};
  } else if (!gathering.ignored && (frame.start != head.start || frame.end != head.end ||
                                    frame.checkpoint != head.checkpoint || frame.kind != head.kind)) {
    return FailFor(frame.vbucket, "the rest of another snapshot");
  }
  gathering.head.last_part = frame.last_part;
  gathering.left = frame.operations;
  if (!gathering.ignored) {
    gathering.event.items.reserve(gathering.event.items.size() + std::min<size_t>(frame.operations, 1 << 16));
    gathering.event.credits.push_back(credit);
  }
  if (gathering.left == 0) EndPart(now);
}

void Consumer::Rep::OnOperation(proto::TapFrame& frame, int64_t now) {
  if (!gathering.ignored) {
    // The reader has compared with the one before in this part only.
    if (gathering.whole && frame.item->seqno() <= gathering.last) {
      return FailFor(frame.vbucket, "a seqno that does not rise");
    }
    if (frame.item->is_ejected()) return FailFor(frame.vbucket, "an operation without its value");
    gathering.last = frame.item->seqno();
    const bool lost =
        frame.item->is_marker() ? CAIRN_FAULT("plant.drop_marker") : CAIRN_FAULT("plant.skip_operation");
    if (!lost) gathering.event.items.push_back(std::move(frame.item));
  }
  --budget;
  if (--gathering.left == 0) EndPart(now);
}

void Consumer::Rep::EndPart(int64_t now) {
  const bool complete = !gathering.whole || gathering.head.last_part;
  if (!complete) return;  // the next chunk goes on with it
  const Vbid vbucket = gathering.head.vbucket;
  const bool ignored = gathering.ignored;
  Event event = std::move(gathering.event);
  event.last_part = gathering.head.last_part;
  gathering = {};
  granted_ahead = 0;
  if (!ignored) Deliver(vbucket, std::move(event), now);
}

/// Applies the event, or holds it behind what is held already.
void Consumer::Rep::Deliver(Vbid vbucket, Event event, int64_t now) {
  Follow& follow = *Find(vbucket);
  if (follow.held.empty() && follow.can_apply() && Apply(follow, event, now)) return;
  const bool ended =
      follow.phase == Follow::Phase::kEnded || (!follow.open && event.kind != Event::Kind::kEnd);
  if (failed || ended) return;  // by this event
  follow.held.push_back(std::move(event));
  if (follow.on_held) return;
  follow.on_held = true;
  held.push_back(vbucket);
}

void Consumer::Rep::ApplyHeld(int64_t now) {
  const std::vector<Vbid> waiting = std::exchange(held, {});
  for (const Vbid vbucket : waiting) {
    Follow& follow = *Find(vbucket);
    while (!follow.held.empty() && follow.can_apply() && follow.retry_ns <= now && budget > 0 && !failed) {
      // Out of the queue while it is applied: it may end the stream, which empties the queue.
      Event event = std::move(follow.held.front());
      follow.held.pop_front();
      budget -= std::min(budget, event.items.size());
      if (Apply(follow, event, now)) continue;
      if (follow.phase == Follow::Phase::kFollowing || follow.phase == Follow::Phase::kPreparing) {
        follow.held.push_front(std::move(event));
      }
      break;
    }
    follow.on_held = !follow.held.empty();
    if (follow.on_held) held.push_back(vbucket);
  }
}

/// False: not yet; the event is unchanged but for what has been done of it.
bool Consumer::Rep::Apply(Follow& follow, Event& event, int64_t now) {
  switch (event.kind) {
    case Event::Kind::kSnapshot:
      return ApplyOperations(follow, event, now);
    case Event::Kind::kData:
      return ApplyData(follow, event, now);
    case Event::Kind::kCheckpointEnd:
      return EndCheckpoint(follow, event, now);
    case Event::Kind::kState:
      ChangeState(follow, event);
      return true;
    case Event::Kind::kEnd:
      if (event.reason == EndReason::kPurged) {
        RollBack(follow, Seqno(0));
      } else {
        Refused(follow, event.reason, event.text, now);
      }
      return true;
  }
  return true;
}

bool Consumer::Rep::ApplyOperations(Follow& follow, Event& event, int64_t now) {
  const engine::SnapshotRange& range = event.range;
  if (range.start < follow.applied) {
    FailFor(follow.vbucket, "a seqno that has been applied already");
  } else if (range.start > follow.applied || follow.in_data) {
    FailFor(follow.vbucket, "a snapshot that does not begin where the one before ended");
  }
  if (failed) return false;
  const Code code = replication.Apply(follow.vbucket, range, event.items);
  if (code != Code::kOk) return NotApplied(follow, code, now);
  operations += event.items.size();
  NoteApplied(follow, range.end);
  return true;
}

bool Consumer::Rep::ApplyData(Follow& follow, Event& event, int64_t now) {
  const engine::SnapshotRange& range = event.range;
  if (range.start != follow.applied || (follow.in_data && range.end != follow.data_end)) {
    FailFor(follow.vbucket, "a disk snapshot that does not begin here");
    return false;
  }
  if (!follow.in_data) {
    follow.data_end = range.end;
    Wait(follow, Follow::Phase::kPreparing,
         replication.BeginSnapshot(follow.vbucket, range.start, range.end));
    PollPending(now);
    if (!follow.can_apply()) return false;
  }
  if (!event.items.empty()) {
    const Code code = replication.ApplySnapshot(follow.vbucket, event.items);
    if (code != Code::kOk) return NotApplied(follow, code, now);
    operations += event.items.size();
    backfilled_operations += event.items.size();
    follow.backfilled += event.items.size();
    event.items.clear();
  }
  if (!event.last_part) return true;
  const Status ended = replication.EndSnapshot(follow.vbucket, range.checkpoint);
  if (!ended.ok()) return NotApplied(follow, ended.code(), now);
  follow.in_data = false;
  NoteApplied(follow, range.end);
  return true;
}

void Consumer::Rep::NoteApplied(Follow& follow, Seqno applied) {
  follow.applied = applied;
  follow.source_high = std::max(follow.source_high, applied);
  follow.delay_ns = 0;
  follow.rollbacks = 0;
  MarkDirty(follow);
  WatchPersisted(follow);
}

/// More is applied than is known to be persisted: the source hears of it when it is.
void Consumer::Rep::WatchPersisted(Follow& follow) {
  unhurried = true;
  if (follow.on_unpersisted) return;
  follow.on_unpersisted = true;
  unpersisted.push_back(follow.vbucket);
}

/// Whose fault is it that it was not taken? Always false.
bool Consumer::Rep::NotApplied(Follow& follow, Code code, int64_t now) {
  switch (code) {
    case Code::kWouldBlock:
    case Code::kTmpOom:
      follow.retry_ns = now + kRetryNs;
      break;
    case Code::kOutOfRange:
      FailFor(follow.vbucket, "a seqno that has been applied already, or outside of its snapshot");
      break;
    case Code::kCorruption:
    case Code::kInvalidArgument:
      FailFor(follow.vbucket, "a snapshot that cannot be understood");
      break;
    default:
      // It is no replica any more, or the disk has failed.
      Refused(follow, EndReason::kStateChanged, CodeName(code), now);
  }
  return false;
}

bool Consumer::Rep::EndCheckpoint(Follow& follow, const Event& event, int64_t now) {
  if (event.end.last > follow.applied || follow.in_data) {
    FailFor(follow.vbucket, "the end of a checkpoint that is not here");
    return false;
  }
  const Result<engine::DigestVerdict> verdict = replication.EndCheckpoint(follow.vbucket, event.end);
  if (!verdict.ok()) return NotApplied(follow, verdict.code(), now);
  if (*verdict == engine::DigestVerdict::kEqual) {
    follow.verified = event.end.last;
    follow.verified_checkpoint = event.end.checkpoint;
    follow.digest_mismatch = false;
    MarkDirty(follow);
  } else if (*verdict == engine::DigestVerdict::kDifferent) {
    // The alarm has been raised by the engine. The source hears of it before the stream is closed.
    follow.digest_mismatch = true;
    last_words.push_back(ProgressOf(follow));
    last_error = "vbucket " + std::to_string(follow.vbucket.get()) + ": differs from its source at seqno " +
                 std::to_string(event.end.last.get()) + ", copied anew";
    RollBack(follow, Seqno(0));
  }
  return true;
}

/// Takeover, receiving side.
void Consumer::Rep::ChangeState(Follow& follow, const Event& event) {
  const bool active = event.state == VbucketState::kActive;
  if (!options.takeover || (!active && event.state != VbucketState::kPending) || follow.in_data) {
    return FailFor(follow.vbucket, "a state that nobody asked for");
  }
  if (!active) {
    follow.told_pending = true;
    MarkDirty(follow);
    replication.HurryToDisk();  // the source's clients wait for it
    WatchPersisted(follow);
    return;
  }
  if (follow.applied < follow.source_high || event.epoch <= follow.epoch) {
    return FailFor(follow.vbucket, "a takeover without all that belongs to it");
  }
  follow.phase = Follow::Phase::kPromoting;
  given[event.epoch].push_back(follow.vbucket);
}

/// What was given in this step, with one synced write for all of one epoch (mostly there is one). Nobody else
/// is active for it, so it does not depend on what becomes of this consumer.
void Consumer::Rep::PromoteGiven() {
  for (const auto& [epoch, vbuckets] : std::exchange(given, {})) {
    engine::PromoteOptions promote;
    promote.epoch_min = epoch;
    promote.clean = true;
    std::vector<engine::PendingRef> pending = replication.PromoteEach(vbuckets, promote);
    for (size_t i = 0; i < vbuckets.size(); ++i) {
      Wait(*Find(vbuckets[i]), Follow::Phase::kPromoting, std::move(pending[i]));
    }
  }
}

void Consumer::Rep::MarkDirty(Follow& follow) {
  if (follow.on_dirty) return;
  follow.on_dirty = true;
  dirty.push_back(follow.vbucket);
}

/// Asks how far those are persisted of which the source does not know it yet.
void Consumer::Rep::PollPersisted(int64_t now) {
  if (unpersisted.empty() || now < persisted_poll_ns) return;
  const bool few = prompt && unpersisted.size() <= kFewUnpersisted;
  persisted_poll_ns = now + (few ? kPersistedPollFewNs : kPersistedPollNs);
  size_t looks = prompt ? unpersisted.size() : std::min(unpersisted.size(), kPersistedLooksSteady);
  for (; looks > 0; --looks) {
    const Vbid vbucket = unpersisted.front();
    unpersisted.pop_front();
    Follow& follow = *Find(vbucket);
    const Result<Seqno> on_disk = replication.Persisted(vbucket);
    Seqno persisted = on_disk.ok() ? std::min(*on_disk, follow.applied) : follow.persisted;
    if (CAIRN_FAULT("plant.ack_unpersisted")) persisted = follow.applied;
    if (persisted != follow.persisted) {
      follow.persisted = persisted;
      MarkDirty(follow);
    }
    follow.on_unpersisted = on_disk.ok() && follow.listens() && persisted < follow.applied;
    if (follow.on_unpersisted) unpersisted.push_back(vbucket);
  }
}

}  // namespace cairn::tap
