#include "proto/out_buffer.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "proto/parse.h"
#include "proto/update_id.h"

namespace cairn::proto {
namespace {

TEST(OutBuffer, BytesLeaveInTheOrderTheyCame) {
  OutBuffer out;
  std::string expected;
  std::string taken;
  for (size_t i = 0; i < 20'000; ++i) {
    const std::string piece(i % 37, static_cast<char>('a' + i % 26));
    out.Append(piece);
    expected += piece;
    if (i % 3 == 0) {
      const size_t n = out.size() * 2 / 3;
      taken += out.view().substr(0, n);
      out.Consume(n);
    }
  }
  taken += out.view();
  EXPECT_EQ(taken, expected);
}

TEST(OutBuffer, ReclaimsItsFrontInsteadOfGrowing) {
  OutBuffer out;
  out.Append(std::string(3000, 'x'));
  const size_t capacity = out.capacity();
  for (int i = 0; i < 10'000; ++i) {
    out.Consume(1000);
    out.Append(std::string(1000, 'y'));
  }
  EXPECT_LE(out.capacity(), 2 * capacity);
  EXPECT_EQ(out.view(), std::string(3000, 'y'));
}

TEST(OutBuffer, ReserveAndCommit) {
  OutBuffer out;
  std::memcpy(out.Reserve(100'000), "abc", 3);
  out.Commit(3);
  EXPECT_EQ(out.view(), "abc");
  out.Shrink(10);
  EXPECT_EQ(out.view(), "abc") << "what waits is never given back";
  out.Consume(3);
  out.Shrink(10);
  EXPECT_EQ(out.capacity(), 0U);
  out.Append('z');
  EXPECT_EQ(out.view(), "z");
}

TEST(OutBuffer, Moves) {
  OutBuffer a;
  a.Append("hello");
  OutBuffer b(std::move(a));
  EXPECT_EQ(b.view(), "hello");
  OutBuffer c;
  c.Append("other");
  c = std::move(b);
  EXPECT_EQ(c.view(), "hello");
}

TEST(FormatUint, AgreesWithToString) {
  char digits[20];
  for (uint64_t power = 1; power != 0 && power < UINT64_MAX / 10; power *= 10) {
    for (const uint64_t value : {power - 1, power, power + 1, power * 9}) {
      EXPECT_EQ(std::string(digits, FormatUint(value, digits)), std::to_string(value));
    }
  }
  EXPECT_EQ(std::string(digits, FormatUint(UINT64_MAX, digits)), "18446744073709551615");
  OutBuffer out;
  out.AppendUint(1234567);
  EXPECT_EQ(out.view(), "1234567");
}

TEST(AbsoluteExpiry, FollowsTheThirtyDayRule) {
  constexpr uint32_t kNow = 1'700'000'000;
  constexpr int64_t kThirtyDays = 30 * 24 * 3600;
  EXPECT_EQ(AbsoluteExpiry(0, kNow), 0U);
  EXPECT_EQ(AbsoluteExpiry(1, kNow), kNow + 1);
  EXPECT_EQ(AbsoluteExpiry(kThirtyDays, kNow), kNow + kThirtyDays);
  EXPECT_EQ(AbsoluteExpiry(kThirtyDays + 1, kNow), kThirtyDays + 1) << "absolute, and long ago";
  EXPECT_EQ(AbsoluteExpiry(1'800'000'000, kNow), 1'800'000'000U);
  for (const int64_t negative : {int64_t{-1}, INT64_MIN}) {
    const uint32_t expiry = AbsoluteExpiry(negative, kNow);
    EXPECT_NE(expiry, 0U);
    EXPECT_LT(expiry, kNow);
  }
  EXPECT_EQ(AbsoluteExpiry(INT64_MAX, kNow), UINT32_MAX);
  EXPECT_EQ(AbsoluteExpiry(100, UINT32_MAX - 5), UINT32_MAX);
}

TEST(SniffProtocol, ByTheFirstByte) {
  EXPECT_EQ(SniffProtocol('\x80'), Protocol::kBinary);
  EXPECT_EQ(SniffProtocol('g'), Protocol::kText);
  EXPECT_EQ(SniffProtocol('\x81'), Protocol::kText);
}

TEST(UpdateId, HexadecimalBothWays) {
  const auto id = UpdateId::FromHex("00ff10A0b0c0d0e0f00102030405060f");
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(id->ToHex(), "00ff10a0b0c0d0e0f00102030405060f");
  EXPECT_EQ(UpdateId::FromBytes(id->view()), id);
  EXPECT_FALSE(id->is_none());
  EXPECT_TRUE(UpdateId{}.is_none());
  EXPECT_FALSE(UpdateId::FromHex("00ff10A0b0c0d0e0f00102030405060").has_value());
  EXPECT_FALSE(UpdateId::FromHex("00ff10A0b0c0d0e0f00102030405060g").has_value());
  EXPECT_FALSE(UpdateId::FromBytes("short").has_value());
}

}  // namespace
}  // namespace cairn::proto
