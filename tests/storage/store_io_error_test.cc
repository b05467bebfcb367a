// I/O errors under the real store: what it answers, what it recovers from, and that nothing durable is lost.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "base/log.h"
#include "tests/storage/crash_script.h"
#include "tests/storage/store_testing.h"

namespace cairn::storage {
namespace {

using ::testing::HasSubstr;

class StoreIoError : public ::testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kOff);
    Open();
  }
  void Open() {
    RocksStoreOptions options;
    options.path = "/store";
    options.memtable_bytes_max = 1u << 20;
    options.cache_bytes = 64u << 10;
    options.env = env_.env();
    auto opened = OpenRocksStore(options);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    store_ = std::move(opened).value();
  }
  void PowerLoss() {
    env_.CrashNow();
    store_.reset();
    env_.RestartAfterCrash(TailPolicy::kDrop, 1);
    Open();
  }
  Status WriteLog(uint64_t seqno, bool sync) {
    return store_->WriteLog({{LogRecord(1, seqno, "r" + std::to_string(seqno))}, {}, {}}, sync);
  }
  void FillData(int count) {
    std::vector<DataChange> changes;
    for (int i = 0; i < count; ++i) {
      char key[16];
      snprintf(key, sizeof key, "k%06d", i);
      changes.push_back(Put(1, key, std::string(200, 'v') + key));
    }
    CAIRN_ASSERT_OK(store_->WriteData(changes));
    CAIRN_ASSERT_OK(store_->FlushData());
  }
  FaultEnv env_{FaultEnv::Base::kMemory};
  std::unique_ptr<KvStore> store_;
};

class StoreWalError : public StoreIoError, public ::testing::WithParamInterface<FaultKind> {};

TEST_P(StoreWalError, IsAmbiguousAndStaysSoUntilReopen) {
  CAIRN_ASSERT_OK(WriteLog(1, true));
  CAIRN_ASSERT_OK(WriteLog(2, true));
  env_.Inject({GetParam(), EIO, 0, 1, ".log"});
  EXPECT_EQ(WriteLog(3, true).code(), Code::kAmbiguous);
  EXPECT_EQ(env_.faults_hit(), 1u);

  // The disk is well again, but nobody knows what it has.
  EXPECT_EQ(WriteLog(4, true).code(), Code::kAmbiguous);
  EXPECT_EQ(store_->SyncLog().code(), Code::kAmbiguous);
  EXPECT_EQ(store_->WriteData(std::vector<DataChange>{Put(1, "k", "v")}).code(), Code::kAmbiguous);
  EXPECT_EQ(store_->FlushData().code(), Code::kAmbiguous);
  EXPECT_EQ(store_->DropVbucket(Vbid(1)).code(), Code::kAmbiguous);
  EXPECT_EQ(store_->GetLog({Vbid(1), Seqno(2)}).value(), "r2");

  CAIRN_ASSERT_OK(store_->Reopen());
  const auto reopened = AllLog(*store_, 1);
  EXPECT_TRUE(reopened.contains(1) && reopened.contains(2));
  EXPECT_FALSE(reopened.contains(4));
  CAIRN_ASSERT_OK(WriteLog(5, true));
  auto expected = reopened;
  expected[5] = "r5";

  // Also what the failed sync had left in the page cache is durable once it was seen.
  PowerLoss();
  EXPECT_EQ(AllLog(*store_, 1), expected);
}

INSTANTIATE_TEST_SUITE_P(Kinds, StoreWalError, ::testing::Values(FaultKind::kWrite, FaultKind::kSync),
                         [](const ::testing::TestParamInfo<FaultKind>& param) {
                           return param.param == FaultKind::kWrite ? "Write" : "Sync";
                         });

TEST_F(StoreIoError, AFailedReopenCanBeRepeated) {
  CAIRN_ASSERT_OK(WriteLog(1, true));
  env_.Inject({FaultKind::kSync, EIO, 0, UINT64_MAX, ""});
  EXPECT_EQ(WriteLog(2, true).code(), Code::kAmbiguous);
  EXPECT_FALSE(store_->Reopen().ok());
  EXPECT_FALSE(store_->GetLog({Vbid(1), Seqno(1)}).ok());
  EXPECT_FALSE(store_->ReadLog(Vbid(1), Seqno(0), Seqno(9))->status().ok());
  EXPECT_FALSE(store_->ReadData(Vbid(1), "")->status().ok());
  EXPECT_FALSE(store_->ScanMeta("").ok());
  EXPECT_FALSE(WriteLog(3, true).ok());
  EXPECT_FALSE(store_->Reopen().ok());
  env_.ClearFaults();
  CAIRN_ASSERT_OK(store_->Reopen());
  EXPECT_EQ(store_->GetLog({Vbid(1), Seqno(1)}).value(), "r1");
  CAIRN_ASSERT_OK(WriteLog(3, true));
}

