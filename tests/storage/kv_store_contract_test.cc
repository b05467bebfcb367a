// What kv_store.h promises, on every store.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/random.h"
#include "engine/storage/fault_env.h"
#include "engine/storage/kv_store.h"
#include "engine/storage/memory_store.h"
#include "proto/disk_record.h"
#include "tests/storage/store_testing.h"

namespace cairn::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

enum class Kind { kMemory, kRocksOnDisk, kRocksInMemory };

class KvStoreContract : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() == Kind::kMemory) {
      store_ = std::make_unique<MemoryStore>(7);
      return;
    }
    if (GetParam() == Kind::kRocksInMemory) env_ = std::make_unique<FaultEnv>(FaultEnv::Base::kMemory);
    Open();
  }
  void Open() {
    RocksStoreOptions options;
    options.path = env_ != nullptr ? "/store" : dir_.Sub("store");
    options.memtable_bytes_max = 4u << 20;
    if (env_ != nullptr) options.env = env_->env();
    auto opened = OpenRocksStore(options);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    store_ = std::move(opened).value();
  }
  /// The process ends and starts again.
  void Restart() {
    if (GetParam() == Kind::kMemory) {
      static_cast<MemoryStore&>(*store_).CrashProcess(3);
      return;
    }
    store_.reset();
    Open();
  }
  Status WriteLog(std::vector<std::pair<LogKey, std::string>> records, bool sync = false) {
    return store_->WriteLog({std::move(records), {}, {}}, sync);
  }
  Status WriteData(const std::vector<DataChange>& changes) { return store_->WriteData(changes); }

  TempDir dir_;
  std::unique_ptr<FaultEnv> env_;
  std::unique_ptr<KvStore> store_;
};

TEST_P(KvStoreContract, LogRecordsComeBackInOrderWhateverOrderTheyWereGivenIn) {
  CAIRN_ASSERT_OK(
      WriteLog({LogRecord(2, 9, "nine"), LogRecord(1, 300, "b"), LogRecord(2, 2, "two"), LogRecord(1, 5, "a"),
                LogRecord(2, kSeqnoMax, "last"), LogRecord(65535, 1, "end")}));
  EXPECT_THAT(AllLog(*store_, 1), ElementsAre(Pair(5, "a"), Pair(300, "b")));
  EXPECT_THAT(AllLog(*store_, 2), ElementsAre(Pair(2, "two"), Pair(9, "nine"), Pair(kSeqnoMax, "last")));
  EXPECT_THAT(AllLog(*store_, 65535), ElementsAre(Pair(1, "end")));
  EXPECT_THAT(AllLog(*store_, 3), IsEmpty());
  EXPECT_EQ(store_->GetLog({Vbid(2), Seqno(9)}).value(), "nine");
  EXPECT_EQ(store_->GetLog({Vbid(2), Seqno(8)}).code(), Code::kNotFound);
}

TEST_P(KvStoreContract, ReadLogKeepsToItsBoundsBothIncluded) {
  CAIRN_ASSERT_OK(WriteLog({LogRecord(1, 1, "1"), LogRecord(1, 2, "2"), LogRecord(1, 3, "3")}));
  EXPECT_THAT(AllLog(*store_, 1, 2, 2), ElementsAre(Pair(2, "2")));
  EXPECT_THAT(AllLog(*store_, 1, 2, 3), ElementsAre(Pair(2, "2"), Pair(3, "3")));
  EXPECT_THAT(AllLog(*store_, 1, 0, 1), ElementsAre(Pair(1, "1")));
  EXPECT_THAT(AllLog(*store_, 1, 4, 9), IsEmpty());
  EXPECT_THAT(AllLog(*store_, 1, 3, 2), IsEmpty());
}

TEST_P(KvStoreContract, ABatchHoldsLogAndMetaTogether) {
  CAIRN_ASSERT_OK(store_->WriteLog({{LogRecord(1, 1, "x")}, {{"a", "1"}, {"b", "2"}}, {}}, true));
  CAIRN_ASSERT_OK(store_->WriteLog({{LogRecord(1, 1, "y")}, {{"b", "3"}}, {"a"}}, false));
  EXPECT_EQ(store_->GetMeta("a").code(), Code::kNotFound);
  EXPECT_EQ(store_->GetMeta("b").value(), "3");
  EXPECT_EQ(store_->GetLog({Vbid(1), Seqno(1)}).value(), "y");
}

