// What a consumer does with a source that breaks the rules: the connection ends by name, and what had been
// applied stays as it was. (What a producer does: transcripts/negotiation.txt.)

#include <gmock/gmock.h>

#include "proto/disk_record.h"
#include "proto/tap_frame.h"
#include "tests/tap/pipe.h"

namespace cairn::tap {
namespace {

using proto::TapChunkWriter;
using proto::TapFrame;
using proto::TapSnapshotKind;
using ::testing::HasSubstr;

ItemRef Value(const std::string& key, uint64_t seqno) {
  return Item::NewValue(key, "value of " + key, ItemMeta{0, 0, Cas(seqno), Seqno(seqno)});
}

/// A consumer of vbuckets 0 and 1, and a source that the test plays.
class TapBadPeerTest : public TapTest {
 protected:
  static constexpr uint64_t kUuid = 0x77;

  void SetUp() override {
    TapTest::SetUp();
    Open();
    Consumer::Options options;
    options.name = "replica";
    options.vbuckets = {Vbid(0), Vbid(1)};
    options.max_item_size = 1000;
    options.window_bytes = kWindowBytesMin;
    consumer_ = std::make_unique<Consumer>(b.R(), options);
    consumer_->Connected(now());
  }
  int64_t now() const { return clock_.SteadyNs(); }

  /// Everything the consumer says.
  ConsumerMessage Hear() {
    ConsumerMessage all;
    while (auto message = consumer_->Poll(now())) {
      all.open.insert(all.open.end(), message->open.begin(), message->open.end());
      all.close.insert(all.close.end(), message->close.begin(), message->close.end());
      all.fence.insert(all.fence.end(), message->fence.begin(), message->fence.end());
      all.progress.insert(all.progress.end(), message->progress.begin(), message->progress.end());
      all.credit_bytes += message->credit_bytes;
    }
    return all;
  }
  void Say(ProducerMessage message) {
    consumer_->OnMessage(std::move(message), now());
    while (consumer_->Step(now())) {
    }
  }
  void Welcome() {
    Hear();
    ProducerMessage message;
    message.welcome = tap::Welcome{1, {"digest"}, "source", {}, 4, 1 << 20};
    message.welcome->node_uuid[0] = 1;
    Say(std::move(message));
    Hear();
  }
  static StreamAnswer Ok(uint16_t vbucket, uint64_t epoch = 5) {
    StreamAnswer answer;
    answer.vbucket = Vbid(vbucket);
    answer.failover_log = {{kUuid, Seqno(0)}};
    answer.epoch = epoch;
    return answer;
  }
  void Answer(std::vector<StreamAnswer> answers) {
    ProducerMessage message;
    message.answers = std::move(answers);
    Say(std::move(message));
  }
  void Begin() {
    Welcome();
    Answer({Ok(0), Ok(1)});
  }
  void Chunk() {
    ProducerMessage message;
    message.chunk = writer_.Take();
    Say(std::move(message));
  }
  static TapFrame Head(uint16_t vbucket, uint64_t start, uint64_t end,
                       TapSnapshotKind kind = TapSnapshotKind::kMemory) {
    TapFrame head;
    head.vbucket = Vbid(vbucket);
    head.start = Seqno(start);
    head.end = Seqno(end);
    head.kind = kind;
    head.checkpoint = CheckpointId(1);
    return head;
  }
  /// A snapshot with a value at each of `seqnos`.
  void Snapshot(const TapFrame& head, const std::vector<uint64_t>& seqnos, bool last_part = true) {
    writer_.BeginSnapshot(head);
    for (const uint64_t seqno : seqnos)
      writer_.AddOperation(*Value("k" + std::to_string(seqno), seqno), false);
    writer_.EndSnapshot(last_part);
  }
  void ExpectRefused(const std::string& text, EndReason reason = EndReason::kBadMessage) {
    EXPECT_TRUE(consumer_->wants_disconnect());
    EXPECT_EQ(EndReasonName(consumer_->end_reason()), EndReasonName(reason));
    EXPECT_THAT(consumer_->info(now()).last_error, HasSubstr(text));
    EXPECT_EQ(consumer_->Poll(now()), std::nullopt);
  }
  void ExpectFine() { EXPECT_FALSE(consumer_->wants_disconnect()) << consumer_->info(now()).last_error; }
  Seqno Applied(uint16_t vbucket) { return b.At(Vbid(vbucket)).high; }

