// Producer: takeover, giving side (docs/tap.md). The vbucket's clients wait from Suspend on; this node is
// dead, durably, before the receiver is told to be active.

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/fault.h"
#include "proto/epoch.h"
#include "tap/producer_rep.h"

namespace cairn::tap {
namespace {

constexpr uint64_t kCloseOperations = 1000;
constexpr int64_t kHandoverPollNs = 1'000'000;

}  // namespace

/// Takes the next step when the stream has come far enough.
void Producer::Rep::GiveStep(Stream& stream, int64_t now) {
  if (stream.giving == Giving::kFollowing) {
    if (stream.phase != Stream::Phase::kLive) return;
    const Result<VbucketPosition> position = replication.Position(stream.vbucket());
    if (!position.ok() ||
        position->high - std::min(position->high, stream.info.applied) >= kCloseOperations) {
      return;
    }
    Suspend(stream, now);
    return;
  }
  if (stream.giving != Giving::kSuspended || stream.on_ready || stream.part) return;
  const Result<VbucketPosition> position = replication.Position(stream.vbucket());
  if (!position.ok() || position->high != stream.sent) return;
  AddState(stream.vbucket(), VbucketState::kPending, position->epoch);
  stream.giving = Giving::kPendingSent;
}

void Producer::Rep::Suspend(Stream& stream, int64_t now) {
  const Status suspended = replication.Suspend(stream.vbucket());
  if (!suspended.ok()) {
    const bool elsewhere = suspended == Code::kNotMyVbucket;
    return EndStream(stream, elsewhere ? EndReason::kNotMyVbucket : EndReason::kStateChanged,
                     suspended.message());
  }
  stream.giving = Giving::kSuspended;
  stream.giving_deadline_ns = now + options.takeover_ns;
  // What was written until now comes first; then nothing is left, and the receiver hears of it.
  MarkReady(stream);
}

/// The receiver has everything applied and persisted, if it speaks of the same seqno. What it says of many in
/// one message is written down in one synced write.
void Producer::Rep::HandOver() {
  std::vector<engine::HandoverRequest> requests;
  for (const Vbid vbucket : std::exchange(receiver_ready, {})) {
    Stream* stream = streams[vbucket.get()].get();
    if (stream == nullptr || stream->giving != Giving::kPendingSent) continue;
    const Result<VbucketPosition> position = replication.Position(vbucket);
    if (!position.ok()) continue;
    if (stream->info.applied != position->high || stream->info.persisted != position->high) continue;
    const std::optional<uint64_t> epoch = proto::HandoverEpoch(position->epoch);
    if (!epoch) {
      EndStream(*stream, EndReason::kStateChanged, "no epoch is left");
      continue;
    }
    stream->handover_epoch = *epoch;
    stream->giving = Giving::kHandingOver;
    requests.push_back({vbucket, *epoch, {hello.node_uuid, position->high}});
  }
  if (requests.empty()) return;
  const std::vector<engine::PendingRef> pending = replication.Handover(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    streams[requests[i].vbucket.get()]->handover = pending[i];
  }
}

void Producer::Rep::FinishHandover(Stream& stream) {
  const Status status = stream.handover->status();
  if (!status.ok()) {
    // Whether it is dead is for the engine to say; if it is not, its clients go on.
    replication.Resume(stream.vbucket());
    stream.giving = Giving::kNo;
    return EndStream(stream, EndReason::kInternal, status.ToString());
  }
  AddState(stream.vbucket(), VbucketState::kActive, stream.handover_epoch);
  stream.giving = Giving::kTold;
  EndStream(stream, EndReason::kOk, "");
}

void Producer::Rep::StepGiving(int64_t now) {
  if (giving.empty()) return;
  const std::vector<Vbid> steps = giving;  // a step may end its stream
  for (const Vbid vbucket : steps) {
    Stream& stream = *streams[vbucket.get()];
    if (stream.giving == Giving::kHandingOver) {
      if (stream.handover->ready()) {
        FinishHandover(stream);
      } else {
        stream.giving_deadline_ns = now + kHandoverPollNs;
      }
    } else if (stream.giving_deadline_ns != 0 && now >= stream.giving_deadline_ns) {
      EndStream(stream, EndReason::kStateChanged, "the receiver did not become ready in time");
    }
  }
}

/// The receiver was cut off before it heard that it is active: it hears the last step again. Only the node
/// that the vbucket was given to, only with everything that was given, and only if it does not know of
/// anybody who was promoted since. What the giver itself has of that does not matter: its log may have lost
/// the end.
bool Producer::Rep::RepeatHandover(const OpenStream& request, const VbucketPosition& position) {
  const proto::VbucketMeta::Handover& given = position.handover;
  if (given.is_none() || given.receiver != hello.node_uuid || given.seqno != request.seqno) return false;
  if (position.state != VbucketState::kDead || request.epoch >= position.epoch) return false;
  const bool same_branch =
      !position.failover_log.empty() && position.failover_log.front().uuid == request.history_uuid;
  if (!same_branch) return false;
  CAIRN_PROBE("takeover.last_step_repeated");
  StreamAnswer answer;
  answer.vbucket = request.vbucket;
  answer.failover_log = position.failover_log;
  answer.epoch = request.epoch;
  answer.high = given.seqno;
  answers.push_back(std::move(answer));
  AddState(request.vbucket, VbucketState::kActive, position.epoch);
  AddEnd(request.vbucket, EndReason::kOk, "");
  return true;
}

}  // namespace cairn::tap
