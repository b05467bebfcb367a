#include "cli/commands.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"

namespace cairn::cli {

ExitCode RunCommand(const Options& options, Clock& clock) {
  switch (options.command) {
    case Command::kUpdateStart:
    case Command::kUpdateComplete:
    case Command::kUpdateRevert:
    case Command::kUpdateStatus:
    case Command::kUpdateWatch:
      return RunUpdate(options, clock);
    case Command::kStatus:
    case Command::kStats:
    case Command::kVbuckets:
    case Command::kCheckpoints:
      return RunLooking(options, clock);
    case Command::kLoad:
      return RunLoad(options, clock);
    case Command::kDump:
      return RunDump(options, clock);
    case Command::kVerify:
      return RunVerify(options, clock);
    case Command::kGet:
    case Command::kSet:
    case Command::kDelete:
    case Command::kVersion:
      return RunSingle(options, clock);
    case Command::kReplicateAdd:
    case Command::kReplicateRemove:
    case Command::kReplicateList:
    case Command::kReplicateWatch:
    case Command::kTap:
      return RunReplicate(options);
    case Command::kReplicateVerify:
      return RunReplicateVerify(options, clock);
    case Command::kPromote:
    case Command::kDemote:
    case Command::kTakeover:
      return RunHands(options, clock);
    case Command::kDurability:
      return RunDurability(options);
  }
  CAIRN_CHECK(false && "unknown command");
  return ExitCode::kUsage;
}

void PrintError(std::string_view message) {
  std::fprintf(stderr, "cairnctl: %.*s\n", static_cast<int>(message.size()), message.data());
}

ExitCode Fail(const Status& status) {
  PrintError(status.message().empty() ? CodeName(status.code()) : status.message());
  return ExitCodeOf(status);
}

bool Print(std::string_view text) {
  const bool newline = text.empty() || text.back() != '\n';
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
      (!newline || std::fputc('\n', stdout) != EOF) && std::fflush(stdout) == 0) {
    return true;
  }
  PrintError(std::string("cannot write to standard output: ") + std::strerror(errno));
  return false;
}

}  // namespace cairn::cli
