#pragma once
// Status and Result<T>: how every fallible function of Cairn answers. Nothing throws. An OK status is
// a null pointer and costs nothing; an error carries a code, a message, and what follows from the code
// (may the caller retry, and whom does the error concern), looked up in one table (status.cc).
// Value types, usable from any thread.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace cairn {

enum class Code : uint8_t {
  kOk,
  kNotFound,         // the key does not exist
  kExists,           // CAS mismatch, or the thing exists already
  kNotStored,        // add/replace/append precondition failed
  kTooBig,           // the value is larger than the configured limit
  kInvalidArgument,  // the request makes no sense
  kDeltaBadValue,    // incr/decr on a non-number
  kNotMyVbucket,     // the vbucket is not active here
  kLocked,           // the item is locked by GETL
  kOutOfRange,       // a number outside of its domain
  kNoMemory,         // over quota, will not pass by itself
  kTmpOom,           // over quota for the moment
  kTmpFail,          // try again later
  kBusy,             // somebody else is doing this
  kNotSupported,     // not in this state, or not at all
  kAccessDenied,     // the connection lacks the right
  kAmbiguous,        // the outcome is unknown (a failed sync)
  kWouldBlock,       // parked; the waiter is notified and the operation repeated
  kCorruption,       // a checksum or structure does not hold
  kNoSpace,          // the disk is full
  kIoError,          // the disk answered an error
  kCancelled,        // shut down or superseded
  kTimeout,          // a deadline passed
  kInternal,         // a bug
};

/// May the same request succeed later?
enum class Retry : uint8_t { kNo, kLater, kAfterChange };
/// Whom does the error concern?
enum class Scope : uint8_t { kRequest, kKey, kVbucket, kNode };

std::string_view CodeName(Code code);
Retry RetryOf(Code code);
Scope ScopeOf(Code code);
/// The number that gRPC has for it (google.rpc.Code, 0 … 16); several codes share one.
int GrpcCodeOf(Code code);
/// The code of that name; nothing for another name.
std::optional<Code> CodeFromName(std::string_view name);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message);
  explicit Status(Code code) : Status(code, std::string()) {}
  Status(const Status& other);
  Status(Status&&) noexcept = default;
  Status& operator=(const Status& other);
  Status& operator=(Status&&) noexcept = default;
  ~Status() = default;

  static Status Ok() { return Status(); }

  bool ok() const { return rep_ == nullptr; }
  Code code() const { return rep_ == nullptr ? Code::kOk : rep_->code; }
  /// Empty for OK.
  std::string_view message() const {
    return rep_ == nullptr ? std::string_view() : std::string_view(rep_->message);
  }
  Retry retry() const { return RetryOf(code()); }
  Scope scope() const { return ScopeOf(code()); }
  /// "NOT_FOUND: message", "OK".
  std::string ToString() const;
  bool operator==(Code c) const { return code() == c; }

 private:
  struct Rep {
    Code code;
    std::string message;
  };
  std::unique_ptr<Rep> rep_;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    CAIRN_CHECK(!status_.ok());
  }
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  Code code() const { return status_.code(); }
  T& value() & {
    CAIRN_CHECK(ok());
    return *value_;
  }
  const T& value() const& {
    CAIRN_CHECK(ok());
    return *value_;
  }
  T&& value() && {
    CAIRN_CHECK(ok());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

#define CAIRN_CONCAT_INNER(a, b) a##b
#define CAIRN_CONCAT(a, b) CAIRN_CONCAT_INNER(a, b)

/// Returns from the calling function when `expr` is an error.
#define CAIRN_RETURN_IF_ERROR(expr)                \
  do {                                             \
    ::cairn::Status cairn_status_ = (expr);        \
    if (!cairn_status_.ok()) return cairn_status_; \
  } while (false)

/// Declares or assigns `lhs` from a Result, or returns its error.
#define CAIRN_ASSIGN_OR_RETURN(lhs, expr) \
  CAIRN_ASSIGN_OR_RETURN_IMPL(CAIRN_CONCAT(cairn_result_, __LINE__), lhs, expr)
#define CAIRN_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return tmp.status();               \
  lhs = std::move(tmp).value()

}  // namespace cairn
