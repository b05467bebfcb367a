#pragma once
// The TCP connection of a consumer without TLS, below gRPC: made here, so that its small writes can be held.
//
// gRPC answers every message that a reader waits for with a WINDOW_UPDATE of its own (chttp2's flow control
// does so whenever the stream's window is below where it began). Under a stream of small messages that is a
// packet and two awakenings at the source for each, for nothing: the window is far from used up. Held back,
// they go with the next message of ours.

#include <atomic>
#include <cstddef>
#include <string>

#include "base/file.h"
#include "base/mutex.h"
#include "base/status.h"

namespace cairn::tap {

/// Connects to ADDRESS:PORT, [IPV6]:PORT or localhost:PORT; the result does not block. NOT_SUPPORTED: a name
/// that a name server would have to be asked for; IO_ERROR: nobody there, or not within `timeout_ms`;
/// CANCELLED: `cancelled` became true, which is looked at every 20 ms. Any thread.
Result<UniqueFd> ConnectTcp(const std::string& address, int timeout_ms, const std::atomic<bool>& cancelled);

/// Whether the small writes of a connection wait (TCP_CORK): while many small messages come in between two of
/// ours, until Written. The kernel sends them after 200 ms at the latest. Any thread.
class HeldWrites {
 public:
  HeldWrites() = default;
  HeldWrites(const HeldWrites&) = delete;
  HeldWrites& operator=(const HeldWrites&) = delete;

  /// Of that connection, through a descriptor of its own, which keeps it from being closed: call Release when
  /// it ends. Without this call, and where it fails, nothing is ever held.
  void Attach(const UniqueFd& socket);
  /// A message of so many bytes was read.
  void Received(size_t bytes);
  /// A message of so many bytes will be written. A large one is not held meanwhile: its end may have to wait
  /// for what the other side answers to its beginning.
  void Writing(size_t bytes);
  /// A message was written: it and all that was held goes out.
  void Written();
  /// Nothing is held any more. A second call does nothing.
  void Release();

 private:
  void Set(bool held) CAIRN_REQUIRES(mutex_);

  Mutex mutex_;
  UniqueFd socket_ CAIRN_GUARDED_BY(mutex_);
  bool held_ CAIRN_GUARDED_BY(mutex_) = false;
  size_t small_in_a_row_ CAIRN_GUARDED_BY(mutex_) = 0;
  size_t small_since_written_ CAIRN_GUARDED_BY(mutex_) = 0;
  size_t unannounced_bytes_ CAIRN_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::tap
