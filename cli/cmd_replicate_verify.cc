// replicate verify: are the vbuckets of two nodes the same?

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "cli/admin_commands.h"
#include "cli/commands.h"
#include "cli/copy_compare.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/progress.h"

namespace cairn::cli {
namespace {

// Between two rounds of questions. Nodes that are written to differ by a few operations for moments only.
constexpr int64_t kPauseMs = 20;

class PairVerifier {
 public:
  PairVerifier(const Options& options, Clock& clock, AdminClient& here, AdminClient& peer)
      : options_(options),
        asked_(options.replication),
        here_(here),
        peer_(peer),
        progress_(&clock, options.progress),
        compare_(asked_.choice.all ? std::vector<uint32_t>() : asked_.choice.vbuckets) {}

  ExitCode Run() {
    const Status asked = AskUntilDecided();
    progress_.Done();
    if (!asked.ok()) return Fail(asked);
    return Report();
  }

 private:
  Status AskUntilDecided() {
    VbucketChoice choice = asked_.choice;
    while (true) {
      CAIRN_ASSIGN_OR_RETURN(const std::vector<VbucketRow> here, here_.ListVbuckets(choice));
      compare_.Add(CopyCompare::Side::kHere, here);
      CAIRN_ASSIGN_OR_RETURN(const std::vector<VbucketRow> there, peer_.ListVbuckets(choice));
      compare_.Add(CopyCompare::Side::kPeer, there);
      if (compare_.decided()) return Status::Ok();
      if (progress_.elapsed_s() * 1e3 >= static_cast<double>(asked_.verify_wait_ms)) return Status::Ok();
      choice = {.all = false, .vbuckets = compare_.Open()};
      ProgressView view;
      view.label = "verify, vbuckets equal";
      view.items = compare_.equal();
      progress_.Update(std::move(view));
      std::this_thread::sleep_for(std::chrono::milliseconds(kPauseMs));
    }
  }

  ExitCode Report() {
    const std::vector<CopyCompare::Difference> differences = compare_.Differences();
    const size_t named = std::min<size_t>(differences.size(), asked_.show_max);
    std::string text;
    if (options_.json) {
      JsonWriter json;
      json.BeginObject().Name("equal").Number(compare_.equal()).Name("different").Number(differences.size());
      json.Name("items").Number(compare_.items()).Name("seconds").Decimal(progress_.elapsed_s(), 3);
      json.Name("differences").BeginArray();
      for (size_t i = 0; i < named; ++i) {
        json.BeginObject().Name("vbucket").Number(differences[i].vbucket);
        json.Name("what").String(differences[i].what).EndObject();
      }
      text = json.EndArray().EndObject().text();
    } else {
      for (size_t i = 0; i < named; ++i) {
        text += fmt::format("vbucket {}: {}\n", differences[i].vbucket, differences[i].what);
      }
      if (named < differences.size()) text += fmt::format("… and {} more\n", differences.size() - named);
      text += fmt::format("{}: {} vbuckets equal with {} items, {} different; {} and {} in {}\n",
                          Same() ? "the same" : "NOT THE SAME", FormatCount(compare_.equal()),
                          FormatCount(compare_.items()), FormatCount(differences.size()), here_.address(),
                          peer_.address(), FormatDuration(progress_.elapsed_s()));
    }
    if (!Print(text)) return ExitCode::kPartial;
    return Same() ? ExitCode::kOk : ExitCode::kDifference;
  }

  // Two nodes that have nothing in common were hardly meant.
  bool Same() const { return compare_.Differences().empty() && compare_.equal() != 0; }

  const Options& options_;
  const ReplicationOptions& asked_;
  AdminClient& here_;
  AdminClient& peer_;
  Progress progress_;
  CopyCompare compare_;
};

}  // namespace

ExitCode RunReplicateVerify(const Options& options, Clock& clock) {
  return WithAdmin(options, [&](AdminClient& here) {
    AdminOptions at_peer = options.replication.admin;
    at_peer.address = options.replication.address;
    const Result<std::unique_ptr<AdminClient>> peer = AdminClient::Make(at_peer);
    if (peer.ok()) return PairVerifier(options, clock, here, **peer).Run();
    PrintError(peer.status().message());
    return ExitCode::kUsage;
  });
}

}  // namespace cairn::cli
