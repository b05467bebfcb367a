#include "server/admin_service.h"

#include <utility>

#include "server/admin_calls.h"
#include "tap/rpc_server.h"

namespace cairn::server {
namespace {

// What calls that change something may still take; what only waits ends at once.
constexpr uint32_t kStopGraceMs = 5'000;
constexpr uint32_t kReceiveBytesMax = 1u << 20;  // a list of every vbucket is a third of it

}  // namespace

struct AdminService::Rep {
  Rep(const AdminOptions& options, const AdminDeps& deps) : calls(options, deps) {}

  AdminCalls calls;
  std::unique_ptr<tap::RpcServer> server;  // last: it uses the calls
};

AdminService::AdminService(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
AdminService::~AdminService() { Stop(); }

Result<std::unique_ptr<AdminService>> AdminService::Start(const AdminOptions& options,
                                                          const AdminDeps& deps) {
  auto rep = std::make_unique<Rep>(options, deps);
  tap::RpcServer::Options server;
  server.addresses = options.listen;
  server.port = options.port;
  server.tls = options.tls;
  server.what = "admin";
  server.receive_bytes_max = kReceiveBytesMax;
  CAIRN_ASSIGN_OR_RETURN(rep->server, tap::RpcServer::Start(server, {&rep->calls}));
  return std::unique_ptr<AdminService>(new AdminService(std::move(rep)));
}

void AdminService::Stop() {
  rep_->calls.BeginStop();
  rep_->server->Stop(kStopGraceMs);
}

uint16_t AdminService::port() const { return rep_->server->port(); }
const std::vector<std::string>& AdminService::addresses() const { return rep_->server->addresses(); }

}  // namespace cairn::server
