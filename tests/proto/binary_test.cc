#include "proto/binary.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/types.h"

namespace cairn::proto {
namespace {

struct Frame {
  uint8_t opcode = 0;
  std::string extras;
  std::string key;
  std::string value;
};

std::string Encode(const Frame& frame) {
  BinaryHeader header;
  header.magic = kMagicRequest;
  header.opcode = static_cast<Opcode>(frame.opcode);
  header.extras_size = static_cast<uint8_t>(frame.extras.size());
  header.key_size = static_cast<uint16_t>(frame.key.size());
  header.vbucket = 0x0102;
  header.body_size = static_cast<uint32_t>(frame.extras.size() + frame.key.size() + frame.value.size());
  header.opaque = 0xdeadbeef;
  header.cas = 0x1122334455667788;
  std::string bytes(kBinaryHeaderSize, '\0');
  EncodeBinaryHeader(header, bytes.data());
  return bytes + frame.extras + frame.key + frame.value;
}

Frame FrameOf(Opcode opcode, size_t extras, size_t key, size_t value) {
  return {static_cast<uint8_t>(opcode), std::string(extras, 'e'), std::string(key, 'k'),
          std::string(value, 'v')};
}

ParseState StateOf(const Frame& frame) {
  BinaryRequest request;
  const std::string bytes = Encode(frame);
  const ParseOutcome outcome = ParseBinary(bytes, Limits{}, &request);
  EXPECT_EQ(outcome.bytes, bytes.size()) << "whatever is wrong with it, its end is known";
  return outcome.state;
}

TEST(BinaryHeader, HasTheBytesOfTheProtocol) {
  const std::string bytes = Encode(FrameOf(Opcode::kSet, 8, 5, 100));
  const std::string expected(
      "\x80\x01\x00\x05\x08\x00\x01\x02\x00\x00\x00\x71\xde\xad\xbe\xef\x11\x22\x33\x44\x55\x66\x77\x88", 24);
  EXPECT_EQ(bytes.substr(0, 24), expected);
  const BinaryHeader header = DecodeBinaryHeader(bytes.data());
  EXPECT_EQ(header.magic, 0x80);
  EXPECT_EQ(header.opcode, Opcode::kSet);
  EXPECT_EQ(header.key_size, 5);
  EXPECT_EQ(header.extras_size, 8);
  EXPECT_EQ(header.vbucket, 0x0102);
  EXPECT_EQ(header.body_size, 113U);
  EXPECT_EQ(header.opaque, 0xdeadbeefU);
  EXPECT_EQ(header.cas, 0x1122334455667788U);
}

TEST(ParseBinary, GivesViewsIntoTheInput) {
  const std::string bytes =
      Encode({0x01, std::string("\x00\x00\x00\x2a\x00\x00\x0e\x10", 8), "hello", "world!"}) + "next";
  BinaryRequest request;
  const ParseOutcome outcome = ParseBinary(bytes, Limits{}, &request);
  ASSERT_EQ(outcome.state, ParseState::kOk);
  EXPECT_EQ(outcome.bytes, bytes.size() - 4);
  EXPECT_EQ(request.key, "hello");
  EXPECT_EQ(request.key.data(), bytes.data() + 32);
  EXPECT_EQ(request.value, "world!");
  EXPECT_EQ(request.flags(), 42U);
  EXPECT_EQ(request.exptime(), 3600U);
}

TEST(ParseBinary, DecodesTheOtherExtras) {
  BinaryRequest request;
  const std::string counter(
      "\x00\x00\x00\x00\x00\x00\x00\x05"
      "\x01\x00\x00\x00\x00\x00\x00\x09"
      "\xff\xff\xff\xff",
      20);
  const std::string incr = Encode({0x05, counter, "n", ""});
  ASSERT_EQ(ParseBinary(incr, Limits{}, &request).state, ParseState::kOk);
  EXPECT_EQ(request.delta(), 5U);
  EXPECT_EQ(request.initial(), 0x0100000000000009U);
  EXPECT_EQ(request.exptime(), 0xffffffffU);

  const std::string touch = Encode({0x1c, std::string("\x00\x00\x01\x00", 4), "n", ""});
  ASSERT_EQ(ParseBinary(touch, Limits{}, &request).state, ParseState::kOk);
  EXPECT_EQ(request.exptime(), 256U);

  const std::string flush = Encode({0x08, "", "", ""});
  ASSERT_EQ(ParseBinary(flush, Limits{}, &request).state, ParseState::kOk);
  EXPECT_EQ(request.exptime(), 0U);

  const std::string start = Encode({0x9b, "0123456789abcdef", "name", ""});
  ASSERT_EQ(ParseBinary(start, Limits{}, &request).state, ParseState::kOk);
  EXPECT_EQ(request.update_id().view(), "0123456789abcdef");
  EXPECT_EQ(request.key, "name");
  const std::string revert = Encode({0x9d, "", "", ""});
  ASSERT_EQ(ParseBinary(revert, Limits{}, &request).state, ParseState::kOk);
  EXPECT_TRUE(request.update_id().is_none());
}

// The shapes of protocol_binary.txt, written down a second time: extras sizes, key, value
// (n none, o optional, r required).
struct ShapeRow {
  uint8_t opcode;
  std::set<size_t> extras;
  char key;
  char value;
};
const std::vector<ShapeRow> kShapeRows = {{0x00, {0}, 'r', 'n'},
                                          {0x01, {8}, 'r', 'o'},
                                          {0x02, {8}, 'r', 'o'},
                                          {0x03, {8}, 'r', 'o'},
                                          {0x04, {0}, 'r', 'n'},
                                          {0x05, {20}, 'r', 'n'},
                                          {0x06, {20}, 'r', 'n'},
                                          {0x07, {0}, 'n', 'n'},
                                          {0x08, {0, 4}, 'n', 'n'},
                                          {0x09, {0}, 'r', 'n'},
                                          {0x0a, {0}, 'n', 'n'},
                                          {0x0b, {0}, 'n', 'n'},
                                          {0x0c, {0}, 'r', 'n'},
                                          {0x0d, {0}, 'r', 'n'},
                                          {0x0e, {0}, 'r', 'o'},
                                          {0x0f, {0}, 'r', 'o'},
                                          {0x10, {0}, 'o', 'n'},
                                          {0x11, {8}, 'r', 'o'},
                                          {0x12, {8}, 'r', 'o'},
                                          {0x13, {8}, 'r', 'o'},
                                          {0x14, {0}, 'r', 'n'},
                                          {0x15, {20}, 'r', 'n'},
                                          {0x16, {20}, 'r', 'n'},
                                          {0x17, {0}, 'n', 'n'},
                                          {0x18, {0, 4}, 'n', 'n'},
                                          {0x19, {0}, 'r', 'o'},
                                          {0x1a, {0}, 'r', 'o'},
                                          {0x1b, {4}, 'n', 'n'},
                                          {0x1c, {4}, 'r', 'n'},
                                          {0x1d, {4}, 'r', 'n'},
                                          {0x1e, {4}, 'r', 'n'},
                                          {0x1f, {0}, 'o', 'o'},
                                          {0x20, {0}, 'n', 'n'},
                                          {0x21, {0}, 'r', 'o'},
                                          {0x22, {0}, 'r', 'o'},
                                          {0x23, {4}, 'r', 'n'},
                                          {0x24, {4}, 'r', 'n'},
                                          {0x3d, {1, 4}, 'n', 'n'},
                                          {0x3e, {0}, 'n', 'n'},
                                          {0x3f, {0}, 'n', 'o'},
                                          {0x48, {0, 4}, 'n', 'n'},
                                          {0x80, {0}, 'n', 'n'},
                                          {0x81, {0}, 'n', 'n'},
                                          {0x82, {4}, 'r', 'r'},
                                          {0x83, {0}, 'r', 'n'},
                                          {0x91, {0}, 'n', 'r'},
                                          {0x92, {0}, 'n', 'r'},
                                          {0x93, {0}, 'r', 'n'},
                                          {0x94, {0, 4}, 'r', 'n'},
                                          {0x95, {0}, 'r', 'n'},
                                          {0x96, {0}, 'n', 'n'},
                                          {0x97, {0}, 'n', 'n'},
                                          {0x9b, {0, 16}, 'o', 'n'},
                                          {0x9c, {0, 16}, 'n', 'n'},
                                          {0x9d, {0, 16}, 'n', 'n'},
                                          {0xa0, {0, 1}, 'r', 'n'},
                                          {0xa1, {0, 1}, 'r', 'n'},
                                          {0xa2, {24, 26, 28, 30}, 'r', 'o'},
                                          {0xa3, {24, 26, 28, 30}, 'r', 'o'},
                                          {0xa4, {24, 26, 28, 30}, 'r', 'o'},
                                          {0xa5, {24, 26, 28, 30}, 'r', 'o'},
                                          {0xa8, {24, 26, 28, 30}, 'r', 'o'},
                                          {0xa9, {24, 26, 28, 30}, 'r', 'o'},
                                          {0xaa, {0}, 'n', 'n'},
                                          {0xad, {0}, 'n', 'n'},
                                          {0xae, {0}, 'n', 'n'},
                                          {0xb1, {0, 8}, 'n', 'o'},
                                          {0xb3, {24}, 'n', 'n'},
                                          {0xb6, {0}, 'n', 'n'},
                                          {0xb7, {8}, 'n', 'n'},
                                          {0xb8, {0, 4}, 'o', 'n'}};

bool Allows(char presence, size_t size) { return presence == 'o' || (presence == 'r') == (size > 0); }

TEST(ParseBinary, EveryOpcodeAcceptsExactlyItsShapes) {
  std::map<uint8_t, ShapeRow> shapes;
  for (const ShapeRow& row : kShapeRows) shapes.emplace(row.opcode, row);
  for (int code = 0; code < 256; ++code) {
    const auto opcode = static_cast<uint8_t>(code);
    const auto found = shapes.find(opcode);
    ASSERT_EQ(IsKnownOpcode(opcode), found != shapes.end()) << code;
    for (size_t extras = 0; extras <= 40; ++extras) {
      for (const size_t key : {0U, 1U, 250U}) {
        for (const size_t value : {0U, 1U}) {
          const ParseState state = StateOf(FrameOf(static_cast<Opcode>(opcode), extras, key, value));
          if (found == shapes.end()) {
            ASSERT_EQ(state, ParseState::kUnknown);
            continue;
          }
          const ShapeRow& row = found->second;
          const bool name_too_long = opcode == 0x9b && key > kUpdateNameSizeMax;
          const bool fits = row.extras.contains(extras) && Allows(row.key, key) && Allows(row.value, value);
          ASSERT_EQ(state, fits && !name_too_long ? ParseState::kOk : ParseState::kInvalid)
              << OpcodeName(static_cast<Opcode>(opcode)) << " " << extras << " " << key << " " << value;
        }
      }
    }
  }
}

TEST(ParseBinary, KeysUpTo250Bytes) {
  EXPECT_EQ(StateOf(FrameOf(Opcode::kGet, 0, kKeySizeMax, 0)), ParseState::kOk);
  EXPECT_EQ(StateOf(FrameOf(Opcode::kGet, 0, kKeySizeMax + 1, 0)), ParseState::kInvalid);
  EXPECT_EQ(StateOf(FrameOf(Opcode::kSet, 8, 65'535, 1)), ParseState::kInvalid);
  EXPECT_EQ(StateOf(FrameOf(Opcode::kOnlineUpdateStart, 0, kUpdateNameSizeMax, 0)), ParseState::kOk);
}

TEST(ParseBinary, HeaderWhoseSizesContradictIsInvalidAndSkippedByItsBodySize) {
  BinaryHeader header;
  header.magic = kMagicRequest;
  header.opcode = Opcode::kSet;
  header.extras_size = 8;
  for (const auto& [key, body] : std::vector<std::pair<uint16_t, uint32_t>>{
           {0, 8}, {1, 0}, {1, 7}, {1, 8}, {250, 257}, {65'535, 65'535}, {65'535, 0xffffffff}}) {
    header.key_size = key;
    header.body_size = body;
    std::string bytes(kBinaryHeaderSize, '\0');
    EncodeBinaryHeader(header, bytes.data());
    BinaryRequest request;
    const ParseOutcome outcome = ParseBinary(bytes, Limits{}, &request);
    EXPECT_EQ(outcome.state, ParseState::kInvalid) << key << " " << body;
    EXPECT_EQ(outcome.bytes, kBinaryHeaderSize + body);
    EXPECT_EQ(request.header.opcode, Opcode::kSet);
  }
  // An extras size above 31 must not be shifted into the mask of allowed sizes.
  header = BinaryHeader{};
  header.magic = kMagicRequest;
  header.opcode = Opcode::kNoop;
  for (int extras = 1; extras < 256; ++extras) {
    header.extras_size = static_cast<uint8_t>(extras);
    header.body_size = static_cast<uint32_t>(extras);
    std::string bytes(kBinaryHeaderSize, '\0');
    EncodeBinaryHeader(header, bytes.data());
    BinaryRequest request;
    EXPECT_EQ(ParseBinary(bytes, Limits{}, &request).state, ParseState::kInvalid) << extras;
  }
}

TEST(ParseBinary, UnknownOpcodeIsKnownToBeOneFromItsHeaderAlone) {
  BinaryHeader header;
  header.magic = kMagicRequest;
  header.opcode = static_cast<Opcode>(0xff);
  header.body_size = 0xffffffff;
  std::string bytes(kBinaryHeaderSize, '\0');
  EncodeBinaryHeader(header, bytes.data());
  BinaryRequest request;
  const ParseOutcome outcome = ParseBinary(bytes, Limits{}, &request);
  EXPECT_EQ(outcome.state, ParseState::kUnknown);
  EXPECT_EQ(outcome.bytes, size_t{0xffffffff} + kBinaryHeaderSize);
}

TEST(ParseBinary, TooLargeAValueIsRefusedWhenItsKeyIsThere) {
  Limits limits;
  limits.value_bytes_max = 10;
  BinaryRequest request;
  const std::string fits = Encode(FrameOf(Opcode::kSet, 8, 3, 10));
  EXPECT_EQ(ParseBinary(fits, limits, &request).state, ParseState::kOk);
  const std::string large = Encode(FrameOf(Opcode::kSet, 8, 3, 11));
  const size_t value_at = kBinaryHeaderSize + 8 + 3;
  for (size_t n = kBinaryHeaderSize; n < value_at; ++n) {
    const ParseOutcome outcome = ParseBinary(std::string_view(large).substr(0, n), limits, &request);
    EXPECT_EQ(outcome.state, ParseState::kNeedMore);
    EXPECT_EQ(outcome.bytes, value_at);
  }
  for (size_t n = value_at; n <= large.size(); ++n) {
    const ParseOutcome outcome = ParseBinary(std::string_view(large).substr(0, n), limits, &request);
    EXPECT_EQ(outcome.state, ParseState::kTooLarge);
    EXPECT_EQ(outcome.bytes, large.size());
    EXPECT_EQ(request.key, "kkk");
    EXPECT_EQ(request.header.opaque, 0xdeadbeefU);
  }
}

TEST(ParseBinary, WrongMagicClosesAtTheFirstByte) {
  BinaryRequest request;
  for (int magic = 0; magic < 256; ++magic) {
    const std::string bytes(1, static_cast<char>(magic));
    EXPECT_EQ(ParseBinary(bytes, Limits{}, &request).state,
              magic == 0x80 || magic == 0x08 ? ParseState::kNeedMore : ParseState::kClose);
  }
}

TEST(ParseBinary, EveryPrefixOfAValidRequestNeedsMore) {
  for (const ShapeRow& row : kShapeRows) {
    for (const size_t extras : row.extras) {
      const std::string whole = Encode(
          FrameOf(static_cast<Opcode>(row.opcode), extras, row.key == 'n' ? 0 : 7, row.value == 'n' ? 0 : 9));
      BinaryRequest request;
      for (size_t n = 0; n < whole.size(); ++n) {
        const std::vector<char> prefix(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
        const ParseOutcome outcome = ParseBinary({prefix.data(), n}, Limits{}, &request);
        ASSERT_EQ(outcome.state, ParseState::kNeedMore);
        ASSERT_EQ(outcome.bytes, n < kBinaryHeaderSize ? kBinaryHeaderSize : whole.size());
      }
      EXPECT_EQ(ParseBinary(whole, Limits{}, &request).state, ParseState::kOk);
    }
  }
}

TEST(Opcodes, QuietFormsAndNames) {
  const std::map<uint8_t, uint8_t> loud_of = {
      {0x09, 0x00}, {0x0d, 0x0c}, {0x11, 0x01}, {0x12, 0x02}, {0x13, 0x03}, {0x14, 0x04},
      {0x15, 0x05}, {0x16, 0x06}, {0x17, 0x07}, {0x18, 0x08}, {0x19, 0x0e}, {0x1a, 0x0f},
      {0x1e, 0x1d}, {0x24, 0x23}, {0xa1, 0xa0}, {0xa3, 0xa2}, {0xa5, 0xa4}, {0xa9, 0xa8}};
  std::set<std::string_view> names;
  for (int code = 0; code < 256; ++code) {
    const auto opcode = static_cast<Opcode>(code);
    const auto found = loud_of.find(static_cast<uint8_t>(code));
    EXPECT_EQ(IsQuiet(opcode), found != loud_of.end()) << code;
    EXPECT_EQ(static_cast<int>(LoudForm(opcode)), found == loud_of.end() ? code : found->second);
    if (IsKnownOpcode(static_cast<uint8_t>(code))) {
      EXPECT_TRUE(names.insert(OpcodeName(opcode)).second) << code;
    }
  }
  EXPECT_EQ(OpcodeName(Opcode::kOnlineUpdateRevert), "ONLINE_UPDATE_REVERT");
  EXPECT_EQ(OpcodeName(static_cast<Opcode>(0xff)), "UNKNOWN");
}

class BinaryReply : public ::testing::Test {
 protected:
  BinaryReply() {
    request_.opcode = Opcode::kGetKQ;
    request_.opaque = 0x01020304;
    request_.cas = 99;
  }
  BinaryHeader request_;
  OutBuffer out_;
};

TEST_F(BinaryReply, Value) {
  AppendBinaryValue(request_, 5, 0x2a, "key", "val", &out_);
  EXPECT_EQ(out_.view(), std::string_view("\x81\x0d\x00\x03\x04\x00\x00\x00\x00\x00\x00\x0a\x01\x02\x03\x04"
                                          "\x00\x00\x00\x00\x00\x00\x00\x05"
                                          "\x00\x00\x00\x2akeyval",
                                          34));
  out_.Clear();
  request_.opcode = Opcode::kGet;
  AppendBinaryValue(request_, 5, 0x2a, "key", "val", &out_);
  EXPECT_EQ(out_.size(), 31U) << "GET answers without the key";
}

TEST_F(BinaryReply, ErrorsCarryTheirText) {
  AppendBinaryError(request_, BinaryStatus::kNotFound, &out_);
  const BinaryHeader header = DecodeBinaryHeader(out_.view().data());
  EXPECT_EQ(header.magic, kMagicResponse);
  EXPECT_EQ(header.vbucket, 1);
  EXPECT_EQ(header.cas, 0U);
  EXPECT_EQ(header.opaque, 0x01020304U);
  EXPECT_EQ(out_.view().substr(kBinaryHeaderSize), "Not found");
  out_.Clear();
  AppendBinaryError(request_, BinaryStatus::kNotSupported, &out_, "no update is open");
  EXPECT_EQ(out_.view().substr(kBinaryHeaderSize), "no update is open");
}

TEST_F(BinaryReply, SuccessCounterAndStats) {
  AppendBinarySuccess(request_, 7, &out_);
  EXPECT_EQ(out_.size(), kBinaryHeaderSize);
  EXPECT_EQ(DecodeBinaryHeader(out_.view().data()).cas, 7U);
  out_.Clear();
  AppendBinaryCounter(request_, 7, 258, &out_);
  EXPECT_EQ(out_.view().substr(kBinaryHeaderSize), std::string_view("\0\0\0\0\0\0\x01\x02", 8));
  out_.Clear();
  AppendBinaryStat(request_, "pid", "123", &out_);
  EXPECT_EQ(out_.view().substr(kBinaryHeaderSize), "pid123");
  EXPECT_EQ(DecodeBinaryHeader(out_.view().data()).key_size, 3);
}

TEST_F(BinaryReply, EveryCodeHasAStatusAndEveryStatusAText) {
  for (int code = 0; code <= static_cast<int>(Code::kInternal); ++code) {
    const BinaryStatus status = BinaryStatusOf(static_cast<Code>(code));
    EXPECT_EQ(status == BinaryStatus::kOk, code == 0);
    EXPECT_FALSE(BinaryStatusText(status).empty());
  }
  EXPECT_EQ(static_cast<int>(BinaryStatusOf(Code::kNotMyVbucket)), 0x07);
  EXPECT_EQ(static_cast<int>(BinaryStatusOf(Code::kNotSupported)), 0x83);
  EXPECT_EQ(static_cast<int>(BinaryStatusOf(Code::kAmbiguous)), 0xa3);
}

}  // namespace
}  // namespace cairn::proto
