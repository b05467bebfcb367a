#include "cli/replication_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "cli/format.h"
#include "cli/json.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

constexpr size_t kBarCells = 24;
// JSON readers that keep numbers as doubles lose digits above.
constexpr uint64_t kJsonNumberMax = uint64_t{1} << 53;

std::string PeerName(const ConnectionRow& connection) {
  return connection.name.empty() ? connection.address : connection.name;
}

std::string Bar(double fraction) {
  const double within = std::clamp(fraction, 0.0, 1.0);
  const auto filled = static_cast<size_t>(std::floor(within * kBarCells));
  return fmt::format("[{}{}] {:3.0f} %", std::string(filled, '#'), std::string(kBarCells - filled, '.'),
                     std::floor(within * 100));
}

// The total is an estimate: what was sent may exceed it, and then the end is near.
double BackfillFraction(uint64_t sent, uint64_t total) {
  const uint64_t whole = std::max(sent, total);
  return whole == 0 ? 0 : static_cast<double>(sent) / static_cast<double>(whole);
}

bool Copying(const ConnectionRow& c) { return c.backfilling + c.probing + c.waiting != 0; }

// Few vbuckets are copied at a time, and how large the others are is not known yet: each counts the same.
double CopiedFraction(const ConnectionRow& c) {
  const double whole = static_cast<double>(c.streaming + c.backfilling + c.probing + c.waiting);
  const double under_way =
      static_cast<double>(c.backfilling) * BackfillFraction(c.backfill_sent, c.backfill_total);
  return whole == 0 ? 0 : (static_cast<double>(c.streaming) + under_way) / whole;
}

