#pragma once
// RecordWriter: makes the records of many vbuckets durable. Each stands for itself, so they go to the store
// in several batches where one would be too large (many vbuckets, long histories); the last one is synced,
// and those before it with it.
//
// On the stack of one thread, which holds Core::meta_mutex meanwhile (in recovery nobody else writes records)
// and no vbucket's mutex. Without a store it does nothing.

#include <cstddef>
#include <cstdint>

#include "engine/core.h"
#include "proto/meta_record.h"

namespace cairn::engine {

class RecordWriter {
 public:
  explicit RecordWriter(Core& core) : core_(core), generation_(core.store.generation()) {}
  RecordWriter(const RecordWriter&) = delete;
  RecordWriter& operator=(const RecordWriter&) = delete;

  /// Of each vbucket once.
  Status Add(Vbid vbucket, const proto::VbucketMeta& meta);
  /// OK: all that were added are durable. After an error of either call any of them may be. TMP_FAIL: the
  /// store was reopened in between, which may have lost the first ones; write all of them again.
  Status Finish();

 private:
  Core& core_;
  const uint64_t generation_;
  storage::LogBatch batch_;
  size_t bytes_ = 0;
  bool several_ = false;  // a batch has been written
};

}  // namespace cairn::engine
