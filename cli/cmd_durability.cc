// durability: what a write waits for.

#include <fmt/format.h>

#include <string>

#include "cli/admin_commands.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

std::string_view Meaning(std::string_view level) {
  if (level == "memory") return "the active has it in memory";
  if (level == "persisted") return "the active has it on disk, synced";
  if (level == "majority") return "most of the copies have it in memory";
  if (level == "majority-and-persisted") {
    return "the active has it on disk, synced, and most of the copies have it in memory";
  }
  if (level == "persisted-majority") return "most of the copies have it on disk, synced, this node too";
  return "not known to this cairnctl";
}

ExitCode Show(const Options& options, const DurabilityView& view) {
  if (options.json) {
    JsonWriter json;
    json.BeginObject().Name("level").String(view.level).Name("copies").Number(view.copies);
    json.Name("timeout_ms").Number(view.timeout_ms).EndObject();
    return Print(json.text()) ? ExitCode::kOk : ExitCode::kPartial;
  }
  const std::string text =
      RenderFields({{"level", view.level},
                    {"an answered write", std::string(Meaning(view.level))},
                    {"copies", fmt::format("{}, the active included", view.copies)},
                    {"time-out", fmt::format("{} ms, then ambiguous", view.timeout_ms)}});
  return Print(text) ? ExitCode::kOk : ExitCode::kPartial;
}

ExitCode ShowOrSet(const Options& options, AdminClient& client) {
  const ReplicationOptions& asked = options.replication;
  Result<DurabilityView> view = client.GetDurability();
  if (!view.ok()) return Fail(view.status());
  if (asked.level.empty() && !asked.copies && !asked.timeout_ms) return Show(options, *view);
  // What is not named stays as it is.
  if (!asked.level.empty()) view->level = asked.level;
  view->copies = asked.copies.value_or(view->copies);
  view->timeout_ms = asked.timeout_ms.value_or(view->timeout_ms);
  view = client.SetDurability(*view);
  return view.ok() ? Show(options, *view) : Fail(view.status());
}

}  // namespace

ExitCode RunDurability(const Options& options) {
  return WithAdmin(options, [&options](AdminClient& client) { return ShowOrSet(options, client); });
}

}  // namespace cairn::cli