TEST_P(KvStoreContract, AnEmptyBatchIsFine) {
  CAIRN_EXPECT_OK(store_->WriteLog({}, false));
  CAIRN_EXPECT_OK(store_->WriteLog({}, true));
  CAIRN_EXPECT_OK(store_->SyncLog());
  CAIRN_EXPECT_OK(store_->WriteData({}));
  CAIRN_EXPECT_OK(store_->FlushData());
}

TEST_P(KvStoreContract, ABatchAboveTheLimitIsRefusedWhole) {
  std::vector<std::pair<LogKey, std::string>> records;
  for (uint64_t seqno = 1; seqno <= 65; ++seqno) {
    records.push_back(LogRecord(1, seqno, std::string(size_t{1} << 20, 'x')));
  }
  EXPECT_EQ(WriteLog(records).code(), Code::kInvalidArgument);
  EXPECT_THAT(AllLog(*store_, 1), IsEmpty());
  records.resize(8);
  CAIRN_EXPECT_OK(WriteLog(records));
  EXPECT_EQ(AllLog(*store_, 1).size(), 8u);
}

TEST_P(KvStoreContract, TheFormatRecordBelongsToTheStore) {
  EXPECT_EQ(store_->GetMeta(kStoreFormatName).value(), "1");
  EXPECT_EQ(store_->WriteLog({{}, {{"store/format", "9"}}, {}}, true).code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->WriteLog({{}, {}, {"store/format"}}, true).code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->GetMeta(kStoreFormatName).value(), "1");
}

TEST_P(KvStoreContract, ScanMetaGivesThePrefixInOrderOfName) {
  CAIRN_ASSERT_OK(store_->WriteLog(
      {{}, {{"vb/2", "two"}, {"vb/1", "one"}, {"va", "x"}, {"vb", "y"}, {"vc", "z"}}, {}}, true));
  const auto found = store_->ScanMeta("vb/");
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found.value(), ElementsAre(Pair("vb/1", "one"), Pair("vb/2", "two")));
  EXPECT_THAT(store_->ScanMeta("nothing").value(), IsEmpty());
  EXPECT_EQ(store_->ScanMeta("").value().size(), 6u);  // and the format
}

TEST_P(KvStoreContract, DataIsPutReplacedAndRemoved) {
  const std::string binary("\0\n\xff", 3);
  CAIRN_ASSERT_OK(WriteData({Put(1, binary, "bin"), Put(1, "k", "1"), Put(2, "k", "other")}));
  EXPECT_EQ(store_->GetData(Vbid(1), binary).value(), "bin");
  EXPECT_EQ(store_->GetData(Vbid(2), "k").value(), "other");
  CAIRN_ASSERT_OK(WriteData({Put(1, "k", "2"), Remove(2, "k"), Remove(3, "never there")}));
  EXPECT_EQ(store_->GetData(Vbid(1), "k").value(), "2");
  EXPECT_EQ(store_->GetData(Vbid(2), "k").code(), Code::kNotFound);
  CAIRN_ASSERT_OK(store_->FlushData());
  EXPECT_EQ(store_->GetData(Vbid(1), "k").value(), "2");
  EXPECT_EQ(store_->GetData(Vbid(2), "k").code(), Code::kNotFound);
}

TEST_P(KvStoreContract, LoadedDataReplacesWhatIsThereAndIsReplaced) {
  CAIRN_ASSERT_OK(WriteData({Put(1, "a", "flushed"), Put(1, "z", "stays"), Put(2, "k", "flushed")}));
  CAIRN_ASSERT_OK(store_->FlushData());
  CAIRN_ASSERT_OK(WriteData({Put(1, "b", "written"), Remove(2, "k")}));
  const std::vector<DataChange> first = {Put(1, "a", "loaded"), Put(1, "b", "loaded")};
  const std::vector<DataChange> second = {Put(1, "c", "loaded"), Put(2, "k", "loaded")};
  CAIRN_ASSERT_OK(store_->LoadData(std::vector<DataRun>{RunOf(first), RunOf(second)}));
  EXPECT_THAT(AllData(*store_, 1),
              ElementsAre(Pair("a", "loaded"), Pair("b", "loaded"), Pair("c", "loaded"), Pair("z", "stays")));
  EXPECT_THAT(AllData(*store_, 2), ElementsAre(Pair("k", "loaded")));
  CAIRN_ASSERT_OK(WriteData({Put(1, "a", "newer"), Remove(1, "b")}));
  CAIRN_ASSERT_OK(store_->FlushData());
  CAIRN_ASSERT_OK(store_->Compact());
  EXPECT_THAT(AllData(*store_, 1), ElementsAre(Pair("a", "newer"), Pair("c", "loaded"), Pair("z", "stays")));
  CAIRN_ASSERT_OK(store_->DropVbucket(Vbid(1)));
  CAIRN_ASSERT_OK(store_->LoadData(std::vector<DataRun>{RunOf(first)}));
  EXPECT_THAT(AllData(*store_, 1), ElementsAre(Pair("a", "loaded"), Pair("b", "loaded")));
}

