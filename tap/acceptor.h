#pragma once
// Acceptor: the listening sockets of a gRPC server of ours, and the thread that accepts on them. gRPC's own
// listener stops for good after one accept without a free descriptor; this one takes the client with a spare
// descriptor, closes it, and goes on. It also limits the open connections, in all and per address.
//
// A connection counts for as long as its socket is open, whoever owns it: the descriptor is given away, and
// the kernel's cookie of the socket tells later whether that descriptor still is this connection.
//
// Owner: RpcServer, or a test; its methods are for the owner's thread, the counters for any.

#include <netinet/in.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace cairn::tap {

class Acceptor {
 public:
  struct Options {
    std::vector<std::string> addresses;  // numeric; empty: 127.0.0.1, and ::1 where it exists
    uint16_t port = 0;                   // 0: any free one, the same for all addresses
    uint32_t connections_max = 64;
    uint32_t connections_per_address_max = 32;
  };
  struct Counters {
    uint64_t accepted = 0, refused = 0, out_of_descriptors = 0, errors = 0;
    uint32_t open = 0;  // as of the last accept
  };
  /// Receives a connection (non-blocking, without Nagle's delay) on the accepting thread.
  using OnAccept = std::function<void(int listener_fd, UniqueFd fd)>;

  /// Binds every address and listens. EXISTS when the port is taken; an error names the address.
  static Result<std::unique_ptr<Acceptor>> Bind(const Options& options);
  ~Acceptor();  // stops
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// Begins to accept. Once.
  void Start(OnAccept on_accept);
  /// Closes the sockets and ends the thread; on return nothing is given away any more.
  void Stop();

  uint16_t port() const { return port_; }
  /// "127.0.0.1:7070", "[::1]:7070", as they were bound.
  const std::vector<std::string>& addresses() const { return addresses_; }
  Counters counters() const;

 private:
  struct Connection {
    int fd = -1;  // not ours any more
    uint64_t cookie = 0;
    in6_addr peer{};  // IPv4 mapped
  };

  explicit Acceptor(const Options& options);
  Status BindAll();
  void Run();
  void AcceptSome(int listener);
  bool AcceptOne(int listener);
  bool TurnAwayWithSpare(int listener);
  void Take(int listener, UniqueFd fd, const in6_addr& peer);
  void ForgetClosed();
  void Pause();

  const Options options_;
  OnAccept on_accept_;
  std::vector<UniqueFd> listeners_;
  std::vector<std::string> addresses_;
  uint16_t port_ = 0;
  UniqueFd stop_fd_;                     // readable when the thread shall end
  UniqueFd spare_fd_;                    // accepting thread
  std::vector<Connection> connections_;  // accepting thread
  std::thread thread_;
  std::atomic<uint64_t> accepted_{0}, refused_{0}, out_of_descriptors_{0}, errors_{0};
  std::atomic<uint32_t> open_{0};
};

}  // namespace cairn::tap
