#pragma once
// Client: memcached's binary protocol over one Channel. Requests may be sent ahead of their answers; the
// opaque tells which answer belongs to which. Owned and used by one thread.
//
// Errors: kIoError and kTimeout from the channel (the connection is of no use any more after kIoError, or
// when what came is no answer); a refusal is a Status made by Refusal.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cli/channel.h"
#include "proto/binary.h"

namespace cairn::cli {

struct Request {
  proto::Opcode opcode{};
  std::string_view extras = {};
  std::string_view key = {};
  std::string_view value = {};
  uint32_t opaque = 0;
  uint64_t cas = 0;
};

/// Views into the channel's input: valid until the next call on the client.
struct Reply {
  proto::Opcode opcode{};
  proto::BinaryStatus status{};
  uint32_t opaque = 0;
  uint64_t cas = 0;
  std::string_view extras;
  std::string_view key;
  std::string_view value;
  bool ok() const { return status == proto::BinaryStatus::kOk; }
  /// Of a value's answer; 0 when there are none.
  uint32_t flags() const;
};

/// "NOT_SUPPORTED"; "STATUS_0x1234" for one that has no name.
std::string StatusName(proto::BinaryStatus status);
/// The error that a reply is: its name, number and text. kNotFound for that status, kTmpFail for those that
/// pass by themselves (see IsTransient), kAccessDenied and kNotSupported as named, else kInternal.
Status Refusal(const Reply& reply);
/// Out of memory, temporary failure, busy, locked: the same request may succeed a moment later.
bool IsTransient(proto::BinaryStatus status);

/// Appends a whole request.
void AppendRequest(const Request& request, std::string* out);
/// 4 bytes of flags and 4 of expiry, the extras of a SET.
std::string SetExtras(uint32_t flags, uint32_t expiry);

/// In the order in which the server sent them.
using StatList = std::vector<std::pair<std::string, std::string>>;
/// The first of that name; nothing when there is none.
std::optional<std::string_view> FindStat(const StatList& stats, std::string_view name);

struct ClientOptions {
  Address address;
  int64_t timeout_ms = 10'000;
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> Connect(const ClientOptions& options, Clock* clock);

  /// Queues a request; it leaves with the next Receive or Flush.
  void Send(const Request& request);
  Status Flush() { return channel_->Flush(); }
  /// The next answer. After kTimeout it may be called again.
  Result<Reply> Receive();
  /// Sends one request and returns its answer, whatever its status. No other answer may be outstanding.
  Result<Reply> Call(const Request& request);

  /// All statistics of a group ("" is the general one).
  Result<StatList> Stats(std::string_view group);

  Channel& channel() { return *channel_; }

 private:
  explicit Client(std::unique_ptr<Channel> channel) : channel_(std::move(channel)) {}

  std::unique_ptr<Channel> channel_;
  std::string encoded_;
  size_t reply_bytes_ = 0;  // of the last reply, to be consumed before the next
};

}  // namespace cairn::cli
