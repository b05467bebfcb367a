#include "server/admin_calls.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"
#include "engine/replication.h"
#include "tap/service.h"

namespace cairn::server {
namespace {

using engine::VbucketState;
using std::chrono::milliseconds;

constexpr int64_t kLookMs = 50;  // how often a wait looks whether its client is still there
constexpr uint32_t kWatchIntervalMinMs = 100;
constexpr uint32_t kWatchIntervalMaxMs = 3'600'000;
constexpr uint32_t kWatchIntervalMs = 1'000;
constexpr uint32_t kTakeoverMs = 600'000;
constexpr size_t kStatRequestMax = 256;

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(GrpcCodeOf(status.code())), status.ToString()};
}

// What somebody has changed, and whether it worked: the log is the only record of it.
grpc::Status Logged(const grpc::ServerContext& context, const std::string& what, const Status& status) {
  CAIRN_LOG(kInfo, "admin: {} for {}: {}", what, context.peer(), status.ToString());
  return ToGrpc(status);
}

// Filled by an engine thread, once; read by the call that waits. Outlives whichever of the two ends first.
struct StepOutcome {
  Mutex mutex;
  CondVar filled;
  std::optional<Result<engine::UpdateStatus>> result CAIRN_GUARDED_BY(mutex);
};

class CountedWatch {
 public:
  explicit CountedWatch(std::atomic<uint32_t>& count) : count_(count), number_(++count) {}
  ~CountedWatch() { --count_; }
  CountedWatch(const CountedWatch&) = delete;
  CountedWatch& operator=(const CountedWatch&) = delete;
  bool allowed() const { return number_ <= AdminService::kWatchersMax; }

 private:
  std::atomic<uint32_t>& count_;
  const uint32_t number_;
};

}  // namespace

AdminCalls::AdminCalls(const AdminOptions& options, const AdminDeps& deps)
    : options_(options), deps_(deps), started_ns_(deps.clock->SteadyNs()) {}

void AdminCalls::BeginStop() {
  MutexLock lock(mutex_);
  stopping_ = true;
  stop_.NotifyAll();
}

bool AdminCalls::Sleep(const grpc::ServerContext& context, int64_t ms) const {
  const int64_t until_ns = deps_.clock->SteadyNs() + ms * 1'000'000;
  MutexLock lock(mutex_);
  while (!stopping_ && !context.IsCancelled()) {
    const int64_t left_ns = until_ns - deps_.clock->SteadyNs();
    if (left_ns <= 0) return true;
    stop_.WaitFor(mutex_, std::chrono::nanoseconds(std::min(left_ns, kLookMs * 1'000'000)));
  }
  return false;
}

std::function<bool()> AdminCalls::Wanted(const grpc::ServerContext& context) const {
  return [this, &context] { return Sleep(context, 0); };
}

Status AdminCalls::NeedTap() const {
  if (deps_.tap != nullptr) return Status::Ok();
  return Status(Code::kNotSupported,
                "this node keeps nothing on disk, so it neither follows nor is followed");
}

Status AdminCalls::NeedOther(const std::string& address) const {
  CAIRN_RETURN_IF_ERROR(NeedTap());
  const std::vector<std::string> own = deps_.tap->addresses();
  if (std::find(own.begin(), own.end(), address) == own.end()) return Status::Ok();
  // TapService finds out about other names for itself.
  return Status(Code::kInvalidArgument, address + " is this node itself");
}

grpc::Status AdminCalls::GetNode(grpc::ServerContext*, const admin::v1::GetNodeRequest*,
                                 admin::v1::Node* reply) {
  const auto uuid = deps_.engine->replication().node_uuid();
  reply->set_version(options_.version);
  reply->set_uuid(std::string(uuid.begin(), uuid.end()));
  reply->set_vbucket_count(deps_.engine->vbucket_count());
  reply->set_memcached_address(fmt::format("{}", fmt::join(options_.memcached_addresses, ",")));
  reply->set_data_dir(deps_.engine->options().data_dir);
  reply->set_uptime_ms(static_cast<uint64_t>((deps_.clock->SteadyNs() - started_ns_) / 1'000'000));
  if (deps_.tap != nullptr) {
    reply->set_name(deps_.tap->node_name());
    reply->set_tap_address(fmt::format("{}", fmt::join(deps_.tap->addresses(), ",")));
  }
  return grpc::Status::OK;
}

