#include "bench/loadgen/protocol.h"

#include <gtest/gtest.h>

namespace cairn::loadgen {
namespace {

std::string Bytes(std::initializer_list<int> bytes) {
  std::string out;
  for (const int b : bytes) out.push_back(static_cast<char>(b));
  return out;
}

struct BinaryReply {
  int opcode = 0;
  int status = 0;
  int opaque = 0;
  std::string extras;
  std::string key;
  std::string value;
};

std::string Binary(const BinaryReply& r) {
  const auto body = static_cast<int>(r.extras.size() + r.key.size() + r.value.size());
  std::string out =
      Bytes({0x81, r.opcode, 0, static_cast<int>(r.key.size()), static_cast<int>(r.extras.size()), 0, 0,
             r.status, 0, 0, body >> 8, body & 0xff, 0, 0, r.opaque >> 8, r.opaque & 0xff});
  out.append(8, '\0');
  return out + r.extras + r.key + r.value;
}

// Every proper prefix needs more, and bytes behind a reply do not change it.
void ExpectWhole(Protocol protocol, const std::string& bytes, ReplyKind kind, const std::string& text) {
  Reply reply;
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(ParseReply(protocol, bytes.substr(0, n), &reply), ParseOutcome::kNeedMore) << n;
  }
  for (const std::string& behind : {std::string(), std::string("\r\nEND\r\n$"), std::string(100, '\x81')}) {
    const std::string input = bytes + behind;
    ASSERT_EQ(ParseReply(protocol, input, &reply), ParseOutcome::kReply);
    EXPECT_EQ(reply.kind, kind);
    EXPECT_EQ(reply.consumed, bytes.size());
    EXPECT_EQ(reply.text, text);
  }
}

void ExpectMalformed(Protocol protocol, const std::string& bytes) {
  Reply reply;
  EXPECT_EQ(ParseReply(protocol, bytes, &reply), ParseOutcome::kMalformed) << bytes;
}

TEST(TextReply, IsCutAtEveryBoundary) {
  ExpectWhole(Protocol::kText, "VALUE k1 0 5\r\na\r\nbc\r\n", ReplyKind::kValue, "a\r\nbc");
  ExpectWhole(Protocol::kText, "VALUE k1 7 0 99\r\n\r\n", ReplyKind::kValue, "");
  ExpectWhole(Protocol::kText, "END\r\n", ReplyKind::kEnd, "END");
  ExpectWhole(Protocol::kText, "STORED\r\n", ReplyKind::kStored, "STORED");
  ExpectWhole(Protocol::kText, "SERVER_ERROR out of memory\r\n", ReplyKind::kError,
              "SERVER_ERROR out of memory");
  ExpectWhole(Protocol::kText, "NOT_STORED\r\n", ReplyKind::kError, "NOT_STORED");
}

TEST(TextReply, NamesTheKey) {
  Reply reply;
  ASSERT_EQ(ParseReply(Protocol::kText, "VALUE some-key 0 1\r\nx\r\n", &reply), ParseOutcome::kReply);
  EXPECT_EQ(reply.key, "some-key");
}

TEST(TextReply, RefusesWhatItCannotFollow) {
  ExpectMalformed(Protocol::kText, "END\n");
  ExpectMalformed(Protocol::kText, "\n");
  ExpectMalformed(Protocol::kText, "VALUE k 0\r\n");
  ExpectMalformed(Protocol::kText, "VALUE k 0 -1\r\n");
  ExpectMalformed(Protocol::kText, "VALUE k 0 1x\r\nx\r\n");
  ExpectMalformed(Protocol::kText, "VALUE k 0 1 2 3\r\nx\r\n");
  ExpectMalformed(Protocol::kText, "VALUE k 0 99999999999\r\n");
  ExpectMalformed(Protocol::kText, "VALUE k 0 1\r\nxyz");
  ExpectMalformed(Protocol::kText, std::string(kReplyLineMax + 1, 'x'));
}

TEST(BinaryReply, IsCutAtEveryBoundary) {
  ExpectWhole(Protocol::kBinary, Binary({0x0d, 0, 7, std::string(4, '\0'), "k1", "value"}), ReplyKind::kValue,
              "value");
  ExpectWhole(Protocol::kBinary, Binary({0x0c, 1, 7, "", "", "Not found"}), ReplyKind::kMiss, "Not found");
  ExpectWhole(Protocol::kBinary, Binary({0x01, 0, 7, "", "", ""}), ReplyKind::kStored, "");
  ExpectWhole(Protocol::kBinary, Binary({0x11, 0x82, 7, "", "", "Out of memory"}), ReplyKind::kError,
              "Out of memory");
  ExpectWhole(Protocol::kBinary, Binary({0x01, 1, 7, "", "", ""}), ReplyKind::kError, "");
}

TEST(BinaryReply, CarriesOpaqueAndKey) {
  Reply reply;
  const std::string input = Binary({0x0d, 0, 0x1234, "ffff", "k1", "v"});
  ASSERT_EQ(ParseReply(Protocol::kBinary, input, &reply), ParseOutcome::kReply);
  EXPECT_EQ(reply.opaque, 0x1234U);
  EXPECT_EQ(reply.key, "k1");
}

TEST(BinaryReply, RefusesWhatItCannotFollow) {
  ExpectMalformed(Protocol::kBinary, "x");
  ExpectMalformed(Protocol::kBinary, "\x80");
  std::string key_beyond_body = Binary({0x0d, 0, 0, "", "k1", ""});
  key_beyond_body[11] = 1;
  ExpectMalformed(Protocol::kBinary, key_beyond_body);
  std::string huge = Binary({0x0d, 0, 0, "", "", ""});
  huge[8] = 0x7f;
  ExpectMalformed(Protocol::kBinary, huge);
}

TEST(RespReply, IsCutAtEveryBoundary) {
  ExpectWhole(Protocol::kResp, "$5\r\na\r\nbc\r\n", ReplyKind::kValue, "a\r\nbc");
  ExpectWhole(Protocol::kResp, "$0\r\n\r\n", ReplyKind::kValue, "");
  ExpectWhole(Protocol::kResp, "$-1\r\n", ReplyKind::kMiss, "-1");
  ExpectWhole(Protocol::kResp, "+OK\r\n", ReplyKind::kStored, "OK");
  ExpectWhole(Protocol::kResp, "-LOADING data\r\n", ReplyKind::kError, "LOADING data");
  ExpectWhole(Protocol::kResp, "*50\r\n", ReplyKind::kArray, "50");
}

TEST(RespReply, RefusesWhatItCannotFollow) {
  ExpectMalformed(Protocol::kResp, "\r\n");
  ExpectMalformed(Protocol::kResp, "?1\r\n");
  ExpectMalformed(Protocol::kResp, "$-2\r\n");
  ExpectMalformed(Protocol::kResp, "$1x\r\n");
  ExpectMalformed(Protocol::kResp, "$\r\n");
  ExpectMalformed(Protocol::kResp, "$2\r\nabcd");
  ExpectMalformed(Protocol::kResp, "*99999999999\r\n");
}

TEST(Requests, HaveTheProtocolsForm) {
  std::string out;
  AppendGetHead(Protocol::kText, 2, &out);
  AppendGetKey(Protocol::kText, "k1", &out);
  AppendGetKey(Protocol::kText, "k2", &out);
  AppendGetTail(Protocol::kText, &out);
  AppendSet(Protocol::kText, "k", "value", &out);
  EXPECT_EQ(out, "get k1 k2\r\nset k 0 0 5\r\nvalue\r\n");

  out.clear();
  AppendGetHead(Protocol::kResp, 1, &out);
  AppendGetKey(Protocol::kResp, "k1", &out);
  AppendGetHead(Protocol::kResp, 2, &out);
  AppendGetKey(Protocol::kResp, "k1", &out);
  AppendGetKey(Protocol::kResp, "k22", &out);
  AppendGetTail(Protocol::kResp, &out);
  AppendSet(Protocol::kResp, "k", "v", &out);
  EXPECT_EQ(out,
            "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n*3\r\n$4\r\nMGET\r\n$2\r\nk1\r\n$3\r\nk22\r\n"
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");

  out.clear();
  AppendBinaryGet("ab", 0x01020304, true, &out);
  EXPECT_EQ(out, Bytes({0x80, 0x0d, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 3, 4}) + std::string(8, '\0') + "ab");
  out.clear();
  AppendBinarySet("k", "val", 5, false, &out);
  EXPECT_EQ(out,
            Bytes({0x80, 0x01, 0, 1, 8, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 5}) + std::string(16, '\0') + "kval");
}

}  // namespace
}  // namespace cairn::loadgen
