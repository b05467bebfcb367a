#pragma once
// Log: one line per event, to standard error or to a file.
//   CAIRN_LOG(kWarn, "vbucket {}: {}", vbucket.get(), status.ToString());
// The format string is checked at compile time; the arguments are evaluated only when the level is on.
// Whatever comes from clients goes through EscapeKey first, so that nobody writes lines into our log.
//
// State: the logger and the level are the process's, because a log belongs to a process; nothing else
// here is mutable. InitLog is called by main alone, before threads start; logging before it goes to
// standard error at kInfo. CAIRN_LOG and the level functions may be called from any thread.

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace cairn {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError, kOff };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  std::string file;  // appended to, created 0600; empty: standard error
};

/// By main, before any other thread runs. Fails when the file cannot be opened.
Status InitLog(const LogOptions& options);
/// Writes out what is buffered. (Lines of kWarn and above are never left in a buffer.)
void FlushLog();

void SetLogLevel(LogLevel level);
LogLevel GetLogLevel();
bool LogEnabled(LogLevel level);
/// "debug", "info", "warn", "error", "off".
std::string_view LogLevelName(LogLevel level);
Result<LogLevel> ParseLogLevel(std::string_view name);

/// One line; use CAIRN_LOG.
void WriteLogLine(LogLevel level, const char* file, int line, std::string_view text);

/// `bytes` made fit for a log line or a terminal: printable ASCII stays, backslash becomes "\\", anything
/// else "\xNN". Beyond `bytes_max` bytes of input it is cut, and ends in "…(N bytes)" with the full size.
std::string EscapeKey(std::string_view bytes, size_t bytes_max = 250);

}  // namespace cairn

/// `level` is an enumerator of LogLevel without its scope.
#define CAIRN_LOG(level, ...)                                                                          \
  do {                                                                                                 \
    if (::cairn::LogEnabled(::cairn::LogLevel::level)) {                                               \
      ::cairn::WriteLogLine(::cairn::LogLevel::level, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
    }                                                                                                  \
  } while (false)
