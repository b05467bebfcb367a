#pragma once
// Where a key belongs: its vbucket (the function Couchbase-style clients compute) and its table hash.

#include <cstdint>
#include <string_view>

#include "base/types.h"

namespace cairn {

/// CRC-32 (IEEE 802.3, the zlib one), not crc32c.
uint32_t Crc32(std::string_view bytes);

/// vbucket = crc32(key) >> 16 & 0x7fff & (count - 1). `count` is a power of two. With more than 32,768
/// vbuckets the mask has one bit more (0xffff), which Couchbase never has.
inline Vbid VbidOf(std::string_view key, uint32_t count) {
  const uint32_t mask = count > 32768 ? 0xffff : 0x7fff;
  return Vbid(static_cast<uint16_t>((Crc32(key) >> 16) & mask & (count - 1)));
}

/// Hash of a key for the table: xxh3-64 with the engine's random seed, so that strangers cannot choose
/// keys that collide.
uint64_t KeyHash(std::string_view key, uint64_t seed);

}  // namespace cairn
