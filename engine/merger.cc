#include "engine/merger.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "proto/disk_record.h"
#include "proto/meta_record.h"

namespace cairn::engine {
namespace {

// A pass begins when so much has been logged, or after so long with anything at all.
constexpr uint64_t kPassAtBytes = 24u << 20;
constexpr int64_t kPassEveryNs = 5'000'000'000;
constexpr int64_t kSettleAfterNs = 2'000'000'000;  // of nothing new in the log
constexpr size_t kWriteBytes = 4u << 20;
constexpr size_t kPassBytesMax = 64u << 20;

size_t RecordSize(const Item& item) { return item.key().size() + item.value_size() + 32; }

}  // namespace

Merger::Merger(Core& core) : core_(core) {}
Merger::~Merger() { Stop(); }

void Merger::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Merger::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Merger::Kick() {
  MutexLock lock(mutex_);
  kicked_ = true;
  wake_.NotifyAll();
}

bool Merger::WaitForWork() {
  MutexLock lock(mutex_);
  const int64_t since = core_.clock->SteadyNs();
  while (!stopping_) {
    const uint64_t bytes = core_.unmerged_bytes.load(std::memory_order_relaxed);
    if (kicked_ || bytes >= kPassAtBytes) break;
    if (bytes > 0 && core_.clock->SteadyNs() - since >= kPassEveryNs) break;
    wake_.WaitFor(mutex_, std::chrono::milliseconds(50));
    if (bytes == 0 && !settled_ && core_.clock->SteadyNs() - since >= kSettleAfterNs) return true;
  }
  kicked_ = false;
  return !stopping_;
}

void Merger::SettleIfIdle() {
  // Whoever wrote meanwhile is not held up: RocksDB flushes behind writers.
  if (settled_ || core_.unmerged_bytes.load(std::memory_order_relaxed) != 0) return;
  settled_ = true;
  const Status status = StoreGate::Access(core_.store)->Settle();
  if (status.ok()) return;
  CAIRN_LOG(kWarn, "cannot settle the store: {}", status.ToString());
  if (NeedsReopen(status.code())) core_.report_store_failure();
}

void Merger::Run() {
  while (WaitForWork()) {
    SettleIfIdle();
    for (;;) {
      const Result<bool> merged = RunPass();
      if (!merged.ok()) {
        CAIRN_LOG(kError, "cannot merge: {}", merged.status().ToString());
        core_.metrics.Add(Metric::kMergeErrors);
        core_.unmerged_bytes.fetch_add(1, std::memory_order_relaxed);  // there is still something to do
        if (merged.code() == Code::kAmbiguous || merged.code() == Code::kIoError ||
            merged.code() == Code::kNoSpace)
          core_.report_store_failure();
        MutexLock lock(mutex_);
        if (!stopping_) wake_.WaitFor(mutex_, std::chrono::seconds(1));
      }
      MutexLock lock(mutex_);
      // Only a pass that stopped at its bound of bytes leaves something for at once.
      if (stopping_ || !merged.ok() || pass_bytes_ < kPassBytesMax) break;
    }
  }
}

Result<bool> Merger::RunPass() {
  if (!core_.store.present()) return false;
  MutexLock pass(pass_mutex_);
  core_.unmerged_bytes.store(0, std::memory_order_relaxed);
  const uint64_t generation = core_.store.generation();
  changes_.clear();
  cuts_.clear();
  changes_bytes_ = pass_bytes_ = 0;
  const auto count = static_cast<uint32_t>(core_.vbuckets.size());
  if (next_vbucket_ >= count) next_vbucket_ = 0;
  const uint32_t first = next_vbucket_;
  // In ascending order so that data is written sorted; a pass that wrapped around would not be.
  for (; next_vbucket_ < count && pass_bytes_ < kPassBytesMax; ++next_vbucket_) {
    VBucket& vb = *core_.vbuckets[next_vbucket_];
    Seqno merged;
    Seqno bound;
    std::vector<proto::VoidRange> voids;
    {
      MutexLock lock(vb.mutex);
      if (!vb.exists()) continue;
      merged = vb.merged();
      bound = vb.MergeBound();
      voids = vb.void_ranges();
    }
    if (bound <= merged) continue;
    Seqno through = merged;
    CAIRN_RETURN_IF_ERROR(Collect(vb.id(), merged, bound, voids, &through));
    cuts_.push_back({vb.id(), through});
    if (through < bound) break;  // the rest of this vbucket is the next pass's first
  }
  if (next_vbucket_ >= count && first != 0) pass_bytes_ = kPassBytesMax;  // the ones before it follow at once
  if (cuts_.empty()) return false;
  CAIRN_RETURN_IF_ERROR(WriteChanges());
  CAIRN_CRASH_POINT("merger.before_flush");
  {
    StoreGate::Access store(core_.store);
    CAIRN_RETURN_IF_ERROR(store->FlushData());
    // Reopened since the pass began: changes written before are gone, the next pass gives them again.
    if (core_.store.generation() != generation) return Status(Code::kTmpFail, "the store was reopened");
  }
  CAIRN_CRASH_POINT("merger.before_cut");
  CAIRN_RETURN_IF_ERROR(RecordCuts());
  settled_ = false;
  // Between passes, which may be far apart, no memory is kept.
  std::vector<storage::DataChange>().swap(changes_);
  core_.metrics.Add(Metric::kMergePasses);
  return true;
}

Status Merger::Collect(Vbid vbucket, Seqno merged, Seqno bound, const std::vector<proto::VoidRange>& voids,
                       Seqno* through) {
  std::vector<ItemRef> items;
  {
    StoreGate::Access store(core_.store);
    std::unique_ptr<storage::Iterator> it = store->ReadLog(vbucket, merged + 1, bound);
    *through = bound;
    for (; it->Valid(); it->Next()) {
      const Seqno seqno = it->log_key().seqno;
      if (pass_bytes_ >= kPassBytesMax) {
        *through = seqno - 1;
        break;
      }
      pass_bytes_ += it->record().size() + 16;
      const bool is_void = std::any_of(voids.begin(), voids.end(), [&](const proto::VoidRange& range) {
        return seqno > range.start && seqno <= range.end;
      });
      if (is_void) continue;
      CAIRN_ASSIGN_OR_RETURN(proto::LogRecord record, proto::DecodeLogRecord(vbucket, seqno, it->record()));
      if (!record.item->is_marker()) items.push_back(std::move(record.item));
    }
    CAIRN_RETURN_IF_ERROR(it->status());
  }
  std::sort(items.begin(), items.end(), [](const ItemRef& a, const ItemRef& b) {
    const int order = a->key().compare(b->key());
    return order != 0 ? order < 0 : a->seqno() < b->seqno();
  });
  for (size_t i = 0; i < items.size(); ++i) {
    if (i + 1 < items.size() && items[i]->key() == items[i + 1]->key()) continue;  // a newer one follows
    storage::DataChange& change = changes_.emplace_back();
    change.vbucket = vbucket;
    change.key = std::string(items[i]->key());
    change.remove = items[i]->is_deleted();
    if (!change.remove) proto::EncodeDataRecord(vbucket, *items[i], &change.record);
    changes_bytes_ += RecordSize(*items[i]);
    if (changes_bytes_ >= kWriteBytes) CAIRN_RETURN_IF_ERROR(WriteChanges());
  }
  core_.metrics.Add(Metric::kMergedOperations, items.size());
  return Status::Ok();
}

Status Merger::WriteChanges() {
  if (changes_.empty()) return Status::Ok();
  CAIRN_CRASH_POINT("merger.before_data");
  // Without syncs of its own the log may lose what data already has, and a vbucket would come back with some
  // later operations and without earlier ones.
  if (core_.options.sync == SyncPolicy::kNone) {
    CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->SyncLog());
  }
  CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->WriteData(changes_));
  changes_.clear();
  changes_bytes_ = 0;
  return Status::Ok();
}