TEST_P(KvStoreContract, LoadedDataIsDurable) {
  const std::vector<DataChange> changes = {Put(1, "a", "1"), Put(3, "b", "2")};
  CAIRN_ASSERT_OK(store_->LoadData(std::vector<DataRun>{RunOf(changes)}));
  CAIRN_ASSERT_OK(store_->Reopen());
  EXPECT_EQ(store_->GetData(Vbid(1), "a").value(), "1");
  EXPECT_EQ(store_->GetData(Vbid(3), "b").value(), "2");
  const std::vector<DataChange> bad = {Put(1, std::string(kKeySizeMax + 1, 'k'), "v")};
  EXPECT_EQ(store_->LoadData(std::vector<DataRun>{RunOf(bad)}).code(), Code::kInvalidArgument);
  CAIRN_EXPECT_OK(store_->LoadData({}));
  CAIRN_EXPECT_OK(WriteData({Put(1, "k", "after a refusal")}));
}

TEST_P(KvStoreContract, ReadDataGivesOneVbucketFromAKeyOn) {
  const std::string longest(kKeySizeMax, '\xff');
  CAIRN_ASSERT_OK(WriteData({Put(7, "a", "1"), Put(7, "b", "2"), Put(7, longest, "3"), Put(8, "a", "4"),
                             Put(65535, "", "5"), Put(65535, longest, "6")}));
  EXPECT_THAT(AllData(*store_, 7), ElementsAre(Pair("a", "1"), Pair("b", "2"), Pair(longest, "3")));
  EXPECT_THAT(AllData(*store_, 7, "aa"), ElementsAre(Pair("b", "2"), Pair(longest, "3")));
  EXPECT_THAT(AllData(*store_, 65535), ElementsAre(Pair("", "5"), Pair(longest, "6")));
  EXPECT_THAT(AllData(*store_, 9), IsEmpty());
}

TEST_P(KvStoreContract, ADataKeyAboveTheLimitIsRefused) {
  EXPECT_EQ(WriteData({Put(1, std::string(kKeySizeMax + 1, 'k'), "v")}).code(), Code::kInvalidArgument);
}

TEST_P(KvStoreContract, IteratorsAreSnapshots) {
  CAIRN_ASSERT_OK(WriteLog({LogRecord(1, 1, "1"), LogRecord(1, 2, "2")}));
  CAIRN_ASSERT_OK(WriteData({Put(1, "a", "1"), Put(1, "b", "2")}));
  const auto log = store_->ReadLog(Vbid(1), Seqno(0), Seqno(99));
  const auto data = store_->ReadData(Vbid(1), "");
  CAIRN_ASSERT_OK(WriteLog({LogRecord(1, 2, "changed"), LogRecord(1, 3, "new")}));
  CAIRN_ASSERT_OK(WriteData({Put(1, "aa", "new"), Remove(1, "b")}));
  CAIRN_ASSERT_OK(store_->FlushData());
  CAIRN_ASSERT_OK(store_->Compact());
  std::vector<std::string> seen;
  for (; log->Valid(); log->Next()) seen.emplace_back(log->record());
  for (; data->Valid(); data->Next()) seen.emplace_back(data->record());
  EXPECT_THAT(seen, ElementsAre("1", "2", "1", "2"));
  CAIRN_EXPECT_OK(log->status());
  CAIRN_EXPECT_OK(data->status());
}

