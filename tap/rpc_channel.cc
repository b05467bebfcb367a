#include "tap/rpc_channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <charconv>

#include "tap/rpc_limits.h"
#include "tap/rpc_server.h"

namespace cairn::tap {
namespace {

bool IsHost(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  const bool bracketed = host.front() == '[' && host.back() == ']' && host.size() > 2;
  if (bracketed) host = host.substr(1, host.size() - 2);
  const std::string_view allowed = bracketed
                                       ? "0123456789abcdefABCDEF:.%"
                                       : "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_";
  return host.find_first_not_of(allowed) == std::string_view::npos;
}

grpc::ChannelArguments ArgumentsOf(const RpcChannelOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Channels of one process would else share a connection, and its failure.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  arguments.SetMaxReceiveMessageSize(static_cast<int>(options.receive_bytes_max));
  arguments.SetMaxSendMessageSize(-1);
  return arguments;
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeRpcChannelOver(const RpcChannelOptions& options, UniqueFd socket) {
  RouteRpcLog();
  grpc::ChannelArguments arguments = ArgumentsOf(options);
  // It would else call itself "test.authority".
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, options.address);
  return grpc::CreateCustomInsecureChannelFromFd(options.address, socket.Release(), arguments);
}

std::shared_ptr<grpc::Channel> MakeRpcChannel(const RpcChannelOptions& options) {
  RouteRpcLog();
  const grpc::ChannelArguments arguments = ArgumentsOf(options);
  if (options.tls.certificate.empty()) {
    return grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments);
  }
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = options.tls.ca;
  tls.pem_private_key = options.tls.key;
  tls.pem_cert_chain = options.tls.certificate;
  return grpc::CreateCustomChannel(options.address, grpc::SslCredentials(tls), arguments);
}

Status CheckHostPort(const std::string& address) {
  const Status bad(
      Code::kInvalidArgument,
      "'" + address.substr(0, 300) + "' is not HOST:PORT (an IPv6 address in brackets: [::1]:7070)");
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || !IsHost(std::string_view(address).substr(0, colon))) return bad;
  uint32_t port = 0;
  const char* const end = address.data() + address.size();
  const auto parsed = std::from_chars(address.data() + colon + 1, end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end || port == 0 || port > 65535) return bad;
  return Status::Ok();
}

}  // namespace cairn::tap
