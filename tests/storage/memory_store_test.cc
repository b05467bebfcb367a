// What only the memory store has: crashes, failure plans, counters and hooks. Its promises as a store are in
// kv_store_contract_test.cc.

#include "engine/storage/memory_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/storage/store_testing.h"

namespace cairn::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

Status WriteLog(MemoryStore& store, uint64_t seqno, bool sync) {
  return store.WriteLog({{LogRecord(1, seqno, "r")}, {{"m", std::to_string(seqno)}}, {}}, sync);
}
Status WriteData(MemoryStore& store, const std::string& key, const std::string& record) {
  return store.WriteData(std::vector<DataChange>{Put(1, key, record)});
}

TEST(MemoryStore, CrashKeepsWhatIsDurableAndNothingElse) {
  MemoryStore store;
  CAIRN_ASSERT_OK(WriteLog(store, 1, false));
  CAIRN_ASSERT_OK(WriteLog(store, 2, true));
  CAIRN_ASSERT_OK(WriteLog(store, 3, false));
  CAIRN_ASSERT_OK(WriteData(store, "flushed", "1"));
  CAIRN_ASSERT_OK(store.FlushData());
  CAIRN_ASSERT_OK(WriteData(store, "flushed", "2"));
  CAIRN_ASSERT_OK(WriteData(store, "unflushed", "1"));
  EXPECT_EQ(AllLog(store, 1).size(), 3u);
  store.Crash();
  EXPECT_EQ(AllLog(store, 1).size(), 2u);
  EXPECT_EQ(store.GetMeta("m").value(), "2");
  EXPECT_EQ(store.GetMeta(kStoreFormatName).value(), "1");
  EXPECT_THAT(AllData(store, 1), ElementsAre(Pair("flushed", "1")));
}

TEST(MemoryStore, SyncLogMakesEarlierWritesDurable) {
  MemoryStore store;
  CAIRN_ASSERT_OK(WriteLog(store, 1, false));
  CAIRN_ASSERT_OK(store.SyncLog());
  CAIRN_ASSERT_OK(WriteLog(store, 2, false));
  store.Crash();
  EXPECT_EQ(AllLog(store, 1).size(), 1u);
}

TEST(MemoryStore, AKilledProcessLeavesAllLogBatchesAndAnySubsetOfUnflushedData) {
  std::set<size_t> kept;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    MemoryStore store(seed);
    for (uint64_t seqno = 1; seqno <= 4; ++seqno) CAIRN_ASSERT_OK(WriteLog(store, seqno, false));
    for (const char* key : {"a", "b", "c"}) CAIRN_ASSERT_OK(WriteData(store, key, "v"));
    store.CrashProcess(seed);
    EXPECT_EQ(AllLog(store, 1).size(), 4u);
    kept.insert(AllData(store, 1).size());
    const auto before = AllData(store, 1);
    store.Crash();
    EXPECT_EQ(AllLog(store, 1).size(), 4u) << "what an opening found is durable";
    EXPECT_EQ(AllData(store, 1), before);
  }
  EXPECT_EQ(kept, (std::set<size_t>{0, 1, 2, 3}));
}

TEST(MemoryStore, PowerLossLeavesAPrefixOfTheUnsyncedBatches) {
  std::set<size_t> kept;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    MemoryStore store;
    CAIRN_ASSERT_OK(WriteLog(store, 1, true));
    for (uint64_t seqno = 2; seqno <= 4; ++seqno) CAIRN_ASSERT_OK(WriteLog(store, seqno, false));
    store.CrashPower(seed);
    const auto log = AllLog(store, 1);
    ASSERT_FALSE(log.empty());
    EXPECT_EQ(log.rbegin()->first, log.size()) << "a prefix";
    EXPECT_EQ(store.GetMeta("m").value(), std::to_string(log.size())) << "whole batches";
    kept.insert(log.size());
  }
  EXPECT_EQ(kept, (std::set<size_t>{1, 2, 3, 4}));
}

TEST(MemoryStore, TheNthMutatingCallFailsOnce) {
  MemoryStore store;
  CAIRN_ASSERT_OK(WriteLog(store, 1, true));
  store.FailNth(2, Status(Code::kIoError, "planned"), false);
  CAIRN_EXPECT_OK(WriteLog(store, 2, true));
  EXPECT_EQ(store.FlushData().code(), Code::kIoError);
  CAIRN_EXPECT_OK(store.FlushData());
  EXPECT_EQ(store.mutating_calls(), 4u);
}

