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

std::optional<uint64_t> Number(const Fields& fields, std::string_view name) {
  return ParseU64(Text(fields, name));
}

int64_t TimeNs(const Fields& fields, std::string_view name) {
  return static_cast<int64_t>(Number(fields, name).value_or(0));
}

// "online_update_age_ns" → "age_ns": the group's own prefix says nothing inside the group.
std::string_view WithoutPrefix(std::string_view name) {
  for (const std::string_view prefix : {"online_update_", "ep_onlineupdate_"}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

// "history_3_name" or "history:3:name" → 3, "name".
std::optional<std::pair<uint64_t, std::string_view>> ParseHistoryName(std::string_view name) {
  constexpr std::string_view kPrefix = "history";
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + 4) return std::nullopt;
  const std::string_view rest = name.substr(kPrefix.size() + 1);
  const size_t end = rest.find_first_of("_:");
  if (end == std::string_view::npos) return std::nullopt;
  const std::optional<uint64_t> number = ParseU64(rest.substr(0, end));
  if (!number) return std::nullopt;
  return std::pair(*number, rest.substr(end + 1));
}

PastUpdate ParsePast(const Fields& fields) {
  PastUpdate past;
  past.id = Text(fields, "id");
  past.name = Text(fields, "name");
  past.outcome = Text(fields, "outcome");
  past.started_ns = TimeNs(fields, "started_ns");
  past.finished_ns = TimeNs(fields, "finished_ns");
  past.added = Number(fields, "added").value_or(0);
  past.updated = Number(fields, "updated").value_or(0);
  past.deleted = Number(fields, "deleted").value_or(0);
  const std::string_view equal = Text(fields, "digest_equal");
  if (!equal.empty()) past.digest_equal = equal == "1" || equal == "true";
  return past;
}

std::string Keys(uint64_t n) { return FormatCount(n) + (n == 1 ? " key" : " keys"); }

std::string ChangesText(uint64_t added, uint64_t updated, uint64_t deleted) {
  return fmt::format("{} added, {} updated, {} deleted", FormatCount(added), FormatCount(updated),
                     FormatCount(deleted));
}

double SecondsBetween(int64_t begin_ns, int64_t end_ns) {
  return static_cast<double>(end_ns - begin_ns) / 1e9;
}

std::string RenderHistory(const std::vector<PastUpdate>& history) {
  Table table({{"started"},
               {"name"},
               {"outcome"},
               {"open for", true},
               {"added", true},
               {"updated", true},
               {"deleted", true},
               {"digest"},
               {"id"}});
  for (const PastUpdate& past : history) {
    const bool timed = past.started_ns != 0 && past.finished_ns != 0;
    std::string digest;
    if (past.digest_equal) digest = *past.digest_equal ? "as at START" : "DIFFERS FROM START";
    table.AddRow({FormatTime(past.started_ns), past.name, past.outcome,
                  timed ? FormatDuration(SecondsBetween(past.started_ns, past.finished_ns)) : "",
                  FormatCount(past.added), FormatCount(past.updated), FormatCount(past.deleted), digest,
                  past.id});
  }
  return table.Render();
}

void AppendHistoryJson(const PastUpdate& past, JsonWriter* json) {
  json->BeginObject().Name("id").String(past.id).Name("name").String(past.name);
  json->Name("outcome").String(past.outcome);
  // Nanoseconds since 1970 are above 2^53: a reader that keeps doubles would lose digits of a number.
  json->Name("started_ns").String(std::to_string(past.started_ns));
  json->Name("finished_ns").String(std::to_string(past.finished_ns));
  json->Name("added").Number(past.added).Name("updated").Number(past.updated);
  json->Name("deleted").Number(past.deleted);
  if (past.digest_equal) json->Name("digest_equal").Bool(*past.digest_equal);
  json->EndObject();
}

}  // namespace

