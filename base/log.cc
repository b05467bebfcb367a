#include "base/log.h"

#include <fcntl.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>

#include "base/file.h"

namespace cairn {
namespace {

constexpr std::array<std::string_view, 5> kLevelNames{"debug", "info", "warn", "error", "off"};

// Ours rather than the logger's, because it is asked at every CAIRN_LOG before anything else is touched.
constinit std::atomic<LogLevel> log_level{LogLevel::kInfo};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

std::shared_ptr<spdlog::logger> MakeLogger(spdlog::sink_ptr sink) {
  auto logger = std::make_shared<spdlog::logger>("cairn", std::move(sink));
  // Local time with its offset, so that lines of machines in two zones can be put in order.
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %L %t %v [%s:%#]");
  logger->set_level(spdlog::level::trace);  // log_level decides
  logger->flush_on(spdlog::level::warn);
  return logger;
}

/// The process's logger; made for standard error at first use. spdlog's registry owns what InitLog makes.
std::shared_ptr<spdlog::logger> Logger() {
  if (auto logger = spdlog::get("cairn")) return logger;
  static const std::shared_ptr<spdlog::logger> fallback =
      MakeLogger(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  return fallback;
}

}  // namespace

Status InitLog(const LogOptions& options) {
  spdlog::sink_ptr sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    // Made here, because the library would make it readable for everybody, and would throw.
    const UniqueFd fd(open(options.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!fd.valid()) return ErrnoStatus(errno, "open log " + options.file);
    try {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    } catch (const spdlog::spdlog_ex& error) {
      return Status(Code::kIoError, error.what());
    }
  }
  spdlog::drop("cairn");
  spdlog::register_logger(MakeLogger(std::move(sink)));
  SetLogLevel(options.level);
  return Status::Ok();
}

void FlushLog() { Logger()->flush(); }

void SetLogLevel(LogLevel level) { log_level.store(level, std::memory_order_relaxed); }
LogLevel GetLogLevel() { return log_level.load(std::memory_order_relaxed); }

bool LogEnabled(LogLevel level) { return level >= GetLogLevel() && level != LogLevel::kOff; }

std::string_view LogLevelName(LogLevel level) { return kLevelNames[static_cast<size_t>(level)]; }

Result<LogLevel> ParseLogLevel(std::string_view name) {
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == name) return static_cast<LogLevel>(i);
  }
  return Status(Code::kInvalidArgument, "log level must be debug, info, warn, error or off");
}

void WriteLogLine(LogLevel level, const char* file, int line, std::string_view text) {
  Logger()->log(spdlog::source_loc{file, line, ""}, ToSpdlog(level),
                spdlog::string_view_t(text.data(), text.size()));
}

std::string EscapeKey(std::string_view bytes, size_t bytes_max) {
  constexpr char kHexDigits[] = "0123456789abcdef";
  std::string text;
  const std::string_view shown = bytes.substr(0, bytes_max);
  text.reserve(shown.size());
  for (const char c : shown) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '\\') {
      text += "\\\\";
    } else if (byte >= 0x20 && byte < 0x7f) {
      text += c;
    } else {
      text += "\\x";
      text += kHexDigits[byte >> 4];
      text += kHexDigits[byte & 15];
    }
  }
  if (shown.size() < bytes.size()) text += fmt::format("…({} bytes)", bytes.size());
  return text;
}

}  // namespace cairn
