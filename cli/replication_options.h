#pragma once
// The options of the commands that speak to the admin port, and how the command line declares them. Only
// command_line.cc and tests call the functions.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "cli/admin_client.h"
#include "cli/command.h"
#include "cli/replication_view.h"

namespace CLI {
class App;
}

namespace cairn::cli {

struct ReplicationOptions {
  AdminOptions admin;
  std::string address;            // add, remove, takeover: TAP port of the other node; verify: its admin port
  std::string name;               // add: of this consumer at the source; empty: the node's
  VbucketChoice choice;           // everything but list and watch
  int64_t interval_ms = 1'000;    // watch
  bool once = false;              // watch
  StreamQuery streams;            // tap
  uint64_t epoch_min = 0;         // promote; the count, without a tag
  bool force = false;             // promote
  std::string state = "replica";  // demote
  int64_t wait_ms = 600'000;      // promote, demote, takeover
  int64_t verify_wait_ms = 30'000;
  uint32_t show_max = 10;  // verify: differences that are named
  std::string level;       // durability; empty: as it is
  std::optional<uint32_t> copies, timeout_ms;
};

/// What CLI11 fills and ReplicationOptions holds in another form.
struct RawReplication {
  std::string admin = "127.0.0.1:11212";
  std::string vbuckets;
  bool all = false;
  double interval_s = 1;
  double wait_s = 600;
  double verify_wait_s = 30;
};

/// Makes a subcommand that chooses `command`.
using AddCommand =
    std::function<CLI::App*(CLI::App* parent, const char* name, const char* help, Command command)>;

void DeclareReplication(CLI::App& app, const AddCommand& add, ReplicationOptions& options,
                        RawReplication& raw);
/// The checks that CLI11 cannot make. Empty when all is well.
std::string FinishReplication(const RawReplication& raw, Command command, ReplicationOptions* options);

}  // namespace cairn::cli