TEST(MemoryStore, AmbiguousStaysUntilReopenAndTheFateOfTheBatchIsEither) {
  std::set<size_t> sizes;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    MemoryStore store(seed);
    CAIRN_ASSERT_OK(WriteLog(store, 1, true));
    CAIRN_ASSERT_OK(WriteLog(store, 2, false));
    store.FailNth(1, Status(Code::kAmbiguous, "planned"), false);
    EXPECT_EQ(WriteLog(store, 3, true).code(), Code::kAmbiguous);
    EXPECT_EQ(WriteLog(store, 4, true).code(), Code::kAmbiguous);
    EXPECT_EQ(store.SyncLog().code(), Code::kAmbiguous);
    EXPECT_EQ(WriteData(store, "k", "v").code(), Code::kAmbiguous);
    EXPECT_EQ(store.DropVbucket(Vbid(1)).code(), Code::kAmbiguous);
    EXPECT_EQ(AllLog(store, 1).size(), 2u) << "not visible while in doubt";
    CAIRN_ASSERT_OK(store.Reopen());
    const auto log = AllLog(store, 1);
    EXPECT_FALSE(log.contains(4)) << "it was never tried";
    sizes.insert(log.size());
    CAIRN_EXPECT_OK(WriteLog(store, 5, true));
  }
  EXPECT_EQ(sizes, (std::set<size_t>{1, 2, 3}));
}

TEST(MemoryStore, AFullDiskEndsWithAReopenThatFindsSpaceAndLosesNothingWritten) {
  std::set<bool> came_back;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    MemoryStore store(seed);
    CAIRN_ASSERT_OK(WriteLog(store, 1, false));
    store.FailNth(1, Status(Code::kNoSpace, "planned"), true);
    EXPECT_EQ(WriteLog(store, 2, false).code(), Code::kNoSpace);
    EXPECT_EQ(store.Reopen().code(), Code::kNoSpace);
    store.ClearFailures();
    EXPECT_EQ(WriteLog(store, 2, false).code(), Code::kNoSpace);
    CAIRN_ASSERT_OK(store.Reopen());
    EXPECT_TRUE(AllLog(store, 1).contains(1));
    came_back.insert(AllLog(store, 1).contains(2));
  }
  EXPECT_EQ(came_back, (std::set<bool>{false, true}));
}

TEST(MemoryStore, AFailedWriteOfDataMayHaveDoneAnyPart) {
  std::set<size_t> applied;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    MemoryStore store(seed);
    store.FailNth(1, Status(Code::kIoError, "planned"), false);
    EXPECT_FALSE(store.WriteData(std::vector<DataChange>{Put(1, "a", "1"), Put(1, "b", "1")}).ok());
    applied.insert(AllData(store, 1).size());
  }
  EXPECT_EQ(applied, (std::set<size_t>{0, 1, 2}));
}

TEST(MemoryStore, ReadsFailByTheirOwnPlan) {
  MemoryStore store;
  CAIRN_ASSERT_OK(WriteLog(store, 1, true));
  store.FailNthRead(2, Status(Code::kCorruption, "planned"), true);
  EXPECT_TRUE(store.GetLog({Vbid(1), Seqno(1)}).ok());
  EXPECT_EQ(store.GetLog({Vbid(1), Seqno(1)}).code(), Code::kCorruption);
  EXPECT_EQ(store.GetData(Vbid(1), "k").code(), Code::kCorruption);
  EXPECT_EQ(store.ScanMeta("").code(), Code::kCorruption);
  EXPECT_EQ(store.ReadLog(Vbid(1), Seqno(0), Seqno(9))->status().code(), Code::kCorruption);
  EXPECT_FALSE(store.ReadData(Vbid(1), "")->Valid());
  CAIRN_EXPECT_OK(WriteLog(store, 2, true));
  EXPECT_EQ(store.read_calls(), 6u);
  store.ClearFailures();
  EXPECT_TRUE(store.GetLog({Vbid(1), Seqno(1)}).ok());
}

TEST(MemoryStore, TheHookSeesEachMutatingCallAndMayUseTheStore) {
  MemoryStore store;
  std::vector<MemoryStore::Op> seen;
  store.SetHook([&](MemoryStore::Op op) {
    seen.push_back(op);
    EXPECT_THAT(AllLog(store, 9), IsEmpty());
  });
  CAIRN_ASSERT_OK(WriteLog(store, 1, true));
  CAIRN_ASSERT_OK(store.SyncLog());
  CAIRN_ASSERT_OK(WriteData(store, "k", "v"));
  CAIRN_ASSERT_OK(store.FlushData());
  CAIRN_ASSERT_OK(store.DropVbucket(Vbid(1)));
  using Op = MemoryStore::Op;
  EXPECT_THAT(seen,
              ElementsAre(Op::kWriteLog, Op::kSyncLog, Op::kWriteData, Op::kFlushData, Op::kDropVbucket));
}

}  // namespace
}  // namespace cairn::storage
