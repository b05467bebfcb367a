#include "bench/loadgen/report.h"

#include <cstdarg>
#include <cstdio>

namespace cairn::loadgen {
namespace {

__attribute__((format(printf, 2, 3))) void Append(std::string* out, const char* format, ...) {
  char buffer[512];
  va_list args;
  va_start(args, format);
  const int n = std::vsnprintf(buffer, sizeof(buffer), format, args);
  va_end(args);
  out->append(buffer, std::min(static_cast<size_t>(std::max(n, 0)), sizeof(buffer) - 1));
}

double Micros(uint64_t ns) { return static_cast<double>(ns) / 1e3; }

struct ServerCost {
  double user_us_per_op;
  double system_us_per_op;
  double busy;  // CPU seconds per second
};

ServerCost CostOf(const Outcome& outcome) {
  const double keys = static_cast<double>(std::max<uint64_t>(outcome.counters.keys(), 1));
  const double user = outcome.server_after->user_seconds - outcome.server_before->user_seconds;
  const double system = outcome.server_after->system_seconds - outcome.server_before->system_seconds;
  return {user * 1e6 / keys, system * 1e6 / keys,
          outcome.seconds > 0 ? (user + system) / outcome.seconds : 0.0};
}

double Rate(const Outcome& outcome) {
  return outcome.seconds > 0 ? static_cast<double>(outcome.counters.keys()) / outcome.seconds : 0.0;
}

double ClientBusy(const Outcome& outcome) {
  return outcome.seconds > 0 ? outcome.client_cpu_seconds / outcome.seconds : 0.0;
}

constexpr double kMiB = 1024.0 * 1024.0;

}  // namespace

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      Append(&out, "\\u%04x", byte);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string TextReport(const Options& options, const Outcome& outcome) {
  const Counters& c = outcome.counters;
  std::string out;
  Append(&out, "%s, %zu connections, depth %zu, multiget %zu\n", ProtocolName(options.protocol),
         options.connections, options.depth, options.multiget);
  Append(&out, "%llu keys in %.3f s = %.0f per second%s\n", static_cast<unsigned long long>(c.keys()),
         outcome.seconds, Rate(outcome), outcome.complete ? "" : " (not complete)");
  Append(&out, "hits %llu, misses %llu, stored %llu, errors %llu, wrong values %llu, lost connections %zu\n",
         static_cast<unsigned long long>(c.hits), static_cast<unsigned long long>(c.misses),
         static_cast<unsigned long long>(c.stored), static_cast<unsigned long long>(c.errors),
         static_cast<unsigned long long>(c.verify_failures), outcome.lost_connections);
  const Histogram& h = outcome.latency;
  Append(&out, "latency us: p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n", Micros(h.Percentile(50)),
         Micros(h.Percentile(90)), Micros(h.Percentile(99)), Micros(h.Percentile(99.9)), Micros(h.max()));
  Append(&out, "client busy %.0f %%\n", ClientBusy(outcome) * 100);
  if (outcome.server_before && outcome.server_after) {
    const ServerCost cost = CostOf(outcome);
    Append(&out, "server CPU %.3f us per key (user %.3f, system %.3f), busy %.0f %%\n",
           cost.user_us_per_op + cost.system_us_per_op, cost.user_us_per_op, cost.system_us_per_op,
           cost.busy * 100);
    Append(&out, "server RSS %.1f -> %.1f MiB, peak %.1f MiB\n",
           static_cast<double>(outcome.server_before->rss_bytes) / kMiB,
           static_cast<double>(outcome.server_after->rss_bytes) / kMiB,
           static_cast<double>(outcome.server_after->rss_peak_bytes) / kMiB);
  }
  if (outcome.unsent > 0) {
    Append(&out, "%llu keys were due and could not be sent for lack of answers\n",
           static_cast<unsigned long long>(outcome.unsent));
  }
  if (options.count_distinct) {
    Append(&out, "%llu different keys were set\n", static_cast<unsigned long long>(outcome.distinct_sets));
  }
  if (!c.first_error.empty()) out += "first error: " + JsonString(c.first_error) + "\n";
  return out;
}

std::string JsonReport(const Options& options, const Outcome& outcome) {
  const Counters& c = outcome.counters;
  const Histogram& h = outcome.latency;
  std::string out;
  Append(&out, "{\"protocol\":\"%s\",\"connections\":%zu,\"depth\":%zu,\"multiget\":%zu,\"set_ratio\":%g,",
         ProtocolName(options.protocol), options.connections, options.depth, options.multiget,
         options.set_ratio);
  Append(&out, "\"key_size\":%zu,\"value_size\":%zu,\"key_space\":%llu,\"rate\":%g,", options.key_size,
         options.value_size, static_cast<unsigned long long>(options.keys), options.rate);
  Append(&out, "\"keys\":%llu,\"seconds\":%.6f,\"keys_per_s\":%.1f,\"complete\":%s,\"interrupted\":%s,",
         static_cast<unsigned long long>(c.keys()), outcome.seconds, Rate(outcome),
         outcome.complete ? "true" : "false", outcome.interrupted ? "true" : "false");
  Append(&out, "\"hits\":%llu,\"misses\":%llu,\"stored\":%llu,\"errors\":%llu,\"verify_failures\":%llu,",
         static_cast<unsigned long long>(c.hits), static_cast<unsigned long long>(c.misses),
         static_cast<unsigned long long>(c.stored), static_cast<unsigned long long>(c.errors),
         static_cast<unsigned long long>(c.verify_failures));
  Append(&out, "\"lost_connections\":%zu,\"latency_us\":{\"mean\":%.2f,\"p50\":%.2f,\"p90\":%.2f,",
         outcome.lost_connections, h.Mean() / 1e3, Micros(h.Percentile(50)), Micros(h.Percentile(90)));
  Append(&out, "\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f},\"client_busy\":%.3f", Micros(h.Percentile(99)),
         Micros(h.Percentile(99.9)), Micros(h.max()), ClientBusy(outcome));
  if (outcome.server_before && outcome.server_after) {
    const ServerCost cost = CostOf(outcome);
    Append(&out, ",\"server\":{\"cpu_us_per_key\":%.4f,\"user_us_per_key\":%.4f,\"system_us_per_key\":%.4f,",
           cost.user_us_per_op + cost.system_us_per_op, cost.user_us_per_op, cost.system_us_per_op);
    Append(&out, "\"busy\":%.3f,\"rss_before\":%llu,\"rss_after\":%llu,\"rss_peak\":%llu}", cost.busy,
           static_cast<unsigned long long>(outcome.server_before->rss_bytes),
           static_cast<unsigned long long>(outcome.server_after->rss_bytes),
           static_cast<unsigned long long>(outcome.server_after->rss_peak_bytes));
  }
  Append(&out, ",\"unsent\":%llu", static_cast<unsigned long long>(outcome.unsent));
  if (options.count_distinct) {
    Append(&out, ",\"distinct_sets\":%llu", static_cast<unsigned long long>(outcome.distinct_sets));
  }
  out += ",\"first_error\":" + JsonString(c.first_error) + "}\n";
  return out;
}

int ExitCode(const Options& options, const Outcome& outcome) {
  const Counters& c = outcome.counters;
  if (outcome.lost_connections >= options.connections) return 1;
  const bool missed = options.misses_are_errors && c.misses > 0;
  if (c.errors > 0 || c.verify_failures > 0 || outcome.lost_connections > 0 || missed) return 4;
  if (!outcome.complete && !outcome.interrupted) return 3;
  return 0;
}

}  // namespace cairn::loadgen
