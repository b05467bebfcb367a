// What only the RocksDB store has: files, formats, bounds of memory and disk.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/random.h"
#include "engine/storage/kv_store.h"
#include "engine/storage/rocks_options.h"
#include "tests/storage/store_testing.h"

namespace cairn::storage {
namespace {

using ::testing::HasSubstr;

class RocksStoreTest : public ::testing::Test {
 protected:
  RocksStoreTest() {
    options_.path = dir_.Sub("deep/store");
    options_.memtable_bytes_max = 4u << 20;
  }
  Result<std::unique_ptr<KvStore>> Open() const { return OpenRocksStore(options_); }
  std::unique_ptr<KvStore> MustOpen() const {
    auto store = Open();
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return std::move(store).value();
  }
  /// Opens the database without the store, to write what a store would not.
  void WriteRaw(const std::string& family, const std::string& key, const std::string& value) const {
    rocksdb::Options options;
    options.create_if_missing = true;
    std::vector<std::string> names;
    if (!rocksdb::DB::ListColumnFamilies(options, options_.path, &names).ok()) names = {"default"};
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const auto& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, options_.path, families, &handles, &db).ok());
    for (auto* handle : handles) {
      if (handle->GetName() == family) {
        EXPECT_TRUE(db->Put(rocksdb::WriteOptions(), handle, key, value).ok());
      }
      EXPECT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
    }
    delete db;
  }
  static LogBatch Records(uint64_t first, uint64_t count, size_t bytes) {
    LogBatch batch;
    for (uint64_t seqno = first; seqno < first + count; ++seqno) {
      std::string record(bytes, '\0');
      Random random(seqno);
      for (char& c : record) c = static_cast<char>(random.Uniform(256));
      batch.records.push_back(LogRecord(static_cast<uint16_t>(seqno % 8), seqno, std::move(record)));
    }
    return batch;
  }

  TempDir dir_;
  RocksStoreOptions options_;
};

TEST_F(RocksStoreTest, TheDirectoryIsForTheOwnerOnly) {
  const auto store = MustOpen();
  struct stat info {};
  ASSERT_EQ(stat(options_.path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0700u);
}

TEST_F(RocksStoreTest, ASecondOpenIsRefusedWithAClearText) {
  const auto store = MustOpen();
  const auto second = Open();
  EXPECT_EQ(second.code(), Code::kBusy);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("is open already"));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(options_.path));
}

TEST_F(RocksStoreTest, ANewerFormatIsRefusedAndLeftAlone) {
  CAIRN_ASSERT_OK(MustOpen()->WriteLog({{LogRecord(1, 1, "r")}, {}, {}}, true));
  WriteRaw("meta", "store/format", "2");
  const auto store = Open();
  EXPECT_EQ(store.code(), Code::kNotSupported);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("unknown store format 2"));
  WriteRaw("meta", "store/format", "1");
  EXPECT_EQ(MustOpen()->GetLog({Vbid(1), Seqno(1)}).value(), "r");
}

TEST_F(RocksStoreTest, AFormatThatIsNoNumberIsCorruption) {
  MustOpen();
  for (const char* text : {"", "0", "1x", "-1", "99999999999"}) {
    WriteRaw("meta", "store/format", text);
    EXPECT_EQ(Open().code(), Code::kCorruption) << text;
  }
}

TEST_F(RocksStoreTest, AnotherProgramsDatabaseIsRefused) {
  std::filesystem::create_directories(options_.path);
  WriteRaw("default", "k", "v");
  const auto store = Open();
  EXPECT_EQ(store.code(), Code::kCorruption);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("not a Cairn store"));
}

TEST_F(RocksStoreTest, AStoreThatLostItsCurrentFileIsNotStartedAnew) {
  CAIRN_ASSERT_OK(MustOpen()->WriteLog({{LogRecord(1, 1, "r")}, {}, {}}, true));
  std::filesystem::rename(options_.path + "/CURRENT", options_.path + "/saved");
  EXPECT_EQ(Open().code(), Code::kCorruption);
  std::filesystem::rename(options_.path + "/saved", options_.path + "/CURRENT");
  EXPECT_EQ(MustOpen()->GetLog({Vbid(1), Seqno(1)}).value(), "r");
}

