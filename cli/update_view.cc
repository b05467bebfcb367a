#include "cli/update_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <utility>

#include "cli/format.h"
#include "cli/json.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

using Fields = std::map<std::string, std::string, std::less<>>;

std::string_view Text(const Fields& fields, std::string_view name) {
  const auto at = fields.find(name);
  return at == fields.end() ? std::string_view() : std::string_view(at->second);
}

// 0 when it is missing or no number.
uint64_t Number(const Fields& fields, std::string_view name) {
  return ParseU64(Text(fields, name)).value_or(0);
}

constexpr std::string_view kPrefix = "online_update_";
constexpr std::string_view kHistoryPrefix = "history_";

// "history_3_name" → 3, "name".
std::optional<std::pair<uint64_t, std::string_view>> ParseHistoryName(std::string_view name) {
  if (!name.starts_with(kHistoryPrefix)) return std::nullopt;
  name.remove_prefix(kHistoryPrefix.size());
  const size_t end = name.find('_');
  const std::optional<uint64_t> number = ParseU64(name.substr(0, end));
  if (end == std::string_view::npos || !number) return std::nullopt;
  return std::pair(*number, name.substr(end + 1));
}

PastUpdate ParsePast(const Fields& fields) {
  PastUpdate past;
  past.id = Text(fields, "id");
  past.name = Text(fields, "name");
  past.outcome = Text(fields, "outcome");
  past.started_s = Number(fields, "started");
  past.decided_s = Number(fields, "decided");
  const uint64_t open_s = past.decided_s - std::min(past.started_s, past.decided_s);
  past.open_ms = ParseU64(Text(fields, "open_ms")).value_or(open_s * 1000);
  // After a restart the server no longer knows, and says 0.
  past.duration_us = ParseU64(Text(fields, "duration_us"));
  if (past.duration_us == 0u) past.duration_us.reset();
  past.added = Number(fields, "added");
  past.updated = Number(fields, "updated");
  past.deleted = Number(fields, "deleted");
  past.digest_equal = Text(fields, "digest_equal") != "false";
  return past;
}

std::string Keys(uint64_t n) { return FormatCount(n) + (n == 1 ? " key" : " keys"); }

std::string ChangesText(uint64_t added, uint64_t updated, uint64_t deleted) {
  return fmt::format("{} added, {} updated, {} deleted", FormatCount(added), FormatCount(updated),
                     FormatCount(deleted));
}

std::string DigestText(const PastUpdate& past) {
  if (past.outcome != "reverted") return "";
  return past.digest_equal ? "as at START" : "DIFFERS FROM START";
}

std::string RenderHistory(const std::vector<PastUpdate>& history) {
  Table table({{"started"},
               {"name"},
               {"outcome"},
               {"open for", true},
               {"took", true},
               {"added", true},
               {"updated", true},
               {"deleted", true},
               {"digest"},
               {"id"}});
  for (const PastUpdate& past : history) {
    table.AddRow({FormatTime(past.started_s), past.name, past.outcome,
                  FormatDuration(static_cast<double>(past.open_ms) / 1e3),
                  past.duration_us ? FormatDuration(static_cast<double>(*past.duration_us) / 1e6) : "-",
                  FormatCount(past.added), FormatCount(past.updated), FormatCount(past.deleted),
                  DigestText(past), past.id});
  }
  return table.Render();
}

void AppendHistoryJson(const PastUpdate& past, JsonWriter* json) {
  json->BeginObject().Name("id").String(past.id).Name("name").String(past.name);
  json->Name("outcome").String(past.outcome);
  json->Name("started").Number(past.started_s).Name("decided").Number(past.decided_s);
  json->Name("open_ms").Number(past.open_ms);
  if (past.duration_us) json->Name("duration_us").Number(*past.duration_us);
  json->Name("added").Number(past.added).Name("updated").Number(past.updated);
  json->Name("deleted").Number(past.deleted).Name("digest_equal").Bool(past.digest_equal);
  json->EndObject();
}

}  // namespace

