#include "base/size.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdlib>

namespace cairn {
namespace {

constexpr uint64_t kFractionMax = 1'000'000;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Shift of a unit ("", "b", "k", "kb", "kib", …), or -1.
int ShiftOf(std::string_view unit) {
  std::string lower;
  for (const char c : unit) lower += Lower(c);
  if (lower.empty() || lower == "b") return 0;
  constexpr std::string_view kUnits = "kmgt";
  const size_t index = kUnits.find(lower[0]);
  const std::string_view rest = std::string_view(lower).substr(1);
  if (index == std::string_view::npos || !(rest.empty() || rest == "b" || rest == "ib")) return -1;
  return 10 * (static_cast<int>(index) + 1);
}

}  // namespace

Result<uint64_t> ParseSize(std::string_view text) {
  const Status invalid(Code::kInvalidArgument, "\"" + std::string(text) + "\" is not a size like 64MiB");
  const Status too_large(Code::kOutOfRange, "\"" + std::string(text) + "\" is larger than 2^64 bytes");
  __extension__ using Uint128 = unsigned __int128;
  size_t i = 0;
  Uint128 whole = 0;
  for (; i < text.size() && IsDigit(text[i]); ++i) {
    whole = whole * 10 + static_cast<uint64_t>(text[i] - '0');
    if (whole > UINT64_MAX) return too_large;
  }
  if (i == 0) return invalid;
  uint64_t fraction = 0;  // millionths
  const bool has_fraction = i < text.size() && text[i] == '.';
  if (has_fraction) {
    const size_t first = ++i;
    uint64_t weight = kFractionMax;
    for (; i < text.size() && IsDigit(text[i]); ++i) {
      weight /= 10;
      fraction += static_cast<uint64_t>(text[i] - '0') * weight;
    }
    if (i == first || i - first > 6) return invalid;
  }
  if (i < text.size() && text[i] == ' ') ++i;
  const int shift = ShiftOf(text.substr(i));
  if (shift < 0 || (has_fraction && shift == 0) || text.ends_with(' ')) return invalid;
  const Uint128 bytes = (whole << shift) + (static_cast<Uint128>(fraction) << shift) / kFractionMax;
  if (bytes > UINT64_MAX) return too_large;
  return static_cast<uint64_t>(bytes);
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would be printed as 1024.0, which is better said in the next unit.
  while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string FormatDuration(int64_t ns) {
  if (ns < 0) {
    // The smallest number has no positive counterpart; nobody waits 292 years for one nanosecond.
    return "-" + FormatDuration(ns == INT64_MIN ? INT64_MAX : -ns);
  }
  const auto n = static_cast<double>(ns);
  if (ns < 1'000) return fmt::format("{} ns", ns);
  if (ns < 999'950) return fmt::format("{:.1f} us", n / 1e3);
  if (ns < 999'950'000) return fmt::format("{:.1f} ms", n / 1e6);
  if (ns < 59'995'000'000) return fmt::format("{:.2f} s", n / 1e9);
  const int64_t seconds = ns / 1'000'000'000 + (ns % 1'000'000'000 >= 500'000'000 ? 1 : 0);
  if (seconds < 3'600) return fmt::format("{}m {:02}s", seconds / 60, seconds % 60);
  const int64_t minutes = seconds / 60;
  if (minutes < 24 * 60) return fmt::format("{}h {:02}m", minutes / 60, minutes % 60);
  const int64_t hours = minutes / 60;
  return fmt::format("{}d {:02}h", hours / 24, hours % 24);
}

}  // namespace cairn
