// However a stream of requests is cut into pieces, its answers are the same; also when it is damaged.

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

#include "tests/server/session_harness.h"

namespace cairn::server {
namespace {

class SplitSession : public SessionTest {
 protected:
  /// The answers to `stream`, presented in pieces of at most `piece_max` bytes. Stops where the session
  /// closes.
  std::string Converse(std::string_view stream, std::mt19937& random, size_t piece_max) {
    Open(Options());
    std::string begun;
    std::string answers;
    while (!stream.empty()) {
      const size_t size = std::min<size_t>(stream.size(), 1 + random() % piece_max);
      begun.append(stream.substr(0, size));
      stream.remove_prefix(size);
      answers += Talk(begun);
      if (last_outcome_ == Outcome::kClose) break;
      begun = left_over_;
    }
    return answers;
  }
};

std::string RandomTextRequest(std::mt19937& random) {
  const std::string key = "k" + std::to_string(random() % 20);
  const std::string value(random() % 40, 'v');
  const std::string store = " " + key + " 1 0 " + std::to_string(value.size()) + "\r\n" + value + "\r\n";
  switch (random() % 12) {
    case 0:
      return "add" + store;
    case 1:
      return "append" + store;
    case 2:
      return "incr " + key + " 3\r\n";
    case 3:
      return "set " + key + " 0 0 2\r\n41\r\n";
    case 4:
      return "delete " + key + "\r\n";
    case 5:
      return "get k1 k2 k3 " + key + " k19\r\n";
    case 6:
      return "touch " + key + " 0\r\n";
    case 7:
      return "nonsense " + value + "\r\n";
    case 8:
      return "version\r\n";
    case 9:
      return "get " + key + "\r\n";
    default:
      return "set" + store;
  }
}

std::string RandomBinaryRequest(std::mt19937& random) {
  static constexpr uint8_t kCodes[] = {0x00, 0x01, 0x04, 0x05, 0x09, 0x0a, 0x0b, 0x0c,
                                       0x0d, 0x0e, 0x11, 0x14, 0x1d, 0x70, 0xb6};
  const std::string key = "k" + std::to_string(random() % 20);
  proto::BinaryHeader header;
  header.magic = proto::kMagicRequest;
  header.opcode = static_cast<proto::Opcode>(kCodes[random() % std::size(kCodes)]);
  const bool keyless = header.opcode == proto::Opcode::kNoop || header.opcode == proto::Opcode::kVersion;
  const bool stores = header.opcode == proto::Opcode::kSet || header.opcode == proto::Opcode::kSetQ;
  const bool counts = header.opcode == proto::Opcode::kIncrement;
  const bool touches = header.opcode == proto::Opcode::kGat;
  const std::string extras(stores ? 8 : counts ? 20 : touches ? 4 : 0, '\0');
  const std::string value(stores || header.opcode == proto::Opcode::kAppend ? random() % 40 : 0, '7');
  const std::string body = keyless ? "" : extras + key + value;
  header.key_size = static_cast<uint16_t>(keyless ? 0 : key.size());
  header.extras_size = static_cast<uint8_t>(keyless ? 0 : extras.size());
  header.body_size = static_cast<uint32_t>(body.size());
  header.opaque = static_cast<uint32_t>(random());
  std::string bytes(proto::kBinaryHeaderSize, '\0');
  proto::EncodeBinaryHeader(header, bytes.data());
  return bytes + body;
}

TEST_F(SplitSession, AnswersDoNotDependOnTheCut) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    std::string stream;
    for (int i = 0; i < 150; ++i) {
      stream += seed % 2 == 0 ? RandomBinaryRequest(random) : RandomTextRequest(random);
    }
    const std::string whole = Converse(stream, random, SIZE_MAX);
    EXPECT_GT(whole.size(), 500U);
    ASSERT_TRUE(Converse(stream, random, 1) == whole) << "seed " << seed;
    ASSERT_TRUE(Converse(stream, random, 50) == whole) << "seed " << seed;
    ASSERT_TRUE(Converse(stream, random, 1000) == whole) << "seed " << seed;
  }
}

TEST_F(SplitSession, DamagedStreamsAreSurvived) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    std::string stream;
    for (int i = 0; i < 40; ++i) {
      stream += seed % 2 == 0 ? RandomBinaryRequest(random) : RandomTextRequest(random);
    }
    for (size_t i = 0; i < 1 + seed % 8; ++i) stream[random() % stream.size()] = static_cast<char>(random());
    Converse(stream, random, 300);
    // Another client of the same engine is served as ever.
    session_ = std::make_unique<Session>(*service_);
    EXPECT_EQ(Talk("version\r\n"), "VERSION 1.6.18\r\n") << "seed " << seed;
  }
}

}  // namespace
}  // namespace cairn::server
