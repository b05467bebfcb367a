#pragma once
// Byte scanning for the text parser. Private to proto/.

#include <cstdint>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace cairn::proto {

/// Bytes that end a key: space, control characters and DEL.
constexpr bool EndsKey(char c) {
  const auto byte = static_cast<uint8_t>(c);
  return byte <= ' ' || byte == 0x7f;
}

#if defined(__SSE2__)
/// Bit i: byte i of the 16 at `p` ends a key.
inline uint32_t KeyEndMask(const char* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(' ')), bytes);
  const __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_or_si128(low, del)));
}
#endif

/// The first byte in [p, end) that ends a key, or `end`. Reads nothing outside of [begin, end);
/// begin ≤ p. The tail is looked at through the last 16 bytes, so that it needs no loop.
inline const char* FindKeyEnd([[maybe_unused]] const char* begin, const char* p, const char* end) {
#if defined(__SSE2__)
  for (; end - p >= 16; p += 16) {
    const uint32_t mask = KeyEndMask(p);
    if (mask != 0) return p + __builtin_ctz(mask);
  }
  if (end - begin >= 16) {
    const char* last = end - 16;
    const uint32_t mask = KeyEndMask(last) >> (p - last);
    return mask != 0 ? p + __builtin_ctz(mask) : end;
  }
#endif
  while (p != end && !EndsKey(*p)) ++p;
  return p;
}

}  // namespace cairn::proto
