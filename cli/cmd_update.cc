// update start, complete, revert, status, watch.

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "base/random.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/update_view.h"

namespace cairn::cli {
namespace {

using proto::Opcode;
using proto::UpdateId;

// How often a step that takes long is looked at.
constexpr int64_t kLookMs = 250;

struct Step {
  Opcode opcode;
  const char* word;  // of the command line
};

Step StepOf(Command command) {
  if (command == Command::kUpdateStart) return {Opcode::kOnlineUpdateStart, "start"};
  if (command == Command::kUpdateComplete) return {Opcode::kOnlineUpdateComplete, "complete"};
  return {Opcode::kOnlineUpdateRevert, "revert"};
}

Result<UpdateView> ReadView(Client& client) {
  const Result<StatList> stats = client.Stats("online_update");
  if (stats.ok()) return ParseUpdateStats(*stats);
  // NOT_FOUND is about the group here, not about a key.
  if (stats.status() != Code::kNotFound) return stats.status();
  return Status(Code::kNotSupported,
                fmt::format("this server has no online update: {}", stats.status().message()));
}

ProgressView ViewOfStep(const char* word, const UpdateView& view) {
  ProgressView progress;
  progress.label = fmt::format("update {}", word);
  if (view.vbuckets_total != 0 && view.state != "updating") {
    progress.fraction = static_cast<double>(view.vbuckets_moved) / static_cast<double>(view.vbuckets_total);
  }
  progress.items = view.changed() - std::min(view.changed(), view.keys_to_revert);
  return progress;
}

// One START, COMPLETE or REVERT, watched over a second connection until it is done.
class StepRunner {
 public:
  StepRunner(const Options& options, Clock& clock) : options_(options), clock_(clock) {}

  ExitCode Run() {
    Result<std::unique_ptr<Client>> watcher = Client::Connect(options_.client, &clock_);
    Result<std::unique_ptr<Client>> client = Client::Connect(options_.client, &clock_);
    if (!client.ok() || !watcher.ok()) return Fail(client.ok() ? watcher.status() : client.status());
    watcher_ = std::move(*watcher);
    const ExitCode unnamed = ChooseId();
    if (unnamed != ExitCode::kOk) return unnamed;
    const int64_t begun_ns = clock_.SteadyNs();
    (*client)->Send(
        {.opcode = step_.opcode, .extras = id_.is_none() ? "" : id_.view(), .key = options_.name});
    Result<Reply> reply = AwaitStep(**client);
    if (!reply.ok()) return Unanswered(reply.status());
    if (!reply->ok()) return Fail(Refusal(*reply));
    return Report(static_cast<double>(clock_.SteadyNs() - begun_ns) / 1e9);
  }

 private:
  // The step names the update that it means, so that a repetition after a lost answer is safe, and so that
  // it cannot hit an update that somebody else began meanwhile.
  ExitCode ChooseId() {
    // Asked in any case: a server that does not know online updates is found out here.
    Result<UpdateView> view = ReadView(*watcher_);
    if (!view.ok()) return Fail(view.status());
    if (options_.id) {
      id_ = *options_.id;
    } else if (options_.command == Command::kUpdateStart) {
      Random random(SystemEntropy());
      id_.bytes = RandomUuid(random);
    } else if (view->running()) {
      id_ = UpdateId::FromHex(view->id).value_or(UpdateId{});
    }  // else none is running: the server will say so
    return ExitCode::kOk;
  }

  Result<Reply> AwaitStep(Client& client) {
    Progress progress(&clock_, options_.progress);
    client.channel().set_timeout_ms(std::min(kLookMs, options_.wait_ms));
    while (true) {
      Result<Reply> reply = client.Receive();
      if (reply.ok() || reply.status() != Code::kTimeout) return reply;
      if (progress.elapsed_s() * 1e3 >= static_cast<double>(options_.wait_ms)) return reply;
      // Also when nobody watches the progress: a server that does not answer at all is gone.
      const Result<UpdateView> view = ReadView(*watcher_);
      if (!view.ok()) return view.status();
      progress.Update(ViewOfStep(step_.word, *view));
    }
  }

  ExitCode Unanswered(const Status& status) {
    const std::string repeat =
        id_.is_none()
            ? ""
            : fmt::format("; to repeat it is safe: cairnctl update {} --id {}", step_.word, id_.ToHex());
    PrintError(fmt::format("{}: whether {} was done is not known{}", status.message(), step_.word, repeat));
    return ExitCode::kNoConnection;
  }

  ExitCode Report(double seconds) {
    Result<UpdateView> view = ReadView(*watcher_);
    if (!view.ok()) return Fail(view.status());
    if (options_.json) {
      JsonWriter json;
      json.BeginObject().Name("step").String(step_.word).Name("seconds").Decimal(seconds, 6);
      std::string text = json.text() + ",\"online_update\":" + UpdateJson(*view) + "}";
      if (!Print(text)) return ExitCode::kPartial;
    } else if (!Print(fmt::format("{} done in {}\n\n{}", step_.word, FormatDuration(seconds),
                                  RenderUpdate(*view)))) {
      return ExitCode::kPartial;
    }
    const bool reverted = options_.command == Command::kUpdateRevert && !view->history.empty();
    if (reverted && view->history.front().alarming()) {
      PrintError("ALARM: after the revert the digest is not the one of START; see docs/operations.md");
      return ExitCode::kDifference;
    }
    return ExitCode::kOk;
  }

  const Options& options_;
  Clock& clock_;
  const Step step_ = StepOf(options_.command);
  std::unique_ptr<Client> watcher_;
  UpdateId id_;
};

ExitCode ShowStatus(const Options& options, Client& client) {
  Result<UpdateView> view = ReadView(client);
  if (!view.ok()) return Fail(view.status());
  return Print(options.json ? UpdateJson(*view) : RenderUpdate(*view)) ? ExitCode::kOk : ExitCode::kPartial;
}

std::string EndOfWatch(const UpdateView& view) {
  if (view.history.empty()) return "no update is running\n";
  const PastUpdate& last = view.history.front();
  return fmt::format("no update is running; the last one{}{} was {}\n", last.name.empty() ? "" : ", ",
                     EscapeForTerminal(last.name), last.outcome);
}

ExitCode Watch(const Options& options, Client& client) {
  const bool overwrite = isatty(STDOUT_FILENO) == 1 && !options.json;
  while (true) {
    Result<UpdateView> view = ReadView(client);
    if (!view.ok()) return Fail(view.status());
    const std::string line = options.json ? UpdateJson(*view) : RenderUpdateLine(*view);
    const bool written =
        overwrite ? std::fputs(("\r" + line + "\033[K").c_str(), stdout) != EOF && std::fflush(stdout) == 0
                  : Print(line);
    if (!written) return ExitCode::kPartial;
    if (!view->running()) {
      if (options.json) return ExitCode::kOk;
      return Print((overwrite ? "\n" : "") + EndOfWatch(*view)) ? ExitCode::kOk : ExitCode::kPartial;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(options.interval_ms));
  }
}

}  // namespace

ExitCode RunUpdate(const Options& options, Clock& clock) {
  if (options.command != Command::kUpdateStatus && options.command != Command::kUpdateWatch) {
    return StepRunner(options, clock).Run();
  }
  Result<std::unique_ptr<Client>> client = Client::Connect(options.client, &clock);
  if (!client.ok()) return Fail(client.status());
  return options.command == Command::kUpdateStatus ? ShowStatus(options, **client) : Watch(options, **client);
}

}  // namespace cairn::cli
