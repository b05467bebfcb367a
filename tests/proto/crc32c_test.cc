#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn {
namespace {

// The vectors of RFC 3720, appendix B.4, and the usual check value.
TEST(Crc32c, KnownVectors) {
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending.push_back(static_cast<char>(i));
  for (auto* crc : {&Crc32c, &Crc32cPortable}) {
    EXPECT_EQ(crc("", 0), 0U);
    EXPECT_EQ(crc("123456789", 0), 0xe3069283U);
    EXPECT_EQ(crc(std::string(32, '\0'), 0), 0x8a9136aaU);
    EXPECT_EQ(crc(std::string(32, '\xff'), 0), 0x62a8ab43U);
    EXPECT_EQ(crc(ascending, 0), 0x46dd794eU);
  }
}

TEST(Crc32c, InstructionAndTablesAgreeAtEverySizeAndAlignment) {
  std::string bytes;
  uint32_t x = 1;
  for (int i = 0; i < 400; ++i) bytes.push_back(static_cast<char>((x = x * 1664525 + 1013904223) >> 24));
  for (size_t start = 0; start < 9; ++start) {
    for (size_t size = 0; size + start <= bytes.size(); ++size) {
      const std::string_view part = std::string_view(bytes).substr(start, size);
      ASSERT_EQ(Crc32c(part), Crc32cPortable(part)) << start << " " << size;
    }
  }
}

TEST(Crc32c, ContinuesWhereItStopped) {
  const std::string_view text = "the quick brown fox jumps over the lazy dog";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(Crc32c(text.substr(cut), Crc32c(text.substr(0, cut))), Crc32c(text));
    EXPECT_EQ(Crc32cPortable(text.substr(cut), Crc32cPortable(text.substr(0, cut))), Crc32c(text));
  }
}

}  // namespace
}  // namespace cairn
