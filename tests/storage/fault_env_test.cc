// FaultEnv itself: a fault injector that injects nothing would make every test above it pass.

#include "engine/storage/fault_env.h"

#include <gtest/gtest.h>
#include <rocksdb/env.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/storage/store_testing.h"

namespace cairn::storage {
namespace {

class FaultEnvTest : public ::testing::TestWithParam<FaultEnv::Base> {
 protected:
  FaultEnvTest() : fault_(GetParam()), env_(static_cast<rocksdb::Env*>(fault_.env())) {
    path_ = dir_.Sub("d");
    EXPECT_TRUE(env_->CreateDirIfMissing(path_).ok());
    EXPECT_TRUE(env_->NewDirectory(path_, &directory_).ok());
  }
  std::string Name(const std::string& name) const { return path_ + "/" + name; }
  std::unique_ptr<rocksdb::WritableFile> Create(const std::string& name) {
    std::unique_ptr<rocksdb::WritableFile> file;
    EXPECT_TRUE(env_->NewWritableFile(Name(name), &file, rocksdb::EnvOptions()).ok());
    return file;
  }
  /// "-" when there is no such file.
  std::string Read(const std::string& name) {
    std::string bytes;
    return rocksdb::ReadFileToString(env_, Name(name), &bytes).ok() ? bytes : "-";
  }
  void Restart(TailPolicy policy, uint64_t seed = 1) {
    fault_.RestartAfterCrash(policy, seed);
    EXPECT_TRUE(env_->NewDirectory(path_, &directory_).ok());
  }

