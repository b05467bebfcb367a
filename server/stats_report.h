#pragma once
// StatsReport: the answers of `stats`, in both protocols. The server's own counters and the engine's groups
// come together here under the names that memcached's tools read.
//
// Owner: Server. Any thread; Write reads counters without stopping anybody.

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "engine/engine.h"
#include "server/config.h"
#include "server/server_stats.h"

namespace cairn::server {

class StatsReport {
 public:
  enum class Answer : uint8_t {
    kList,     // statistics were given to the sink; an end marker follows
    kReset,    // counters start again
    kOk,       // accepted, nothing to show
    kUnknown,  // no such group
  };

  /// A group of somebody else: "tap". INVALID_ARGUMENT: not with this argument.
  using Group = std::function<Status(std::string_view argument, const engine::StatSink& sink)>;
  using Groups = std::map<std::string, Group, std::less<>>;

  StatsReport(engine::Engine& engine, ServerStats& stats, const ServerOptions& options, Clock& clock,
              Groups groups = {});

  /// `request`: everything after the word "stats": "", "settings", "vbucket 12", "detail on".
  Answer Write(std::string_view request, const engine::StatSink& sink) const;

 private:
  void WriteGeneral(const engine::StatSink& sink) const;
  void WriteSettings(const engine::StatSink& sink) const;
  void WriteItems(const engine::StatSink& sink) const;
  void WriteSlabs(const engine::StatSink& sink) const;
  void WriteTimings(const engine::StatSink& sink) const;
  /// One number of the engine's general group, 0 when it has none of that name.
  uint64_t EngineNumber(std::string_view name) const;

  engine::Engine& engine_;
  ServerStats& stats_;
  const ServerOptions& options_;
  Clock& clock_;
  const Groups groups_;
  const int64_t started_ns_;  // steady
};

}  // namespace cairn::server
