// Deletions in data: kept as tombstones until they are older than the retention, invisible to clients.

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "engine/replication.h"
#include "tests/engine/replica_fixture.h"
#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

constexpr bool kTombstones = true;

class Tombstones : public EngineStoreTest {
 protected:
  void OpenFor(uint32_t retention_s) {
    EngineOptions options = SmallOptions();
    options.tombstone_retention_s = retention_s;
    Open(options);
  }
  Seqno Purged(uint16_t vbucket) { return E()->replication().Position(Vbid(vbucket)).value().purged; }
  Seqno Merged(uint16_t vbucket) { return E()->replication().Position(Vbid(vbucket)).value().merged; }
};

TEST_F(Tombstones, AreWhatADeletionLeavesInData) {
  OpenFor(1000);
  const auto keys = Keys(20);
  SetAll(keys, "v");
  Persist();
  for (int i = 0; i < 10; ++i) ASSERT_EQ(E().Delete(keys[static_cast<size_t>(i)]), Code::kOk);
  Persist();
  EXPECT_EQ(DataNow().size(), 10u);
  const Data left = DataNow(kTombstones);
  EXPECT_EQ(left.size(), 10u);
  for (const auto& [where, record] : left) {
    const auto item = proto::DecodeDataRecord(Vbid(static_cast<uint16_t>(where.first)), where.second, record);
    ASSERT_TRUE(item.ok());
    EXPECT_TRUE(item.value()->is_deleted());
    EXPECT_GT(item.value()->seqno(), Seqno());
  }
  ASSERT_EQ(E().Set(keys[0], "again"), Code::kOk);
  Persist();
  EXPECT_EQ(DataNow(kTombstones).size(), 9u);
}

TEST_F(Tombstones, MeanAbsentWhileColdAndAfterWarmUp) {
  OpenFor(1000);
  const auto keys = Keys(200);
  SetAll(keys, "v");
  Persist();
  for (size_t i = 0; i < 100; ++i) ASSERT_EQ(E().Delete(keys[i]), Code::kOk);
  Persist();
  CrashAndReopen();
  for (size_t i = 0; i < 20; ++i) EXPECT_FALSE(E().Get(keys[i]).has_value()) << "cold";
  StoreRequest add;
  add.mode = StoreMode::kAdd;
  add.value = "added";
  EXPECT_EQ(E().Store(keys[30], add), Code::kOk);
  Background(500);
  for (size_t i = 0; i < 200; ++i) EXPECT_EQ(E().Get(keys[i]).has_value(), i >= 100 || i == 30) << i;
  size_t live = 0;
  for (uint16_t v = 0; v < 4; ++v) live += E()->replication().Position(Vbid(v)).value().items;
  EXPECT_EQ(live, 101u);
}

TEST_F(Tombstones, OfAKeyTouchedInAColdWindowMeanAbsentWhenItIsTakenBack) {
  OpenFor(1000);
  const auto keys = Keys(50);
  SetAll(keys, "v");
  for (const std::string& key : keys) ASSERT_EQ(E().Delete(key), Code::kOk);
  ASSERT_EQ(E().Set("other", "v"), Code::kOk);
  Persist();
  const Status started = E().Update(Step::kStart);
  ASSERT_TRUE(started.ok()) << started.ToString();
  SetAll(keys, "in the window");
  Persist();
  CrashAndReopen();  // the pre-images are known only when data is loaded
  const Status reverted = E().Update(Step::kRevert);
  ASSERT_TRUE(reverted.ok()) << reverted.ToString();
  Background(500);
  for (const std::string& key : keys) EXPECT_FALSE(E().Get(key).has_value()) << key;
  EXPECT_TRUE(E().Get("other").has_value());
}

