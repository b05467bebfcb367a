#include "base/types.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace cairn {
namespace {

static_assert(!std::is_convertible_v<uint64_t, Seqno>, "a number is not a seqno by accident");
static_assert(!std::is_convertible_v<Seqno, uint64_t>);
static_assert(!std::is_convertible_v<Seqno, Cas>);
static_assert(!std::is_constructible_v<Seqno, CheckpointId>);
static_assert(std::is_trivially_copyable_v<Seqno> && sizeof(Seqno) == 8 && sizeof(Vbid) == 2);

TEST(StrongInt, DefaultIsNone) {
  EXPECT_EQ(Seqno().get(), 0U);
  EXPECT_EQ(Vbid(), Vbid(0));
}

TEST(StrongInt, OrderAndArithmetic) {
  EXPECT_LT(Seqno(1), Seqno(2));
  EXPECT_EQ(Seqno(5) + 3, Seqno(8));
  EXPECT_EQ(Seqno(5) - 3, Seqno(2));
  EXPECT_EQ(Seqno(5) - Seqno(3), 2U);
  Seqno seqno(7);
  EXPECT_EQ(++seqno, Seqno(8));
  EXPECT_EQ(Vbid(65535) + 1, Vbid(0));
}

TEST(StrongInt, Hashes) {
  std::unordered_set<Vbid> set{Vbid(1), Vbid(2), Vbid(1)};
  EXPECT_EQ(set.size(), 2U);
}

TEST(Types, SeqnoMaxIs48Bits) { EXPECT_EQ(kSeqnoMax, 0xffff'ffff'ffffU); }

}  // namespace
}  // namespace cairn
