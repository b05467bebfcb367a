#pragma once
// Channel: one connection to a server, with bytes to send and bytes received. Whatever it does, it takes in
// what arrives while it sends, so a pipeline of any length cannot block both sides; and it gives up when
// nothing moved for the timeout, so nothing hangs. Errors: kIoError when the connection is gone or cannot
// be made, kTimeout when nothing moved (the call may be repeated). Owned and used by one thread.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace cairn::cli {

struct Address {
  std::string host;  // name or number, without brackets
  std::string port;
  std::string unix_path;  // not empty: a Unix socket, and no host
  /// As ParseAddress reads it.
  std::string ToString() const;
};

/// "HOST:PORT", "HOST" (port 11211), "[::1]:PORT", "unix:PATH". INVALID_ARGUMENT for anything else.
Result<Address> ParseAddress(std::string_view text);
/// The same without unix:PATH and with another port for those that name none; "": the port must be there.
Result<Address> ParseTcpAddress(std::string_view text, std::string_view default_port);

class Channel {
 public:
  /// Tries each address of the host. `clock` must outlive the channel.
  static Result<std::unique_ptr<Channel>> Connect(const Address& address, Clock* clock, int64_t timeout_ms);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  void set_timeout_ms(int64_t timeout_ms) { timeout_ms_ = timeout_ms; }

  /// Adds bytes to those that wait to be sent.
  void Queue(std::string_view bytes) { out_.append(bytes); }
  /// Sends all that waits.
  Status Flush();
  /// Sends all that waits and returns at least `bytes` of what was received, without consuming them. The
  /// view is valid until the next call.
  Result<std::string_view> Await(size_t bytes);
  /// The same up to the next newline, which is consumed together with the line but not returned (nor a
  /// carriage return before it). kIoError when the line is longer than `bytes_max`.
  Result<std::string_view> AwaitLine(size_t bytes_max);
  /// Drops `bytes` received bytes; Await has returned that many.
  void Consume(size_t bytes) { in_begin_ += bytes; }

 private:
  Channel(int fd, Clock* clock, int64_t timeout_ms) : fd_(fd), clock_(clock), timeout_ms_(timeout_ms) {}
  Status Step(int64_t* moved_ns);
  Status SendSome(bool* moved);
  Status ReceiveSome(bool* moved);

  int fd_;
  Clock* clock_;
  int64_t timeout_ms_;
  std::string out_;
  size_t out_begin_ = 0;
  std::string in_;
  size_t in_begin_ = 0;
};

}  // namespace cairn::cli
