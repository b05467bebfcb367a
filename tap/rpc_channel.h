#pragma once
// How this project's clients reach a gRPC server of ours: one connection of their own, with the keepalive,
// limits and mutual TLS of tap/rpc_server.h, and no proxy from the environment in between. Any thread.

#include <cstdint>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "tap/tls.h"

namespace grpc {
class Channel;
}

namespace cairn::tap {

struct RpcChannelOptions {
  std::string address;  // HOST:PORT, [IPV6]:PORT
  TlsMaterial tls;      // empty: none
  uint32_t receive_bytes_max = 4u << 20;
};

/// Does not connect yet.
std::shared_ptr<grpc::Channel> MakeRpcChannel(const RpcChannelOptions& options);
/// Over a connection that exists and does not block; without TLS. It is not made anew when it ends.
std::shared_ptr<grpc::Channel> MakeRpcChannelOver(const RpcChannelOptions& options, UniqueFd socket);

/// INVALID_ARGUMENT when it is not HOST:PORT with a port from 1 to 65,535 (an IPv6 address in brackets).
Status CheckHostPort(const std::string& address);

}  // namespace cairn::tap
