#pragma once
// What cairnd is told by its flags and its configuration file, checked. Only main and tests use this;
// everything behind it receives plain values. docs/configuration.md lists every setting.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "engine/options.h"
#include "tap/tls.h"

namespace cairn::server {

/// Our own version. The `version` command answers kProtocolVersion instead, see there.
inline constexpr const char* kCairnVersion = "0.2.0";
/// What `version` and STAT version report: clients parse it as memcached's and switch features by it.
inline constexpr const char* kProtocolVersion = "1.6.18";

/// Limits and addresses of the protocol server.
struct ServerOptions {
  std::vector<std::string> listen;         // numeric addresses; empty: 127.0.0.1, and ::1 where it exists
  uint16_t port = 11211;                   // 0: no TCP listener
  std::string unix_socket;                 // path; empty: none
  uint32_t unix_socket_mode = 0700;        // permission bits
  uint32_t threads = 0;                    // event loops; 0: one per CPU, at most 4
  uint32_t connections_max = 10'000;       // over all listeners
  uint32_t idle_timeout_s = 0;             // 0: idle connections stay
  uint32_t slow_client_timeout_s = 60;     // without progress of a pending answer
  uint32_t commit_timeout_ms = 5'000;      // sync policy always: then the answer is "ambiguous"
  uint32_t durability_timeout_ms = 5'000;  // the same for a write that has to reach more than memory
  uint32_t backlog = 1024;
  bool ephemeral_port = false;  // tests: with port 0, take any free port instead of none
};

/// TAP and administration; both over gRPC.
struct ReplicationOptions {
  std::optional<uint16_t> tap_port, admin_port;  // none: off; 0: any free one
  std::vector<std::string> listen;               // of both; numeric; empty: loopback
  tap::TlsFiles tls;
  std::string node_name;
  std::string replica_of;  // HOST:PORT; empty: as replication.conf says
  uint64_t window_bytes = uint64_t{32} << 20;
  bool urgent = true;  // base/urgent_turns.h, where the system allows it
};

struct Config {
  ServerOptions server;
  ReplicationOptions replication;
  engine::EngineOptions engine;
  LogOptions log;
  std::string config_file;  // as given; empty: none
};

/// What a command line asks for: to run with `config`, or to print `text` and end with `exit_code`.
struct ParsedConfig {
  std::optional<Config> config;
  int exit_code = 0;
  std::string text;  // help, version (exit code 0: for stdout), or what is wrong (for stderr)
};

inline constexpr int kExitUsage = 2;    // a flag or a setting is wrong; nothing was touched
inline constexpr int kExitFailure = 1;  // a port is taken, the data directory does not open, …

/// `args` without the program's name. Reads the file that --config names; a flag wins over the file.
ParsedConfig ParseConfig(std::span<const std::string> args);

/// Is it a numeric IPv4 or IPv6 address? `loopback`: of the machine itself.
struct AddressKind {
  bool valid = false;
  bool loopback = false;
};
AddressKind ClassifyAddress(const std::string& address);

}  // namespace cairn::server
