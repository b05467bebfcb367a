#pragma once
// Listener: one listening socket. It takes connections on its loop's thread and gives them away. Nothing
// that goes wrong with an accept stops it: without a free descriptor it takes the client with a spare one,
// only to close it, and pauses for a moment when even that fails.
//
// Owner: Server; on the thread of the loop it was made for.

#include <event2/event.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"
#include "server/loop.h"
#include "server/server_stats.h"

namespace cairn::server {

/// A socket that is bound and listens. `name` is how people write it: "127.0.0.1:11211", "[::1]:11211",
/// or a path.
struct BoundSocket {
  UniqueFd fd;
  std::string name;
  uint16_t port = 0;      // TCP
  std::string unix_path;  // to be unlinked at the end, if it is still the same file
  uint64_t unix_inode = 0;
};

/// `address` is numeric. EXISTS when the port is taken; NOT_SUPPORTED when the machine does not have this
/// address (or any of its family).
Result<BoundSocket> BindTcp(const std::string& address, uint16_t port, uint32_t backlog);
/// Replaces a socket that nobody listens on any more; EXISTS when somebody does, or when something that is
/// no socket has that name.
Result<BoundSocket> BindUnix(const std::string& path, uint32_t mode, uint32_t backlog);

class Listener {
 public:
  /// Receives a connection; called on the loop's thread.
  using OnAccept = std::function<void(UniqueFd)>;

  struct Options {
    uint32_t connections_max = 0;
  };

  Listener(event_base* base, BoundSocket socket, ServerStats& stats, Options options, OnAccept on_accept);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  const BoundSocket& socket() const { return socket_; }
  /// Closes the socket: new clients are refused by the kernel.
  void Close();

 private:
  static constexpr int kAcceptsPerTurn = 64;
  static constexpr int kPauseMs = 50;

  void OnReadable();
  void OnPauseOver();
  /// True: another client may be waiting.
  bool AcceptOne();
  bool TurnAwayWithSpare();
  void Pause();

  BoundSocket socket_;
  ServerStats& stats_;
  const Options options_;
  const OnAccept on_accept_;
  UniqueFd spare_fd_;
  EventPtr accept_event_;
  EventPtr pause_event_;
};

}  // namespace cairn::server
