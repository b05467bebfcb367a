#include "bench/loadgen/batch.h"

#include <gtest/gtest.h>

namespace cairn::loadgen {
namespace {

class BatchTest : public testing::Test {
 protected:
  Batch Make(Protocol protocol, ReadPolicy policy = {}) { return Batch(space_, protocol, policy, counters_); }

  std::string Key(uint64_t n) const {
    std::string key;
    space_.AppendKey(n, &key);
    return key;
  }
  std::string Value(uint64_t n, uint32_t version = 0) const {
    std::string value;
    space_.AppendValue(n, version, &value);
    return value;
  }
  static Reply Of(ReplyKind kind, std::string_view text = {}) {
    Reply reply;
    reply.kind = kind;
    reply.text = text;
    return reply;
  }
  static Reply Binary(ReplyKind kind, uint32_t opaque, std::string_view key = {},
                      std::string_view text = {}) {
    Reply reply = Of(kind, text);
    reply.opaque = opaque;
    reply.key = key;
    return reply;
  }
  static Reply Named(std::string_view key, std::string_view value) {
    Reply reply = Of(ReplyKind::kValue, value);
    reply.key = key;
    return reply;
  }
  static void AddGet(Batch* batch, std::initializer_list<uint64_t> keys) {
    batch->AddGet();
    for (const uint64_t key : keys) batch->AddGetKey(key);
  }

  const KeySpace space_{{1000, "k", 8, 20}};
  Counters counters_;
};

TEST_F(BatchTest, TextCountsTheKeysThatAreLeftOutAsMisses) {
  Batch batch = Make(Protocol::kText);
  AddGet(&batch, {1, 2, 3, 4});
  batch.AddSet(5, 0);
  EXPECT_EQ(batch.Accept(Named(Key(2), Value(2))), 0U);
  EXPECT_EQ(batch.Accept(Named(Key(4), Value(4))), 0U);
  EXPECT_FALSE(batch.done());
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kEnd)), 1U);
  EXPECT_EQ(counters_.hits, 2U);
  EXPECT_EQ(counters_.misses, 2U);
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kStored)), 1U);
  EXPECT_TRUE(batch.done());
  EXPECT_EQ(counters_.keys(), 5U);
}

TEST_F(BatchTest, TextWaitsForEndAfterTheLastValue) {
  Batch batch = Make(Protocol::kText);
  AddGet(&batch, {1});
  EXPECT_EQ(batch.Accept(Named(Key(1), Value(1))), 0U);
  EXPECT_FALSE(batch.done());
  EXPECT_EQ(batch.Accept(Named(Key(1), Value(1))), std::nullopt);
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kEnd)), 1U);
  EXPECT_TRUE(batch.done());
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kEnd)), std::nullopt);
}

TEST_F(BatchTest, TextRefusesAValueThatWasNotAskedFor) {
  Batch batch = Make(Protocol::kText);
  AddGet(&batch, {1, 2});
  EXPECT_EQ(batch.Accept(Named(Key(3), Value(3))), std::nullopt);
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kStored)), std::nullopt);
}

TEST_F(BatchTest, AnErrorEndsItsRequestOnly) {
  for (const Protocol protocol : {Protocol::kText, Protocol::kResp}) {
    Batch batch = Make(protocol);
    AddGet(&batch, {1, 2});
    batch.AddSet(3, 0);
    counters_ = {};
    EXPECT_EQ(batch.Accept(Of(ReplyKind::kError, "SERVER_ERROR busy")), 1U);
    EXPECT_EQ(batch.Accept(Of(ReplyKind::kError, "other")), 1U);
    EXPECT_TRUE(batch.done());
    EXPECT_EQ(counters_.errors, 3U);
    EXPECT_EQ(counters_.first_error, "SERVER_ERROR busy");
  }
}

TEST_F(BatchTest, BinaryLaterReplySettlesTheSilentOnes) {
  Batch batch = Make(Protocol::kBinary);
  AddGet(&batch, {1});
  batch.AddSet(2, 0);
  AddGet(&batch, {3});
  AddGet(&batch, {4});
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kValue, 2, Key(3), Value(3))), 3U);
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kMiss, 3)), 1U);
  EXPECT_TRUE(batch.done());
  EXPECT_EQ(counters_.misses, 2U);
  EXPECT_EQ(counters_.stored, 1U);
  EXPECT_EQ(counters_.hits, 1U);
}

TEST_F(BatchTest, BinaryRefusesStaleForeignAndRepeatedReplies) {
  Batch batch = Make(Protocol::kBinary);
  batch.Clear();
  AddGet(&batch, {1});
  AddGet(&batch, {2});
  const uint32_t serial = 1U << 16;
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kMiss, 1)), std::nullopt) << "of the batch before";
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kMiss, serial | 2)), std::nullopt) << "beyond the end";
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kValue, serial, Key(2), Value(2))), std::nullopt) << "another key";
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kStored, serial)), std::nullopt) << "another operation";
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kValue, serial, Key(1), Value(1))), 1U);
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kValue, serial, Key(1), Value(1))), std::nullopt) << "repeated";
}

