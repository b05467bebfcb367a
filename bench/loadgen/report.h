#pragma once
// Turns an outcome into text for people or one line of JSON for scripts, and into the exit code.

#include <string>

#include "bench/loadgen/options.h"
#include "bench/loadgen/runner.h"

namespace cairn::loadgen {

/// Several lines of text.
std::string TextReport(const Options& options, const Outcome& outcome);
/// One line; docs/benchmarks.md describes the fields.
std::string JsonReport(const Options& options, const Outcome& outcome);
/// 0, 1, 3 or 4 as the help text says.
int ExitCode(const Options& options, const Outcome& outcome);
/// `text` with quotes, and what JSON does not allow inside of them escaped.
std::string JsonString(std::string_view text);

}  // namespace cairn::loadgen
