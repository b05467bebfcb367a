#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

namespace cairn {
namespace {

// The table in status.cc follows the order of Code. Names prove that no row is missing or out of place:
// each is there, differs from the others, and belongs to the code beside it here.
TEST(Status, CodeTableIsComplete) {
  const std::pair<Code, std::string_view> expected[] = {
      {Code::kOk, "OK"},
      {Code::kNotFound, "NOT_FOUND"},
      {Code::kExists, "EXISTS"},
      {Code::kNotStored, "NOT_STORED"},
      {Code::kTooBig, "TOO_BIG"},
      {Code::kInvalidArgument, "INVALID_ARGUMENT"},
      {Code::kDeltaBadValue, "DELTA_BAD_VALUE"},
      {Code::kNotMyVbucket, "NOT_MY_VBUCKET"},
      {Code::kLocked, "LOCKED"},
      {Code::kOutOfRange, "OUT_OF_RANGE"},
      {Code::kNoMemory, "NO_MEMORY"},
      {Code::kTmpOom, "TMP_OOM"},
      {Code::kTmpFail, "TMP_FAIL"},
      {Code::kBusy, "BUSY"},
      {Code::kNotSupported, "NOT_SUPPORTED"},
      {Code::kAccessDenied, "ACCESS_DENIED"},
      {Code::kAmbiguous, "AMBIGUOUS"},
      {Code::kWouldBlock, "WOULD_BLOCK"},
      {Code::kCorruption, "CORRUPTION"},
      {Code::kNoSpace, "NO_SPACE"},
      {Code::kIoError, "IO_ERROR"},
      {Code::kCancelled, "CANCELLED"},
      {Code::kTimeout, "TIMEOUT"},
      {Code::kInternal, "INTERNAL"},
  };
  EXPECT_EQ(std::size(expected), static_cast<size_t>(Code::kInternal) + 1);
  std::set<std::string_view> names;
  for (const auto& [code, name] : expected) {
    EXPECT_EQ(CodeName(code), name);
    EXPECT_TRUE(names.insert(CodeName(code)).second) << name;
    EXPECT_EQ(CodeFromName(name), code) << name;
    // Only success is gRPC's OK, and no row was left without a number.
    EXPECT_EQ(GrpcCodeOf(code) == 0, code == Code::kOk) << name;
    EXPECT_LE(GrpcCodeOf(code), 16) << name;
  }
  EXPECT_EQ(CodeFromName("not_found"), std::nullopt);
  EXPECT_EQ(CodeFromName(""), std::nullopt);
}

TEST(Status, GrpcNumbersAreThoseOfTheirMeaning) {
  EXPECT_EQ(GrpcCodeOf(Code::kInvalidArgument), 3);
  EXPECT_EQ(GrpcCodeOf(Code::kTimeout), 4);
  EXPECT_EQ(GrpcCodeOf(Code::kAccessDenied), 7);
  EXPECT_EQ(GrpcCodeOf(Code::kTmpOom), 8);
  EXPECT_EQ(GrpcCodeOf(Code::kNotMyVbucket), 9);
  EXPECT_EQ(GrpcCodeOf(Code::kCorruption), 15);
}

TEST(Status, RetryAndScopeComeFromTheTable) {
  EXPECT_EQ(RetryOf(Code::kTmpOom), Retry::kLater);
  EXPECT_EQ(RetryOf(Code::kTooBig), Retry::kNo);
  EXPECT_EQ(RetryOf(Code::kNotMyVbucket), Retry::kAfterChange);
  EXPECT_EQ(ScopeOf(Code::kNotMyVbucket), Scope::kVbucket);
  EXPECT_EQ(ScopeOf(Code::kLocked), Scope::kKey);
  EXPECT_EQ(ScopeOf(Code::kNoSpace), Scope::kNode);
  const Status status(Code::kTmpFail);
  EXPECT_EQ(status.retry(), Retry::kLater);
  EXPECT_EQ(status.scope(), Scope::kNode);
}

TEST(Status, OkHasNoMessage) {
  EXPECT_TRUE(Status().ok());
  EXPECT_TRUE(Status::Ok().ok());
  EXPECT_TRUE(Status(Code::kOk, "ignored").ok());
  EXPECT_EQ(Status().ToString(), "OK");
  EXPECT_EQ(Status().message(), "");
}

TEST(Status, CopiesAndMoves) {
  const Status error(Code::kIoError, "disk 3");
  Status copy = error;
  EXPECT_EQ(copy.ToString(), "IO_ERROR: disk 3");
  EXPECT_EQ(error.ToString(), "IO_ERROR: disk 3");
  copy = Status();
  EXPECT_TRUE(copy.ok());
  copy = error;
  const Status& alias = copy;
  copy = alias;  // itself
  EXPECT_EQ(copy, Code::kIoError);
  const Status moved = std::move(copy);
  EXPECT_EQ(moved.message(), "disk 3");
  EXPECT_EQ(Status(Code::kBusy).ToString(), "BUSY");
}

Result<int> Half(int n) {
  if (n % 2 != 0) return Status(Code::kInvalidArgument, "odd");
  return n / 2;
}

Result<int> Quarter(int n) {
  CAIRN_ASSIGN_OR_RETURN(const int half, Half(n));
  CAIRN_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Status CheckEven(int n) {
  CAIRN_RETURN_IF_ERROR(Half(n).status());
  return Status::Ok();
}

TEST(Result, ValueOrStatus) {
  EXPECT_EQ(*Half(4), 2);
  EXPECT_TRUE(Half(4).ok());
  EXPECT_EQ(Half(4).code(), Code::kOk);
  EXPECT_EQ(Half(3).code(), Code::kInvalidArgument);
  Result<std::unique_ptr<int>> owned(std::make_unique<int>(5));
  EXPECT_EQ(**owned, 5);
  const std::unique_ptr<int> taken = std::move(owned).value();
  EXPECT_EQ(*taken, 5);
}

TEST(Result, MacrosReturnTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_TRUE(CheckEven(2).ok());
  EXPECT_EQ(CheckEven(1), Code::kInvalidArgument);
}

TEST(ResultDeathTest, MisuseEndsTheProcess) {
  EXPECT_DEATH((void)Half(3).value(), "check failed");
  EXPECT_DEATH((void)Result<int>(Status()), "check failed");
}

}  // namespace
}  // namespace cairn
