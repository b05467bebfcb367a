// Backfills at random moments of random histories: whoever applies one, whole or behind what he has, and goes
// on in memory, has what the source has.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "proto/disk_record.h"
#include "tests/engine/random_history.h"

namespace cairn::engine {
namespace {

/// A consumer of one vbucket that is nothing but a map.
class Mirror {
 public:
  using Items = std::map<std::string, ItemRef>;

  void Apply(const ItemRef& item) {
    if (item->is_marker()) {
      ApplyMarker(*item);
    } else if (item->is_deleted()) {
      items.erase(std::string(item->key()));
    } else {
      items[std::string(item->key())] = item;
    }
  }
  const Item* Find(const std::string& key) const {
    const auto it = items.find(key);
    return it == items.end() || it->second->seqno() <= flushed_ ? nullptr : it->second.get();
  }
  uint64_t Digest() const {
    uint64_t digest = 0;
    for (const auto& [key, item] : items) digest += item->digest();
    return digest;
  }

  Items items;
  UpdateId window;
  Seqno at;
  uint64_t history = 0;

 private:
  void ApplyMarker(const Item& item) {
    const auto marker = proto::DecodeMarker(item.value());
    ASSERT_TRUE(marker.ok());
    switch (marker.value().type) {
      case proto::MarkerType::kOnlineUpdateStart:
        window = marker.value().update;
        at_start_ = items;
        break;
      case proto::MarkerType::kOnlineUpdateComplete:
        window = UpdateId();
        break;
      case proto::MarkerType::kOnlineUpdateRevert:
        if (window == marker.value().update) items = at_start_;
        window = UpdateId();
        break;
      case proto::MarkerType::kFlush:  // gone at once for clients; the deletions follow
        flushed_ = item.seqno();
        break;
      case proto::MarkerType::kFlushEnd:
        flushed_ = Seqno();
        break;
      default:
        break;
    }
  }
  Items at_start_;
  Seqno flushed_;
};

struct Counts {
  int data = 0, log = 0, memory = 0, busy = 0, tombstones = 0;
};

class BackfillRun {
 public:
  explicit BackfillRun(uint64_t seed) : seed_(seed) {
    SetLogLevel(LogLevel::kOff);
    node_.Open();
  }
  void Run(int rounds) {
    for (int round = 0; round < rounds && !::testing::Test::HasFailure(); ++round) {
      history_.Steps(history_.random().Uniform(120));
      if (history_.random().OneIn(6)) node_.Restart(seed_ * 1000 + static_cast<uint64_t>(round));
      for (const uint16_t v : {uint16_t{0}, uint16_t{1}}) {
        Follow(Vbid(v), &mirrors_[v]);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
  Counts counts;

 private:
  /// Does the source know the mirror's past, and can it go on from there?
  bool CanGoOn(const Mirror& mirror, const VbucketPosition& at) {
    Seqno end = at.high;
    for (const proto::FailoverEntry& entry : at.failover_log) {
      if (entry.uuid == mirror.history) {
        if (mirror.at > end) return false;
        return mirror.window == UpdateId() || mirror.window == at.window || at.merged <= mirror.at;
      }
      end = entry.seqno;
    }
    return false;
  }
  void Follow(Vbid vb, Mirror* mirror) {
    if (!CanGoOn(*mirror, node_.At(vb)) || history_.random().OneIn(3)) *mirror = Mirror();
    mirror->history = node_.At(vb).failover_log.front().uuid;
    for (int attempt = 0; attempt < 500; ++attempt) {
      const std::string name = "mirror " + std::to_string(++cursors_);
      Result<StreamCursor> cursor = node_.R().OpenCursor(vb, name, mirror->at);
      if (cursor.ok()) {
        ReadMemory(vb, cursor.value(), mirror);
        node_.R().CloseCursor(vb, cursor.value());
        ExpectEqual(vb, *mirror);
        return;
      }
      ASSERT_EQ(cursor.code(), Code::kOutOfRange);
      ReadDisk(vb, mirror);
      if (::testing::Test::HasFailure()) return;
    }
    FAIL() << "memory is never reached";
  }
  void ReadDisk(Vbid vb, Mirror* mirror) {
    Result<std::unique_ptr<Backfill>> opened = node_.R().OpenBackfill(vb, mirror->at);
    if (opened.code() == Code::kBusy) {
      ++counts.busy;
      node_.Background(1);
      return;
    }
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    Backfill& backfill = *opened.value();
    if (backfill.has_data() && mirror->window != UpdateId()) {
      // Merged since it was asked: the marker that ended the window is not to be had any more.
      *mirror = Mirror();
      mirror->history = node_.At(vb).failover_log.front().uuid;
      return;
    }
    const Seqno after = mirror->at;
    const bool has_data = backfill.has_data();
    bool in_data = has_data;
    Seqno from = mirror->at;
    Seqno last_in_part;
    for (;;) {
      if (history_.random().OneIn(3)) history_.Steps(history_.random().Uniform(20));
      Result<Backfill::Chunk> next = backfill.Next(1 + history_.random().Uniform(1500));
      ASSERT_TRUE(next.ok()) << next.status().ToString();
      const Backfill::Chunk& chunk = next.value();
      if (chunk.kind == Backfill::Kind::kEnd) break;
      ASSERT_EQ(chunk.kind == Backfill::Kind::kData, in_data);
      ASSERT_EQ(chunk.start, from) << "parts do not lie end to end";
      for (const ItemRef& item : chunk.items) {
        ASSERT_GT(item->seqno(), chunk.start);
        ASSERT_LE(item->seqno(), chunk.end);
        ASSERT_TRUE(!in_data || after != Seqno() || !item->is_deleted());
        ASSERT_TRUE(in_data || item->seqno() > last_in_part) << "not in order";
        last_in_part = item->seqno();
        if (in_data) counts.tombstones += item->is_deleted() ? 1 : 0;
        mirror->Apply(item);
      }
      if (!chunk.ends_part) continue;
      ++(in_data ? counts.data : counts.log);
      ASSERT_TRUE(!in_data || chunk.end == backfill.data_end());
      in_data = false;
      from = chunk.end;
      last_in_part = Seqno();
    }
    ASSERT_FALSE(in_data) << "the data part has no end";
    ASSERT_EQ(from, backfill.end());
    mirror->at = backfill.end();
  }
  void ReadMemory(Vbid vb, const StreamCursor& cursor, Mirror* mirror) {
    for (;;) {
      const Result<StreamBatch> batch = node_.R().Read(vb, cursor);
      ASSERT_TRUE(batch.ok()) << batch.status().ToString();
      if (batch.value().nothing()) return;
      ++counts.memory;
      ASSERT_EQ(batch.value().first, mirror->at + 1);
      for (const checkpoint::Operation& operation : batch.value().operations) mirror->Apply(operation.item);
      mirror->at = batch.value().last;
      if (batch.value().ends_checkpoint && batch.value().checkpoint.digest_known) {
        ASSERT_EQ(mirror->Digest(), batch.value().checkpoint.end_digest) << "at " << mirror->at.get();
      }
    }
  }
  void ExpectEqual(Vbid vb, const Mirror& mirror) {
    ASSERT_EQ(mirror.at, node_.At(vb).high);
    ASSERT_EQ(mirror.window, node_.At(vb).window);
    for (uint64_t k = 0; k < RandomHistory::kKeys; ++k) {
      const std::string key = RandomHistory::Key(k);
      if (node_.E()->MakeKey(key).vbucket != vb) continue;
      const std::optional<Version> real = node_.E().Get(key);
      const Item* const copy = mirror.Find(key);
      ASSERT_EQ(real.has_value(), copy != nullptr) << key;
      if (!real) continue;
      ASSERT_EQ(real->cas, copy->cas().get()) << key;
      ASSERT_EQ(real->value, copy->value()) << key;
    }
  }

  const uint64_t seed_;
  ManualClock clock_;
  DyingMemory disk_{seed_};
  DiskNode node_{&disk_, &clock_, RandomHistory::Options(), seed_};
  RandomHistory history_{&node_, seed_};
  std::map<uint16_t, Mirror> mirrors_;
  int cursors_ = 0;
};

class BackfillTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(BackfillTest, WithWhatFollowsInMemoryIsTheSourcesState) {
  Counts sum;
  for (uint64_t i = 0; i < 12; ++i) {
    const uint64_t seed = GetParam() * 100 + i;
    BackfillRun run(seed);
    run.Run(40);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    sum.data += run.counts.data;
    sum.log += run.counts.log;
    sum.memory += run.counts.memory;
    sum.tombstones += run.counts.tombstones;
  }
  EXPECT_GT(sum.data, 50);
  EXPECT_GT(sum.log, 50);
  EXPECT_GT(sum.memory, 50);
  EXPECT_GT(sum.tombstones, 20) << "nobody was behind a deletion";
}

INSTANTIATE_TEST_SUITE_P(Seeds, BackfillTest, ::testing::Values(1, 2, 3, 4));

class BackfillFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kOff);
    node_.Open();
  }
  ManualClock clock_;
  DyingMemory disk_{5};
  DiskNode node_{&disk_, &clock_, RandomHistory::Options(), 5};
};

TEST_F(BackfillFixture, EndsWhenTheStoreIsReopened) {
  for (uint64_t k = 0; k < 40; ++k) ASSERT_EQ(node_.E().Set(RandomHistory::Key(k), "v"), Code::kOk);
  ASSERT_TRUE(node_.Persist());
  node_.Background(50);
  ASSERT_GT(node_.At(Vbid(0)).merged, Seqno());
  auto backfill = node_.R().OpenBackfill(Vbid(0), Seqno());
  ASSERT_TRUE(backfill.ok());
  ASSERT_TRUE(backfill.value()->Next(1).ok());
  disk_.memory().FailNth(1, Status(Code::kAmbiguous, "once"), false);
  ASSERT_EQ(node_.E().Set("key-1", "w"), Code::kOk);
  node_.Background(50);
  EXPECT_EQ(backfill.value()->Next(1).code(), Code::kTmpFail) << "its iterator has seen what may be gone";
  ASSERT_TRUE(node_.Persist()) << "the backfill stands in the way of reopening";
  EXPECT_TRUE(node_.R().OpenBackfill(Vbid(0), Seqno()).ok());
}

TEST_F(BackfillFixture, RefusesWhatItCannotRead) {
  EXPECT_EQ(node_.R().OpenBackfill(Vbid(7), Seqno()).code(), Code::kNotMyVbucket);
  ManualClock clock;
  TestEngine memory_only(nullptr, &clock, RandomHistory::Options());
  memory_only.Open();
  EXPECT_EQ(memory_only->replication().OpenBackfill(Vbid(0), Seqno()).code(), Code::kNotSupported);
}

}  // namespace
}  // namespace cairn::engine
