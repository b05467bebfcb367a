#pragma once
// History: what clients have asked of the actives and were told, for the check of linearizability.
//
// Operations belong to the branch of history on which they were executed. A restart or a promotion goes on
// from a point of the branch before (its *fork*): what was written behind it is lost, and a key begins the
// new branch in one of the states it can have had there. Operations on a branch that was left behind (an old
// active that does not know yet) are checked among themselves. Owner: one World; one thread.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/types.h"
#include "tests/sim/linearizability.h"
#include "tests/sim/oracle.h"

namespace cairn::sim {

class History {
 public:
  /// An operation on one key; `seqno` of what it wrote, none: nothing.
  void Add(Vbid vbucket, uint64_t branch, const std::string& key, Seqno seqno, KeyOperation operation);
  /// On all keys of a vbucket (flush_all, START, REVERT).
  void AddToAll(Vbid vbucket, uint64_t branch, KeyOperation operation);

  struct Result {
    std::string failure;  // empty: linearizable
    uint64_t checked = 0, given_up = 0;
  };
  Result Check(const std::vector<Oracle::BranchInfo>& branches, uint32_t wall_max) const;

 private:
  struct Entry {
    Seqno seqno;
    KeyOperation operation;
  };
  using Branch = std::pair<uint16_t, uint64_t>;
  std::map<Branch, std::map<std::string, std::vector<Entry>>> keys_;
  std::map<Branch, std::vector<KeyOperation>> all_;
  std::map<uint16_t, std::map<std::string, bool>> known_;  // keys by vbucket

  std::vector<KeyOperation> Of(const Branch& branch, const std::string& key) const;
  /// Only what counts up to the fork, as it counts for what the key can be there.
  std::vector<KeyOperation> Until(const Branch& branch, const std::string& key, Seqno fork) const;
};

}  // namespace cairn::sim
