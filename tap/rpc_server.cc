#include "tap/rpc_server.h"

#include <grpc/support/log.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <chrono>
#include <mutex>

#include "base/log.h"
#include "tap/rpc_limits.h"

namespace cairn::tap {
namespace {

// Strangers who connect and talk nonsense make gRPC log an error each.
constexpr uint32_t kLogLinesPerSecondMax = 10;

bool MayLog() {
  static std::atomic<int64_t> second{0};
  static std::atomic<uint32_t> lines{0};
  const int64_t now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count();
  if (second.exchange(now, std::memory_order_relaxed) != now) lines.store(0, std::memory_order_relaxed);
  return lines.fetch_add(1, std::memory_order_relaxed) < kLogLinesPerSecondMax;
}

void WriteRpcLog(gpr_log_func_args* line) {
  if (line->severity == GPR_LOG_SEVERITY_ERROR && MayLog()) {
    CAIRN_LOG(kWarn, "grpc: {}", EscapeKey(line->message, 500));
  }
}

std::shared_ptr<grpc::ServerCredentials> MakeCredentials(const TlsMaterial& tls) {
  if (tls.certificate.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = tls.ca;
  options.pem_key_cert_pairs.push_back({tls.key, tls.certificate});
  return grpc::SslServerCredentials(options);
}

void SetLimits(const RpcServer::Options& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.receive_bytes_max));
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             static_cast<int>(options.calls_per_connection_max));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             static_cast<int>(options.handshake_timeout_ms));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, static_cast<int>(options.idle_timeout_ms));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Clients may ping as often as they are told to, and a stalled network may bunch their pings.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveTimeMs / 2);
  grpc::ResourceQuota quota(options.what);
  quota.Resize(options.memory_max);
  quota.SetMaxThreads(static_cast<int>(options.threads_max));
  builder.SetResourceQuota(quota);
}

}  // namespace

void RouteRpcLog() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    gpr_set_log_function(&WriteRpcLog);
  });
}

struct RpcServer::Rep {
  std::unique_ptr<Acceptor> acceptor;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> door;  // into gRPC
  std::unique_ptr<grpc::ServerCompletionQueue> calls;
  std::unique_ptr<grpc::Server> server;
  bool stopped = false;
};

Result<std::unique_ptr<RpcServer>> RpcServer::Start(const Options& options,
                                                    const std::vector<grpc::Service*>& services,
                                                    bool asynchronous) {
  RouteRpcLog();
  CAIRN_RETURN_IF_ERROR(CheckExposure(options.addresses, options.tls, options.what + " address"));
  CAIRN_ASSIGN_OR_RETURN(const TlsMaterial tls, LoadTls(options.tls));
  auto rep = std::make_unique<Rep>();
  Acceptor::Options accept;
  accept.addresses = options.addresses;
  accept.port = options.port;
  accept.connections_max = options.connections_max;
  accept.connections_per_address_max = options.connections_per_address_max;
  CAIRN_ASSIGN_OR_RETURN(rep->acceptor, Acceptor::Bind(accept));

  grpc::ServerBuilder builder;
  SetLimits(options, builder);
  for (grpc::Service* const service : services) builder.RegisterService(service);
  rep->door = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, MakeCredentials(tls));
  if (asynchronous) rep->calls = builder.AddCompletionQueue();
  rep->server = builder.BuildAndStart();
  if (rep->server == nullptr) return Status(Code::kInternal, options.what + ": gRPC does not start");
  rep->acceptor->Start([door = rep->door.get()](int listener_fd, UniqueFd fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = listener_fd;
    connection.fd = fd.Release();
    door->HandleNewConnection(&connection);
  });
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(rep)));
}

RpcServer::RpcServer(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

RpcServer::~RpcServer() { Stop(0); }

void RpcServer::Stop(uint32_t grace_ms) {
  if (rep_->stopped) return;
  rep_->stopped = true;
  rep_->acceptor->Stop();
  rep_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(grace_ms));
  rep_->server->Wait();
  if (rep_->calls != nullptr) rep_->calls->Shutdown();
}

grpc::ServerCompletionQueue& RpcServer::calls() { return *rep_->calls; }

uint16_t RpcServer::port() const { return rep_->acceptor->port(); }
const std::vector<std::string>& RpcServer::addresses() const { return rep_->acceptor->addresses(); }
Acceptor::Counters RpcServer::counters() const { return rep_->acceptor->counters(); }

}  // namespace cairn::tap
