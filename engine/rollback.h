#pragma once
// Rollback: takes one vbucket back to an exact point of its own log (docs/tap.md).
//
// The point is the last checkpoint's end in the log, or the log's end, or the merged cut, that is not above
// the wanted seqno; where none can be rebuilt the vbucket is emptied. Table and sequence are built from disk
// beside the old ones, as recovery does it, and put in their place; then one synced write cuts the log and
// sets the record; data is loaded behind. What fails is repeated: nobody knows what of a failed write has
// happened. What is given up is remembered (VbucketMeta::regain): the copy is not to be promoted before it
// has it again.
//
// Steps are called under the merger's pass mutex by one thread. Owned by whoever calls them.

#include <memory>
#include <optional>

#include "engine/core.h"
#include "engine/flusher.h"
#include "engine/merger.h"
#include "engine/replication.h"
#include "engine/snapshot_writer.h"
#include "engine/warmer.h"

namespace cairn::engine {

class Rollback {
 public:
  struct Parts {
    Core& core;
    Flusher& flusher;
    Merger& merger;
    Warmer& warmer;
    SnapshotWriter& snapshots;
  };
  Rollback(const Parts& parts, Vbid vbucket, Seqno to, PendingRef done)
      : parts_(parts), core_(parts.core), vbucket_(vbucket), to_(to), done_(std::move(done)) {}
  /// Answers CANCELLED when it has not ended.
  ~Rollback();
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;

  /// True when it has ended: it is answered, or has become an emptying. False: again, soon. An error names
  /// the vbucket: again, when the store may have recovered.
  Result<bool> Step();

 private:
  /// The point, and what is known of it.
  struct Point {
    Seqno seqno;
    CheckpointId open;  // the checkpoint that follows, or goes on
  };
  VBucket& vb() const { return *core_.vbuckets[vbucket_.get()]; }
  bool End(Status status);
  /// Hands over to an emptying, which answers.
  bool EndEmptied();
  /// False: not now, or ended with an answer.
  bool Hold();
  /// Nothing: the vbucket has to be emptied.
  Result<std::optional<Point>> Choose();
  Status NoteCut(const Item& item);
  /// Does data hold nothing behind the point? A pass that was cut short may have written such.
  Result<bool> DataIsBelow(storage::KvStore& store, Seqno point);
  proto::VbucketMeta RecordAt(const Point& point) const;
  Status Replay(const Point& point, VBucket& fresh);
  Status Rebuild(const Point& point);
  Status Cut();

  const Parts parts_;
  Core& core_;
  const Vbid vbucket_;
  const Seqno to_;
  PendingRef done_;
  bool held_ = false;
  bool replaced_ = false;
  Seqno at_;                      // the point, once the content is replaced
  bool cannot_ = false;           // a window that was open at the point could not be taken back
  bool last_update_cut_ = false;  // the marker that ended it is among what is cut
};

}  // namespace cairn::engine
