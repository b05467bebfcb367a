// Producer: how streams are opened and closed, and what the consumer says of them.

#include <algorithm>
#include <utility>

#include "tap/producer_rep.h"
#include "tap/resume.h"

namespace cairn::tap {
namespace {

constexpr size_t kUnappliedMax = 16;

/// Why a cursor could not be had, as a stream's end.
EndReason ReasonOf(Code code) {
  switch (code) {
    case Code::kInvalidArgument:  // the sequence was taken back since we looked
      return EndReason::kRollback;
    case Code::kNotMyVbucket:
      return EndReason::kNotMyVbucket;
    default:
      return EndReason::kStateChanged;
  }
}

bool Has(const std::vector<std::string>& features, std::string_view feature) {
  return std::find(features.begin(), features.end(), feature) != features.end();
}

}  // namespace

void Producer::Rep::Answer(const OpenStream& request, EndReason reason, std::string_view text,
                           Seqno rollback) {
  StreamAnswer answer;
  answer.vbucket = request.vbucket;
  answer.reason = reason;
  answer.text = text;
  answer.rollback = rollback;
  answers.push_back(std::move(answer));
}

void Producer::Rep::Open(const OpenStream& request, int64_t now) {
  const Vbid vbucket = request.vbucket;
  if (streams[vbucket.get()]) {
    return Refuse(EndReason::kBadMessage,
                  "open of vbucket " + std::to_string(vbucket.get()) + ": is open already");
  }
  for (const auto& [asked, feature] :
       {std::pair(request.takeover, "takeover"), {request.keys_only, "keys-only"}}) {
    if (asked && !Has(hello.features, feature)) {
      return Answer(request, EndReason::kBadMessage,
                    std::string(feature) + " is not among the hello's features");
    }
  }
  // The end of a stream that the consumer has closed meanwhile must not end this one.
  std::erase_if(late, [&](const LateFrame& frame) { return frame.vbucket == vbucket; });
  const Result<VbucketPosition> position = replication.Position(vbucket);
  if (!position.ok()) return Answer(request, EndReason::kNotMyVbucket, position.status().message());
  if (request.takeover && RepeatHandover(request, *position)) return;
  const ResumeDecision decision = DecideResume(*position, request);
  if (decision.reason != EndReason::kOk) {
    Answer(request, decision.reason, decision.text, decision.rollback);
    // Who is active with a lower one hears of it (FenceTeller).
    answers.back().epoch = position->epoch;
    return;
  }
  if (request.takeover && position->state != VbucketState::kActive) {
    return Answer(request, EndReason::kNotMyVbucket, "not active here, so it cannot be taken over");
  }
  Accept(request, *position, now);
}

void Producer::Rep::Accept(const OpenStream& request, const VbucketPosition& position, int64_t now) {
  auto stream = std::make_unique<Stream>();
  stream->request = request;
  if (!position.failover_log.empty()) stream->history = position.failover_log.front().uuid;
  stream->needs_data = request.snapshot_start < request.snapshot_end;
  stream->sent = stream->needs_data ? request.snapshot_start : request.seqno;
  if (!stream->needs_data && stream->sent != Seqno(0)) stream->checkpoint = request.checkpoint;
  stream->dump_end = position.high;
  stream->info.applied = stream->sent;
  if (request.takeover) stream->giving = Giving::kFollowing;
  Stream& opened = *(streams[request.vbucket.get()] = std::move(stream));
  ++open_streams;
  Join(opened, now);
  if (!streams[request.vbucket.get()]) return;  // it was refused
  StreamAnswer answer;
  answer.vbucket = request.vbucket;
  answer.failover_log = position.failover_log;
  answer.epoch = position.epoch;
  answer.high = position.high;
  // A copy passes on how far its own source was: who has less is not complete.
  const bool copy = position.state == engine::VbucketState::kReplica;
  if (copy && position.source_high != Seqno(kSeqnoMax)) {
    answer.high = std::max(answer.high, position.source_high);
  }
  answer.purged = position.purged;
  answer.disk_snapshot = opened.phase == Stream::Phase::kSlot && opened.sent < position.merged;
  answers.push_back(std::move(answer));
  opened.answered = true;
  if (request.takeover) giving.push_back(request.vbucket);
}

/// Looks whether memory holds what is missing, and goes to the disk when it does not. A stream that has sent
/// nothing yet is refused rather than ended.
void Producer::Rep::Join(Stream& stream, int64_t now) {
  stream.phase = Stream::Phase::kJoin;
  if (stream.not_before_ns > now) return WantBackfill(stream, stream.not_before_ns);
  Status status(Code::kOutOfRange);
  if (!stream.needs_data) {
    Result<engine::StreamCursor> cursor = replication.OpenCursor(stream.vbucket(), cursor_name, stream.sent);
    if (cursor.ok()) {
      stream.cursor = *cursor;
      stream.phase = Stream::Phase::kLive;
      if (SameHistory(stream)) return MarkReady(stream);
      status = Status(Code::kCancelled, "another branch of history has begun");
    } else {
      status = cursor.status();
    }
  }
  // Another connection of this name has not ended yet.
  if (status == Code::kExists) return WantBackfill(stream, now + 20'000'000);
  if (status == Code::kOutOfRange) {
    if (!stream.request.no_backfill) return WantBackfill(stream, 0);
    status = Status(Code::kNotSupported, "needs the disk, and shall not read it");
  }
  const EndReason reason = stream.request.no_backfill && status == Code::kNotSupported
                               ? EndReason::kBackfillFailed
                               : ReasonOf(status.code());
  if (stream.answered) return EndStream(stream, reason, status.message());
  Answer(stream.request, reason, status.message());
  Close(stream.vbucket());
}

void Producer::Rep::OnProgress(const Progress& progress, int64_t now) {
  Stream* stream = streams[progress.vbucket.get()].get();
  if (stream == nullptr) return;  // it has just been closed
  if (progress.applied > stream->sent) {
    return Refuse(EndReason::kBadMessage,
                  "progress of vbucket " + std::to_string(progress.vbucket.get()) + ": beyond what was sent");
  }
  StreamInfo& stats = stream->info;
  stats.applied = progress.applied;
  stats.persisted = progress.persisted;
  stats.verified = progress.verified;
  stats.verified_checkpoint = progress.verified_checkpoint;
  stats.digest_mismatch = progress.digest_mismatch;
  auto& unapplied = stream->unapplied;
  while (!unapplied.empty() && unapplied.front().seqno <= progress.applied) unapplied.pop_front();
  replication.ReportReplica(hello.name, progress.vbucket, progress.history_uuid, progress.applied,
                            progress.persisted);
  if (stream->giving == Giving::kPendingSent && progress.pending_ready) {
    receiver_ready.push_back(progress.vbucket);
  }
  if (stream->giving == Giving::kFollowing) GiveStep(*stream, now);
}

/// Remembers when what ends at `sent` went out, so that the lag can be told in time. With many snapshots
/// under way the newest ones count as sent together with an older one.
void Producer::Rep::NoteSent(Stream& stream, int64_t now) {
  stream.info.sent = stream.sent;
  if (stream.unapplied.size() < kUnappliedMax) {
    stream.unapplied.push_back({stream.sent, now});
  } else {
    stream.unapplied.back().seqno = stream.sent;
  }
}

StreamInfo Producer::Rep::Info(const Stream& stream, int64_t now) const {
  StreamInfo stats = stream.info;
  stats.vbucket = stream.vbucket();
  stats.sent = stream.sent;
  const Result<VbucketPosition> position = replication.Position(stream.vbucket());
  stats.high = position.ok() ? position->high : stream.sent;
  stats.lag_operations = stats.high > stats.applied ? stats.high - stats.applied : 0;
  stats.lag_ns = stream.unapplied.empty() ? 0 : now - stream.unapplied.front().ns;
  if (stream.backfill) {
    stats.backfill_total = stats.backfill_sent + stream.backfill->records_left();
  } else {
    stats.backfill_total = stats.backfill_sent;
  }
  const bool waits = credits <= 0 && (stream.part || stream.on_ready || stream.backfill);
  switch (stream.phase) {
    case Stream::Phase::kJoin:
      stats.state = StreamState::kProbe;
      break;
    case Stream::Phase::kSlot:
      stats.state = StreamState::kPaused;
      break;
    case Stream::Phase::kBackfill:
      stats.state = waits ? StreamState::kPaused : StreamState::kBackfill;
      break;
    case Stream::Phase::kLive:
      stats.state = waits ? StreamState::kPaused : StreamState::kStream;
      break;
  }
  return stats;
}

/// Gives back what the stream holds of the engine.
void Producer::Rep::Release(Stream& stream) {
  if (stream.cursor) replication.CloseCursor(stream.vbucket(), *stream.cursor);
  stream.cursor.reset();
  if (stream.backfill) --backfills_open;
  stream.backfill.reset();
  // Clients wait only as long as somebody is about to take over. Once this node is becoming dead there is no
  // way back: the receiver asks again.
  if (stream.giving == Giving::kSuspended || stream.giving == Giving::kPendingSent) {
    replication.Resume(stream.vbucket());
  }
  stream.giving = Giving::kNo;
}

/// Forgets the stream. What it had begun to send stays unfinished, which a consumer understands that has
/// closed it, or that reads its end.
void Producer::Rep::Close(Vbid vbucket) {
  std::unique_ptr<Stream>& stream = streams[vbucket.get()];
  if (!stream) return;
  if (current == stream.get()) current = nullptr;
  Release(*stream);
  stream.reset();
  // Nothing comes to it any more: a write that needs it is not done, rather than waited for in vain.
  replication.ForgetReplica(hello.name, vbucket);
  --open_streams;
  std::erase(ready, vbucket);
  std::erase(backfills, vbucket);
  std::erase(giving, vbucket);
}

}  // namespace cairn::tap