TEST_P(KvStoreContract, ReleasedRecordsGoAndAllOthersStay) {
  std::vector<std::pair<LogKey, std::string>> records;
  for (uint64_t seqno = 1; seqno <= 100; ++seqno) {
    records.push_back(LogRecord(1, seqno, "one"));
    records.push_back(LogRecord(2, seqno, "two"));
    records.push_back(LogRecord(3, seqno, "three"));
  }
  CAIRN_ASSERT_OK(WriteLog(records, true));
  store_->ReleaseLog(Vbid(1), Seqno(40));
  store_->ReleaseLog(Vbid(2), Seqno(100));
  store_->ReleaseLog(Vbid(1), Seqno(30));  // lowers nothing
  CAIRN_ASSERT_OK(store_->Compact());
  EXPECT_EQ(AllLog(*store_, 1).size(), 60u);
  EXPECT_EQ(AllLog(*store_, 1, 41, 100).size(), 60u);
  EXPECT_THAT(AllLog(*store_, 2), IsEmpty());
  EXPECT_EQ(AllLog(*store_, 3).size(), 100u);
  EXPECT_EQ(store_->GetLog({Vbid(1), Seqno(40)}).code(), Code::kNotFound);
  EXPECT_EQ(store_->GetLog({Vbid(1), Seqno(41)}).value(), "one");
}

TEST_P(KvStoreContract, TheEndOfTheProcessKeepsLogMetaAndFlushedData) {
  CAIRN_ASSERT_OK(store_->WriteLog({{LogRecord(1, 1, "synced")}, {{"m", "1"}}, {}}, true));
  CAIRN_ASSERT_OK(store_->WriteLog({{LogRecord(1, 2, "written")}, {{"m", "2"}}, {}}, false));
  CAIRN_ASSERT_OK(WriteData({Put(1, "k", "old")}));
  CAIRN_ASSERT_OK(store_->FlushData());
  CAIRN_ASSERT_OK(WriteData({Put(1, "k", "new")}));
  for (int round = 0; round < 2; ++round) {
    Restart();
    EXPECT_THAT(AllLog(*store_, 1), ElementsAre(Pair(1, "synced"), Pair(2, "written")));
    EXPECT_EQ(store_->GetMeta("m").value(), "2");
    const auto data = store_->GetData(Vbid(1), "k");
    ASSERT_TRUE(data.ok());
    EXPECT_TRUE(data.value() == "old" || data.value() == "new") << data.value();
  }
}

TEST_P(KvStoreContract, ReopenKeepsWhatARestartKeepsAndGoesOn) {
  CAIRN_ASSERT_OK(WriteLog({LogRecord(1, 1, "a")}));
  CAIRN_ASSERT_OK(WriteData({Put(1, "k", "v")}));
  CAIRN_ASSERT_OK(store_->FlushData());
  CAIRN_ASSERT_OK(store_->Reopen());
  EXPECT_THAT(AllLog(*store_, 1), ElementsAre(Pair(1, "a")));
  EXPECT_EQ(store_->GetData(Vbid(1), "k").value(), "v");
  CAIRN_ASSERT_OK(WriteLog({LogRecord(1, 2, "b")}, true));
  CAIRN_ASSERT_OK(store_->Reopen());
  EXPECT_THAT(AllLog(*store_, 1), ElementsAre(Pair(1, "a"), Pair(2, "b")));
}

TEST_P(KvStoreContract, ADroppedVbucketIsGoneForGoodAndCanBeginAgainWithLowerSeqnos) {
  std::vector<std::pair<LogKey, std::string>> records;
  std::vector<DataChange> changes;
  for (const uint16_t vbucket : std::initializer_list<uint16_t>{1, 2, 3}) {
    for (uint64_t i = 1; i <= 2500; ++i) {
      records.push_back(LogRecord(vbucket, i, "old"));
      char key[16];
      snprintf(key, sizeof key, "k%06d", static_cast<int>(i));
      changes.push_back(Put(vbucket, key, "old"));
    }
  }
  CAIRN_ASSERT_OK(WriteLog(records));
  CAIRN_ASSERT_OK(WriteData(changes));
  store_->ReleaseLog(Vbid(2), Seqno(2000));
  CAIRN_ASSERT_OK(store_->DropVbucket(Vbid(2)));
  CAIRN_ASSERT_OK(WriteLog({LogRecord(2, 7, "new")}, true));
  CAIRN_ASSERT_OK(WriteData({Put(2, "k000001", "new")}));
  CAIRN_ASSERT_OK(store_->FlushData());
  for (int round = 0; round < 3; ++round) {
    EXPECT_THAT(AllLog(*store_, 2), ElementsAre(Pair(7, "new")));
    EXPECT_THAT(AllData(*store_, 2), ElementsAre(Pair("k000001", "new")));
    for (const uint16_t kept : std::initializer_list<uint16_t>{1, 3}) {
      EXPECT_EQ(AllLog(*store_, kept).size(), 2500u);
      EXPECT_EQ(AllData(*store_, kept).size(), 2500u);
    }
    if (round == 0) CAIRN_ASSERT_OK(store_->Compact());
    if (round == 1) Restart();
  }
  CAIRN_EXPECT_OK(store_->DropVbucket(Vbid(2)));
  CAIRN_EXPECT_OK(store_->DropVbucket(Vbid(2)));
  EXPECT_THAT(AllLog(*store_, 2), IsEmpty());
}

