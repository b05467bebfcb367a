// An online update as a replica sees it: its windows open and end with markers of the stream, its data on
// disk rests at S, and a restart or a promotion in the middle keeps the window. The holes of the first
// implementation are named by their numbers.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proto/disk_record.h"
#include "tests/engine/replica_fixture.h"

namespace cairn::engine {
namespace {

class ReplicaUpdate : public ReplicaTest {
 protected:
  using View = std::map<std::string, std::optional<Version>>;
  View OnReplica(const std::vector<std::string>& keys) {
    View view;
    for (const std::string& key : keys) view[key] = b.GetReplica(key);
    return view;
  }
  void Change(const std::vector<std::string>& keys) {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (i % 3 == 0) {
        ASSERT_EQ(a.E().Delete(keys[i]), Code::kOk);
      } else {
        ASSERT_EQ(a.E().Set(keys[i], "new-" + keys[i], 7, 2'000'000'000), Code::kOk);
      }
      ASSERT_EQ(a.E().Set("added-" + keys[i], "x"), Code::kOk);
    }
  }
  void ExpectAlike() {
    EXPECT_EQ(Different(), 0);
    EXPECT_EQ(b.Stat("online_update", "online_update_digest_mismatches"), "0");
  }
  void PersistBoth() {
    a.Persist();
    ASSERT_EQ(a.E().Set("tick", "tock"), Code::kOk);  // tells the replica what is persisted
    CatchUp();
    b.Persist();
    b.Background(20);
  }
  /// Both have one vbucket with these keys, on disk.
  void OpenOneVbucketWith(const std::vector<std::string>& keys) {
    EngineOptions options = SmallOptions();
    options.vbuckets = 1;
    OpenBoth(options);
    SetAll(keys, "old-");
    PersistBoth();
  }
};

TEST_F(ReplicaUpdate, RevertTakesAReplicaBackToo) {
  OpenBoth();
  const auto keys = Keys(200);
  SetAll(keys, "old-");
  CatchUp();
  const View before = OnReplica(keys);
  Do(a, Step::kStart);
  Change(keys);
  CatchUp();
  EXPECT_NE(OnReplica(keys), before);
  const UpdateStatus on_a = a.E()->update_status();
  const UpdateStatus on_b = b.E()->update_status();
  EXPECT_EQ(on_b.phase, UpdatePhase::kUpdating) << "status shows what the replicas are in";
  EXPECT_EQ(on_b.id, on_a.id);
  EXPECT_EQ(on_b.added, on_a.added);
  EXPECT_EQ(on_b.updated, on_a.updated);
  EXPECT_EQ(on_b.deleted, on_a.deleted);
  EXPECT_EQ(on_b.digest_at_start, on_a.digest_at_start);
  Do(a, Step::kRevert);
  CatchUp();
  EXPECT_EQ(OnReplica(keys), before);
  EXPECT_FALSE(b.GetReplica("added-key-1").has_value());
  EXPECT_EQ(b.E()->update_status().phase, UpdatePhase::kNormal);
  CloseCheckpoints();
  CatchUp();
  ExpectSame(keys);
  ExpectAlike();
  EXPECT_GT(Equal(), 4);
}

TEST_F(ReplicaUpdate, TakesNoOrdersOfItsOwn) {
  OpenBoth();
  EXPECT_EQ(b.E().Update(Step::kStart).code(), Code::kNotSupported);
  EXPECT_EQ(b.E()->update_status().phase, UpdatePhase::kNormal);
  SetAll(Keys(20), "old-");
  Do(a, Step::kStart);
  SetAll(Keys(20), "new-");
  CatchUp();
  EXPECT_EQ(b.E().Update(Step::kComplete).code(), Code::kNotSupported);
  EXPECT_EQ(b.E().Update(Step::kRevert).code(), Code::kNotSupported);
  EXPECT_EQ(b.At(Vbid(0)).window, a.At(Vbid(0)).window);
}

// A replica opened a checkpoint of its own at a marker: two with one number, and the stream broke.
TEST_F(ReplicaUpdate, Hole1_CheckpointsHaveOneNumberEverywhere) {
  OpenBoth();
  const auto keys = Keys(100);
  for (const Step end : {Step::kComplete, Step::kRevert}) {
    SetAll(keys, "old-");
    Do(a, Step::kStart);
    SetAll(keys, "new-");
    CatchUp();
    for (const Vbid vb : All()) EXPECT_EQ(a.At(vb).open_checkpoint, b.At(vb).open_checkpoint);
    Do(a, end);
    SetAll(keys, "later-");
    CloseCheckpoints();
    CatchUp();
    ExpectSame(keys);
  }
  ExpectAlike();
}

// Markers have a place in the sequence; after a reconnect they come where they belong.
TEST_F(ReplicaUpdate, Hole6_AReconnectAtAnyPointKeepsMarkersInTheirPlace) {
  for (int cut = 0; cut < 40; cut += 3) {
    SCOPED_TRACE(cut);
    Renew();
    OpenBoth();
    if (HasFatalFailure()) return;
    const auto keys = Keys(60);
    SetAll(keys, "old-" + std::to_string(cut));
    Do(a, Step::kStart);
    Change(keys);
    Do(a, Step::kRevert);
    SetAll(Keys(10, "after-"), "x");
    int steps = 0;
    for (Follower& follower : followers) {
      while (follower.Step()) {
        if (++steps % (cut + 1) == 0) follower.Ask();
      }
    }
    CloseCheckpoints();
    CatchUp();
    ExpectSame(keys);
    ASSERT_FALSE(HasFailure());
  }
  ExpectAlike();
}

// A repeated marker was an error that broke the stream for ever.
TEST_F(ReplicaUpdate, Hole7_AMarkerThatSaysNothingNewIsNoError) {
  OpenBoth();
  const Vbid vb(0);
  const auto marker = [](proto::MarkerType type, uint8_t id, uint64_t seqno) {
    proto::Marker m;
    m.type = type;
    m.update.bytes.fill(id);
    m.start = Seqno(type == proto::MarkerType::kOnlineUpdateStart ? seqno - 1 : 0);
    m.end = Seqno(seqno - 1);
    return Item::NewMarker(proto::EncodeMarker(m), Seqno(seqno));
  };
  const auto apply = [&](uint64_t ckpt, const ItemRef& item) {
    const Seqno end = item->seqno();
    return b.R().Apply(vb, {CheckpointId(ckpt), end - 1, end, Seqno()}, std::vector<ItemRef>{item});
  };
  ASSERT_EQ(apply(1, marker(proto::MarkerType::kOnlineUpdateRevert, 9, 1)), Code::kOk) << "of no window";
  ASSERT_EQ(apply(2, marker(proto::MarkerType::kOnlineUpdateStart, 1, 2)), Code::kOk);
  ASSERT_EQ(apply(3, marker(proto::MarkerType::kOnlineUpdateStart, 1, 3)), Code::kOk) << "again";
  EXPECT_FALSE(b.At(vb).window.is_none());
  ASSERT_EQ(apply(4, marker(proto::MarkerType::kOnlineUpdateComplete, 2, 4)), Code::kOk) << "of another";
  EXPECT_FALSE(b.At(vb).window.is_none());
  ASSERT_EQ(apply(5, marker(proto::MarkerType::kOnlineUpdateComplete, 1, 5)), Code::kOk);
  EXPECT_TRUE(b.At(vb).window.is_none());
  EXPECT_TRUE(b.At(vb).last_update.committed);
  ASSERT_EQ(apply(6, marker(proto::MarkerType::kOnlineUpdateComplete, 1, 6)), Code::kOk) << "again";
  ASSERT_EQ(apply(7, marker(proto::MarkerType::kSetVbucketState, 0, 7)), Code::kOk);
  EXPECT_EQ(b.At(vb).state, VbucketState::kReplica) << "the source's state is not ours";
  EXPECT_EQ(b.At(vb).high, Seqno(7));
  EXPECT_EQ(b.Stat("online_update", "online_update_digest_mismatches"), "0");
}

TEST_F(ReplicaUpdate, AStartThatFindsOtherContentIsAnAlarm) {
  OpenBoth();
  const Vbid vb(0);
  proto::Marker start;
  start.type = proto::MarkerType::kOnlineUpdateStart;
  start.update.bytes.fill(1);
  start.digest = 17;
  const ItemRef item = Item::NewMarker(proto::EncodeMarker(start), Seqno(1));
  ASSERT_EQ(b.R().Apply(vb, {CheckpointId(1), Seqno(0), Seqno(1), Seqno()}, std::vector<ItemRef>{item}),
            Code::kOk);
  EXPECT_EQ(b.Stat("online_update", "online_update_digest_mismatches"), "1");
  EXPECT_EQ(*b.R().EndCheckpoint(vb, {CheckpointId(1), Seqno(1), 0}), DigestVerdict::kDifferent)
      << "although the digests are equal now";
}

// The state lived in memory only.
TEST_F(ReplicaUpdate, Hole10_AWindowSurvivesARestartOfTheReplica) {
  for (const Step end : {Step::kRevert, Step::kComplete}) {
    SCOPED_TRACE(end == Step::kRevert);
    Renew();
    OpenBoth();
    if (HasFatalFailure()) return;
    const auto keys = Keys(200);
    SetAll(keys, "old-");
    PersistBoth();
    Do(a, Step::kStart);
    Change(keys);
    PersistBoth();
    b.CrashAndReopen();
    EXPECT_EQ(b.At(Vbid(2)).window, a.At(Vbid(2)).window) << "only the stream ends a replica's window";
    EXPECT_EQ(b.At(Vbid(2)).window_start, a.At(Vbid(2)).window_start);
    for (Follower& follower : followers) follower.Ask();
    SetAll(Keys(50, "late-"), "x");
    CatchUp();
    if (end == Step::kRevert) b.Background(100);  // warm, or not
    Do(a, end);
    CloseCheckpoints();
    CatchUp();
    b.Background(100);
    ExpectSame(keys);
    ExpectSame(Keys(50, "late-"));
    EXPECT_EQ(b.At(Vbid(2)).last_update, a.At(Vbid(2)).last_update);
    b.Persist();
    b.CrashAndReopen();
    b.Background(100);
    EXPECT_EQ(b.At(Vbid(2)).last_update, a.At(Vbid(2)).last_update);
    for (Follower& follower : followers) follower.Ask();
    ExpectSame(keys);
    ExpectAlike();
    ASSERT_FALSE(HasFailure());
  }
}

// Checkpoints grew without a bound through the window.
TEST_F(ReplicaUpdate, Hole11_CheckpointsStayBoundedThroughALongWindow) {
  EngineOptions options = SmallOptions();
  options.memory_quota = 64u << 20;
  OpenBoth(options);
  SetAll(Keys(100), "old-");
  Do(a, Step::kStart);
  for (int round = 0; round < 30; ++round) {
    SetAll(Keys(100), std::string(1000, static_cast<char>('a' + round % 26)));
    CatchUp();
    b.Persist();
  }
  EXPECT_LT(std::stoull(b.Stat("memory", "ep_checkpoint_memory")), 5'000u);
}

// A replica that was filled in the window had the window's values as its base.
TEST_F(ReplicaUpdate, Hole12_DataOnDiskRestsAtS) {
  const Vbid vb(0);
  const auto keys = Keys(100);
  OpenOneVbucketWith(keys);
  Do(a, Step::kStart);
  Change(keys);
  PersistBoth();
  EXPECT_EQ(b.At(vb).merged, b.At(vb).window_start);
  for (auto it = b.store.ReadData(vb, ""); it->Valid(); it->Next()) {
    const auto item = proto::DecodeDataRecord(vb, it->data_key(), it->record());
    ASSERT_TRUE(item.ok());
    EXPECT_TRUE(item.value()->value().starts_with("old-") || item.value()->key() == "tick");
  }
  Do(a, Step::kComplete);
  SetAll(Keys(60, "more-"), "x");
  PersistBoth();
  PersistBoth();
  EXPECT_GT(b.At(vb).merged, b.At(vb).last_update.id.is_none() ? Seqno(kSeqnoMax) : Seqno(300));
}

// A crash that loses the marker of a COMPLETE opens the window again, so data has to be at its start still:
// it had run ahead, and what the window had changed stayed when it was taken back.
TEST_F(ReplicaUpdate, DataRestsAtSUntilTheMarkerOfTheEndIsDurable) {
  const Vbid vb(0);
  const auto keys = Keys(100);
  OpenOneVbucketWith(keys);
  const uint64_t digest_at_s = a.At(vb).digest;
  Do(a, Step::kStart);
  Change(keys);
  CloseCheckpoints();
  PersistBoth();
  const Seqno s = b.At(vb).window_start;
  ASSERT_EQ(b.At(vb).merged, s);
  Do(a, Step::kComplete);
  CloseCheckpoints();
  a.Persist();
  ASSERT_EQ(a.E().Set("tick", "tock"), Code::kOk);
  CatchUp();
  ASSERT_TRUE(b.At(vb).window.is_none());
  b.gate.refuse = [](const storage::LogBatch&) { return Status(Code::kNoSpace, "full"); };
  for (int i = 0; i < 20; ++i) {
    clock_.Advance(2 * kSecondNs);
    b.Background(1);
  }
  b.gate.refuse = nullptr;
  b.CrashAndReopen();
  ASSERT_FALSE(b.At(vb).window.is_none()) << "the marker was lost";
  b.Background(50);
  const PendingRef back = b.R().Rollback(vb, s);
  for (int i = 0; i < 50 && !back->ready(); ++i) b.Background(1);
  ASSERT_TRUE(back->ready() && back->status().ok());
  b.Background(50);
  EXPECT_EQ(b.At(vb).high, s);
  EXPECT_EQ(b.At(vb).digest, digest_at_s);
  for (Follower& follower : followers) follower.Ask();
  CatchUp();
  ExpectSame(keys);
  // Once it is durable the merge goes on.
  PersistBoth();
  CloseCheckpoints();
  PersistBoth();
  clock_.Advance(10 * kSecondNs);
  b.Background(20);
  EXPECT_GT(b.At(vb).merged, s);
  ExpectAlike();
}

// A crash of the replica at each store call of a script with both ends of an update.
TEST_F(ReplicaUpdate, ACrashAtEachStoreCallIsMadeGood) {
  EngineOptions options = SmallOptions();
  options.vbuckets = 2;
  options.sync = SyncPolicy::kAlways;
  const auto keys = Keys(40);
  uint64_t crashed = 0;
  for (uint64_t call = 1; call < 300; ++call) {
    SCOPED_TRACE(call);
    Renew();
    OpenBoth(options);
    if (HasFatalFailure()) return;
    const uint64_t die_at = b.store.mutating_calls() + call;
    b.store.FailNth(call, Status(Code::kAmbiguous, "the power is going"), true);
    for (const Step end : {Step::kRevert, Step::kComplete, Step::kRevert}) {
      SetAll(keys, "old-");
      CatchUp();
      b.Background(6);
      Do(a, Step::kStart);
      CatchUp();
      b.Background(6);
      Change(keys);
      CatchUp();
      clock_.Advance(2 * kSecondNs);
      b.Background(6);
      Do(a, end);
      ASSERT_EQ(a.E().Set("after", "x"), Code::kOk);
      a.Persist();
      CatchUp();
      clock_.Advance(2 * kSecondNs);
      b.Background(12);
    }
    const bool died = b.store.mutating_calls() >= die_at;
    b.engine->Kill();
    b.store.ClearFailures();
    b.store.CrashPower(call * 31);
    ASSERT_TRUE(b.store.Reopen().ok());
    b.engine->Open();
    for (Follower& follower : followers) follower.Ask();
    b.Background(20);
    CatchUp();
    ExpectSame(keys);
    CloseCheckpoints();
    CatchUp();
    ExpectAlike();
    ASSERT_FALSE(HasFailure());
    if (!died) break;
    crashed = call;
  }
  EXPECT_GT(crashed, 20u) << "the script has become too short to mean anything";
}

}  // namespace
}  // namespace cairn::engine
