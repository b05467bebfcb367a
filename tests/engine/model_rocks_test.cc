// The model on the real store, over a file system in memory that forgets at a crash what was not synced, in
// each of the ways a disk may.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/log.h"
#include "engine/storage/fault_env.h"
#include "tests/engine/model.h"

namespace cairn::engine {
namespace {

using storage::TailPolicy;

/// A RocksStore that can lose its power.
class CrashableRocks final : public storage::ForwardingStore {
 public:
  CrashableRocks() : ForwardingStore(nullptr) { Open(); }

  void Crash(TailPolicy policy, uint64_t seed) {
    env_.CrashNow();
    rocks_.reset();
    env_.RestartAfterCrash(policy, seed);
    Open();
  }

 private:
  void Open() {
    storage::RocksStoreOptions options;
    options.path = "/store";
    options.memtable_bytes_max = 256u << 10;
    options.cache_bytes = 256u << 10;
    options.background_threads = 1;
    options.env = env_.env();
    auto opened = storage::OpenRocksStore(options);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    rocks_ = std::move(opened).value();
    store_ = rocks_.get();
  }

  storage::FaultEnv env_{storage::FaultEnv::Base::kMemory};
  std::unique_ptr<storage::KvStore> rocks_;
};

TEST(ModelTest, RandomRunsOnRocksStore) {
  SetLogLevel(LogLevel::kOff);
  for (uint64_t seed = FirstSeed(); seed < FirstSeed() + Seeds(25); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CrashableRocks store;
    Model model(seed, &store, [&](uint64_t chance) {
      constexpr TailPolicy kPolicies[] = {TailPolicy::kDrop, TailPolicy::kTorn, TailPolicy::kReordered,
                                          TailPolicy::kKeep};
      store.Crash(kPolicies[chance % 4], chance);
    });
    model.Run(500);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::engine
