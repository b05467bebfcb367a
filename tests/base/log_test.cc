#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "base/file.h"
#include "tests/base/temp_dir.h"

namespace cairn {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

class LogTest : public testing::Test {
 protected:
  void TearDown() override { ASSERT_TRUE(InitLog({}).ok()); }
  TempDir dir_;
};

TEST_F(LogTest, WritesLinesToAPrivateFile) {
  const std::string path = dir_.File("log");
  ASSERT_TRUE(InitLog({.level = LogLevel::kInfo, .file = path}).ok());
  CAIRN_LOG(kInfo, "vbucket {}: {}", 7, "ready");
  CAIRN_LOG(kDebug, "must not appear");
  CAIRN_LOG(kError, "bad");
  FlushLog();
  const auto text = ReadFile(path);
  ASSERT_TRUE(text.ok());
  EXPECT_THAT(*text, MatchesRegex("[-0-9]+T[0-9:.]+[-+][0-9:]+ I [0-9]+ vbucket 7: ready "
                                  "\\[log_test.cc:[0-9]+\\]\n.* E [0-9]+ bad .*\n"));
  EXPECT_THAT(*text, Not(HasSubstr("must not appear")));
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST_F(LogTest, WarningsAreNotLeftInABuffer) {
  const std::string path = dir_.File("log");
  ASSERT_TRUE(InitLog({.file = path}).ok());
  CAIRN_LOG(kWarn, "careful");
  EXPECT_THAT(*ReadFile(path), HasSubstr("careful"));  // without FlushLog
}

TEST_F(LogTest, ArgumentsAreNotEvaluatedBelowTheLevel) {
  SetLogLevel(LogLevel::kError);
  int evaluated = 0;
  CAIRN_LOG(kWarn, "{}", ++evaluated);
  EXPECT_EQ(evaluated, 0);
  SetLogLevel(LogLevel::kOff);
  CAIRN_LOG(kError, "{}", ++evaluated);
  EXPECT_EQ(evaluated, 0);
  EXPECT_FALSE(LogEnabled(LogLevel::kOff));
}

TEST_F(LogTest, StandardErrorByDefault) {
  ASSERT_TRUE(InitLog({}).ok());
  testing::internal::CaptureStderr();
  CAIRN_LOG(kWarn, "hello {}", 1);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("hello 1"));
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsAnErrorAndChangesNothing) {
  const std::string path = dir_.File("log");
  ASSERT_TRUE(InitLog({.file = path}).ok());
  EXPECT_EQ(InitLog({.file = dir_.File("missing/log")}).code(), Code::kNotFound);
  CAIRN_LOG(kWarn, "still here");
  EXPECT_THAT(*ReadFile(path), HasSubstr("still here"));
}

TEST_F(LogTest, LevelsByName) {
  for (const auto level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError, LogLevel::kOff}) {
    const auto parsed = ParseLogLevel(LogLevelName(level));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, level);
  }
  EXPECT_EQ(ParseLogLevel("loud").code(), Code::kInvalidArgument);
}

TEST(EscapeKey, MakesBytesPrintable) {
  EXPECT_EQ(EscapeKey("user:1"), "user:1");
  EXPECT_EQ(EscapeKey("a\nb\\c\x7f"), "a\\x0ab\\\\c\\x7f");
  EXPECT_EQ(EscapeKey(std::string_view("\0\x1b[31m\xff", 7)), "\\x00\\x1b[31m\\xff");
  EXPECT_EQ(EscapeKey(""), "");
}

TEST(EscapeKey, IsBounded) {
  EXPECT_EQ(EscapeKey("abcdef", 6), "abcdef");
  EXPECT_EQ(EscapeKey("abcdef", 3), "abc…(6 bytes)");
  EXPECT_LT(EscapeKey(std::string(1'000'000, '\n')).size(), 1'100U);
}

}  // namespace
}  // namespace cairn
