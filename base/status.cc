#include "base/status.h"

#include <array>

namespace cairn {
namespace {

struct CodeInfo {
  std::string_view name;
  Retry retry;
  Scope scope;
};

// In the order of Code; CodeTableIsComplete in status_test.cc holds the two together.
constexpr std::array<CodeInfo, static_cast<size_t>(Code::kInternal) + 1> kCodes{{
    {"OK", Retry::kNo, Scope::kRequest},
    {"NOT_FOUND", Retry::kAfterChange, Scope::kKey},
    {"EXISTS", Retry::kAfterChange, Scope::kKey},
    {"NOT_STORED", Retry::kAfterChange, Scope::kKey},
    {"TOO_BIG", Retry::kNo, Scope::kRequest},
    {"INVALID_ARGUMENT", Retry::kNo, Scope::kRequest},
    {"DELTA_BAD_VALUE", Retry::kNo, Scope::kKey},
    {"NOT_MY_VBUCKET", Retry::kAfterChange, Scope::kVbucket},
    {"LOCKED", Retry::kLater, Scope::kKey},
    {"OUT_OF_RANGE", Retry::kNo, Scope::kRequest},
    {"NO_MEMORY", Retry::kAfterChange, Scope::kNode},
    {"TMP_OOM", Retry::kLater, Scope::kNode},
    {"TMP_FAIL", Retry::kLater, Scope::kNode},
    {"BUSY", Retry::kLater, Scope::kNode},
    {"NOT_SUPPORTED", Retry::kAfterChange, Scope::kRequest},
    {"ACCESS_DENIED", Retry::kNo, Scope::kRequest},
    {"AMBIGUOUS", Retry::kLater, Scope::kRequest},
    {"WOULD_BLOCK", Retry::kLater, Scope::kKey},
    {"CORRUPTION", Retry::kNo, Scope::kVbucket},
    {"NO_SPACE", Retry::kLater, Scope::kNode},
    {"IO_ERROR", Retry::kLater, Scope::kNode},
    {"CANCELLED", Retry::kNo, Scope::kRequest},
    {"TIMEOUT", Retry::kLater, Scope::kRequest},
    {"INTERNAL", Retry::kNo, Scope::kNode},
}};

const CodeInfo& InfoOf(Code code) { return kCodes[static_cast<size_t>(code)]; }

}  // namespace

std::string_view CodeName(Code code) { return InfoOf(code).name; }
Retry RetryOf(Code code) { return InfoOf(code).retry; }
Scope ScopeOf(Code code) { return InfoOf(code).scope; }

Status::Status(Code code, std::string message) {
  if (code != Code::kOk) rep_ = std::make_unique<Rep>(Rep{code, std::move(message)});
}

Status::Status(const Status& other)
    : rep_(other.rep_ == nullptr ? nullptr : std::make_unique<Rep>(*other.rep_)) {}

Status& Status::operator=(const Status& other) {
  if (this != &other) rep_ = other.rep_ == nullptr ? nullptr : std::make_unique<Rep>(*other.rep_);
  return *this;
}

std::string Status::ToString() const {
  std::string text(CodeName(code()));
  if (!message().empty()) {
    text += ": ";
    text += message();
  }
  return text;
}

}  // namespace cairn