TEST_F(Tombstones, GoWhenTheyAreOlderThanTheRetentionAndThePurgeSeqnoIsDurable) {
  OpenFor(160);
  const auto keys = Keys(40);
  SetAll(keys, "v");
  for (size_t i = 0; i < 20; ++i) ASSERT_EQ(E().Delete(keys[i]), Code::kOk);
  Persist();
  Background(5);
  clock_.Advance(11 * kSecondNs);
  Background(5);  // the cuts are remembered
  for (size_t i = 20; i < 30; ++i) ASSERT_EQ(E().Delete(keys[i]), Code::kOk);
  clock_.Advance(140 * kSecondNs);
  Persist();
  Background(5);
  EXPECT_EQ(DataNow(kTombstones).size(), 30u) << "not old enough";
  EXPECT_EQ(Purged(0), Seqno());
  clock_.Advance(25 * kSecondNs);
  StopDiskBefore("vb/00000");
  Background(5);
  EXPECT_EQ(DataNow(kTombstones).size(), 30u) << "the record is not durable";
  gate_.refuse = nullptr;
  clock_.Advance(11 * kSecondNs);
  Background(20);
  EXPECT_EQ(DataNow(kTombstones).size(), 10u);
  EXPECT_EQ(DataNow().size(), 10u);
  EXPECT_GT(Purged(0), Seqno());
  EXPECT_LT(Purged(0), Merged(0)) << "the younger ones count";
  const Seqno purged = Purged(0);
  CrashAndReopen();
  EXPECT_EQ(Purged(0), purged);
  EXPECT_EQ(E()->replication().OpenBackfill(Vbid(0), Seqno(1)).code(), Code::kOutOfRange);
  Background(300);
  EXPECT_EQ(DataNow(kTombstones).size(), 10u) << "ages are not known across a restart: they stay";
}

// The cuts are remembered every sixteenth of the retention, so a tombstone outlives it by at most two of
// those.
TEST_F(Tombstones, EachIsKeptForTheRetentionAndNotMuchLonger) {
  constexpr int64_t kRetention = 160;
  constexpr int64_t kLate = 2 * kRetention / 16;
  constexpr int64_t kStep = 5;
  OpenFor(kRetention);
  const auto keys = Keys(150);
  SetAll(keys, "v");
  Persist();
  std::map<std::string, int64_t> deleted;
  size_t gone = 0;
  for (int64_t now = 0; now < kStep * 150; now += kStep) {
    const std::string& key = keys[static_cast<size_t>(now / kStep)];
    ASSERT_EQ(E().Delete(key), Code::kOk);
    deleted[key] = now;
    Persist();
    Background(3);
    std::set<std::string> left;
    for (const auto& [where, record] : DataNow(kTombstones)) left.insert(where.second);
    for (const auto& [name, at] : deleted) {
      if (left.contains(name)) {
        ASSERT_LE(now - at, kRetention + kLate) << name << " is kept";
      } else {
        ASSERT_GE(now - at, kRetention) << name << " is gone";
      }
    }
    gone = deleted.size() - left.size();
    clock_.Advance(kStep * kSecondNs);
  }
  EXPECT_GT(gone, 100u);
}

TEST_F(Tombstones, GoAtOnceWithoutARetention) {
  OpenFor(0);
  const auto keys = Keys(20);
  SetAll(keys, "v");
  for (size_t i = 0; i < 10; ++i) ASSERT_EQ(E().Delete(keys[i]), Code::kOk);
  Persist();
  clock_.Advance(2 * kSecondNs);
  Background(5);
  EXPECT_EQ(DataNow(kTombstones).size(), 0u);
  EXPECT_EQ(DataNow().size(), 10u);
  for (uint16_t v = 0; v < 4; ++v) EXPECT_EQ(Purged(v), Merged(v)) << v;
}

TEST_F(Tombstones, OfAKeyThatWasDeletedAgainAreAsOldAsTheLastDeletion) {
  OpenFor(160);
  ASSERT_EQ(E().Set("again", "v"), Code::kOk);
  ASSERT_EQ(E().Set("once", "v"), Code::kOk);
  ASSERT_EQ(E().Delete("again"), Code::kOk);
  ASSERT_EQ(E().Delete("once"), Code::kOk);
  Persist();
  clock_.Advance(11 * kSecondNs);
  Background(5);
  clock_.Advance(100 * kSecondNs);
  ASSERT_EQ(E().Set("again", "v"), Code::kOk);
  ASSERT_EQ(E().Delete("again"), Code::kOk);
  Persist();
  clock_.Advance(70 * kSecondNs);
  Background(10);
  const Data left = DataNow(kTombstones);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left.begin()->first.second, "again");
}

