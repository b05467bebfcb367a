#pragma once
// Server: the memcached protocol door of one engine. Owns the loops, the listeners and what they count.
//
// Owner: main, or a test; several may live in one process. Its methods are for the owner's thread. The
// engine, the clock and the options outlive it: first Stop the server (no operation runs any more), then
// shut the engine down, then destroy the server (the engine may still wake waiters until then).

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "server/config.h"
#include "server/listener.h"
#include "server/loop.h"
#include "server/server_stats.h"
#include "server/stats_report.h"

namespace cairn::server {

class Server {
 public:
  /// Binds every address first, then begins to serve. An error names the address. `groups` of `stats` outlive
  /// the server.
  static Result<std::unique_ptr<Server>> Start(const ServerOptions& options, engine::Engine& engine,
                                               Clock& clock, StatsReport::Groups groups = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Of the first TCP listener; 0 when there is none.
  uint16_t port() const { return port_; }
  /// "127.0.0.1:11211", … as they were bound.
  const std::vector<std::string>& addresses() const { return addresses_; }
  ServerStats& stats() { return stats_; }
  const ServerOptions& options() const { return options_; }
  const StatsReport& report() const { return report_; }

  /// Refuses new clients, and closes each connection as soon as it is owed nothing.
  void BeginDrain();
  /// After BeginDrain: all are gone.
  bool drained() const { return stats_.connections() == 0; }
  /// Closes everything and ends the loops. A second call does nothing.
  void Stop();

 private:
  Server(const ServerOptions& options, engine::Engine& engine, Clock& clock, StatsReport::Groups groups);
  Result<std::vector<BoundSocket>> BindAll();
  Status MakeLoops();
  void AddListener(BoundSocket socket);
  void GiveToNextLoop(UniqueFd fd);
  void CloseListeners();
  void Tell(LoopMessage::Kind kind, Loop& loop);

  const ServerOptions options_;
  engine::Engine& engine_;
  Clock& clock_;
  ServerStats stats_;
  const StatsReport report_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Listener>> listeners_;  // on the first loop's thread once it runs
  std::vector<std::string> addresses_;
  uint16_t port_ = 0;
  size_t next_loop_ = 0;  // first loop's thread
  bool stopped_ = false;
};

}  // namespace cairn::server
