#pragma once
// Statistics as tables: those of one group as they are, those of many vbuckets as one row per vbucket, and
// the one-screen overview. Pure.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/client.h"
#include "cli/update_view.h"

namespace cairn::cli {

/// "vb_7:high_seqno" → 7, "high_seqno"; "vb_7" → 7, "state". Nothing for a name of another shape.
std::optional<std::pair<uint32_t, std::string_view>> ParseVbucketStat(std::string_view name);

/// One row per vbucket and one column per figure.
struct VbucketTable {
  std::vector<std::string> columns;  // in the order in which the server named them first
  std::map<uint32_t, std::map<std::string, std::string, std::less<>>> rows;

  /// Drops the rows whose column "state" is not `state`.
  void KeepState(std::string_view state);
  std::string Render() const;
  /// An array of objects.
  std::string Json() const;
};

/// Statistics of another shape are ignored.
VbucketTable PivotVbucketStats(const StatList& stats);

/// Name and value, one per line.
std::string RenderStats(const StatList& stats);
/// One object; numbers that JSON can hold exactly are numbers.
std::string StatsJson(const StatList& stats);

/// The groups that `cairnctl status` shows; those that a server does not have are empty.
struct Overview {
  std::string server;  // as addressed
  StatList general;
  StatList warmup;
  UpdateView update;
};
std::string RenderOverview(const Overview& overview);
std::string OverviewJson(const Overview& overview);

}  // namespace cairn::cli
