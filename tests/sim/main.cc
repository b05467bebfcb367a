// cairn_sim: runs seeds of the simulator. A seed that fails is printed with what was wrong and how to repeat
// it.

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "tests/sim/run.h"
#include "tests/sim/scenario.h"

namespace {

using cairn::sim::Outcome;

constexpr const char* kUsage =
    "cairn_sim [--seeds N] [--first-seed N] [--minutes M] [--jobs N] [--trace] …\n"
    "  --seeds N        how many seeds (default 1000)\n"
    "  --first-seed N   which is the first (default 1)\n"
    "  --minutes M      stop after M minutes, even when not all seeds have run\n"
    "  --jobs N         processes (default 1); seeds are dealt out in turn\n"
    "  --trace          print everything that happens\n"
    "  --scenario F:N   the scripted scenario, fault number F (0 none, 1 cut, 2 duplicate, 3 half open,\n"
    "                   4 consumer crashes, 5 producer crashes) after message N\n"
    "  --fault NAME     arm this fault point in every run, for looking for planted bugs\n"
    "  --probability P  with which it fires when it is reached (default 1)\n"
    "  --require-probes fail when a rare path that is listed was never taken\n";

struct Options {
  uint64_t seeds = 1000, first_seed = 1, jobs = 1;
  double minutes = 0, probability = 1;
  bool trace = false, require_probes = false;
  std::string fault, scenario;
};

bool Parse(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--trace") {
      options->trace = true;
      continue;
    }
    if (name == "--require-probes") {
      options->require_probes = true;
      continue;
    }
    if (i + 1 >= argc) return false;
    const char* value = argv[++i];
    if (name == "--seeds") {
      options->seeds = std::strtoull(value, nullptr, 10);
    } else if (name == "--first-seed") {
      options->first_seed = std::strtoull(value, nullptr, 10);
    } else if (name == "--jobs") {
      options->jobs = std::strtoull(value, nullptr, 10);
    } else if (name == "--minutes") {
      options->minutes = std::strtod(value, nullptr);
    } else if (name == "--probability") {
      options->probability = std::strtod(value, nullptr);
    } else if (name == "--scenario") {
      options->scenario = value;
    } else if (name == "--fault") {
      options->fault = value;
    } else {
      return false;
    }
  }
  return options->jobs >= 1 && options->jobs <= 64 && options->seeds >= 1;
}

uint64_t running_seed = 0;
const char* program = "cairn_sim";

void SayWhichSeed(uint64_t seed) {
  std::fprintf(stderr, "  to repeat it: %s --first-seed %llu --seeds 1 --trace\n", program,
               static_cast<unsigned long long>(seed));
}

extern "C" void OnAbort(int) {
  std::fprintf(stderr, "seed %llu: an assertion of the code failed\n",
               static_cast<unsigned long long>(running_seed));
  SayWhichSeed(running_seed);
  std::signal(SIGABRT, SIG_DFL);
}

/// Says how often each rare path that a long run has to take was taken. Returns how many never were.
int MissingProbes() {
  constexpr const char* kRequired[] = {"update.client_met_key_to_revert", "update.orphan",
                                       "takeover.last_step_repeated"};
  const auto counts = cairn::ProbeCounts();
  int missing = 0;
  for (const char* probe : kRequired) {
    const auto it = counts.find(probe);
    if (it == counts.end()) ++missing;
    std::printf("  probe %s: %llu\n", probe,
                static_cast<unsigned long long>(it == counts.end() ? 0 : it->second));
  }
  return missing;
}

/// Runs the seeds of one process. Returns how many failed.
int RunSome(const Options& options, uint64_t job) {
  const cairn::SystemClock clock;
  const int64_t begin = clock.SteadyNs();
  const auto limit = static_cast<int64_t>(options.minutes * 60e9);
  Outcome total;
  int failed = 0;
  uint64_t count = 0;
  for (uint64_t i = job; i < options.seeds; i += options.jobs) {
    if (limit > 0 && clock.SteadyNs() - begin > limit) break;
    running_seed = options.first_seed + i;
    const cairn::sim::RunOptions run{options.trace, options.fault, options.probability};
    const Outcome outcome = cairn::sim::RunSeed(running_seed, run);
    std::string failure = outcome.failure;
    // Some run twice: chance and time must come from the seed alone.
    if (failure.empty() && running_seed % 20 == 0 &&
        cairn::sim::RunSeed(running_seed, {false, options.fault, options.probability}).hash != outcome.hash) {
      failure = "two runs of this seed differ";
    }
    total.Add(outcome);
    ++count;
    if (failure.empty()) continue;
    ++failed;
    std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(running_seed), failure.c_str());
    SayWhichSeed(running_seed);
  }
  const double seconds = static_cast<double>(clock.SteadyNs() - begin) / 1e9;
  std::printf("%llu seeds, %d failed, %.1f s: %s\n", static_cast<unsigned long long>(count), failed, seconds,
              total.Summary().c_str());
  if (options.require_probes) failed += MissingProbes();
  std::fflush(stdout);
  return failed;
}

int RunOneScenario(const Options& options) {
  char* rest = nullptr;
  const uint64_t fault = std::strtoull(options.scenario.c_str(), &rest, 10);
  const uint64_t message = *rest == ':' ? std::strtoull(rest + 1, nullptr, 10) : 0;
  if (fault >= static_cast<uint64_t>(cairn::sim::ScenarioFault::kCount)) return 2;
  const Outcome outcome =
      cairn::sim::RunScenario(static_cast<cairn::sim::ScenarioFault>(fault), message, options.trace);
  std::printf("%s%s\n%llu messages, %s\n", outcome.failure.c_str(), outcome.failure.empty() ? "passed" : "",
              static_cast<unsigned long long>(outcome.messages), outcome.Summary().c_str());
  return outcome.failure.empty() ? 0 : 1;
}

int RunInProcesses(const Options& options) {
  std::vector<pid_t> children;
  for (uint64_t job = 0; job < options.jobs; ++job) {
    const pid_t child = fork();
    if (child < 0) std::abort();
    if (child == 0) _exit(RunSome(options, job) == 0 ? 0 : 1);
    children.push_back(child);
  }
  int result = 0;
  for (const pid_t child : children) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) result = 1;
  }
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, &options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  program = argv[0];
  std::signal(SIGABRT, OnAbort);
  cairn::SetLogLevel(options.trace ? cairn::LogLevel::kInfo : cairn::LogLevel::kOff);
  if (!options.scenario.empty()) return RunOneScenario(options);
  if (options.jobs > 1) return RunInProcesses(options);
  return RunSome(options, 0) == 0 ? 0 : 1;
}
