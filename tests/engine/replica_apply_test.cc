// A replica applies what its source's sequence holds, and is at every moment at an exact point of it.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "base/fault.h"
#include "base/key.h"
#include "base/random.h"
#include "engine/vbucket.h"
#include "proto/disk_record.h"
#include "tests/engine/replica_fixture.h"
#include "tests/storage/store_testing.h"

namespace cairn::engine {
namespace {

class Replica : public ReplicaTest {};

TEST_F(Replica, HasWhatItsSourceHas) {
  OpenBoth();
  const auto keys = Keys(300);
  SetAll(keys, "v-");
  for (size_t i = 0; i < 300; i += 7) ASSERT_EQ(a.E().Delete(keys[i]), Code::kOk);
  for (size_t i = 1; i < 300; i += 7) ASSERT_EQ(a.E().Set(keys[i], "again", 42, 2'000'000'000), Code::kOk);
  CloseCheckpoints();
  CatchUp();
  ExpectSame(keys);
  EXPECT_GE(Equal(), 4);
  EXPECT_EQ(Different(), 0);
  for (const Vbid vb : All()) {
    EXPECT_EQ(b.At(vb).verified, b.At(vb).high);
    EXPECT_EQ(b.At(vb).verified_checkpoint.get() + 1, b.At(vb).open_checkpoint.get());
    EXPECT_EQ(a.At(vb).failover_log, b.At(vb).failover_log);
    EXPECT_EQ(b.At(vb).state, VbucketState::kReplica);
  }
}

TEST_F(Replica, IsNotServedAndDoesNothingByItself) {
  OpenBoth();
  const auto keys = Keys(40);
  for (const std::string& key : keys) ASSERT_EQ(a.E().Set(key, "v", 0, 1'700'000'100), Code::kOk);
  CatchUp();
  EXPECT_EQ(b.E()->Get(b.E()->MakeKey(keys[0]), nullptr).code, Code::kNotMyVbucket);
  const VbucketPosition before = b.At(Vbid(1));
  clock_.Advance(3600 * kSecondNs);
  ASSERT_TRUE(b.E()->SetParam("expiry_pager_interval_ms", "10").ok());
  b.Background(200);
  EXPECT_EQ(b.At(Vbid(1)).high, before.high) << "it has expired or deleted something";
  EXPECT_EQ(b.At(Vbid(1)).open_checkpoint, before.open_checkpoint) << "it has closed an aged checkpoint";
  EXPECT_EQ(b.At(Vbid(1)).items, before.items);
  EXPECT_FALSE(b.GetReplica(keys[0]).has_value()) << "expired is absent";
  EXPECT_EQ(b.At(Vbid(1)).high, before.high) << "reading has made an operation";
  EXPECT_EQ(b.E()->CreateCheckpoint(Vbid(1)).code(), Code::kNotMyVbucket);
}

TEST_F(Replica, RefusesWhatDoesNotFit) {
  OpenBoth();
  const Vbid vb(0);
  const auto value = [](uint64_t seqno) {
    return Item::NewValue("k" + std::to_string(seqno), "v", ItemMeta{0, 0, Cas(seqno), Seqno(seqno)});
  };
  const auto apply = [&](uint64_t start, uint64_t end, const std::vector<ItemRef>& items, uint64_t ckpt = 1) {
    return b.R().Apply(vb, {CheckpointId(ckpt), Seqno(start), Seqno(end), Seqno()}, items);
  };
  ASSERT_EQ(apply(0, 5, {value(2), value(5)}, 2), Code::kOk);
  EXPECT_EQ(b.At(vb).high, Seqno(5));
  EXPECT_EQ(apply(4, 7, {value(5)}, 2), Code::kOutOfRange) << "seen already";
  EXPECT_EQ(apply(6, 8, {value(7)}, 2), Code::kOutOfRange) << "6 is missing";
  EXPECT_EQ(apply(5, 8, {value(7), value(7)}, 2), Code::kOutOfRange) << "does not rise";
  EXPECT_EQ(apply(5, 8, {value(9)}, 2), Code::kOutOfRange) << "outside of its range";
  EXPECT_EQ(apply(5, 8, {value(7)}, 1), Code::kOutOfRange) << "an earlier checkpoint";
  EXPECT_EQ(apply(5, 8, {Item::NewMarker("garbage", Seqno(7))}, 2), Code::kCorruption);
  EXPECT_EQ(apply(5, 8, {value(6), Item::NewEjected("e", 9, 9, ItemMeta{0, 0, Cas(7), Seqno(7)})}, 2),
            Code::kCorruption);
  EXPECT_EQ(b.At(vb).high, Seqno(5));
  EXPECT_EQ(b.At(vb).items, 2u) << "nothing of what was refused is there";
  EXPECT_EQ(apply(5, 8, {}, 2), Code::kOk) << "all of it was left out";
  EXPECT_EQ(b.At(vb).high, Seqno(8));
  EXPECT_EQ(apply(8, 9, {value(9)}, 3), Code::kOk);
  EXPECT_EQ(b.R().Apply(Vbid(99), {}, {}), Code::kNotMyVbucket);
  EXPECT_EQ(a.R().Apply(vb, {CheckpointId(1), Seqno(0), Seqno(1), Seqno()}, {}), Code::kNotMyVbucket);
}

TEST_F(Replica, TakesNothingBeyondTheQuotaButDeletions) {
  EngineOptions options = SmallOptions();
  options.memory_quota = 1u << 20;
  OpenBoth(options);
  const Vbid vb(0);
  const std::string big(700'000, 'x');
  const ItemRef first = Item::NewValue("a", big, ItemMeta{0, 0, Cas(1), Seqno(1)});
  const ItemRef second = Item::NewValue("b", big, ItemMeta{0, 0, Cas(2), Seqno(2)});
  const ItemRef gone = Item::NewDeleted("a", false, ItemMeta{0, 0, Cas(2), Seqno(2)});
  const SnapshotRange one{CheckpointId(1), Seqno(0), Seqno(1), Seqno()};
  const SnapshotRange two{CheckpointId(1), Seqno(1), Seqno(2), Seqno()};
  ASSERT_EQ(b.R().Apply(vb, one, std::vector<ItemRef>{first}), Code::kOk);
  EXPECT_EQ(b.R().Apply(vb, two, std::vector<ItemRef>{second}), Code::kWouldBlock);
  EXPECT_EQ(b.At(vb).high, Seqno(1));
  EXPECT_EQ(b.R().Apply(vb, two, std::vector<ItemRef>{gone}), Code::kOk);
}

// Between two slices nobody sees anything of the snapshot.
TEST(ReplicaVbucket, ASnapshotIsSeenAsAWhole) {
  MemoryUsage memory{{1u << 30, 1u << 29, 1u << 29, 1u << 30, 1u << 28}};
  VBucketOptions options;
  options.memory = &memory;
  VBucket vb(options);
  const OpTime now{1, 1};
  const std::vector<ItemRef> items = {Item::NewValue("a", "1", ItemMeta{0, 0, Cas(1), Seqno(1)}),
                                      Item::NewValue("b", "2", ItemMeta{0, 0, Cas(2), Seqno(2)}),
                                      Item::NewValue("a", "3", ItemMeta{0, 0, Cas(3), Seqno(3)})};
  const std::string a = "a";
  const hashtable::HashedKey key{a, KeyHash(a, 0)};
  auto reader = std::make_shared<WakeFlag>();
  Effects fx;
  MutexLock lock(vb.mutex);
  vb.OpenSequence(true, 1, now);
  vb.SetState(VbucketState::kReplica, 0, now, fx);
  const VBucket::StreamPlace stream = vb.OpenStream("chain", Seqno(0)).value();
  ASSERT_EQ(vb.BeginApply({CheckpointId(1), Seqno(0), Seqno(1)}, now, fx), Code::kOk);
  ASSERT_EQ(vb.ApplySlice(std::span(items).first(1), now, fx), 1u);
  vb.EndApply(Seqno(1), Seqno(0), fx);
  ASSERT_EQ(vb.BeginApply({CheckpointId(1), Seqno(1), Seqno(2)}, now, fx), Code::kOk);
  fx.dirty = fx.announce = false;
  vb.set_queued(false);
  ASSERT_EQ(vb.ApplySlice(std::span(items).subspan(1, 1), now, fx), 1u);

  EXPECT_EQ(vb.high_seqno(), Seqno(1));
  EXPECT_TRUE(vb.ReadForLog().nothing()) << "a half snapshot would go to the log";
  EXPECT_TRUE(vb.ReadStream(stream, fx).value().nothing());
  EXPECT_EQ(vb.BeginPromotion(), Code::kWouldBlock);
  EXPECT_EQ(vb.PeekReplica(key, nullptr, now, fx).code, Code::kTmpFail);
  EXPECT_EQ(vb.PeekReplica(key, reader, now, fx).code, Code::kWouldBlock);
  EXPECT_FALSE(fx.dirty || fx.announce || !fx.wake.empty());

  ASSERT_EQ(vb.ApplySlice(std::span(items).subspan(2, 1), now, fx), 1u);
  vb.EndApply(Seqno(3), Seqno(0), fx);
  EXPECT_TRUE(fx.dirty) << "the flusher found nothing and has to come again";
  EXPECT_TRUE(fx.announce);
  EXPECT_EQ(fx.wake.size(), 1u);
  EXPECT_EQ(vb.high_seqno(), Seqno(3));
  const checkpoint::Batch read = vb.ReadStream(stream, fx).value();
  EXPECT_EQ(read.last, Seqno(3));
  ASSERT_EQ(read.operations.size(), 2u) << "the newest of each key";
  EXPECT_EQ(vb.ReadForLog().last, Seqno(3));
  EXPECT_EQ(vb.PeekReplica(key, nullptr, now, fx).item->value(), "3");
  EXPECT_EQ(vb.BeginPromotion(), Code::kOk);
  EXPECT_EQ(vb.BeginApply({CheckpointId(1), Seqno(3), Seqno(4)}, now, fx), Code::kWouldBlock);
  fx.dirty = false;
}

// --- checkpoints' ends ---

TEST_F(Replica, ComparesDigestsAtEachCheckpointsEnd) {
  OpenBoth();
  const Vbid vb(0);
  const ItemRef item = Item::NewValue("k", "v", ItemMeta{0, 0, Cas(1), Seqno(1)});
  ASSERT_EQ(b.R().Apply(vb, {CheckpointId(3), Seqno(0), Seqno(1), Seqno()}, std::vector<ItemRef>{item}),
            Code::kOk);
  EXPECT_EQ(b.R().EndCheckpoint(vb, {CheckpointId(3), Seqno(2), 0}).code(), Code::kOutOfRange);
  EXPECT_EQ(*b.R().EndCheckpoint(vb, {CheckpointId(3), Seqno(1), item->digest()}), DigestVerdict::kEqual);
  EXPECT_EQ(b.At(vb).verified, Seqno(1));
  EXPECT_EQ(b.At(vb).open_checkpoint, CheckpointId(4));
  EXPECT_EQ(*b.R().EndCheckpoint(vb, {CheckpointId(3), Seqno(1), 17}), DigestVerdict::kNotCompared) << "seen";
  const ItemRef next = Item::NewValue("l", "v", ItemMeta{0, 0, Cas(2), Seqno(2)});
  ASSERT_EQ(b.R().Apply(vb, {CheckpointId(4), Seqno(1), Seqno(2), Seqno()}, std::vector<ItemRef>{next}),
            Code::kOk);
  EXPECT_EQ(*b.R().EndCheckpoint(vb, {CheckpointId(4), Seqno(2), {}}), DigestVerdict::kNotCompared);
  EXPECT_EQ(b.At(vb).verified, Seqno(1));
  EXPECT_EQ(b.At(vb).open_checkpoint, CheckpointId(5));
  EXPECT_EQ(b.Stat("online_update", "online_update_digest_mismatches"), "0");
  EXPECT_EQ(a.R().EndCheckpoint(vb, {CheckpointId(1), Seqno(0), 0}).code(), Code::kNotMyVbucket);
}

TEST_F(Replica, ADifferenceIsAnAlarmWithEvidence) {
  const storage::TempDir dir;
  EngineOptions options = SmallOptions();
  options.data_dir = dir.Sub("");
  OpenBoth(options);
  const auto keys = Keys(400);
  SetAll(keys, "v-");
  for (size_t i = 0; i < 400; i += 5) ASSERT_EQ(a.E().Delete(keys[i]), Code::kOk);
  {
    const ScopedFault flip("replica.flip_byte", FaultSpec::Nth(3));
    CloseCheckpoints();
    followers[2].CatchUp();
  }
  EXPECT_GE(followers[2].different, 1);
  EXPECT_GE(std::stoi(b.Stat("online_update", "online_update_digest_mismatches")), 1);
  const std::filesystem::path evidence = dir.Sub("evidence");
  ASSERT_TRUE(std::filesystem::exists(evidence));
  EXPECT_EQ(std::filesystem::status(evidence).permissions(), std::filesystem::perms::owner_all);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(evidence)) {
    ++files;
    EXPECT_EQ(entry.status().permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    EXPECT_TRUE(entry.path().filename().string().starts_with("vb2-ckpt"));
    std::ifstream in(entry.path());
    std::string line;
    size_t lines = 0;
    while (std::getline(in, line)) ++lines;
    EXPECT_GT(lines, 10u);
  }
  EXPECT_GE(files, 1u);
}

TEST_F(Replica, KeepsOnlySoMuchEvidence) {
  const storage::TempDir dir;
  EngineOptions options = SmallOptions();
  options.data_dir = dir.Sub("");
  OpenBoth(options);
  for (uint64_t i = 1; i <= 40; ++i) {
    const ItemRef item = Item::NewValue("k", "v", ItemMeta{0, 0, Cas(i), Seqno(i)});
    ASSERT_EQ(
        b.R().Apply(Vbid(0), {CheckpointId(i), Seqno(i - 1), Seqno(i), Seqno()}, std::vector<ItemRef>{item}),
        Code::kOk);
    ASSERT_EQ(*b.R().EndCheckpoint(Vbid(0), {CheckpointId(i), Seqno(i), 17}), DigestVerdict::kDifferent);
  }
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.Sub("evidence"))) {
    static_cast<void>(entry);
    ++files;
  }
  EXPECT_EQ(files, 16u);
  EXPECT_TRUE(std::filesystem::exists(dir.Sub("evidence/vb0-ckpt40.txt"))) << "the newest is there";
}

// --- streams ---

TEST_F(Replica, AStreamIsToldOnceUntilItReads) {
  OpenBoth();
  std::vector<Vbid> told;
  const Replication::ListenerId id = a.R().AddListener(
      [&](std::span<const Vbid> vbs, bool) { told.insert(told.end(), vbs.begin(), vbs.end()); });
  const auto keys = Keys(200);
  SetAll(keys, "v-");
  EXPECT_EQ(told.size(), 4u) << "one for each vbucket, whatever was written since";
  told.clear();
  CatchUp();
  SetAll(keys, "w-");
  EXPECT_EQ(told.size(), 4u);
  told.clear();
  CatchUp();
  CloseCheckpoints();
  EXPECT_EQ(told.size(), 4u) << "a checkpoint's end is news too";
  CatchUp();
  a.R().RemoveListener(id);
  told.clear();
  SetAll(keys, "x-");
  EXPECT_TRUE(told.empty());
}

// On a busy node passes follow each other, and each of them makes data unstable for its whole length: a
// stream that has to read it would hardly ever come to that.
TEST_F(Replica, DataThatABackfillWantsIsLeftAloneByTheNextPasses) {
  a.Open(SmallOptions());
  const auto keys = Keys(40);
  const Vbid wanted(0);
  const Vbid other(1);
  const auto open = [&] { return a.R().OpenBackfill(wanted, Seqno(0)).code(); };
  const auto write_and_merge = [&](const std::string& value) {
    SetAll(keys, value);
    a.Persist();
    a.Background(3);
  };
  const auto merge_and_want = [&] {
    bool busy = false;
    a.store.SetHook([&](storage::MemoryStore::Op op) {
      if (op == storage::MemoryStore::Op::kFlushData && !busy) busy = open() == Code::kBusy;
    });
    write_and_merge("v-");
    a.store.SetHook(nullptr);
    ASSERT_TRUE(busy);
  };
  write_and_merge("u-");
  merge_and_want();
  const Seqno merged = a.At(wanted).merged;
  const Seqno other_merged = a.At(other).merged;
  ASSERT_GT(merged, Seqno(0));
  write_and_merge("w-");
  EXPECT_EQ(a.At(wanted).merged, merged);
  EXPECT_GT(a.At(other).merged, other_merged);
  EXPECT_EQ(open(), Code::kOk);
  a.Background(3);
  EXPECT_GT(a.At(wanted).merged, merged) << "whoever wanted it has it";

  merge_and_want();
  const Seqno again = a.At(wanted).merged;
  clock_.Advance(3'000'000'000);
  write_and_merge("x-");
  EXPECT_GT(a.At(wanted).merged, again) << "nobody has come back for it";
}

// Else the merging thread would take it for nothing, and put it off for as long as somebody copies data.
TEST_F(Replica, WhatAPassLeavesToOthersStaysCounted) {
  a.Open(SmallOptions());
  SetAll(Keys(40), "u-");
  a.Persist();
  a.Background(3);
  ASSERT_GT(a.At(Vbid(0)).merged, Seqno(0));
  bool busy = false;
  std::optional<uint64_t> left;
  a.store.SetHook([&](storage::MemoryStore::Op op) {
    using Op = storage::MemoryStore::Op;
    if (op == Op::kWriteData && !busy) {
      busy = a.R().OpenBackfill(Vbid(0), Seqno(0)).code() == Code::kBusy;
    }
    if (op == Op::kFlushData && busy && !left) left = std::stoull(a.Stat("", "ep_merge_backlog_bytes"));
  });
  SetAll(Keys(400), std::string(64u << 10, 'v'));  // 6 MiB and more in each of four vbuckets
  a.Persist();
  a.Background(10);
  ASSERT_TRUE(busy);
  ASSERT_TRUE(left.has_value());
  EXPECT_GT(*left, 12u << 20) << "the pass ended behind the first or second vbucket";
  a.store.SetHook(nullptr);
  clock_.Advance(3'000'000'000);
  a.Background(10);
  for (uint16_t vb = 0; vb < 4; ++vb) EXPECT_EQ(a.At(Vbid(vb)).merged, a.At(Vbid(vb)).persisted) << vb;
  EXPECT_EQ(a.Stat("", "ep_merge_backlog_bytes"), "0");
}

TEST_F(Replica, WhatABatchDidIsToldAtItsEnd) {
  EngineOptions options = SmallOptions();
  options.vbuckets = 64;
  a.Open(options);
  for (uint16_t vb = 0; vb < 64; ++vb) ASSERT_TRUE(a.R().OpenCursor(Vbid(vb), "x", Seqno(0)).ok());
  std::set<Vbid> told;
  a.R().AddListener([&](std::span<const Vbid> vbs, bool) { told.insert(vbs.begin(), vbs.end()); });
  const auto keys = Keys(10);
  {
    AnnounceLater batch = a.E()->AnnounceAtEnd();
    {
      AnnounceLater inner = a.E()->AnnounceAtEnd();
      SetAll(keys, "v-");
      inner.TellNow();
    }
    EXPECT_TRUE(told.empty());
    batch.TellNow();
    EXPECT_FALSE(told.empty()) << "before something that takes long";
  }
  const size_t touched = told.size();
  EXPECT_GT(touched, 1u);
  // One that is larger than what can be gathered is told of in parts.
  {
    const AnnounceLater batch = a.E()->AnnounceAtEnd();
    SetAll(Keys(2'000), "w-");
    EXPECT_GT(told.size(), touched);
    EXPECT_LT(told.size(), 64u);
  }
  EXPECT_EQ(told.size(), 64u);
}

TEST_F(Replica, AStreamThatIsDroppedOrWhoseSequenceIsReplacedHearsOfIt) {
  EngineOptions options = SmallOptions();
  options.memory_quota = 8u << 20;
  options.vbuckets = 1;
  a.Open(options);
  const Vbid vb(0);
  EXPECT_EQ(a.R().OpenCursor(vb, "x", Seqno(1)).code(), Code::kInvalidArgument);
  EXPECT_EQ(a.R().OpenCursor(Vbid(1), "x", Seqno(0)).code(), Code::kNotMyVbucket);
  const StreamCursor slow = a.R().OpenCursor(vb, "slow", Seqno(0)).value();
  EXPECT_EQ(a.R().OpenCursor(vb, "slow", Seqno(0)).code(), Code::kExists);
  for (int i = 0; i < 40; ++i)
    ASSERT_EQ(a.E().Set("k" + std::to_string(i), std::string(50'000, 'v')), Code::kOk);
  int told = 0;
  a.R().AddListener([&](std::span<const Vbid>, bool) { ++told; });
  a.Persist();
  clock_.Advance(kSecondNs);
  a.Background(10);
  EXPECT_GE(told, 1) << "it would wait for ever";
  EXPECT_EQ(a.R().Read(vb, slow).code(), Code::kOutOfRange);
  EXPECT_EQ(a.R().OpenCursor(vb, "again", Seqno(0)).code(), Code::kOutOfRange) << "on disk only";
  a.R().CloseCursor(vb, slow);

  const StreamCursor last = a.R().OpenCursor(vb, "last", a.At(vb).high).value();
  ASSERT_TRUE(a.R().Read(vb, last).ok());
  ASSERT_TRUE(a.R().Demote({vb}, VbucketState::kDead)->status().ok());
  Status deleted(Code::kInternal);
  a.E()->DeleteVbucket(vb, [&](Status status) { deleted = std::move(status); });
  ASSERT_TRUE(deleted.ok());
  EXPECT_EQ(a.R().Read(vb, last).code(), Code::kCancelled);
  a.R().CloseCursor(vb, last);
}

// What a stream has read is held by its batch alone.
TEST_F(Replica, WhatWasReadIsGivenBack) {
  EngineOptions options = SmallOptions();
  options.vbuckets = 1;
  a.Open(options);
  const StreamCursor cursor = a.R().OpenCursor(Vbid(0), "s", Seqno(0)).value();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(a.E().Set("k" + std::to_string(i), "v"), Code::kOk);
  a.Persist();
  EXPECT_GT(std::stoull(a.Stat("memory", "ep_checkpoint_memory")), 10'000u);
  Seqno read;
  for (;;) {
    const checkpoint::Batch batch = a.R().Read(Vbid(0), cursor).value();
    if (batch.nothing()) break;
    EXPECT_EQ(batch.first, read + 1) << "batches lie end to end";
    read = batch.last;
  }
  EXPECT_EQ(read, a.At(Vbid(0)).high);
  EXPECT_LT(std::stoull(a.Stat("memory", "ep_checkpoint_memory")), 200u);
}

// --- disk ---

TEST_F(Replica, MergesOnlyToEndsThatItsSourceHasPersisted) {
  EngineOptions options = SmallOptions();
  options.vbuckets = 1;
  OpenBoth(options);
  const Vbid vb(0);
  ASSERT_TRUE(a.E()->StopPersistence().ok());
  SetAll(Keys(120), "v-");
  CatchUp();
  b.Persist();
  b.Background(20);
  EXPECT_EQ(b.At(vb).persisted, b.At(vb).high);
  EXPECT_EQ(b.At(vb).merged, Seqno(0)) << "the source may still lose all of it";
  EXPECT_EQ(b.DataKeys(vb), 0u);
  ASSERT_TRUE(a.E()->StartPersistence().ok());
  a.Persist();
  ASSERT_EQ(a.E().Set("one", "more"), Code::kOk);
  CatchUp();
  b.Persist();
  b.Background(20);
  EXPECT_EQ(b.At(vb).merged, Seqno(100)) << "the last end of a checkpoint (50 items each)";
  EXPECT_EQ(b.DataKeys(vb), 100u);
}

TEST_F(Replica, ReadsItsDiskAsAnActiveDoes) {
  EngineOptions options = SmallOptions();
  options.memory_quota = 3u << 20;
  options.vbuckets = 1;
  OpenBoth(options);
  const auto keys = Keys(60);
  for (int round = 0; round < 3; ++round) {
    for (const std::string& key : keys) {
      ASSERT_EQ(a.E().Set(key, std::string(60'000, 'v') + key), Code::kOk);
      CatchUp();
      a.Persist();
      b.Persist();
      clock_.Advance(kSecondNs / 5);  // the pinning stream is dropped
      a.Background(20);
      b.Background(20);
    }
  }
  EXPECT_GT(std::stoull(b.Stat("", "ep_ejected_items")), 0u);
  for (const std::string& key : keys) {
    const auto version = b.GetReplica(key);
    ASSERT_TRUE(version.has_value()) << key;
    EXPECT_TRUE(version->value.ends_with(key));
  }
}

TEST_F(Replica, ComesBackFromARestartWithItsSourcesHistory) {
  OpenBoth();
  const auto keys = Keys(150);
  SetAll(keys, "v-");
  CatchUp();
  b.Persist();
  b.Background(10);
  const VbucketPosition before = b.At(Vbid(1));
  for (int i = 0; i < 3; ++i) b.CrashAndReopen();
  const VbucketPosition after = b.At(Vbid(1));
  EXPECT_EQ(after.state, VbucketState::kReplica);
  EXPECT_EQ(after.high, before.high);
  EXPECT_EQ(after.failover_log, before.failover_log) << "a branch of its own";
  EXPECT_EQ(after.epoch, before.epoch);
  EXPECT_EQ(after.open_checkpoint, a.At(Vbid(1)).open_checkpoint);
  SetAll(Keys(150, "more-"), "w-");
  for (Follower& follower : followers) follower.Ask();
  b.Background(50);
  CloseCheckpoints();
  CatchUp();
  ExpectSame(keys);
  ExpectSame(Keys(150, "more-"));
  EXPECT_EQ(Different(), 0);
}

// Random lives of a source, with a replica that follows now and then and is killed now and then.
class ReplicaRuns : public ReplicaTest, public ::testing::WithParamInterface<int> {
 protected:
  void Operation() {
    const std::string& key = keys_[random_.Uniform(keys_.size())];
    switch (random_.Uniform(12)) {
      case 0:
      case 1:
        a.E().Delete(key);
        break;
      case 2:
        a.E().Touch(key, 1'700'000'000 + static_cast<uint32_t>(random_.Uniform(4000)));
        break;
      case 3:
        clock_.Advance(static_cast<int64_t>(random_.Uniform(40)) * kSecondNs / 10);
        break;
      case 4:
        a.Background(3);
        break;
      case 5:
        static_cast<void>(
            a.E()->CreateCheckpoint(Vbid(static_cast<uint16_t>(random_.Uniform(options_.vbuckets)))));
        break;
      default:
        ++count_;
        ASSERT_EQ(a.E().Set(key, std::string(random_.Uniform(40), 'v') + std::to_string(count_),
                            static_cast<uint32_t>(count_)),
                  Code::kOk);
    }
  }
  void Rarely() {
    switch (random_.Uniform(8)) {
      case 0:
        if (a.E().phase() == UpdatePhase::kNormal) {
          static_cast<void>(a.E()->FlushAll(0));
        }
        break;
      case 1:
      case 2:
        if (a.E().phase() == UpdatePhase::kNormal) {
          Do(a, Step::kStart);
        } else {
          Do(a, random_.OneIn(2) ? Step::kComplete : Step::kRevert);
        }
        break;
      case 3:
        b.CrashAndReopen();
        for (Follower& follower : followers) follower.Ask();
        break;
      case 4:
        b.Persist();
        break;
      default:
        b.Background(static_cast<int>(random_.Uniform(30)));
    }
  }

  Random random_{static_cast<uint64_t>(GetParam())};
  std::vector<std::string> keys_ = Keys(60);
  uint64_t count_ = 0;
};

TEST_P(ReplicaRuns, FollowTheSource) {
  OpenBoth();
  for (int i = 0; i < 4000 && !HasFailure(); ++i) {
    Operation();
    if (random_.OneIn(10)) followers[random_.Uniform(followers.size())].Step();
    if (random_.OneIn(60)) Rarely();
    if (random_.OneIn(400)) {
      CatchUp();
      ExpectSame(keys_);
    }
  }
  ASSERT_FALSE(HasFailure());
  a.Background(300);  // whatever is still swept or put back
  b.Background(300);
  CloseCheckpoints();
  CatchUp();
  ExpectSame(keys_);
  EXPECT_GT(Equal(), 20);
  EXPECT_EQ(Different(), 0);
  EXPECT_EQ(b.Stat("online_update", "online_update_digest_mismatches"), "0");
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReplicaRuns, ::testing::Range(1, 21));

}  // namespace
}  // namespace cairn::engine