  TempDir dir_;
  FaultEnv fault_;
  rocksdb::Env* const env_;
  std::string path_;
  std::unique_ptr<rocksdb::Directory> directory_;
};

TEST_P(FaultEnvTest, ACrashDropsWhatWasNotSyncedOfAFile) {
  auto file = Create("f");
  ASSERT_TRUE(directory_->Fsync().ok());
  ASSERT_TRUE(file->Append("synced").ok());
  ASSERT_TRUE(file->Sync().ok());
  ASSERT_TRUE(file->Append("lost").ok());
  EXPECT_EQ(Read("f"), "syncedlost");
  fault_.CrashNow();
  EXPECT_FALSE(file->Append("dead").ok());
  EXPECT_FALSE(file->Sync().ok());
  Restart(TailPolicy::kDrop);
  EXPECT_EQ(Read("f"), "synced");
  EXPECT_FALSE(file->Append("still dead").ok());
}

TEST_P(FaultEnvTest, ACrashUndoesWhatWasNotSyncedOfADirectory) {
  for (const char* name : {"kept", "deleted", "old"}) {
    auto file = Create(name);
    ASSERT_TRUE(file->Append(name).ok() && file->Sync().ok());
  }
  ASSERT_TRUE(directory_->Fsync().ok());
  auto fresh = Create("new");
  ASSERT_TRUE(fresh->Append("new").ok() && fresh->Sync().ok());
  ASSERT_TRUE(env_->RenameFile(Name("new"), Name("old")).ok());
  ASSERT_TRUE(env_->DeleteFile(Name("deleted")).ok());
  auto created = Create("created");
  ASSERT_TRUE(created->Append("x").ok() && created->Sync().ok());
  fault_.CrashNow();
  Restart(TailPolicy::kDrop);
  EXPECT_EQ(Read("kept"), "kept");
  EXPECT_EQ(Read("deleted"), "deleted");
  EXPECT_EQ(Read("old"), "old");
  EXPECT_EQ(Read("new"), "-");
  EXPECT_EQ(Read("created"), "-");
}

TEST_P(FaultEnvTest, ATornTailIsAPrefixOfWhatWasWritten) {
  bool partly = false;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const std::string name = "f" + std::to_string(seed);
    auto file = Create(name);
    ASSERT_TRUE(directory_->Fsync().ok());
    ASSERT_TRUE(file->Append("abc").ok() && file->Sync().ok() && file->Append("defgh").ok());
    Restart(TailPolicy::kTorn, seed);
    const std::string found = Read(name);
    EXPECT_GE(found.size(), 3u);
    EXPECT_EQ(found, std::string("abcdefgh").substr(0, found.size()));
    partly = partly || (found.size() > 3 && found.size() < 8);
  }
  EXPECT_TRUE(partly);
}

TEST_P(FaultEnvTest, AReorderedTailHasHolesOfWholeSectorsAndSparesWhatWasSynced) {
  auto file = Create("f");
  ASSERT_TRUE(directory_->Fsync().ok());
  ASSERT_TRUE(file->Append(std::string(700, 's')).ok() && file->Sync().ok());
  ASSERT_TRUE(file->Append(std::string(1'000'000, 'u')).ok());
  Restart(TailPolicy::kReordered, 3);
  const std::string found = Read("f");
  ASSERT_GT(found.size(), 10'000u);
  EXPECT_EQ(found.substr(0, 700), std::string(700, 's'));
  size_t zeros = 0;
  for (size_t at = 1024; at + 512 <= found.size(); at += 512) {
    const std::string sector = found.substr(at, 512);
    zeros += sector == std::string(512, '\0') ? 1 : 0;
    EXPECT_TRUE(sector == std::string(512, '\0') || sector == std::string(512, 'u'));
  }
  EXPECT_GT(zeros, 3u);
  EXPECT_LT(zeros, found.size() / 512 / 2);
}

TEST_P(FaultEnvTest, AKilledProcessLosesNothingButItIsStillNotSynced) {
  auto file = Create("f");
  ASSERT_TRUE(directory_->Fsync().ok());
  ASSERT_TRUE(file->Append("written").ok());
  Restart(TailPolicy::kKeep);
  EXPECT_EQ(Read("f"), "written");
  Restart(TailPolicy::kDrop);
  EXPECT_EQ(Read("f"), "");
}

TEST_P(FaultEnvTest, CrashAfterLetsThatManyMutationsThrough) {
  auto file = Create("f");
  const uint64_t before = fault_.mutating_ops();
  fault_.CrashAfter(2);
  EXPECT_TRUE(file->Append("a").ok());
  EXPECT_FALSE(fault_.crashed());
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_TRUE(fault_.crashed());
  EXPECT_FALSE(file->Append("b").ok());
  EXPECT_FALSE(env_->RenameFile(Name("f"), Name("g")).ok());
  EXPECT_FALSE(env_->DeleteFile(Name("f")).ok());
  EXPECT_FALSE(directory_->Fsync().ok());
  EXPECT_EQ(Read("f"), "-") << "a dead process reads nothing";
  EXPECT_EQ(fault_.mutating_ops(), before + 2);
}

TEST_P(FaultEnvTest, AFailedSyncLosesItsBytesAlsoWhenALaterOneSucceeds) {
  auto file = Create("f");
  ASSERT_TRUE(directory_->Fsync().ok());
  ASSERT_TRUE(file->Append("a").ok() && file->Sync().ok() && file->Append("b").ok());
  fault_.FailNext(FaultKind::kSync, EIO, 1);
  EXPECT_TRUE(file->Sync().IsIOError());
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_EQ(fault_.faults_hit(), 1u);
  Restart(TailPolicy::kDrop);
  EXPECT_EQ(Read("f"), "a");
}

TEST_P(FaultEnvTest, FaultsFollowTheirPlanAndTheirPath) {
  auto wal = Create("1.log");
  auto table = Create("2.sst");
  fault_.Inject({FaultKind::kWrite, ENOSPC, 1, 2, ".log"});
  EXPECT_TRUE(table->Append("1234").ok());
  EXPECT_TRUE(wal->Append("1234").ok());
  EXPECT_TRUE(wal->Append("5678").IsNoSpace());
  EXPECT_TRUE(table->Append("5678").ok());
  EXPECT_TRUE(wal->Append("5678").IsNoSpace());
  EXPECT_TRUE(wal->Append("9").ok());
  EXPECT_EQ(Read("1.log"), "123456569") << "a full disk takes a part";
  EXPECT_EQ(fault_.faults_hit(), 2u);
}

TEST_P(FaultEnvTest, ThereIsNoFreeSpaceWhileTheDiskIsFull) {
  uint64_t bytes = 0;
  ASSERT_TRUE(env_->GetFreeSpace(path_, &bytes).ok());
  EXPECT_GT(bytes, uint64_t{1} << 30);
  fault_.FailNext(FaultKind::kWrite, ENOSPC, UINT64_MAX);
  ASSERT_TRUE(env_->GetFreeSpace(path_, &bytes).ok());
  EXPECT_EQ(bytes, 0u);
}

TEST_P(FaultEnvTest, AFlippedReadDiffersInOneBitAndTheFileIsWell) {
  auto file = Create("f");
  ASSERT_TRUE(file->Append("some bytes").ok());
  fault_.FailNext(FaultKind::kFlipRead, 0, 1);
  const std::string wrong = Read("f");
  ASSERT_EQ(wrong.size(), 10u);
  int bits = 0;
  for (size_t i = 0; i < wrong.size(); ++i)
    bits += __builtin_popcount(static_cast<uint8_t>(wrong[i] ^ "some bytes"[i]));
  EXPECT_EQ(bits, 1);
  EXPECT_EQ(Read("f"), "some bytes");
  fault_.FailNext(FaultKind::kRead, EIO, 1);
  EXPECT_EQ(Read("f"), "-");
  EXPECT_EQ(Read("f"), "some bytes");
}

INSTANTIATE_TEST_SUITE_P(Bases, FaultEnvTest,
                         ::testing::Values(FaultEnv::Base::kMemory, FaultEnv::Base::kDisk),
                         [](const ::testing::TestParamInfo<FaultEnv::Base>& param) {
                           return param.param == FaultEnv::Base::kMemory ? "Memory" : "Disk";
                         });

}  // namespace
}  // namespace cairn::storage
