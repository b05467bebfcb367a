// replicate add, remove, list, watch; tap.

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "cli/admin_commands.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/replication_view.h"

namespace cairn::cli {
namespace {

ExitCode Shown(bool printed) { return printed ? ExitCode::kOk : ExitCode::kPartial; }

ExitCode Add(const Options& options, AdminClient& client) {
  const ReplicationOptions& asked = options.replication;
  const Result<AddedSource> added = client.AddSource(asked.address, asked.choice, asked.name);
  if (!added.ok()) return Fail(added.status());
  if (options.json) {
    JsonWriter json;
    json.BeginObject().Name("address").String(added->address).Name("vbuckets").Number(added->vbuckets);
    return Shown(Print(json.EndObject().text()));
  }
  return Shown(Print(fmt::format("follows {} with {} vbuckets; cairnctl replicate watch shows how far it is",
                                 added->address, FormatCount(added->vbuckets))));
}

ExitCode Remove(const Options& options, AdminClient& client) {
  const std::string& address = options.replication.address;
  const Result<uint32_t> removed = client.RemoveSource(address);
  if (!removed.ok()) return Fail(removed.status());
  if (options.json) {
    JsonWriter json;
    json.BeginObject().Name("address").String(address).Name("vbuckets").Number(*removed).EndObject();
    return Shown(Print(json.text()));
  }
  return Shown(Print(fmt::format("follows {} no longer; its {} vbuckets stay replicas as they are", address,
                                 FormatCount(*removed))));
}

ExitCode List(const Options& options, AdminClient& client) {
  const Result<ReplicationView> view = client.ListReplication(false);
  if (!view.ok()) return Fail(view.status());
  return Shown(Print(options.json ? ReplicationJson(*view) : RenderConnections(*view)));
}

ExitCode Tap(const Options& options, AdminClient& client) {
  const Result<ReplicationView> view = client.ListReplication(true);
  if (!view.ok()) return Fail(view.status());
  const std::vector<PeerStream> streams = SelectStreams(*view, options.replication.streams);
  return Shown(Print(options.json ? StreamsJson(streams) : RenderStreams(streams)));
}

// Shows one state after the other: in the same place of a terminal, else a line each.
class Watcher {
 public:
  Watcher(const Options& options, AdminClient& client)
      : options_(options), client_(client), redraw_(isatty(STDOUT_FILENO) == 1 && !options.json) {}

  ExitCode Run() {
    const Status ended =
        client_.WatchReplication(options_.replication.interval_ms, [this](const ReplicationView& view) {
          written_ = Show(view);
          before_ = view;
          return written_ && !options_.replication.once;
        });
    if (!written_) return ExitCode::kPartial;
    return ended.ok() ? ExitCode::kOk : Fail(ended);
  }

 private:
  bool Show(const ReplicationView& view) {
    const ReplicationView* before = before_ ? &*before_ : nullptr;
    if (options_.json) return Print(ReplicationJson(view));
    if (options_.replication.once) return Print(RenderWatchScreen(client_.address(), before, view));
    if (!redraw_) return Print(RenderWatchLine(before, view));
    winsize size{};
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 1;
    // One line and one column stay free, so that the terminal neither scrolls nor wraps.
    const std::string frame = FitToTerminal(RenderWatchScreen(client_.address(), before, view),
                                            known ? size.ws_col - 1u : 100u, known ? size.ws_row - 1u : 40u);
    const std::string back = lines_ == 0 ? "" : fmt::format("\033[{}A", lines_);
    lines_ = static_cast<size_t>(std::count(frame.begin(), frame.end(), '\n'));
    return Print(back + "\033[J" + frame);
  }

  const Options& options_;
  AdminClient& client_;
  const bool redraw_;
  std::optional<ReplicationView> before_;
  size_t lines_ = 0;  // of what stands on the terminal
  bool written_ = true;
};

}  // namespace

ExitCode RunReplicate(const Options& options) {
  return WithAdmin(options, [&options](AdminClient& client) {
    switch (options.command) {
      case Command::kReplicateAdd:
        return Add(options, client);
      case Command::kReplicateRemove:
        return Remove(options, client);
      case Command::kReplicateWatch:
        return Watcher(options, client).Run();
      case Command::kTap:
        return Tap(options, client);
      default:
        return List(options, client);
    }
  });
}

}  // namespace cairn::cli
