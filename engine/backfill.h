#pragma once
// DiskBackfill: what a stream reads that memory does not hold any more (engine/replication.h, docs/tap.md).
//
// Opened, it holds the log of its vbucket behind where the log part will begin, and an iterator over data at
// the merged cut when the log does not reach back so far. The log part begins with a look at what is
// persisted, so it ends as close to the present as can be. Operations of a window that was taken back before
// the cut, and that reach behind it, are left out: the data part is without them.
//
// When the store is reopened after an error, data has to be begun again: Next answers TMP_FAIL. CANCELLED:
// the vbucket's content was replaced. Owned by one thread; ends before its engine.

#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/core.h"
#include "engine/merger.h"
#include "engine/replication.h"

namespace cairn::engine {

class DiskBackfill final : public Backfill {
 public:
  /// As Replication::OpenBackfill; OUT_OF_RANGE when tombstones behind `after` may be gone.
  static Result<std::unique_ptr<Backfill>> Open(Core& core, Merger& merger, Vbid vbucket, Seqno after);
  ~DiskBackfill() override;
  DiskBackfill(const DiskBackfill&) = delete;
  DiskBackfill& operator=(const DiskBackfill&) = delete;

  Result<Chunk> Next(size_t bytes_max) override;
  bool has_data() const override { return has_data_; }
  Seqno data_end() const override { return data_end_; }
  Seqno end() const override { return position_; }
  uint64_t records_left() const override { return records_left_; }

 private:
  enum class Stage : uint8_t { kData, kLog, kEnd };

  DiskBackfill(Core& core, Merger& merger, Vbid vbucket, Seqno after);
  VBucket& vb() const { return *core_.vbuckets[vbucket_.get()]; }
  Status Begin();
  Status BeginData();
  /// How far the log part goes, and in which checkpoint the operation behind it lies.
  void LookAtLog();
  Result<Chunk> NextData(size_t bytes_max);
  Result<Chunk> NextLog(size_t bytes_max);
  /// The checkpoint behind position_ becomes pending_.
  Status ReadCheckpoint();
  /// The checkpoint that a consumer of the data part opens: the first operation that follows is in it.
  Status FindDataCheckpoint(const StoreGate::Access& store);
  bool LeftOut(Seqno seqno) const;
  void AddPending(ItemRef item);

  Core& core_;
  Merger& merger_;
  const Vbid vbucket_;
  const Seqno after_;
  uint64_t content_ = 0;  // of the vbucket when this began
  Stage stage_ = Stage::kLog;
  bool held_ = false;
  Seqno hold_;  // where the log is held
  bool has_data_ = false;
  Seqno data_end_;
  CheckpointId data_checkpoint_;
  std::shared_ptr<StoreGate::Pin> data_;
  std::vector<proto::VoidRange> left_out_;  // they reach behind data_end_, their beginning does not
  uint64_t records_left_ = 0;

  Seqno position_;  // everything up to here was given
  bool looked_ = false;
  Seqno log_end_;            // the log part ends here
  CheckpointId behind_log_;  // the checkpoint of the operation behind log_end_
  // The checkpoint that is being given out: newest versions, superseded ones are null.
  std::vector<ItemRef> pending_;
  std::unordered_map<std::string_view, size_t> newest_;  // key → index in pending_, behind the last marker
  size_t pending_at_ = 0;
  bool has_pending_ = false;
  CheckpointId pending_checkpoint_;
  Seqno pending_end_;
};

}  // namespace cairn::engine
