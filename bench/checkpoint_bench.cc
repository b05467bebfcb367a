// Cost of the checkpoint manager per operation and per queued mutation. Items are made beforehand and shared
// with a table's worth of references, as in the engine, so that only the manager's own work and memory show.

#include <benchmark/benchmark.h>
#include <malloc.h>

#include <string>
#include <vector>

#include "checkpoint/checkpoint_manager.h"

// jemalloc's statistics when the executable is linked with it, glibc's otherwise.
extern "C" int mallctl(const char* name, void* old, size_t* old_size, void* set, size_t set_size)
    __attribute__((weak));

namespace cairn::checkpoint {
namespace {

constexpr uint64_t kItems = 100'000;
constexpr Limits kEngineLimits{10'000, 8u << 20, 5'000'000'000};

/// Items with the seqnos 1 … kItems, as a table would hold them.
const std::vector<ItemRef>& Items() {
  static const std::vector<ItemRef>* items = [] {
    auto* made = new std::vector<ItemRef>;
    for (uint64_t i = 1; i <= kItems; ++i) {
      const std::string key = "key-" + std::to_string(100'000'000'000 + i);
      made->push_back(Item::NewValue(key, std::string(32, 'v'), {0, 0, Cas(i), Seqno(i)}));
    }
    return made;
  }();
  return *items;
}

size_t AllocatedBytes() {
  if (mallctl == nullptr) return mallinfo2().uordblks;
  uint64_t epoch = 1;
  size_t size = sizeof(epoch);
  mallctl("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
  mallctl("epoch", &epoch, &size, &epoch, size);
  size_t allocated = 0;
  size = sizeof(allocated);
  mallctl("stats.allocated", &allocated, &size, nullptr, 0);
  return allocated;
}

/// One SET's share: a Trash of its own, and the question whether to close.
inline void AppendOne(CheckpointManager& manager, const ItemRef& item, Seqno replaced) {
  Trash trash;
  manager.Append(item, replaced, 0, trash);
  if (manager.ShouldClose(0)) manager.CloseOpen(0, 0);
}

void BM_AppendDistinct(benchmark::State& state) {
  const std::vector<ItemRef>& items = Items();
  for (auto _ : state) {
    auto manager = std::make_unique<CheckpointManager>(kEngineLimits, Seqno(0), CheckpointId(1), 0);
    for (const ItemRef& item : items) AppendOne(*manager, item, Seqno(0));
    state.PauseTiming();
    manager.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kItems));
}
BENCHMARK(BM_AppendDistinct)->Unit(benchmark::kMillisecond);

/// Every operation supersedes the one `range` operations ago.
void BM_AppendSuperseding(benchmark::State& state) {
  const std::vector<ItemRef>& items = Items();
  const auto keys = static_cast<uint64_t>(state.range(0));
  for (auto _ : state) {
    auto manager = std::make_unique<CheckpointManager>(kEngineLimits, Seqno(0), CheckpointId(1), 0);
    for (uint64_t i = 0; i < kItems; ++i) AppendOne(*manager, items[i], Seqno(i < keys ? 0 : i + 1 - keys));
    state.PauseTiming();
    manager.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kItems));
}
BENCHMARK(BM_AppendSuperseding)->Arg(1)->Arg(100)->Arg(9'000)->Unit(benchmark::kMillisecond);

/// A flusher's round: append `range` operations, read them, confirm them, free what is left.
void BM_ReadAndAdvance(benchmark::State& state) {
  const std::vector<ItemRef>& items = Items();
  const auto batch_items = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    CheckpointManager manager(kEngineLimits, Seqno(0), CheckpointId(1), 0);
    const CursorId cursor = *manager.AddCursor("persistence", Seqno(1));
    for (const ItemRef& item : items) AppendOne(manager, item, Seqno(0));
    state.ResumeTiming();
    while (manager.HasMore(cursor)) {
      Trash trash;
      const Batch batch = manager.Read(cursor, batch_items, SIZE_MAX);
      manager.Advance(cursor, batch.last, trash);
      benchmark::DoNotOptimize(batch.operations.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kItems));
}
BENCHMARK(BM_ReadAndAdvance)->Arg(1)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond);

/// What the cursor's holder asks all the time, at the far end of a full open checkpoint.
void BM_Remaining(benchmark::State& state) {
  CheckpointManager manager(kEngineLimits, Seqno(0), CheckpointId(1), 0);
  const CursorId cursor = *manager.AddCursor("persistence", Seqno(1));
  for (const ItemRef& item : Items()) AppendOne(manager, item, Seqno(0));
  for (auto _ : state) benchmark::DoNotOptimize(manager.Remaining(cursor));
}
BENCHMARK(BM_Remaining);

/// Allocated bytes per queued mutation, items not counted: `range` operations in each of 1,000 vbuckets'
/// open checkpoints, all distinct. Includes managers and cursors.
void BM_BytesPerQueuedMutation(benchmark::State& state) {
  const auto per_vbucket = static_cast<uint64_t>(state.range(0));
  const uint64_t vbuckets = per_vbucket >= 10'000 ? 100 : 1000;
  const std::vector<ItemRef>& items = Items();
  double total = 0;
  double idle = 0;
  double claimed = 0;
  for (auto _ : state) {
    std::vector<std::unique_ptr<CheckpointManager>> managers(vbuckets);
    const size_t before = AllocatedBytes();
    for (auto& manager : managers) {
      manager = std::make_unique<CheckpointManager>(kEngineLimits, Seqno(0), CheckpointId(1), 0);
      (void)*manager->AddCursor("persistence", Seqno(1));
    }
    const size_t empty = AllocatedBytes();
    size_t item_bytes = 0;
    size_t held = 0;
    for (auto& manager : managers) {
      for (uint64_t i = 0; i < per_vbucket; ++i) {
        AppendOne(*manager, items[i], Seqno(0));
        item_bytes += items[i]->allocated_bytes();
      }
      held += manager->memory_bytes();
    }
    const double operations = static_cast<double>(vbuckets * per_vbucket);
    total = static_cast<double>(AllocatedBytes() - before) / operations;
    idle = static_cast<double>(empty - before) / static_cast<double>(vbuckets);
    claimed = static_cast<double>(held - item_bytes) / operations;
  }
  state.counters["bytes_per_mutation"] = total;
  state.counters["by_memory_bytes"] = claimed;
  state.counters["bytes_per_idle_vbucket"] = idle;
}
BENCHMARK(BM_BytesPerQueuedMutation)
    ->Arg(10)
    ->Arg(60)
    ->Arg(1000)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cairn::checkpoint
