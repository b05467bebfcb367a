// The model on the memory store: every kind of crash that a disk may show. Runs are many and short.

#include <gtest/gtest.h>

#include <string>

#include "base/log.h"
#include "engine/storage/memory_store.h"
#include "tests/engine/model.h"

namespace cairn::engine {
namespace {

TEST(ModelTest, RandomRunsOnTheMemoryStore) {
  SetLogLevel(LogLevel::kOff);
  for (uint64_t seed = FirstSeed(); seed < FirstSeed() + Seeds(300); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    storage::MemoryStore store(seed);
    Model model(seed, &store, [&](uint64_t chance) {
      if (chance % 2 == 0) {
        store.CrashPower(chance);
      } else {
        store.CrashProcess(chance);
      }
    });
    model.Run(600);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::engine