TEST_P(KvStoreContract, StatsCountWritesAndSyncs) {
  CAIRN_ASSERT_OK(WriteLog({LogRecord(1, 1, "a")}, false));
  CAIRN_ASSERT_OK(WriteLog({LogRecord(1, 2, "b")}, true));
  CAIRN_ASSERT_OK(WriteData({Put(1, "k", "v"), Put(1, "l", "v")}));
  CAIRN_ASSERT_OK(store_->FlushData());
  const StoreStats stats = store_->stats();
  EXPECT_EQ(stats.log_writes, 2u);
  EXPECT_EQ(stats.syncs, 1u);
  EXPECT_EQ(stats.data_keys, 2u);
  EXPECT_GT(stats.data_bytes, 0u);
}

// Random writes against maps, with restarts. Nothing is unflushed at a restart, so all of it is exact.
TEST_P(KvStoreContract, MatchesAModelOverRandomOperations) {
  Random random(42);
  std::map<LogKey, std::string> log;
  std::map<std::pair<uint16_t, std::string>, std::string> data;
  for (int step = 0; step < 300; ++step) {
    LogBatch batch;
    std::map<std::pair<uint16_t, std::string>, DataChange> changes;
    for (uint64_t i = random.Uniform(40); i > 0; --i) {
      const auto vbucket = static_cast<uint16_t>(random.Uniform(4));
      const std::string record(random.Uniform(300), static_cast<char>('a' + step % 26));
      batch.records.push_back(LogRecord(vbucket, random.Between(1, 2000), record));
      log[batch.records.back().first] = record;
      const std::string key = "k" + std::to_string(random.Uniform(500));
      changes[{vbucket, key}] = random.OneIn(4) ? Remove(vbucket, key) : Put(vbucket, key, record);
    }
    std::vector<DataChange> sorted;
    for (auto& [where, change] : changes) {
      if (change.remove) data.erase(where);
      if (!change.remove) data[where] = change.record;
      sorted.push_back(std::move(change));
    }
    CAIRN_ASSERT_OK(store_->WriteLog(batch, random.OneIn(5)));
    CAIRN_ASSERT_OK(WriteData(sorted));
    if (random.OneIn(10)) CAIRN_ASSERT_OK(store_->FlushData());
    if (random.OneIn(50)) CAIRN_ASSERT_OK(store_->Compact());
    if (random.OneIn(60)) {
      CAIRN_ASSERT_OK(store_->FlushData());
      Restart();
    }
  }
  for (uint16_t vbucket = 0; vbucket < 4; ++vbucket) {
    std::map<uint64_t, std::string> want_log;
    for (const auto& [key, record] : log) {
      if (key.vbucket == Vbid(vbucket)) want_log[key.seqno.get()] = record;
    }
    std::map<std::string, std::string> want_data;
    for (const auto& [where, record] : data) {
      if (where.first == vbucket) want_data[where.second] = record;
    }
    EXPECT_EQ(AllLog(*store_, vbucket), want_log);
    EXPECT_EQ(AllData(*store_, vbucket), want_data);
  }
}

