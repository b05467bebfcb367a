#include "cli/replication_options.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <utility>

#include "cli/channel.h"
#include "cli/vbucket_list.h"
#include "proto/epoch.h"

namespace cairn::cli {
namespace {

constexpr double kWaitMaxS = 86'400.0 * 7;
constexpr const char* kAdminPort = "11212";

constexpr const char* kReplicateFooter =
    R"(The node behind --admin follows a source: it takes its vbuckets over as replicas and keeps them equal.
Examples:
  cairnctl replicate add 10.0.0.1:11209            follow a node, with all vbuckets
  cairnctl replicate add 10.0.0.2:11209 --vbuckets 0-511
  cairnctl replicate watch                         lag, progress of the first copy, verified digests
  cairnctl replicate verify --peer 10.0.0.1:11212  compare two nodes; exit code 1 when anything differs)";

constexpr const char* kPromoteFooter =
    R"(After the active died: ask the replica that is furthest (cairnctl vbuckets), promote it, and let the others
follow it. A promoted vbucket gets a higher epoch: the old active gives it up as soon as it hears of that.
Examples:
  cairnctl --admin replica:11212 promote
  cairnctl promote --vbuckets 0-511,600)";

constexpr const char* kTakeoverFooter =
    R"(Moves vbuckets here from the node where they are active, while clients go on writing there. None is lost, and
at no time are two nodes active. For maintenance; when the other node is dead, use promote.
Example:
  cairnctl --admin new:11212 takeover old:11209)";

constexpr const char* kDurabilityFooter =
    R"(What an answered write is safe from, when the request itself does not say. Without a level: shows it.
  memory                  the active has it
  persisted               the active has it on disk, synced
  majority                most of the copies have it in memory
  majority-and-persisted  both
  persisted-majority      most of the copies have it on disk, synced, this node too
Example:
  cairnctl durability majority --copies 3 --timeout-ms 5000)";

class Declarer {
 public:
  Declarer(CLI::App& app, const AddCommand& add, ReplicationOptions& options, RawReplication& raw)
      : app_(app), add_(add), options_(options), raw_(raw) {}

  void Declare() {
    app_.add_option("-a,--admin", raw_.admin,
                    "HOST:PORT of the admin port, for replicate, tap, promote, demote, takeover, durability; "
                    "also $CAIRN_ADMIN")
        ->capture_default_str();
    CLI::Option* cert =
        app_.add_option("--tls-cert", options_.admin.tls_cert, "Certificate for the admin port, a PEM file");
    CLI::Option* key = app_.add_option("--tls-key", options_.admin.tls_key, "Its key");
    CLI::Option* ca =
        app_.add_option("--tls-ca", options_.admin.tls_ca, "Whom to believe about the node's certificate");
    cert->needs(key)->needs(ca);
    key->needs(cert);
    ca->needs(cert);
    DeclareReplicate();
    DeclareTap();
    DeclareHands();
    DeclareDurability();
  }

 private:
  CLI::Option* AddVbuckets(CLI::App* sub, const char* help) {
    return sub->add_option("--vbuckets", raw_.vbuckets, help)->type_name("LIST");
  }

  void AddAddress(CLI::App* sub, const char* help) {
    sub->add_option("address", options_.address, help)->required()->type_name("HOST:TAP_PORT");
  }

