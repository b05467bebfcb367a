#include "server/stats_report.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <set>
#include <string>

namespace cairn::server {
namespace {

using engine::StatSink;

// Gives numbers and text to a sink, and remembers the names: what the server counts itself wins over a
// statistic of the engine with the same name.
class Emitter {
 public:
  explicit Emitter(const StatSink& sink) : sink_(sink) {}

  void Text(std::string_view name, std::string_view value) {
    if (names_.emplace(name).second) sink_(name, value);
  }
  template <class Integer>
  void Number(std::string_view name, Integer value) {
    Text(name, fmt::format_int(value).c_str());
  }
  void Seconds(std::string_view name, const timeval& time) {
    Text(name, fmt::format("{}.{:06}", time.tv_sec, time.tv_usec));
  }
  StatSink AsSink() {
    return [this](std::string_view name, std::string_view value) { Text(name, value); };
  }

 private:
  const StatSink& sink_;
  std::set<std::string, std::less<>> names_;
};

struct NamedCounter {
  std::string_view name;
  Counter counter;
};

// In the order in which memcached shows them.
constexpr NamedCounter kGeneral[] = {
    {"total_connections", Counter::kConnectionsTotal},
    {"rejected_connections", Counter::kConnectionsRejected},
    {"cmd_get", Counter::kCmdGet},
    {"cmd_set", Counter::kCmdSet},
    {"cmd_flush", Counter::kCmdFlush},
    {"cmd_touch", Counter::kCmdTouch},
    {"get_hits", Counter::kGetHits},
    {"get_misses", Counter::kGetMisses},
    {"delete_misses", Counter::kDeleteMisses},
    {"delete_hits", Counter::kDeleteHits},
    {"incr_misses", Counter::kIncrMisses},
    {"incr_hits", Counter::kIncrHits},
    {"decr_misses", Counter::kDecrMisses},
    {"decr_hits", Counter::kDecrHits},
    {"cas_misses", Counter::kCasMisses},
    {"cas_hits", Counter::kCasHits},
    {"cas_badval", Counter::kCasBadval},
    {"touch_hits", Counter::kTouchHits},
    {"touch_misses", Counter::kTouchMisses},
    {"store_too_large", Counter::kStoreTooLarge},
    {"store_no_memory", Counter::kStoreNoMemory},
    {"bytes_read", Counter::kBytesRead},
    {"bytes_written", Counter::kBytesWritten},
    {"idle_kicks", Counter::kIdleKicks},
    {"conn_yields", Counter::kYields},
    {"listen_disabled_num", Counter::kAcceptOutOfDescriptors},
    // Ours.
    {"cairn_accept_errors", Counter::kAcceptErrors},
    {"cairn_slow_client_kicks", Counter::kSlowKicks},
    {"cairn_protocol_errors", Counter::kProtocolErrors},
    {"cairn_parked_operations", Counter::kParked},
    {"cairn_held_batches", Counter::kHeld},
    {"cairn_ambiguous_answers", Counter::kAmbiguous},
};

// Names that tools expect and that are always 0 here, unless the engine has said otherwise before.
constexpr std::string_view kZeroes[] = {"curr_items",
                                        "total_items",
                                        "bytes",
                                        "evictions",
                                        "reclaimed",
                                        "get_expired",
                                        "get_flushed",
                                        "expired_unfetched",
                                        "evicted_unfetched",
                                        "auth_cmds",
                                        "auth_errors",
                                        "log_watchers",
                                        "time_in_listen_disabled_us"};

std::string_view FirstWord(std::string_view text) { return text.substr(0, text.find(' ')); }

std::string_view AfterFirstWord(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return {};
  text.remove_prefix(space);
  while (text.starts_with(' ')) text.remove_prefix(1);
  return text;
}

std::string_view SyncName(engine::SyncPolicy sync) {
  switch (sync) {
    case engine::SyncPolicy::kAlways:
      return "always";
    case engine::SyncPolicy::kInterval:
      return "interval";
    case engine::SyncPolicy::kNone:
      break;
  }
  return "none";
}

std::string JoinAddresses(const std::vector<std::string>& addresses) {
  std::string joined;
  for (const std::string& address : addresses) joined += (joined.empty() ? "" : ",") + address;
  return joined.empty() ? "127.0.0.1,::1" : joined;
}

}  // namespace

StatsReport::StatsReport(engine::Engine& engine, ServerStats& stats, const ServerOptions& options,
                         Clock& clock, Groups groups)
    : engine_(engine),
      stats_(stats),
      options_(options),
      clock_(clock),
      groups_(std::move(groups)),
      started_ns_(clock.SteadyNs()) {}

StatsReport::Answer StatsReport::Write(std::string_view request, const StatSink& sink) const {
  const std::string_view group = FirstWord(request);
  const std::string_view argument = AfterFirstWord(request);
  if (group.empty()) {
    WriteGeneral(sink);
  } else if (group == "reset") {
    stats_.Reset();
    engine_.ResetStats();
    return Answer::kReset;
  } else if (group == "settings") {
    WriteSettings(sink);
  } else if (group == "items") {
    WriteItems(sink);
  } else if (group == "slabs") {
    WriteSlabs(sink);
  } else if (group == "timings") {
    WriteTimings(sink);
  } else if (group == "conns" || group == "sizes" || group == "cachedump") {
    // Valid for memcached; there is nothing to say here.
  } else if (group == "detail") {
    return argument == "dump" ? Answer::kList
                              : (argument == "on" || argument == "off" ? Answer::kOk : Answer::kUnknown);
  } else if (const auto other = groups_.find(group); other != groups_.end()) {
    if (!other->second(argument, sink).ok()) return Answer::kUnknown;
  } else if (!engine_.Stats(group, argument, sink).ok()) {
    return Answer::kUnknown;
  }
  return Answer::kList;
}

void StatsReport::WriteGeneral(const StatSink& sink) const {
  Emitter out(sink);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  out.Number("pid", getpid());
  out.Number("uptime", (clock_.SteadyNs() - started_ns_) / 1'000'000'000);
  out.Number("time", clock_.WallSeconds());
  out.Text("version", kProtocolVersion);
  out.Text("cairn_version", kCairnVersion);
  out.Number("pointer_size", 8 * sizeof(void*));
  out.Seconds("rusage_user", usage.ru_utime);
  out.Seconds("rusage_system", usage.ru_stime);
  out.Number("max_connections", options_.connections_max);
  out.Number("curr_connections", stats_.connections());
  out.Number("connection_structures", stats_.connections());
  for (const auto& [name, counter] : kGeneral) out.Number(name, stats_.Sum(counter));
  out.Number("accepting_conns", 1);
  out.Number("threads", options_.threads);
  out.Number("limit_maxbytes", engine_.options().memory_quota);
  // The general group always exists.
  static_cast<void>(engine_.Stats("", "", out.AsSink()));
  for (const std::string_view name : kZeroes) out.Number(name, 0);
}

void StatsReport::WriteSettings(const StatSink& sink) const {
  Emitter out(sink);
  const engine::EngineOptions& engine = engine_.options();
  out.Number("maxbytes", engine.memory_quota);
  out.Number("maxconns", options_.connections_max);
  out.Number("tcpport", options_.port);
  out.Number("udpport", 0);
  out.Text("inter", JoinAddresses(options_.listen));
  out.Number("verbosity", GetLogLevel() == LogLevel::kDebug ? 2 : GetLogLevel() == LogLevel::kInfo ? 1 : 0);
  out.Number("oldest", 0);
  out.Text("evictions", "off");
  out.Text("domain_socket", options_.unix_socket.empty() ? "NULL" : options_.unix_socket);
  out.Text("umask", fmt::format("{:o}", options_.unix_socket_mode));
  out.Number("num_threads", options_.threads);
  out.Text("cas_enabled", "yes");
  out.Number("tcp_backlog", options_.backlog);
  out.Text("binding_protocol", "auto-negotiate");
  out.Text("auth_enabled_sasl", "no");
  out.Text("auth_enabled_ascii", "no");
  out.Number("item_size_max", engine.max_item_size);
  out.Text("maxconns_fast", "yes");
  out.Text("flush_enabled", "yes");
  out.Text("dump_enabled", "yes");
  out.Text("shutdown_command", "no");
  out.Number("idle_timeout", options_.idle_timeout_s);
  out.Number("slow_client_timeout", options_.slow_client_timeout_s);
  out.Text("sync", SyncName(engine.sync));
  out.Number("sync_interval_ms", engine.sync_interval_ms);
  out.Number("sync_timeout_ms", options_.commit_timeout_ms);
  out.Text("durability", engine::DurabilityLevelName(engine_.durability()));
  const engine::DurabilitySettings durability = engine_.durability_settings();
  out.Number("copies", durability.copies);
  out.Number("durability_timeout_ms", durability.timeout_ms);
  out.Text("data_dir", engine.data_dir.empty() ? "NULL" : engine.data_dir);
  out.Number("vbuckets", engine.vbuckets);
  static_cast<void>(engine_.Stats("settings", "", out.AsSink()));
}

uint64_t StatsReport::EngineNumber(std::string_view name) const {
  uint64_t number = 0;
  const auto pick = [&](std::string_view found, std::string_view value) {
    if (found == name) std::from_chars(value.data(), value.data() + value.size(), number);
  };
  static_cast<void>(engine_.Stats("", "", pick));
  return number;
}

// There are no slabs; one class that holds everything is what keeps memcached's tools working.
void StatsReport::WriteItems(const StatSink& sink) const {
  Emitter out(sink);
  const uint64_t items = EngineNumber("curr_items");
  if (items == 0) return;
  out.Number("items:1:number", items);
  for (const char* name : {"items:1:age", "items:1:evicted", "items:1:evicted_nonzero",
                           "items:1:evicted_time", "items:1:outofmemory", "items:1:reclaimed"}) {
    out.Number(name, 0);
  }
}

void StatsReport::WriteSlabs(const StatSink& sink) const {
  Emitter out(sink);
  const uint64_t items = EngineNumber("curr_items");
  const uint64_t bytes = EngineNumber("bytes");
  if (items > 0) {
    out.Number("1:chunk_size", bytes / items);
    out.Number("1:chunks_per_page", items);
    out.Number("1:total_pages", 1);
    out.Number("1:total_chunks", items);
    out.Number("1:used_chunks", items);
    out.Number("1:free_chunks", 0);
    out.Number("1:free_chunks_end", 0);
  }
  out.Number("active_slabs", items > 0 ? 1 : 0);
  out.Number("total_malloced", bytes);
}

void StatsReport::WriteTimings(const StatSink& sink) const {
  Emitter out(sink);
  const OpTimings& timings = stats_.timings();
  uint64_t longest_ns = 0;
  for (size_t i = 0; i < static_cast<size_t>(OpClass::kCount); ++i) {
    const auto op = static_cast<OpClass>(i);
    const uint64_t max_ns = timings.MaxNs(op);
    if (op != OpClass::kOther) longest_ns = std::max(longest_ns, max_ns);
    const std::string name(OpClassName(op));
    const Histogram::Snapshot sampled = timings.Read(op);
    out.Number(name + "_op_max_us", max_ns / 1000);
    out.Number(name + "_sampled", sampled.count());
    out.Number(name + "_mean_ns", static_cast<uint64_t>(sampled.mean()));
    out.Number(name + "_p50_ns", sampled.Percentile(50));
    out.Number(name + "_p99_ns", sampled.Percentile(99));
    out.Number(name + "_p999_ns", sampled.Percentile(99.9));
  }
  out.Number("op_max_us", longest_ns / 1000);
  out.Number("ops_over_1ms", timings.slow_ops());
  out.Number("ops_over_10ms", timings.stalled_ops());
  const Histogram::Snapshot waits = timings.ReadWaits();
  out.Number("parked_count", waits.count());
  out.Number("parked_p50_us", waits.Percentile(50) / 1000);
  out.Number("parked_p99_us", waits.Percentile(99) / 1000);
  out.Number("parked_max_us", waits.max() / 1000);
  static_cast<void>(engine_.Stats("timings", "", out.AsSink()));
}

}  // namespace cairn::server
