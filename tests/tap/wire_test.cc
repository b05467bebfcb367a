#include "tap/wire.h"

#include <gmock/gmock.h>

#include "proto/tap.pb.h"

namespace cairn::tap {
namespace {

using ::testing::HasSubstr;

std::array<uint8_t, 16> Uuid(uint8_t first) {
  std::array<uint8_t, 16> uuid{};
  for (size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<uint8_t>(first + i);
  return uuid;
}

// Every field with a value of its own, so that none can be forgotten or mixed up.
ConsumerMessage FullConsumerMessage() {
  ConsumerMessage message;
  message.hello = Hello{1, 2, {"digest", "takeover"}, "node-b", Uuid(7), 1024, 1000, 30'000};
  OpenStream open;
  open.vbucket = Vbid(65'535);
  open.history_uuid = UINT64_MAX;
  open.seqno = Seqno(11);
  open.snapshot_start = Seqno(12);
  open.snapshot_end = Seqno(13);
  open.checkpoint = CheckpointId(14);
  open.window.bytes = Uuid(200);
  open.window_start = Seqno(15);
  open.epoch = 16;
  open.no_backfill = true;
  OpenStream dump;
  dump.vbucket = Vbid(1);
  dump.dump = true;
  OpenStream takeover;
  takeover.takeover = true;
  OpenStream keys_only;
  keys_only.keys_only = true;
  message.open = {open, dump, takeover, keys_only};
  message.close = {Vbid(3), Vbid(0)};
  message.progress = {{Vbid(4), 21, Seqno(22), Seqno(23), Seqno(24), CheckpointId(25), true, false},
                      {Vbid(5), 0, Seqno(0), Seqno(0), Seqno(0), CheckpointId(0), false, true}};
  message.fence = {{Vbid(6), 31}};
  message.credit_bytes = uint64_t{1} << 40;
  message.noop_answer = true;
  message.goodbye = true;
  return message;
}

ProducerMessage FullProducerMessage() {
  ProducerMessage message;
  message.welcome = Welcome{1, {"digest"}, "node-a", Uuid(9), 64, 1 << 20};
  StreamAnswer answer;
  answer.vbucket = Vbid(65'535);
  answer.reason = EndReason::kRollback;
  answer.text = "ahead";
  answer.rollback = Seqno(41);
  answer.failover_log = {{UINT64_MAX, Seqno(42)}, {43, Seqno(0)}};
  answer.epoch = 44;
  answer.high = Seqno(45);
  answer.disk_snapshot = true;
  answer.purged = Seqno(17);
  message.answers = {answer, StreamAnswer{}};
  message.chunk = std::string("\0\xff\x80 bytes", 9);
  message.noop = true;
  message.prompt = message.prompt_disk = true;
  message.goodbye = EndReason::kShutdown;
  message.goodbye_text = "bye";
  return message;
}

TEST(Wire, ConsumerMessagesComeBackEqualThroughTheirBytes) {
  for (const ConsumerMessage& message : {FullConsumerMessage(), ConsumerMessage{}}) {
    v1::FromConsumer out, in;
    ToWire(message, out);
    ASSERT_TRUE(in.ParseFromString(out.SerializeAsString()));
    const Result<ConsumerMessage> back = FromWire(in);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ(*back, message);
  }
}

TEST(Wire, ProducerMessagesComeBackEqualThroughTheirBytes) {
  for (const ProducerMessage& message : {FullProducerMessage(), ProducerMessage{}}) {
    v1::FromProducer out, in;
    ToWire(ProducerMessage(message), out);
    ASSERT_TRUE(in.ParseFromString(out.SerializeAsString()));
    const Result<ProducerMessage> back = FromWire(in);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ(*back, message);
  }
}

TEST(Wire, AMessageThatIsUsedAgainKeepsNothingOfTheOneBefore) {
  v1::FromConsumer out;
  ToWire(FullConsumerMessage(), out);
  ToWire(ConsumerMessage{}, out);
  EXPECT_EQ(out.ByteSizeLong(), 0U);
  v1::FromProducer produced;
  ToWire(FullProducerMessage(), produced);
  ToWire(ProducerMessage{}, produced);
  EXPECT_EQ(produced.ByteSizeLong(), 0U);
}

TEST(Wire, WhatPlainMessagesCannotHoldIsRefusedByName) {
  const auto refused = [](const v1::FromConsumer& in) {
    const Result<ConsumerMessage> result = FromWire(in);
    EXPECT_EQ(result.code(), Code::kInvalidArgument);
    return std::string(result.status().message());
  };
  v1::FromConsumer uuid;
  uuid.mutable_hello()->set_node_uuid("15 bytes, short");
  EXPECT_THAT(refused(uuid), HasSubstr("node_uuid"));
  v1::FromConsumer window;
  window.add_open()->set_window_update_id("x");
  EXPECT_THAT(refused(window), HasSubstr("window_update_id"));
  v1::FromConsumer open, close, progress, fence;
  open.add_open()->set_vbucket(65'536);
  close.add_close(1'000'000);
  progress.add_progress()->set_vbucket(UINT32_MAX);
  fence.add_fence()->set_vbucket(65'536);
  for (const v1::FromConsumer* in : {&open, &close, &progress, &fence}) {
    EXPECT_THAT(refused(*in), HasSubstr("vbucket"));
  }
  v1::FromProducer answer;
  answer.add_answers()->set_vbucket(65'536);
  EXPECT_EQ(FromWire(answer).code(), Code::kInvalidArgument);
}

TEST(Wire, AReasonOfALaterVersionIsReadAsInternal) {
  v1::FromProducer in;
  in.mutable_goodbye()->set_reason(static_cast<v1::EndReason>(99));
  const Result<ProducerMessage> message = FromWire(in);
  ASSERT_TRUE(message.ok());
  EXPECT_EQ(message->goodbye, EndReason::kInternal);
}

}  // namespace
}  // namespace cairn::tap
