// Answers of the text protocol.

#include <cstring>

#include "proto/text.h"

namespace cairn::proto {
namespace {

constexpr size_t kUintDigitsMax = 20;

char* Copy(std::string_view bytes, char* p) {
  if (!bytes.empty()) std::memcpy(p, bytes.data(), bytes.size());
  return p + bytes.size();
}

void AppendValue(std::string_view key, uint32_t flags, std::string_view value, const uint64_t* cas,
                 OutBuffer* out) {
  constexpr size_t kFrameMax = sizeof("VALUE    \r\n\r\n") + 3 * kUintDigitsMax;
  char* const begin = out->Reserve(kFrameMax + key.size() + value.size());
  char* p = Copy(key, Copy("VALUE ", begin));
  *p++ = ' ';
  p += FormatUint(flags, p);
  *p++ = ' ';
  p += FormatUint(value.size(), p);
  if (cas != nullptr) {
    *p++ = ' ';
    p += FormatUint(*cas, p);
  }
  p = Copy("\r\n", Copy(value, Copy("\r\n", p)));
  out->Commit(static_cast<size_t>(p - begin));
}

}  // namespace

void AppendTextValue(std::string_view key, uint32_t flags, std::string_view value, OutBuffer* out) {
  AppendValue(key, flags, value, nullptr, out);
}

void AppendTextValueCas(std::string_view key, uint32_t flags, std::string_view value, uint64_t cas,
                        OutBuffer* out) {
  AppendValue(key, flags, value, &cas, out);
}

void AppendTextStat(std::string_view name, std::string_view value, OutBuffer* out) {
  out->Append("STAT ");
  out->Append(name);
  out->Append(' ');
  out->Append(value);
  out->Append("\r\n");
}

void AppendTextNumber(uint64_t number, OutBuffer* out) {
  out->AppendUint(number);
  out->Append("\r\n");
}

std::string_view TextLineOf(Code code) {
  switch (code) {
    case Code::kOk:
      return line::kOk;
    case Code::kNotFound:
      return line::kNotFound;
    case Code::kExists:
      return line::kExists;
    case Code::kNotStored:
      return line::kNotStored;
    case Code::kTooBig:
      return line::kTooLarge;
    case Code::kInvalidArgument:
      return line::kBadLine;
    case Code::kDeltaBadValue:
      return line::kNonNumeric;
    case Code::kNoMemory:
    case Code::kTmpOom:
      return line::kOutOfMemory;
    case Code::kNotMyVbucket:
      return "SERVER_ERROR not my vbucket\r\n";
    case Code::kLocked:
      return "SERVER_ERROR locked\r\n";
    case Code::kOutOfRange:
      return "CLIENT_ERROR out of range\r\n";
    case Code::kBusy:
      return "SERVER_ERROR busy\r\n";
    case Code::kNotSupported:
      return "SERVER_ERROR not supported\r\n";
    case Code::kAccessDenied:
      return "CLIENT_ERROR access denied\r\n";
    case Code::kAmbiguous:
      return "SERVER_ERROR ambiguous outcome\r\n";
    case Code::kNoSpace:
      return "SERVER_ERROR no space left on disk\r\n";
    case Code::kTimeout:
      return "SERVER_ERROR timeout\r\n";
    case Code::kTmpFail:
    case Code::kWouldBlock:
    case Code::kCancelled:
      return "SERVER_ERROR temporary failure\r\n";
    case Code::kCorruption:
    case Code::kIoError:
    case Code::kInternal:
      return "SERVER_ERROR internal error\r\n";
  }
  return "SERVER_ERROR internal error\r\n";
}

}  // namespace cairn::proto
