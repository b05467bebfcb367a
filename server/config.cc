#include "server/config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <bit>
#include <thread>

#include "base/types.h"
#include "server/config_declarer.h"

namespace cairn::server {
namespace {

constexpr const char* kDescription =
    "cairnd: a memcached-protocol key-value engine that keeps its data on disk,\n"
    "and lets you reload it live and take that back.\n"
    "SIZE is bytes, or a number with k, m, g or t (powers of 1024): 64m, 1.5GiB.";

constexpr const char* kFooter =
    "Signals: SIGINT and SIGTERM write everything out and end; SIGUSR1 stops accepting,\n"
    "lets clients finish for up to 30 s, then ends the same way; SIGHUP reads --log-level again.\n"
    "Exit codes: 0 ended as asked, 1 could not start or could not save, 2 a wrong flag or setting.\n"
    "Every long flag is also a key of the configuration file, without the dashes (port = 11211).";

// Flags that main acts on but that are not part of a Config.
struct Extras {
  std::string listen_list;
  std::string data_dir = "cairn-data";
  bool memory_only = false;
  bool allow_remote = false;
  uint32_t port = 11211;
  ReplicationFlags replication;
};

void DeclareNetwork(CLI::App& app, Config& config, Extras& extras) {
  ServerOptions& server = config.server;
  Declarer d(app, "Network");
  app.add_option("-l,--listen", server.listen,
                 Wrap("Numeric address to serve on; may be given more than once. Default: 127.0.0.1, and ::1 "
                      "where it exists"))
      ->group("Network")
      ->type_name("ADDR")
      ->take_all();
  d.Number("-p,--port", extras.port, {0, 65535}, "TCP port of the memcached protocol; 0: no TCP");
  d.Flag("--allow-remote", extras.allow_remote,
         "Permit a --listen address that other machines can reach. There is no TLS and no password yet: "
         "whoever reaches the port can read and change everything");
  d.Text("-s,--unix-socket", server.unix_socket, "PATH", "Serve on this Unix socket too");
  app.add_option_function<std::string>(
         "--unix-socket-mode",
         [&server](const std::string& input) {
           server.unix_socket_mode = static_cast<uint32_t>(std::stoul(input, nullptr, 8));
         },
         "Permission bits of the Unix socket, octal")
      ->group("Network")
      ->check(CLI::Validator(
          [](const std::string& input) -> std::string {
            const bool octal = !input.empty() && input.size() <= 4 &&
                               input.find_first_not_of("01234567") == std::string::npos &&
                               std::stoul(input, nullptr, 8) <= 0777;
            return octal ? "" : "'" + input + "' is not a mode from 0 to 0777";
          },
          "", "mode"))
      ->type_name("MODE")
      ->default_str("0700");
  d.Number("-c,--max-connections", server.connections_max, {1, 1'000'000},
           "Client connections at one time; lowered when the limit of open files is smaller");
  d.Number("-t,--threads", server.threads, {0, 256}, "Event loops; 0: one per CPU, at most 4");
  d.Number("--backlog", server.backlog, {1, 65535}, "Connections the kernel queues before we accept them");
  d.Number("--idle-timeout", server.idle_timeout_s, {0, 86'400 * 30},
           "Close a connection that sent nothing for so many seconds; 0: never");
  d.Number("--slow-client-timeout", server.slow_client_timeout_s, {1, 3600},
           "Close a connection that took nothing of a waiting answer for so many seconds");
}

void DeclareMemory(CLI::App& app, Config& config, Extras& extras) {
  engine::EngineOptions& engine = config.engine;
  Declarer d(app, "Memory");
  d.Size("-m,--memory-quota", engine.memory_quota, {uint64_t{16} << 20, uint64_t{1} << 44},
         "Memory for items, tables and checkpoints");
  d.Number("--low-watermark", engine.low_watermark_percent, {10, 99},
           "Percent of the quota where ejecting values to disk stops");
  d.Number("--high-watermark", engine.high_watermark_percent, {10, 99},
           "Percent of the quota where ejecting values to disk begins");
  d.Number("--refuse-watermark", engine.refuse_percent, {10, 100},
           "Percent of the quota from which writes are answered \"out of memory\"");
  d.Number("--checkpoint-memory", engine.checkpoint_memory_percent, {1, 80},
           "Percent of the quota that checkpoints may take");
  d.Flag("--memory-only", extras.memory_only, "Keep nothing on disk");
}

void DeclareData(CLI::App& app, Config& config, Extras& extras) {
  engine::EngineOptions& engine = config.engine;
  Declarer d(app, "Data");
  d.Text("-d,--data-dir", extras.data_dir, "DIR", "Directory of the data; made (0700) when missing")
      ->capture_default_str();
  d.Number("--vbuckets", engine.vbuckets, {1, kVbucketCountMax},
           "Hash partitions, a power of two; fixed when the data directory is made");
  app.add_option_function<std::string>(
         "-I,--max-item-size",
         [&engine](const std::string& input) {
           engine.max_item_size = static_cast<uint32_t>(ParseSize(input).value());
         },
         "Largest value")
      ->group("Data")
      ->check(CLI::Validator(
          [](const std::string& input) -> std::string {
            const Result<uint64_t> size = ParseSize(input);
            if (!size.ok()) return "'" + input + "' is not a size (examples: 512k, 1m)";
            return *size >= 1024 && *size <= kValueSizeMax ? "" : input + " is outside of 1 KiB to 20 MiB";
          },
          "", "max-item-size"))
      ->type_name("SIZE")
      ->default_str(FormatBytes(engine.max_item_size));
  d.Choice<engine::SyncPolicy>(
      "--sync", engine.sync,
      {{"always", engine::SyncPolicy::kAlways},
       {"interval", engine::SyncPolicy::kInterval},
       {"none", engine::SyncPolicy::kNone}},
      "When a write is safe from power loss: before its answer, within --sync-interval-ms, or whenever the "
      "system writes it");
  d.Number("--sync-interval-ms", engine.sync_interval_ms, {1, 3'600'000}, "Milliseconds between syncs");
  d.Number("--sync-timeout-ms", config.server.commit_timeout_ms, {10, 600'000},
           "With --sync always: a write not known to be durable after so many milliseconds is answered "
           "\"ambiguous\"");
  d.Number("--durability-timeout-ms", config.server.durability_timeout_ms, {1, 600'000},
           "A write that has not come as far as it has to after so many milliseconds is answered "
           "\"ambiguous\"");
  d.Number("--flush-delay-ms", engine.flush_delay_ms, {0, 10'000},
           "Milliseconds for which writes are gathered before they go to the log");
  d.Number("--checkpoint-items", engine.checkpoint_items_max, {1, 10'000'000},
           "Operations after which a checkpoint is closed");
  d.Number("--checkpoint-age-ms", engine.checkpoint_age_max_ms, {1, 86'400'000},
           "Age at which a checkpoint is closed, milliseconds");
  d.Number("--expiry-pager-ms", engine.expiry_pager_interval_ms, {10, 86'400'000},
           "Milliseconds between searches for items whose time ran out");
}

void DeclareUpdate(CLI::App& app, Config& config) {
  engine::EngineOptions& engine = config.engine;
  Declarer d(app, "Online update");
  d.Choice<engine::OnRestart>(
      "--update-on-restart", engine.update_on_restart,
      {{"resume", engine::OnRestart::kResume}, {"revert", engine::OnRestart::kRevert}},
      "What a restart does with an online update that was still open");
  d.Size("--update-bytes-max", engine.update_bytes_max, {0, uint64_t{1} << 50},
         "Most an online update may write; 0: no limit");
  d.Number("--update-age-max", engine.update_age_max_s, {0, 86'400 * 365},
           "Most seconds an online update may stay open; 0: no limit");
  d.Choice<engine::AtWindowCap>("--update-at-cap", engine.update_at_cap,
                                {{"refuse", engine::AtWindowCap::kRefuseWrites},
                                 {"revert", engine::AtWindowCap::kRevert},
                                 {"complete", engine::AtWindowCap::kComplete}},
                                "What happens at one of these limits");
}

void DeclareOther(CLI::App& app, Config& config) {
  Declarer log(app, "Log");
  log.Choice<LogLevel>("--log-level", config.log.level,
                       {{"debug", LogLevel::kDebug},
                        {"info", LogLevel::kInfo},
                        {"warn", LogLevel::kWarn},
                        {"error", LogLevel::kError},
                        {"off", LogLevel::kOff}},
                       "Least severity that is logged");
  log.Text("--log-file", config.log.file, "FILE", "Append to this file instead of standard error");
}

std::string CheckListeners(const Config& config, const Extras& extras) {
  for (const std::string& address : config.server.listen) {
    const AddressKind kind = ClassifyAddress(address);
    if (!kind.valid) return "--listen: '" + address + "' is not a numeric IPv4 or IPv6 address";
    if (!kind.loopback && !extras.allow_remote) {
      return "--listen " + address +
             ": other machines can reach this address, and the memcached port has neither TLS nor passwords. "
             "Use "
             "127.0.0.1, or add --allow-remote if the network itself is protected";
    }
  }
  if (config.server.unix_socket.size() >= sizeof(sockaddr_un{}.sun_path)) {
    return "--unix-socket: the path is longer than a socket address allows (107 bytes)";
  }
  if (config.server.port == 0 && config.server.unix_socket.empty()) {
    return "--port 0 without --unix-socket leaves nothing to listen on";
  }
  return {};
}

std::string CheckEngine(const engine::EngineOptions& engine, const Extras& extras) {
  if (!std::has_single_bit(engine.vbuckets)) {
    return "--vbuckets: " + std::to_string(engine.vbuckets) + " is not a power of two";
  }
  if (engine.low_watermark_percent >= engine.high_watermark_percent ||
      engine.high_watermark_percent > engine.refuse_percent) {
    return "--low-watermark must be below --high-watermark, and that not above --refuse-watermark";
  }
  if (engine.max_item_size > engine.memory_quota / 8) {
    return "--max-item-size: one value may take at most an eighth of --memory-quota";
  }
  if (!extras.memory_only && extras.data_dir.empty()) {
    return "--data-dir is empty; say --memory-only if nothing is to be kept";
  }
  if (extras.memory_only && engine.sync == engine::SyncPolicy::kAlways) {
    return "--sync always promises what --memory-only cannot keep";
  }
  return {};
}

// The rules between settings; CLI11 has checked each one alone.
std::string CheckTogether(const Config& config, const Extras& extras) {
  for (std::string error : {CheckListeners(config, extras), CheckEngine(config.engine, extras)}) {
    if (!error.empty()) return error;
  }
  return {};
}

ParsedConfig Refuse(const std::string& error) {
  return {std::nullopt, kExitUsage, "cairnd: " + error + "\nTry cairnd --help.\n"};
}

}  // namespace

AddressKind ClassifyAddress(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return {true, (ntohl(v4.s_addr) >> 24) == 127};
  in6_addr v6{};
  if (inet_pton(AF_INET6, address.c_str(), &v6) != 1) return {};
  const bool mapped_loopback = IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127;
  return {true, IN6_IS_ADDR_LOOPBACK(&v6) || mapped_loopback};
}

ParsedConfig ParseConfig(std::span<const std::string> args) {
  Config config;
  Extras extras;
  CLI::App app(kDescription, "cairnd");
  app.footer(kFooter);
  app.get_formatter()->column_width(36);
  app.option_defaults()->configurable()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  DeclareNetwork(app, config, extras);
  DeclareMemory(app, config, extras);
  DeclareData(app, config, extras);
  DeclareUpdate(app, config);
  DeclareReplication(app, config, extras.replication);
  DeclareOther(app, config);
  app.set_config("--config", "", "Read settings from this file (TOML or INI); a flag wins over it")
      ->type_name("FILE")
      ->group("Other")
      ->configurable(false);
  app.set_version_flag("--version", std::string("cairnd ") + kCairnVersion)
      ->group("Other")
      ->configurable(false);
  app.set_help_flag("-h,--help", "Show this text")->group("Other")->configurable(false);
  app.allow_config_extras(CLI::config_extras_mode::error);
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::CallForHelp&) {
    return {std::nullopt, 0, app.help()};
  } catch (const CLI::CallForVersion&) {
    return {std::nullopt, 0, std::string("cairnd ") + kCairnVersion + "\n"};
  } catch (const CLI::ConfigError& error) {
    return Refuse("the configuration file has a setting that does not exist: " + std::string(error.what()));
  } catch (const CLI::Error& error) {
    return Refuse(error.what());
  }
  config.config_file = app["--config"]->as<std::string>();
  config.server.port = static_cast<uint16_t>(extras.port);
  if (config.server.threads == 0) {
    config.server.threads = std::clamp(std::thread::hardware_concurrency(), 1U, 4U);
  }
  config.engine.data_dir = extras.memory_only ? std::string() : extras.data_dir;
  std::string error = CheckTogether(config, extras);
  if (error.empty()) error = FinishReplication(config, extras.replication, extras.memory_only);
  if (!error.empty()) return Refuse(error);
  return {std::move(config), 0, {}};
}

}  // namespace cairn::server
