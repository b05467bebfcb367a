#include "engine/storage/log_release.h"

#include <algorithm>
#include <utility>

#include "base/thread_role.h"
#include "engine/storage/store_key.h"
#include "proto/disk_record.h"

namespace cairn::storage {
namespace {

class LogReleaseFilter final : public rocksdb::CompactionFilter {
 public:
  explicit LogReleaseFilter(LogRelease::Table released) : released_(std::move(released)) {}

  Decision FilterV2(int /*level*/, const rocksdb::Slice& key, ValueType /*type*/,
                    const rocksdb::Slice& /*record*/, std::string* /*new_value*/,
                    std::string* skip_until) const override {
    if (key.size() != kLogKeySize) return Decision::kKeep;
    const LogKey log_key = DecodeLogKey(key.ToStringView());
    if (log_key.vbucket.get() != current_ || !looked_up_) LookUp(log_key.vbucket.get());
    if (log_key.seqno.get() > current_released_) return Decision::kKeep;
    GiveWay();  // what is skipped does not come to where files are written, and others get their turns
    // Unlike kRemove this leaves no tombstone. An older version of a skipped position may show again; it is
    // released as well, so nobody reads it.
    *skip_until = EncodeLogKey({log_key.vbucket, Seqno(current_released_ + 1)});
    return Decision::kRemoveAndSkipUntil;
  }
  const char* Name() const override { return "cairn.LogReleaseFilter"; }

 private:
  // Keys come in order, so a vbucket is looked up once. One thread uses one filter.
  void LookUp(uint16_t vbucket) const {
    const auto found = released_.find(vbucket);
    current_ = vbucket;
    current_released_ = found == released_.end() ? 0 : found->second;
    looked_up_ = true;
  }

  const LogRelease::Table released_;
  mutable bool looked_up_ = false;
  mutable uint16_t current_ = 0;
  mutable uint64_t current_released_ = 0;
};

class TombstoneFilter final : public rocksdb::CompactionFilter {
 public:
  explicit TombstoneFilter(LogRelease::Table released) : released_(std::move(released)) {}

  Decision FilterV2(int /*level*/, const rocksdb::Slice& key, ValueType type, const rocksdb::Slice& record,
                    std::string* /*new_value*/, std::string* /*skip_until*/) const override {
    if (type != ValueType::kValue || key.size() < kVbucketPrefixSize) return Decision::kKeep;
    const std::optional<Seqno> seqno = proto::DataTombstone(record.ToStringView());
    if (!seqno) return Decision::kKeep;
    const auto found = released_.find(VbucketOfKey(key.ToStringView()).get());
    return found != released_.end() && seqno->get() <= found->second ? Decision::kRemove : Decision::kKeep;
  }
  const char* Name() const override { return "cairn.TombstoneFilter"; }

 private:
  const LogRelease::Table released_;
};

}  // namespace

uint64_t LogRelease::Release(Vbid vbucket, Seqno through) {
  // One above has to fit, for the end of the range that is skipped.
  const uint64_t wanted = std::min(through.get(), kSeqnoMax);
  MutexLock lock(mutex_);
  uint64_t& mark = released_[vbucket.get()];
  if (wanted <= mark) return 0;
  return wanted - std::exchange(mark, wanted);
}

void LogRelease::Forget(Vbid vbucket) {
  MutexLock lock(mutex_);
  released_.erase(vbucket.get());
}

LogRelease::Table LogRelease::Copy() const {
  MutexLock lock(mutex_);
  return released_;
}

std::unique_ptr<rocksdb::CompactionFilter> TombstoneFilterFactory::CreateCompactionFilter(
    const rocksdb::CompactionFilter::Context& /*context*/) {
  return std::make_unique<TombstoneFilter>(release_->Copy());
}

std::unique_ptr<rocksdb::CompactionFilter> LogReleaseFilterFactory::CreateCompactionFilter(
    const rocksdb::CompactionFilter::Context& /*context*/) {
  return std::make_unique<LogReleaseFilter>(release_->Copy());
}

bool LogReleaseFilterFactory::ShouldFilterTableFileCreation(rocksdb::TableFileCreationReason reason) const {
  // Not in recovery: nothing is released then, and what is there after opening should not depend on it.
  return reason == rocksdb::TableFileCreationReason::kFlush ||
         reason == rocksdb::TableFileCreationReason::kCompaction;
}

}  // namespace cairn::storage
