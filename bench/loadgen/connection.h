#pragma once
// A non-blocking client connection on loopback with its buffers. Moves bytes, knows no protocol. Owned by
// the runner, used by its thread only; the descriptor is closed with the object.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace cairn::loadgen {

class Connection {
 public:
  /// To 127.0.0.1:port, or to the Unix socket when `unix_path` is not empty.
  static Result<Connection> Open(uint16_t port, const std::string& unix_path);
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&&) = delete;
  ~Connection();

  int fd() const { return fd_; }
  bool closed() const { return fd_ < 0; }
  void Close();

  /// Where to append what Flush shall send.
  std::string* outgoing() { return &out_; }
  /// Sends as much as the socket takes. True when nothing is left over.
  Result<bool> Flush();

  /// Receives what is there, at most one buffer. False when there was nothing; an error when the peer has
  /// closed. Invalidates earlier received() views.
  Result<bool> Receive();
  std::string_view received() const { return {in_.data() + in_begin_, in_end_ - in_begin_}; }
  void Consume(size_t bytes) { in_begin_ += bytes; }

 private:
  explicit Connection(int fd) : fd_(fd), in_(kBufferMin) {}
  static constexpr size_t kBufferMin = 64 * 1024;

  int fd_;
  std::string out_;
  size_t out_begin_ = 0;
  std::vector<char> in_;
  size_t in_begin_ = 0;
  size_t in_end_ = 0;
};

}  // namespace cairn::loadgen
