#pragma once
// Binary requests and answers for tests, and a session that speaks them.

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/binary.h"
#include "tests/server/session_harness.h"

namespace cairn::server {

using proto::BinaryStatus;
using proto::Opcode;

struct Request {
  Opcode opcode{};
  std::string key;
  std::string value;
  std::string extras;
  uint64_t cas = 0;
  uint16_t vbucket = 0;
  uint32_t opaque = 0xabcd;
  std::string frames;  // framing extras; with some it is a framed request
};

inline std::string Encode(const Request& request) {
  proto::BinaryHeader header;
  header.magic = request.frames.empty() ? proto::kMagicRequest : proto::kMagicFramedRequest;
  header.opcode = request.opcode;
  header.key_size = static_cast<uint16_t>(request.key.size());
  header.framing_size = static_cast<uint8_t>(request.frames.size());
  header.extras_size = static_cast<uint8_t>(request.extras.size());
  header.vbucket = request.vbucket;
  header.body_size = static_cast<uint32_t>(request.frames.size() + request.extras.size() +
                                           request.key.size() + request.value.size());
  header.opaque = request.opaque;
  header.cas = request.cas;
  std::string bytes(proto::kBinaryHeaderSize, '\0');
  proto::EncodeBinaryHeader(header, bytes.data());
  return bytes + request.frames + request.extras + request.key + request.value;
}

inline std::string U32(uint32_t n) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(n >> shift & 0xff);
  return bytes;
}
inline std::string U64(uint64_t n) {
  return U32(static_cast<uint32_t>(n >> 32)) + U32(static_cast<uint32_t>(n));
}

struct Answer {
  Opcode opcode{};
  BinaryStatus status{};
  uint32_t opaque = 0;
  uint64_t cas = 0;
  std::string extras, key, value;
};

/// The answers that `bytes` hold, which end with one.
inline std::vector<Answer> DecodeAnswers(std::string_view bytes) {
  std::vector<Answer> answers;
  while (bytes.size() >= proto::kBinaryHeaderSize) {
    const proto::BinaryHeader header = proto::DecodeBinaryHeader(bytes.data());
    EXPECT_EQ(header.magic, proto::kMagicResponse);
    Answer answer;
    answer.opcode = header.opcode;
    answer.status = static_cast<BinaryStatus>(header.vbucket);
    answer.opaque = header.opaque;
    answer.cas = header.cas;
    const std::string body(bytes.substr(proto::kBinaryHeaderSize, header.body_size));
    answer.extras = body.substr(0, header.extras_size);
    answer.key = body.substr(header.extras_size, header.key_size);
    answer.value = body.substr(size_t{header.extras_size} + header.key_size);
    answers.push_back(answer);
    bytes.remove_prefix(proto::kBinaryHeaderSize + header.body_size);
  }
  EXPECT_TRUE(bytes.empty());
  return answers;
}

class BinarySession : public SessionTest {
 protected:
  std::vector<Answer> Ask(const std::string& in) { return DecodeAnswers(Talk(in)); }
  Answer One(const Request& request) {
    const std::vector<Answer> answers = Ask(Encode(request));
    EXPECT_EQ(answers.size(), 1U);
    return answers.empty() ? Answer{} : answers.front();
  }
  static Request Store(Opcode opcode, const std::string& key, const std::string& value, uint32_t flags = 0) {
    Request request;
    request.opcode = opcode;
    request.key = key;
    request.value = value;
    request.extras = U32(flags) + U32(0);
    return request;
  }
  static Request Plain(Opcode opcode, const std::string& key = {}) {
    Request request;
    request.opcode = opcode;
    request.key = key;
    return request;
  }
};

}  // namespace cairn::server
