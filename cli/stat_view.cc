#include "cli/stat_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/format.h"
#include "cli/json.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

using FieldList = std::vector<std::pair<std::string, std::string>>;

std::optional<uint64_t> Number(const StatList& stats, std::string_view name) {
  const auto text = FindStat(stats, name);
  return text ? ParseU64(*text) : std::nullopt;
}

// "93.1 %" of hits, or nothing when there were no reads.
std::string HitRate(uint64_t hits, uint64_t misses) {
  if (hits + misses == 0) return {};
  return fmt::format(", {:.1f} % hits",
                     100.0 * static_cast<double>(hits) / static_cast<double>(hits + misses));
}

std::string Text(const StatList& stats, std::string_view name, std::string_view otherwise) {
  return std::string(FindStat(stats, name).value_or(otherwise));
}

void AddServer(const Overview& overview, FieldList* fields) {
  const StatList& general = overview.general;
  std::string version;
  if (const auto cairn = FindStat(general, "cairn_version")) version = "Cairn " + std::string(*cairn) + ", ";
  fields->emplace_back("server", overview.server);
  fields->emplace_back("version", version + "speaks memcached " + Text(general, "version", "unknown"));
  fields->emplace_back("process", Text(general, "pid", "unknown"));
  if (const auto uptime = Number(general, "uptime")) {
    fields->emplace_back("up for", FormatDuration(static_cast<double>(*uptime)));
  }
  if (const auto connections = Number(general, "curr_connections")) {
    fields->emplace_back("clients",
                         FormatCount(*connections) + (*connections == 1 ? " connection" : " connections"));
  }
}

// What only Cairn has; nothing for another server.
void AddDisk(const Overview& overview, FieldList* fields) {
  const StatList& general = overview.general;
  const auto persistence = FindStat(general, "ep_persistence");
  if (!persistence) return;
  fields->emplace_back("persistence", std::string(*persistence) + ", " +
                                          FormatCount(Number(general, "ep_queue_size").value_or(0)) +
                                          " operations waiting");
  const std::string error = Text(general, "ep_persistence_error", "none");
  if (error != "none") fields->emplace_back("disk error", error);
  std::string warmup = Text(overview.warmup, "ep_warmup_state", "unknown");
  if (const auto items = Number(overview.warmup, "ep_warmup_items"); items && *items != 0) {
    warmup += ", " + FormatCount(*items) + " items";
    const uint64_t took_us = Number(overview.warmup, "ep_warmup_time_us").value_or(0);
    if (took_us != 0) warmup += " in " + FormatDuration(static_cast<double>(took_us) / 1e6);
  }
  fields->emplace_back("warm-up", warmup);
  fields->emplace_back("vbuckets",
                       fmt::format("{} active, {} replica, {} pending, {} dead",
                                   Text(general, "vb_active_num", "0"), Text(general, "vb_replica_num", "0"),
                                   Text(general, "vb_pending_num", "0"), Text(general, "vb_dead_num", "0")));
}

void AddData(const StatList& general, FieldList* fields) {
  if (const auto items = Number(general, "curr_items")) fields->emplace_back("items", FormatCount(*items));
  // Of Cairn all that counts against the quota; of others what they have.
  const auto used = Number(general, "mem_used");
  const auto bytes = used ? used : Number(general, "bytes");
  const auto quota = Number(general, "limit_maxbytes");
  if (bytes && quota && *quota != 0) {
    fields->emplace_back("memory",
                         fmt::format("{} of {} ({:.1f} %)", FormatBytes(*bytes), FormatBytes(*quota),
                                     100.0 * static_cast<double>(*bytes) / static_cast<double>(*quota)));
  } else if (bytes) {
    fields->emplace_back("memory", FormatBytes(*bytes));
  }
  if (const auto gets = Number(general, "cmd_get")) {
    fields->emplace_back("reads", FormatCount(*gets) + HitRate(Number(general, "get_hits").value_or(0),
                                                               Number(general, "get_misses").value_or(0)));
  }
  if (const auto sets = Number(general, "cmd_set")) fields->emplace_back("writes", FormatCount(*sets));
  if (const auto evictions = Number(general, "evictions")) {
    fields->emplace_back("evictions", FormatCount(*evictions));
  }
}

}  // namespace

