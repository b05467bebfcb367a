#include "server/admin_wire.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::server {
namespace {

constexpr int64_t kNsPerUs = 1'000;
constexpr int64_t kNsPerMs = 1'000'000;

uint64_t Us(int64_t ns) { return ns <= 0 ? 0 : static_cast<uint64_t>(ns / kNsPerUs); }
uint64_t Ms(int64_t ns) { return ns <= 0 ? 0 : static_cast<uint64_t>(ns / kNsPerMs); }

void StreamToWire(const tap::StreamInfo& info, admin::v1::Stream* wire) {
  wire->set_vbucket(info.vbucket.get());
  wire->set_state(std::string(tap::StreamStateName(info.state)));
  wire->set_high(info.high.get());
  wire->set_sent(info.sent.get());
  wire->set_applied(info.applied.get());
  wire->set_persisted(info.persisted.get());
  wire->set_lag_operations(info.lag_operations);
  wire->set_lag_us(Us(info.lag_ns));
  wire->set_backfill_sent(info.backfill_sent);
  wire->set_backfill_total(info.backfill_total);
  wire->set_verified(info.verified.get());
  wire->set_verified_checkpoint(info.verified_checkpoint.get());
  wire->set_digest_mismatch(info.digest_mismatch);
  wire->set_last_end(std::string(tap::EndReasonName(info.last_end)));
}

// What a connection says over all its streams.
struct Sums {
  uint32_t probing = 0, backfilling = 0, streaming = 0, waiting = 0, ended = 0;
  uint64_t lag_operations = 0, backfill_sent = 0, backfill_total = 0;
  int64_t lag_ns = 0;
  uint32_t verified = 0, mismatched = 0;

  void Add(const tap::StreamInfo& stream) {
    Count(stream);
    lag_operations += stream.lag_operations;
    lag_ns = std::max(lag_ns, stream.lag_ns);
    if (stream.digest_mismatch) {
      ++mismatched;
    } else if (stream.verified.get() != 0) {
      ++verified;
    }
  }

  void Count(const tap::StreamInfo& stream) {
    switch (stream.state) {
      case tap::StreamState::kProbe:
        ++probing;
        return;
      case tap::StreamState::kBackfill:
        ++backfilling;
        backfill_sent += stream.backfill_sent;
        backfill_total += stream.backfill_total;
        return;
      case tap::StreamState::kPaused:
        // One that has sent everything is only quiet.
        ++(stream.sent < stream.high ? waiting : streaming);
        return;
      case tap::StreamState::kStream:
        ++streaming;
        return;
      case tap::StreamState::kEnded:
        ++ended;
        return;
    }
  }
};

}  // namespace

void ToWire(const tap::ConnectionInfo& info, int64_t now_ns, bool streams, admin::v1::Connection* wire) {
  wire->set_name(info.name);
  wire->set_address(info.address);
  wire->set_producing(info.producing);
  wire->set_connected(info.connected);
  wire->set_credits(info.credits);
  wire->set_bytes(info.bytes);
  wire->set_messages(info.messages);
  wire->set_operations(info.operations);
  wire->set_backfilled_operations(info.backfilled_operations);
  wire->set_reconnects(info.reconnects);
  if (info.connected) wire->set_connected_ms(Ms(now_ns - info.connected_ns));
  wire->set_last_error(info.last_error);
  Sums sums;
  for (const tap::StreamInfo& stream : info.streams) {
    sums.Add(stream);
    if (streams) StreamToWire(stream, wire->add_streams());
  }
  wire->set_stream_count(static_cast<uint32_t>(info.streams.size()));
  wire->set_probing(sums.probing);
  wire->set_backfilling(sums.backfilling);
  wire->set_streaming(sums.streaming);
  wire->set_waiting(sums.waiting);
  wire->set_ended(sums.ended);
  wire->set_lag_operations(sums.lag_operations);
  wire->set_lag_us(Us(sums.lag_ns));
  wire->set_backfill_sent(sums.backfill_sent);
  wire->set_backfill_total(sums.backfill_total);
  wire->set_verified(sums.verified);
  wire->set_mismatched(sums.mismatched);
}

void ToWire(Vbid vbucket, const engine::VbucketPosition& position, admin::v1::Vbucket* wire) {
  wire->set_vbucket(vbucket.get());
  wire->set_state(std::string(engine::VbucketStateName(position.state)));
  wire->set_epoch(position.epoch);
  if (!position.failover_log.empty()) wire->set_history_uuid(position.failover_log.front().uuid);
  wire->set_high(position.high.get());
  wire->set_persisted(position.persisted.get());
  wire->set_merged(position.merged.get());
  wire->set_purged(position.purged.get());
  wire->set_open_checkpoint(position.open_checkpoint.get());
  wire->set_verified(position.verified.get());
  wire->set_verified_checkpoint(position.verified_checkpoint.get());
  wire->set_digest(position.digest);
  wire->set_items(position.items);
  wire->set_regain(position.regain.get());
  // In the middle of a disk snapshot nothing that is there can be compared.
  wire->set_warm(position.warm && !position.in_snapshot);
  if (!position.window.is_none()) wire->set_window_update_id(std::string(position.window.view()));
  for (const proto::FailoverEntry& entry : position.failover_log) {
    admin::v1::FailoverEntry* added = wire->add_failover_log();
    added->set_uuid(entry.uuid);
    added->set_seqno(entry.seqno.get());
  }
}

void ToWire(const engine::UpdateStatus& status, admin::v1::UpdateState* wire) {
  wire->set_phase(std::string(engine::UpdatePhaseName(status.phase)));
  if (!status.id.is_none()) wire->set_id(std::string(status.id.view()));
  wire->set_name(status.name);
  wire->set_started_unix_ms(status.started_ns / kNsPerMs);
  wire->set_age_ms(Ms(status.age_ns));
  wire->set_added(status.added);
  wire->set_updated(status.updated);
  wire->set_deleted(status.deleted);
  wire->set_window_bytes(status.window_bytes);
  wire->set_digest_at_start(status.digest_at_start);
  wire->set_digest_now(status.digest_now);
}

Result<engine::UpdateRequest> FromWire(const admin::v1::UpdateRequest& wire) {
  engine::UpdateRequest request;
  request.name = wire.name();
  if (wire.id().empty()) return request;
  const std::optional<proto::UpdateId> id = proto::UpdateId::FromBytes(wire.id());
  if (!id || id->is_none()) {
    return Status(Code::kInvalidArgument, "the id of an update has 16 bytes, not all zero");
  }
  request.id = *id;
  return request;
}

Result<NamedVbuckets> FromWire(const admin::v1::VbucketSet& wire, uint32_t vbucket_count) {
  NamedVbuckets named;
  named.all = wire.all();
  if (named.all) return named;
  if (wire.vbuckets().empty()) return Status(Code::kInvalidArgument, "no vbucket is named");
  std::vector<bool> chosen(vbucket_count);
  for (const uint32_t vbucket : wire.vbuckets()) {
    if (vbucket >= vbucket_count) {
      return Status(Code::kInvalidArgument,
                    fmt::format("there is no vbucket {}: this node has 0 to {}", vbucket, vbucket_count - 1));
    }
    chosen[vbucket] = true;
  }
  for (uint32_t i = 0; i < vbucket_count; ++i) {
    if (chosen[i]) named.vbuckets.emplace_back(static_cast<uint16_t>(i));
  }
  return named;
}

}  // namespace cairn::server