TEST_F(RocksStoreTest, ADamagedManifestIsAnErrorAndNotAnEmptyStore) {
  CAIRN_ASSERT_OK(MustOpen()->WriteLog({{LogRecord(1, 1, "r")}, {}, {}}, true));
  for (const auto& entry : std::filesystem::directory_iterator(options_.path)) {
    if (entry.path().filename().string().rfind("MANIFEST", 0) != 0) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(12);
    file.put('\x5a');
  }
  const auto store = Open();
  EXPECT_FALSE(store.ok());
}

TEST_F(RocksStoreTest, AFileInPlaceOfTheDirectoryIsAnError) {
  std::filesystem::create_directories(dir_.Sub("deep"));
  std::ofstream(options_.path) << "x";
  EXPECT_FALSE(Open().ok());
}

TEST_F(RocksStoreTest, RocksDbMayNeverRecoverByItself) {
  const RocksOptions rocks =
      MakeRocksOptions(options_, std::make_shared<LogRelease>(), std::make_shared<LogRelease>());
  EXPECT_EQ(rocks.db.max_bgerror_resume_count, 0);
  bool auto_recovery = true;
  for (const auto& listener : rocks.db.listeners) {
    listener->OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason::kWriteCallback, rocksdb::Status::NoSpace(),
                                   &auto_recovery);
  }
  EXPECT_FALSE(auto_recovery);
}

TEST_F(RocksStoreTest, RecordsReleasedBeforeTheirMemtableIsFullNeverReachAFile) {
  const auto store = MustOpen();
  for (uint64_t round = 0; round < 20; ++round) {
    CAIRN_ASSERT_OK(store->WriteLog(Records(round * 1000 + 1, 1000, 1000), false));
    for (uint16_t vbucket = 0; vbucket < 8; ++vbucket) {
      store->ReleaseLog(Vbid(vbucket), Seqno((round + 1) * 1000));
    }
  }
  // 20 MB went through memtables of 1 MB each.
  EXPECT_LT(store->stats().log_bytes, 4u << 20);
}

