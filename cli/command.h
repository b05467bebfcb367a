#pragma once
// The commands of cairnctl, one name each.

#include <cstdint>

namespace cairn::cli {

enum class Command : uint8_t {
  kUpdateStart,
  kUpdateComplete,
  kUpdateRevert,
  kUpdateStatus,
  kUpdateWatch,
  kStatus,
  kStats,
  kVbuckets,
  kCheckpoints,
  kLoad,
  kDump,
  kVerify,
  kGet,
  kSet,
  kDelete,
  kVersion,
  kReplicateAdd,
  kReplicateRemove,
  kReplicateList,
  kReplicateWatch,
  kReplicateVerify,
  kTap,
  kPromote,
  kDemote,
  kTakeover,
  kDurability,
};

}  // namespace cairn::cli
