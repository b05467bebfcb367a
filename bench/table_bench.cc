// The hash table: find, insert, overwrite, erase and visit over 1,024 tables (what a node with 1,024 vbuckets
// does), and its bytes per item over a range of sizes, as the table counts them and as the allocator does.
// Keys look like "key:000000012345678" (19 bytes), values have 32 bytes. Operations go round in an order that
// no cache predicts.
//
//   table_bench --benchmark_filter=Find
//   CAIRN_BENCH_ITEMS=1000000 table_bench      fewer items than the default 5,000,000

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/item.h"
#include "base/key.h"
#include "base/random.h"
#include "bench/slab_bytes.h"
#include "hashtable/hash_table.h"

namespace cairn::hashtable {
namespace {

constexpr uint64_t kSeed = 0x9e3779b97f4a7c15;
constexpr size_t kTables = 1024;
constexpr size_t kWindow = 16;
constexpr size_t kKeySize = 19;
const std::string_view kValue = "0123456789abcdef0123456789abcdef";

size_t ItemCount() {
  const char* const text = std::getenv("CAIRN_BENCH_ITEMS");
  const size_t items = text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
  return items == 0 ? 5'000'000 : items;
}

// A key, its hash and its table, made beforehand in blocks so that only the table is measured.
struct Target {
  char key[kKeySize];
  uint32_t table;
  uint64_t hash;

