#pragma once
// CopyCompare: are the vbuckets of two nodes the same? Two nodes that are at work are never asked at the same
// moment; what can be compared are figures at equal cuts. Each node's answers are fed in, as often as it
// takes, and a vbucket is decided when both nodes have been seen at one seqno: equal digests and item counts,
// or not. Pure; one thread.

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cli/admin_client.h"

namespace cairn::cli {

class CopyCompare {
 public:
  enum class Side : uint8_t { kHere, kPeer };
  struct Difference {
    uint32_t vbucket = 0;
    std::string what;  // "digest 00…1 here, 00…2 there at seqno 7"
  };

  /// `vbuckets`: those to compare; empty: all that a node names.
  explicit CopyCompare(std::vector<uint32_t> vbuckets) : chosen_(std::move(vbuckets)) {}

  /// A node's whole answer to ListVbuckets. Call it for both sides in turn.
  void Add(Side side, const std::vector<VbucketRow>& rows);
  /// Nothing more can come out of asking again.
  bool decided() const;
  /// Those that are not decided yet, ascending: what the next question is about. Empty before the first.
  std::vector<uint32_t> Open() const;

  uint64_t equal() const;
  uint64_t items() const;  // of the equal ones
  /// By vbucket; what is still open is a difference by now.
  std::vector<Difference> Differences() const;

 private:
  // So many answers of each node are kept: one of them may have been at the seqno where the other is now.
  static constexpr size_t kCutsKept = 64;
  // Different figures at one seqno are believed when they were seen so often, each time newly read.
  static constexpr int kConfirmations = 3;

  struct Copy {
    bool seen = false;
    VbucketRow last;
    std::deque<VbucketRow> cuts;  // with different seqnos, newest last
  };
  struct Pair {
    Copy here, peer;
    bool equal = false;
    bool different = false;
    int confirmations = 0;
    uint64_t items = 0;
    std::string what;
  };

  void Decide(Pair& pair, const Copy& asked, const Copy& other);

  const std::vector<uint32_t> chosen_;
  std::map<uint32_t, Pair> pairs_;
  bool heard_here_ = false;
  bool heard_peer_ = false;
};

}  // namespace cairn::cli
