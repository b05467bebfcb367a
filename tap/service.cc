#include "tap/service.h"

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "base/thread_role.h"
#include "tap/client.h"
#include "tap/rpc_channel.h"
#include "tap/service_impl.h"

namespace cairn::tap {
namespace {

constexpr int64_t kWatchNs = 1'000'000'000;
constexpr int64_t kTellMinNs = 50'000'000;
constexpr int64_t kTellMaxNs = 5'000'000'000;
constexpr size_t kConfBytesMax = size_t{16} << 20;

FenceTeller::Options TellerOptions(const TapService::Options& options) {
  FenceTeller::Options teller;
  teller.name = options.node_name;
  return teller;
}

}  // namespace

TapService::Impl::Impl(const Options& options, engine::Replication& replication, Clock& clock)
    : options_(options),
      replication_(replication),
      clock_(clock),
      dialer_(MakeDialer(options.tls)),
      conf_path_(options.data_dir + "/replication.conf"),
      teller_(replication, clock, TellerOptions(options), dialer_) {}

TapService::Impl::~Impl() { Stop(); }

Status TapService::Impl::Start() {
  if (!replication_.persistent()) {
    return Status(Code::kNotSupported, "replication needs a data directory");
  }
  CAIRN_RETURN_IF_ERROR(LoadTls(options_.tls).status());
  {
    MutexLock change(change_mutex_);
    CAIRN_RETURN_IF_ERROR(LoadConf());
    CAIRN_RETURN_IF_ERROR(FollowFromStart());
    CAIRN_RETURN_IF_ERROR(Listen());
    FollowAsIn(conf());
  }
  watcher_ = std::thread([this] { Watch(); });
  telling_ = std::thread([this] { TellFormerSources(); });
  return Status::Ok();
}

// A promotion is written down before it happens: where it did not come to that, there was none. The same
// holds for one that the node has lost again since.
Status TapService::Impl::LoadConf() {
  const Result<std::string> bytes = ReadFile(conf_path_, kConfBytesMax);
  if (bytes.code() == Code::kNotFound) return Status::Ok();
  if (!bytes.ok()) return bytes.status();
  Result<ReplicationConf> parsed = ParseConf(*bytes, replication_.vbucket_count());
  if (!parsed.ok()) {
    return Status(parsed.code(), conf_path_ + ": " + std::string(parsed.status().message()));
  }
  ReplicationConf conf = std::move(parsed).value();
  VbucketSet promoted;
  for (const Promotion& promotion : conf.promotions) promoted = Union(promoted, promotion.vbuckets());
  conf.RemovePromotions(Difference(promoted, ActiveOf(promoted)));
  MutexLock lock(state_mutex_);
  conf_ = std::move(conf);
  return Status::Ok();
}

Status TapService::Impl::FollowFromStart() {
  if (options_.replica_of.empty()) return Status::Ok();
  CAIRN_RETURN_IF_ERROR(CheckHostPort(options_.replica_of));
  CAIRN_ASSIGN_OR_RETURN(const VbucketSet all, Normalize({}));
  const VbucketSet promoted = conf().PromotedFrom(options_.replica_of);
  if (!promoted.empty()) {
    CAIRN_LOG(kWarn,
              "--replica-of {}: {} vbuckets were promoted here from that node and stay active; demote them "
              "to follow it again",
              options_.replica_of, promoted.size());
  }
  const VbucketSet rest = Difference(all, promoted);
  if (rest.empty()) return Status::Ok();
  return AddSource({options_.replica_of, options_.node_name, rest});
}

Status TapService::Impl::Listen() {
  if (!options_.port.has_value()) return Status::Ok();
  TapServer::Options server;
  server.rpc.addresses = options_.listen;
  server.rpc.port = *options_.port;
  server.rpc.tls = options_.tls;
  server.rpc.what = "tap";
  server.rpc.connections_max = options_.connections_max;
  server.session.producer.name = options_.node_name;
  server.session.producer.max_item_size = options_.max_item_size;
  CAIRN_ASSIGN_OR_RETURN(server_, TapServer::Start(server, replication_, clock_));
  return Status::Ok();
}

void TapService::Impl::Stop() {
  {
    MutexLock lock(stop_mutex_);
    stopping_ = true;
    stop_cond_.NotifyAll();
  }
  teller_.Stop();
  if (watcher_.joinable()) watcher_.join();
  if (telling_.joinable()) telling_.join();
  MutexLock change(change_mutex_);
  FollowAsIn({});
  if (server_ != nullptr) server_->Stop();
}

bool TapService::Impl::SleepUnlessStopping(int64_t ns) {
  const int64_t until_ns = clock_.SteadyNs() + ns;
  MutexLock lock(stop_mutex_);
  for (int64_t left_ns = ns; !stopping_ && left_ns > 0; left_ns = until_ns - clock_.SteadyNs()) {
    stop_cond_.WaitFor(stop_mutex_, std::chrono::nanoseconds(left_ns));
  }
  return !stopping_;
}

void TapService::Impl::Watch() {
  BeginThread("tap-watch");
  while (SleepUnlessStopping(kWatchNs)) {
    if (server_ != nullptr) server_->Watch();
    MutexLock lock(state_mutex_);
    for (auto& [address, following] : following_) following.session->CancelIfStuck(clock_.SteadyNs());
    if (takeover_.session != nullptr) takeover_.session->CancelIfStuck(clock_.SteadyNs());
  }
}

void TapService::Impl::TellFormerSources() {
  BeginThread("tap-fence");
  int64_t backoff_ns = kTellMinNs;
  while (true) {
    bool any = false, all_told = true;
    for (const Promotion& promotion : conf().promotions) {
      if (promotion.untold.empty()) continue;
      any = true;
      all_told = TellOnce(promotion.address, promotion.untold) && all_told;
    }
    if (any && !all_told) {
      if (!SleepUnlessStopping(backoff_ns)) return;
      backoff_ns = std::min(backoff_ns * 2, kTellMaxNs);
      continue;
    }
    backoff_ns = kTellMinNs;
    MutexLock lock(stop_mutex_);
    while (!stopping_ && !told_more_) stop_cond_.Wait(stop_mutex_);
    told_more_ = false;
    if (stopping_) return;
  }
}

// What an attempt has found may be otherwise by now: a promotion is written down before the engine is asked
// for it, so that an attempt in between finds a vbucket that is not active yet.
VbucketSet TapService::Impl::StillTold(const FenceTeller::Outcome& outcome) const {
  VbucketSet told = Difference(outcome.not_active, ActiveOf(outcome.not_active));
  for (const auto& [vbucket, epoch] : outcome.heard) {
    const Result<engine::VbucketPosition> position = replication_.Position(vbucket);
    if (position.ok() && IsActive(vbucket) && position->epoch > epoch) continue;  // promoted once more
    told.push_back(vbucket);
  }
  std::sort(told.begin(), told.end());
  return told;
}

// True: this source need not be told any more.
bool TapService::Impl::TellOnce(const std::string& address, const VbucketSet& untold) {
  const FenceTeller::Outcome outcome = teller_.Tell(address, untold);
  if (outcome.heard.empty() && outcome.not_active.empty()) {
    CAIRN_LOG(kDebug, "former source {} was not told: {}", address, EscapeKey(teller_.last_error(), 300));
    return false;
  }
  MutexLock change(change_mutex_);
  const VbucketSet done = StillTold(outcome);
  ReplicationConf now = conf();
  // Demoted meanwhile: there is nothing to be remembered.
  const VbucketSet told = Intersection(done, now.PromotedFrom(address));
  now.AddPromotion(address, told, true);
  if (now == conf()) return done.size() == untold.size();
  if (const Status saved = Save(std::move(now)); !saved.ok()) {
    CAIRN_LOG(kError, "{}: {}", conf_path_, saved.ToString());
    return false;
  }
  CAIRN_LOG(kInfo, "former source {} has heard that {} vbuckets are active here", address, told.size());
  return done.size() == untold.size();
}

std::vector<std::string> TapService::Impl::addresses() const {
  return server_ == nullptr ? std::vector<std::string>() : server_->addresses();
}

std::vector<Source> TapService::Impl::sources() const { return conf().Followed(); }

std::vector<ConnectionInfo> TapService::Impl::Connections(bool streams) const {
  std::vector<ConnectionInfo> infos;
  if (server_ != nullptr) infos = server_->Connections(streams);
  MutexLock lock(state_mutex_);
  const auto add = [&](const Following& following) {
    infos.push_back(following.session->info());
    if (!streams) infos.back().streams.clear();
  };
  for (const auto& [address, following] : following_) add(following);
  if (takeover_.session != nullptr) add(takeover_);
  return infos;
}

// --- the face ---

Result<std::unique_ptr<TapService>> TapService::Start(const Options& options,
                                                      engine::Replication& replication, Clock& clock) {
  auto impl = std::make_unique<Impl>(options, replication, clock);
  CAIRN_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<TapService>(new TapService(std::move(impl)));
}

TapService::TapService(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TapService::~TapService() = default;
void TapService::Stop() { impl_->Stop(); }
const std::string& TapService::node_name() const { return impl_->options().node_name; }
std::vector<std::string> TapService::addresses() const { return impl_->addresses(); }
uint16_t TapService::port() const { return impl_->port(); }
Result<Source> TapService::Add(const Source& source, const Wanted& wanted) {
  return impl_->Add(source, wanted);
}
Result<uint32_t> TapService::Remove(const std::string& address, const Wanted& wanted) {
  return impl_->Remove(address, wanted);
}
std::vector<Source> TapService::sources() const { return impl_->sources(); }
Status TapService::Promote(const VbucketSet& vbuckets, const engine::PromoteOptions& options,
                           const Wanted& wanted) {
  return impl_->Promote(vbuckets, options, wanted);
}
Status TapService::Demote(const VbucketSet& vbuckets, engine::VbucketState to, const Wanted& wanted) {
  return impl_->Demote(vbuckets, to, wanted);
}
Status TapService::Takeover(const std::string& address, const VbucketSet& vbuckets, uint32_t timeout_ms,
                            const Wanted& wanted) {
  return impl_->Takeover(address, vbuckets, timeout_ms, wanted);
}
std::vector<ConnectionInfo> TapService::Connections(bool streams) const {
  return impl_->Connections(streams);
}

}  // namespace cairn::tap
