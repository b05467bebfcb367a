#include "tap/messages.h"

#include <algorithm>

#include "proto/epoch.h"
#include "proto/tap_frame.h"

namespace cairn::tap {
namespace {

constexpr size_t kTextMax = 1024;  // of refusals and goodbyes

Status Bad(std::string what) { return Status(Code::kInvalidArgument, std::move(what)); }

bool IsName(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kNameSizeMax && std::all_of(name.begin(), name.end(), allowed);
}

/// "open of vbucket 7: what"
Status BadEntry(std::string_view list, Vbid vbucket, std::string_view what) {
  return Bad(std::string(list) + " of vbucket " + std::to_string(vbucket.get()) + ": " + std::string(what));
}

Status CheckFeatures(const std::vector<std::string>& features) {
  if (features.size() > kFeaturesMax) return Bad("too many features");
  if (!std::all_of(features.begin(), features.end(), IsName)) return Bad("a feature that is not a name");
  return Status::Ok();
}

Status CheckHello(const Hello& hello) {
  if (hello.version_min == 0 || hello.version_min > hello.version_max) return Bad("hello: no version");
  CAIRN_RETURN_IF_ERROR(CheckFeatures(hello.features));
  if (!IsName(hello.name)) return Bad("hello: the name is not 1 to 64 of A-Z a-z 0-9 . _ -");
  if (hello.vbucket_count == 0 || hello.vbucket_count > kVbucketCountMax) {
    return Bad("hello: no such number of vbuckets");
  }
  if (hello.noop_interval_ms < 100 || hello.noop_interval_ms > 60'000) {
    return Bad("hello: noop_interval_ms is not in 100 to 60,000");
  }
  if (hello.idle_timeout_ms < 1'000 || hello.idle_timeout_ms > 3'600'000) {
    return Bad("hello: idle_timeout_ms is not in 1,000 to 3,600,000");
  }
  return Status::Ok();
}

Status CheckOpen(const OpenStream& open, uint32_t vbucket_count) {
  const auto bad = [&](std::string_view what) { return BadEntry("open", open.vbucket, what); };
  if (open.vbucket.get() >= vbucket_count) return bad("does not exist");
  if (open.seqno.get() > kSeqnoMax || open.snapshot_end.get() > kSeqnoMax) return bad("no such seqno");
  if (open.checkpoint.get() > proto::kTapCheckpointMax) return bad("no such checkpoint");
  if (open.snapshot_start > open.seqno || open.seqno > open.snapshot_end) {
    return bad("the seqno lies outside of its snapshot");
  }
  if (!open.window.is_none() && open.window_start > open.seqno) return bad("a window that begins later");
  if (open.takeover && (open.dump || open.keys_only)) return bad("a takeover needs everything");
  return Status::Ok();
}

Status CheckProgress(const Progress& progress, uint32_t vbucket_count) {
  const auto bad = [&](std::string_view what) { return BadEntry("progress", progress.vbucket, what); };
  if (progress.vbucket.get() >= vbucket_count) return bad("does not exist");
  if (progress.applied.get() > kSeqnoMax || progress.verified.get() > kSeqnoMax) return bad("no such seqno");
  if (progress.verified_checkpoint.get() > proto::kTapCheckpointMax) return bad("no such checkpoint");
  if (progress.persisted > progress.applied) return bad("more persisted than applied");
  return Status::Ok();
}

Status CheckWelcome(const Welcome& welcome) {
  if (welcome.version < kProtocolVersionMin || welcome.version > kProtocolVersionMax) {
    return Bad("welcome: a version that was not offered");
  }
  CAIRN_RETURN_IF_ERROR(CheckFeatures(welcome.features));
  if (!IsName(welcome.name)) return Bad("welcome: the name is not 1 to 64 of A-Z a-z 0-9 . _ -");
  return Status::Ok();
}

Status CheckAnswer(const StreamAnswer& answer, uint32_t vbucket_count) {
  const auto bad = [&](std::string_view what) { return BadEntry("answer", answer.vbucket, what); };
  if (answer.vbucket.get() >= vbucket_count) return bad("does not exist");
  if (answer.reason > EndReason::kInternal) return bad("unknown reason");
  if (answer.text.size() > kTextMax) return bad("text too long");
  if (answer.rollback.get() > kSeqnoMax || answer.high.get() > kSeqnoMax || answer.purged.get() > kSeqnoMax) {
    return bad("no such seqno");
  }
  if (!proto::CanBeNamed(answer.epoch)) return bad("no such epoch");
  const auto& log = answer.failover_log;
  if (log.size() > proto::kFailoverEntriesMax) return bad("failover log too long");
  if (answer.reason == EndReason::kOk && log.empty()) return bad("no failover log");
  for (size_t i = 0; i < log.size(); ++i) {
    if (log[i].seqno.get() > kSeqnoMax) return bad("no such seqno");
    if (i > 0 && log[i].seqno > log[i - 1].seqno) return bad("the failover log is not newest first");
  }
  return Status::Ok();
}

}  // namespace

std::string_view EndReasonName(EndReason reason) {
  switch (reason) {
    case EndReason::kOk:
      return "ok";
    case EndReason::kClosed:
      return "closed";
    case EndReason::kStateChanged:
      return "state_changed";
    case EndReason::kDisconnected:
      return "disconnected";
    case EndReason::kTooSlow:
      return "too_slow";
    case EndReason::kBackfillFailed:
      return "backfill_failed";
    case EndReason::kRollback:
      return "rollback";
    case EndReason::kPurged:
      return "purged";
    case EndReason::kLostPrivilege:
      return "lost_privilege";
    case EndReason::kNotMyVbucket:
      return "not_my_vbucket";
    case EndReason::kFenced:
      return "fenced";
    case EndReason::kBadMessage:
      return "bad_message";
    case EndReason::kVersion:
      return "version";
    case EndReason::kVbucketCount:
      return "vbucket_count";
    case EndReason::kSelf:
      return "self";
    case EndReason::kShutdown:
      return "shutdown";
    case EndReason::kIdle:
      return "idle";
    case EndReason::kInternal:
      return "internal";
  }
  return "unknown";
}

Status Check(const ConsumerMessage& message, uint32_t vbucket_count, bool first) {
  if (first != message.hello.has_value()) {
    return Bad(first ? "the first message is not a hello" : "a second hello");
  }
  if (first) CAIRN_RETURN_IF_ERROR(CheckHello(*message.hello));
  const size_t longest =
      std::max({message.open.size(), message.close.size(), message.progress.size(), message.fence.size()});
  if (longest > kEntriesMax) return Bad("a list of more than 4,096 entries");
  for (const OpenStream& open : message.open) CAIRN_RETURN_IF_ERROR(CheckOpen(open, vbucket_count));
  for (const Vbid vbucket : message.close) {
    if (vbucket.get() >= vbucket_count) return BadEntry("close", vbucket, "does not exist");
  }
  for (const Progress& p : message.progress) CAIRN_RETURN_IF_ERROR(CheckProgress(p, vbucket_count));
  for (const FenceNotice& fence : message.fence) {
    if (fence.vbucket.get() >= vbucket_count) return BadEntry("fence", fence.vbucket, "does not exist");
    if (!proto::CanBeNamed(fence.epoch)) return BadEntry("fence", fence.vbucket, "no such epoch");
  }
  if (message.credit_bytes > kWindowBytesMax) return Bad("more than 1 GiB of credits");
  return Status::Ok();
}

Status Check(const ProducerMessage& message, uint32_t vbucket_count, bool first) {
  if (message.goodbye) {
    if (*message.goodbye > EndReason::kInternal) return Bad("goodbye: unknown reason");
    if (message.goodbye_text.size() > kTextMax) return Bad("goodbye: text too long");
  }
  // A goodbye may be all that a producer ever says.
  if (message.welcome) {
    if (!first) return Bad("a second welcome");
    CAIRN_RETURN_IF_ERROR(CheckWelcome(*message.welcome));
  } else if (first && !message.goodbye) {
    return Bad("the first message is not a welcome");
  }
  if (message.answers.size() > kEntriesMax) return Bad("a list of more than 4,096 entries");
  for (const StreamAnswer& answer : message.answers)
    CAIRN_RETURN_IF_ERROR(CheckAnswer(answer, vbucket_count));
  if (message.chunk.size() > kChunkBytesMax) return Bad("chunk too large");
  return Status::Ok();
}

}  // namespace cairn::tap
