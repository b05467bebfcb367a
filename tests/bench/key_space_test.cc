#include "bench/loadgen/key_space.h"

#include <gtest/gtest.h>

namespace cairn::loadgen {
namespace {

std::string KeyOf(const KeySpace& space, uint64_t number) {
  std::string key;
  space.AppendKey(number, &key);
  return key;
}

std::string ValueOf(const KeySpace& space, uint64_t number, uint32_t version) {
  std::string value;
  space.AppendValue(number, version, &value);
  return value;
}

TEST(KeySpace, KeysArePaddedToTheirSize) {
  const KeySpace space({1'000'000, "key-", 16, 100});
  EXPECT_EQ(KeyOf(space, 0), "key-000000000000");
  EXPECT_EQ(KeyOf(space, 999'999), "key-000000999999");
}

TEST(KeySpace, KnowsItsKeys) {
  const KeySpace space({1000, "k", 8, 100});
  EXPECT_TRUE(space.IsKey(0, "k0000000"));
  EXPECT_TRUE(space.IsKey(120, "k0000120"));
  EXPECT_FALSE(space.IsKey(120, "k0000121"));
  EXPECT_FALSE(space.IsKey(120, "k1000120"));
  EXPECT_FALSE(space.IsKey(120, "j0000120"));
  EXPECT_FALSE(space.IsKey(120, "k000120"));
  EXPECT_FALSE(space.IsKey(120, ""));
}

TEST(KeySpace, ValuesHaveTheirSizeAndNoLineEnds) {
  for (const size_t size : {1U, 7U, 8U, 15U, 16U, 17U, 100U, 1000U}) {
    const KeySpace space({1000, "k", 8, size});
    const std::string value = ValueOf(space, 17, 3);
    EXPECT_EQ(value.size(), size);
    for (const char c : value) {
      EXPECT_GE(c, '0');
      EXPECT_LE(c, 'o');
    }
  }
}

TEST(KeySpace, ValuesTellTheirVersion) {
  const KeySpace space({1000, "k", 8, 100});
  for (const uint32_t version : {0U, 1U, 0xdeadbeefU, UINT32_MAX}) {
    EXPECT_EQ(space.VersionOf(17, ValueOf(space, 17, version)), version);
  }
}

TEST(KeySpace, RefusesAValueOfAnotherKeyOrADamagedOne) {
  const KeySpace space({1000, "k", 8, 100});
  EXPECT_FALSE(space.VersionOf(17, ValueOf(space, 18, 1)));
  for (const size_t at : {0U, 7U, 8U, 50U, 99U}) {
    std::string value = ValueOf(space, 17, 1);
    value[at] = value[at] == '2' ? '3' : '2';
    EXPECT_FALSE(space.VersionOf(17, value)) << at;
  }
  std::string other_version = ValueOf(space, 17, 1);
  other_version.replace(0, 8, ValueOf(space, 17, 2), 0, 8);
  EXPECT_FALSE(space.VersionOf(17, other_version));
  EXPECT_FALSE(space.VersionOf(17, ValueOf(space, 17, 1).substr(1)));
}

TEST(KeySpace, ShortValuesAreCheckedToo) {
  const KeySpace space({1000, "k", 8, 10});
  EXPECT_EQ(space.VersionOf(17, ValueOf(space, 17, 5)), 0U);
  EXPECT_FALSE(space.VersionOf(18, ValueOf(space, 17, 5)));
}

}  // namespace
}  // namespace cairn::loadgen