TEST_F(RocksStoreTest, TheDiskSpaceOfTheLogComesBackAfterRelease) {
  const auto store = MustOpen();
  constexpr uint64_t kCount = 40'000;
  for (uint64_t seqno = 1; seqno <= kCount; seqno += 2000) {
    CAIRN_ASSERT_OK(store->WriteLog(Records(seqno, 2000, 1000), false));
  }
  EXPECT_GT(store->stats().log_bytes, 30u << 20);
  for (uint16_t vbucket = 0; vbucket < 8; ++vbucket) store->ReleaseLog(Vbid(vbucket), Seqno(kCount - 800));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (store->stats().log_bytes > (4u << 20) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LT(store->stats().log_bytes, 4u << 20);
  for (uint16_t vbucket = 0; vbucket < 8; ++vbucket) {
    EXPECT_EQ(AllLog(*store, vbucket, kCount - 799).size(), 100u);
  }
}

TEST_F(RocksStoreTest, AStoreThatIsCleaningItsLogCloses) {
  auto store = MustOpen();
  for (uint64_t seqno = 1; seqno <= 36'000; seqno += 2000) {
    CAIRN_ASSERT_OK(store->WriteLog(Records(seqno, 2000, 1000), false));
  }
  for (uint16_t vbucket = 0; vbucket < 8; ++vbucket) store->ReleaseLog(Vbid(vbucket), Seqno(35'000));
  store.reset();
  store = MustOpen();
  EXPECT_EQ(AllLog(*store, 3, 35'001).size(), 125u);
}

TEST_F(RocksStoreTest, MemtablesAndWalStayWithinTheirBounds) {
  const auto store = MustOpen();
  Random random(3);
  size_t memtables = 0;
  uint64_t wal = 0;
  CAIRN_ASSERT_OK(store->WriteLog({{}, {{"rare", "1"}}, {}}, true));
  for (uint64_t round = 0; round < 40; ++round) {
    CAIRN_ASSERT_OK(store->WriteLog(Records(round * 500 + 1, 500, 1000), false));
    std::map<std::string, DataChange> changes;
    for (int i = 0; i < 500; ++i) {
      const std::string key = HexEncode(random.Next64());
      changes.emplace(key, Put(static_cast<uint16_t>(1), key, std::string(1000, 'v')));
    }
    std::vector<DataChange> sorted;
    for (auto& [key, change] : changes) sorted.push_back(std::move(change));
    CAIRN_ASSERT_OK(store->WriteData(sorted));
    const StoreStats stats = store->stats();
    memtables = std::max<size_t>(memtables, stats.memtable_bytes);
    wal = std::max(wal, stats.wal_bytes);
  }
  // One batch more may be taken before RocksDB notices, and arenas are rounded up.
  EXPECT_LE(memtables, options_.memtable_bytes_max + (2u << 20));
  EXPECT_LE(wal, 3 * options_.memtable_bytes_max) << "a family that is rarely written pins the WAL";
  CAIRN_ASSERT_OK(store->FlushData());
  EXPECT_EQ(store->GetMeta("rare").value(), "1");
}

// A log write that makes the WAL too long has RocksDB put an empty memtable of data behind the one that is
// just being flushed. A flush that took it for a record left over failed, and had the store reopened.
TEST_F(RocksStoreTest, FlushesOfDataSucceedWhileTheLogFillsItsWal) {
  options_.memtable_bytes_max = 1u << 20;
  constexpr uint64_t kWalBytesMax = 4u << 20;  // with so little memory
  const auto store = MustOpen();
  uint64_t seqno = 1;
  const auto write_log = [&] {
    CAIRN_EXPECT_OK(store->WriteLog(Records(seqno, 20, 1000), false));
    seqno += 20;
  };
  for (int round = 0; round < 30; ++round) {
    std::vector<DataChange> changes;
    for (int i = 1000; i < 2000; ++i) changes.push_back(Put(1, std::to_string(i), std::to_string(round)));
    CAIRN_EXPECT_OK(store->WriteData(changes));  // keeps the WAL files from now on
    while (store->stats().wal_bytes < kWalBytesMax - (64u << 10)) write_log();
    std::thread log([&] {
      for (int i = 0; i < 20; ++i) write_log();
    });
    CAIRN_EXPECT_OK(store->FlushData());
    log.join();
  }
}

// Loaded in the order of keys, in many files, nothing is written a second time: so much is on disk as there
// is, and a compaction finds nothing to do.
TEST_F(RocksStoreTest, FilesThatAreLoadedInOrderAreNotRewritten) {
  const auto store = MustOpen();
  for (uint16_t vbucket = 0; vbucket < 60; ++vbucket) {
    std::vector<DataChange> changes;
    for (int i = 1000; i < 1200; ++i)
      changes.push_back(Put(vbucket, std::to_string(i), HexEncode(static_cast<uint64_t>(i))));
    CAIRN_ASSERT_OK(store->LoadData(std::vector<DataRun>{RunOf(changes)}));
  }
  std::set<std::string> before;
  for (const auto& entry : std::filesystem::directory_iterator(options_.path)) {
    if (entry.path().extension() == ".sst") before.insert(entry.path().filename());
    EXPECT_FALSE(entry.path().filename().string().starts_with("load-"));
  }
  EXPECT_GE(before.size(), 60u);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // for what must not happen
  for (const std::string& name : before) {
    EXPECT_TRUE(std::filesystem::exists(options_.path + "/" + name)) << name << " was rewritten";
  }
  for (uint16_t vbucket = 0; vbucket < 60; ++vbucket) EXPECT_EQ(AllData(*store, vbucket).size(), 200u);
}

TEST_F(RocksStoreTest, WhatALoadLeftBehindGoesWithTheNextOpening) {
  MustOpen().reset();
  const std::string left = options_.path + "/load-7";
  std::ofstream(left) << "half a file";
  const auto store = MustOpen();
  EXPECT_FALSE(std::filesystem::exists(left));
  // Nobody else, who finds the store open, may take the files of the one who has it.
  std::ofstream(left) << "being written";
  EXPECT_EQ(Open().code(), Code::kBusy);
  EXPECT_TRUE(std::filesystem::exists(left));
}

}  // namespace
}  // namespace cairn::storage
