#include "bench/loadgen/random.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"

namespace cairn::loadgen {

Zipf::Zipf(uint64_t n, double exponent) : n_(static_cast<double>(n)), exponent_(exponent) {
  CAIRN_CHECK(n > 0 && exponent > 0 && exponent != 1.0);
  h_first_ = H(1.5) - 1.0;
  h_last_ = H(n_ + 0.5);
  accept_below_ = 2.0 - HInverse(H(2.5) - std::pow(2.0, -exponent_));
}

// The integral of x^-exponent, the hat over the discrete probabilities.
double Zipf::H(double x) const { return (std::pow(x, 1.0 - exponent_) - 1.0) / (1.0 - exponent_); }

double Zipf::HInverse(double x) const {
  return std::pow(1.0 + x * (1.0 - exponent_), 1.0 / (1.0 - exponent_));
}

uint64_t Zipf::Next(Random& random) const {
  for (;;) {
    const double u = h_last_ + random.Unit() * (h_first_ - h_last_);
    const double x = HInverse(u);
    const double k = std::clamp(std::floor(x + 0.5), 1.0, n_);
    if (k - x <= accept_below_ || u >= H(k + 0.5) - std::pow(k, -exponent_)) {
      return static_cast<uint64_t>(k) - 1;
    }
  }
}

Permutation::Permutation(uint64_t n, uint64_t seed) : n_(n), seed_(seed) {
  CAIRN_CHECK(n > 0);
  const unsigned bits = static_cast<unsigned>(std::bit_width(n - 1));
  half_bits_ = std::max(1U, (bits + 1) / 2);
}

uint64_t Permutation::operator()(uint64_t i) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t x = i;
  // At most four times as many codes as numbers, so this walks 4 steps at the worst on average.
  do {
    uint64_t left = x >> half_bits_;
    uint64_t right = x & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t mixed = left ^ (Mix64(right ^ (seed_ + (round << 56))) & mask);
      left = right;
      right = mixed;
    }
    x = (left << half_bits_) | right;
  } while (x >= n_);
  return x;
}

}  // namespace cairn::loadgen
