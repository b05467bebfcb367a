#include "tap/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace cairn::tap {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kVbuckets = 64;

ConsumerMessage First() {
  ConsumerMessage message;
  message.hello = Hello{};
  message.hello->features = {"digest", "takeover"};
  message.hello->name = "node-2.example_x";
  message.hello->vbucket_count = kVbuckets;
  message.hello->noop_interval_ms = 1'000;
  message.hello->idle_timeout_ms = 30'000;
  message.credit_bytes = 32u << 20;
  return message;
}

ProducerMessage Welcoming() {
  ProducerMessage message;
  message.welcome = Welcome{1, {"digest"}, "node-1", {}, kVbuckets, 1 << 20};
  return message;
}

StreamAnswer Opened(uint16_t vbucket) {
  StreamAnswer answer;
  answer.vbucket = Vbid(vbucket);
  answer.failover_log = {{77, Seqno(10)}, {66, Seqno(0)}};
  answer.high = Seqno(20);
  return answer;
}

TEST(TapMessages, EveryReasonHasItsOwnName) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(EndReason::kInternal); ++i) {
    names.insert(EndReasonName(static_cast<EndReason>(i)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(EndReason::kInternal) + 1);
  EXPECT_EQ(names.count("unknown"), 0u);
  EXPECT_EQ(EndReasonName(EndReason::kRollback), "rollback");
  EXPECT_EQ(EndReasonName(static_cast<EndReason>(200)), "unknown");
}

TEST(TapMessages, OrdinaryOnesAreTaken) {
  ConsumerMessage message = First();
  OpenStream middle;
  middle.vbucket = Vbid(63);
  middle.seqno = middle.snapshot_start = Seqno(5);
  middle.snapshot_end = Seqno(500);
  message.open.push_back(middle);
  message.close.push_back(Vbid(0));
  message.progress.push_back({Vbid(1), 9, Seqno(7), Seqno(7), Seqno(0), CheckpointId(0), false, false});
  message.fence.push_back({Vbid(2), 4});
  message.fence.push_back({Vbid(3), (uint64_t{1} << 63) - 1});
  EXPECT_TRUE(Check(message, kVbuckets, true).ok()) << Check(message, kVbuckets, true).ToString();
  EXPECT_TRUE(Check(ConsumerMessage{}, kVbuckets, false).ok());
  EXPECT_TRUE(Check(Welcoming(), kVbuckets, true).ok());
  ProducerMessage answers;
  answers.answers = {Opened(0), Opened(63)};
  EXPECT_TRUE(Check(answers, kVbuckets, false).ok()) << Check(answers, kVbuckets, false).ToString();
  ProducerMessage goodbye;
  goodbye.goodbye = EndReason::kVersion;
  EXPECT_TRUE(Check(goodbye, kVbuckets, true).ok());
}

struct BadConsumer {
  const char* name;
  std::function<void(ConsumerMessage&)> spoil;
  const char* error;
};
class BadConsumerMessage : public ::testing::TestWithParam<BadConsumer> {};

TEST_P(BadConsumerMessage, IsRefusedByName) {
  ConsumerMessage message = First();
  GetParam().spoil(message);
  const Status status = Check(message, kVbuckets, true);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().error));
}

OpenStream& AddOpen(ConsumerMessage& message) {
  OpenStream& open = message.open.emplace_back();
  open.vbucket = Vbid(7);
  open.seqno = open.snapshot_start = open.snapshot_end = Seqno(10);
  return open;
}
Progress& AddProgress(ConsumerMessage& message) {
  Progress& progress = message.progress.emplace_back();
  progress.vbucket = Vbid(8);
  return progress;
}

