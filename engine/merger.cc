#include "engine/merger.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "base/thread_role.h"
#include "engine/record_writer.h"
#include "proto/disk_record.h"

namespace cairn::engine {
namespace {

// A pass begins when so much has been logged, or after so long with anything at all.
struct Patience {
  uint64_t bytes;
  int64_t ns;
};
constexpr Patience kUsual{24u << 20, 5'000'000'000};
constexpr Patience kDuringCopies{512u << 20, 120'000'000'000};
constexpr int64_t kSettleAfterNs = 2'000'000'000;  // of nothing new in the log
constexpr size_t kWriteBytes = 4u << 20;
constexpr size_t kPassBytesMax = 64u << 20;
// One that ends early for others has done so much; each of them ends with a file, and small files cost more.
constexpr size_t kPassBytesMin = 4u << 20;

// How long a vbucket is left alone for somebody who wants to read its data, at most.
constexpr int64_t kLeftAloneNs = 2'000'000'000;
// How long the next pass lets those go first who wait, at most: as long as the last one took, within these.
constexpr int64_t kLettingInMinNs = 200'000'000;
constexpr int64_t kLettingInMaxNs = 5'000'000'000;

constexpr int64_t kPurgesPerRetention = 16;
constexpr int64_t kSecond = 1'000'000'000;

size_t RecordSize(const Item& item) { return item.key().size() + item.value_size() + 32; }

const proto::VoidRange* VoidRangeOf(Seqno seqno, const std::vector<proto::VoidRange>& voids) {
  for (const proto::VoidRange& range : voids) {
    if (seqno > range.start && seqno <= range.end) return &range;
  }
  return nullptr;
}

/// Newest version of each key, in order of key.
void KeepNewest(std::vector<ItemRef>* items) {
  std::sort(items->begin(), items->end(), [](const ItemRef& a, const ItemRef& b) {
    const int order = a->key().compare(b->key());
    return order != 0 ? order < 0 : a->seqno() > b->seqno();
  });
  const auto same_key = [](const ItemRef& a, const ItemRef& b) { return a->key() == b->key(); };
  items->erase(std::unique(items->begin(), items->end(), same_key), items->end());
}

/// Where a pass may stop before its bound, while it reads a log.
class StopPlaces {
 public:
  /// May it stop in front of this operation?
  bool Before(const proto::LogRecord& next) const {
    return any_ && !behind_void_ && !in_flush_ && next.checkpoint != checkpoint_;
  }
  Status Pass(const proto::LogRecord& record) {
    any_ = true;
    behind_void_ = false;
    checkpoint_ = record.checkpoint;
    if (!record.item->is_marker()) return Status::Ok();
    CAIRN_ASSIGN_OR_RETURN(const proto::Marker marker, proto::DecodeMarker(record.item->value()));
    // What flush_all removed is to go as one, and the marker that says so is behind the cut then.
    if (marker.type == proto::MarkerType::kFlush) in_flush_ = true;
    if (marker.type == proto::MarkerType::kFlushEnd) in_flush_ = false;
    return Status::Ok();
  }
  /// A voided range was left out. The marker behind it belongs to it: at its end the log alone would say
  /// that the range holds.
  void PassVoid() { behind_void_ = true; }

 private:
  bool any_ = false;
  bool behind_void_ = false;
  bool in_flush_ = false;
  CheckpointId checkpoint_;
};

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
    const int64_t now = core_.clock->SteadyNs();
    const Patience& patience = IsPutOff(now) ? kDuringCopies : kUsual;
    if (kicked_ || bytes >= patience.bytes) break;
    if (now >= next_purge_ns_.load(std::memory_order_relaxed)) break;
    if (bytes > 0 && now - since >= patience.ns) break;
    wake_.WaitFor(mutex_, std::chrono::milliseconds(50));
    if (bytes == 0 && !settled_ && now - since >= kSettleAfterNs) return true;
  }
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

// A mutex is not fair: who takes it again at once is mostly first. And one turn of those who wait is short: a
// copy, which comes back for the next one, gets as much of the time as passes that have to be.
void Merger::LetOthersIn(int64_t pass_ns) {
  const int64_t until_ns = core_.clock->SteadyNs() + std::clamp(pass_ns, kLettingInMinNs, kLettingInMaxNs);
  MutexLock lock(mutex_);
  while (!stopping_) {
    const int64_t now_ns = core_.clock->SteadyNs();
    const bool copying = IsPutOff(now_ns) && !kicked_;
    if (now_ns >= until_ns || (awaited_.load(std::memory_order_relaxed) == 0 && !copying)) break;
    wake_.WaitFor(mutex_, std::chrono::milliseconds(1));
  }
  kicked_ = false;
}

bool Merger::IsLeftAlone(Vbid vbucket) {
  MutexLock lock(stable_mutex_);
  const auto wanted = wanted_.find(vbucket.get());
  if (wanted == wanted_.end() || unstable_.count(vbucket.get()) != 0) return false;
  if (core_.clock->SteadyNs() < wanted->second) return true;
  wanted_.erase(wanted);
  return false;
}

void Merger::Run() {
  BeginThread("merger", ThreadRole::kBackground);
  int64_t pass_ns = 0;
  while (WaitForWork()) {
    SettleIfIdle();
    if (const Result<bool> purged = RunPurge(); !purged.ok()) {
      CAIRN_LOG(kWarn, "cannot purge tombstones: {}", purged.status().ToString());
      if (NeedsReopen(purged.code())) core_.report_store_failure();
    }
    for (;;) {
      LetOthersIn(pass_ns);
      pass_ns = -core_.clock->SteadyNs();
      const Result<bool> merged = RunPass();
      pass_ns += core_.clock->SteadyNs();
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
      // Whether what is left has to follow at once is another question while a copy is under way.
      if (!merged.ok() || !more_ || IsPutOff(core_.clock->SteadyNs())) break;
      MutexLock lock(mutex_);
      if (stopping_) break;
    }
  }
}

Result<bool> Merger::RunPass() {
  if (!core_.store.present()) return false;
  MutexLock pass(pass_mutex_);
  const uint64_t offered = core_.unmerged_bytes.exchange(0, std::memory_order_relaxed);
  more_ = false;
  const uint64_t generation = core_.store.generation();
  changes_.clear();
  cuts_.clear();
  changes_bytes_ = pass_bytes_ = 0;
  const auto count = static_cast<uint32_t>(core_.vbuckets.size());
  if (next_vbucket_ >= count) next_vbucket_ = 0;
  const uint32_t first = next_vbucket_;
  wanted_now_.store(false, std::memory_order_relaxed);
  bool left_alone = false;
  bool early = false;
  // In ascending order so that data is written sorted; a pass that wrapped around would not be.
  for (; next_vbucket_ < count && pass_bytes_ < kPassBytesMax; ++next_vbucket_) {
    early = pass_bytes_ >= kPassBytesMin && InHurry();
    if (early) break;
    Part part;
    if (!LookAt(*core_.vbuckets[next_vbucket_], &part)) continue;
    if (IsLeftAlone(part.vbucket)) {
      left_alone = true;
      continue;
    }
    Seqno through = part.merged;
    CAIRN_RETURN_IF_ERROR(Collect(part, &through));
    GiveWay();
    cuts_.push_back({part.vbucket, through});
    if (through < part.bound) break;  // the rest of this vbucket is the next pass's first
  }
  // The ones before it, or behind those that were read.
  more_ = early || pass_bytes_ >= kPassBytesMax || (next_vbucket_ >= count && first != 0);
  if (more_ || left_alone) {
    const uint64_t left = offered > pass_bytes_ ? offered - pass_bytes_ : 1;
    core_.unmerged_bytes.fetch_add(left, std::memory_order_relaxed);
  }
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

bool Merger::LookAt(VBucket& vb, Part* part) {
  MutexLock lock(vb.mutex);
  if (!vb.exists()) return false;
  part->vbucket = vb.id();
  part->merged = vb.merged();
  part->bound = vb.MergeBound();
  part->voids = vb.void_ranges();
  // Never inside a voided range, nor at its end: the marker behind it is merged with it.
  for (const proto::VoidRange& range : part->voids) {
    if (part->bound > range.start && part->bound <= range.end) part->bound = range.start;
  }
  return part->bound > part->merged;
}

Status Merger::ReadPart(const Part& part, std::vector<ItemRef>* items, Seqno* through) {
  StoreGate::Access store(core_.store);
  StopPlaces stop;
  Seqno last = part.merged;
  for (Seqno from = part.merged + 1; from <= part.bound;) {
    std::unique_ptr<storage::Iterator> it = store->ReadLog(part.vbucket, from, part.bound);
    const proto::VoidRange* left_out = nullptr;
    for (; it->Valid(); it->Next()) {
      const Seqno seqno = it->log_key().seqno;
      left_out = VoidRangeOf(seqno, part.voids);
      if (left_out != nullptr) break;
      CAIRN_ASSIGN_OR_RETURN(proto::LogRecord record,
                             proto::DecodeLogRecord(part.vbucket, seqno, it->record()));
      if (pass_bytes_ >= kPassBytesMax && stop.Before(record)) {
        *through = last;
        return Status::Ok();
      }
      CAIRN_RETURN_IF_ERROR(stop.Pass(record));
      last = seqno;
      pass_bytes_ += it->record().size() + 16;
      if (!record.item->is_marker()) items->push_back(std::move(record.item));
    }
    CAIRN_RETURN_IF_ERROR(it->status());
    if (left_out == nullptr) break;
    stop.PassVoid();
    from = left_out->end + 1;
  }
  *through = part.bound;
  return Status::Ok();
}

Status Merger::Collect(const Part& part, Seqno* through) {
  std::vector<ItemRef> items;
  {
    const IdleScope idle(!InHurry());
    CAIRN_RETURN_IF_ERROR(ReadPart(part, &items, through));
    KeepNewest(&items);
  }
  core_.metrics.Add(Metric::kMergedOperations, items.size());
  for (const ItemRef& item : items) {
    storage::DataChange& change = changes_.emplace_back();
    change.vbucket = part.vbucket;
    change.key = std::string(item->key());
    proto::EncodeDataRecord(part.vbucket, *item, &change.record);
    changes_bytes_ += RecordSize(*item);
    if (changes_bytes_ >= kWriteBytes) CAIRN_RETURN_IF_ERROR(WriteChanges());
  }
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
  {
    MutexLock lock(stable_mutex_);
    for (size_t i = 0; i < changes_.size(); ++i) {
      if (i == 0 || changes_[i].vbucket != changes_[i - 1].vbucket)
        unstable_.insert(changes_[i].vbucket.get());
    }
  }
  {
    const IdleScope idle(!InHurry());  // not around stable_mutex_, which a stream that opens a backfill takes
    CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->WriteData(changes_));
  }
  changes_.clear();
  changes_bytes_ = 0;
  return Status::Ok();
}

Status Merger::WriteMetas(const std::vector<Cut>& cuts) {
  MutexLock lock_records(core_.meta_mutex);
  RecordWriter records(core_);
  for (const Cut& cut : cuts) {
    VBucket& vb = *core_.vbuckets[cut.vbucket.get()];
    proto::VbucketMeta meta;
    {
      MutexLock lock(vb.mutex);
      if (!vb.exists()) continue;
      meta = vb.MetaAt(cut.through);
    }
    CAIRN_RETURN_IF_ERROR(records.Add(cut.vbucket, meta));
  }
  return records.Finish();
}

Status Merger::RecordCuts() {
  CAIRN_RETURN_IF_ERROR(WriteMetas(cuts_));
  CAIRN_CRASH_POINT("merger.after_cut");
  for (const Cut& cut : cuts_) {
    VBucket& vb = *core_.vbuckets[cut.vbucket.get()];
    {
      MutexLock lock(vb.mutex);
      if (!vb.exists()) continue;
      vb.MarkMerged(cut.through);
    }
    {
      MutexLock lock(stable_mutex_);
      unstable_.erase(cut.vbucket.get());
      doubtful_.erase(cut.vbucket.get());
    }
    StoreGate::Access(core_.store)->ReleaseLog(cut.vbucket, Releasable(cut.vbucket, cut.through));
    GiveWay();
  }
  return Status::Ok();
}

void Merger::NoteRecovered() {
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(stable_mutex_);
    MutexLock vb_lock(vb->mutex);
    // At the start of an open window merging has stopped for good, and goes on only when the marker that
    // ended it is durable (MergeBound); else a pass may have begun.
    const bool at_window = vb->window() && vb->window()->start == vb->merged();
    if (vb->exists() && vb->persisted() > vb->merged() && !at_window) doubtful_.insert(vb->id().get());
  }
}

void Merger::NoteLoaded(Vbid vbucket, Seqno highest) {
  {
    MutexLock lock(stable_mutex_);
    if (doubtful_.count(vbucket.get()) == 0) return;
    VBucket& vb = *core_.vbuckets[vbucket.get()];
    MutexLock vb_lock(vb.mutex);
    if (highest <= vb.merged()) {
      doubtful_.erase(vbucket.get());
      return;
    }
    vb.AllowMergeBehind(highest);
  }
  core_.unmerged_bytes.fetch_add(1, std::memory_order_relaxed);
}

void Merger::NoteEmptied(Vbid vbucket) {
  MutexLock lock(stable_mutex_);
  unstable_.erase(vbucket.get());
  doubtful_.erase(vbucket.get());
}

bool Merger::stable(Vbid vbucket) const {
  MutexLock lock(stable_mutex_);
  return unstable_.count(vbucket.get()) == 0 && doubtful_.count(vbucket.get()) == 0;
}

bool Merger::WithStableData(Vbid vbucket, const std::function<void(Seqno merged)>& look) {
  MutexLock lock(stable_mutex_);
  if (doubtful_.count(vbucket.get()) != 0) return false;
  if (unstable_.count(vbucket.get()) != 0) {
    wanted_[vbucket.get()] = core_.clock->SteadyNs() + kLeftAloneNs;
    wanted_now_.store(true, std::memory_order_relaxed);
    return false;
  }
  wanted_.erase(vbucket.get());
  Seqno merged;
  {
    VBucket& vb = *core_.vbuckets[vbucket.get()];
    MutexLock vb_lock(vb.mutex);
    merged = vb.merged();
  }
  look(merged);
  log_holds_[vbucket.get()].insert(merged);
  PutOff();
  return true;
}

bool Merger::HoldLog(Vbid vbucket, Seqno after) {
  MutexLock lock(stable_mutex_);
  VBucket& vb = *core_.vbuckets[vbucket.get()];
  MutexLock vb_lock(vb.mutex);
  if (vb.merged() > after) return false;
  log_holds_[vbucket.get()].insert(after);
  return true;
}

void Merger::DropLogHold(Vbid vbucket, Seqno after) {
  // The log goes with the next pass that concerns the vbucket.
  MutexLock lock(stable_mutex_);
  const auto held = log_holds_.find(vbucket.get());
  CAIRN_CHECK(held != log_holds_.end());
  held->second.erase(held->second.find(after));
  if (held->second.empty()) log_holds_.erase(held);
}

Seqno Merger::Releasable(Vbid vbucket, Seqno through) const {
  MutexLock lock(stable_mutex_);
  const auto held = log_holds_.find(vbucket.get());
  return held == log_holds_.end() ? through : std::min(through, *held->second.begin());
}

Result<bool> Merger::RunPurge() {
  if (!core_.store.present()) return false;
  const int64_t now = core_.clock->SteadyNs();
  if (now < next_purge_ns_.load(std::memory_order_relaxed)) return false;
  MutexLock pass(pass_mutex_);
  const int64_t retention = int64_t{core_.options.tombstone_retention_s} * kSecond;
  next_purge_ns_.store(now + std::max(retention / kPurgesPerRetention, kSecond), std::memory_order_relaxed);
  Remembered& present = remembered_.emplace_back();
  present.at_ns = now;
  for (const auto& vb : core_.vbuckets) {
    MutexLock lock(vb->mutex);
    present.places.push_back({vb->exists() ? vb->merged() : Seqno(), vb->content()});
  }
  while (!remembered_.empty() && now - remembered_.front().at_ns >= retention) {
    const Remembered old = std::move(remembered_.front());
    remembered_.pop_front();
    if (remembered_.empty() || now - remembered_.front().at_ns < retention) RaisePurges(old);
  }
  if (purges_.empty()) return false;
  std::vector<Cut> at_merged;
  for (const Cut& purge : purges_) {
    VBucket& vb = *core_.vbuckets[purge.vbucket.get()];
    MutexLock lock(vb.mutex);
    at_merged.push_back({purge.vbucket, vb.merged()});
  }
  CAIRN_CRASH_POINT("merger.before_purge");
  CAIRN_RETURN_IF_ERROR(WriteMetas(at_merged));
  CAIRN_CRASH_POINT("merger.after_purge");
  for (const Cut& purge : purges_) {
    VBucket& vb = *core_.vbuckets[purge.vbucket.get()];
    Seqno purged;
    {
      MutexLock lock(vb.mutex);
      purged = vb.purged();  // emptied since: nothing was promised of what it holds now
    }
    StoreGate::Access(core_.store)->ReleaseTombstones(purge.vbucket, std::min(purge.through, purged));
  }
  purges_.clear();
  return true;
}

void Merger::RaisePurges(const Remembered& old) {
  for (const auto& vb : core_.vbuckets) {
    const Remembered::Place& place = old.places[vb->id().get()];
    MutexLock lock(vb->mutex);
    if (!vb->exists() || vb->content() != place.content || place.merged <= vb->purged()) continue;
    vb->RaisePurge(place.merged);
    purges_.push_back({vb->id(), place.merged});
  }
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