UpdateView ParseUpdateStats(const StatList& stats) {
  Fields fields;
  std::map<uint64_t, Fields> history;
  for (const auto& [full_name, value] : stats) {
    const std::string_view name = WithoutPrefix(full_name);
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
  if (const auto started = Number(fields, "started_ns"); started && *started != 0) {
    view.started_ns = static_cast<int64_t>(*started);
  }
  if (const auto age = Number(fields, "age_ns")) view.age_s = static_cast<double>(*age) / 1e9;
  view.added = Number(fields, "added").value_or(0);
  view.updated = Number(fields, "updated").value_or(0);
  view.deleted = Number(fields, "deleted").value_or(0);
  view.window_bytes = Number(fields, "window_bytes");
  view.preimage_bytes = Number(fields, "preimage_bytes");
  view.digest_at_start = Text(fields, "digest_at_start");
  view.digest_now = Text(fields, "digest_now");
  view.vbuckets_moved = Number(fields, "vbuckets_moved").value_or(0);
  view.vbuckets_total = Number(fields, "vbuckets_total").value_or(0);
  view.keys_to_revert = Number(fields, "keys_to_revert").value_or(0);
  for (const auto& [number, past] : history) view.history.push_back(ParsePast(past));
  return view;
}

std::string DescribeChoices(const UpdateView& view) {
  if (view.state != "updating") return {};
  return fmt::format(
      "COMPLETE would keep {} as they are now.\n"
      "REVERT would remove {}, bring back {} changed and {} deleted to what they were at START.\n",
      Keys(view.changed()), Keys(view.added), Keys(view.updated), Keys(view.deleted));
}

std::string RenderUpdate(const UpdateView& view) {
  std::vector<std::pair<std::string, std::string>> fields;
  fields.emplace_back("state", view.state.empty() ? "not known to this server" : view.state);
  if (view.running()) {
    fields.emplace_back("name", view.name.empty() ? "-" : view.name);
    fields.emplace_back("id", view.id);
    if (view.started_ns) fields.emplace_back("started", FormatTime(*view.started_ns));
    if (view.age_s) fields.emplace_back("age", FormatDuration(*view.age_s));
    fields.emplace_back("keys", ChangesText(view.added, view.updated, view.deleted));
    if (view.window_bytes)
      fields.emplace_back("window", FormatBytes(*view.window_bytes) + " logged since START");
    if (view.preimage_bytes) {
      fields.emplace_back("pre-images",
                          FormatBytes(*view.preimage_bytes) + " of memory held to take it back");
    }
    if (!view.digest_at_start.empty()) fields.emplace_back("digest at START", view.digest_at_start);
    if (!view.digest_now.empty()) {
      const bool same = view.digest_now == view.digest_at_start;
      fields.emplace_back("digest now", view.digest_now + (same ? "  (equal)" : "  (differs)"));
    }
    if (view.state != "updating" && view.vbuckets_total != 0) {
      fields.emplace_back("vbuckets moved", fmt::format("{} of {}", FormatCount(view.vbuckets_moved),
                                                        FormatCount(view.vbuckets_total)));
    }
    if (view.state == "reverting") fields.emplace_back("still to revert", Keys(view.keys_to_revert));
  }
  std::string out = RenderFields(fields);
  if (const std::string choices = DescribeChoices(view); !choices.empty()) out += "\n" + choices;
  out += view.history.empty() ? "\nNo update has ended yet.\n"
                              : "\nThe last updates, newest first\n" + RenderHistory(view.history);
  return out;
}

std::string RenderUpdateLine(const UpdateView& view) {
  std::string line = view.state.empty() ? "not known to this server" : view.state;
  if (view.running()) {
    if (!view.name.empty()) line += " " + EscapeForTerminal(view.name);
    if (view.age_s) line += "  " + FormatDuration(*view.age_s);
    line += "  " + ChangesText(view.added, view.updated, view.deleted);
    if (view.window_bytes) line += "  " + FormatBytes(*view.window_bytes);
    if (view.state != "updating") {
      line += fmt::format("  vbuckets {}/{}", view.vbuckets_moved, view.vbuckets_total);
    }
    if (view.state == "reverting") line += "  " + Keys(view.keys_to_revert) + " left";
  }
  return line;
}

std::string UpdateJson(const UpdateView& view) {
  JsonWriter json;
  json.BeginObject().Name("state").String(view.state);
  if (view.running()) {
    json.Name("id").String(view.id).Name("name").String(view.name);
    if (view.started_ns) json.Name("started_ns").String(std::to_string(*view.started_ns));
    if (view.age_s) json.Name("age_s").Decimal(*view.age_s, 3);
    json.Name("added").Number(view.added).Name("updated").Number(view.updated);
    json.Name("deleted").Number(view.deleted);
    if (view.window_bytes) json.Name("window_bytes").Number(*view.window_bytes);
    if (view.preimage_bytes) json.Name("preimage_bytes").Number(*view.preimage_bytes);
    json.Name("digest_at_start").String(view.digest_at_start);
    json.Name("digest_now").String(view.digest_now);
    json.Name("vbuckets_moved").Number(view.vbuckets_moved);
    json.Name("vbuckets_total").Number(view.vbuckets_total);
    json.Name("keys_to_revert").Number(view.keys_to_revert);
  }
  json.Name("history").BeginArray();
  for (const PastUpdate& past : view.history) AppendHistoryJson(past, &json);
  return json.EndArray().EndObject().text();
}

}  // namespace cairn::cli
