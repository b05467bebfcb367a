#pragma once
// Promotion: one attempt to make vbuckets active, all of them or none (Replication::Promote). Lives on the
// control thread for the time of the attempt.
//
//   claim      nothing is applied to them any more; what they have becomes durable
//   find       the online update that some of them are in the window of: still open, or decided somewhere
//   here record     epoch, branch, gap and the update's record, in one synced write activate   in memory: the
//   update's phase, then each vbucket, then whoever waited

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

  Status Run(const std::vector<Vbid>& vbuckets);

 private:
  struct Member {
    VBucket* vb = nullptr;
    VBucket::Promotion to;
    bool active = false;  // already: only its epoch rises
  };

  Status Claim(const std::vector<Vbid>& vbuckets);
  Status ClaimOne(VBucket& vb);
  Status FindUpdate();
  std::optional<bool> DecisionOn(const UpdateId& id) const;
  Status NumberBranches();
  Status RecordAndActivate() CAIRN_EXCLUDES(core_.meta_mutex);
  Status Record() CAIRN_REQUIRES(core_.meta_mutex);
  void Activate(Member& member, Effects& fx);
  void Release();

  const ReplicationParts& parts_;
  Core& core_;
  const PromoteOptions options_;
  std::vector<Member> members_;
  std::optional<proto::UpdateMeta> update_;  // that becomes this node's, or is decided here
  bool adopting_ = false;
};

}  // namespace cairn::engine
