// cairnd: the only place where the parts are wired together.

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/size.h"
#include "base/thread_role.h"
#include "base/urgent_turns.h"
#include "engine/engine.h"
#include "engine/replication.h"
#include "engine/storage/kv_store.h"
#include "server/admin_service.h"
#include "server/config.h"
#include "server/server.h"
#include "tap/service.h"
#include "tap/stats.h"

namespace cairn::server {
namespace {

constexpr int kDrainTimeoutMs = 30'000;
// Descriptors that the store, the loops and the log may need beside the connections.
constexpr uint32_t kDescriptorsReserved = 512;

int Fail(const std::string& text) {
  std::fprintf(stderr, "cairnd: %s\n", text.c_str());
  CAIRN_LOG(kError, "{}", text);
  FlushLog();
  return kExitFailure;
}

// Raises the limit of open files as far as it goes; with less than is wanted, fewer clients are let in.
void FitConnectionsToDescriptors(ServerOptions& options) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = rlim_t{options.connections_max} + kDescriptorsReserved;
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = std::min(wanted, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur >= wanted) return;
  const rlim_t half = limit.rlim_cur / 2;
  const rlim_t room =
      limit.rlim_cur > 2 * kDescriptorsReserved ? limit.rlim_cur - kDescriptorsReserved : half;
  CAIRN_LOG(kWarn, "the limit of open files is {}: at most {} connections instead of {}", limit.rlim_cur,
            room, options.connections_max);
  options.connections_max = static_cast<uint32_t>(std::max<rlim_t>(room, 1));
}

// Signals are taken by this thread alone, between other work; every thread made later inherits the mask.
sigset_t BlockSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

void ReloadLogLevel(const std::vector<std::string>& args) {
  const ParsedConfig parsed = ParseConfig(args);
  if (!parsed.config.has_value()) {
    CAIRN_LOG(kError, "SIGHUP: the configuration is not valid and nothing was changed: {}", parsed.text);
    return;
  }
  SetLogLevel(parsed.config->log.level);
  CAIRN_LOG(kInfo, "SIGHUP: log level is {}", LogLevelName(parsed.config->log.level));
}

// Until a signal says that it is over. True: clients may finish first.
bool ServeUntilSignal(const sigset_t& signals, const std::vector<std::string>& args) {
  while (true) {
    int number = 0;
    if (sigwait(&signals, &number) != 0) continue;
    if (number == SIGHUP) {
      ReloadLogLevel(args);
      continue;
    }
    CAIRN_LOG(kInfo, "{}: shutting down", number == SIGUSR1 ? "SIGUSR1" : "signal");
    return number == SIGUSR1;
  }
}

// At most for kDrainTimeoutMs; SIGINT and SIGTERM end it at once.
void LetClientsFinish(Server& server) {
  constexpr int kPollMs = 20;
  sigset_t at_once;
  sigemptyset(&at_once);
  sigaddset(&at_once, SIGINT);
  sigaddset(&at_once, SIGTERM);
  server.BeginDrain();
  for (int waited_ms = 0; !server.drained(); waited_ms += kPollMs) {
    const timespec poll{0, kPollMs * 1'000'000};
    if (waited_ms < kDrainTimeoutMs && sigtimedwait(&at_once, nullptr, &poll) < 0) continue;
    CAIRN_LOG(kWarn, "{} connections did not finish", server.stats().connections());
    return;
  }
}

// They are full while there is much to write only. Small ones make many small files, which are put together
// several times, and a log that is written to files before a merge has released it.
size_t MemtableBytes(uint64_t memory_quota) {
  constexpr uint64_t kMin = uint64_t{12} << 20;
  constexpr uint64_t kMax = uint64_t{64} << 20;
  return static_cast<size_t>(std::clamp(memory_quota / 64, kMin, kMax));
}

Result<std::unique_ptr<engine::Engine>> OpenEngine(const engine::EngineOptions& options, Clock& clock) {
  engine::EngineDeps deps;
  deps.clock = &clock;
  if (!options.data_dir.empty()) {
    storage::RocksStoreOptions store;
    store.path = options.data_dir;
    store.memtable_bytes_max = MemtableBytes(options.memory_quota);
    // What is kept here is not kept as items: enough for the odd read of an ejected value.
    store.cache_bytes = size_t{1} << 20;
    CAIRN_ASSIGN_OR_RETURN(deps.store, storage::OpenRocksStore(store));
  }
  return engine::Engine::Open(options, std::move(deps));
}

// Everything of one process that serves, in the order in which it begins.
struct Node {
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<tap::TapService> tap;  // none without a disk
  std::unique_ptr<Server> server;
  std::unique_ptr<AdminService> admin;  // none without --admin-port
};

// Before the threads that make use of it.
void EnableUrgentReplication(const Config& config) {
  if (!config.replication.urgent || config.engine.data_dir.empty()) return;
  const std::string why_not = EnableUrgentTurns();
  if (why_not.empty()) {
    CAIRN_LOG(kInfo, "threads that pass writes on to replicas go before ordinary ones (SCHED_RR)");
  } else {
    CAIRN_LOG(kInfo, "threads that pass writes on to replicas are ordinary ones: {}", why_not);
  }
}

// Before the memcached port opens, so that no client writes to what shall be a replica.
Status StartTap(const Config& config, Clock& clock, Node& node) {
  if (config.engine.data_dir.empty()) return Status::Ok();
  tap::TapService::Options options;
  options.node_name = config.replication.node_name;
  options.data_dir = config.engine.data_dir;
  options.listen = config.replication.listen;
  options.port = config.replication.tap_port;
  options.tls = config.replication.tls;
  options.replica_of = config.replication.replica_of;
  options.window_bytes = config.replication.window_bytes;
  options.max_item_size = config.engine.max_item_size;
  CAIRN_ASSIGN_OR_RETURN(node.tap, tap::TapService::Start(options, node.engine->replication(), clock));
  return Status::Ok();
}

Status StartServer(const Config& config, Clock& clock, Node& node) {
  StatsReport::Groups groups;
  if (node.tap != nullptr) {
    groups["tap"] = [tap = node.tap.get(), &clock](std::string_view argument, const engine::StatSink& sink) {
      sink("tap_urgent", UrgentTurnsEnabled() ? "1" : "0");
      sink("tap_urgent_overruns", std::to_string(UrgentTurnsOverrun()));
      return tap::WriteTapStats(tap->Connections(true), argument, clock.SteadyNs(), sink);
    };
  }
  CAIRN_ASSIGN_OR_RETURN(node.server, Server::Start(config.server, *node.engine, clock, std::move(groups)));
  return Status::Ok();
}

Status StartAdmin(const Config& config, Clock& clock, Node& node) {
  if (!config.replication.admin_port.has_value()) return Status::Ok();
  AdminOptions options;
  options.listen = config.replication.listen;
  options.port = *config.replication.admin_port;
  options.tls = config.replication.tls;
  options.version = kCairnVersion;
  options.memcached_addresses = node.server->addresses();
  AdminDeps deps;
  deps.engine = node.engine.get();
  deps.tap = node.tap.get();
  deps.clock = &clock;
  deps.stats = [server = node.server.get()](std::string_view request, const engine::StatSink& sink) {
    return server->report().Write(request, sink) != StatsReport::Answer::kUnknown;
  };
  CAIRN_ASSIGN_OR_RETURN(node.admin, AdminService::Start(options, deps));
  return Status::Ok();
}

Status StartServices(const Config& config, Clock& clock, Node& node) {
  CAIRN_RETURN_IF_ERROR(StartTap(config, clock, node));
  CAIRN_RETURN_IF_ERROR(StartServer(config, clock, node));
  return StartAdmin(config, clock, node);
}

// The other way round: what uses something ends before it.
void StopServices(Node& node) {
  if (node.admin != nullptr) node.admin->Stop();
  if (node.server != nullptr) node.server->Stop();
  if (node.tap != nullptr) node.tap->Stop();
}

std::string Join(const std::vector<std::string>& addresses) {
  std::string joined;
  for (const std::string& address : addresses) joined += (joined.empty() ? "" : ",") + address;
  return joined;
}

void AnnounceReady(const Node& node, const engine::EngineOptions& engine) {
  std::string line = fmt::format("cairnd ready pid={} port={} listen={}", getpid(), node.server->port(),
                                 Join(node.server->addresses()));
  line += fmt::format(" vbuckets={} memory_quota={} data_dir={}", engine.vbuckets, engine.memory_quota,
                      engine.data_dir.empty() ? "-" : engine.data_dir);
  if (node.tap != nullptr && !node.tap->addresses().empty()) {
    line += " tap=" + node.tap->addresses().front();
  }
  if (node.admin != nullptr) line += " admin=" + node.admin->addresses().front();
  CAIRN_LOG(kInfo, "{}", line);
  std::puts(line.c_str());
  std::fflush(stdout);
}

// An absolute path: the log and `stats settings` should say where the data is.
Status ResolveDataDir(std::string& data_dir) {
  if (data_dir.empty()) return Status::Ok();
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(data_dir, error);
  if (error) return Status(Code::kIoError, "--data-dir " + data_dir + ": " + error.message());
  data_dir = path.lexically_normal().string();
  return Status::Ok();
}

int Serve(Config config, const std::vector<std::string>& args) {
  const sigset_t signals = BlockSignals();
  if (const Status status = ResolveDataDir(config.engine.data_dir); !status.ok())
    return Fail(status.ToString());
  FitConnectionsToDescriptors(config.server);
  SystemClock clock;
  Result<std::unique_ptr<engine::Engine>> opened = OpenEngine(config.engine, clock);
  if (!opened.ok()) {
    return Fail("cannot open the data in " + config.engine.data_dir + ": " + opened.status().ToString());
  }
  EnableUrgentReplication(config);
  TakeRole(ThreadRole::kServing);  // threads of libraries that are started from here on inherit it
  Node node;
  node.engine = std::move(opened).value();
  if (const Status started = StartServices(config, clock, node); !started.ok()) {
    StopServices(node);
    static_cast<void>(node.engine->Shutdown(true));
    return Fail(std::string(started.message()));
  }
  AnnounceReady(node, config.engine);
  if (ServeUntilSignal(signals, args)) LetClientsFinish(*node.server);
  StopServices(node);
  const Status saved = node.engine->Shutdown(true);
  if (!saved.ok()) return Fail("could not save everything: " + saved.ToString());
  CAIRN_LOG(kInfo, "ended cleanly");
  FlushLog();
  return 0;
}

int Main(const std::vector<std::string>& args) {
  const ParsedConfig parsed = ParseConfig(args);
  if (!parsed.config.has_value()) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  if (const Status status = InitLog(parsed.config->log); !status.ok()) return Fail(status.ToString());
  if (const char* faults = std::getenv("CAIRN_FAULT"); faults != nullptr) {
    const Status armed = FaultRegistry::Global().ArmFromText(faults);
    if (!armed.ok()) {
      Fail("CAIRN_FAULT: " + armed.ToString());
      return kExitUsage;
    }
    CAIRN_LOG(kWarn, "fault points are armed: {}", faults);
  }
  return Serve(*parsed.config, args);
}

}  // namespace
}  // namespace cairn::server

int main(int argc, char** argv) {
  umask(077);  // what we write is ours alone
  // Of gRPC: who waits for a connection polls that connection. With its default one thread polls for all and
  // wakes the others, which adds tens of microseconds to each operation's way to a replica, and CPU time to
  // it.
  setenv("GRPC_POLL_STRATEGY", "poll", 0);
  return cairn::server::Main(std::vector<std::string>(argv + 1, argv + argc));
}