Status Merger::RecordCuts() {
  storage::LogBatch batch;
  size_t bytes = 0;
  for (const Cut& cut : cuts_) {
    VBucket& vb = *core_.vbuckets[cut.vbucket.get()];
    {
      MutexLock lock(vb.mutex);
      if (!vb.exists()) continue;
      batch.meta_puts.emplace_back(proto::VbucketMetaName(cut.vbucket),
                                   proto::EncodeVbucketMeta(cut.vbucket, vb.MetaAt(cut.through)));
    }
    // Each cut stands for itself; with long histories one batch would be too large.
    bytes += batch.meta_puts.back().second.size();
    if (bytes < storage::kLogBatchBytesSoft) continue;
    CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->WriteLog(batch, false));
    batch = {};
    bytes = 0;
  }
  CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->WriteLog(batch, true));
  CAIRN_CRASH_POINT("merger.after_cut");
  StoreGate::Access store(core_.store);
  for (const Cut& cut : cuts_) {
    VBucket& vb = *core_.vbuckets[cut.vbucket.get()];
    {
      MutexLock lock(vb.mutex);
      if (!vb.exists()) continue;
      vb.MarkMerged(cut.through);
    }
    store->ReleaseLog(cut.vbucket, cut.through);
  }
  return Status::Ok();
}

uint64_t Merger::Backlog() const {
  uint64_t backlog = 0;
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    if (vb->exists()) backlog += vb->high_seqno() - vb->merged();
  }
  return backlog;
}

}  // namespace cairn::engine