grpc::Status AdminCalls::GetStats(grpc::ServerContext*, const admin::v1::GetStatsRequest* request,
                                  admin::v1::Stats* reply) {
  const std::string asked = request->group() + (request->argument().empty() ? "" : " " + request->argument());
  if (asked.size() > kStatRequestMax) return ToGrpc(Status(Code::kInvalidArgument, "the group is too long"));
  const bool known = deps_.stats(asked, [reply](std::string_view name, std::string_view value) {
    admin::v1::Stat* stat = reply->add_stats();
    stat->set_name(std::string(name));
    stat->set_value(std::string(value));
  });
  if (known) return grpc::Status::OK;
  return ToGrpc(Status(Code::kNotFound, "there are no such statistics"));
}

grpc::Status AdminCalls::RunStep(grpc::ServerContext* context, const char* word,
                                 const admin::v1::UpdateRequest& request, const BeginStep& begin,
                                 admin::v1::UpdateState* reply) {
  const Result<engine::UpdateRequest> asked = FromWire(request);
  if (!asked.ok()) return ToGrpc(asked.status());
  const auto outcome = std::make_shared<StepOutcome>();
  begin(*asked, [outcome](Result<engine::UpdateStatus> result) {
    MutexLock lock(outcome->mutex);
    outcome->result = std::move(result);
    outcome->filled.NotifyAll();
  });
  const std::string what = fmt::format("update {}", word);
  const int64_t until_ns = deps_.clock->SteadyNs() + AdminService::kWaitMaxMs * 1'000'000;
  while (true) {
    {
      MutexLock lock(outcome->mutex);
      if (!outcome->result) outcome->filled.WaitFor(outcome->mutex, milliseconds(kLookMs));
      if (outcome->result) {
        if (outcome->result->ok()) ToWire(**outcome->result, reply);
        return Logged(*context, what, outcome->result->status());
      }
    }
    if (!Sleep(*context, 0) || deps_.clock->SteadyNs() >= until_ns) {
      return Logged(*context, what, Status(Code::kAmbiguous, "nobody waits any more; the step goes on"));
    }
  }
}

grpc::Status AdminCalls::StartUpdate(grpc::ServerContext* context, const admin::v1::UpdateRequest* request,
                                     admin::v1::UpdateState* reply) {
  return RunStep(
      context, "start", *request,
      [this](const engine::UpdateRequest& asked, engine::Engine::UpdateDone done) {
        deps_.engine->StartUpdate(asked, std::move(done));
      },
      reply);
}

grpc::Status AdminCalls::CompleteUpdate(grpc::ServerContext* context, const admin::v1::UpdateRequest* request,
                                        admin::v1::UpdateState* reply) {
  return RunStep(
      context, "complete", *request,
      [this](const engine::UpdateRequest& asked, engine::Engine::UpdateDone done) {
        deps_.engine->CompleteUpdate(asked, std::move(done));
      },
      reply);
}

grpc::Status AdminCalls::RevertUpdate(grpc::ServerContext* context, const admin::v1::UpdateRequest* request,
                                      admin::v1::UpdateState* reply) {
  return RunStep(
      context, "revert", *request,
      [this](const engine::UpdateRequest& asked, engine::Engine::UpdateDone done) {
        deps_.engine->RevertUpdate(asked, std::move(done));
      },
      reply);
}

grpc::Status AdminCalls::GetUpdate(grpc::ServerContext*, const admin::v1::GetUpdateRequest*,
                                   admin::v1::UpdateState* reply) {
  ToWire(deps_.engine->update_status(), reply);
  return grpc::Status::OK;
}

grpc::Status AdminCalls::AddSource(grpc::ServerContext* context, const admin::v1::AddSourceRequest* request,
                                   admin::v1::AddSourceReply* reply) {
  const auto add = [&]() -> Status {
    CAIRN_RETURN_IF_ERROR(NeedOther(request->address()));
    CAIRN_ASSIGN_OR_RETURN(NamedVbuckets named, FromWire(request->vbuckets(), deps_.engine->vbucket_count()));
    tap::Source source;
    source.address = request->address();
    source.name = request->name();
    source.vbuckets = std::move(named.vbuckets);
    CAIRN_ASSIGN_OR_RETURN(const tap::Source added, deps_.tap->Add(source, Wanted(*context)));
    reply->set_address(added.address);
    const size_t count = added.vbuckets.empty() ? deps_.engine->vbucket_count() : added.vbuckets.size();
    reply->set_vbuckets(static_cast<uint32_t>(count));
    return Status::Ok();
  };
  return Logged(*context, "add source " + request->address(), add());
}

