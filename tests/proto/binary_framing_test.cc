// Requests with framing extras (magic 0x08), and the durability that they ask for.

#include <gtest/gtest.h>

#include <string>

#include "proto/binary.h"

namespace cairn::proto {
namespace {

std::string Framed(Opcode opcode, const std::string& frames, const std::string& extras,
                   const std::string& key, const std::string& value) {
  BinaryHeader header;
  header.magic = kMagicFramedRequest;
  header.opcode = opcode;
  header.framing_size = static_cast<uint8_t>(frames.size());
  header.extras_size = static_cast<uint8_t>(extras.size());
  header.key_size = static_cast<uint16_t>(key.size());
  header.vbucket = 0x0102;
  header.body_size = static_cast<uint32_t>(frames.size() + extras.size() + key.size() + value.size());
  header.opaque = 0xdeadbeef;
  std::string bytes(kBinaryHeaderSize, '\0');
  EncodeBinaryHeader(header, bytes.data());
  return bytes + frames + extras + key + value;
}

std::string SetWith(const std::string& frames) {
  return Framed(Opcode::kSet, frames, std::string("\0\0\0\x2a\0\0\x0e\x10", 8), "key", "value");
}

ParseOutcome Parse(const std::string& bytes, BinaryRequest* request) {
  return ParseBinary(bytes, Limits{}, request);
}

ParseState StateOf(const std::string& frames) {
  BinaryRequest request;
  const std::string bytes = SetWith(frames);
  const ParseOutcome outcome = Parse(bytes, &request);
  EXPECT_EQ(outcome.bytes, bytes.size()) << "whatever is wrong with it, its end is known";
  return outcome.state;
}

TEST(FramedRequest, HasItsSizesInOneByteEach) {
  const std::string bytes = SetWith("\x11\x01");
  EXPECT_EQ(bytes.substr(0, 12), std::string("\x08\x01\x02\x03\x08\x00\x01\x02\x00\x00\x00\x12", 12));
  const BinaryHeader header = DecodeBinaryHeader(bytes.data());
  EXPECT_EQ(header.framing_size, 2);
  EXPECT_EQ(header.key_size, 3);
  EXPECT_EQ(header.opaque, 0xdeadbeefU);
}

TEST(FramedRequest, GivesTheSameViewsAsAPlainOne) {
  BinaryRequest request;
  const std::string bytes = SetWith("\x11\x01") + "next";
  const ParseOutcome outcome = Parse(bytes, &request);
  ASSERT_EQ(outcome.state, ParseState::kOk);
  EXPECT_EQ(outcome.bytes, bytes.size() - 4);
  EXPECT_EQ(request.key, "key");
  EXPECT_EQ(request.value, "value");
  EXPECT_EQ(request.flags(), 42U);
  EXPECT_EQ(request.exptime(), 3600U);
}

TEST(FramedRequest, NeedsNoFrames) {
  BinaryRequest request;
  const std::string bytes = SetWith("");
  EXPECT_EQ(Parse(bytes, &request).state, ParseState::kOk);
  EXPECT_FALSE(request.durability.present);
  EXPECT_EQ(request.key, "key");
}

TEST(FramedRequest, CarriesALevelAndMaybeATime) {
  BinaryRequest request;
  ASSERT_EQ(Parse(SetWith("\x11\x02"), &request).state, ParseState::kOk);
  EXPECT_TRUE(request.durability.present);
  EXPECT_EQ(request.durability.level, 2);
  EXPECT_EQ(request.durability.timeout_ms, 0);
  ASSERT_EQ(Parse(SetWith("\x13\x03\x12\x34"), &request).state, ParseState::kOk);
  EXPECT_EQ(request.durability.level, 3);
  EXPECT_EQ(request.durability.timeout_ms, 0x1234);
  ASSERT_EQ(Parse(SetWith("\x11\xee"), &request).state, ParseState::kOk)
      << "levels are the server's business";
  EXPECT_EQ(request.durability.level, 0xee);
}

TEST(FramedRequest, DoesNotLeaveItsDurabilityToTheNextOne) {
  BinaryRequest request;
  ASSERT_EQ(Parse(SetWith("\x11\x02"), &request).state, ParseState::kOk);
  std::string plain = SetWith("");
  plain[0] = '\x80';
  plain[2] = '\0';
  ASSERT_EQ(Parse(plain, &request).state, ParseState::kOk);
  EXPECT_FALSE(request.durability.present);
}

TEST(FramedRequest, RefusesTimesThatAreReserved) {
  EXPECT_EQ(StateOf(std::string("\x13\x01\x00\x00", 4)), ParseState::kInvalid);
  EXPECT_EQ(StateOf("\x13\x01\xff\xff"), ParseState::kInvalid);
  EXPECT_EQ(StateOf("\x13\x01\xff\xfe"), ParseState::kOk);
  EXPECT_EQ(StateOf(std::string("\x13\x01\x00\x01", 4)), ParseState::kOk);
}

TEST(FramedRequest, RefusesWrongSizesOfADurability) {
  EXPECT_EQ(StateOf("\x10"), ParseState::kInvalid) << "no level";
  EXPECT_EQ(StateOf("\x12\x01\x01"), ParseState::kInvalid) << "half a time";
  EXPECT_EQ(StateOf("\x14\x01\x01\x01\x01"), ParseState::kInvalid);
  EXPECT_EQ(StateOf("\x11\x01\x11\x01"), ParseState::kInvalid) << "twice";
}

TEST(FramedRequest, RefusesFramesItDoesNotKnow) {
  EXPECT_EQ(StateOf(std::string(1, '\0')), ParseState::kInvalid) << "reorder";
  EXPECT_EQ(StateOf(std::string("\x22\x00\x07", 3)), ParseState::kInvalid) << "a stream's id";
  EXPECT_EQ(StateOf("\x11\x01\x31t"), ParseState::kInvalid) << "a trace behind a durability";
  EXPECT_EQ(StateOf(std::string("\xf1\x00\x01", 3)), ParseState::kInvalid) << "id 15";
  EXPECT_EQ(StateOf("\xf1\xf2\x01"), ParseState::kInvalid) << "id 257 is not id 1";
}

TEST(FramedRequest, RefusesFramesThatEndTooEarly) {
  EXPECT_EQ(StateOf("\x11"), ParseState::kInvalid);
  EXPECT_EQ(StateOf("\x13\x01\x01"), ParseState::kInvalid);
  EXPECT_EQ(StateOf("\xf0"), ParseState::kInvalid) << "the rest of the id is missing";
  EXPECT_EQ(StateOf("\x1f"), ParseState::kInvalid) << "the rest of the size is missing";
  EXPECT_EQ(StateOf("\x1f\xff"), ParseState::kInvalid) << "270 bytes do not fit into 255";
  EXPECT_EQ(StateOf("\xff\xff\xff"), ParseState::kInvalid);
  EXPECT_EQ(StateOf(std::string(255, '\xff')), ParseState::kInvalid);
}

TEST(FramedRequest, RefusesFramesLargerThanTheBody) {
  std::string bytes = SetWith("\x11\x01");
  bytes[2] = '\xff';
  BinaryRequest request;
  const ParseOutcome outcome = Parse(bytes, &request);
  EXPECT_EQ(outcome.state, ParseState::kInvalid);
  EXPECT_EQ(outcome.bytes, bytes.size());
}

TEST(FramedRequest, IsRefusedBeforeItsValueIsWaitedFor) {
  BinaryRequest request;
  const std::string good = SetWith("\x11\x01");
  EXPECT_EQ(ParseBinary(good.substr(0, 24), Limits{}, &request).bytes, 26U) << "the frames are enough";
  const std::string bad = SetWith("\x21\x01");
  EXPECT_EQ(ParseBinary(bad.substr(0, 26), Limits{}, &request).state, ParseState::kInvalid);
}

TEST(FramedRequest, ATooLargeValueIsSkippedFramesAndAll) {
  Limits limits;
  limits.value_bytes_max = 4;
  BinaryRequest request;
  const std::string bytes = SetWith("\x11\x01");
  const ParseOutcome outcome =
      ParseBinary(std::string_view(bytes).substr(0, bytes.size() - 5), limits, &request);
  EXPECT_EQ(outcome.state, ParseState::kTooLarge);
  EXPECT_EQ(outcome.bytes, bytes.size());
  EXPECT_EQ(request.key, "key");
}

TEST(FramedRequest, BeginsABinaryConversation) {
  EXPECT_EQ(SniffProtocol('\x08'), Protocol::kBinary);
  EXPECT_EQ(SniffProtocol('\x80'), Protocol::kBinary);
  EXPECT_EQ(SniffProtocol('g'), Protocol::kText);
}

}  // namespace
}  // namespace cairn::proto