  explicit Target(uint64_t number) {
    std::memcpy(key, "key:", 4);
    for (size_t i = kKeySize; i-- > 4; number /= 10) key[i] = static_cast<char>('0' + number % 10);
    hash = KeyHash(view(), kSeed);
    table = static_cast<uint32_t>(Crc32(view()) % kTables);
  }
  std::string_view view() const { return {key, kKeySize}; }
  HashedKey hashed() const { return {view(), hash}; }
};

using Tables = std::vector<std::unique_ptr<HashTable>>;

Tables NewTables() {
  Tables tables;
  for (size_t i = 0; i < kTables; ++i) tables.push_back(std::make_unique<HashTable>(kSeed));
  return tables;
}

ItemRef NewItem(const Target& target, uint64_t seqno) {
  return Item::NewValue(target.view(), kValue, ItemMeta{0, 0, Cas(seqno), Seqno(seqno)});
}

// Filled once, on first use; benchmarks that change it put back what they take.
Tables& Filled() {
  static Tables* const tables = [] {
    auto* const filled = new Tables(NewTables());
    for (size_t i = 0; i < ItemCount(); ++i) {
      const Target target(i);
      (*filled)[target.table]->Put(target.hashed(), NewItem(target, i + 1));
    }
    return filled;
  }();
  return *tables;
}

// Targets of existing keys (or, from `base` on, of missing ones) in random order.
std::vector<Target> RandomTargets(size_t count, uint64_t base = 0) {
  std::vector<Target> targets;
  targets.reserve(count);
  Random random(1);
  for (size_t i = 0; i < count; ++i) targets.emplace_back(base + random.Uniform(ItemCount()));
  return targets;
}

// What the tables keep from the system, with what is free in jemalloc's slabs, while all of them grow in
// step; the time says nothing. Argument: items in each of the 1,024 tables, rising, so that each size is
// reached from the one before. First of all, so that there are no other tables whose free memory they could
// use.
//   slabs, said         of the tables, as jemalloc has it and as the tables have it
//   active, resident    of the whole process, items (of 96 bytes in jemalloc's classes) and all
void BM_BytesPerItemInStep(benchmark::State& state) {
  constexpr int64_t kItemsLast = 6000;
  static Tables tables;
  static size_t slabs_before = 0;
  static size_t items = 0;
  if (!HaveJemalloc()) return state.SkipWithError("not linked with jemalloc");
  const size_t item_bytes = NewItem(Target(0), 1)->resident_bytes();
  if (tables.empty()) {
    tables = NewTables();
    slabs_before = SlabBytes(item_bytes);
  }
  double said = 0;
  for (auto _ : state) {
    for (; items < static_cast<size_t>(state.range(0)); ++items) {
      for (size_t t = 0; t < kTables; ++t) {
        const Target target(items * kTables + t);
        tables[t]->Put(target.hashed(), NewItem(target, 1));
      }
    }
  }
  const auto per_item = [](size_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(items * kTables);
  };
  for (const auto& table : tables) said += per_item(table->stats().table_bytes);
  state.counters["slabs"] = per_item(SlabBytes(item_bytes) - slabs_before);
  state.counters["said"] = said;
  state.counters["active"] = per_item(JemallocNumber<size_t>("stats.active"));
  state.counters["resident"] = per_item(JemallocNumber<size_t>("stats.resident"));
  if (state.range(0) == kItemsLast) tables.clear();
}
BENCHMARK(BM_BytesPerItemInStep)
    ->ArgName("items")
    ->DenseRange(2000, 6000, 250)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

constexpr size_t kTargets = size_t{1} << 20;

void FindAll(benchmark::State& state, const std::vector<Target>& targets) {
  Tables& tables = Filled();
  size_t next = 0;
  size_t found = 0;
  for (auto _ : state) {
    const Target& target = targets[next++ & (kTargets - 1)];
    found += tables[target.table]->Find(target.hashed()) != nullptr ? 1 : 0;
  }
  state.counters["found"] = static_cast<double>(found) / static_cast<double>(state.iterations());
}

void BM_Find(benchmark::State& state) { FindAll(state, RandomTargets(kTargets)); }
BENCHMARK(BM_Find);

void BM_FindMissing(benchmark::State& state) { FindAll(state, RandomTargets(kTargets, ItemCount())); }
BENCHMARK(BM_FindMissing);

// As a batch of pipelined GETs: prefetch 16 buckets, then their items, then find. Time is per key.
void BM_FindPrefetched(benchmark::State& state) {
  Tables& tables = Filled();
  const std::vector<Target> targets = RandomTargets(kTargets);
  size_t next = 0;
  size_t found = 0;
  while (state.KeepRunningBatch(kWindow)) {
    const Target* const window = &targets[next];
    next = (next + kWindow) & (kTargets - 1);
    for (size_t i = 0; i < kWindow; ++i) tables[window[i].table]->PrefetchBucket(window[i].hash);
    for (size_t i = 0; i < kWindow; ++i) tables[window[i].table]->PrefetchItem(window[i].hash);
    for (size_t i = 0; i < kWindow; ++i) {
      found += tables[window[i].table]->Find(window[i].hashed()) != nullptr ? 1 : 0;
    }
  }
  state.counters["found"] = static_cast<double>(found) / static_cast<double>(state.iterations());
}
BENCHMARK(BM_FindPrefetched);

// Includes making the new item and freeing the old one.
void BM_Overwrite(benchmark::State& state) {
  Tables& tables = Filled();
  const std::vector<Target> targets = RandomTargets(kTargets);
  size_t next = 0;
  for (auto _ : state) {
    const Target& target = targets[next++ & (kTargets - 1)];
    benchmark::DoNotOptimize(tables[target.table]->Put(target.hashed(), NewItem(target, next)));
  }
}
BENCHMARK(BM_Overwrite);

void BM_OverwritePrefetched(benchmark::State& state) {
  Tables& tables = Filled();
  const std::vector<Target> targets = RandomTargets(kTargets);
  size_t next = 0;
  while (state.KeepRunningBatch(kWindow)) {
    const Target* const window = &targets[next];
    next = (next + kWindow) & (kTargets - 1);
    for (size_t i = 0; i < kWindow; ++i) tables[window[i].table]->PrefetchBucket(window[i].hash);
    for (size_t i = 0; i < kWindow; ++i) tables[window[i].table]->PrefetchItem(window[i].hash);
    for (size_t i = 0; i < kWindow; ++i) {
      benchmark::DoNotOptimize(tables[window[i].table]->Put(window[i].hashed(), NewItem(window[i], next)));
    }
  }
}
BENCHMARK(BM_OverwritePrefetched);

// One erase and one insert of the same key, in tables of constant size.
void BM_EraseAndInsert(benchmark::State& state) {
  Tables& tables = Filled();
  const std::vector<Target> targets = RandomTargets(kTargets);
  size_t next = 0;
  for (auto _ : state) {
    const Target& target = targets[next++ & (kTargets - 1)];
    HashTable& table = *tables[target.table];
    ItemRef item = table.Erase(target.hashed());
    benchmark::DoNotOptimize(table.Put(target.hashed(), std::move(item)));
  }
}
BENCHMARK(BM_EraseAndInsert);

uint64_t SlotsMoved(const Tables& tables) {
  uint64_t moved = 0;
  for (const auto& table : tables) moved += table->stats().slots_moved;
  return moved;
}

// From empty to a million items, or back: all resizing, splitting and merging included, items not.
void BM_GrowOrShrink(benchmark::State& state) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kItems = 1'000'000;
  const bool shrinking = state.range(0) != 0;
  std::vector<Target> targets;
  std::vector<ItemRef> items;
  for (size_t i = 0; i < kItems; ++i) {
    targets.emplace_back(i);
    items.push_back(NewItem(targets.back(), i + 1));
  }
  uint64_t moved = 0;
  for (auto _ : state) {
    Tables tables = NewTables();
    const Clock::time_point begin = Clock::now();
    for (size_t i = 0; i < kItems; ++i) tables[targets[i].table]->Put(targets[i].hashed(), items[i]);
    const Clock::time_point full = Clock::now();
    const uint64_t moved_growing = SlotsMoved(tables);
    const Clock::time_point begin_erasing = Clock::now();
    for (const Target& target : targets) tables[target.table]->Erase(target.hashed());
    const Clock::time_point empty = Clock::now();
    moved = shrinking ? SlotsMoved(tables) - moved_growing : moved_growing;
    state.SetIterationTime(
        std::chrono::duration<double>(shrinking ? empty - begin_erasing : full - begin).count());
  }
  state.SetItemsProcessed(static_cast<int64_t>(kItems) * state.iterations());
  state.counters["moved_per_item"] = static_cast<double>(moved) / kItems;
}
BENCHMARK(BM_GrowOrShrink)->ArgName("shrink")->Arg(0)->Arg(1)->UseManualTime()->Unit(benchmark::kMillisecond);

void BM_Visit(benchmark::State& state) {
  Tables& tables = Filled();
  size_t table = 0;
  uint64_t sum = 0;
  size_t visited = 0;
  VisitCursor cursor;
  for (auto _ : state) {
    const bool more = tables[table]->Visit(cursor, 256, [&](Item* item) {
      sum += item->seqno().get();
      ++visited;
    });
    if (more) continue;
    cursor = VisitCursor();
    table = (table + 1) % kTables;
  }
  benchmark::DoNotOptimize(sum);
  state.SetItemsProcessed(static_cast<int64_t>(visited));
}
BENCHMARK(BM_Visit);

// Table memory; the time says nothing. Arguments: tables, items in each.
void BM_BytesPerItem(benchmark::State& state) {
  const auto tables = static_cast<size_t>(state.range(0));
  const auto items = static_cast<size_t>(state.range(1));
  double bytes = 0;
  for (auto _ : state) {
    bytes = 0;
    for (size_t t = 0; t < tables; ++t) {
      HashTable table(kSeed);
      for (size_t i = 0; i < items; ++i) {
        const Target target(t * items + i);
        table.Put(target.hashed(), NewItem(target, 1));
      }
      bytes += static_cast<double>(table.stats().table_bytes + sizeof(HashTable));
    }
  }
  state.counters["bytes_per_item"] = bytes / static_cast<double>(tables * items);
}
BENCHMARK(BM_BytesPerItem)
    ->ArgNames({"tables", "items"})
    ->ArgsProduct({{1}, {100'000, 115'000, 130'000, 150'000, 175'000, 200'000, 1'000'000}})
    ->ArgsProduct({{64}, {75, 300, 1000, 3000, 3500, 4000, 4500, 4900, 5500, 6000}})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cairn::hashtable
