// promote, demote, takeover: vbuckets change hands.

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "cli/admin_commands.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/vbucket_list.h"
#include "proto/epoch.h"

namespace cairn::cli {
namespace {

// How the vbuckets stand when the step is done.
struct Standing {
  std::vector<uint32_t> vbuckets;  // in the state that the step was for
  uint64_t epoch_min = 0, epoch_max = 0;
};

class Change {
 public:
  Change(const Options& options, Clock& clock, AdminClient& client)
      : options_(options), asked_(options.replication), clock_(clock), client_(client) {}

  ExitCode Run() {
    const int64_t begun_ns = clock_.SteadyNs();
    const Result<uint32_t> changed = Call();
    if (!changed.ok()) return Unchanged(changed.status());
    const double seconds = static_cast<double>(clock_.SteadyNs() - begun_ns) / 1e9;
    const Result<std::vector<VbucketRow>> rows = client_.ListVbuckets(asked_.choice);
    if (!rows.ok()) {
      PrintError(
          fmt::format("{} was done for {} vbuckets, but how they stand is not known", word_, *changed));
      return Fail(rows.status());
    }
    return Report(*changed, seconds, *rows);
  }

 private:
  Result<uint32_t> Call() {
    if (options_.command == Command::kPromote) {
      return client_.Promote(asked_.choice,
                             {proto::MakeEpoch(asked_.epoch_min, 0), asked_.force, asked_.wait_ms});
    }
    if (options_.command == Command::kDemote) {
      return client_.Demote(asked_.choice, asked_.state, asked_.wait_ms);
    }
    Progress progress(&clock_, options_.progress);
    const TakeoverPlan plan = {asked_.address, asked_.choice, asked_.wait_ms};
    return client_.Takeover(plan, [this, &progress] { ShowArrived(progress); });
  }

  void ShowArrived(Progress& progress) {
    if (!progress.enabled()) return;
    const Result<std::vector<VbucketRow>> rows = client_.ListVbuckets(asked_.choice);
    if (!rows.ok()) return;  // the takeover itself will say what is wrong
    const Standing standing = StandingOf(*rows, "active");
    ProgressView view;
    view.label = "takeover, vbuckets active here";
    view.items = standing.vbuckets.size();
    if (!rows->empty()) {
      view.fraction = static_cast<double>(view.items) / static_cast<double>(rows->size());
    }
    progress.Update(std::move(view));
  }

  static Standing StandingOf(const std::vector<VbucketRow>& rows, std::string_view state) {
    Standing standing;
    for (const VbucketRow& row : rows) {
      if (row.state != state) continue;
      standing.epoch_min = standing.vbuckets.empty() ? row.epoch : std::min(standing.epoch_min, row.epoch);
      standing.epoch_max = std::max(standing.epoch_max, row.epoch);
      standing.vbuckets.push_back(row.vbucket);
    }
    return standing;
  }

  ExitCode Unchanged(const Status& status) {
    const ExitCode code = ExitCodeOf(status);
    if (code != ExitCode::kNoConnection) return Fail(status);
    PrintError(
        fmt::format("{}: whether {} was done is not known; to repeat it is safe", status.message(), word_));
    return code;
  }

  ExitCode Report(uint32_t changed, double seconds, const std::vector<VbucketRow>& rows) {
    const std::string state = options_.command == Command::kDemote ? asked_.state : "active";
    const Standing standing = StandingOf(rows, state);
    if (options_.json) {
      JsonWriter json;
      json.BeginObject().Name("step").String(word_).Name("changed").Number(changed);
      json.Name("state").String(state).Name("vbuckets").Number(standing.vbuckets.size());
      json.Name("list").String(FormatVbucketList(standing.vbuckets));
      json.Name("epoch_min").Number(standing.epoch_min).Name("epoch_max").Number(standing.epoch_max);
      json.Name("seconds").Decimal(seconds, 6).EndObject();
      return Print(json.text()) ? ExitCode::kOk : ExitCode::kPartial;
    }
    const std::string epochs = standing.epoch_min == standing.epoch_max
                                   ? fmt::format("epoch {}", proto::FormatEpoch(standing.epoch_max))
                                   : fmt::format("epochs {} to {}", proto::FormatEpoch(standing.epoch_min),
                                                 proto::FormatEpoch(standing.epoch_max));
    const std::string text =
        fmt::format("{} of {} vbuckets done in {}\n{} now: {} vbuckets ({}), {}", word_, FormatCount(changed),
                    FormatDuration(seconds), state, FormatCount(standing.vbuckets.size()),
                    standing.vbuckets.empty() ? "none" : FormatVbucketList(standing.vbuckets), epochs);
    return Print(text) ? ExitCode::kOk : ExitCode::kPartial;
  }

  const Options& options_;
  const ReplicationOptions& asked_;
  Clock& clock_;
  AdminClient& client_;
  const char* const word_ = options_.command == Command::kPromote  ? "promote"
                            : options_.command == Command::kDemote ? "demote"
                                                                   : "takeover";
};

}  // namespace

ExitCode RunHands(const Options& options, Clock& clock) {
  return WithAdmin(options, [&](AdminClient& client) { return Change(options, clock, client).Run(); });
}

}  // namespace cairn::cli
