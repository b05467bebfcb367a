#include "base/status.h"

#include <array>

namespace cairn {
namespace {

struct CodeInfo {
  std::string_view name;
  Retry retry;
  Scope scope;
  int grpc;
};

// google.rpc.Code; base knows no gRPC header.
enum GrpcCode : int {
  kGrpcOk = 0,
  kGrpcCancelled = 1,
  kGrpcUnknown = 2,
  kGrpcInvalidArgument = 3,
  kGrpcDeadlineExceeded = 4,
  kGrpcNotFound = 5,
  kGrpcAlreadyExists = 6,
  kGrpcPermissionDenied = 7,
  kGrpcResourceExhausted = 8,
  kGrpcFailedPrecondition = 9,
  kGrpcAborted = 10,
  kGrpcOutOfRange = 11,
  kGrpcInternal = 13,
  kGrpcUnavailable = 14,
  kGrpcDataLoss = 15,
};

// In the order of Code; CodeTableIsComplete in status_test.cc holds the two together.
constexpr std::array<CodeInfo, static_cast<size_t>(Code::kInternal) + 1> kCodes{{
    {"OK", Retry::kNo, Scope::kRequest, kGrpcOk},
    {"NOT_FOUND", Retry::kAfterChange, Scope::kKey, kGrpcNotFound},
    {"EXISTS", Retry::kAfterChange, Scope::kKey, kGrpcAlreadyExists},
    {"NOT_STORED", Retry::kAfterChange, Scope::kKey, kGrpcFailedPrecondition},
    {"TOO_BIG", Retry::kNo, Scope::kRequest, kGrpcInvalidArgument},
    {"INVALID_ARGUMENT", Retry::kNo, Scope::kRequest, kGrpcInvalidArgument},
    {"DELTA_BAD_VALUE", Retry::kNo, Scope::kKey, kGrpcFailedPrecondition},
    {"NOT_MY_VBUCKET", Retry::kAfterChange, Scope::kVbucket, kGrpcFailedPrecondition},
    {"LOCKED", Retry::kLater, Scope::kKey, kGrpcAborted},
    {"OUT_OF_RANGE", Retry::kNo, Scope::kRequest, kGrpcOutOfRange},
    {"NO_MEMORY", Retry::kAfterChange, Scope::kNode, kGrpcResourceExhausted},
    {"TMP_OOM", Retry::kLater, Scope::kNode, kGrpcResourceExhausted},
    {"TMP_FAIL", Retry::kLater, Scope::kNode, kGrpcUnavailable},
    {"BUSY", Retry::kLater, Scope::kNode, kGrpcAborted},
    {"NOT_SUPPORTED", Retry::kAfterChange, Scope::kRequest, kGrpcFailedPrecondition},
    {"ACCESS_DENIED", Retry::kNo, Scope::kRequest, kGrpcPermissionDenied},
    {"AMBIGUOUS", Retry::kLater, Scope::kRequest, kGrpcUnknown},
    {"WOULD_BLOCK", Retry::kLater, Scope::kKey, kGrpcUnavailable},
    {"CORRUPTION", Retry::kNo, Scope::kVbucket, kGrpcDataLoss},
    {"NO_SPACE", Retry::kLater, Scope::kNode, kGrpcResourceExhausted},
    {"IO_ERROR", Retry::kLater, Scope::kNode, kGrpcUnavailable},
    {"CANCELLED", Retry::kNo, Scope::kRequest, kGrpcCancelled},
    {"TIMEOUT", Retry::kLater, Scope::kRequest, kGrpcDeadlineExceeded},
    {"INTERNAL", Retry::kNo, Scope::kNode, kGrpcInternal},
}};

const CodeInfo& InfoOf(Code code) { return kCodes[static_cast<size_t>(code)]; }

}  // namespace

std::string_view CodeName(Code code) { return InfoOf(code).name; }
Retry RetryOf(Code code) { return InfoOf(code).retry; }
Scope ScopeOf(Code code) { return InfoOf(code).scope; }
int GrpcCodeOf(Code code) { return InfoOf(code).grpc; }

std::optional<Code> CodeFromName(std::string_view name) {
  for (size_t i = 0; i < kCodes.size(); ++i) {
    if (kCodes[i].name == name) return static_cast<Code>(i);
  }
  return std::nullopt;
}

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
