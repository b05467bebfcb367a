#pragma once
// What can happen to an active node, by chance: writes, deletions, flush_all, checkpoints, online updates
// with either decision, background work. Few keys, small checkpoints, so that all meet.

#include <string>
#include <vector>

#include "base/random.h"
#include "tests/engine/disk_follower.h"

namespace cairn::engine {

class RandomHistory {
 public:
  static constexpr int kKeys = 60;

  RandomHistory(DiskNode* node, uint64_t seed) : node_(node), random_(seed) {}

  static EngineOptions Options() {
    EngineOptions options = SmallOptions();
    options.vbuckets = 2;
    options.checkpoint_items_max = 12;
    options.sync_interval_ms = 1;
    return options;
  }
  static std::string Key(uint64_t number) { return "key-" + std::to_string(number); }

  void Step() {
    TestEngine& e = node_->E();
    const uint64_t what = random_.Uniform(100);
    const std::string key = Key(random_.Uniform(kKeys));
    if (what < 55) {
      const size_t size = random_.OneIn(10) ? 300 : 8;
      ASSERT_EQ(e.Set(key, std::to_string(++version_) + std::string(size, 'v'), 7), Code::kOk);
    } else if (what < 72) {
      const Code code = e.Delete(key);
      ASSERT_TRUE(code == Code::kOk || code == Code::kNotFound) << CodeName(code);
    } else if (what < 76) {
      e.Touch(key, 2'000'000'000);
    } else if (what < 80) {
      static_cast<void>(e->CreateCheckpoint(Vbid(static_cast<uint16_t>(random_.Uniform(2)))));
    } else if (what < 81) {
      static_cast<void>(e->FlushAll(0));  // refused in a window
    } else if (what < 84) {
      Decide();
    } else {
      node_->Background(1 + static_cast<int>(random_.Uniform(4)));
    }
  }
  void Steps(uint64_t count) {
    for (uint64_t i = 0; i < count && !::testing::Test::HasFatalFailure(); ++i) Step();
  }
  /// Starts an online update, or ends the one that is open.
  void Decide() {
    using Order = TestEngine::Step;
    TestEngine& e = node_->E();
    if (e.phase() == UpdatePhase::kNormal) {
      static_cast<void>(e.Update(Order::kStart));
    } else if (e.phase() == UpdatePhase::kUpdating) {
      static_cast<void>(e.Update(random_.OneIn(2) ? Order::kComplete : Order::kRevert));
    }
  }
  Random& random() { return random_; }

 private:
  DiskNode* node_;
  Random random_;
  uint64_t version_ = 0;
};

}  // namespace cairn::engine
