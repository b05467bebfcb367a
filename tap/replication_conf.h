#pragma once
// DATA_DIR/replication.conf: whom this node follows, and what was promoted here from whom. Text, one line
// each, written as a whole:
//
//   cairn replication 1
//   source 10.0.0.1:7070 node-b 0-1023
//   promoted 10.0.0.1:7070 untold 0-15,17
//
// "untold": the former source has not heard yet that somebody else is active. A source's line keeps the
// vbuckets that were promoted from it: they are followed again when the promotion is forgotten.
// Plain values, any thread.

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace cairn::tap {

/// Ascending, each once.
using VbucketSet = std::vector<Vbid>;

VbucketSet Union(const VbucketSet& a, const VbucketSet& b);
VbucketSet Difference(const VbucketSet& a, const VbucketSet& b);
VbucketSet Intersection(const VbucketSet& a, const VbucketSet& b);
/// "0-15,17"; empty for none.
std::string FormatVbuckets(const VbucketSet& vbuckets);
/// INVALID_ARGUMENT: not ascending, or not below `vbucket_count`.
Result<VbucketSet> ParseVbuckets(std::string_view text, uint32_t vbucket_count);

/// A node that this one follows.
struct Source {
  std::string address;  // HOST:PORT of its TAP service
  std::string name;     // of this consumer there; empty in a request: the node's name
  VbucketSet vbuckets;  // empty in a request: all
  bool operator==(const Source&) const = default;
};

struct Promotion {
  std::string address;  // of the former source
  VbucketSet told, untold;
  VbucketSet vbuckets() const { return Union(told, untold); }
  bool operator==(const Promotion&) const = default;
};

struct ReplicationConf {
  std::vector<Source> sources;        // their vbuckets do not overlap
  std::vector<Promotion> promotions;  // one per address; a vbucket is in one at most
  bool operator==(const ReplicationConf&) const = default;

  /// Nothing when there is none.
  const Source* FindSource(std::string_view address) const;
  /// Made when there is none.
  Source& SourceAt(const std::string& address);
  /// Everything promoted from there.
  VbucketSet PromotedFrom(std::string_view address) const;
  /// What is to be followed: the sources without what was promoted from each, and without empty ones.
  std::vector<Source> Followed() const;

  void RemoveFromSources(const VbucketSet& vbuckets);
  /// Forgets that they were promoted.
  void RemovePromotions(const VbucketSet& vbuckets);
  /// Also forgets an earlier promotion of these vbuckets.
  void AddPromotion(const std::string& address, const VbucketSet& vbuckets, bool told);
};

std::string FormatConf(const ReplicationConf& conf);
/// CORRUPTION names the line.
Result<ReplicationConf> ParseConf(std::string_view text, uint32_t vbucket_count);

}  // namespace cairn::tap