  std::unique_ptr<Consumer> consumer_;
  TapChunkWriter writer_;
};

TEST_F(TapBadPeerTest, GoodOnesAreFollowed) {
  Begin();
  Snapshot(Head(0, 0, 3), {1, 3});
  Chunk();
  ExpectFine();
  EXPECT_EQ(Applied(0), Seqno(3));
  const ConsumerMessage heard = Hear();
  EXPECT_FALSE(heard.progress.empty());
  EXPECT_GT(heard.credit_bytes, 0u);
}

TEST_F(TapBadPeerTest, TheFirstMessageIsAWelcome) {
  Hear();
  Answer({Ok(0)});
  ExpectRefused("not a welcome");
}

TEST_F(TapBadPeerTest, ASecondWelcome) {
  Welcome();
  ProducerMessage message;
  message.welcome = tap::Welcome{1, {}, "source", {}, 4, 1};
  Say(std::move(message));
  ExpectRefused("a second welcome");
}

TEST_F(TapBadPeerTest, AnotherNumberOfVbuckets) {
  Hear();
  ProducerMessage message;
  message.welcome = tap::Welcome{1, {}, "source", {}, 1024, 1};
  Say(std::move(message));
  ExpectRefused("1024", EndReason::kVbucketCount);
}

TEST_F(TapBadPeerTest, ItselfAndAGoodbye) {
  Hear();
  ProducerMessage message;
  message.welcome = tap::Welcome{1, {}, "source", b.R().node_uuid(), 4, 1};
  Say(std::move(message));
  ExpectRefused("same node", EndReason::kSelf);
  consumer_->Disconnected("", now());
  consumer_->Connected(now());
  ExpectFine();
  Welcome();
  ProducerMessage goodbye;
  goodbye.goodbye = EndReason::kShutdown;
  goodbye.goodbye_text = "back soon";
  Say(std::move(goodbye));
  ExpectRefused("back soon", EndReason::kShutdown);
}

TEST_F(TapBadPeerTest, AnAnswerThatNobodyAskedFor) {
  Begin();
  Answer({Ok(0)});
  ExpectRefused("vbucket 0: an answer that nobody asked for");
}

TEST_F(TapBadPeerTest, AnAnswerOfAVbucketThatIsNotFollowed) {
  Welcome();
  Answer({Ok(3)});
  ExpectRefused("vbucket 3: an answer that nobody asked for");
}

TEST_F(TapBadPeerTest, ADamagedChunk) {
  Begin();
  Snapshot(Head(0, 0, 3), {1, 3});
  ProducerMessage message;
  message.chunk = writer_.Take();
  message.chunk[8] = static_cast<char>(message.chunk[8] ^ 0x10);
  Say(std::move(message));
  ExpectRefused("wrong checksum");
  EXPECT_EQ(Applied(0), Seqno(0));
}

TEST_F(TapBadPeerTest, OperationsOfAStreamThatIsNotOpen) {
  Welcome();
  Snapshot(Head(0, 0, 3), {1});
  Chunk();
  ExpectRefused("vbucket 0: a frame of a stream that is not open");
}

TEST_F(TapBadPeerTest, OperationsOfAVbucketThatIsNotFollowed) {
  Begin();
  Snapshot(Head(2, 0, 3), {1});
  Chunk();
  ExpectRefused("vbucket 2: a frame of a stream that is not open");
}

TEST_F(TapBadPeerTest, TheSameOperationsTwice) {
  Begin();
  for (int i = 0; i < 2; ++i) {
    Snapshot(Head(0, 0, 3), {1, 3});
    Chunk();
  }
  ExpectRefused("vbucket 0: a seqno that has been applied already");
  EXPECT_EQ(Applied(0), Seqno(3));
}

TEST_F(TapBadPeerTest, AHole) {
  Begin();
  Snapshot(Head(0, 2, 3), {3});
  Chunk();
  ExpectRefused("does not begin where the one before ended");
}

TEST_F(TapBadPeerTest, SeqnosThatDoNotRiseFromPartToPart) {
  Begin();
  TapFrame head = Head(0, 0, 9);
  Snapshot(head, {5}, false);
  Chunk();
  ExpectFine();
  EXPECT_EQ(Applied(0), Seqno(0));
  head.continues = true;
  Snapshot(head, {5, 9}, true);
  Chunk();
  ExpectRefused("a seqno that does not rise");
}

TEST_F(TapBadPeerTest, APartOfAnotherSnapshot) {
  Begin();
  Snapshot(Head(0, 0, 9), {5}, false);
  Chunk();
  TapFrame other = Head(0, 0, 10);
  other.continues = true;
  Snapshot(other, {9}, true);
  Chunk();
  ExpectRefused("the rest of another snapshot");
}

TEST_F(TapBadPeerTest, ARestWithoutABeginning) {
  Begin();
  TapFrame head = Head(0, 0, 9);
  head.continues = true;
  Snapshot(head, {5, 9}, true);
  Chunk();
  ExpectRefused("the rest of a snapshot that did not begin");
}

TEST_F(TapBadPeerTest, AnotherVbucketInTheMiddleOfASnapshot) {
  Begin();
  Snapshot(Head(0, 0, 9), {5}, false);
  Chunk();
  Snapshot(Head(1, 0, 1), {1});
  Chunk();
  ExpectRefused("vbucket 1: a snapshot in the middle of another");
}

TEST_F(TapBadPeerTest, AStreamMayEndInTheMiddleOfASnapshot) {
  Begin();
  Snapshot(Head(0, 0, 9), {5}, false);
  Chunk();
  writer_.AddStreamEnd(Vbid(0), static_cast<uint8_t>(EndReason::kBackfillFailed), "disk");
  Snapshot(Head(1, 0, 1), {1});
  Chunk();
  ExpectFine();
  EXPECT_EQ(Applied(0), Seqno(0));
  EXPECT_EQ(Applied(1), Seqno(1));
  // It is asked for again, after a while.
  EXPECT_TRUE(Hear().open.empty());
  clock_.Advance(50'000'000);
  const ConsumerMessage heard = Hear();
  ASSERT_EQ(heard.open.size(), 1u);
  EXPECT_EQ(heard.open[0].vbucket, Vbid(0));
  EXPECT_EQ(heard.open[0].seqno, Seqno(0));
}

TEST_F(TapBadPeerTest, AnOperationWithoutItsValue) {
  Begin();
  writer_.BeginSnapshot(Head(0, 0, 1));
  writer_.AddOperation(*Value("k", 1), true);
  writer_.EndSnapshot(true);
  Chunk();
  ExpectRefused("an operation without its value");
}

TEST_F(TapBadPeerTest, AValueAboveTheLimit) {
  Begin();
  writer_.BeginSnapshot(Head(0, 0, 1));
  writer_.AddOperation(*Item::NewValue("k", std::string(1001, 'v'), ItemMeta{0, 0, Cas(1), Seqno(1)}), false);
  writer_.EndSnapshot(true);
  Chunk();
  ExpectRefused("value too large");
}

TEST_F(TapBadPeerTest, AMarkerThatDoesNotParse) {
  Begin();
  writer_.BeginSnapshot(Head(0, 0, 1));
  writer_.AddOperation(*Item::NewMarker("nonsense", Seqno(1)), false);
  writer_.EndSnapshot(true);
  Chunk();
  ExpectRefused("a snapshot that cannot be understood");
  EXPECT_EQ(Applied(0), Seqno(0));
}

TEST_F(TapBadPeerTest, TheEndOfACheckpointThatIsNotHere) {
  Begin();
  writer_.AddCheckpointEnd(Vbid(0), CheckpointId(1), Seqno(7), std::nullopt);
  Chunk();
  ExpectRefused("the end of a checkpoint that is not here");
}

TEST_F(TapBadPeerTest, ACheckpointWithoutANext) {
  Begin();
  Snapshot(Head(0, 0, 3), {1, 3});
  Chunk();
  ExpectFine();
  writer_.AddCheckpointEnd(Vbid(0), CheckpointId(UINT64_MAX), Seqno(3), std::nullopt);
  Chunk();
  ExpectRefused("a checkpoint that does not exist");
  EXPECT_EQ(b.At(Vbid(0)).open_checkpoint, CheckpointId(1));
}

TEST_F(TapBadPeerTest, AnEpochAboveWhichNobodyIsPromoted) {
  Welcome();
  Answer({Ok(0, UINT64_MAX)});
  ExpectRefused("answer of vbucket 0: no such epoch");
  EXPECT_EQ(b.At(Vbid(0)).epoch, 0u);
}

TEST_F(TapBadPeerTest, AStateThatNobodyAskedFor) {
  Begin();
  writer_.AddVbucketState(Vbid(0), 1, 9);
  Chunk();
  ExpectRefused("a state that nobody asked for");
  EXPECT_EQ(b.At(Vbid(0)).state, engine::VbucketState::kReplica);
}

TEST_F(TapBadPeerTest, ADiskSnapshotOfElsewhere) {
  Begin();
  Snapshot(Head(0, 4, 9, TapSnapshotKind::kData), {5, 9});
  Chunk();
  ExpectRefused("a disk snapshot that does not begin here");
}

TEST_F(TapBadPeerTest, MoreThanItsCredits) {
  Begin();
  // 1 MiB was granted, and nothing is granted again: the snapshot is never whole.
  TapFrame head = Head(0, 0, kSeqnoMax);
  uint64_t seqno = 0;
  for (int i = 0; i < 40 && !consumer_->wants_disconnect(); ++i) {
    writer_.BeginSnapshot(head);
    for (int n = 0; n < 60; ++n) {
      ++seqno;
      writer_.AddOperation(
          *Item::NewValue("k", std::string(1000, 'v'), ItemMeta{0, 0, Cas(seqno), Seqno(seqno)}), false);
    }
    writer_.EndSnapshot(false);
    head.continues = true;
    Chunk();
  }
  ExpectRefused("a chunk without credits");
}

TEST_F(TapBadPeerTest, ASnapshotLargerThanTheWindowIsHelpedButNotWithoutEnd) {
  Begin();
  TapFrame head = Head(0, 0, kSeqnoMax);
  uint64_t seqno = 0;
  uint64_t sent = 0;
  for (int i = 0; i < 400 && !consumer_->wants_disconnect(); ++i) {
    writer_.BeginSnapshot(head);
    for (int n = 0; n < 60; ++n) {
      ++seqno;
      writer_.AddOperation(
          *Item::NewValue("k", std::string(1000, 'v'), ItemMeta{0, 0, Cas(seqno), Seqno(seqno)}), false);
    }
    writer_.EndSnapshot(false);
    head.continues = true;
    sent += writer_.size();
    Chunk();
    Hear();
  }
  EXPECT_GT(sent, 4 * kWindowBytesMin);
  EXPECT_LT(sent, 6 * kWindowBytesMin);
  ExpectRefused("a snapshot of more than four windows");
}

TEST_F(TapBadPeerTest, ASourceWithALowerEpochIsToldAndLeft) {
  Begin();
  ASSERT_EQ(b.At(Vbid(0)).epoch, 5u);
  consumer_->Disconnected("", now());
  consumer_->Connected(now());
  Welcome();
  Answer({Ok(0, 4), Ok(1, 5)});
  ExpectFine();
  const ConsumerMessage heard = Hear();
  ASSERT_EQ(heard.fence.size(), 1u);
  EXPECT_EQ(heard.fence[0], (FenceNotice{Vbid(0), 5}));
  EXPECT_EQ(heard.close, std::vector<Vbid>{Vbid(0)});
  // What it sends of it until it has heard is passed over; the other vbucket goes on.
  Snapshot(Head(0, 0, 1), {1});
  Snapshot(Head(1, 0, 1), {1});
  Chunk();
  ExpectFine();
  EXPECT_EQ(Applied(0), Seqno(0));
  EXPECT_EQ(Applied(1), Seqno(1));
}

TEST_F(TapBadPeerTest, WhatIsDroppedIsNotApplied) {
  Begin();
  Snapshot(Head(0, 0, 2), {1}, false);
  Chunk();
  consumer_->Drop({Vbid(0)});
  EXPECT_EQ(Hear().close, std::vector<Vbid>{Vbid(0)});
  TapFrame rest = Head(0, 0, 2);
  rest.continues = true;
  Snapshot(rest, {2}, true);
  Snapshot(Head(1, 0, 1), {1});
  Chunk();
  ExpectFine();
  EXPECT_EQ(Applied(0), Seqno(0));
  EXPECT_EQ(Applied(1), Seqno(1));
  consumer_->Disconnected("", now());
  consumer_->Connected(now());
  Welcome();
  Answer({Ok(1)});
  ExpectFine();
}

// --- markers that do not fit where they stand: behind operations 1 and 3, at 5 ---

struct MarkerCase {
  const char* name;
  proto::MarkerType type;
  uint64_t start, end;
  bool fits;
};
class TapBadMarkerTest : public TapBadPeerTest, public ::testing::WithParamInterface<MarkerCase> {
 protected:
  void AddMarker() {
    proto::Marker marker;
    marker.type = GetParam().type;
    marker.update.bytes[0] = 1;
    marker.start = Seqno(GetParam().start);
    marker.end = Seqno(GetParam().end);
    writer_.AddOperation(*Item::NewMarker(proto::EncodeMarker(marker), Seqno(5)), false);
    // What was here before is changed in the window.
    writer_.AddOperation(*Item::NewDeleted("k3", false, ItemMeta{0, 0, Cas(6), Seqno(6)}), false);
    writer_.EndSnapshot(true);
    Chunk();
  }
  void ExpectTaken(bool fits, Seqno before) {
    if (!fits) ExpectRefused("vbucket 0: a snapshot that cannot be understood");
    if (fits) ExpectFine();
    EXPECT_EQ(Applied(0), fits ? Seqno(6) : before);
  }
};

TEST_P(TapBadMarkerTest, BehindWhatIsHere) {
  Begin();
  Snapshot(Head(0, 0, 3), {1, 3});
  writer_.BeginSnapshot(Head(0, 3, 6));
  AddMarker();
  ExpectTaken(GetParam().fits, Seqno(3));
}

TEST_P(TapBadMarkerTest, InTheMiddleOfASnapshot) {
  Begin();
  writer_.BeginSnapshot(Head(0, 0, 6));
  writer_.AddOperation(*Value("k1", 1), false);
  writer_.AddOperation(*Value("k3", 3), false);
  AddMarker();
  ExpectTaken(GetParam().fits, Seqno(0));
}

using proto::MarkerType;
INSTANTIATE_TEST_SUITE_P(
    Cases, TapBadMarkerTest,
    ::testing::Values(MarkerCase{"start", MarkerType::kOnlineUpdateStart, 3, 0, true},
                      MarkerCase{"start_behind_a_gap", MarkerType::kOnlineUpdateStart, 4, 0, true},
                      MarkerCase{"start_below_what_is_here", MarkerType::kOnlineUpdateStart, 2, 0, false},
                      MarkerCase{"start_at_itself", MarkerType::kOnlineUpdateStart, 5, 0, false},
                      MarkerCase{"complete", MarkerType::kOnlineUpdateComplete, 1, 3, true},
                      MarkerCase{"complete_too_low", MarkerType::kOnlineUpdateComplete, 1, 2, false},
                      MarkerCase{"revert", MarkerType::kOnlineUpdateRevert, 1, 3, true},
                      MarkerCase{"revert_too_low", MarkerType::kOnlineUpdateRevert, 1, 2, false},
                      MarkerCase{"revert_of_what_comes", MarkerType::kOnlineUpdateRevert, 1, 5, false},
                      MarkerCase{"revert_backwards", MarkerType::kOnlineUpdateRevert, 4, 3, false}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace cairn::tap