using M = ConsumerMessage;
INSTANTIATE_TEST_SUITE_P(
    Cases, BadConsumerMessage,
    ::testing::Values(
        BadConsumer{"no_hello", [](M& m) { m.hello.reset(); }, "not a hello"},
        BadConsumer{"no_version", [](M& m) { m.hello->version_min = 0; }, "no version"},
        BadConsumer{"versions", [](M& m) { m.hello->version_min = 9; }, "no version"},
        BadConsumer{"name_empty", [](M& m) { m.hello->name.clear(); }, "the name"},
        BadConsumer{"name_long", [](M& m) { m.hello->name.assign(65, 'n'); }, "the name"},
        BadConsumer{"name_chars", [](M& m) { m.hello->name = "a b"; }, "the name"},
        BadConsumer{"features_many", [](M& m) { m.hello->features.assign(65, "f"); }, "too many features"},
        BadConsumer{"feature_long", [](M& m) { m.hello->features[0].assign(65, 'f'); }, "a feature"},
        BadConsumer{"vbuckets", [](M& m) { m.hello->vbucket_count = 65'537; }, "number of vbuckets"},
        BadConsumer{"noop_short", [](M& m) { m.hello->noop_interval_ms = 99; }, "noop_interval_ms"},
        BadConsumer{"noop_long", [](M& m) { m.hello->noop_interval_ms = 60'001; }, "noop_interval_ms"},
        BadConsumer{"idle_short", [](M& m) { m.hello->idle_timeout_ms = 999; }, "idle_timeout_ms"},
        BadConsumer{"idle_long", [](M& m) { m.hello->idle_timeout_ms = 3'600'001; }, "idle_timeout_ms"},
        BadConsumer{"opens_many", [](M& m) { m.open.resize(4097); }, "4,096"},
        BadConsumer{"closes_many", [](M& m) { m.close.resize(4097); }, "4,096"},
        BadConsumer{"progress_many", [](M& m) { m.progress.resize(4097); }, "4,096"},
        BadConsumer{"fences_many", [](M& m) { m.fence.resize(4097); }, "4,096"},
        BadConsumer{"open_vbucket", [](M& m) { AddOpen(m).vbucket = Vbid(64); },
                    "vbucket 64: does not exist"},
        BadConsumer{"open_seqno", [](M& m) { AddOpen(m).snapshot_end = Seqno(kSeqnoMax + 1); },
                    "no such seqno"},
        BadConsumer{"open_before", [](M& m) { AddOpen(m).snapshot_start = Seqno(11); },
                    "outside of its snapshot"},
        BadConsumer{"open_behind", [](M& m) { AddOpen(m).snapshot_end = Seqno(9); },
                    "outside of its snapshot"},
        BadConsumer{"open_window",
                    [](M& m) {
                      OpenStream& open = AddOpen(m);
                      open.window.bytes[0] = 1;
                      open.window_start = Seqno(11);
                    },
                    "a window that begins later"},
        BadConsumer{"takeover_dump",
                    [](M& m) {
                      OpenStream& open = AddOpen(m);
                      open.takeover = open.dump = true;
                    },
                    "a takeover needs everything"},
        BadConsumer{"close_vbucket", [](M& m) { m.close.push_back(Vbid(64)); }, "close of vbucket 64"},
        BadConsumer{"fence_vbucket",
                    [](M& m) {
                      m.fence.push_back({Vbid(99), 1});
                    },
                    "fence of vbucket 99"},
        BadConsumer{"fence_epoch",
                    [](M& m) {
                      m.fence.push_back({Vbid(9), uint64_t{1} << 63});
                    },
                    "fence of vbucket 9: no such epoch"},
        BadConsumer{"fence_last_epoch",
                    [](M& m) {
                      m.fence.push_back({Vbid(9), UINT64_MAX});
                    },
                    "fence of vbucket 9: no such epoch"},
        BadConsumer{"open_checkpoint",
                    [](M& m) { AddOpen(m).checkpoint = CheckpointId((uint64_t{1} << 62) + 1); },
                    "no such checkpoint"},
        BadConsumer{"progress_checkpoint",
                    [](M& m) { AddProgress(m).verified_checkpoint = CheckpointId(UINT64_MAX); },
                    "no such checkpoint"},
        BadConsumer{"progress_vbucket", [](M& m) { AddProgress(m).vbucket = Vbid(64); },
                    "progress of vbucket 64"},
        BadConsumer{"progress_seqno", [](M& m) { AddProgress(m).applied = Seqno(kSeqnoMax + 1); },
                    "no such seqno"},
        BadConsumer{"progress_order", [](M& m) { AddProgress(m).persisted = Seqno(1); }, "more persisted"},
        BadConsumer{"credits", [](M& m) { m.credit_bytes = kWindowBytesMax + 1; }, "credits"}),
    [](const auto& param) { return std::string(param.param.name); });

struct BadProducer {
  const char* name;
  bool first;
  std::function<void(ProducerMessage&)> spoil;
  const char* error;
};
class BadProducerMessage : public ::testing::TestWithParam<BadProducer> {};

TEST_P(BadProducerMessage, IsRefusedByName) {
  ProducerMessage message = GetParam().first ? Welcoming() : ProducerMessage{};
  GetParam().spoil(message);
  const Status status = Check(message, kVbuckets, GetParam().first);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().error));
}

StreamAnswer& AddAnswer(ProducerMessage& message) { return message.answers.emplace_back(Opened(7)); }

using P = ProducerMessage;
INSTANTIATE_TEST_SUITE_P(
    Cases, BadProducerMessage,
    ::testing::Values(
        BadProducer{"no_welcome", true, [](P& m) { m.welcome.reset(); }, "not a welcome"},
        BadProducer{"two_welcomes", false, [](P& m) { m = Welcoming(); }, "a second welcome"},
        BadProducer{"version", true, [](P& m) { m.welcome->version = 2; }, "a version that was not offered"},
        BadProducer{"name", true, [](P& m) { m.welcome->name = "\n"; }, "the name"},
        BadProducer{"features", true, [](P& m) { m.welcome->features = {""}; }, "a feature"},
        BadProducer{"answers_many", false, [](P& m) { m.answers.assign(4097, Opened(1)); }, "4,096"},
        BadProducer{"answer_vbucket", false, [](P& m) { AddAnswer(m).vbucket = Vbid(64); },
                    "answer of vbucket 64"},
        BadProducer{"answer_reason", false, [](P& m) { AddAnswer(m).reason = EndReason(18); },
                    "unknown reason"},
        BadProducer{"answer_text", false, [](P& m) { AddAnswer(m).text.assign(1025, 't'); }, "text too long"},
        BadProducer{"answer_seqno", false, [](P& m) { AddAnswer(m).high = Seqno(kSeqnoMax + 1); },
                    "no such seqno"},
        BadProducer{"answer_epoch", false, [](P& m) { AddAnswer(m).epoch = UINT64_MAX; },
                    "answer of vbucket 7: no such epoch"},
        BadProducer{"refusal_epoch", false,
                    [](P& m) {
                      AddAnswer(m).epoch = uint64_t{1} << 63;
                      m.answers[0].reason = EndReason::kFenced;
                    },
                    "no such epoch"},
        BadProducer{"no_history", false, [](P& m) { AddAnswer(m).failover_log.clear(); }, "no failover log"},
        BadProducer{"history_long", false, [](P& m) { AddAnswer(m).failover_log.resize(1025); }, "too long"},
        BadProducer{"history_order", false,
                    [](P& m) {
                      AddAnswer(m).failover_log[0].seqno = Seqno(0),
                      m.answers[0].failover_log[1].seqno = Seqno(1);
                    },
                    "not newest first"},
        BadProducer{"chunk", false, [](P& m) { m.chunk.assign(kChunkBytesMax + 1, 'c'); }, "chunk too large"},
        BadProducer{"goodbye_reason", false, [](P& m) { m.goodbye = EndReason(99); }, "unknown reason"},
        BadProducer{"goodbye_text", false,
                    [](P& m) {
                      m.goodbye = EndReason::kShutdown;
                      m.goodbye_text.assign(1025, 't');
                    },
                    "text too long"}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace cairn::tap
