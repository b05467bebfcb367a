#pragma once
// What is inside a TapService. Included by its own files only.

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "tap/fence_teller.h"
#include "tap/server.h"
#include "tap/service.h"
#include "tap/session.h"

namespace cairn::tap {

class TapService::Impl {
 public:
  Impl(const Options& options, engine::Replication& replication, Clock& clock);
  ~Impl();

  Status Start();
  void Stop();

  Result<Source> Add(const Source& source, const Wanted& wanted);
  Result<uint32_t> Remove(const std::string& address, const Wanted& wanted);
  std::vector<Source> sources() const;
  Status Promote(const VbucketSet& vbuckets, const engine::PromoteOptions& promote, const Wanted& wanted);
  Status Demote(const VbucketSet& vbuckets, engine::VbucketState to, const Wanted& wanted);
  Status Takeover(const std::string& address, const VbucketSet& vbuckets, uint32_t timeout_ms,
                  const Wanted& wanted);
  std::vector<ConnectionInfo> Connections(bool streams) const;
  const Options& options() const { return options_; }
  std::vector<std::string> addresses() const;
  uint16_t port() const { return server_ == nullptr ? 0 : server_->port(); }

 private:
  struct Following {
    Source source;
    std::unique_ptr<ConsumerSession> session;
  };

  // --- service.cc ---
  Status LoadConf() CAIRN_REQUIRES(change_mutex_);
  Status FollowFromStart() CAIRN_REQUIRES(change_mutex_);
  Status Listen();
  void Watch();
  void TellFormerSources();
  bool TellOnce(const std::string& address, const VbucketSet& untold);
  VbucketSet StillTold(const FenceTeller::Outcome& outcome) const CAIRN_REQUIRES(change_mutex_);
  bool SleepUnlessStopping(int64_t ns);

  // --- service_changes.cc ---
  ReplicationConf conf() const CAIRN_EXCLUDES(state_mutex_);
  /// Durable first, then known to the others.
  Status Save(ReplicationConf conf) CAIRN_REQUIRES(change_mutex_);
  /// Makes the sessions what this says: drops vbuckets, leaves sources, begins to follow.
  void FollowAsIn(const ReplicationConf& conf) CAIRN_REQUIRES(change_mutex_);
  Following Begin(const Source& source, bool takeover);
  /// CANCELLED as CheckWanted, also in the middle of it.
  Status ProbeBeforeGivingUp(const Source& source, const Wanted& wanted) CAIRN_REQUIRES(change_mutex_);
  /// Those that exist and are not replicas become replicas, durably.
  Status MakeReplicas(const VbucketSet& vbuckets) CAIRN_REQUIRES(change_mutex_);
  Status AddSource(const Source& source) CAIRN_REQUIRES(change_mutex_);
  /// CANCELLED: it is not, or this node shuts down.
  Status CheckWanted(const Wanted& wanted) CAIRN_EXCLUDES(stop_mutex_);
  /// AMBIGUOUS when this node is shut down meanwhile.
  Status Await(const engine::PendingRef& pending);
  Result<VbucketSet> Normalize(const VbucketSet& vbuckets) const;
  bool IsActive(Vbid vbucket) const;
  VbucketSet ActiveOf(const VbucketSet& vbuckets) const;
  VbucketSet WithOwnData(const VbucketSet& vbuckets) const;
  Status RunTakeover(const Source& source, uint32_t timeout_ms, const Wanted& wanted)
      CAIRN_REQUIRES(change_mutex_);
  /// RunTakeover of what are replicas here, on record before and behind it.
  Status RunRecorded(const Source& source, uint32_t timeout_ms, const Wanted& wanted)
      CAIRN_REQUIRES(change_mutex_);

  const Options options_;
  engine::Replication& replication_;
  Clock& clock_;
  const Dialer dialer_;
  const std::string conf_path_;
  FenceTeller teller_;
  std::unique_ptr<TapServer> server_;

  // One change at a time; it may wait for the disk and for sessions to end.
  Mutex change_mutex_;
  // What is asked for at any time. Held for moments only.
  mutable Mutex state_mutex_;
  ReplicationConf conf_ CAIRN_GUARDED_BY(state_mutex_);
  std::map<std::string, Following> following_ CAIRN_GUARDED_BY(state_mutex_);
  Following takeover_ CAIRN_GUARDED_BY(state_mutex_);

  Mutex stop_mutex_;
  CondVar stop_cond_;
  bool stopping_ CAIRN_GUARDED_BY(stop_mutex_) = false;
  bool told_more_ CAIRN_GUARDED_BY(stop_mutex_) = false;  // there may be somebody to be told
  std::thread watcher_;
  std::thread telling_;
};

}  // namespace cairn::tap
