#include "base/random.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace cairn {
namespace {

// The numbers that the reference implementations (rand_xoshiro's stable_seed_from_u64 among them) give for
// this seed: a simulator's seed must mean the same run for ever.
TEST(Random, GivesTheReferenceSequence) {
  Random random(0);
  const std::vector<uint64_t> expected{5987356902031041503U, 7051070477665621255U, 6633766593972829180U,
                                       211316841551650330U, 9136120204379184874U};
  for (const uint64_t value : expected) EXPECT_EQ(random.Next64(), value);
}

TEST(Random, SameSeedSameSequenceOtherSeedOther) {
  Random a(7);
  Random b(7);
  Random c(8);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = a.Next64();
    EXPECT_EQ(value, b.Next64());
    differs = differs || value != c.Next64();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, UniformIsEvenAndInRange) {
  Random random(1);
  std::vector<int> seen(10);
  for (int i = 0; i < 100'000; ++i) ++seen.at(random.Uniform(10));
  // Five standard deviations of a binomial(100000, 0.1) are 474.
  for (const int count : seen) EXPECT_NEAR(count, 10'000, 474);
}

TEST(Random, UniformOfHugeRangesIsNotBiased) {
  // With a plain modulus, n = 2/3 of 2^64 would give results below 2^64 / 3 twice as often as the others.
  Random random(2);
  const uint64_t n = UINT64_MAX / 3 * 2;
  int low = 0;
  for (int i = 0; i < 30'000; ++i) low += random.Uniform(n) < n / 2 ? 1 : 0;
  EXPECT_NEAR(low, 15'000, 433);
}

TEST(Random, BetweenIncludesBothEnds) {
  Random random(3);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1'000; ++i) seen.insert(random.Between(5, 8));
  EXPECT_EQ(seen, (std::set<uint64_t>{5, 6, 7, 8}));
  EXPECT_EQ(random.Between(9, 9), 9U);
  random.Between(0, UINT64_MAX);  // the whole range does not overflow the width
}

TEST(Random, OneInAndNextDouble) {
  Random random(4);
  int hits = 0;
  for (int i = 0; i < 100'000; ++i) {
    hits += random.OneIn(100) ? 1 : 0;
    const double x = random.NextDouble();
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
  }
  EXPECT_NEAR(hits, 1'000, 158);
  EXPECT_TRUE(random.OneIn(1));
}

TEST(Random, ForksAreIndependent) {
  Random parent(5);
  Random a = parent.Fork();
  Random b = parent.Fork();
  EXPECT_NE(a.Next64(), b.Next64());
}

TEST(RandomDeathTest, UniformOfNothingIsAProgrammerError) {
  Random random(1);
  EXPECT_DEATH(random.Uniform(0), "check failed");
}

TEST(SystemEntropy, Differs) { EXPECT_NE(SystemEntropy(), SystemEntropy()); }

TEST(Uuid, HasVersionAndVariantOfRfc4122) {
  Random random(6);
  std::set<Uuid> seen;
  for (int i = 0; i < 1'000; ++i) {
    const Uuid uuid = RandomUuid(random);
    EXPECT_EQ(uuid[6] >> 4, 4);
    EXPECT_EQ(uuid[8] >> 6, 2);
    EXPECT_TRUE(seen.insert(uuid).second);
  }
}

TEST(Uuid, Format) {
  const Uuid uuid{0x6f, 0xa4, 0x59, 0xea, 0xee, 0x8a, 0x4c, 0xa4,
                  0x89, 0x4e, 0xdb, 0x77, 0xe1, 0x60, 0x35, 0x5e};
  EXPECT_EQ(FormatUuid(uuid), "6fa459ea-ee8a-4ca4-894e-db77e160355e");
}

TEST(HexEncode, BytesAndNumbers) {
  EXPECT_EQ(HexEncode(std::string_view("\x00\xff\x7f", 3)), "00ff7f");
  EXPECT_EQ(HexEncode(std::string_view()), "");
  EXPECT_EQ(HexEncode(uint64_t{0xdeadbeef}), "00000000deadbeef");
  EXPECT_EQ(HexEncode(UINT64_MAX), "ffffffffffffffff");
}

}  // namespace
}  // namespace cairn
