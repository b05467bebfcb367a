#pragma once
// Numbers for people: counts, sizes, times. Pure functions, any thread.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::cli {

/// 63440 → "63,440".
std::string FormatCount(uint64_t n);
/// Bytes in binary units with three digits or so: "812 B", "47.7 MiB".
std::string FormatBytes(uint64_t bytes);
/// Seconds, as precise as is useful: "850 ms", "4.2 s", "3 min 05 s", "2 h 10 min", "3 d 4 h". A negative
/// time counts as 0.
std::string FormatDuration(double seconds);
/// Per second, "0" when no time has passed: "31,204".
std::string FormatRate(uint64_t n, double seconds);
/// Seconds since the Unix epoch as UTC, "2024-05-17 09:31:04Z"; "-" for 0.
std::string FormatTime(uint64_t unix_seconds);

/// The whole text as an unsigned decimal number; nothing when it is not one or does not fit.
std::optional<uint64_t> ParseU64(std::string_view text);
std::optional<uint32_t> ParseU32(std::string_view text);

}  // namespace cairn::cli