std::optional<std::pair<uint32_t, std::string_view>> ParseVbucketStat(std::string_view name) {
  constexpr std::string_view kPrefix = "vb_";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view rest = name.substr(kPrefix.size());
  const size_t colon = rest.find(':');
  const std::optional<uint32_t> number = ParseU32(rest.substr(0, colon));
  if (!number) return std::nullopt;
  return std::pair(*number, colon == std::string_view::npos ? "state" : rest.substr(colon + 1));
}

VbucketTable PivotVbucketStats(const StatList& stats) {
  VbucketTable table;
  for (const auto& [name, value] : stats) {
    const auto parsed = ParseVbucketStat(name);
    if (!parsed) continue;
    const auto& [vbucket, column] = *parsed;
    if (std::find(table.columns.begin(), table.columns.end(), column) == table.columns.end()) {
      table.columns.emplace_back(column);
    }
    table.rows[vbucket].insert_or_assign(std::string(column), value);
  }
  return table;
}

void VbucketTable::KeepState(std::string_view state) {
  std::erase_if(rows, [state](const auto& row) {
    const auto at = row.second.find("state");
    return at == row.second.end() || at->second != state;
  });
}

std::string VbucketTable::Render() const {
  std::vector<Column> titles = {{"vbucket", true}};
  for (const std::string& column : columns) {
    // A column of numbers stands right.
    const bool numbers = std::all_of(rows.begin(), rows.end(), [&column](const auto& row) {
      const auto at = row.second.find(column);
      return at == row.second.end() || ParseU64(at->second).has_value();
    });
    titles.push_back({column, numbers});
  }
  Table table(std::move(titles));
  for (const auto& [vbucket, fields] : rows) {
    std::vector<std::string> cells = {std::to_string(vbucket)};
    for (const std::string& column : columns) {
      const auto at = fields.find(column);
      cells.push_back(at == fields.end() ? "-" : at->second);
    }
    table.AddRow(std::move(cells));
  }
  return table.Render();
}

std::string VbucketTable::Json() const {
  JsonWriter json;
  json.BeginArray();
  for (const auto& [vbucket, fields] : rows) {
    json.BeginObject().Name("vbucket").Number(vbucket);
    for (const std::string& column : columns) {
      const auto at = fields.find(column);
      if (at != fields.end()) json.Name(column).Auto(at->second);
    }
    json.EndObject();
  }
  return json.EndArray().text();
}

std::string RenderStats(const StatList& stats) { return RenderFields(stats); }

std::string StatsJson(const StatList& stats) {
  JsonWriter json;
  json.BeginObject();
  for (const auto& [name, value] : stats) json.Name(name).Auto(value);
  return json.EndObject().text();
}

std::string RenderOverview(const Overview& overview) {
  FieldList fields;
  AddServer(overview, &fields);
  fields.emplace_back();
  AddData(overview.general, &fields);
  fields.emplace_back();
  AddDisk(overview, &fields);
  fields.emplace_back("online update", RenderUpdateLine(overview.update));
  return RenderFields(fields);
}

std::string OverviewJson(const Overview& overview) {
  // The general statistics stay on top, where a script looks for them, and the others go into objects.
  std::string out = StatsJson(overview.general);
  out.pop_back();
  out += overview.general.empty() ? "" : ",";
  out +=
      "\"warmup\":" + StatsJson(overview.warmup) + ",\"online_update\":" + UpdateJson(overview.update) + "}";
  return out;
}

}  // namespace cairn::cli
