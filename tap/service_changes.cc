// TapService: what changes whom this node follows and what it is active for.

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "tap/probe.h"
#include "tap/rpc_channel.h"
#include "tap/service_impl.h"

namespace cairn::tap {
namespace {

constexpr int64_t kPollNs = 1'000'000;
constexpr int64_t kTakeoverPollNs = 5'000'000;

bool IsName(std::string_view name) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= kNameSizeMax &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

Status CheckSource(const Source& source) {
  CAIRN_RETURN_IF_ERROR(CheckHostPort(source.address));
  if (IsName(source.name)) return Status::Ok();
  return Status(Code::kInvalidArgument, "a name has 1 to 64 of A-Z a-z 0-9 . _ -");
}

}  // namespace

ReplicationConf TapService::Impl::conf() const {
  MutexLock lock(state_mutex_);
  return conf_;
}

Status TapService::Impl::Save(ReplicationConf conf) {
  CAIRN_RETURN_IF_ERROR(WriteFileAtomic(conf_path_, FormatConf(conf)));
  MutexLock lock(state_mutex_);
  conf_ = std::move(conf);
  return Status::Ok();
}

TapService::Impl::Following TapService::Impl::Begin(const Source& source, bool takeover) {
  ConsumerSession::Options session;
  session.address = source.address;
  session.consumer.name = source.name;
  session.consumer.vbuckets = source.vbuckets;
  session.consumer.window_bytes = options_.window_bytes;
  session.consumer.noop_interval_ms = options_.noop_interval_ms;
  session.consumer.idle_timeout_ms = options_.idle_timeout_ms;
  session.consumer.takeover = takeover;
  session.seed = SystemEntropy();
  return {source, std::make_unique<ConsumerSession>(replication_, clock_, session, dialer_)};
}

// Sessions end outside of the state's lock, because that may take a moment; a source is left before another
// gets its vbuckets.
void TapService::Impl::FollowAsIn(const ReplicationConf& conf) {
  std::map<std::string, Source> wanted;
  for (Source& source : conf.Followed()) wanted.emplace(source.address, std::move(source));
  std::vector<Following> left;
  {
    MutexLock lock(state_mutex_);
    for (auto it = following_.begin(); it != following_.end();) {
      Source& have = it->second.source;
      const auto want = wanted.find(it->first);
      const bool keep = want != wanted.end() && want->second.name == have.name &&
                        Difference(want->second.vbuckets, have.vbuckets).empty();
      if (keep && want->second.vbuckets != have.vbuckets) {
        it->second.session->Drop(Difference(have.vbuckets, want->second.vbuckets));
        have.vbuckets = want->second.vbuckets;
      }
      if (!keep) left.push_back(std::move(it->second));
      it = keep ? std::next(it) : following_.erase(it);
    }
  }
  left.clear();
  MutexLock lock(state_mutex_);
  for (const auto& [address, source] : wanted) {
    if (!following_.contains(address)) following_.emplace(address, Begin(source, false));
  }
}

Status TapService::Impl::CheckWanted(const Wanted& wanted) {
  {
    MutexLock lock(stop_mutex_);
    if (stopping_) return Status(Code::kCancelled, "this node is shutting down");
  }
  if (!wanted || wanted()) return Status::Ok();
  return Status(Code::kCancelled, "nobody waits for it any more");
}

Status TapService::Impl::Await(const engine::PendingRef& pending) {
  while (!pending->ready()) {
    if (!SleepUnlessStopping(kPollNs)) return Status(Code::kAmbiguous, "shutting down");
  }
  return pending->status();
}

// Ascending, each once; empty: all.
Result<VbucketSet> TapService::Impl::Normalize(const VbucketSet& vbuckets) const {
  VbucketSet set = vbuckets;
  const uint32_t count = replication_.vbucket_count();
  if (set.empty()) {
    for (uint32_t i = 0; i < count; ++i) set.push_back(Vbid(static_cast<uint16_t>(i)));
  }
  std::sort(set.begin(), set.end());
  set.erase(std::unique(set.begin(), set.end()), set.end());
  if (set.back().get() >= count) {
    return Status(Code::kInvalidArgument, "vbucket " + std::to_string(set.back().get()) +
                                              " does not exist: there are " + std::to_string(count));
  }
  return set;
}

bool TapService::Impl::IsActive(Vbid vbucket) const {
  const Result<engine::VbucketPosition> position = replication_.Position(vbucket);
  return position.ok() && position->state == engine::VbucketState::kActive;
}

VbucketSet TapService::Impl::ActiveOf(const VbucketSet& vbuckets) const {
  VbucketSet active;
  for (const Vbid vbucket : vbuckets) {
    if (IsActive(vbucket)) active.push_back(vbucket);
  }
  return active;
}

// Active here, and not empty.
VbucketSet TapService::Impl::WithOwnData(const VbucketSet& vbuckets) const {
  VbucketSet own;
  for (const Vbid vbucket : ActiveOf(vbuckets)) {
    const Result<engine::VbucketPosition> position = replication_.Position(vbucket);
    if (position.ok() && position->high > Seqno(0)) own.push_back(vbucket);
  }
  return own;
}

Status TapService::Impl::MakeReplicas(const VbucketSet& vbuckets) {
  std::vector<Vbid> others;
  for (const Vbid vbucket : vbuckets) {
    const Result<engine::VbucketPosition> position = replication_.Position(vbucket);
    if (position.ok() && position->state != engine::VbucketState::kReplica) others.push_back(vbucket);
  }
  if (others.empty()) return Status::Ok();
  return Await(replication_.Demote(std::move(others), engine::VbucketState::kReplica));
}

// What serves clients here is not given up for an address with a slip of the pen in it, or for this node
// itself under another name.
Status TapService::Impl::ProbeBeforeGivingUp(const Source& source, const Wanted& wanted) {
  if (ActiveOf(source.vbuckets).empty()) return Status::Ok();
  ProbeOptions probe;
  probe.address = source.address;
  probe.check = [&] { return CheckWanted(wanted); };
  Hello& hello = probe.hello;
  hello.name = source.name.substr(0, kNameSizeMax - 6) + ".probe";
  hello.node_uuid = replication_.node_uuid();
  hello.vbucket_count = replication_.vbucket_count();
  hello.noop_interval_ms = options_.noop_interval_ms;
  hello.idle_timeout_ms = options_.idle_timeout_ms;
  return ProbeSource(dialer_, probe);
}

// The caller begins to follow.
Status TapService::Impl::AddSource(const Source& source) {
  ReplicationConf next = conf();
  VbucketSet all = source.vbuckets;
  if (const Source* const known = next.FindSource(source.address)) all = Union(all, known->vbuckets);
  next.RemoveFromSources(all);
  next.RemovePromotions(source.vbuckets);
  Source& added = next.SourceAt(source.address);
  added.name = source.name;
  added.vbuckets = all;
  if (next != conf()) CAIRN_RETURN_IF_ERROR(Save(std::move(next)));
  return MakeReplicas(source.vbuckets);
}

Result<Source> TapService::Impl::Add(const Source& source, const Wanted& wanted) {
  Source added = source;
  if (added.name.empty()) added.name = options_.node_name;
  CAIRN_RETURN_IF_ERROR(CheckSource(added));
  CAIRN_ASSIGN_OR_RETURN(added.vbuckets, Normalize(source.vbuckets));
  MutexLock change(change_mutex_);
  CAIRN_RETURN_IF_ERROR(CheckWanted(wanted));
  CAIRN_RETURN_IF_ERROR(ProbeBeforeGivingUp(added, wanted));
  CAIRN_RETURN_IF_ERROR(CheckWanted(wanted));
  // Nobody else applies to these vbuckets while they change.
  ReplicationConf without = conf();
  without.RemoveFromSources(added.vbuckets);
  FollowAsIn(without);
  const Status status = AddSource(added);
  FollowAsIn(conf());
  if (!status.ok()) return status;
  return *conf().FindSource(added.address);
}

Result<uint32_t> TapService::Impl::Remove(const std::string& address, const Wanted& wanted) {
  MutexLock change(change_mutex_);
  CAIRN_RETURN_IF_ERROR(CheckWanted(wanted));
  ReplicationConf next = conf();
  const Source* const source = next.FindSource(address);
  if (source == nullptr) return Status(Code::kNotFound, "'" + address + "' is not followed");
  const auto count = static_cast<uint32_t>(source->vbuckets.size());
  next.RemoveFromSources(VbucketSet(source->vbuckets));
  CAIRN_RETURN_IF_ERROR(Save(std::move(next)));
  FollowAsIn(conf());
  return count;
}

Status TapService::Impl::Promote(const VbucketSet& vbuckets, const engine::PromoteOptions& promote,
                                 const Wanted& wanted) {
  CAIRN_ASSIGN_OR_RETURN(const VbucketSet set, Normalize(vbuckets));
  MutexLock change(change_mutex_);
  CAIRN_RETURN_IF_ERROR(CheckWanted(wanted));
  const ReplicationConf before = conf();
  ReplicationConf next = before;
  for (const Source& source : before.Followed()) {
    next.AddPromotion(source.address, Intersection(source.vbuckets, set), false);
  }
  if (next != before) CAIRN_RETURN_IF_ERROR(Save(std::move(next)));
  FollowAsIn(conf());
  const Status status = Await(replication_.Promote(set, promote));
  if (!status.ok()) {
    // What is written would be forgotten at a restart as well: these vbuckets are not active.
    if (const Status saved = Save(before); !saved.ok()) CAIRN_LOG(kError, "{}", saved.ToString());
    FollowAsIn(conf());
    return status;
  }
  MutexLock lock(stop_mutex_);
  told_more_ = true;
  stop_cond_.NotifyAll();
  return Status::Ok();
}

Status TapService::Impl::Demote(const VbucketSet& vbuckets, engine::VbucketState to, const Wanted& wanted) {
  if (to != engine::VbucketState::kReplica && to != engine::VbucketState::kDead) {
    return Status(Code::kInvalidArgument, "a vbucket is demoted to replica or dead");
  }
  CAIRN_ASSIGN_OR_RETURN(const VbucketSet set, Normalize(vbuckets));
  MutexLock change(change_mutex_);
  CAIRN_RETURN_IF_ERROR(CheckWanted(wanted));
  ReplicationConf next = conf();
  next.RemovePromotions(set);
  if (to == engine::VbucketState::kDead) {
    next.RemoveFromSources(set);
    FollowAsIn(next);
  }
  const Status status = Await(replication_.Demote(set, to));
  if (status.ok() && next != conf()) CAIRN_RETURN_IF_ERROR(Save(std::move(next)));
  FollowAsIn(conf());
  return status;
}

// OK: all of them are active here.
Status TapService::Impl::RunTakeover(const Source& source, uint32_t timeout_ms, const Wanted& wanted) {
  {
    MutexLock lock(state_mutex_);
    takeover_ = Begin(source, true);
  }
  const int64_t until_ns = clock_.SteadyNs() + int64_t{timeout_ms} * 1'000'000;
  bool done = false;
  Status status;
  while (!done && status.ok()) {
    static_cast<void>(SleepUnlessStopping(kTakeoverPollNs));
    status = CheckWanted(wanted);
    if (status.ok() && clock_.SteadyNs() >= until_ns) {
      status =
          Status(Code::kTimeout, "the takeover was not complete after " + std::to_string(timeout_ms) + " ms");
    }
    MutexLock lock(state_mutex_);
    done = takeover_.session->takeover_done();
  }
  Following ended;
  {
    MutexLock lock(state_mutex_);
    std::swap(ended, takeover_);
  }
  return done ? Status::Ok() : status;
}

// A crash in the middle must not take back what has arrived: nobody else is active for that any more. So it
// is written down before it happens, as with a promotion; a start forgets what is not active then. The giver
// of what is active here is dead, durably: it need not be told.
Status TapService::Impl::RunRecorded(const Source& source, uint32_t timeout_ms, const Wanted& wanted) {
  const ReplicationConf before = conf();
  ReplicationConf next = before;
  next.AddPromotion(source.address, source.vbuckets, true);
  CAIRN_RETURN_IF_ERROR(Save(std::move(next)));
  const Status status = RunTakeover(source, timeout_ms, wanted);
  if (!status.ok()) {
    // The engine may have a last step before it that the session has asked for; it works them off in order.
    // When this node shuts down meanwhile, the next start finds out what has arrived.
    CAIRN_RETURN_IF_ERROR(Await(replication_.Promote({}, {})));
  }
  next = before;
  next.AddPromotion(source.address, ActiveOf(source.vbuckets), true);
  if (next == conf()) return status;
  const Status saved = Save(std::move(next));
  return status.ok() ? saved : status;
}

Status TapService::Impl::Takeover(const std::string& address, const VbucketSet& vbuckets, uint32_t timeout_ms,
                                  const Wanted& wanted) {
  Source source{address, options_.node_name.substr(0, kNameSizeMax - 9) + ".takeover", {}};
  CAIRN_RETURN_IF_ERROR(CheckSource(source));
  CAIRN_ASSIGN_OR_RETURN(const VbucketSet set, Normalize(vbuckets));
  MutexLock change(change_mutex_);
  CAIRN_RETURN_IF_ERROR(CheckWanted(wanted));
  // What has arrived in an earlier call is done.
  source.vbuckets = Difference(set, ActiveOf(Intersection(set, conf().PromotedFrom(address))));
  const VbucketSet own = WithOwnData(source.vbuckets);
  if (!own.empty() && !vbuckets.empty()) {
    return Status(Code::kInvalidArgument,
                  "vbucket " + std::to_string(own.front().get()) +
                      " is active here and has data, which a takeover would throw away: demote it first");
  }
  source.vbuckets = Difference(source.vbuckets, own);
  if (source.vbuckets.empty()) return Status::Ok();
  CAIRN_RETURN_IF_ERROR(ProbeBeforeGivingUp(source, wanted));
  CAIRN_RETURN_IF_ERROR(CheckWanted(wanted));
  ReplicationConf without = conf();
  without.RemoveFromSources(source.vbuckets);
  FollowAsIn(without);
  Status status = MakeReplicas(source.vbuckets);
  if (status.ok()) status = RunRecorded(source, timeout_ms, wanted);
  FollowAsIn(conf());
  if (status.ok()) return status;
  const size_t arrived = ActiveOf(source.vbuckets).size();
  return Status(status.code(), std::string(status.message()) + "; " + std::to_string(arrived) + " of " +
                                   std::to_string(source.vbuckets.size()) + " vbuckets are active here");
}

}  // namespace cairn::tap
