// Answers of the binary protocol.

#include <cstring>

#include "proto/binary.h"

namespace cairn::proto {
namespace {

void Store16(uint16_t v, char* p) {
  v = __builtin_bswap16(v);
  std::memcpy(p, &v, sizeof(v));
}
void Store32(uint32_t v, char* p) {
  v = __builtin_bswap32(v);
  std::memcpy(p, &v, sizeof(v));
}
void Store64(uint64_t v, char* p) {
  v = __builtin_bswap64(v);
  std::memcpy(p, &v, sizeof(v));
}

char* Copy(std::string_view bytes, char* p) {
  if (!bytes.empty()) std::memcpy(p, bytes.data(), bytes.size());
  return p + bytes.size();
}

BinaryResponse ResponseTo(const BinaryHeader& request) {
  BinaryResponse response;
  response.opcode = request.opcode;
  response.opaque = request.opaque;
  return response;
}

}  // namespace

void EncodeBinaryHeader(const BinaryHeader& header, char* out) {
  out[0] = static_cast<char>(header.magic);
  out[1] = static_cast<char>(header.opcode);
  if (header.magic == kMagicFramedRequest) {
    out[2] = static_cast<char>(header.framing_size);
    out[3] = static_cast<char>(header.key_size);
  } else {
    Store16(header.key_size, out + 2);
  }
  out[4] = static_cast<char>(header.extras_size);
  out[5] = static_cast<char>(header.datatype);
  Store16(header.vbucket, out + 6);
  Store32(header.body_size, out + 8);
  Store32(header.opaque, out + 12);
  Store64(header.cas, out + 16);
}

void AppendBinaryResponse(const BinaryResponse& response, OutBuffer* out) {
  const size_t body = response.extras.size() + response.key.size() + response.value.size();
  BinaryHeader header;
  header.magic = kMagicResponse;
  header.opcode = response.opcode;
  header.key_size = static_cast<uint16_t>(response.key.size());
  header.extras_size = static_cast<uint8_t>(response.extras.size());
  header.vbucket = static_cast<uint16_t>(response.status);
  header.body_size = static_cast<uint32_t>(body);
  header.opaque = response.opaque;
  header.cas = response.cas;
  char* p = out->Reserve(kBinaryHeaderSize + body);
  EncodeBinaryHeader(header, p);
  Copy(response.value, Copy(response.key, Copy(response.extras, p + kBinaryHeaderSize)));
  out->Commit(kBinaryHeaderSize + body);
}

void AppendBinaryValue(const BinaryHeader& request, uint64_t cas, uint32_t flags, std::string_view key,
                       std::string_view value, OutBuffer* out) {
  char extras[4];
  Store32(flags, extras);
  BinaryResponse response = ResponseTo(request);
  response.cas = cas;
  response.extras = {extras, sizeof(extras)};
  const Opcode loud = LoudForm(request.opcode);
  if (loud == Opcode::kGetK || loud == Opcode::kGatK) response.key = key;
  response.value = value;
  AppendBinaryResponse(response, out);
}

void AppendBinarySuccess(const BinaryHeader& request, uint64_t cas, OutBuffer* out) {
  BinaryResponse response = ResponseTo(request);
  response.cas = cas;
  AppendBinaryResponse(response, out);
}

void AppendBinaryCounter(const BinaryHeader& request, uint64_t cas, uint64_t value, OutBuffer* out) {
  char body[8];
  Store64(value, body);
  BinaryResponse response = ResponseTo(request);
  response.cas = cas;
  response.value = {body, sizeof(body)};
  AppendBinaryResponse(response, out);
}

void AppendBinaryError(const BinaryHeader& request, BinaryStatus status, OutBuffer* out,
                       std::string_view text) {
  BinaryResponse response = ResponseTo(request);
  response.status = status;
  response.value = text.empty() ? BinaryStatusText(status) : text;
  AppendBinaryResponse(response, out);
}

void AppendBinaryStat(const BinaryHeader& request, std::string_view name, std::string_view value,
                      OutBuffer* out) {
  BinaryResponse response = ResponseTo(request);
  response.key = name;
  response.value = value;
  AppendBinaryResponse(response, out);
}

std::string_view BinaryStatusText(BinaryStatus status) {
  switch (status) {
    case BinaryStatus::kOk:
      return "Success";
    case BinaryStatus::kNotFound:
      return "Not found";
    case BinaryStatus::kExists:
      return "Data exists for key.";
    case BinaryStatus::kTooBig:
      return "Too large.";
    case BinaryStatus::kInvalid:
      return "Invalid arguments";
    case BinaryStatus::kNotStored:
      return "Not stored.";
    case BinaryStatus::kDeltaBadValue:
      return "Non-numeric server-side value for incr or decr";
    case BinaryStatus::kNotMyVbucket:
      return "Not my vbucket";
    case BinaryStatus::kLocked:
      return "Locked";
    case BinaryStatus::kAuthError:
      return "Auth failure.";
    case BinaryStatus::kAuthContinue:
      return "Auth continue";
    case BinaryStatus::kRange:
      return "Out of range";
    case BinaryStatus::kRollback:
      return "Rollback";
    case BinaryStatus::kAccess:
      return "Access denied";
    case BinaryStatus::kUnknownCommand:
      return "Unknown command";
    case BinaryStatus::kNoMemory:
      return "Out of memory";
    case BinaryStatus::kNotSupported:
      return "Not supported";
    case BinaryStatus::kInternal:
      return "Internal error";
    case BinaryStatus::kBusy:
      return "Busy";
    case BinaryStatus::kTmpFail:
      return "Temporary failure";
    case BinaryStatus::kInvalidDurability:
      return "Invalid durability level";
    case BinaryStatus::kDurabilityImpossible:
      return "Durability impossible";
    case BinaryStatus::kAmbiguous:
      return "Ambiguous outcome";
  }
  return "Internal error";
}

BinaryStatus BinaryStatusOf(Code code) {
  switch (code) {
    case Code::kOk:
      return BinaryStatus::kOk;
    case Code::kNotFound:
      return BinaryStatus::kNotFound;
    case Code::kExists:
      return BinaryStatus::kExists;
    case Code::kNotStored:
      return BinaryStatus::kNotStored;
    case Code::kTooBig:
      return BinaryStatus::kTooBig;
    case Code::kInvalidArgument:
      return BinaryStatus::kInvalid;
    case Code::kDeltaBadValue:
      return BinaryStatus::kDeltaBadValue;
    case Code::kNotMyVbucket:
      return BinaryStatus::kNotMyVbucket;
    case Code::kLocked:
      return BinaryStatus::kLocked;
    case Code::kOutOfRange:
      return BinaryStatus::kRange;
    case Code::kNoMemory:
      return BinaryStatus::kNoMemory;
    case Code::kBusy:
      return BinaryStatus::kBusy;
    case Code::kNotSupported:
      return BinaryStatus::kNotSupported;
    case Code::kAccessDenied:
      return BinaryStatus::kAccess;
    case Code::kAmbiguous:
      return BinaryStatus::kAmbiguous;
    // Conditions that pass by themselves or with a new connection.
    case Code::kTmpOom:
    case Code::kTmpFail:
    case Code::kWouldBlock:
    case Code::kNoSpace:
    case Code::kCancelled:
    case Code::kTimeout:
      return BinaryStatus::kTmpFail;
    case Code::kCorruption:
    case Code::kIoError:
    case Code::kInternal:
      return BinaryStatus::kInternal;
  }
  return BinaryStatus::kInternal;
}

}  // namespace cairn::proto
