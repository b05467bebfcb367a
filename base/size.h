#pragma once
// Sizes and times as people write and read them.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace cairn {

/// Bytes of "1048576", "64MiB", "64 mb", "1g", "1.5GiB", "10b". Units k, m, g, t (with or without "b" or
/// "ib", in any case) are powers of 1,024. A fraction may have up to 6 digits and needs a unit; the result
/// is rounded down. INVALID_ARGUMENT for anything else, OUT_OF_RANGE from 2^64 on.
Result<uint64_t> ParseSize(std::string_view text);

/// "0 B", "1023 B", "1.0 KiB", "64.0 MiB": one decimal, powers of 1,024.
std::string FormatBytes(uint64_t bytes);

/// Nanoseconds in the unit that reads best: "850 ns", "12.3 us", "4.5 ms", "2.75 s", "3m 05s", "2h 03m",
/// "4d 07h". Negative ones with a "-" before.
std::string FormatDuration(int64_t ns);

}  // namespace cairn
