#pragma once
// Pseudo-random numbers as a dependency: whoever needs chance gets a Random passed in, so that a
// simulator replays a run from its seed. Not for secrets; a Random belongs to one thread.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace cairn {

/// xoshiro256++ 1.0 (Blackman and Vigna), seeded through splitmix64 as its authors advise. The same seed
/// gives the same numbers on every platform.
class Random {
 public:
  explicit Random(uint64_t seed);

  /// 64 evenly distributed bits.
  uint64_t Next64();
  /// Evenly distributed in [0, n), without modulo bias. `n` must not be 0.
  uint64_t Uniform(uint64_t n);
  /// Evenly distributed in [low, high], both included; low ≤ high.
  uint64_t Between(uint64_t low, uint64_t high);
  /// True once in `n` calls on average; n = 1 is always true. `n` must not be 0.
  bool OneIn(uint64_t n) { return Uniform(n) == 0; }
  /// Evenly distributed in [0, 1).
  double NextDouble() { return static_cast<double>(Next64() >> 11) * 0x1.0p-53; }
  /// An independent generator; for giving each part of a simulation its own sequence.
  Random Fork() { return Random(Next64()); }

 private:
  std::array<uint64_t, 4> state_;
};

/// 64 bits from the kernel's generator (getrandom), for seeds and identities. Ends the process if the
/// kernel has none to give, which Linux never does after boot.
uint64_t SystemEntropy();

using Uuid = std::array<uint8_t, 16>;

/// A version 4 (random) UUID in network order, RFC 4122 section 4.4. Never all zero.
Uuid RandomUuid(Random& random);

/// "6fa459ea-ee8a-4ca4-894e-db77e160355e".
std::string FormatUuid(const Uuid& uuid);

/// Lower-case hexadecimal, two digits a byte.
std::string HexEncode(std::string_view bytes);
/// Sixteen lower-case hexadecimal digits, as histories and digests are printed.
std::string HexEncode(uint64_t value);

}  // namespace cairn
