#include "cli/command_line.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "base/types.h"
#include "cli/exit_code.h"

namespace cairn::cli {
namespace {

constexpr const char* kDescription =
    "cairnctl - operate a Cairn server: reload its data live, take it back, look inside, load and compare,\n"
    "and replicate it: follow another node, watch, promote, move.";

constexpr const char* kFooter = R"(Examples:
  cairnctl update start --name catalogue-2     from here on everything can be taken back
  cairnctl load --format debian Packages       load a file while clients go on
  cairnctl update status                       what changed, and what COMPLETE or REVERT would do
  cairnctl update revert                       everything as it was at START
  cairnctl verify --format debian Packages     compare key by key; exit code 1 when anything differs
  cairnctl --json status | jq .curr_items      every command has --json
  cairnctl replicate add 10.0.0.1:11209        the node behind --admin follows another one
  cairnctl replicate watch                     how far it is
  cairnctl promote                             its vbuckets become active: the other one died

Exit codes: 0 done; 1 a difference, or no such key; 2 wrong usage or unreadable file;
  3 no connection or no answer in time; 4 the server refused (its status is printed); 5 done in part.)";

constexpr const char* kLoadFooter = R"(Formats:
  debian  Debian package index: key = field Package, value = the whole stanza
  tsv     key TAB value [TAB flags [TAB expiry]]; \n \t \r \0 \\ stand for those bytes
  jsonl   {"key":"k","value":"v","flags":0,"expiry":0} per line; key_base64, value_base64 for bytes
Examples:
  cairnctl load --format debian Packages
  lz4 -dc Packages.lz4 | cairnctl load --format debian -
  cairnctl load --prefix user: --expiry 3600 users.tsv)";

constexpr const char* kUpdateFooter =
    R"(An online update is everything written between START and COMPLETE or REVERT. Clients see it at once.
  COMPLETE keeps it; REVERT brings back every value, flag, expiry and CAS as it was at START.
Examples:
  cairnctl update start --name prices-monday
  cairnctl update watch
  cairnctl update revert)";

constexpr double kTimeoutMaxS = 86'400.0 * 7;

int64_t ToMs(double seconds) { return static_cast<int64_t>(seconds * 1e3); }

// What CLI11 fills and Options holds in another form.
struct Raw {
  std::string server = "127.0.0.1:11211";
  double timeout_s = 10;
  double wait_s = 600;
  double interval_s = 1;
  double retry_s = 30;
  bool progress = false;
  bool no_progress = false;
  bool no_extra = false;
  std::string id;
  std::string format;
  RawReplication replication;
};

class Builder {
 public:
  Builder(CLI::App& app, Options& options, Raw& raw) : app_(app), options_(options), raw_(raw) {}

  void Build() {
    app_.require_subcommand(1);
    app_.fallthrough();
    app_.footer(kFooter);
    app_.set_version_flag("-V,--version", std::string("cairnctl ") + kToolVersion);
    app_.add_option("-s,--server", raw_.server, "HOST:PORT, [IPV6]:PORT or unix:PATH; also $CAIRN_SERVER")
        ->capture_default_str();
    app_.add_option("-t,--timeout", raw_.timeout_s, "Seconds without any answer until we give up")
        ->capture_default_str()
        ->check(CLI::Range(0.01, kTimeoutMaxS));
    app_.add_flag("-j,--json", options_.json, "Print JSON instead of tables");
    CLI::Option* on = app_.add_flag("--progress", raw_.progress, "Show progress on stderr, terminal or not");
    app_.add_flag("--no-progress", raw_.no_progress, "Never show progress")->excludes(on);
    BuildUpdate();
    BuildLooking();
    BuildBulk();
    DeclareReplication(
        app_,
        [this](CLI::App* parent, const char* name, const char* help, Command command) {
          return Add(parent, name, help, command);
        },
        options_.replication, raw_.replication);
    BuildSingle();
  }

 private:
  CLI::App* Add(CLI::App* parent, const char* name, const char* help, Command command) {
    CLI::App* sub = parent->add_subcommand(name, help);
    sub->fallthrough();
    sub->callback([this, command] { options_.command = command; });
    return sub;
  }

