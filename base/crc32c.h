#pragma once
// crc32c (Castagnoli): the checksum of everything that goes to disk. The SSE4.2 instruction where the
// processor has it, tables elsewhere; both give the same result. Pure, any thread.

#include <cstdint>
#include <string_view>

namespace cairn {

/// crc32c of `bytes` continued from `crc`, the result of a call over the bytes before (0 at the start), so
/// that Crc32c(b, Crc32c(a)) == Crc32c(a + b).
uint32_t Crc32c(std::string_view bytes, uint32_t crc = 0);

/// The table version, for the test that compares the two.
uint32_t Crc32cPortable(std::string_view bytes, uint32_t crc = 0);

}  // namespace cairn