TEST_F(StoreIoError, AFullDiskAnswersNoSpaceUntilReopenFindsSpace) {
  CAIRN_ASSERT_OK(WriteLog(1, true));
  CAIRN_ASSERT_OK(WriteLog(2, false));
  env_.Inject({FaultKind::kWrite, ENOSPC, 0, UINT64_MAX, ""});
  EXPECT_EQ(WriteLog(3, true).code(), Code::kNoSpace);
  EXPECT_EQ(WriteLog(3, false).code(), Code::kNoSpace);
  EXPECT_EQ(store_->SyncLog().code(), Code::kNoSpace);
  EXPECT_EQ(store_->WriteData(std::vector<DataChange>{Put(1, "k", "v")}).code(), Code::kNoSpace);
  EXPECT_EQ(store_->FlushData().code(), Code::kNoSpace);
  EXPECT_EQ(store_->Reopen().code(), Code::kNoSpace);
  EXPECT_EQ(store_->GetLog({Vbid(1), Seqno(2)}).value(), "r2") << "reads go on";
  env_.ClearFaults();
  EXPECT_EQ(WriteLog(3, true).code(), Code::kNoSpace);
  CAIRN_ASSERT_OK(store_->Reopen());
  EXPECT_TRUE(AllLog(*store_, 1).contains(2)) << "nothing that was answered OK is lost";
  CAIRN_ASSERT_OK(WriteLog(3, true));
  CAIRN_ASSERT_OK(WriteLog(4, true));
  PowerLoss();
  EXPECT_EQ(AllLog(*store_, 1),
            (std::map<uint64_t, std::string>{{1, "r1"}, {2, "r2"}, {3, "r3"}, {4, "r4"}}));
}

TEST_F(StoreIoError, AFullDiskInTheBackgroundStopsTheStoreAlsoWhenSpaceComesBackAtOnce) {
  env_.Inject({FaultKind::kWrite, ENOSPC, 0, 1, ".sst"});
  uint64_t seqno = 0;
  while (env_.faults_hit() == 0 && seqno < 10'000) {
    const Status status = store_->WriteLog({{LogRecord(1, ++seqno, std::string(1000, 'r'))}, {}, {}}, false);
    if (!status.ok()) break;
  }
  ASSERT_EQ(env_.faults_hit(), 1u);
  // Time enough for RocksDB's own recovery, which must not happen.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(WriteLog(++seqno, true).code(), Code::kNoSpace);
  CAIRN_ASSERT_OK(store_->Reopen());
  EXPECT_GE(AllLog(*store_, 1).size(), seqno - 2);
  CAIRN_EXPECT_OK(WriteLog(++seqno, true));
}

TEST_F(StoreIoError, ReopenWaitsForIterators) {
  CAIRN_ASSERT_OK(WriteLog(1, true));
  {
    const auto it = store_->ReadLog(Vbid(1), Seqno(0), Seqno(9));
    EXPECT_EQ(store_->Reopen().code(), Code::kBusy);
    EXPECT_TRUE(it->Valid());
  }
  CAIRN_EXPECT_OK(store_->Reopen());
}

TEST_F(StoreIoError, AFullDiskDuringAMergeKeepsTheOldDataAndTheMergeCanBeRepeated) {
  FillData(100);
  env_.Inject({FaultKind::kWrite, ENOSPC, 0, UINT64_MAX, ".sst"});
  const std::vector<DataChange> changes = {Put(1, "k000000", "new")};
  CAIRN_ASSERT_OK(store_->WriteData(changes));
  EXPECT_EQ(store_->FlushData().code(), Code::kNoSpace);
  EXPECT_EQ(WriteLog(1, true).code(), Code::kNoSpace);
  EXPECT_EQ(AllData(*store_, 1).size(), 100u);
  env_.ClearFaults();
  CAIRN_ASSERT_OK(store_->Reopen());
  CAIRN_ASSERT_OK(store_->WriteData(changes));
  CAIRN_ASSERT_OK(store_->FlushData());
  PowerLoss();
  EXPECT_EQ(store_->GetData(Vbid(1), "k000000").value(), "new");
  EXPECT_EQ(AllData(*store_, 1).size(), 100u);
}