TEST_F(BatchTest, EachReadFromAReplicaHasItsOwnAnswerWithoutTheKey) {
  Batch batch = Make(Protocol::kBinary, {true, 0, true});
  AddGet(&batch, {1});
  AddGet(&batch, {2});
  std::string out;
  batch.Encode(&out);
  constexpr size_t kRequest = 24 + 8;
  ASSERT_EQ(out.size(), 2 * kRequest);
  EXPECT_EQ(static_cast<unsigned char>(out[1]), 0x83);
  EXPECT_EQ(static_cast<unsigned char>(out[kRequest + 1]), 0x83);
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kValue, 0, {}, Value(1))), 1U);
  EXPECT_EQ(batch.Accept(Binary(ReplyKind::kValue, 1, {}, Value(1))), 1U);
  EXPECT_TRUE(batch.done());
  EXPECT_EQ(counters_.hits, 2U);
  EXPECT_EQ(counters_.verify_failures, 1U) << "the value of another key";
}

TEST_F(BatchTest, OnlyTheLastBinaryRequestIsLoud) {
  Batch batch = Make(Protocol::kBinary);
  AddGet(&batch, {1});
  batch.AddSet(2, 0);
  batch.AddSet(3, 0);
  std::string out;
  batch.Encode(&out);
  const size_t get_size = 24 + space_.key_size();
  const size_t set_size = 24 + 8 + space_.key_size() + space_.value_size();
  ASSERT_EQ(out.size(), get_size + 2 * set_size);
  EXPECT_EQ(out[1], 0x0d);
  EXPECT_EQ(out[get_size + 1], 0x11);
  EXPECT_EQ(out[get_size + set_size + 1], 0x01);
}

TEST_F(BatchTest, RespArrayHoldsValuesAndMissesInOrder) {
  Batch batch = Make(Protocol::kResp);
  AddGet(&batch, {1, 2});
  AddGet(&batch, {3});
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kMiss)), std::nullopt) << "before the array's header";
  Reply array = Of(ReplyKind::kArray);
  array.array_size = 3;
  EXPECT_EQ(batch.Accept(array), std::nullopt) << "of another size";
  array.array_size = 2;
  EXPECT_EQ(batch.Accept(array), 0U);
  EXPECT_EQ(batch.Accept(array), std::nullopt) << "twice";
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kMiss)), 0U);
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kValue, Value(2))), 1U);
  EXPECT_EQ(batch.Accept(Of(ReplyKind::kValue, Value(3))), 1U);
  EXPECT_TRUE(batch.done());
  EXPECT_EQ(counters_.hits, 2U);
  EXPECT_EQ(counters_.misses, 1U);
}

TEST_F(BatchTest, VerifiesBytesAndVersions) {
  Batch batch = Make(Protocol::kResp, {true, 7});
  for (const uint64_t key : {1U, 2U, 3U, 4U}) AddGet(&batch, {key});
  std::string damaged = Value(2, 7);
  damaged.back() = '/';
  EXPECT_TRUE(batch.Accept(Of(ReplyKind::kValue, Value(1, 7))));
  EXPECT_EQ(counters_.verify_failures, 0U);
  EXPECT_TRUE(batch.Accept(Of(ReplyKind::kValue, damaged)));
  EXPECT_EQ(counters_.verify_failures, 1U);
  EXPECT_TRUE(batch.Accept(Of(ReplyKind::kValue, Value(3, 6))));
  EXPECT_EQ(counters_.verify_failures, 2U);
  EXPECT_TRUE(batch.Accept(Of(ReplyKind::kValue, "short")));
  EXPECT_EQ(counters_.verify_failures, 3U);
  EXPECT_EQ(counters_.hits, 4U);
}

TEST_F(BatchTest, ChecksTheLengthWithoutVerify) {
  Batch batch = Make(Protocol::kResp);
  AddGet(&batch, {1});
  EXPECT_TRUE(batch.Accept(Of(ReplyKind::kValue, "short")));
  EXPECT_EQ(counters_.verify_failures, 1U);
}

TEST_F(BatchTest, EncodesTextAndRespRequests) {
  Batch text = Make(Protocol::kText);
  AddGet(&text, {1, 2});
  text.AddSet(3, 0);
  std::string out;
  text.Encode(&out);
  EXPECT_EQ(out, "get k0000001 k0000002\r\nset k0000003 0 0 20\r\n" + Value(3) + "\r\n");

  Batch resp = Make(Protocol::kResp);
  AddGet(&resp, {1});
  out.clear();
  resp.Encode(&out);
  EXPECT_EQ(out, "*2\r\n$3\r\nGET\r\n$8\r\nk0000001\r\n");
}

}  // namespace
}  // namespace cairn::loadgen
