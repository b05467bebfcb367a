#include "tap/stats.h"

#include <algorithm>
#include <charconv>
#include <concepts>
#include <optional>
#include <string>

namespace cairn::tap {
namespace {

// Which streams are shown one by one.
struct Detail {
  bool all = false;
  std::optional<uint32_t> vbucket;
  bool Shows(Vbid id) const { return all || (vbucket.has_value() && *vbucket == id.get()); }
};

Result<Detail> ParseDetail(std::string_view argument) {
  Detail detail;
  if (argument.empty()) return detail;
  if (argument == "streams") {
    detail.all = true;
    return detail;
  }
  uint32_t number = 0;
  const char* const end = argument.data() + argument.size();
  const auto parsed = std::from_chars(argument.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end || number >= kVbucketCountMax) {
    return Status(Code::kInvalidArgument, "stats tap: an argument is \"streams\" or a vbucket's number");
  }
  detail.vbucket = number;
  return detail;
}

class Writer {
 public:
  Writer(const engine::StatSink& sink, std::string prefix) : sink_(sink), prefix_(std::move(prefix)) {}
  void Text(std::string_view name, std::string_view value) const {
    sink_(prefix_ + std::string(name), value);
  }
  template <std::integral Number>
  void Put(std::string_view name, Number value) const {
    Text(name, std::to_string(value));
  }

 private:
  const engine::StatSink& sink_;
  const std::string prefix_;
};

struct Totals {
  uint64_t by_state[5] = {};
  uint64_t lag_operations = 0, backfill_sent = 0, backfill_total = 0, mismatched = 0, verified = 0;
  int64_t lag_ns = 0;
};

Totals AddUp(const std::vector<StreamInfo>& streams) {
  Totals totals;
  for (const StreamInfo& stream : streams) {
    ++totals.by_state[static_cast<size_t>(stream.state)];
    totals.lag_operations += stream.lag_operations;
    totals.lag_ns = std::max(totals.lag_ns, stream.lag_ns);
    totals.backfill_sent += stream.backfill_sent;
    totals.backfill_total += stream.backfill_total;
    totals.mismatched += stream.digest_mismatch ? 1 : 0;
    totals.verified += stream.verified_checkpoint.get() != 0 && !stream.digest_mismatch ? 1 : 0;
  }
  return totals;
}

void WriteStream(const StreamInfo& stream, const Writer& out) {
  out.Text("state", StreamStateName(stream.state));
  out.Put("high", stream.high.get());
  out.Put("sent", stream.sent.get());
  out.Put("applied", stream.applied.get());
  out.Put("persisted", stream.persisted.get());
  out.Put("lag_operations", stream.lag_operations);
  out.Put("lag_us", stream.lag_ns / 1000);
  out.Put("backfill_sent", stream.backfill_sent);
  out.Put("backfill_total", stream.backfill_total);
  out.Put("verified", stream.verified.get());
  out.Put("verified_checkpoint", stream.verified_checkpoint.get());
  out.Put("digest_mismatch", stream.digest_mismatch ? 1 : 0);
  out.Text("last_end", EndReasonName(stream.last_end));
}

void WriteConnection(const ConnectionInfo& connection, int64_t now_ns, const Writer& out) {
  const Totals totals = AddUp(connection.streams);
  out.Text("name", connection.name);
  out.Text("address", connection.address);
  out.Text("direction", connection.producing ? "producing" : "consuming");
  out.Put("connected", connection.connected ? 1 : 0);
  out.Put("connected_ms", connection.connected ? (now_ns - connection.connected_ns) / 1'000'000 : 0);
  out.Put("credits", connection.credits);
  out.Put("bytes", connection.bytes);
  out.Put("messages", connection.messages);
  out.Put("operations", connection.operations);
  out.Put("backfilled_operations", connection.backfilled_operations);
  out.Put("reconnects", connection.reconnects);
  out.Text("last_error", connection.last_error.empty() ? "none" : connection.last_error);
  out.Put("streams", connection.streams.size());
  for (const StreamState state : {StreamState::kProbe, StreamState::kBackfill, StreamState::kStream,
                                  StreamState::kPaused, StreamState::kEnded}) {
    out.Put("streams_" + std::string(StreamStateName(state)), totals.by_state[static_cast<size_t>(state)]);
  }
  out.Put("lag_operations", totals.lag_operations);
  out.Put("lag_us", totals.lag_ns / 1000);
  out.Put("backfill_sent", totals.backfill_sent);
  out.Put("backfill_total", totals.backfill_total);
  out.Put("streams_verified", totals.verified);
  out.Put("streams_mismatched", totals.mismatched);
}

}  // namespace

Status WriteTapStats(const std::vector<ConnectionInfo>& connections, std::string_view argument,
                     int64_t now_ns, const engine::StatSink& sink) {
  CAIRN_ASSIGN_OR_RETURN(const Detail detail, ParseDetail(argument));
  const Writer out(sink, "");
  const auto producing = static_cast<uint64_t>(
      std::count_if(connections.begin(), connections.end(), [](const auto& c) { return c.producing; }));
  out.Put("tap_consumers", producing);
  out.Put("tap_sources", connections.size() - producing);
  for (size_t i = 0; i < connections.size(); ++i) {
    const std::string prefix = std::to_string(i) + ":";
    WriteConnection(connections[i], now_ns, Writer(sink, prefix));
    for (const StreamInfo& stream : connections[i].streams) {
      if (!detail.Shows(stream.vbucket)) continue;
      WriteStream(stream, Writer(sink, prefix + "vb_" + std::to_string(stream.vbucket.get()) + ":"));
    }
  }
  return Status::Ok();
}

}  // namespace cairn::tap
