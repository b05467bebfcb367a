#include "server/server.h"

#include <algorithm>

#include "base/log.h"

namespace cairn::server {

Result<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, engine::Engine& engine,
                                              Clock& clock, StatsReport::Groups groups) {
  std::unique_ptr<Server> server(new Server(options, engine, clock, std::move(groups)));
  CAIRN_ASSIGN_OR_RETURN(std::vector<BoundSocket> sockets, server->BindAll());
  CAIRN_RETURN_IF_ERROR(server->MakeLoops());
  for (BoundSocket& socket : sockets) server->AddListener(std::move(socket));
  for (const std::unique_ptr<Loop>& loop : server->loops_) loop->Start();
  return server;
}

Server::Server(const ServerOptions& options, engine::Engine& engine, Clock& clock, StatsReport::Groups groups)
    : options_(options),
      engine_(engine),
      clock_(clock),
      report_(engine, stats_, options_, clock, std::move(groups)) {}

Server::~Server() { Stop(); }

Result<std::vector<BoundSocket>> Server::BindAll() {
  std::vector<BoundSocket> sockets;
  const bool tcp = options_.port != 0 || options_.ephemeral_port;
  const bool by_default = options_.listen.empty();
  std::vector<std::string> addresses = options_.listen;
  if (by_default) addresses = {"127.0.0.1", "::1"};
  if (!tcp) addresses.clear();
  for (const std::string& address : addresses) {
    Result<BoundSocket> bound = BindTcp(address, options_.port, options_.backlog);
    // Many machines have no IPv6; asked for by name, its absence is an error.
    if (!bound.ok() && by_default && bound.code() == Code::kNotSupported) continue;
    if (!bound.ok()) return bound.status();
    sockets.push_back(std::move(bound).value());
  }
  if (tcp && sockets.empty()) return Status(Code::kNotSupported, "this machine has no loopback address");
  if (!options_.unix_socket.empty()) {
    CAIRN_ASSIGN_OR_RETURN(BoundSocket bound,
                           BindUnix(options_.unix_socket, options_.unix_socket_mode, options_.backlog));
    sockets.push_back(std::move(bound));
  }
  return sockets;
}

Status Server::MakeLoops() {
  // What the engine does not know from its own options; from here on it is changed there.
  engine::DurabilitySettings durability = engine_.durability_settings();
  durability.timeout_ms = options_.durability_timeout_ms;
  CAIRN_RETURN_IF_ERROR(engine_.SetDurability(durability));
  const LoopDeps deps{engine_, clock_, stats_, report_, options_};
  for (uint32_t i = 0; i < std::max(options_.threads, 1U); ++i) {
    CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<Loop> loop, Loop::Make(i, deps));
    loops_.push_back(std::move(loop));
  }
  loops_.front()->set_on_stop_accepting([this] { CloseListeners(); });
  return Status::Ok();
}

void Server::AddListener(BoundSocket socket) {
  addresses_.push_back(socket.name);
  if (port_ == 0) port_ = socket.port;
  listeners_.push_back(std::make_unique<Listener>(loops_.front()->base(), std::move(socket), stats_,
                                                  Listener::Options{options_.connections_max},
                                                  [this](UniqueFd fd) { GiveToNextLoop(std::move(fd)); }));
}

void Server::GiveToNextLoop(UniqueFd fd) {
  const size_t index = next_loop_;
  next_loop_ = (next_loop_ + 1) % loops_.size();
  if (index == 0) return loops_.front()->Adopt(std::move(fd));
  LoopMessage message;
  message.kind = LoopMessage::Kind::kAdopt;
  message.fd = fd.get();
  if (loops_[index]->inbox()->Push(message)) {
    static_cast<void>(fd.Release());
  } else {
    stats_.ConnectionClosed();
  }
}

void Server::CloseListeners() {
  for (const std::unique_ptr<Listener>& listener : listeners_) listener->Close();
}

void Server::Tell(LoopMessage::Kind kind, Loop& loop) {
  LoopMessage message;
  message.kind = kind;
  CAIRN_CHECK(loop.inbox()->Push(message));
}

void Server::BeginDrain() {
  Tell(LoopMessage::Kind::kStopAccepting, *loops_.front());
  for (const std::unique_ptr<Loop>& loop : loops_) Tell(LoopMessage::Kind::kDrain, *loop);
}

void Server::Stop() {
  if (stopped_) return;
  stopped_ = true;
  for (const std::unique_ptr<Loop>& loop : loops_) Tell(LoopMessage::Kind::kStop, *loop);
  for (const std::unique_ptr<Loop>& loop : loops_) loop->Join();
  listeners_.clear();
}

}  // namespace cairn::server
