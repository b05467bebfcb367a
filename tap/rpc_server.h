#pragma once
// RpcServer: a gRPC server as this project runs them (TAP, administration): its own accept loop
// (tap/acceptor.h), limits on everything a stranger may ask for, keepalive in both directions, and mutual TLS
// on every address that other machines can reach. gRPC's own log lines go to ours.
//
// Owner: TapService, the admin service, or a test. The services outlive it.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "tap/acceptor.h"
#include "tap/tls.h"

namespace grpc {
class Service;
class ServerCompletionQueue;
}  // namespace grpc

namespace cairn::tap {

class RpcServer {
 public:
  struct Options {
    std::vector<std::string> addresses;  // numeric; empty: 127.0.0.1, and ::1 where it exists
    uint16_t port = 0;                   // 0: any free one
    TlsFiles tls;
    std::string what = "tap";  // for texts and names: "tap", "admin"
    uint32_t connections_max = 64;
    uint32_t connections_per_address_max = 32;
    uint32_t calls_per_connection_max = 16;
    uint32_t threads_max = 160;                 // of gRPC; of asynchronous services: calls at once
    uint64_t memory_max = uint64_t{256} << 20;  // of gRPC's buffers; above it connections are closed
    uint32_t receive_bytes_max = 4u << 20;      // of one message
    uint32_t handshake_timeout_ms = 10'000;     // TLS and HTTP/2 settings
    uint32_t idle_timeout_ms = 30'000;          // a connection without a call is closed
  };

  /// Binds, then serves. INVALID_ARGUMENT: an address off loopback without TLS, or bad certificates.
  /// `asynchronous`: the services' calls are asked for with calls().
  static Result<std::unique_ptr<RpcServer>> Start(const Options& options,
                                                  const std::vector<grpc::Service*>& services,
                                                  bool asynchronous = false);
  ~RpcServer();  // stops
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  /// No new connections or calls; running calls have `grace_ms` to end, then they are cancelled. On return
  /// none runs. No call may be asked for any more by then. A second call does nothing.
  void Stop(uint32_t grace_ms);

  /// Where asynchronous calls come out; nothing does after Stop. Lives as long as this.
  grpc::ServerCompletionQueue& calls();

  uint16_t port() const;
  /// "127.0.0.1:7070", … as they were bound.
  const std::vector<std::string>& addresses() const;
  Acceptor::Counters counters() const;

 private:
  struct Rep;
  explicit RpcServer(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

/// gRPC's errors go to our log from now on, as warnings and at most ten a second; the rest nowhere. For the
/// whole process; RpcServer and MakeRpcChannel call it.
void RouteRpcLog();

}  // namespace cairn::tap
