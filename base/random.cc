#include "base/random.h"

#include <sys/random.h>

#include <bit>
#include <cerrno>

#include "base/check.h"

namespace cairn {
namespace {

uint64_t SplitMix64(uint64_t& state) {
  state += 0x9e3779b97f4a7c15U;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

__extension__ using Uint128 = unsigned __int128;

constexpr char kHexDigits[] = "0123456789abcdef";

}  // namespace

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) word = SplitMix64(seed);
}

uint64_t Random::Next64() {
  const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

// Lemire, "Fast Random Integer Generation in an Interval" (2019): the high half of a product, and a
// redraw for the few low halves that would favour some results.
uint64_t Random::Uniform(uint64_t n) {
  CAIRN_CHECK(n != 0);
  Uint128 product = static_cast<Uint128>(Next64()) * n;
  if (static_cast<uint64_t>(product) < n) {
    const uint64_t threshold = (0 - n) % n;
    while (static_cast<uint64_t>(product) < threshold) product = static_cast<Uint128>(Next64()) * n;
  }
  return static_cast<uint64_t>(product >> 64);
}

uint64_t Random::Between(uint64_t low, uint64_t high) {
  CAIRN_CHECK(low <= high);
  if (low == 0 && high == UINT64_MAX) return Next64();
  return low + Uniform(high - low + 1);
}

uint64_t SystemEntropy() {
  uint64_t value = 0;
  ssize_t got = getrandom(&value, sizeof(value), 0);
  // Only a signal before the generator is ready interrupts; up to 256 bytes are never cut short.
  while (got < 0 && errno == EINTR) got = getrandom(&value, sizeof(value), 0);
  CAIRN_CHECK(got == sizeof(value));
  return value;
}

Uuid RandomUuid(Random& random) {
  Uuid uuid{};
  for (size_t half = 0; half < 2; ++half) {
    const uint64_t bits = random.Next64();
    for (size_t i = 0; i < 8; ++i) uuid[half * 8 + i] = static_cast<uint8_t>(bits >> (8 * i));
  }
  uuid[6] = static_cast<uint8_t>((uuid[6] & 0x0f) | 0x40);
  uuid[8] = static_cast<uint8_t>((uuid[8] & 0x3f) | 0x80);
  return uuid;
}

std::string FormatUuid(const Uuid& uuid) {
  std::string text;
  text.reserve(36);
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kHexDigits[uuid[i] >> 4];
    text += kHexDigits[uuid[i] & 15];
  }
  return text;
}

std::string HexEncode(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 15];
  }
  return text;
}

std::string HexEncode(uint64_t value) {
  std::string text(16, '0');
  for (size_t i = 0; i < 16; ++i) text[15 - i] = kHexDigits[(value >> (4 * i)) & 15];
  return text;
}

}  // namespace cairn
