#include <signal.h>

#include <cstdio>
#include <string>

#include "base/clock.h"
#include "bench/loadgen/options.h"
#include "bench/loadgen/report.h"
#include "bench/loadgen/runner.h"

int main(int argc, char** argv) {
  using namespace cairn::loadgen;  // NOLINT(google-build-using-namespace)
  const auto options = ParseOptions(argc, argv);
  if (!options.ok()) {
    std::fprintf(stderr, "cairn-loadgen: %s\nTry --help.\n", std::string(options.status().message()).c_str());
    return 2;
  }
  if (options->help) {
    std::fputs(HelpText().c_str(), stdout);
    return 0;
  }
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &stop_signals, nullptr);

  const cairn::SystemClock clock;
  const auto outcome = Run(*options, clock);
  if (!outcome.ok()) {
    std::fprintf(stderr, "cairn-loadgen: %s\n", std::string(outcome.status().message()).c_str());
    return 1;
  }
  std::fputs((options->json ? JsonReport(*options, *outcome) : TextReport(*options, *outcome)).c_str(),
             stdout);
  return ExitCode(*options, *outcome);
}
