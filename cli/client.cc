#include "cli/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/types.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

using proto::BinaryStatus;
using proto::Opcode;

// An answer larger than that comes from no server that speaks this protocol.
constexpr size_t kReplyBodyMax = kValueSizeMax + (size_t{1} << 20);

void AppendU32(uint32_t value, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift & 0xff));
}

}  // namespace

uint32_t Reply::flags() const {
  if (extras.size() < 4) return 0;
  uint32_t flags = 0;
  for (size_t i = 0; i < 4; ++i) flags = flags << 8 | static_cast<unsigned char>(extras[i]);
  return flags;
}

std::string StatusName(BinaryStatus status) {
  constexpr std::array<std::pair<BinaryStatus, std::string_view>, 21> kNames = {{
      {BinaryStatus::kOk, "SUCCESS"},
      {BinaryStatus::kNotFound, "NOT_FOUND"},
      {BinaryStatus::kExists, "EXISTS"},
      {BinaryStatus::kTooBig, "TOO_BIG"},
      {BinaryStatus::kInvalid, "INVALID"},
      {BinaryStatus::kNotStored, "NOT_STORED"},
      {BinaryStatus::kDeltaBadValue, "DELTA_BAD_VALUE"},
      {BinaryStatus::kNotMyVbucket, "NOT_MY_VBUCKET"},
      {BinaryStatus::kLocked, "LOCKED"},
      {BinaryStatus::kAuthError, "AUTH_ERROR"},
      {BinaryStatus::kAuthContinue, "AUTH_CONTINUE"},
      {BinaryStatus::kRange, "RANGE"},
      {BinaryStatus::kRollback, "ROLLBACK"},
      {BinaryStatus::kAccess, "ACCESS"},
      {BinaryStatus::kUnknownCommand, "UNKNOWN_COMMAND"},
      {BinaryStatus::kNoMemory, "NO_MEMORY"},
      {BinaryStatus::kNotSupported, "NOT_SUPPORTED"},
      {BinaryStatus::kInternal, "INTERNAL"},
      {BinaryStatus::kBusy, "BUSY"},
      {BinaryStatus::kTmpFail, "TEMPORARY_FAILURE"},
      {BinaryStatus::kAmbiguous, "AMBIGUOUS"},
  }};
  for (const auto& [known, name] : kNames) {
    if (known == status) return std::string(name);
  }
  return fmt::format("STATUS_0x{:04x}", static_cast<uint16_t>(status));
}

bool IsTransient(BinaryStatus status) {
  return status == BinaryStatus::kNoMemory || status == BinaryStatus::kTmpFail ||
         status == BinaryStatus::kBusy || status == BinaryStatus::kLocked;
}

Status Refusal(const Reply& reply) {
  Code code = Code::kInternal;
  if (reply.status == BinaryStatus::kNotFound) code = Code::kNotFound;
  if (reply.status == BinaryStatus::kNotSupported) code = Code::kNotSupported;
  if (reply.status == BinaryStatus::kAccess || reply.status == BinaryStatus::kAuthError) {
    code = Code::kAccessDenied;
  }
  if (IsTransient(reply.status)) code = Code::kTmpFail;
  std::string message =
      fmt::format("{} (0x{:02x})", StatusName(reply.status), static_cast<uint16_t>(reply.status));
  if (!reply.value.empty()) message += ": " + EscapeForTerminal(reply.value);
  return Status(code, std::move(message));
}

void AppendRequest(const Request& request, std::string* out) {
  proto::BinaryHeader header;
  header.magic = proto::kMagicRequest;
  header.opcode = request.opcode;
  header.key_size = static_cast<uint16_t>(request.key.size());
  header.extras_size = static_cast<uint8_t>(request.extras.size());
  header.body_size = static_cast<uint32_t>(request.extras.size() + request.key.size() + request.value.size());
  header.opaque = request.opaque;
  header.cas = request.cas;
  std::array<char, proto::kBinaryHeaderSize> bytes{};
  proto::EncodeBinaryHeader(header, bytes.data());
  out->append(bytes.data(), bytes.size());
  out->append(request.extras).append(request.key).append(request.value);
}

std::string SetExtras(uint32_t flags, uint32_t expiry) {
  std::string extras;
  AppendU32(flags, &extras);
  AppendU32(expiry, &extras);
  return extras;
}

std::optional<std::string_view> FindStat(const StatList& stats, std::string_view name) {
  const auto at =
      std::find_if(stats.begin(), stats.end(), [name](const auto& stat) { return stat.first == name; });
  if (at == stats.end()) return std::nullopt;
  return at->second;
}

Result<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options, Clock* clock) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<Channel> channel,
                         Channel::Connect(options.address, clock, options.timeout_ms));
  return std::unique_ptr<Client>(new Client(std::move(channel)));
}

void Client::Send(const Request& request) {
  encoded_.clear();
  AppendRequest(request, &encoded_);
  channel_->Queue(encoded_);
}

Result<Reply> Client::Receive() {
  channel_->Consume(std::exchange(reply_bytes_, 0));
  CAIRN_ASSIGN_OR_RETURN(std::string_view bytes, channel_->Await(proto::kBinaryHeaderSize));
  const proto::BinaryHeader header = proto::DecodeBinaryHeader(bytes.data());
  const size_t before_value = size_t{header.extras_size} + header.key_size;
  if (header.magic != proto::kMagicResponse || header.body_size > kReplyBodyMax ||
      before_value > header.body_size) {
    return Status(Code::kIoError, "this server does not speak memcached's binary protocol");
  }
  const size_t size = proto::kBinaryHeaderSize + header.body_size;
  CAIRN_ASSIGN_OR_RETURN(bytes, channel_->Await(size));
  reply_bytes_ = size;
  const std::string_view body = bytes.substr(proto::kBinaryHeaderSize, header.body_size);
  Reply reply;
  reply.opcode = header.opcode;
  reply.status = static_cast<BinaryStatus>(header.vbucket);
  reply.opaque = header.opaque;
  reply.cas = header.cas;
  reply.extras = body.substr(0, header.extras_size);
  reply.key = body.substr(header.extras_size, header.key_size);
  reply.value = body.substr(before_value);
  return reply;
}

Result<Reply> Client::Call(const Request& request) {
  Send(request);
  return Receive();
}

Result<StatList> Client::Stats(std::string_view group) {
  Send({.opcode = Opcode::kStat, .key = group});
  StatList stats;
  while (true) {
    CAIRN_ASSIGN_OR_RETURN(const Reply reply, Receive());
    if (!reply.ok()) return Refusal(reply);
    if (reply.key.empty()) return stats;
    stats.emplace_back(reply.key, reply.value);
  }
}

}  // namespace cairn::cli