TEST_F(Tombstones, DataWrittenBeforeThereWereAnyIsRead) {
  OpenFor(1000);
  SetAll(Keys(10), "v");
  Persist();
  Background(20);
  // As the merge did it then: a removal.
  for (uint16_t v = 0; v < 4; ++v) {
    std::vector<storage::DataChange> removals;
    for (const auto& [where, record] : DataNow()) {
      if (where.first == v) removals.push_back({Vbid(v), where.second, {}, true});
    }
    if (removals.size() > 1) removals.resize(1);
    ASSERT_TRUE(store_.WriteData(removals).ok());
  }
  ASSERT_TRUE(store_.FlushData().ok());
  const size_t left = DataNow().size();
  ASSERT_LT(left, 10u);
  CrashAndReopen();
  Background(300);
  EXPECT_EQ(Look(Keys(10)).size(), left);
}

class ReplicaTombstones : public ReplicaTest {
 protected:
  static constexpr Vbid kFirst{0};

  /// Everything of `a` is in data of `b`.
  void MergeAll() {
    CloseCheckpoints();
    a.Persist();
    CatchUp();
    ASSERT_EQ(a.E().Set("tick", "tock"), Code::kOk);  // what follows says how far the source has persisted
    a.Persist();
    CatchUp();
    b.Persist();
    b.Background(5);
  }
  size_t TombstonesOfB() {
    size_t count = 0;
    for (const Vbid vb : All()) {
      for (auto it = b.store.ReadData(vb, ""); it->Valid(); it->Next()) {
        count += proto::DataTombstone(it->record()).has_value() ? 1 : 0;
      }
    }
    return count;
  }
};

// After a rollback to nothing another history follows, whose seqnos begin anew: what was remembered of the
// one before says nothing of its age.
TEST_F(ReplicaTombstones, AreNotPurgedByTheAgeOfAnotherHistory) {
  EngineOptions options = SmallOptions();
  options.tombstone_retention_s = 160;
  OpenBoth(options);
  SetAll(Keys(400), "first ");
  ASSERT_NO_FATAL_FAILURE(MergeAll());
  clock_.Advance(11 * kSecondNs);
  b.Background(5);
  const Seqno remembered = b.At(kFirst).merged;
  ASSERT_GT(remembered, Seqno(50));

  followers.clear();
  a.Renew();
  a.Open(options);
  for (const Vbid vb : All()) {
    const PendingRef back = b.R().Rollback(vb, Seqno());
    for (int i = 0; i < 50 && !back->ready(); ++i) b.Background(1);
    ASSERT_TRUE(back->ready() && back->status().ok());
    ASSERT_TRUE(a.R().OpenCursor(vb, "pin", Seqno(0)).ok());
    followers.emplace_back(&a, &b, vb).Begin();
  }
  const auto keys = Keys(40);
  SetAll(keys, "second ");
  for (const std::string& key : keys) ASSERT_EQ(a.E().Delete(key), Code::kOk);
  ASSERT_NO_FATAL_FAILURE(MergeAll());
  ASSERT_EQ(TombstonesOfB(), 40u);
  ASSERT_LT(b.At(kFirst).merged, remembered);
  clock_.Advance(11 * kSecondNs);
  b.Background(5);
  clock_.Advance(144 * kSecondNs);
  b.Background(20);
  EXPECT_EQ(TombstonesOfB(), 40u) << "they are 155 s old";
  EXPECT_EQ(b.At(kFirst).purged, Seqno());
  clock_.Advance(20 * kSecondNs);
  b.Background(20);
  EXPECT_EQ(TombstonesOfB(), 0u);
}

}  // namespace
}  // namespace cairn::engine
