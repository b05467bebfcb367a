// status, stats, vbuckets, checkpoints: what a server says about itself.

#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/stat_view.h"

namespace cairn::cli {
namespace {

ExitCode Shown(bool printed) { return printed ? ExitCode::kOk : ExitCode::kPartial; }

// A group that the server does not have is empty; a lost connection is an error.
Result<StatList> OptionalStats(Client& client, std::string_view group) {
  Result<StatList> stats = client.Stats(group);
  if (!stats.ok() && ExitCodeOf(stats.status()) != ExitCode::kNoConnection) return StatList();
  return stats;
}

Result<Overview> ReadOverview(const Options& options, Client& client) {
  Overview overview;
  overview.server = options.client.address.ToString();
  CAIRN_ASSIGN_OR_RETURN(overview.general, client.Stats(""));
  CAIRN_ASSIGN_OR_RETURN(overview.warmup, OptionalStats(client, "warmup"));
  CAIRN_ASSIGN_OR_RETURN(const StatList update, OptionalStats(client, "online_update"));
  overview.update = ParseUpdateStats(update);
  return overview;
}

ExitCode ShowStatus(const Options& options, Client& client) {
  Result<Overview> overview = ReadOverview(options, client);
  if (!overview.ok()) return Fail(overview.status());
  return Shown(Print(options.json ? OverviewJson(*overview) : RenderOverview(*overview)));
}

ExitCode ShowStats(const Options& options, Client& client) {
  Result<StatList> stats = client.Stats(options.group);
  if (!stats.ok()) {
    // NOT_FOUND is about the group here, not about a key.
    PrintError(fmt::format("stats {}: {}", options.group, stats.status().message()));
    const ExitCode code = ExitCodeOf(stats.status());
    return code == ExitCode::kDifference ? ExitCode::kRefused : code;
  }
  return Shown(Print(options.json ? StatsJson(*stats) : RenderStats(*stats)));
}

ExitCode ShowVbuckets(const Options& options, Client& client) {
  const bool checkpoints = options.command == Command::kCheckpoints;
  std::string group = checkpoints ? "checkpoint" : "vbucket";
  if (options.vbucket) group += fmt::format(" {}", *options.vbucket);
  Result<StatList> stats = client.Stats(group);
  if (!stats.ok()) {
    PrintError(fmt::format("stats {}: {}", group, stats.status().message()));
    const ExitCode code = ExitCodeOf(stats.status());
    return code == ExitCode::kDifference ? ExitCode::kRefused : code;
  }
  VbucketTable table = PivotVbucketStats(*stats);
  if (!options.state.empty()) table.KeepState(options.state);
  return Shown(Print(options.json ? table.Json() : table.Render()));
}

}  // namespace

ExitCode RunLooking(const Options& options, Clock& clock) {
  Result<std::unique_ptr<Client>> client = Client::Connect(options.client, &clock);
  if (!client.ok()) return Fail(client.status());
  switch (options.command) {
    case Command::kStatus:
      return ShowStatus(options, **client);
    case Command::kStats:
      return ShowStats(options, **client);
    default:
      return ShowVbuckets(options, **client);
  }
}

}  // namespace cairn::cli
