#pragma once
// What STAT online_update says, as a value, and how it is shown. Pure.
//
// The names are those that the engine gives its statistics (docs/operations.md). A server may leave any of
// them out.

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
  std::string outcome;                  // "completed" or "reverted"
  uint64_t started_s = 0;               // Unix time
  uint64_t decided_s = 0;               // Unix time
  uint64_t open_ms = 0;                 // from START to the decision
  std::optional<uint64_t> duration_us;  // from the decision until it was done
  uint64_t added = 0, updated = 0, deleted = 0;
  bool digest_equal = true;  // of a revert: afterwards the digest was that of START

  bool alarming() const { return outcome == "reverted" && !digest_equal; }
};

struct UpdateView {
  std::string state;  // "normal", "starting", "updating", "completing", "reverting"; empty: not known
  std::string id;
  std::string name;
  uint64_t started_s = 0;  // Unix time
  double age_s = 0;
  uint64_t added = 0, updated = 0, deleted = 0;
  uint64_t window_bytes = 0, preimage_bytes = 0;
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