TEST_P(KvStoreContract, ThreadsMayWriteMergeReadAndReleaseAtOnce) {
  constexpr uint64_t kRounds = 200;
  std::atomic<int> failures{0};
  const auto must = [&](const Status& status) { failures += status.ok() ? 0 : 1; };
  std::vector<std::thread> threads;
  for (const uint16_t vbucket : std::initializer_list<uint16_t>{1, 2}) {
    threads.emplace_back([&, vbucket] {
      for (uint64_t seqno = 1; seqno <= kRounds; ++seqno) {
        must(WriteLog({LogRecord(vbucket, seqno, "r")}, seqno % 50 == 0));
      }
    });
  }
  threads.emplace_back([&] {
    for (uint64_t round = 1; round <= kRounds; ++round) {
      must(WriteData({Put(1, "k" + std::to_string(round), "v")}));
      if (round % 50 == 0) must(store_->FlushData());
      if (round % 20 == 0) store_->ReleaseLog(Vbid(1), Seqno(round / 2));
    }
  });
  threads.emplace_back([&] {
    for (uint64_t round = 0; round < kRounds; ++round) {
      const auto it = store_->ReadLog(Vbid(2), Seqno(0), Seqno(kRounds));
      uint64_t expected = 1;
      for (; it->Valid(); it->Next()) failures += it->log_key().seqno.get() == expected++ ? 0 : 1;
      must(it->status());
      must(store_->SyncLog());
    }
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
  EXPECT_EQ(AllLog(*store_, 2).size(), kRounds);
  EXPECT_EQ(AllLog(*store_, 1, kRounds / 2 + 1).size(), kRounds / 2);
  EXPECT_EQ(AllData(*store_, 1).size(), kRounds);
}

TEST_P(KvStoreContract, ACutTakesTheLogBehindItAway) {
  std::vector<std::pair<LogKey, std::string>> records;
  for (uint64_t seqno = 1; seqno <= 100; ++seqno) {
    for (const uint16_t vbucket : {uint16_t{1}, uint16_t{2}, uint16_t{3}})
      records.push_back(LogRecord(vbucket, seqno, "old"));
  }
  CAIRN_ASSERT_OK(WriteLog(records, true));
  auto before = store_->ReadLog(Vbid(2), Seqno(0), Seqno(kSeqnoMax));
  LogBatch batch;
  batch.log_cuts = {{Vbid(2), Seqno(40)}, {Vbid(3), Seqno(100)}, {Vbid(9), Seqno(0)}};
  batch.records = {LogRecord(2, 41, "new"), LogRecord(2, 200, "new")};
  batch.meta_puts = {{"vb/2", "at 40"}};
  CAIRN_ASSERT_OK(store_->WriteLog(batch, true));
  for (int opening = 0; opening < 2; ++opening) {
    EXPECT_EQ(AllLog(*store_, 1).size(), 100u);
    EXPECT_EQ(AllLog(*store_, 3).size(), 100u);
    const auto cut = AllLog(*store_, 2);
    EXPECT_EQ(cut.size(), 42u);
    EXPECT_EQ(cut.at(40), "old");
    EXPECT_EQ(cut.at(41), "new");
    EXPECT_EQ(cut.at(200), "new");
    EXPECT_EQ(store_->GetLog({Vbid(2), Seqno(42)}).code(), Code::kNotFound);
    EXPECT_EQ(store_->GetMeta("vb/2").value(), "at 40");
    if (opening == 0) {
      size_t seen = 0;
      for (; before->Valid(); before->Next()) ++seen;
      EXPECT_EQ(seen, 100u) << "an iterator sees what was there when it was made";
      before.reset();
      Restart();
    }
  }
}

TEST_P(KvStoreContract, WhatIsWrittenAgainBehindACutStaysAndGoesLikeAnythingElse) {
  for (int round = 0; round < 5; ++round) {
    std::vector<std::pair<LogKey, std::string>> records;
    for (uint64_t seqno = 11; seqno <= 400; ++seqno) {
      records.push_back(LogRecord(1, seqno, std::to_string(round)));
    }
    CAIRN_ASSERT_OK(WriteLog(records, true));
    if (round == 2) CAIRN_ASSERT_OK(store_->Compact());
    LogBatch cut;
    cut.log_cuts = {{Vbid(1), Seqno(10 + static_cast<uint64_t>(round))}};
    CAIRN_ASSERT_OK(store_->WriteLog(cut, true));
    EXPECT_EQ(AllLog(*store_, 1).size(), static_cast<size_t>(round));
  }
  CAIRN_ASSERT_OK(WriteLog({LogRecord(1, 100, "last")}, true));
  store_->ReleaseLog(Vbid(1), Seqno(50));
  CAIRN_ASSERT_OK(store_->Compact());
  EXPECT_THAT(AllLog(*store_, 1, 51), ElementsAre(Pair(100, "last"))) << "what was cut has come back";
}

TEST_P(KvStoreContract, ACutOfTooMuchIsRefusedWhole) {
  LogBatch records;
  for (uint64_t seqno = 1; seqno <= 10'000; ++seqno) records.records.push_back(LogRecord(1, seqno, ""));
  CAIRN_ASSERT_OK(store_->WriteLog(records, false));
  LogBatch cut;
  cut.log_cuts = {{Vbid(1), Seqno(0)}};
  cut.meta_puts = {{"m", std::string(kLogBatchBytesMax - 10'000 * 32, 'x')}};  // its name is too much
  EXPECT_EQ(store_->WriteLog(cut, true).code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->GetMeta("m").code(), Code::kNotFound);
  EXPECT_EQ(AllLog(*store_, 1).size(), 10'000u);
  cut.meta_puts[0].second = "cut";
  CAIRN_EXPECT_OK(store_->WriteLog(cut, true));
  EXPECT_THAT(AllLog(*store_, 1), IsEmpty());
  EXPECT_EQ(store_->GetMeta("m").value(), "cut");
}

TEST_P(KvStoreContract, ReleasedTombstonesGoAndAllElseStays) {
  const auto record = [](uint16_t vbucket, const Item& item) {
    DataChange change{Vbid(vbucket), std::string(item.key()), {}, false};
    proto::EncodeDataRecord(Vbid(vbucket), item, &change.record);
    return change;
  };
  const auto meta = [](uint64_t seqno) { return ItemMeta{0, 0, Cas(seqno), Seqno(seqno)}; };
  // Over versions that lie deeper, which must not come back.
  std::vector<DataChange> values;
  std::vector<DataChange> deletions;
  for (uint64_t i = 100; i < 200; ++i) {
    const std::string key = "k" + std::to_string(i);
    for (const uint16_t vbucket : {uint16_t{1}, uint16_t{2}}) {
      values.push_back(record(vbucket, *Item::NewValue(key, "value", meta(i))));
      deletions.push_back(record(vbucket, *Item::NewDeleted(key, i % 2 == 0, meta(i + 1000))));
    }
  }
  const auto by_key = [](const DataChange& a, const DataChange& b) {
    return std::pair(a.vbucket, a.key) < std::pair(b.vbucket, b.key);
  };
  std::sort(values.begin(), values.end(), by_key);
  std::sort(deletions.begin(), deletions.end(), by_key);
  CAIRN_ASSERT_OK(WriteData(values));
  CAIRN_ASSERT_OK(store_->FlushData());
  CAIRN_ASSERT_OK(store_->Compact());
  CAIRN_ASSERT_OK(WriteData(deletions));
  CAIRN_ASSERT_OK(WriteData({record(1, *Item::NewValue("k150", "again", meta(1100)))}));
  CAIRN_ASSERT_OK(store_->FlushData());
  store_->ReleaseTombstones(Vbid(1), Seqno(1159));
  store_->ReleaseTombstones(Vbid(1), Seqno(1100));  // lowers nothing
  CAIRN_ASSERT_OK(store_->Compact());
  const auto left = AllData(*store_, 1);
  EXPECT_EQ(left.size(), 41u) << "k160 … k199, and the value of k150";
  EXPECT_FALSE(proto::DataTombstone(left.at("k150")).has_value()) << "a value of a released seqno";
  EXPECT_EQ(left.count("k159"), 0u);
  EXPECT_EQ(proto::DataTombstone(left.at("k160")), Seqno(1160));
  EXPECT_EQ(AllData(*store_, 2).size(), 100u) << "another vbucket's";
  CAIRN_ASSERT_OK(store_->DropVbucket(Vbid(1)));
  CAIRN_ASSERT_OK(WriteData({record(1, *Item::NewDeleted("new", false, meta(5)))}));
  CAIRN_ASSERT_OK(store_->FlushData());
  CAIRN_ASSERT_OK(store_->Compact());
  EXPECT_EQ(AllData(*store_, 1).size(), 1u)
      << "what was released before the vbucket was dropped counts still";
}

INSTANTIATE_TEST_SUITE_P(Stores, KvStoreContract,
                         ::testing::Values(Kind::kMemory, Kind::kRocksOnDisk, Kind::kRocksInMemory),
                         [](const ::testing::TestParamInfo<Kind>& param) -> std::string {
                           switch (param.param) {
                             case Kind::kMemory:
                               return "Memory";
                             case Kind::kRocksOnDisk:
                               return "RocksOnDisk";
                             case Kind::kRocksInMemory:
                               return "RocksInMemory";
                           }
                           return "";
                         });

}  // namespace
}  // namespace cairn::storage
