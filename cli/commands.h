#pragma once
// The commands of cairnctl. Each makes its connections, does its work, prints to stdout (figures, JSON,
// values) and stderr (errors, progress), and returns the exit code. One thread.

#include "base/clock.h"
#include "base/status.h"
#include "cli/command_line.h"
#include "cli/exit_code.h"

namespace cairn::cli {

/// Runs the command that `options` name.
ExitCode RunCommand(const Options& options, Clock& clock);

// One per file; RunCommand chooses.
ExitCode RunUpdate(const Options& options, Clock& clock);   // start, complete, revert, status, watch
ExitCode RunLooking(const Options& options, Clock& clock);  // status, stats, vbuckets, checkpoints
ExitCode RunLoad(const Options& options, Clock& clock);
ExitCode RunDump(const Options& options, Clock& clock);
ExitCode RunVerify(const Options& options, Clock& clock);
ExitCode RunSingle(const Options& options, Clock& clock);  // get, set, delete, version
ExitCode RunReplicate(const Options& options);             // replicate add, remove, list, watch; tap
ExitCode RunReplicateVerify(const Options& options, Clock& clock);
ExitCode RunHands(const Options& options, Clock& clock);  // promote, demote, takeover
ExitCode RunDurability(const Options& options);

/// Prints "cairnctl: …" to stderr.
void PrintError(std::string_view message);
/// Prints the error and returns its exit code.
ExitCode Fail(const Status& status);
/// Writes to stdout; a newline is added when the text has none. False, with an error printed, when stdout
/// does not take it.
bool Print(std::string_view text);

}  // namespace cairn::cli