TEST_F(StoreIoError, AFullDiskWhileDataIsLoadedKeepsTheOldDataAndTheLoadCanBeRepeated) {
  FillData(100);
  const std::vector<DataChange> changes = {Put(1, "k000000", "new")};
  const std::vector<DataRun> runs = {RunOf(changes)};
  env_.Inject({FaultKind::kWrite, ENOSPC, 0, UINT64_MAX, "load-"});
  EXPECT_EQ(store_->LoadData(runs).code(), Code::kNoSpace);
  EXPECT_EQ(WriteLog(1, true).code(), Code::kNoSpace);
  EXPECT_EQ(AllData(*store_, 1).size(), 100u);
  env_.ClearFaults();
  CAIRN_ASSERT_OK(store_->Reopen());
  CAIRN_ASSERT_OK(store_->LoadData(runs));
  PowerLoss();
  EXPECT_EQ(store_->GetData(Vbid(1), "k000000").value(), "new");
  EXPECT_EQ(AllData(*store_, 1).size(), 100u);
}

TEST_F(StoreIoError, AFailedLoadOfDataIsAnIoErrorAndCanBeRepeated) {
  for (const FaultKind kind : {FaultKind::kWrite, FaultKind::kSync}) {
    FillData(100);
    const std::vector<DataChange> changes = {Put(1, "k000001", "new")};
    const std::vector<DataRun> runs = {RunOf(changes)};
    env_.Inject({kind, EIO, 0, 1, "load-"});
    EXPECT_EQ(store_->LoadData(runs).code(), Code::kIoError);
    EXPECT_EQ(AllData(*store_, 1).size(), 100u);
    CAIRN_ASSERT_OK(store_->LoadData(runs));
    PowerLoss();
    EXPECT_EQ(store_->GetData(Vbid(1), "k000001").value(), "new");
  }
}

TEST_F(StoreIoError, AFailedFlushOfDataIsAnIoErrorAndReopenHelps) {
  for (const FaultKind kind : {FaultKind::kWrite, FaultKind::kSync}) {
    FillData(100);
    CAIRN_ASSERT_OK(WriteLog(1, true));
    CAIRN_ASSERT_OK(store_->WriteData(std::vector<DataChange>{Put(1, "k000001", "new")}));
    env_.Inject({kind, EIO, 0, 1, ".sst"});
    EXPECT_EQ(store_->FlushData().code(), Code::kIoError);
    CAIRN_ASSERT_OK(store_->Reopen());
    EXPECT_EQ(AllData(*store_, 1).size(), 100u);
    EXPECT_EQ(store_->GetLog({Vbid(1), Seqno(1)}).value(), "r1");
    CAIRN_ASSERT_OK(store_->WriteData(std::vector<DataChange>{Put(1, "k000001", "new")}));
    CAIRN_ASSERT_OK(store_->FlushData());
    PowerLoss();
    EXPECT_EQ(store_->GetData(Vbid(1), "k000001").value(), "new");
  }
}

TEST_F(StoreIoError, ADamagedReadIsCorruptionThatNamesTheKeyAndNeverAMiss) {
  constexpr int kCount = 2000;
  FillData(kCount);
  CAIRN_ASSERT_OK(store_->Reopen());  // empties the cache
  env_.Inject({FaultKind::kFlipRead, 0, 0, UINT64_MAX, ".sst"});
  int damaged = 0;
  for (int i = 0; i < kCount; i += 7) {
    char key[16];
    snprintf(key, sizeof key, "k%06d", i);
    const auto record = store_->GetData(Vbid(1), key);
    if (record.ok()) {
      EXPECT_EQ(record.value(), std::string(200, 'v') + key);
      continue;
    }
    ++damaged;
    EXPECT_EQ(record.code(), Code::kCorruption) << record.status().ToString();
    EXPECT_THAT(std::string(record.status().message()), HasSubstr(key));
  }
  EXPECT_GT(damaged, 100);
  EXPECT_GT(env_.faults_hit(), 100u);

  const auto it = store_->ReadData(Vbid(1), "");
  int seen = 0;
  for (; it->Valid(); it->Next()) ++seen;
  EXPECT_EQ(it->status().code(), Code::kCorruption);
  EXPECT_LT(seen, kCount);

  env_.ClearFaults();
  EXPECT_EQ(AllData(*store_, 1).size(), static_cast<size_t>(kCount));
}