UpdateView ParseUpdateStats(const StatList& stats) {
  Fields fields;
  std::map<uint64_t, Fields> history;
  for (const auto& [full_name, value] : stats) {
    if (!full_name.starts_with(kPrefix)) continue;
    const std::string_view name = std::string_view(full_name).substr(kPrefix.size());
    if (const auto past = ParseHistoryName(name)) {
      history[past->first].emplace(past->second, value);
    } else {
      fields.emplace(name, value);
    }
  }
  UpdateView view;
  view.state = Text(fields, "state");
  view.id = Text(fields, "id");
  view.name = Text(fields, "name");
  view.started_s = Number(fields, "started");
  view.age_s = static_cast<double>(Number(fields, "age_ms")) / 1e3;
  view.added = Number(fields, "keys_added");
  view.updated = Number(fields, "keys_updated");
  view.deleted = Number(fields, "keys_deleted");
  view.window_bytes = Number(fields, "window_bytes");
  view.preimage_bytes = Number(fields, "preimage_bytes");
  view.digest_at_start = Text(fields, "digest_at_start");
  view.digest_now = Text(fields, "digest_now");
  view.vbuckets_moved = Number(fields, "vbuckets_moved");
  view.vbuckets_total = Number(fields, "vbuckets_total");
  view.keys_to_revert = Number(fields, "keys_to_revert");
  for (const auto& [number, past] : history) view.history.push_back(ParsePast(past));
  return view;
}

std::string DescribeChoices(const UpdateView& view) {
  if (view.state != "updating") return {};
  return fmt::format(
      "COMPLETE would keep these {} as they are now.\n"
      "REVERT would remove the {} added, and bring back the {} updated and {} deleted as they were at "
      "START.\n",
      Keys(view.changed()), FormatCount(view.added), FormatCount(view.updated), FormatCount(view.deleted));
}

std::string RenderUpdate(const UpdateView& view) {
  std::vector<std::pair<std::string, std::string>> fields;
  fields.emplace_back("state", view.state.empty() ? "not known to this server" : view.state);
  if (view.running()) {
    fields.emplace_back("name", view.name.empty() ? "-" : view.name);
    fields.emplace_back("id", view.id);
    fields.emplace_back("started",
                        fmt::format("{}, {} ago", FormatTime(view.started_s), FormatDuration(view.age_s)));
    fields.emplace_back("keys", ChangesText(view.added, view.updated, view.deleted));
    fields.emplace_back("window", FormatBytes(view.window_bytes) + " logged since START");
    fields.emplace_back("pre-images", FormatBytes(view.preimage_bytes) + " of memory held to take it back");
    fields.emplace_back("digest at START", view.digest_at_start);
  }
  if (!view.digest_now.empty()) fields.emplace_back("digest now", view.digest_now);
  if (view.running() && view.state != "updating") {
    fields.emplace_back("vbuckets moved", fmt::format("{} of {}", FormatCount(view.vbuckets_moved),
                                                      FormatCount(view.vbuckets_total)));
  }
  if (view.state == "reverting") fields.emplace_back("still to revert", Keys(view.keys_to_revert));
  std::string out = RenderFields(fields);
  if (const std::string choices = DescribeChoices(view); !choices.empty()) out += "\n" + choices;
  if (!view.history.empty()) out += "\nThe last updates, newest first\n" + RenderHistory(view.history);
  return out;
}

std::string RenderUpdateLine(const UpdateView& view) {
  std::string line = view.state.empty() ? "not known to this server" : view.state;
  if (!view.running()) return line;
  if (!view.name.empty()) line += " " + EscapeForTerminal(view.name);
  line += "  " + FormatDuration(view.age_s);
  line += "  " + ChangesText(view.added, view.updated, view.deleted);
  line += "  " + FormatBytes(view.window_bytes);
  if (view.state != "updating")
    line += fmt::format("  vbuckets {}/{}", view.vbuckets_moved, view.vbuckets_total);
  if (view.state == "reverting") line += "  " + Keys(view.keys_to_revert) + " left";
  return line;
}

std::string UpdateJson(const UpdateView& view) {
  JsonWriter json;
  json.BeginObject().Name("state").String(view.state);
  if (view.running()) {
    json.Name("id").String(view.id).Name("name").String(view.name);
    json.Name("started").Number(view.started_s).Name("age_s").Decimal(view.age_s, 3);
    json.Name("added").Number(view.added).Name("updated").Number(view.updated);
    json.Name("deleted").Number(view.deleted);
    json.Name("window_bytes").Number(view.window_bytes);
    json.Name("preimage_bytes").Number(view.preimage_bytes);
    json.Name("digest_at_start").String(view.digest_at_start);
    json.Name("vbuckets_moved").Number(view.vbuckets_moved);
    json.Name("vbuckets_total").Number(view.vbuckets_total);
    json.Name("keys_to_revert").Number(view.keys_to_revert);
  }
  json.Name("digest_now").String(view.digest_now);
  json.Name("history").BeginArray();
  for (const PastUpdate& past : view.history) AppendHistoryJson(past, &json);
  return json.EndArray().EndObject().text();
}

}  // namespace cairn::cli