grpc::Status AdminCalls::RemoveSource(grpc::ServerContext* context,
                                      const admin::v1::RemoveSourceRequest* request,
                                      admin::v1::RemoveSourceReply* reply) {
  const auto remove = [&]() -> Status {
    CAIRN_RETURN_IF_ERROR(NeedTap());
    CAIRN_ASSIGN_OR_RETURN(const uint32_t vbuckets, deps_.tap->Remove(request->address(), Wanted(*context)));
    reply->set_vbuckets(vbuckets);
    return Status::Ok();
  };
  return Logged(*context, "remove source " + request->address(), remove());
}

void AdminCalls::FillReplication(bool streams, admin::v1::ReplicationState* reply) const {
  const int64_t now_ns = deps_.clock->SteadyNs();
  reply->set_unix_ms(deps_.clock->WallNs() / 1'000'000);
  // With their streams in any case: the sums are made of them.
  for (const tap::ConnectionInfo& info : deps_.tap->Connections(true)) {
    ToWire(info, now_ns, streams, reply->add_connections());
  }
}

grpc::Status AdminCalls::ListReplication(grpc::ServerContext*,
                                         const admin::v1::ListReplicationRequest* request,
                                         admin::v1::ReplicationState* reply) {
  const Status ready = NeedTap();
  if (ready.ok()) FillReplication(request->streams(), reply);
  return ToGrpc(ready);
}

Status AdminCalls::Watch(grpc::ServerContext* context, const admin::v1::WatchReplicationRequest& request,
                         grpc::ServerWriter<admin::v1::ReplicationState>* writer) {
  CAIRN_RETURN_IF_ERROR(NeedTap());
  const CountedWatch watch(watchers_);
  // Each holds a thread.
  if (!watch.allowed())
    return Status(Code::kBusy, fmt::format("{} watch already", AdminService::kWatchersMax));
  const uint32_t asked = request.interval_ms() == 0 ? kWatchIntervalMs : request.interval_ms();
  const uint32_t interval_ms = std::clamp(asked, kWatchIntervalMinMs, kWatchIntervalMaxMs);
  do {
    admin::v1::ReplicationState state;
    FillReplication(request.streams(), &state);
    if (!writer->Write(state)) break;
  } while (Sleep(*context, interval_ms));
  if (context->IsCancelled()) return Status(Code::kCancelled, "nobody watches any more");
  return Status(Code::kCancelled, "this node is shutting down");
}

grpc::Status AdminCalls::WatchReplication(grpc::ServerContext* context,
                                          const admin::v1::WatchReplicationRequest* request,
                                          grpc::ServerWriter<admin::v1::ReplicationState>* writer) {
  return ToGrpc(Watch(context, *request, writer));
}

std::vector<Vbid> AdminCalls::VbucketsIn(const std::function<bool(VbucketState)>& wanted) const {
  std::vector<Vbid> vbuckets;
  for (uint32_t i = 0; i < deps_.engine->vbucket_count(); ++i) {
    const Vbid vbucket(static_cast<uint16_t>(i));
    const Result<VbucketState> state = deps_.engine->GetVbucketState(vbucket);
    if (state.ok() && wanted(*state)) vbuckets.push_back(vbucket);
  }
  return vbuckets;
}

grpc::Status AdminCalls::Promote(grpc::ServerContext* context, const admin::v1::PromoteRequest* request,
                                 admin::v1::ChangeReply* reply) {
  const auto promote = [&]() -> Status {
    CAIRN_RETURN_IF_ERROR(NeedTap());
    CAIRN_ASSIGN_OR_RETURN(NamedVbuckets named, FromWire(request->vbuckets(), deps_.engine->vbucket_count()));
    if (named.all) {
      named.vbuckets = VbucketsIn([](VbucketState state) {
        return state == VbucketState::kReplica || state == VbucketState::kPending;
      });
      if (named.vbuckets.empty()) return Status(Code::kNotSupported, "no vbucket is a replica here");
    }
    engine::PromoteOptions options;
    options.epoch_min = request->epoch_min();
    options.force = request->force();
    CAIRN_RETURN_IF_ERROR(deps_.tap->Promote(named.vbuckets, options, Wanted(*context)));
    reply->set_vbuckets(static_cast<uint32_t>(named.vbuckets.size()));
    return Status::Ok();
  };
  const Status status = promote();
  return Logged(*context, fmt::format("promote {} vbuckets", reply->vbuckets()), status);
}