// Times of lag are mostly below a millisecond.
std::string LagTime(uint64_t us) {
  if (us < 1000) return fmt::format("{} us", us);
  if (us < 10'000) return fmt::format("{:.1f} ms", static_cast<double>(us) / 1e3);
  return FormatDuration(static_cast<double>(us) / 1e6);
}

std::string States(const ConnectionRow& c) {
  std::string text;
  const std::pair<uint64_t, const char*> counts[] = {{c.streaming, "stream"},
                                                     {c.backfilling, "backfill"},
                                                     {c.probing, "probe"},
                                                     {c.waiting, "waiting"},
                                                     {c.ended, "ended"}};
  for (const auto& [count, name] : counts) {
    if (count == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", FormatCount(count), name);
  }
  return text;
}

std::string Verified(const ConnectionRow& c) {
  std::string text = fmt::format("{} of {} vbuckets", FormatCount(c.verified), FormatCount(c.streams_total));
  if (c.mismatched != 0) text += fmt::format(", {} DIFFERENT DIGESTS", FormatCount(c.mismatched));
  return text;
}

std::string Lag(const ConnectionRow& c) {
  if (c.lag_operations == 0) return "none";
  return fmt::format("{} operations, about {}, {}", FormatCount(c.lag_operations), FormatBytes(LagBytes(c)),
                     LagTime(c.lag_us));
}

std::string Connected(const ConnectionRow& c) {
  std::string text = c.connected
                         ? "connected for " + FormatDuration(static_cast<double>(c.connected_ms) / 1e3)
                         : "NOT CONNECTED";
  if (c.reconnects != 0) text += fmt::format(", {} reconnects", FormatCount(c.reconnects));
  return text;
}

std::string Speed(const ConnectionRates& rates) {
  if (!(rates.seconds > 0)) return {};
  return fmt::format(", {} operations/s, {}/s", FormatRate(rates.operations, rates.seconds),
                     FormatBytes(static_cast<uint64_t>(static_cast<double>(rates.bytes) / rates.seconds)));
}

std::string RenderBlock(const ReplicationView* before, const ReplicationView& now, const ConnectionRow& c) {
  const std::string address = c.name.empty() || c.address.empty() ? "" : " (" + c.address + ")";
  std::string out = fmt::format("{} {}{}: {}\n", c.producing ? "to" : "from", EscapeForTerminal(PeerName(c)),
                                EscapeForTerminal(address), Connected(c));
  const auto line = [&out](const char* name, const std::string& text) {
    out += fmt::format("  {:<9} {}\n", name, text);
  };
  line("streams", States(c).empty() ? "none" : States(c));
  line("lag", Lag(c));
  line(c.producing ? "sent" : "received",
       fmt::format("{}, {} operations{}", FormatBytes(c.bytes), FormatCount(c.operations),
                   Speed(RatesBetween(before, now, c))));
  if (Copying(c)) {
    line("backfill", fmt::format("{}  {} of {} vbuckets copied, {} operations", Bar(CopiedFraction(c)),
                                 FormatCount(c.streaming),
                                 FormatCount(c.streaming + c.backfilling + c.probing + c.waiting),
                                 FormatCount(c.backfilled_operations)));
  }
  line("verified", Verified(c));
  if (!c.last_error.empty()) line("last error", EscapeForTerminal(c.last_error));
  return out;
}

std::string RenderOne(const ReplicationView* before, const ReplicationView& now, const ConnectionRow& c) {
  std::string text = fmt::format("{} {}: ", c.producing ? "to" : "from", EscapeForTerminal(PeerName(c)));
  if (!c.connected) {
    text += "NOT CONNECTED";
    return c.last_error.empty() ? text : text + ", " + EscapeForTerminal(c.last_error);
  }
  text += States(c).empty() ? "no streams" : States(c);
  if (Copying(c)) text += fmt::format(", backfill {:.0f} %", std::floor(100 * CopiedFraction(c)));
  text += ", lag " + Lag(c) + Speed(RatesBetween(before, now, c));
  return text + ", verified " + Verified(c);
}

void Number(JsonWriter& json, std::string_view name, uint64_t value) {
  json.Name(name);
  if (value <= kJsonNumberMax) {
    json.Number(value);
  } else {
    json.String(std::to_string(value));
  }
}

void StreamFields(JsonWriter& json, const StreamRow& row) {
  json.Name("vbucket").Number(row.vbucket).Name("state").String(row.state);
  const std::pair<std::string_view, uint64_t> numbers[] = {{"high", row.high},
                                                           {"sent", row.sent},
                                                           {"applied", row.applied},
                                                           {"persisted", row.persisted},
                                                           {"lag_operations", row.lag_operations},
                                                           {"lag_us", row.lag_us},
                                                           {"backfill_sent", row.backfill_sent},
                                                           {"backfill_total", row.backfill_total},
                                                           {"verified", row.verified},
                                                           {"verified_checkpoint", row.verified_checkpoint}};
  for (const auto& [name, value] : numbers) Number(json, name, value);
  json.Name("digest_mismatch").Bool(row.digest_mismatch).Name("last_end").String(row.last_end);
}

void ConnectionFields(JsonWriter& json, const ConnectionRow& c) {
  json.Name("name").String(c.name).Name("address").String(c.address);
  json.Name("direction").String(c.producing ? "to" : "from").Name("connected").Bool(c.connected);
  const std::pair<std::string_view, uint64_t> numbers[] = {{"connected_ms", c.connected_ms},
                                                           {"reconnects", c.reconnects},
                                                           {"credits", c.credits},
                                                           {"bytes", c.bytes},
                                                           {"messages", c.messages},
                                                           {"operations", c.operations},
                                                           {"backfilled_operations", c.backfilled_operations},
                                                           {"streams_total", c.streams_total},
                                                           {"probing", c.probing},
                                                           {"backfilling", c.backfilling},
                                                           {"streaming", c.streaming},
                                                           {"waiting", c.waiting},
                                                           {"ended", c.ended},
                                                           {"lag_operations", c.lag_operations},
                                                           {"lag_bytes_estimate", LagBytes(c)},
                                                           {"lag_us", c.lag_us},
                                                           {"backfill_sent", c.backfill_sent},
                                                           {"backfill_total", c.backfill_total},
                                                           {"verified", c.verified},
                                                           {"mismatched", c.mismatched}};
  for (const auto& [name, value] : numbers) Number(json, name, value);
  json.Name("last_error").String(c.last_error);
}

}  // namespace

uint64_t LagBytes(const ConnectionRow& connection) {
  if (connection.operations == 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(connection.bytes) /
                               static_cast<double>(connection.operations) *
                               static_cast<double>(connection.lag_operations));
}

ConnectionRates RatesBetween(const ReplicationView* before, const ReplicationView& now,
                             const ConnectionRow& connection) {
  if (before == nullptr || now.unix_ms <= before->unix_ms) return {};
  for (const ConnectionRow& old : before->connections) {
    const bool same = old.producing == connection.producing && old.name == connection.name &&
                      old.address == connection.address;
    // A connection that was made anew counts from 0.
    if (!same || old.bytes > connection.bytes || old.operations > connection.operations) continue;
    return {static_cast<double>(now.unix_ms - before->unix_ms) / 1e3, connection.bytes - old.bytes,
            connection.operations - old.operations};
  }
  return {};
}

std::string RenderWatchScreen(const std::string& address, const ReplicationView* before,
                              const ReplicationView& now) {
  std::string out = fmt::format("{}  {}\n", address, FormatTime(static_cast<uint64_t>(now.unix_ms) / 1000));
  if (now.connections.empty()) out += "\nno connections: it follows nobody, and nobody follows it\n";
  for (const ConnectionRow& connection : now.connections) {
    out += "\n" + RenderBlock(before, now, connection);
  }
  return out;
}

std::string RenderWatchLine(const ReplicationView* before, const ReplicationView& now) {
  std::string line = FormatTime(static_cast<uint64_t>(now.unix_ms) / 1000);
  if (now.connections.empty()) return line + "  no connections";
  const char* separator = "  ";
  for (const ConnectionRow& connection : now.connections) {
    line += separator + RenderOne(before, now, connection);
    separator = "; ";
  }
  return line;
}

std::string RenderConnections(const ReplicationView& view) {
  if (view.connections.empty()) return "no connections: this node follows nobody, and nobody follows it\n";
  Table table({{"direction"},
               {"node"},
               {"address"},
               {"connected"},
               {"streams"},
               {"lag", true},
               {"behind", true},
               {"bytes", true},
               {"operations", true},
               {"verified", true},
               {"different", true},
               {"reconnects", true}});
  std::string errors;
  for (const ConnectionRow& c : view.connections) {
    const double seconds = static_cast<double>(c.connected_ms) / 1e3;
    table.AddRow({c.producing ? "to" : "from", c.name, c.address,
                  c.connected ? FormatDuration(seconds) : "NO", States(c), FormatCount(c.lag_operations),
                  LagTime(c.lag_us), FormatBytes(c.bytes), FormatCount(c.operations), FormatCount(c.verified),
                  FormatCount(c.mismatched), FormatCount(c.reconnects)});
    if (c.last_error.empty()) continue;
    errors += fmt::format("{}: {}\n", EscapeForTerminal(PeerName(c)), EscapeForTerminal(c.last_error));
  }
  return table.Render() + (errors.empty() ? "" : "\nLast errors\n" + errors);
}

std::string ReplicationJson(const ReplicationView& view) {
  JsonWriter json;
  json.BeginObject().Name("time_ms").Number(static_cast<uint64_t>(view.unix_ms));
  json.Name("connections").BeginArray();
  for (const ConnectionRow& connection : view.connections) {
    json.BeginObject();
    ConnectionFields(json, connection);
    if (!connection.streams.empty()) {
      json.Name("streams").BeginArray();
      for (const StreamRow& row : connection.streams) {
        json.BeginObject();
        StreamFields(json, row);
        json.EndObject();
      }
      json.EndArray();
    }
    json.EndObject();
  }
  return json.EndArray().EndObject().text();
}

std::vector<PeerStream> SelectStreams(const ReplicationView& view, const StreamQuery& query) {
  std::vector<PeerStream> streams;
  for (const ConnectionRow& c : view.connections) {
    if (!query.peer.empty() && query.peer != c.name && query.peer != c.address) continue;
    for (const StreamRow& row : c.streams) {
      if (!query.state.empty() && query.state != row.state) continue;
      if (!query.vbuckets.empty() &&
          !std::binary_search(query.vbuckets.begin(), query.vbuckets.end(), row.vbucket)) {
        continue;
      }
      streams.push_back({PeerName(c), c.producing, row});
    }
  }
  const auto left = [](const StreamRow& row) {
    return row.backfill_total - std::min(row.backfill_sent, row.backfill_total);
  };
  std::stable_sort(streams.begin(), streams.end(), [&](const PeerStream& a, const PeerStream& b) {
    const StreamRow& x = a.stream;
    const StreamRow& y = b.stream;
    if (query.sort == "lag") {
      return std::pair(x.lag_operations, x.lag_us) > std::pair(y.lag_operations, y.lag_us);
    }
    return query.sort == "backfill" ? left(x) > left(y) : x.vbucket < y.vbucket;
  });
  if (query.show_max != 0 && streams.size() > query.show_max) {
    streams.erase(streams.begin() + static_cast<ptrdiff_t>(query.show_max), streams.end());
  }
  return streams;
}

std::string RenderStreams(const std::vector<PeerStream>& streams) {
  if (streams.empty()) return "no streams\n";
  Table table({{"direction"},
               {"node"},
               {"vbucket", true},
               {"state"},
               {"lag", true},
               {"behind", true},
               {"high", true},
               {"sent", true},
               {"applied", true},
               {"persisted", true},
               {"backfill", true},
               {"verified", true},
               {"digest"},
               {"last end"}});
  for (const PeerStream& peer : streams) {
    const StreamRow& s = peer.stream;
    const std::string backfill =
        s.backfill_total == 0 && s.backfill_sent == 0
            ? "-"
            : fmt::format("{:.0f} %", std::floor(100 * BackfillFraction(s.backfill_sent, s.backfill_total)));
    const char* digest = s.digest_mismatch ? "DIFFERENT" : (s.verified == 0 ? "-" : "equal");
    table.AddRow({peer.producing ? "to" : "from", peer.peer, std::to_string(s.vbucket), s.state,
                  FormatCount(s.lag_operations), LagTime(s.lag_us), std::to_string(s.high),
                  std::to_string(s.sent), std::to_string(s.applied), std::to_string(s.persisted), backfill,
                  s.verified == 0 ? "-" : std::to_string(s.verified), digest,
                  s.last_end == "ok" ? "-" : s.last_end});
  }
  return table.Render();
}

std::string StreamsJson(const std::vector<PeerStream>& streams) {
  JsonWriter json;
  json.BeginArray();
  for (const PeerStream& peer : streams) {
    json.BeginObject().Name("node").String(peer.peer);
    json.Name("direction").String(peer.producing ? "to" : "from");
    StreamFields(json, peer.stream);
    json.EndObject();
  }
  return json.EndArray().text();
}

std::string FitToTerminal(std::string_view text, size_t columns, size_t rows) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    size_t kept = 0;
    for (size_t width = 0; kept < line.size() && width < columns; ++width) {
      kept += std::max<size_t>(1, Utf8Length(line.substr(kept)));
    }
    lines.emplace_back(line.substr(0, kept));
    begin = end + 1;
  }
  if (rows >= 1 && lines.size() > rows) {
    const size_t left_out = lines.size() - (rows - 1);
    lines.resize(rows - 1);
    lines.push_back(fmt::format("… {} more lines", left_out).substr(0, columns + 2));
  }
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

}  // namespace cairn::cli
