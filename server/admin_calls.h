#pragma once
// AdminCalls: the gRPC service cairn.admin.v1.Admin. Only server/admin_service.cc includes this: it needs
// gRPC's headers. Threads: gRPC's, any number at once; nothing here is changed but the counters of the base.

#include <atomic>
#include <functional>

#include "base/mutex.h"
#include "proto/admin.grpc.pb.h"
#include "server/admin_service.h"
#include "server/admin_wire.h"

namespace cairn::server {

class AdminCalls final : public admin::v1::Admin::Service {
 public:
  AdminCalls(const AdminOptions& options, const AdminDeps& deps);

  /// Watches and takeovers end, waits for updates too; a change whose turn has not come is not made.
  void BeginStop();

  grpc::Status GetNode(grpc::ServerContext* context, const admin::v1::GetNodeRequest* request,
                       admin::v1::Node* reply) override;
  grpc::Status GetStats(grpc::ServerContext* context, const admin::v1::GetStatsRequest* request,
                        admin::v1::Stats* reply) override;
  grpc::Status StartUpdate(grpc::ServerContext* context, const admin::v1::UpdateRequest* request,
                           admin::v1::UpdateState* reply) override;
  grpc::Status CompleteUpdate(grpc::ServerContext* context, const admin::v1::UpdateRequest* request,
                              admin::v1::UpdateState* reply) override;
  grpc::Status RevertUpdate(grpc::ServerContext* context, const admin::v1::UpdateRequest* request,
                            admin::v1::UpdateState* reply) override;
  grpc::Status GetUpdate(grpc::ServerContext* context, const admin::v1::GetUpdateRequest* request,
                         admin::v1::UpdateState* reply) override;
  grpc::Status AddSource(grpc::ServerContext* context, const admin::v1::AddSourceRequest* request,
                         admin::v1::AddSourceReply* reply) override;
  grpc::Status RemoveSource(grpc::ServerContext* context, const admin::v1::RemoveSourceRequest* request,
                            admin::v1::RemoveSourceReply* reply) override;
  grpc::Status ListReplication(grpc::ServerContext* context, const admin::v1::ListReplicationRequest* request,
                               admin::v1::ReplicationState* reply) override;
  grpc::Status WatchReplication(grpc::ServerContext* context,
                                const admin::v1::WatchReplicationRequest* request,
                                grpc::ServerWriter<admin::v1::ReplicationState>* writer) override;
  grpc::Status Promote(grpc::ServerContext* context, const admin::v1::PromoteRequest* request,
                       admin::v1::ChangeReply* reply) override;
  grpc::Status Demote(grpc::ServerContext* context, const admin::v1::DemoteRequest* request,
                      admin::v1::ChangeReply* reply) override;
  grpc::Status Takeover(grpc::ServerContext* context, const admin::v1::TakeoverRequest* request,
                        admin::v1::ChangeReply* reply) override;
  grpc::Status ListVbuckets(grpc::ServerContext* context, const admin::v1::ListVbucketsRequest* request,
                            admin::v1::ListVbucketsReply* reply) override;
  grpc::Status GetDurability(grpc::ServerContext* context, const admin::v1::GetDurabilityRequest* request,
                             admin::v1::Durability* reply) override;
  grpc::Status SetDurability(grpc::ServerContext* context, const admin::v1::Durability* request,
                             admin::v1::Durability* reply) override;

 private:
  using BeginStep = std::function<void(const engine::UpdateRequest&, engine::Engine::UpdateDone)>;

  grpc::Status RunStep(grpc::ServerContext* context, const char* word,
                       const admin::v1::UpdateRequest& request, const BeginStep& begin,
                       admin::v1::UpdateState* reply);
  Status Watch(grpc::ServerContext* context, const admin::v1::WatchReplicationRequest& request,
               grpc::ServerWriter<admin::v1::ReplicationState>* writer);
  Status NeedTap() const;
  /// NeedTap, and the address is not this node's own.
  Status NeedOther(const std::string& address) const;
  void FillReplication(bool streams, admin::v1::ReplicationState* reply) const;
  /// Those that exist here and that `wanted` accepts.
  std::vector<Vbid> VbucketsIn(const std::function<bool(engine::VbucketState)>& wanted) const;
  /// Returns after `ms`, or at once when the call is cancelled or the service stops: false then.
  bool Sleep(const grpc::ServerContext& context, int64_t ms) const CAIRN_EXCLUDES(mutex_);

  /// For TapService: the call is not cancelled, and the service does not stop.
  std::function<bool()> Wanted(const grpc::ServerContext& context) const;

  const AdminOptions options_;
  const AdminDeps deps_;
  const int64_t started_ns_;  // steady
  std::atomic<uint32_t> watchers_{0};
  mutable Mutex mutex_;
  mutable CondVar stop_;
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::server