TEST_F(StoreIoError, AFailedReadIsAnIoErrorAndPassesByItself) {
  FillData(2000);
  CAIRN_ASSERT_OK(store_->Reopen());
  env_.Inject({FaultKind::kRead, EIO, 0, UINT64_MAX, ".sst"});
  EXPECT_EQ(store_->GetData(Vbid(1), "k000100").code(), Code::kIoError);
  EXPECT_EQ(store_->ReadData(Vbid(1), "")->status().code(), Code::kIoError);
  env_.ClearFaults();
  EXPECT_TRUE(store_->GetData(Vbid(1), "k000100").ok());
  CAIRN_EXPECT_OK(WriteLog(1, true));
}

// The script, with the `after`th write or sync failing; whatever the store answers, the caller does what the
// face says, and in the end everything is there.
void RunWithFault(const Fault& fault, bool* reached) {
  FaultEnv env(FaultEnv::Base::kMemory);
  CrashScript script(&env, 5);
  CAIRN_ASSERT_OK(script.Open());
  env.Inject(fault);
  for (int repairs = 0; !script.done(); ++repairs) {
    const Status status = script.Run();
    if (status.ok()) break;
    ASSERT_LT(repairs, 10) << status.ToString();
    ASSERT_GT(env.faults_hit(), 0u) << status.ToString();
    const bool full = status == Code::kNoSpace;
    ASSERT_TRUE(full || status == Code::kAmbiguous || status == Code::kIoError) << status.ToString();
    env.ClearFaults();
    CAIRN_ASSERT_OK(script.store().Reopen());
    if (full) script.VerifyNothingWrittenIsLost();
    if (!full) script.VerifyAndAdopt();
  }
  *reached = env.faults_hit() > 0;
  // A background error that the script did not meet any more must not have cost anything either.
  env.ClearFaults();
  env.CrashNow();
  script.Close();
  env.RestartAfterCrash(TailPolicy::kDrop, 1);
  CAIRN_ASSERT_OK(script.Open());
  script.VerifyAndAdopt();
}

struct NthErrorCase {
  const char* name;
  FaultKind kind;
  int error;
  uint64_t count;
};

class StoreNthError : public ::testing::TestWithParam<NthErrorCase> {
 protected:
  void SetUp() override { SetLogLevel(LogLevel::kOff); }
};

TEST_P(StoreNthError, LosesNothingDurable) {
  const NthErrorCase& c = GetParam();
  bool reached = true;
  uint64_t after = 0;
  for (; reached; ++after) {
    RunWithFault({c.kind, c.error, after, c.count, ""}, &reached);
    ASSERT_FALSE(HasFailure()) << "fault after " << after;
    ASSERT_LT(after, 5000u);
  }
  EXPECT_GT(after, 40u) << "the script has become too short to mean anything";
}

INSTANTIATE_TEST_SUITE_P(Kinds, StoreNthError,
                         ::testing::Values(NthErrorCase{"WriteOnce", FaultKind::kWrite, EIO, 1},
                                           NthErrorCase{"WriteForever", FaultKind::kWrite, EIO, UINT64_MAX},
                                           NthErrorCase{"SyncOnce", FaultKind::kSync, EIO, 1},
                                           NthErrorCase{"SyncForever", FaultKind::kSync, EIO, UINT64_MAX},
                                           NthErrorCase{"FullOnce", FaultKind::kWrite, ENOSPC, 1},
                                           NthErrorCase{"FullForever", FaultKind::kWrite, ENOSPC, UINT64_MAX},
                                           NthErrorCase{"FullWhileSyncingOnce", FaultKind::kSync, ENOSPC, 1}),
                         [](const ::testing::TestParamInfo<NthErrorCase>& param) {
                           return std::string(param.param.name);
                         });

}  // namespace
}  // namespace cairn::storage
