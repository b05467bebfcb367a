// What writing to disk costs, in CPU time of the whole process (RocksDB's threads included) per item.
//
// DataPath compares ways to bring merges of sorted changes into the data family; docs/storage.md draws the
// conclusions. Each run writes kTotalItems random keys (16-32 bytes, values of 100 bytes, about half of which
// compress away) in merges of range(0) items, each made durable before the next, and waits for the
// compactions. Store* measure the store as it is. Directories are made under $TMPDIR and removed.

#include <benchmark/benchmark.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/memtablerep.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/key.h"
#include "base/random.h"
#include "engine/storage/kv_store.h"

namespace cairn::storage {
namespace {

constexpr size_t kTotalItems = 1'000'000;
constexpr size_t kValueBytes = 100;
constexpr uint16_t kVbuckets = 1024;

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void MustBeOk(const rocksdb::Status& status) {
  if (!status.ok()) fprintf(stderr, "%s\n", status.ToString().c_str());
  CAIRN_CHECK(status.ok());
}

class ScratchDir {
 public:
  ScratchDir() {
    std::string name = (std::filesystem::temp_directory_path() / "cairn-bench-XXXXXX").string();
    CAIRN_CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~ScratchDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  std::string Sub(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Keys with their vbucket in front, as the store writes them; a key may come again in another merge.
std::vector<std::string> MergeKeys(Random& random, size_t count, bool sorted) {
  std::vector<std::string> keys;
  keys.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    Random of_key(random.Uniform(kTotalItems) + 1);
    std::string key(2 + of_key.Between(16, 32), '\0');
    for (char& c : key) c = static_cast<char>(of_key.Uniform(256));
    key[0] = static_cast<char>(key[0] & 3);  // 1,024 vbuckets
    keys.push_back(std::move(key));
  }
  if (!sorted) return keys;
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

/// Enough different values that a compressor finds nothing from one to the next.
class Values {
 public:
  explicit Values(Random& random) {
    for (std::string& value : pool_) {
      value.assign(kValueBytes, ' ');
      for (size_t i = 0; i < kValueBytes / 2; ++i) value[i] = static_cast<char>(random.Uniform(256));
    }
  }
  const std::string& Next() { return pool_[next_++ % pool_.size()]; }

 private:
  std::vector<std::string> pool_ = std::vector<std::string>(10'007);
  size_t next_ = 0;
};

enum class Path { kRawPut, kSortedBatch, kVector, kIngest };

rocksdb::Options DataOptions(Path path, rocksdb::CompressionType compression, size_t merge) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options.stats_dump_period_sec = 0;
  options.max_background_jobs = 2;
  options.write_buffer_size = std::max<size_t>(size_t{6} << 20, merge * 300);
  options.compression = compression;
  options.level_compaction_dynamic_level_bytes = true;
  options.level0_file_num_compaction_trigger = 8;
  options.max_bytes_for_level_base = uint64_t{64} << 20;
  options.target_file_size_base = uint64_t{16} << 20;
  options.allow_concurrent_memtable_write = false;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;
  table.block_cache = rocksdb::NewLRUCache(size_t{16} << 20);
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (path == Path::kVector) options.memtable_factory.reset(new rocksdb::VectorRepFactory(merge));
  return options;
}

void WriteMerge(rocksdb::DB* db, const rocksdb::Options& options, Path path, const std::string& file,
                const std::vector<std::string>& keys, Values& values) {
  if (path == Path::kIngest) {
    rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options);
    MustBeOk(writer.Open(file));
    for (const std::string& key : keys) MustBeOk(writer.Put(key, values.Next()));
    MustBeOk(writer.Finish());
    rocksdb::IngestExternalFileOptions ingest;
    ingest.move_files = true;
    MustBeOk(db->IngestExternalFile({file}, ingest));
    return;
  }
  rocksdb::WriteOptions write;
  write.disableWAL = path != Path::kRawPut;
  rocksdb::WriteBatch batch;
  for (const std::string& key : keys) {
    MustBeOk(batch.Put(key, values.Next()));
    if (batch.Count() < 1000) continue;
    MustBeOk(db->Write(write, &batch));
    batch.Clear();
  }
  if (batch.Count() > 0) MustBeOk(db->Write(write, &batch));
  if (path != Path::kRawPut) MustBeOk(db->Flush(rocksdb::FlushOptions()));
}

void WaitForCompactions(rocksdb::DB* db) {
  using Properties = rocksdb::DB::Properties;
  uint64_t busy = 1;
  while (busy != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    busy = 0;
    for (const auto& name : {Properties::kNumRunningCompactions, Properties::kCompactionPending,
                             Properties::kNumRunningFlushes, Properties::kMemTableFlushPending}) {
      uint64_t value = 0;
      CAIRN_CHECK(db->GetIntProperty(name, &value));
      busy += value;
    }
  }
}

void DataPath(benchmark::State& state, Path path, rocksdb::CompressionType compression) {
  const auto merge = static_cast<size_t>(state.range(0));
  const size_t total = std::min(kTotalItems, merge * 300);
  for (auto _ : state) {
    const ScratchDir dir;
    const rocksdb::Options options = DataOptions(path, compression, merge);
    rocksdb::DB* raw = nullptr;
    MustBeOk(rocksdb::DB::Open(options, dir.Sub("db"), &raw));
    const std::unique_ptr<rocksdb::DB> db(raw);
    Random random(1);
    std::vector<std::vector<std::string>> merges;
    for (size_t done = 0; done < total; done += merge) {
      merges.push_back(MergeKeys(random, merge, path != Path::kRawPut));
    }
    Values values(random);
    const double before = CpuSeconds();
    for (size_t i = 0; i < merges.size(); ++i) {
      WriteMerge(db.get(), options, path, dir.Sub(std::to_string(i) + ".new"), merges[i], values);
    }
    WaitForCompactions(db.get());
    const double used = CpuSeconds() - before;
    uint64_t bytes = 0;
    CAIRN_CHECK(db->GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &bytes));
    state.counters["cpu_us_per_item"] = used / static_cast<double>(total) * 1e6;
    state.counters["disk_bytes_per_item"] = static_cast<double>(bytes) / static_cast<double>(total);
  }
}

std::unique_ptr<KvStore> OpenStore(const std::string& path) {
  RocksStoreOptions options;
  options.path = path;
  auto store = OpenRocksStore(options);
  CAIRN_CHECK(store.ok());
  return std::move(store).value();
}

/// Group commits of range(0) records over all vbuckets; range(1): each synced.
void StoreWriteLog(benchmark::State& state) {
  const ScratchDir dir;
  const auto store = OpenStore(dir.Sub("db"));
  const auto count = static_cast<size_t>(state.range(0));
  const bool sync = state.range(1) != 0;
  Random random(1);
  const std::string record(kValueBytes + 60, 'r');
  std::vector<uint64_t> seqnos(kVbuckets);
  double used = 0;
  for (auto _ : state) {
    state.PauseTiming();
    LogBatch batch;
    for (size_t i = 0; i < count; ++i) {
      const auto vbucket = static_cast<uint16_t>(i * kVbuckets / count);
      batch.records.push_back({{Vbid(vbucket), Seqno(++seqnos[vbucket])}, record});
    }
    const double before = CpuSeconds();
    state.ResumeTiming();
    CAIRN_CHECK(store->WriteLog(batch, sync).ok());
    state.PauseTiming();
    used += CpuSeconds() - before;
    // As if everything was merged soon after.
    for (uint16_t vb = 0; vb < kVbuckets; ++vb) {
      if (seqnos[vb] > 200) store->ReleaseLog(Vbid(vb), Seqno(seqnos[vb] - 200));
    }
    state.ResumeTiming();
  }
  const auto items = static_cast<double>(state.iterations()) * static_cast<double>(count);
  state.counters["cpu_us_per_item"] = used / items * 1e6;
}

/// Merges of range(0) changes, each flushed.
void StoreMerge(benchmark::State& state) {
  const auto merge = static_cast<size_t>(state.range(0));
  const ScratchDir dir;
  const auto store = OpenStore(dir.Sub("db"));
  Random random(1);
  Values values(random);
  double used = 0;
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<DataChange> changes;
    for (const std::string& key : MergeKeys(random, merge, true)) {
      const auto vbucket = static_cast<uint16_t>(key[0] << 8 | static_cast<uint8_t>(key[1]));
      changes.push_back({Vbid(vbucket), key.substr(2), values.Next(), false});
    }
    const double before = CpuSeconds();
    state.ResumeTiming();
    CAIRN_CHECK(store->WriteData(changes).ok());
    CAIRN_CHECK(store->FlushData().ok());
    used += CpuSeconds() - before;
  }
  const auto items = static_cast<double>(state.iterations()) * static_cast<double>(merge);
  state.counters["cpu_us_per_item"] = used / items * 1e6;
}

/// Reads of random existing keys out of 500,000, all in tables; range(0): cache in MiB.
void StoreGetData(benchmark::State& state) {
  const ScratchDir dir;
  RocksStoreOptions options;
  options.path = dir.Sub("db");
  options.cache_bytes = static_cast<size_t>(state.range(0)) << 20;
  auto opened = OpenRocksStore(options);
  CAIRN_CHECK(opened.ok());
  const auto store = std::move(opened).value();
  Random random(1);
  Values values(random);
  constexpr size_t kKeys = 500'000;
  std::vector<DataChange> changes;
  for (size_t i = 0; i < kKeys; ++i) {
    char key[32];
    snprintf(key, sizeof key, "key%012zu", i);
    changes.push_back({Vbid(static_cast<uint16_t>(i * 64 / kKeys)), key, values.Next(), false});
  }
  CAIRN_CHECK(store->WriteData(changes).ok() && store->FlushData().ok() && store->Compact().ok());
  for (auto _ : state) {
    const DataChange& wanted = changes[random.Uniform(kKeys)];
    CAIRN_CHECK(store->GetData(wanted.vbucket, wanted.key).ok());
  }
}

void MergeSizes(benchmark::internal::Benchmark* bench) {
  bench->Arg(1'000)->Arg(10'000)->Arg(100'000)->Iterations(1)->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(DataPath, raw_put_batches, Path::kRawPut, rocksdb::kNoCompression)->Apply(MergeSizes);
BENCHMARK_CAPTURE(DataPath, sorted_batches, Path::kSortedBatch, rocksdb::kNoCompression)->Apply(MergeSizes);
BENCHMARK_CAPTURE(DataPath, sorted_batches_lz4, Path::kSortedBatch, rocksdb::kLZ4Compression)
    ->Apply(MergeSizes);
BENCHMARK_CAPTURE(DataPath, vector_memtable, Path::kVector, rocksdb::kNoCompression)->Apply(MergeSizes);
BENCHMARK_CAPTURE(DataPath, ingested_files, Path::kIngest, rocksdb::kNoCompression)->Apply(MergeSizes);
BENCHMARK(StoreWriteLog)
    ->Args({1'000, 0})
    ->Args({10'000, 0})
    ->Args({100, 1})
    ->Args({10'000, 1})
    ->MinTime(1)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(StoreMerge)->Arg(1'000)->Arg(10'000)->Arg(100'000)->MinTime(1)->Unit(benchmark::kMillisecond);
BENCHMARK(StoreGetData)->Arg(1)->Arg(16)->Arg(128)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace cairn::storage
