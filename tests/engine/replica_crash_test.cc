// A replica loses power after any call that changes its store, on the memory store, and after file I/Os of
// the real one: while it is copied from its source's disk, while it is given what it missed, and while it is
// taken back because its source has lost its newest operations. In the end it has what the source has.

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "tests/engine/random_history.h"

namespace cairn::engine {
namespace {

constexpr Vbid kAll[] = {Vbid(0), Vbid(1)};

class Script {
 public:
  Script(DyingDisk* disk, uint64_t seed) : disk_(disk), history_(&a, seed) {
    SetLogLevel(LogLevel::kOff);
    a.Open();
    b.Open();
  }
  /// False: the replica's disk has died.
  bool Run() {
    history_.Steps(150);
    a.Background(60);
    if (!CatchUp()) return false;  // a copy of everything
    Disconnect();
    history_.Steps(150);
    a.Background(60);
    if (!CatchUp()) return false;  // what it has missed
    return LoseTheNewest();
  }
  void Recover(uint64_t seed) {
    Disconnect();
    b.Restart(seed);
    for (const Vbid vb : kAll) {
      const VbucketPosition at = b.At(vb);
      ASSERT_TRUE(!at.in_snapshot || at.snapshot_start != Seqno() || at.items == 0);
      ASSERT_LE(at.merged, at.high);
    }
    history_.Steps(20);
    ASSERT_TRUE(CatchUp());
    ExpectEqual();
  }
  void ExpectEqual() {
    for (const Vbid vb : kAll) {
      a.Warm(vb);
      b.Warm(vb);
      ASSERT_EQ(a.At(vb).high, b.At(vb).high) << vb.get();
      ASSERT_EQ(a.At(vb).window, b.At(vb).window) << vb.get();
      ASSERT_EQ(a.At(vb).digest, b.At(vb).digest) << vb.get();
      ASSERT_EQ(a.At(vb).items, b.At(vb).items) << vb.get();
    }
    for (const DiskFollower& follower : followers) ASSERT_EQ(follower.different, 0);
  }
  void Disconnect() {
    for (DiskFollower& follower : followers) follower.Disconnect();
  }
  int partial_rollbacks() const {
    int sum = 0;
    for (const DiskFollower& follower : followers) sum += follower.rollbacks - follower.rollbacks_to_0;
    return sum;
  }
  int data_parts() const { return followers[0].data_parts + followers[1].data_parts; }

 private:
  /// Message by message, with the replica's background work in between, so that its store is called often.
  bool CatchUp() {
    for (int i = 0; i < 60 && !disk_->dead() && !::testing::Test::HasFailure(); ++i) {
      for (DiskFollower& follower : followers) follower.Step(600);
      b.Background(1);
    }
    for (DiskFollower& follower : followers) {
      if (disk_->dead() || !follower.CatchUp()) return false;
    }
    b.Background(10);
    return !disk_->dead();
  }
  /// The replica has, on its disk, what the source has not.
  bool LoseTheNewest() {
    if (!a.Persist()) return false;
    for (uint64_t k = 0; k < 30; ++k) {
      if (a.E().Set(RandomHistory::Key(k), "lost") != Code::kOk) return false;
    }
    static_cast<void>(a.E()->CreateCheckpoint(Vbid(0)));
    if (!CatchUp() || !b.Persist()) return false;
    Disconnect();
    a.Restart(0);
    return CatchUp();
  }

  ManualClock clock_;
  DyingDisk* disk_;
  DyingMemory source_disk_{3};

 public:
  DiskNode a{&source_disk_, &clock_, RandomHistory::Options(), 3};
  DiskNode b{disk_, &clock_, RandomHistory::Options(), 4};
  DiskFollower followers[2] = {{&a, &b, Vbid(0)}, {&a, &b, Vbid(1)}};

 private:
  RandomHistory history_;
};

struct Counts {
  int data_parts = 0, partial_rollbacks = 0;
};

/// False when the script was over before the power went.
bool CrashAfter(uint64_t changes, uint64_t seed, DyingDisk* disk, Counts* counts) {
  Script script(disk, seed);
  disk->DieAfter(changes);
  const bool whole = script.Run();
  if (::testing::Test::HasFailure()) return false;
  if (!whole) script.Recover(changes + seed);
  if (whole) {
    script.ExpectEqual();
    counts->data_parts += script.data_parts();
    counts->partial_rollbacks += script.partial_rollbacks();
  }
  script.Disconnect();
  return !whole;
}

TEST(ReplicaCrash, AfterEachCallThatChangesTheStore) {
  constexpr uint64_t kSeeds = 30;
  Counts counts;
  uint64_t points = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    for (uint64_t calls = 0;; ++calls, ++points) {
      DyingMemory disk(calls + 1);
      const bool crashed = CrashAfter(calls, seed, &disk, &counts);
      ASSERT_FALSE(HasFailure()) << "seed " << seed << " after store call " << calls;
      if (!crashed) break;
      ASSERT_LT(calls, 3000u);
    }
  }
  EXPECT_GT(points, 15 * kSeeds);
  EXPECT_GE(counts.data_parts, static_cast<int>(2 * kSeeds)) << "the scripts have copied nothing";
  EXPECT_GE(counts.partial_rollbacks, static_cast<int>(kSeeds / 2)) << "the scripts have taken nothing back";
  RecordProperty("crash_points", std::to_string(points));
}

TEST(ReplicaCrash, AfterEachFileIoOfTheRealStore) {
  constexpr uint64_t kSeeds = 3;
  Counts counts;
  uint64_t points = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    for (uint64_t ios = 0;; ++ios, ++points) {
      DyingRocks disk;
      const bool crashed = CrashAfter(ios, seed, &disk, &counts);
      ASSERT_FALSE(HasFailure()) << "seed " << seed << " after I/O " << ios;
      if (!crashed) break;
      ASSERT_LT(ios, 3000u);
    }
  }
  EXPECT_GT(points, 50 * kSeeds);
  RecordProperty("crash_points", std::to_string(points));
}

}  // namespace
}  // namespace cairn::engine
