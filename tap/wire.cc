#include "tap/wire.h"

#include <algorithm>

#include "proto/tap.pb.h"

namespace cairn::tap {
namespace {

static_assert(static_cast<int>(v1::END_INTERNAL) == static_cast<int>(EndReason::kInternal));
static_assert(v1::EndReason_MAX == v1::END_INTERNAL);

Status Bad(const char* what) { return Status(Code::kInvalidArgument, what); }

std::string BytesOf(const std::array<uint8_t, 16>& uuid) {
  return {reinterpret_cast<const char*>(uuid.data()), uuid.size()};
}

Status TakeUuid(const std::string& bytes, std::array<uint8_t, 16>& uuid) {
  if (bytes.size() != uuid.size()) return Bad("node_uuid is not 16 bytes");
  std::copy(bytes.begin(), bytes.end(), uuid.begin());
  return Status::Ok();
}

Status TakeVbucket(uint32_t number, Vbid& vbucket) {
  if (number >= kVbucketCountMax) return Bad("vbucket is above 65,535");
  vbucket = Vbid(static_cast<uint16_t>(number));
  return Status::Ok();
}

// A reason that a later version knows is none of ours to act on.
EndReason TakeReason(v1::EndReason reason) {
  return v1::EndReason_IsValid(reason) ? static_cast<EndReason>(reason) : EndReason::kInternal;
}

void Put(const Hello& hello, v1::Hello& out) {
  out.set_version_min(hello.version_min);
  out.set_version_max(hello.version_max);
  out.mutable_features()->Assign(hello.features.begin(), hello.features.end());
  out.set_name(hello.name);
  out.set_node_uuid(BytesOf(hello.node_uuid));
  out.set_vbucket_count(hello.vbucket_count);
  out.set_noop_interval_ms(hello.noop_interval_ms);
  out.set_idle_timeout_ms(hello.idle_timeout_ms);
}

Status Take(const v1::Hello& in, Hello& hello) {
  hello.version_min = in.version_min();
  hello.version_max = in.version_max();
  hello.features.assign(in.features().begin(), in.features().end());
  hello.name = in.name();
  hello.vbucket_count = in.vbucket_count();
  hello.noop_interval_ms = in.noop_interval_ms();
  hello.idle_timeout_ms = in.idle_timeout_ms();
  return TakeUuid(in.node_uuid(), hello.node_uuid);
}

void Put(const OpenStream& open, v1::OpenStream& out) {
  out.set_vbucket(open.vbucket.get());
  out.set_history_uuid(open.history_uuid);
  out.set_seqno(open.seqno.get());
  out.set_snapshot_start(open.snapshot_start.get());
  out.set_snapshot_end(open.snapshot_end.get());
  out.set_checkpoint(open.checkpoint.get());
  if (!open.window.is_none()) out.set_window_update_id(std::string(open.window.view()));
  out.set_window_start(open.window_start.get());
  out.set_epoch(open.epoch);
  out.set_no_backfill(open.no_backfill);
  out.set_dump(open.dump);
  out.set_takeover(open.takeover);
  out.set_keys_only(open.keys_only);
}

Status Take(const v1::OpenStream& in, OpenStream& open) {
  open.history_uuid = in.history_uuid();
  open.seqno = Seqno(in.seqno());
  open.snapshot_start = Seqno(in.snapshot_start());
  open.snapshot_end = Seqno(in.snapshot_end());
  open.checkpoint = CheckpointId(in.checkpoint());
  if (!in.window_update_id().empty()) {
    const auto id = proto::UpdateId::FromBytes(in.window_update_id());
    if (!id.has_value()) return Bad("window_update_id is not 16 bytes");
    open.window = *id;
  }
  open.window_start = Seqno(in.window_start());
  open.epoch = in.epoch();
  open.no_backfill = in.no_backfill();
  open.dump = in.dump();
  open.takeover = in.takeover();
  open.keys_only = in.keys_only();
  return TakeVbucket(in.vbucket(), open.vbucket);
}

void Put(const Progress& progress, v1::Progress& out) {
  out.set_vbucket(progress.vbucket.get());
  out.set_history_uuid(progress.history_uuid);
  out.set_applied(progress.applied.get());
  out.set_persisted(progress.persisted.get());
  out.set_verified(progress.verified.get());
  out.set_verified_checkpoint(progress.verified_checkpoint.get());
  out.set_digest_mismatch(progress.digest_mismatch);
  out.set_pending_ready(progress.pending_ready);
}

Status Take(const v1::Progress& in, Progress& progress) {
  progress.history_uuid = in.history_uuid();
  progress.applied = Seqno(in.applied());
  progress.persisted = Seqno(in.persisted());
  progress.verified = Seqno(in.verified());
  progress.verified_checkpoint = CheckpointId(in.verified_checkpoint());
  progress.digest_mismatch = in.digest_mismatch();
  progress.pending_ready = in.pending_ready();
  return TakeVbucket(in.vbucket(), progress.vbucket);
}

Status Take(const v1::Fence& in, FenceNotice& fence) {
  fence.epoch = in.epoch();
  return TakeVbucket(in.vbucket(), fence.vbucket);
}

void Put(const Welcome& welcome, v1::Welcome& out) {
  out.set_version(welcome.version);
  out.mutable_features()->Assign(welcome.features.begin(), welcome.features.end());
  out.set_name(welcome.name);
  out.set_node_uuid(BytesOf(welcome.node_uuid));
  out.set_vbucket_count(welcome.vbucket_count);
  out.set_max_item_size(welcome.max_item_size);
}

Status Take(const v1::Welcome& in, Welcome& welcome) {
  welcome.version = in.version();
  welcome.features.assign(in.features().begin(), in.features().end());
  welcome.name = in.name();
  welcome.vbucket_count = in.vbucket_count();
  welcome.max_item_size = in.max_item_size();
  return TakeUuid(in.node_uuid(), welcome.node_uuid);
}

void Put(const StreamAnswer& answer, v1::StreamAnswer& out) {
  out.set_vbucket(answer.vbucket.get());
  out.set_reason(static_cast<v1::EndReason>(answer.reason));
  out.set_text(answer.text);
  out.set_rollback(answer.rollback.get());
  for (const proto::FailoverEntry& entry : answer.failover_log) {
    v1::FailoverEntry* const added = out.add_failover_log();
    added->set_uuid(entry.uuid);
    added->set_seqno(entry.seqno.get());
  }
  out.set_epoch(answer.epoch);
  out.set_high(answer.high.get());
  out.set_disk_snapshot(answer.disk_snapshot);
  out.set_purged(answer.purged.get());
}

Status Take(const v1::StreamAnswer& in, StreamAnswer& answer) {
  answer.reason = TakeReason(in.reason());
  answer.text = in.text();
  answer.rollback = Seqno(in.rollback());
  answer.failover_log.reserve(static_cast<size_t>(in.failover_log_size()));
  for (const v1::FailoverEntry& entry : in.failover_log()) {
    answer.failover_log.push_back({entry.uuid(), Seqno(entry.seqno())});
  }
  answer.epoch = in.epoch();
  answer.high = Seqno(in.high());
  answer.disk_snapshot = in.disk_snapshot();
  answer.purged = Seqno(in.purged());
  return TakeVbucket(in.vbucket(), answer.vbucket);
}

// Appends a list of `in` to `out`, entry by entry.
template <class Entry, class List>
Status TakeList(const List& in, std::vector<Entry>& out) {
  out.reserve(static_cast<size_t>(in.size()));
  for (const auto& entry : in) {
    out.emplace_back();
    CAIRN_RETURN_IF_ERROR(Take(entry, out.back()));
  }
  return Status::Ok();
}

}  // namespace

void ToWire(const ConsumerMessage& message, v1::FromConsumer& out) {
  out.Clear();
  if (message.hello.has_value()) Put(*message.hello, *out.mutable_hello());
  for (const OpenStream& open : message.open) Put(open, *out.add_open());
  for (const Vbid vbucket : message.close) out.add_close(vbucket.get());
  for (const Progress& progress : message.progress) Put(progress, *out.add_progress());
  for (const FenceNotice& fence : message.fence) {
    v1::Fence* const added = out.add_fence();
    added->set_vbucket(fence.vbucket.get());
    added->set_epoch(fence.epoch);
  }
  out.set_credit_bytes(message.credit_bytes);
  out.set_noop_answer(message.noop_answer);
  out.set_goodbye(message.goodbye);
}

void ToWire(ProducerMessage&& message, v1::FromProducer& out) {
  out.Clear();
  if (message.welcome.has_value()) Put(*message.welcome, *out.mutable_welcome());
  for (const StreamAnswer& answer : message.answers) Put(answer, *out.add_answers());
  out.set_chunk(std::move(message.chunk));
  out.set_noop(message.noop);
  out.set_prompt(message.prompt);
  out.set_prompt_disk(message.prompt_disk);
  if (message.goodbye.has_value()) {
    out.mutable_goodbye()->set_reason(static_cast<v1::EndReason>(*message.goodbye));
    out.mutable_goodbye()->set_text(std::move(message.goodbye_text));
  }
}

Result<ConsumerMessage> FromWire(const v1::FromConsumer& in) {
  ConsumerMessage message;
  if (in.has_hello()) CAIRN_RETURN_IF_ERROR(Take(in.hello(), message.hello.emplace()));
  CAIRN_RETURN_IF_ERROR(TakeList(in.open(), message.open));
  message.close.reserve(static_cast<size_t>(in.close_size()));
  for (const uint32_t vbucket : in.close()) {
    CAIRN_RETURN_IF_ERROR(TakeVbucket(vbucket, message.close.emplace_back()));
  }
  CAIRN_RETURN_IF_ERROR(TakeList(in.progress(), message.progress));
  CAIRN_RETURN_IF_ERROR(TakeList(in.fence(), message.fence));
  message.credit_bytes = in.credit_bytes();
  message.noop_answer = in.noop_answer();
  message.goodbye = in.goodbye();
  return message;
}

Result<ProducerMessage> FromWire(v1::FromProducer& in) {
  ProducerMessage message;
  if (in.has_welcome()) CAIRN_RETURN_IF_ERROR(Take(in.welcome(), message.welcome.emplace()));
  CAIRN_RETURN_IF_ERROR(TakeList(in.answers(), message.answers));
  if (!in.chunk().empty()) message.chunk = std::move(*in.mutable_chunk());
  message.noop = in.noop();
  message.prompt = in.prompt();
  message.prompt_disk = in.prompt_disk();
  if (in.has_goodbye()) {
    message.goodbye = TakeReason(in.goodbye().reason());
    message.goodbye_text = in.goodbye().text();
  }
  return message;
}

}  // namespace cairn::tap