  void BuildUpdate() {
    CLI::App* update =
        app_.add_subcommand("update", "Online update: load live, then keep it or take it back");
    update->require_subcommand(1);
    update->fallthrough();
    update->footer(kUpdateFooter);
    CLI::App* start = Add(update, "start", "Begin: from here on it can be taken back", Command::kUpdateStart);
    start->add_option("--name", options_.name, "A name for people: A-Z a-z 0-9 . _ -, at most 64");
    CLI::App* complete = Add(update, "complete", "Keep everything since START", Command::kUpdateComplete);
    CLI::App* revert = Add(update, "revert", "Everything as it was at START", Command::kUpdateRevert);
    for (CLI::App* sub : {start, complete, revert}) {
      const char* what = sub == start
                             ? "Give the update this id (32 hexadecimal digits) instead of a random one"
                             : "Only the update with this id (32 hexadecimal digits); makes a "
                               "repetition safe";
      sub->add_option("--id", raw_.id, what);
      sub->add_option("--wait", raw_.wait_s, "Seconds to wait until it is done")
          ->capture_default_str()
          ->check(CLI::Range(0.01, kTimeoutMaxS));
    }
    Add(update, "status", "The running update, and the last ten", Command::kUpdateStatus);
    CLI::App* watch = Add(update, "watch", "Follow the running update until it ends", Command::kUpdateWatch);
    watch->add_option("--interval", raw_.interval_s, "Seconds between two looks")
        ->capture_default_str()
        ->check(CLI::Range(0.05, 3600.0));
  }

  void BuildLooking() {
    Add(&app_, "status", "One screen: the server, its memory, clients, disk and online update",
        Command::kStatus);
    CLI::App* stats = Add(&app_, "stats", "All statistics of a group as they are", Command::kStats);
    stats->add_option("group", options_.group,
                      "settings, checkpoint, vbucket, hash, timings, online_update, warmup, memory, kvstore, "
                      "reset; nothing: the general ones");
    CLI::App* vbuckets = Add(&app_, "vbuckets", "The vbuckets with their figures", Command::kVbuckets);
    vbuckets->add_option("--state", options_.state, "Only those in this state")
        ->check(CLI::IsMember({"active", "replica", "pending", "dead"}));
    CLI::App* checkpoints = Add(&app_, "checkpoints", "Checkpoints and cursors", Command::kCheckpoints);
    checkpoints->add_option("vbucket", options_.vbucket, "Only this vbucket")
        ->check(CLI::Range(0u, kVbucketCountMax - 1));
  }

  void AddFormat(CLI::App* sub, std::vector<std::string> formats) {
    sub->add_option("--format", raw_.format, "Format of the file: by default from its name, else tsv")
        ->check(CLI::IsMember(std::move(formats)));
  }

  void AddDefaults(CLI::App* sub) {
    sub->add_option("--flags", options_.flags, "Flags of items for which none are given")
        ->capture_default_str();
    sub->add_option(
           "--expiry", options_.expiry,
           "Expiry of items for which none is given: 0 never, to 2592000 seconds from now, else Unix "
           "time")
        ->capture_default_str();
  }

  void BuildBulk() {
    CLI::App* load = Add(&app_, "load", "Store all keys and values of a file", Command::kLoad);
    load->footer(kLoadFooter);
    load->add_option("file", options_.file, "The file; - is standard input")->required();
    AddFormat(load, {"debian", "tsv", "jsonl"});
    AddDefaults(load);
    load->add_option("--prefix", options_.prefix, "Put this before every key");
    load->add_option("--connections", options_.connections, "Connections side by side")
        ->capture_default_str()
        ->check(CLI::Range(1u, 64u));
    load->add_option("--retry", raw_.retry_s, "Seconds to try again when the server has no room or is busy")
        ->capture_default_str()
        ->check(CLI::Range(0.0, kTimeoutMaxS));
    load->add_option("--show", options_.show_max, "Errors to name")->capture_default_str();

    CLI::App* dump = Add(&app_, "dump", "Write all keys and values to a file", Command::kDump);
    dump->add_option("file", options_.file, "The file; - is standard output")->capture_default_str();
    AddFormat(dump, {"tsv", "jsonl"});
    dump->add_option("--prefix", options_.prefix, "Only keys that begin with this");

    CLI::App* verify = Add(&app_, "verify", "Compare a file with the server, key by key", Command::kVerify);
    verify->add_option("file", options_.file, "The file; - is standard input")->required();
    AddFormat(verify, {"debian", "tsv", "jsonl"});
    verify->add_option("--prefix", options_.prefix,
                       "Put this before every key of the file, and look for extra keys only among those that "
                       "begin with it");
    verify->add_flag("--no-extra", raw_.no_extra, "Do not look for keys that the file does not have");
    verify->add_option("--show", options_.show_max, "Differences to name")->capture_default_str();
  }

  void BuildSingle() {
    CLI::App* get = Add(&app_, "get", "Print a value", Command::kGet);
    CLI::App* set = Add(&app_, "set", "Store a value", Command::kSet);
    CLI::App* remove = Add(&app_, "delete", "Delete keys", Command::kDelete);
    for (CLI::App* sub : {get, set}) {
      sub->add_option_function<std::string>(
             "key", [this](const std::string& key) { options_.keys = {key}; }, "The key, 1 to 250 bytes")
          ->required();
    }
    remove->add_option("key", options_.keys, "The keys, each 1 to 250 bytes")->required();
    set->add_option("value", options_.value, "The value; - reads it from standard input")->required();
    AddDefaults(set);
    Add(&app_, "version", "Versions of cairnctl and of the server", Command::kVersion);
  }

