#pragma once
// The command line of cairnctl, read into plain values. Only main and tests use it; the commands receive
// what it made.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/records.h"
#include "cli/replication_options.h"
#include "proto/update_id.h"

namespace cairn::cli {

inline constexpr const char* kToolVersion = "0.2.0";

struct Options {
  Command command{};
  ClientOptions client;
  bool json = false;
  Progress::Mode progress = Progress::Mode::kAuto;

  // update
  std::string name;
  std::optional<proto::UpdateId> id;
  int64_t wait_ms = 600'000;    // for START, COMPLETE, REVERT to be done
  int64_t interval_ms = 1'000;  // watch

  // stats, vbuckets, checkpoints
  std::string group;                // of stats
  std::string state;                // of vbuckets; empty: all
  std::optional<uint32_t> vbucket;  // of checkpoints; none: all

  // load, dump, verify
  std::string file = "-";
  RecordFormat format = RecordFormat::kTsv;
  std::string prefix;
  uint32_t connections = 1;
  int64_t retry_ms = 30'000;
  bool extra = true;       // verify: also look for keys that the file does not have
  uint32_t show_max = 10;  // verify, load: differences or errors that are named

  // get, set, delete; set and load
  std::vector<std::string> keys;  // one, but for delete
  std::string value;
  uint32_t flags = 0;
  uint32_t expiry = 0;

  ReplicationOptions replication;
};

/// What the arguments ask for: to run `options`, or to print `text` and end with `exit_code`.
struct ParsedCommandLine {
  std::optional<Options> options;
  int exit_code = 0;
  std::string text;  // help or version (exit code 0: for stdout), or what is wrong (for stderr)
};

/// What the environment says, empty where it says nothing; a flag wins over it.
struct Environment {
  std::string server;  // CAIRN_SERVER
  std::string admin;   // CAIRN_ADMIN
};

/// `args` without the program's name.
ParsedCommandLine ParseCommandLine(std::span<const std::string> args, const Environment& environment);

}  // namespace cairn::cli
