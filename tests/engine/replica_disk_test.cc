// Disk snapshots and rollbacks of a replica, its source's history left to chance, and both nodes losing power
// at any time: in the end it has what the source has, and every digest on the way was the source's.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "proto/disk_record.h"
#include "tests/engine/random_history.h"

namespace cairn::engine {
namespace {

std::map<std::string, Version> ViewOf(DiskNode& node, Vbid vb, bool replica) {
  std::map<std::string, Version> view;
  for (uint64_t k = 0; k < RandomHistory::kKeys; ++k) {
    const std::string key = RandomHistory::Key(k);
    if (node.E()->MakeKey(key).vbucket != vb) continue;
    std::optional<Version> found;
    if (replica) {
      for (int attempt = 0; attempt < 2000; ++attempt) {
        const GetResult got = node.R().GetReplica(node.E()->MakeKey(key), std::make_shared<WakeFlag>());
        if (got.code == Code::kWouldBlock) {
          node.E()->RunBackground();
          continue;
        }
        EXPECT_TRUE(got.code == Code::kOk || got.code == Code::kNotFound) << CodeName(got.code);
        if (got.code == Code::kOk) {
          found = Version{std::string(got.item->value()), got.item->flags(), got.item->expiry(),
                          got.item->cas().get()};
        }
        break;
      }
    } else {
      found = node.E().Get(key);
    }
    if (found) view[key] = *found;
  }
  return view;
}

/// A source, a replica of both vbuckets, and their disks.
class Pair {
 public:
  explicit Pair(uint64_t seed) {
    SetLogLevel(LogLevel::kOff);
    a.Open();
    b.Open();
    static_cast<void>(seed);
  }
  void CatchUp() {
    for (DiskFollower& follower : followers) {
      if (!follower.CatchUp()) return;
    }
  }
  void ExpectEqual() {
    // Looking at a key that flush_all removed may be what deletes it: all of that first.
    a.Background(100);
    for (const Vbid vb : {Vbid(0), Vbid(1)}) static_cast<void>(ViewOf(a, vb, false));
    CatchUp();
    if (::testing::Test::HasFailure()) return;
    for (const Vbid vb : {Vbid(0), Vbid(1)}) {
      ASSERT_EQ(ViewOf(a, vb, false), ViewOf(b, vb, true)) << "vbucket " << vb.get();
      b.Warm(vb);
      ASSERT_EQ(a.At(vb).high, b.At(vb).high);
      ASSERT_EQ(a.At(vb).window, b.At(vb).window);
      ASSERT_TRUE(a.At(vb).warm);
      ASSERT_EQ(a.At(vb).digest, b.At(vb).digest) << "vbucket " << vb.get();
      ASSERT_GE(a.At(vb).open_checkpoint, b.At(vb).open_checkpoint);
    }
    for (const DiskFollower& follower : followers) ASSERT_EQ(follower.different, 0);
  }
  void RestartReplica(uint64_t seed) {
    for (DiskFollower& follower : followers) follower.Disconnect();
    b.Restart(seed);
  }
  void RestartSource(uint64_t seed) {
    for (DiskFollower& follower : followers) follower.Disconnect();
    a.Restart(seed);
  }

  ManualClock clock;
  DyingMemory disk_a{3}, disk_b{4};
  DiskNode a{&disk_a, &clock, RandomHistory::Options(), 3};
  DiskNode b{&disk_b, &clock, RandomHistory::Options(), 4};
  DiskFollower followers[2] = {{&a, &b, Vbid(0)}, {&a, &b, Vbid(1)}};
};

class ReplicaDisk : public ::testing::TestWithParam<uint64_t> {};

TEST_P(ReplicaDisk, FollowsWhateverHappensToBoth) {
  int data = 0;
  int rollbacks = 0;
  int partial = 0;
  for (uint64_t i = 0; i < 10; ++i) {
    const uint64_t seed = GetParam() * 100 + i;
    Pair pair(seed);
    RandomHistory history(&pair.a, seed);
    Random& random = history.random();
    for (int round = 0; round < 40 && !HasFailure(); ++round) {
      history.Steps(random.Uniform(60));
      for (DiskFollower& follower : pair.followers) {
        for (uint64_t n = random.Uniform(30); n > 0 && !HasFailure(); --n) {
          follower.Step(1 + random.Uniform(1000));
          if (random.OneIn(3)) pair.b.Background(1);
          if (random.OneIn(8)) history.Step();
        }
      }
      if (random.OneIn(4)) pair.RestartReplica(seed * 7 + static_cast<uint64_t>(round));
      if (random.OneIn(6)) pair.RestartSource(seed * 11 + static_cast<uint64_t>(round));
      if (random.OneIn(3)) {
        pair.CatchUp();
        if (!HasFailure()) pair.ExpectEqual();
      }
    }
    if (!HasFailure()) pair.CatchUp();
    if (!HasFailure()) pair.ExpectEqual();
    for (DiskFollower& follower : pair.followers) {
      data += follower.data_parts;
      rollbacks += follower.rollbacks;
      partial += follower.rollbacks - follower.rollbacks_to_0;
      follower.Disconnect();
    }
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  EXPECT_GT(data, 20);
  EXPECT_GT(rollbacks, 5);
  EXPECT_GT(partial, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReplicaDisk, ::testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace cairn::engine
