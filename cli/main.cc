// cairnctl: the operator's tool. docs/cairnctl.md describes it.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/command_line.h"
#include "cli/commands.h"

namespace {

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

int main(int argc, char** argv) {
  // A closed pipe (`cairnctl dump | head`) is a failed write, and is reported as one.
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> args(argv + 1, argv + argc);
  const cairn::cli::ParsedCommandLine parsed = cairn::cli::ParseCommandLine(
      args, {.server = FromEnvironment("CAIRN_SERVER"), .admin = FromEnvironment("CAIRN_ADMIN")});
  if (!parsed.options) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  cairn::SystemClock clock;
  return static_cast<int>(cairn::cli::RunCommand(*parsed.options, clock));
}
