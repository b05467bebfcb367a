#pragma once
// Promotion: one attempt to make vbuckets active: all of them or none (Replication::Promote), or all that can
// be (PromoteEach). Lives on the control thread for the time of the attempt.
//
//   claim      nothing is applied to them any more; what they have becomes durable
//   find       the online update that some of them are in the window of: still open, or decided somewhere
//   here record     epoch, branch, gap and the update's record, in one synced write activate   in memory: the
//   update's phase, then each vbucket, then whoever waited

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "engine/core.h"
#include "engine/replication.h"
#include "engine/update_coordinator.h"

namespace cairn::engine {

class Promotion {
 public:
  Promotion(const ReplicationParts& parts, const PromoteOptions& options)
      : parts_(parts), core_(parts.core), options_(options) {}
  Promotion(const Promotion&) = delete;
  Promotion& operator=(const Promotion&) = delete;

  /// All or none.
  Status Run(const std::vector<Vbid>& vbuckets);
  /// Those that cannot be promoted are left out. An outcome for each.
  std::vector<Status> RunEach(const std::vector<Vbid>& vbuckets);

 private:
  struct Member {
    VBucket* vb = nullptr;
    VBucket::Promotion to;
    bool active = false;  // already: only its epoch rises
  };

  Status Claim(const std::vector<Vbid>& vbuckets);
  /// WOULD_BLOCK: in a moment perhaps.
  Status ClaimOne(Vbid vbucket);
  /// `why` it cannot be promoted is everybody's failure, or its own.
  Status Refuse(Vbid vbucket, Status why);
  /// Refuses the members for which `refused` gives an error.
  Status RefuseMembers(const std::function<Status(const Member&)>& refused);
  Status FindUpdate();
  Status BeginAdoption(const UpdateId& id);
  std::optional<bool> DecisionOn(const UpdateId& id) const;
  Status NumberBranches();
  Status RecordAndActivate() CAIRN_EXCLUDES(core_.meta_mutex);
  Status Record() CAIRN_REQUIRES(core_.meta_mutex);
  void Activate(Member& member, Effects& fx);
  void Release();

  const ReplicationParts& parts_;
  Core& core_;
  const PromoteOptions options_;
  bool each_ = false;
  std::map<Vbid, Status> left_out_;  // each_: why
  std::vector<Member> members_;
  std::optional<proto::UpdateMeta> update_;  // that becomes this node's, or is decided here
  bool adopting_ = false;
};

}  // namespace cairn::engine
