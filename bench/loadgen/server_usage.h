#pragma once
// What a process has used so far, read from /proc: the measured server's, and our own.

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace cairn::loadgen {

struct ProcessUsage {
  double user_seconds = 0;
  double system_seconds = 0;
  uint64_t rss_bytes = 0;
  uint64_t rss_peak_bytes = 0;
};

/// User and system time of all threads, in steps of one clock tick (10 ms), and resident memory.
Result<ProcessUsage> ReadUsage(int pid);

/// The parts of ReadUsage that understand the files' text: /proc/<pid>/stat (fields 14 and 15; the name in
/// field 2 may hold anything, blanks and parentheses included) and /proc/<pid>/status.
Status ParseStat(std::string_view text, double ticks_per_second, ProcessUsage* usage);
Status ParseStatus(std::string_view text, ProcessUsage* usage);

}  // namespace cairn::loadgen
