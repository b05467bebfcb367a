// cairnctl: the operator's tool. docs/cairnctl.md describes it.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/command_line.h"
#include "cli/commands.h"

int main(int argc, char** argv) {
  // A closed pipe (`cairnctl dump | head`) is a failed write, and is reported as one.
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> args(argv + 1, argv + argc);
  const char* server = std::getenv("CAIRN_SERVER");
  const cairn::cli::ParsedCommandLine parsed =
      cairn::cli::ParseCommandLine(args, server == nullptr ? "" : server);
  if (!parsed.options) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  cairn::SystemClock clock;
  return static_cast<int>(cairn::cli::RunCommand(*parsed.options, clock));
}