  void DeclareReplicate() {
    CLI::App* replicate = app_.add_subcommand("replicate", "Follow other nodes, and see how far that is");
    replicate->require_subcommand(1);
    replicate->fallthrough();
    replicate->footer(kReplicateFooter);
    CLI::App* add = add_(replicate, "add", "Follow a source from now on", Command::kReplicateAdd);
    AddAddress(add, "The source");
    AddVbuckets(add, "Only these, as in 0-511,600; by default all");
    add->add_option("--name", options_.name, "Our name at the source; by default the node's");
    CLI::App* remove = add_(replicate, "remove", "Follow it no longer; the vbuckets stay replicas",
                            Command::kReplicateRemove);
    AddAddress(remove, "The source");
    add_(replicate, "list", "Connections in both directions", Command::kReplicateList);
    CLI::App* watch =
        add_(replicate, "watch", "Live: lag, progress, rates, verified digests", Command::kReplicateWatch);
    watch->add_option("--interval", raw_.interval_s, "Seconds between two looks")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 3600.0));
    watch->add_flag("--once", options_.once, "One look");
    CLI::App* verify = add_(replicate, "verify", "Compare digests, seqnos and items of two nodes",
                            Command::kReplicateVerify);
    verify->add_option("--peer", options_.address, "Admin port of the other node")
        ->required()
        ->type_name("HOST:ADMIN_PORT");
    AddVbuckets(verify, "Only these; by default all that one of them has");
    verify
        ->add_option("--wait", raw_.verify_wait_s,
                     "Seconds to wait for a moment at which both are equally far")
        ->capture_default_str()
        ->check(CLI::Range(0.0, kWaitMaxS));
    verify->add_option("--show", options_.show_max, "Differences to name")->capture_default_str();
  }

  void DeclareTap() {
    CLI::App* tap = add_(&app_, "tap", "Every stream in detail", Command::kTap);
    tap->add_option("--sort", options_.streams.sort, "The largest lag, or backfill left, or vbucket first")
        ->capture_default_str()
        ->check(CLI::IsMember({"lag", "vbucket", "backfill"}));
    tap->add_option("--state", options_.streams.state, "Only those in this state")
        ->check(CLI::IsMember({"probe", "backfill", "stream", "paused", "ended"}));
    tap->add_option("--node", options_.streams.peer, "Only streams with this node, by name or HOST:PORT");
    AddVbuckets(tap, "Only these");
    tap->add_option("--top", options_.streams.show_max, "So many at most; 0: all")->capture_default_str();
  }

  void DeclareHands() {
    CLI::App* promote = add_(&app_, "promote", "Make replicas active: the active died", Command::kPromote);
    promote->footer(kPromoteFooter);
    promote
        ->add_option("--epoch-min", options_.epoch_min,
                     "The new epoch counts at least this; needed only when a higher one is known elsewhere")
        ->check(CLI::Range(uint64_t{0}, proto::kEpochCounterMax));
    promote->add_flag(
        "--force", options_.force,
        "Also copies that had to roll back and have not got again what they gave up: it is lost");
    CLI::App* demote = add_(&app_, "demote", "Make vbuckets replicas, or dead", Command::kDemote);
    demote->add_option("--to", options_.state, "What they become")
        ->capture_default_str()
        ->check(CLI::IsMember({"replica", "dead"}));
    CLI::App* takeover =
        add_(&app_, "takeover", "Move active vbuckets here, with writes running", Command::kTakeover);
    takeover->footer(kTakeoverFooter);
    AddAddress(takeover, "Where they are active");
    for (CLI::App* sub : {promote, demote, takeover}) {
      CLI::Option* vbuckets =
          AddVbuckets(sub, sub == demote ? "Which, as in 0-511,600" : "Only these, as in 0-511,600");
      sub->add_flag("--all", raw_.all,
                    sub == takeover  ? "All, which is the default"
                    : sub == promote ? "All that are replicas here, which is the default"
                                     : "All that are here")
          ->excludes(vbuckets);
      sub->add_option("--wait", raw_.wait_s, "Seconds to wait until it is done")
          ->capture_default_str()
          ->check(CLI::Range(0.01, kWaitMaxS));
    }
  }

  void DeclareDurability() {
    CLI::App* durability =
        add_(&app_, "durability", "What a write waits for before it is answered", Command::kDurability);
    durability->footer(kDurabilityFooter);
    durability->add_option("level", options_.level, "From now on this")
        ->check(CLI::IsMember(
            {"memory", "persisted", "majority", "majority-and-persisted", "persisted-majority"}));
    durability
        ->add_option("--copies", options_.copies, "Copies that each vbucket should have, the active included")
        ->check(CLI::Range(1u, 64u));
    durability
        ->add_option("--timeout-ms", options_.timeout_ms,
                     "A write that is not that safe after so long is answered \"ambiguous\"")
        ->check(CLI::Range(1u, 600'000u));
  }

  CLI::App& app_;
  const AddCommand& add_;
  ReplicationOptions& options_;
  RawReplication& raw_;
};

int64_t ToMs(double seconds) { return static_cast<int64_t>(seconds * 1e3); }

}  // namespace

void DeclareReplication(CLI::App& app, const AddCommand& add, ReplicationOptions& options,
                        RawReplication& raw) {
  Declarer(app, add, options, raw).Declare();
}

std::string FinishReplication(const RawReplication& raw, Command command, ReplicationOptions* options) {
  const Result<Address> admin = ParseTcpAddress(raw.admin, kAdminPort);
  if (!admin.ok()) return "--admin: " + std::string(admin.status().message());
  options->admin.address = admin->ToString();
  options->interval_ms = ToMs(raw.interval_s);
  options->wait_ms = ToMs(raw.wait_s);
  options->verify_wait_ms = ToMs(raw.verify_wait_s);
  if (!options->address.empty()) {
    const char* port = command == Command::kReplicateVerify ? kAdminPort : "";
    const Result<Address> address = ParseTcpAddress(options->address, port);
    if (!address.ok()) return std::string(address.status().message());
    options->address = address->ToString();
  }
  if (!raw.vbuckets.empty()) {
    Result<std::vector<uint32_t>> vbuckets = ParseVbucketList(raw.vbuckets);
    if (!vbuckets.ok()) return "--vbuckets: " + std::string(vbuckets.status().message());
    options->streams.vbuckets = *vbuckets;
    options->choice = {.all = false, .vbuckets = std::move(*vbuckets)};
  } else if (command == Command::kDemote && !raw.all) {
    // The opposite of an emergency: clients lose what is named.
    return "demote needs --vbuckets LIST or --all";
  }
  return {};
}

}  // namespace cairn::cli
