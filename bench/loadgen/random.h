#pragma once
// Random numbers of the load: a generator per connection, a Zipf sampler, and a permutation of [0, n).
// Value types without shared state; each is used by one thread.

#include <cstdint>

namespace cairn::loadgen {

/// The finalizer of splitmix64: a bijection on 64 bits whose output looks random.
constexpr uint64_t Mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// splitmix64 (Steele, Lea, Flood 2014): one multiply-xor chain per number and streams that differ for
/// every seed, which is all a load generator needs.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    const uint64_t out = Mix64(state_);
    state_ += 0x9e3779b97f4a7c15ULL;
    return out;
  }
  /// Uniform in [0, n); n > 0. The bias of the multiply-shift is below 2^-32 for the n used here.
  uint64_t Below(uint64_t n) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * n) >> 64);
  }
  /// Uniform in [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

 private:
  uint64_t state_;
};

/// Ranks 0 … n-1 where rank r has probability proportional to (r+1)^-exponent. Rejection-inversion
/// (Hörmann and Derflinger 1996): exact, and no table of n sums to build before a run.
class Zipf {
 public:
  /// `n` > 0; `exponent` > 0 and not 1 (0.99 is what YCSB uses).
  Zipf(uint64_t n, double exponent);
  uint64_t Next(Random& random) const;

 private:
  double H(double x) const;
  double HInverse(double x) const;

  double n_;
  double exponent_;
  double h_first_;
  double h_last_;
  double accept_below_;
};

/// A fixed pseudo-random bijection of [0, n): visits every number exactly once in an order without
/// locality. Four Feistel rounds over the next even power of two; results outside of [0, n) walk on.
class Permutation {
 public:
  Permutation(uint64_t n, uint64_t seed);
  /// `i` < n.
  uint64_t operator()(uint64_t i) const;

 private:
  uint64_t n_;
  uint64_t seed_;
  unsigned half_bits_;
};

}  // namespace cairn::loadgen
