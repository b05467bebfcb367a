#pragma once
// What STAT online_update says, as a value, and how it is shown. Pure.
//
// The names are those of docs/operations.md. A server may leave any of them out: what is not there is not
// shown.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/client.h"

namespace cairn::cli {

/// One update that has ended.
struct PastUpdate {
  std::string id;
  std::string name;
  std::string outcome;      // "committed" or "reverted"
  int64_t started_ns = 0;   // wall clock
  int64_t finished_ns = 0;  // wall clock; 0: not known
  uint64_t added = 0, updated = 0, deleted = 0;
  std::optional<bool> digest_equal;  // of a revert
};

struct UpdateView {
  std::string state;  // "normal", "starting", "updating", "completing", "reverting"
  std::string id;
  std::string name;
  std::optional<int64_t> started_ns;  // wall clock
  std::optional<double> age_s;
  uint64_t added = 0, updated = 0, deleted = 0;
  std::optional<uint64_t> window_bytes, preimage_bytes;
  std::string digest_at_start, digest_now;
  uint64_t vbuckets_moved = 0, vbuckets_total = 0;
  uint64_t keys_to_revert = 0;
  std::vector<PastUpdate> history;  // newest first

  bool running() const { return !state.empty() && state != "normal"; }
  uint64_t changed() const { return added + updated + deleted; }
};

UpdateView ParseUpdateStats(const StatList& stats);

/// What COMPLETE, and what REVERT would do now; two sentences. Empty when no update is open.
std::string DescribeChoices(const UpdateView& view);
/// The table of `update status`.
std::string RenderUpdate(const UpdateView& view);
/// One line of `update watch`.
std::string RenderUpdateLine(const UpdateView& view);
/// One JSON object.
std::string UpdateJson(const UpdateView& view);

}  // namespace cairn::cli
