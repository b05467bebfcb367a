#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "tests/base/temp_dir.h"

namespace cairn {
namespace {

using testing::HasSubstr;

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

TEST(File, WritesAndReadsAnyBytes) {
  const TempDir dir;
  std::string bytes(200'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
  ASSERT_TRUE(WriteFileAtomic(dir.File("f"), bytes).ok());
  EXPECT_EQ(*ReadFile(dir.File("f")), bytes);
  EXPECT_EQ(ModeOf(dir.File("f")), 0600U);
  ASSERT_TRUE(WriteFileAtomic(dir.File("f"), "").ok());
  EXPECT_EQ(*ReadFile(dir.File("f")), "");
  EXPECT_NE(access(dir.File("f.tmp").c_str(), F_OK), 0) << "the temporary file is gone";
}

TEST(File, ReadIsBounded) {
  const TempDir dir;
  ASSERT_TRUE(WriteFileAtomic(dir.File("f"), std::string(100, 'x')).ok());
  EXPECT_EQ(ReadFile(dir.File("f"), 100)->size(), 100U);
  EXPECT_EQ(ReadFile(dir.File("f"), 99).code(), Code::kTooBig);
  EXPECT_EQ(ReadFile("/dev/zero", 1'000'000).code(), Code::kTooBig);
}

TEST(File, ErrorsNameTheFileAndTheReason) {
  const TempDir dir;
  const auto missing = ReadFile(dir.File("missing"));
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_THAT(missing.status().ToString(), HasSubstr("missing: No such file"));
  EXPECT_EQ(ReadFile(dir.path()).code(), Code::kIoError);  // a directory
  EXPECT_EQ(WriteFileAtomic(dir.File("no/f"), "x").code(), Code::kNotFound);
}

TEST(File, AFailedWriteLeavesTheOldFile) {
  const TempDir dir;
  ASSERT_TRUE(WriteFileAtomic(dir.File("f"), "old").ok());
  // A limit on file size stands in for a full disk.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4'096, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = WriteFileAtomic(dir.File("f"), std::string(100'000, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(*ReadFile(dir.File("f")), "old");
  EXPECT_NE(access(dir.File("f.tmp").c_str(), F_OK), 0);
}

TEST(File, RenameOntoADirectoryFailsCleanly) {
  const TempDir dir;
  ASSERT_TRUE(MakeDirs(dir.File("d/inside")).ok());
  EXPECT_FALSE(WriteFileAtomic(dir.File("d"), "x").ok());
  EXPECT_NE(access(dir.File("d.tmp").c_str(), F_OK), 0);
}

TEST(MakeDirs, MakesPrivateParentsAndIsIdempotent) {
  const TempDir dir;
  ASSERT_TRUE(MakeDirs(dir.File("a/b//c/")).ok());
  EXPECT_EQ(ModeOf(dir.File("a")), 0700U);
  EXPECT_EQ(ModeOf(dir.File("a/b/c")), 0700U);
  EXPECT_TRUE(MakeDirs(dir.File("a/b/c")).ok());
  EXPECT_TRUE(MakeDirs("/").ok());
}

TEST(MakeDirs, RefusesWhatIsNoDirectory) {
  const TempDir dir;
  ASSERT_TRUE(WriteFileAtomic(dir.File("f"), "x").ok());
  EXPECT_EQ(MakeDirs(dir.File("f")).code(), Code::kNotSupported);
  EXPECT_EQ(MakeDirs(dir.File("f/g")).code(), Code::kNotSupported);
  EXPECT_EQ(MakeDirs("").code(), Code::kInvalidArgument);
}

TEST(ErrnoStatus, MapsWhatCallersTellApart) {
  EXPECT_EQ(ErrnoStatus(ENOENT, "x").code(), Code::kNotFound);
  EXPECT_EQ(ErrnoStatus(EEXIST, "x").code(), Code::kExists);
  EXPECT_EQ(ErrnoStatus(EACCES, "x").code(), Code::kAccessDenied);
  EXPECT_EQ(ErrnoStatus(ENOSPC, "x").code(), Code::kNoSpace);
  EXPECT_EQ(ErrnoStatus(EDQUOT, "x").code(), Code::kNoSpace);
  EXPECT_EQ(ErrnoStatus(EINVAL, "x").code(), Code::kInvalidArgument);
  EXPECT_EQ(ErrnoStatus(EIO, "sync log").ToString(), "IO_ERROR: sync log: Input/output error");
}

TEST(UniqueFd, ClosesOnce) {
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  UniqueFd a(fd);
  UniqueFd b(std::move(a));
  EXPECT_FALSE(a.valid());  // NOLINT(bugprone-use-after-move): what a move leaves is promised
  EXPECT_EQ(b.get(), fd);
  EXPECT_NE(fcntl(fd, F_GETFD), -1);
  b.Reset();
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
  b.Reset();
}

}  // namespace
}  // namespace cairn
