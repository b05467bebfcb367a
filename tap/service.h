#pragma once
// TapService: replication of one node, as main, the admin service and `stats tap` see it. It listens for
// consumers, follows sources, and knows what was promoted here from whom.
//
// Durable, in DATA_DIR/replication.conf: the sources, and the promotions. A vbucket has at most one source. A
// vbucket that was promoted here is not followed from its former source any more, also after a restart with
// --replica-of that source, and the source is told the new epoch until it was heard (or until the vbucket is
// active here no more). Demoting it forgets the promotion.
//
// Owner: main, between Engine::Open and Engine::Shutdown. Threads: its methods may be called from any thread;
// those that change something wait for the disk, and for each other: minutes, behind a takeover. Each asks
// when its turn comes, and again while it waits for a source's answer, whether it is still wanted: CANCELLED,
// and nothing has changed, when it is not, or this node shuts down.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "engine/replication.h"
#include "tap/producer.h"
#include "tap/replication_conf.h"
#include "tap/tls.h"

namespace cairn::tap {

class TapService {
 public:
  struct Options {
    std::string node_name;              // ^[A-Za-z0-9._-]{1,64}$
    std::string data_dir;               // of replication.conf
    std::vector<std::string> listen;    // numeric; empty: loopback
    std::optional<uint16_t> port;       // none: does not listen; 0: any free one
    TlsFiles tls;                       // for both directions
    std::string replica_of;             // HOST:PORT; empty: what replication.conf says
    uint64_t window_bytes = 32u << 20;  // credits that this node gives a source
    uint64_t max_item_size = 1u << 20;
    uint32_t connections_max = 64;
    uint32_t noop_interval_ms = 1'000;
    uint32_t idle_timeout_ms = 30'000;
  };

  /// False: whoever asked for a change does not wait for it any more. Empty: somebody always does. Called by
  /// the changing call, on its thread and without blocking; it takes no lock under which a TapService is
  /// called.
  using Wanted = std::function<bool()>;

  /// On return the vbuckets of --replica-of are replicas, durably, and consumers are served. NOT_SUPPORTED:
  /// the engine has no disk. CORRUPTION: replication.conf does not parse.
  static Result<std::unique_ptr<TapService>> Start(const Options& options, engine::Replication& replication,
                                                   Clock& clock);
  ~TapService();  // stops
  TapService(const TapService&) = delete;
  TapService& operator=(const TapService&) = delete;

  /// Says goodbye to consumers, leaves the sources. On return nothing touches the engine any more.
  void Stop();

  const std::string& node_name() const;
  /// "127.0.0.1:7070", …; empty when it does not listen.
  std::vector<std::string> addresses() const;
  uint16_t port() const;  // 0: it does not listen

  /// Follows the source from now on, with these vbuckets: they become replicas, durably, before it returns,
  /// and are taken from a source that had them. Returns what is followed. INVALID_ARGUMENT: not HOST:PORT, or
  /// a vbucket that cannot be. While some of them are active here the source is asked first: TMP_FAIL when it
  /// does not answer, INVALID_ARGUMENT when it refuses (this node itself, …), and nothing has changed.
  Result<Source> Add(const Source& source, const Wanted& wanted = {});
  /// The vbuckets stay replicas. Returns how many were followed; NOT_FOUND.
  Result<uint32_t> Remove(const std::string& address, const Wanted& wanted = {});
  /// Without what was promoted here.
  std::vector<Source> sources() const;

  /// To active, all or none; their sources are left first, and told.
  Status Promote(const VbucketSet& vbuckets, const engine::PromoteOptions& options,
                 const Wanted& wanted = {});
  /// kReplica: what has a source is followed again. kDead: it is not.
  Status Demote(const VbucketSet& vbuckets, engine::VbucketState to, const Wanted& wanted = {});
  /// Moves the vbuckets (empty: all that are not active here with data of their own) here from their active,
  /// with writes running there. TIMEOUT: some have not arrived: those that had a source follow it again, the
  /// others stay replicas without one. CANCELLED: the same, because it is not wanted any more.
  /// INVALID_ARGUMENT: one that was named is active here and not empty.
  Status Takeover(const std::string& address, const VbucketSet& vbuckets, uint32_t timeout_ms,
                  const Wanted& wanted = {});

  /// Both directions. Without `streams` their lists are empty.
  std::vector<ConnectionInfo> Connections(bool streams) const;

 private:
  class Impl;
  explicit TapService(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::tap
