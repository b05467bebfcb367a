#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "server/config_declarer.h"
#include "tap/messages.h"
#include "tap/rpc_channel.h"

namespace cairn::server {
namespace {

// A checkpoint that is sent as a whole: 8 MiB and one item, and what frames add.
constexpr uint64_t kWindowBesideItem = uint64_t{12} << 20;

bool IsNameCharacter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

std::string CheckName(const std::string& name) {
  const bool good = !name.empty() && name.size() <= tap::kNameSizeMax &&
                    std::all_of(name.begin(), name.end(), IsNameCharacter);
  return good ? "" : "'" + name + "' is not a name of 1 to 64 of A-Z a-z 0-9 . _ -";
}

std::string DefaultName(uint16_t port) {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host = {"node"};
  const std::string suffix = '-' + std::to_string(port);
  std::string name = std::string(host.data()).substr(0, tap::kNameSizeMax - suffix.size()) + suffix;
  for (char& c : name) {
    if (!IsNameCharacter(c)) c = '_';
  }
  return name;
}

// Any number but 0, "auto", or 0 for none.
std::string CheckPort(const std::string& text) {
  uint32_t port = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool number =
      parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && port <= 65535 && !text.empty();
  return number || text == "auto" ? "" : "'" + text + "' is neither a port (0 to 65535) nor auto";
}

std::optional<uint16_t> ToPort(const std::string& text) {
  if (text == "auto") return 0;
  const auto port = static_cast<uint16_t>(std::stoul(text));
  return port == 0 ? std::nullopt : std::optional(port);
}

void DeclarePort(CLI::App& app, const std::string& name, std::string& target, const std::string& text) {
  app.add_option(name, target, Wrap(text))
      ->group("Replication and administration")
      ->check(CLI::Validator(CheckPort, "", name))
      ->type_name("N|auto")
      ->capture_default_str();
}

void DeclareDurability(Declarer& d, engine::EngineOptions& engine) {
  d.Choice<engine::DurabilityLevel>(
      "--durability", engine.durability,
      {{"memory", engine::DurabilityLevel::kMemory},
       {"persisted", engine::DurabilityLevel::kPersisted},
       {"majority", engine::DurabilityLevel::kMajority},
       {"majority-and-persisted", engine::DurabilityLevel::kMajorityAndPersisted},
       {"persisted-majority", engine::DurabilityLevel::kPersistedMajority}},
      "How far a write has to have come before it is answered, when it does not say so itself");
  d.Number("--copies", engine.durability_copies, {1, 64},
           "Copies that each vbucket should have, the active included; a majority is counted of them");
}

// Without a disk a node can neither produce nor consume.
std::string CheckMemoryOnly(const Config& config) {
  const ReplicationOptions& replication = config.replication;
  std::string flag;
  if (replication.tap_port.has_value()) flag = "--tap-port";
  if (replication.admin_port.has_value()) flag = "--admin-port";
  if (!replication.replica_of.empty()) flag = "--replica-of";
  if (config.engine.durability != engine::DurabilityLevel::kMemory) flag = "--durability";
  if (flag.empty()) return {};
  return flag + " needs a disk: replicas resume from what is written, so it does not go with --memory-only";
}

std::string CheckTls(const tap::TlsFiles& tls) {
  const int given = !tls.certificate.empty() + !tls.key.empty() + !tls.ca.empty();
  if (given != 0 && given != 3) return "--tls-cert, --tls-key and --tls-ca go together: TLS is always mutual";
  return {};
}

std::string CheckAddresses(const Config& config) {
  const ReplicationOptions& replication = config.replication;
  if (!replication.tap_port.has_value() && !replication.admin_port.has_value()) return {};
  for (const std::string& address : replication.listen) {
    if (!ClassifyAddress(address).valid) {
      return "--tap-listen: '" + address + "' is not a numeric IPv4 or IPv6 address";
    }
  }
  const Status exposed = tap::CheckExposure(replication.listen, replication.tls, "--tap-listen");
  return std::string(exposed.message());
}

}  // namespace

void DeclareReplication(CLI::App& app, Config& config, ReplicationFlags& flags) {
  ReplicationOptions& replication = config.replication;
  Declarer d(app, "Replication and administration");
  DeclarePort(app, "--tap-port", flags.tap_port,
              "Port for replicas (TAP, gRPC); 0: none; auto: any free one");
  DeclarePort(app, "--admin-port", flags.admin_port,
              "Port for administration (gRPC, cairnctl); 0: none; auto: any free one");
  app.add_option("--tap-listen", replication.listen,
                 Wrap("Numeric address of both; may be given more than once. Default: those of --listen. One "
                      "that other machines can reach needs the three --tls flags"))
      ->group("Replication and administration")
      ->type_name("ADDR")
      ->take_all();
  d.Text("--tls-cert", replication.tls.certificate, "FILE",
         "This node's certificate and those between it and "
         "the CA, PEM");
  d.Text("--tls-key", replication.tls.key, "FILE", "The certificate's private key, PEM");
  d.Text("--tls-ca", replication.tls.ca, "FILE",
         "CA that other nodes and cairnctl have to be signed by, PEM");
  d.Text("--node-name", replication.node_name, "NAME",
         "This node's name among the others. Default: the host's name and --port")
      ->check(CLI::Validator(CheckName, "", "node-name"));
  d.Text("--replica-of", replication.replica_of, "HOST:TAP_PORT",
         "Make all vbuckets replicas of that node's, but for those that were promoted here from it");
  d.Size("--tap-window", replication.window_bytes, {kWindowBesideItem, tap::kWindowBytesMax},
         "Bytes that a source may send before they are applied");
  d.Choice<bool>(
      "--urgent-replication", replication.urgent, {{"auto", true}, {"off", false}},
      "Whether threads that pass writes on to replicas go before ordinary threads, where the system "
      "allows it (SCHED_RR; bounded)");
  d.Number("--tombstone-retention", config.engine.tombstone_retention_s, {0, 86'400 * 365},
           "Seconds for which deletions are kept for replicas that are away");
  DeclareDurability(d, config.engine);
}

std::string FinishReplication(Config& config, const ReplicationFlags& flags, bool memory_only) {
  ReplicationOptions& replication = config.replication;
  replication.tap_port = ToPort(flags.tap_port);
  replication.admin_port = ToPort(flags.admin_port);
  if (replication.listen.empty()) replication.listen = config.server.listen;
  if (replication.node_name.empty()) replication.node_name = DefaultName(config.server.port);
  if (memory_only) {
    if (std::string error = CheckMemoryOnly(config); !error.empty()) return error;
  }
  if (!replication.replica_of.empty()) {
    const Status address = tap::CheckHostPort(replication.replica_of);
    if (!address.ok()) return "--replica-of: " + std::string(address.message());
  }
  if (replication.window_bytes < kWindowBesideItem + config.engine.max_item_size) {
    return "--tap-window: has to hold 12 MiB and a value of --max-item-size";
  }
  for (std::string error : {CheckTls(replication.tls), CheckAddresses(config)}) {
    if (!error.empty()) return error;
  }
  return {};
}

}  // namespace cairn::server
