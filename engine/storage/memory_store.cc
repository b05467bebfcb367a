#include "engine/storage/memory_store.h"

#include <algorithm>

#include "engine/storage/log_batch.h"
#include "proto/disk_record.h"

namespace cairn::storage {
namespace {

// A copy of the range (of the pointers, not of the bytes), which makes it a snapshot.
class MemoryIterator final : public Iterator {
 public:
  struct Entry {
    LogKey log_key;
    std::string data_key;
    std::shared_ptr<const std::string> record;
  };
  MemoryIterator(std::vector<Entry> entries, Status status)
      : entries_(std::move(entries)), status_(std::move(status)) {}

  bool Valid() const override { return status_.ok() && at_ < entries_.size(); }
  void Next() override {
    CAIRN_CHECK(Valid());
    ++at_;
  }
  LogKey log_key() const override { return entries_[at_].log_key; }
  std::string_view data_key() const override { return entries_[at_].data_key; }
  std::string_view record() const override { return *entries_[at_].record; }
  Status status() const override { return status_; }

 private:
  const std::vector<Entry> entries_;
  size_t at_ = 0;
  const Status status_;
};

Status Absent() { return Status(Code::kNotFound); }

template <class Map, class InVbucket>
void EraseVbucket(Map& map, typename Map::iterator from, InVbucket in_vbucket) {
  auto end = from;
  while (end != map.end() && in_vbucket(end->first)) ++end;
  map.erase(from, end);
}

}  // namespace

MemoryStore::MemoryStore(uint64_t seed) : random_(seed) {
  const auto format = std::make_shared<const std::string>(std::to_string(kStoreFormatCurrent));
  live_.meta.emplace(kStoreFormatName, format);
  durable_.meta.emplace(kStoreFormatName, format);
}

Status MemoryStore::FailurePlan::Check(uint64_t call) const {
  const bool hit = at != 0 && (call == at || (forever && call > at));
  return hit ? status : Status::Ok();
}

Status MemoryStore::BeginMutation() {
  ++mutating_calls_;
  if (!stopped_.ok()) return stopped_;
  Status status = write_plan_.Check(mutating_calls_);
  if (status == Code::kAmbiguous || status == Code::kNoSpace) stopped_ = status;
  return status;
}

Status MemoryStore::BeginRead() { return read_plan_.Check(++read_calls_); }

void MemoryStore::CallHook(Op op) {
  if (hook_) hook_(op);
}

MemoryStore::PendingBatch MemoryStore::Share(const LogBatch& batch) {
  PendingBatch out;
  for (const auto& [key, record] : batch.records) {
    out.records.emplace_back(key, std::make_shared<const std::string>(record));
  }
  for (const auto& [name, record] : batch.meta_puts) {
    out.meta_puts.emplace_back(name, std::make_shared<const std::string>(record));
  }
  out.meta_deletes = batch.meta_deletes;
  out.log_cuts = batch.log_cuts;
  return out;
}

void MemoryStore::Apply(const PendingBatch& batch, LogState& state) {
  for (const auto& [vbucket, seqno] : batch.log_cuts) {
    state.log.erase(state.log.upper_bound({vbucket, seqno}),
                    state.log.upper_bound({vbucket, Seqno(UINT64_MAX)}));
  }
  for (const auto& [key, record] : batch.records) state.log.insert_or_assign(key, record);
  for (const auto& [name, record] : batch.meta_puts) state.meta.insert_or_assign(name, record);
  for (const auto& name : batch.meta_deletes) state.meta.erase(name);
}

void MemoryStore::Apply(const PendingChange& change, std::map<DataKey, Value>& data) {
  if (change.value == nullptr) {
    data.erase(change.key);
  } else {
    data.insert_or_assign(change.key, change.value);
  }
}

void MemoryStore::ForgetRejected() {
  std::erase_if(unsynced_, [](const PendingBatch& batch) { return batch.rejected; });
}

void MemoryStore::Harden(LogState& state) {
  ForgetRejected();
  for (const PendingBatch& batch : unsynced_) Apply(batch, state);
  unsynced_.clear();
}

size_t MemoryStore::CountCut(const LogBatch& batch) const {
  size_t count = 0;
  for (const auto& [vbucket, seqno] : batch.log_cuts) {
    for (auto it = live_.log.upper_bound({vbucket, seqno});
         it != live_.log.end() && it->first.vbucket == vbucket; ++it) {
      ++count;
    }
  }
  return count;
}

Status MemoryStore::WriteLog(const LogBatch& batch, bool sync) {
  CallHook(Op::kWriteLog);
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(CheckLogBatch(batch, CountCut(batch)));
  const bool was_stopped = !stopped_.ok();
  if (Status status = BeginMutation(); !status.ok()) {
    if (was_stopped) return status;  // never tried
    ForgetRejected();
    unsynced_.push_back(Share(batch));
    unsynced_.back().rejected = true;
    return status;
  }
  ForgetRejected();
  unsynced_.push_back(Share(batch));
  Apply(unsynced_.back(), live_);
  ++stats_.log_writes;
  if (sync) {
    Harden(durable_);
    ++stats_.syncs;
  }
  return Status::Ok();
}

Status MemoryStore::SyncLog() {
  CallHook(Op::kSyncLog);
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(BeginMutation());
  Harden(durable_);
  ++stats_.syncs;
  return Status::Ok();
}

void MemoryStore::ApplyPart(std::vector<PendingChange> changes) {
  for (PendingChange& change : changes) {
    if (random_.OneIn(2)) continue;
    Apply(change, live_data_);
    unflushed_.push_back(std::move(change));
  }
}

Status MemoryStore::BeginChanges(const std::vector<PendingChange>& changes) {
  const auto out_of_order = [](const auto& a, const auto& b) { return !(a.key < b.key); };
  CAIRN_CHECK(std::adjacent_find(changes.begin(), changes.end(), out_of_order) == changes.end());
  const bool was_stopped = !stopped_.ok();
  Status status = BeginMutation();
  if (!status.ok() && !was_stopped) ApplyPart(changes);
  return status;
}

Status MemoryStore::WriteData(std::span<const DataChange> sorted_changes) {
  CallHook(Op::kWriteData);
  std::vector<PendingChange> changes;
  for (const DataChange& change : sorted_changes) {
    if (change.key.size() > kKeySizeMax) return Status(Code::kInvalidArgument, "data key is too long");
    changes.push_back({{change.vbucket, change.key},
                       change.remove ? nullptr : std::make_shared<const std::string>(change.record)});
  }
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(BeginChanges(changes));
  for (PendingChange& change : changes) {
    Apply(change, live_data_);
    unflushed_.push_back(std::move(change));
  }
  return Status::Ok();
}

Status MemoryStore::FlushData() {
  CallHook(Op::kFlushData);
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(BeginMutation());
  for (const PendingChange& change : unflushed_) Apply(change, durable_data_);
  unflushed_.clear();
  return Status::Ok();
}

Status MemoryStore::LoadData(std::span<const DataRun> runs) {
  CallHook(Op::kLoadData);
  std::vector<PendingChange> changes;
  for (const DataRun& run : runs) {
    for (const DataChange* change : run) {
      if (change->key.size() > kKeySizeMax) return Status(Code::kInvalidArgument, "data key is too long");
      CAIRN_CHECK(!change->remove);
      changes.push_back(
          {{change->vbucket, change->key}, std::make_shared<const std::string>(change->record)});
    }
  }
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(BeginChanges(changes));
  for (const PendingChange& change : unflushed_) Apply(change, durable_data_);
  unflushed_.clear();
  for (const PendingChange& change : changes) {
    Apply(change, live_data_);
    Apply(change, durable_data_);
  }
  return Status::Ok();
}

Result<std::string> MemoryStore::GetLog(LogKey key) {
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(BeginRead());
  const auto found = live_.log.find(key);
  if (found == live_.log.end()) return Absent();
  return *found->second;
}

Result<std::string> MemoryStore::GetData(Vbid vbucket, std::string_view key) {
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(BeginRead());
  const auto found = live_data_.find({vbucket, std::string(key)});
  if (found == live_data_.end()) return Absent();
  return *found->second;
}

Result<std::string> MemoryStore::GetMeta(std::string_view name) {
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(BeginRead());
  const auto found = live_.meta.find(name);
  if (found == live_.meta.end()) return Absent();
  return *found->second;
}

Result<std::vector<std::pair<std::string, std::string>>> MemoryStore::ScanMeta(std::string_view prefix) {
  MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(BeginRead());
  std::vector<std::pair<std::string, std::string>> found;
  for (auto it = live_.meta.lower_bound(prefix); it != live_.meta.end(); ++it) {
    if (std::string_view(it->first).substr(0, prefix.size()) != prefix) break;
    found.emplace_back(it->first, *it->second);
  }
  return found;
}

std::unique_ptr<Iterator> MemoryStore::ReadLog(Vbid vbucket, Seqno first, Seqno last) {
  MutexLock lock(mutex_);
  Status status = BeginRead();
  std::vector<MemoryIterator::Entry> entries;
  for (auto it = live_.log.lower_bound({vbucket, first}); it != live_.log.end(); ++it) {
    if (it->first.vbucket != vbucket || it->first.seqno > last) break;
    entries.push_back({it->first, {}, it->second});
  }
  return std::make_unique<MemoryIterator>(std::move(entries), std::move(status));
}

std::unique_ptr<Iterator> MemoryStore::ReadData(Vbid vbucket, std::string_view from_key) {
  MutexLock lock(mutex_);
  Status status = BeginRead();
  std::vector<MemoryIterator::Entry> entries;
  for (auto it = live_data_.lower_bound({vbucket, std::string(from_key)});
       it != live_data_.end() && it->first.first == vbucket; ++it) {
    entries.push_back({{}, it->first.second, it->second});
  }
  return std::make_unique<MemoryIterator>(std::move(entries), std::move(status));
}

void MemoryStore::ReleaseLog(Vbid vbucket, Seqno through) {
  MutexLock lock(mutex_);
  for (LogState* state : {&live_, &durable_}) {
    state->log.erase(state->log.lower_bound({vbucket, Seqno(0)}), state->log.upper_bound({vbucket, through}));
  }
}

void MemoryStore::ReleaseTombstones(Vbid vbucket, Seqno through) {
  MutexLock lock(mutex_);
  for (std::map<DataKey, Value>* data : {&live_data_, &durable_data_}) {
    const auto begin = data->lower_bound({vbucket, std::string()});
    for (auto it = begin; it != data->end() && it->first.first == vbucket;) {
      const std::optional<Seqno> seqno = proto::DataTombstone(*it->second);
      it = seqno && *seqno <= through ? data->erase(it) : std::next(it);
    }
  }
}

Status MemoryStore::DropVbucket(Vbid vbucket) {
  CallHook(Op::kDropVbucket);
  MutexLock lock(mutex_);
  const auto erase_log = [&](LogState& state) {
    EraseVbucket(state.log, state.log.lower_bound({vbucket, Seqno(0)}),
                 [&](const LogKey& key) { return key.vbucket == vbucket; });
  };
  const auto erase_data = [&](std::map<DataKey, Value>& data) {
    EraseVbucket(data, data.lower_bound({vbucket, std::string()}),
                 [&](const DataKey& key) { return key.first == vbucket; });
  };
  const bool was_stopped = !stopped_.ok();
  if (Status status = BeginMutation(); !status.ok()) {
    // The log goes first; how far an error let it come is anybody's guess.
    if (!was_stopped && random_.OneIn(2)) erase_log(live_);
    return status;
  }
  Harden(durable_);
  for (const PendingChange& change : unflushed_) Apply(change, durable_data_);
  unflushed_.clear();
  for (LogState* state : {&live_, &durable_}) erase_log(*state);
  for (std::map<DataKey, Value>* data : {&live_data_, &durable_data_}) erase_data(*data);
  return Status::Ok();
}

void MemoryStore::KeepAfterCrash(size_t batches, Random* data_choice) {
  for (size_t i = 0; i < batches; ++i) Apply(unsynced_[i], durable_);
  unsynced_.clear();
  live_ = durable_;
  for (const PendingChange& change : unflushed_) {
    if (data_choice != nullptr && data_choice->OneIn(2)) Apply(change, durable_data_);
  }
  unflushed_.clear();
  live_data_ = durable_data_;
  stopped_ = Status::Ok();
}

void MemoryStore::Crash() {
  MutexLock lock(mutex_);
  KeepAfterCrash(0, nullptr);
}

void MemoryStore::CrashProcess(uint64_t seed) {
  MutexLock lock(mutex_);
  Random choice(seed);
  size_t kept = unsynced_.size();
  if (kept > 0 && unsynced_.back().rejected && choice.OneIn(2)) --kept;
  KeepAfterCrash(kept, &choice);
}

void MemoryStore::CrashPower(uint64_t seed) {
  MutexLock lock(mutex_);
  Random choice(seed);
  const size_t kept = choice.Uniform(unsynced_.size() + 1);
  KeepAfterCrash(kept, &choice);
}

Status MemoryStore::Reopen() {
  uint64_t seed = 0;
  bool ambiguous = false;
  {
    MutexLock lock(mutex_);
    if (stopped_ == Code::kNoSpace && write_plan_.Check(mutating_calls_ + 1) == Code::kNoSpace) {
      return stopped_;
    }
    seed = random_.Next64();
    ambiguous = stopped_ == Code::kAmbiguous;
  }
  if (ambiguous) {
    CrashPower(seed);
  } else {
    CrashProcess(seed);
  }
  return Status::Ok();
}

StoreStats MemoryStore::stats() const {
  MutexLock lock(mutex_);
  StoreStats out = stats_;
  for (const auto& [key, record] : live_.log) out.log_bytes += record->size();
  for (const auto& [key, record] : live_data_) out.data_bytes += key.second.size() + record->size();
  out.data_keys = live_data_.size();
  return out;
}

Status MemoryStore::Compact() {
  MutexLock lock(mutex_);
  return stopped_;
}

void MemoryStore::FailNth(uint64_t n, Status status, bool forever) {
  CAIRN_CHECK(n > 0 && !status.ok());
  MutexLock lock(mutex_);
  write_plan_ = {mutating_calls_ + n, std::move(status), forever};
}

void MemoryStore::FailNthRead(uint64_t n, Status status, bool forever) {
  CAIRN_CHECK(n > 0 && !status.ok());
  MutexLock lock(mutex_);
  read_plan_ = {read_calls_ + n, std::move(status), forever};
}

void MemoryStore::ClearFailures() {
  MutexLock lock(mutex_);
  write_plan_ = {};
  read_plan_ = {};
}

uint64_t MemoryStore::mutating_calls() const {
  MutexLock lock(mutex_);
  return mutating_calls_;
}

uint64_t MemoryStore::read_calls() const {
  MutexLock lock(mutex_);
  return read_calls_;
}

}  // namespace cairn::storage