grpc::Status AdminCalls::Demote(grpc::ServerContext* context, const admin::v1::DemoteRequest* request,
                                admin::v1::ChangeReply* reply) {
  const auto demote = [&]() -> Status {
    CAIRN_RETURN_IF_ERROR(NeedTap());
    const bool dead = request->state() == "dead";
    if (!dead && request->state() != "replica") {
      return Status(Code::kInvalidArgument, "a vbucket is demoted to replica or dead");
    }
    const VbucketState to = dead ? VbucketState::kDead : VbucketState::kReplica;
    CAIRN_ASSIGN_OR_RETURN(NamedVbuckets named, FromWire(request->vbuckets(), deps_.engine->vbucket_count()));
    if (named.all) named.vbuckets = VbucketsIn([to](VbucketState state) { return state != to; });
    if (!named.vbuckets.empty()) {
      CAIRN_RETURN_IF_ERROR(deps_.tap->Demote(named.vbuckets, to, Wanted(*context)));
    }
    reply->set_vbuckets(static_cast<uint32_t>(named.vbuckets.size()));
    return Status::Ok();
  };
  const Status status = demote();
  return Logged(*context, fmt::format("demote {} vbuckets to {}", reply->vbuckets(), request->state()),
                status);
}

grpc::Status AdminCalls::Takeover(grpc::ServerContext* context, const admin::v1::TakeoverRequest* request,
                                  admin::v1::ChangeReply* reply) {
  const auto take_over = [&]() -> Status {
    CAIRN_RETURN_IF_ERROR(NeedOther(request->address()));
    CAIRN_ASSIGN_OR_RETURN(const NamedVbuckets named,
                           FromWire(request->vbuckets(), deps_.engine->vbucket_count()));
    const uint32_t asked_ms = request->timeout_ms() == 0 ? kTakeoverMs : request->timeout_ms();
    const auto timeout_ms = static_cast<uint32_t>(std::min<int64_t>(asked_ms, AdminService::kWaitMaxMs));
    CAIRN_RETURN_IF_ERROR(
        deps_.tap->Takeover(request->address(), named.vbuckets, timeout_ms, Wanted(*context)));
    const size_t count = named.all ? deps_.engine->vbucket_count() : named.vbuckets.size();
    reply->set_vbuckets(static_cast<uint32_t>(count));
    return Status::Ok();
  };
  const Status status = take_over();
  return Logged(*context, fmt::format("take {} vbuckets over from {}", reply->vbuckets(), request->address()),
                status);
}

grpc::Status AdminCalls::ListVbuckets(grpc::ServerContext*, const admin::v1::ListVbucketsRequest* request,
                                      admin::v1::ListVbucketsReply* reply) {
  Result<NamedVbuckets> named = FromWire(request->vbuckets(), deps_.engine->vbucket_count());
  if (!named.ok()) return ToGrpc(named.status());
  if (named->all) named->vbuckets = VbucketsIn([](VbucketState) { return true; });
  for (const Vbid vbucket : named->vbuckets) {
    const Result<engine::VbucketPosition> position = deps_.engine->replication().Position(vbucket);
    // One that does not exist has nothing to say.
    if (position.ok()) ToWire(vbucket, *position, reply->add_vbuckets());
  }
  return grpc::Status::OK;
}

grpc::Status AdminCalls::GetDurability(grpc::ServerContext*, const admin::v1::GetDurabilityRequest*,
                                       admin::v1::Durability* reply) {
  const engine::DurabilitySettings settings = deps_.engine->durability_settings();
  reply->set_level(std::string(engine::DurabilityLevelName(settings.level)));
  reply->set_copies(settings.copies);
  reply->set_timeout_ms(settings.timeout_ms);
  return grpc::Status::OK;
}

grpc::Status AdminCalls::SetDurability(grpc::ServerContext* context, const admin::v1::Durability* request,
                                       admin::v1::Durability* reply) {
  const auto set = [&]() -> Status {
    const std::optional<engine::DurabilityLevel> level = engine::DurabilityLevelOf(request->level());
    if (!level)
      return Status(Code::kInvalidArgument, fmt::format("there is no level \"{}\"", request->level()));
    return deps_.engine->SetDurability({*level, request->copies(), request->timeout_ms()});
  };
  const grpc::Status answer = Logged(*context,
                                     fmt::format("durability {} of {} copies within {} ms", request->level(),
                                                 request->copies(), request->timeout_ms()),
                                     set());
  return answer.ok() ? GetDurability(context, nullptr, reply) : answer;
}

}  // namespace cairn::server
