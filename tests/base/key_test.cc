#include "base/key.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"

namespace cairn {
namespace {

TEST(Crc32, KnownVectors) {
  EXPECT_EQ(Crc32("123456789"), 0xcbf43926U);  // the check value of every CRC catalogue
  EXPECT_EQ(Crc32(""), 0U);
  EXPECT_EQ(Crc32("a"), 0xe8b7be43U);
  EXPECT_EQ(Crc32("The quick brown fox jumps over the lazy dog"), 0x414fa339U);
  EXPECT_EQ(Crc32(std::string(32, '\0')), 0x190a55adU);
  EXPECT_EQ(Crc32(std::string(32, '\xff')), 0xff6cab0bU);
}

/// One bit at a time, straight from the polynomial.
uint32_t SlowCrc32(std::string_view bytes) {
  uint32_t crc = 0xffffffffU;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xedb88320U : crc >> 1;
  }
  return ~crc;
}

TEST(Crc32, EveryLengthAndAlignmentAgreesWithTheDefinition) {
  Random random(1);
  std::string bytes(300, '\0');
  for (char& c : bytes) c = static_cast<char>(random.Next64());
  for (size_t offset = 0; offset < 8; ++offset) {
    for (size_t length = 0; length <= kKeySizeMax; ++length) {
      const std::string_view part = std::string_view(bytes).substr(offset, length);
      ASSERT_EQ(Crc32(part), SlowCrc32(part)) << offset << " " << length;
    }
  }
}

TEST(VbidOf, IsTheFunctionOfCouchbaseClients) {
  // crc32("123456789") = 0xcbf43926: >> 16 is 0xcbf4, & 0x7fff is 0x4bf4.
  EXPECT_EQ(VbidOf("123456789", 1024), Vbid(0x3f4));
  EXPECT_EQ(VbidOf("123456789", 1), Vbid(0));
  EXPECT_EQ(VbidOf("123456789", 32768), Vbid(0x4bf4));
  EXPECT_EQ(VbidOf("123456789", 65536), Vbid(0xcbf4));
  // crc32("a") = 0xe8b7be43.
  EXPECT_EQ(VbidOf("a", 1024), Vbid(0x0b7));
}

TEST(VbidOf, SpreadsKeysEvenly) {
  std::vector<int> seen(64);
  for (int i = 0; i < 64'000; ++i) ++seen.at(VbidOf("key:" + std::to_string(i), 64).get());
  for (const int count : seen) EXPECT_NEAR(count, 1'000, 200);
}

TEST(KeyHash, DependsOnSeedAndKey) {
  EXPECT_EQ(KeyHash("k", 1), KeyHash("k", 1));
  EXPECT_NE(KeyHash("k", 1), KeyHash("k", 2));
  EXPECT_NE(KeyHash("k", 1), KeyHash("l", 1));
}

}  // namespace
}  // namespace cairn