  CLI::App& app_;
  Options& options_;
  Raw& raw_;
};

bool IsUpdateName(const std::string& name) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return name.size() <= 64 && name.find_first_not_of(kAllowed) == std::string::npos;
}

RecordFormat FormatOf(const Raw& raw, const std::string& file) {
  if (const auto format = ParseRecordFormat(raw.format)) return *format;
  if (file.ends_with(".jsonl") || file.ends_with(".json")) return RecordFormat::kJsonl;
  return file.ends_with("Packages") ? RecordFormat::kDebian : RecordFormat::kTsv;
}

// The checks that CLI11 cannot make. Empty when all is well.
std::string Finish(const Raw& raw, Options* options) {
  Result<Address> address = ParseAddress(raw.server);
  if (!address.ok()) return std::string(address.status().message());
  options->client.address = std::move(*address);
  options->client.timeout_ms = std::max<int64_t>(1, ToMs(raw.timeout_s));
  options->wait_ms = ToMs(raw.wait_s);
  options->interval_ms = ToMs(raw.interval_s);
  options->retry_ms = ToMs(raw.retry_s);
  options->extra = !raw.no_extra;
  if (raw.progress) options->progress = Progress::Mode::kOn;
  if (raw.no_progress) options->progress = Progress::Mode::kOff;
  options->format = FormatOf(raw, options->file);
  if (options->command == Command::kDump && options->format == RecordFormat::kDebian) {
    options->format = RecordFormat::kTsv;  // a file called Packages
  }
  if (!raw.id.empty()) {
    options->id = proto::UpdateId::FromHex(raw.id);
    if (!options->id || options->id->is_none()) return "--id must be 32 hexadecimal digits, not all zero";
  }
  if (!IsUpdateName(options->name)) return "--name may have A-Z a-z 0-9 . _ - and at most 64 of them";
  for (const std::string& key : options->keys) {
    if (key.empty() || key.size() > kKeySizeMax) return fmt::format("a key has 1 to {} bytes", kKeySizeMax);
  }
  if (options->prefix.size() >= kKeySizeMax) return "--prefix leaves no room for a key";
  if (!IsUpdateName(options->replication.name)) {
    return "--name may have A-Z a-z 0-9 . _ - and at most 64 of them";
  }
  options->replication.admin.timeout_ms = options->client.timeout_ms;
  return FinishReplication(raw.replication, options->command, &options->replication);
}

// CLI11 misses a command before it looks at the word that stands in its place.
std::string WhatIsWrong(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(true);
  const bool command_missing = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError);
  if (!command_missing || unknown.empty()) return error.what();
  return "\"" + unknown.front() + "\" is no command";
}

constexpr const char* kSeeHelp = "\nRun cairnctl --help, or cairnctl COMMAND --help, for more.\n";

}  // namespace

ParsedCommandLine ParseCommandLine(std::span<const std::string> args, const Environment& environment) {
  CLI::App app(kDescription, "cairnctl");
  Options options;
  Raw raw;
  if (!environment.server.empty()) raw.server = environment.server;
  if (!environment.admin.empty()) raw.replication.admin = environment.admin;
  Builder builder(app, options, raw);  // its callbacks run while the arguments are read
  builder.Build();
  ParsedCommandLine parsed;
  // CLI11 takes the arguments from the back, and speaks by exceptions; they end here.
  std::vector<std::string> reversed(args.rbegin(), args.rend());
  try {
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    const CLI::App* shown = &app;
    while (!shown->get_subcommands().empty()) shown = shown->get_subcommands().front();
    parsed.text = shown->help(shown == &app ? "" : "cairnctl");
    return parsed;
  } catch (const CLI::CallForVersion& version) {
    parsed.text = std::string(version.what()) + "\n";
    return parsed;
  } catch (const CLI::ParseError& error) {
    parsed.text = std::string("cairnctl: ") + WhatIsWrong(app, error) + kSeeHelp;
    parsed.exit_code = static_cast<int>(ExitCode::kUsage);
    return parsed;
  }
  const std::string wrong = Finish(raw, &options);
  if (!wrong.empty()) {
    parsed.text = "cairnctl: " + wrong + kSeeHelp;
    parsed.exit_code = static_cast<int>(ExitCode::kUsage);
    return parsed;
  }
  parsed.options = std::move(options);
  return parsed;
}

}  // namespace cairn::cli
