#include "tests/storage/crash_script.h"

#include <gtest/gtest.h>

#include "tests/storage/store_testing.h"

namespace cairn::storage {

Status CrashScript::Open() {
  RocksStoreOptions options;
  options.path = "/store";
  options.memtable_bytes_max = 256u << 10;  // small, so that RocksDB flushes and compacts by itself as well
  options.cache_bytes = 1u << 20;
  options.env = env_->env();
  auto opened = OpenRocksStore(options);
  if (!opened.ok()) return opened.status();
  store_ = std::move(opened).value();
  return Status::Ok();
}

Status CrashScript::Run() {
  while (!done()) {
    if (Status status = Step(); !status.ok()) return status;
    ++step_;
  }
  return Status::Ok();
}

Status CrashScript::Step() {
  switch (step_ % 12) {
    case 4:
    case 9:
      return StepMerge();
    case 6:
      CAIRN_RETURN_IF_ERROR(store_->SyncLog());
      durable_ = written_;
      return Status::Ok();
    case 10:
      return StepRelease();
    case 11:
      if (step_ == 35) return store_->Reopen();
      return step_ == 23 ? store_->Compact() : Status::Ok();
    default:
      return StepWrite(step_ % 3 == 0);
  }
}

Status CrashScript::StepWrite(bool sync) {
  batches_.resize(written_);  // an attempt that failed and left no trace is made again, differently
  Batch batch;
  LogBatch log;
  for (uint64_t i = random_.Between(1, 12); i > 0; --i) {
    const auto vbucket = static_cast<uint16_t>(random_.Uniform(kVbuckets));
    const LogKey key{Vbid(vbucket), Seqno(++next_seqno_[vbucket])};
    std::string record = std::to_string(written_) + ":" + std::string(random_.Uniform(900), 'r');
    log.records.emplace_back(key, record);
    batch.records.emplace(key, std::move(record));
  }
  batches_.push_back(std::move(batch));
  log.meta_puts = {{"batch", std::to_string(batches_.size())}};
  Status status = store_->WriteLog(log, sync);
  if (!status.ok()) return status;
  written_ = batches_.size();
  if (sync) durable_ = written_;
  return status;
}

// As a merge, or as files when nothing is removed: one, or several that lie between each other's vbuckets.
Status CrashScript::WriteAll(const std::vector<DataChange>& sorted) {
  if (round_ % 2 == 0) {
    CAIRN_RETURN_IF_ERROR(store_->WriteData(sorted));
    return store_->FlushData();
  }
  std::vector<DataRun> runs;
  for (const DataChange& change : sorted) {
    if (runs.empty() || (round_ % 4 == 1 && runs.back().back()->vbucket != change.vbucket)) {
      runs.emplace_back();
    }
    runs.back().push_back(&change);
  }
  return store_->LoadData(runs);
}

Status CrashScript::StepMerge() {
  ++round_;
  const bool removes = round_ % 2 == 0;
  std::map<std::pair<uint16_t, std::string>, DataChange> changes;
  for (int i = 0; i < 40; ++i) {
    const auto vbucket = static_cast<uint16_t>(random_.Uniform(kVbuckets));
    const std::string key = "key" + std::to_string(random_.Uniform(60));
    changes[{vbucket, key}] =
        removes && random_.OneIn(5)
            ? Remove(vbucket, key)
            : Put(vbucket, key, std::to_string(round_) + ":" + std::string(random_.Uniform(400), 'd'));
  }
  std::vector<DataChange> sorted;
  for (auto& [where, change] : changes) {
    data_[where].push_back({round_, change.remove ? std::nullopt : std::optional(change.record), false});
    sorted.push_back(std::move(change));
  }
  CAIRN_RETURN_IF_ERROR(WriteAll(sorted));
  flushed_round_ = round_;
  for (auto& [where, versions] : data_) {
    if (versions.back().round == round_) versions.back().flushed = true;
  }
  LogBatch cut;
  cut.meta_puts = {{"cut", std::to_string(round_)}};
  CAIRN_RETURN_IF_ERROR(store_->WriteLog(cut, true));
  cut_ = round_;
  durable_ = written_;
  return Status::Ok();
}

Status CrashScript::StepRelease() {
  for (uint16_t vbucket = 0; vbucket < kVbuckets; ++vbucket) {
    // Of what is durable only, as the face demands.
    uint64_t through = 0;
    for (uint64_t n = 0; n < durable_; ++n) {
      for (const auto& [key, record] : batches_[n].records) {
        if (key.vbucket == Vbid(vbucket)) through = key.seqno.get();
      }
    }
    released_[vbucket] = through / 2;
    store_->ReleaseLog(Vbid(vbucket), Seqno(through / 2));
  }
  return Status::Ok();
}

uint64_t CrashScript::RecoveredNumber(const std::string& name) {
  const auto text = store_->GetMeta(name);
  if (text.code() == Code::kNotFound) return 0;
  EXPECT_TRUE(text.ok()) << text.status().ToString();
  return text.ok() ? std::stoull(text.value()) : 0;
}

// Batches are whole, in the order of writing, and at least the durable ones are there.
void CrashScript::VerifyLog(uint64_t recovered) {
  EXPECT_GE(recovered, durable_) << "a durable batch is lost";
  ASSERT_LE(recovered, batches_.size()) << "a batch came from nowhere";
  std::map<LogKey, std::string> expected;
  for (uint64_t n = 0; n < recovered; ++n) {
    for (const auto& [key, record] : batches_[n].records) expected[key] = record;
  }
  for (uint16_t vbucket = 0; vbucket < kVbuckets; ++vbucket) {
    const auto found = AllLog(*store_, vbucket);
    for (const auto& [seqno, record] : found) {
      const auto it = expected.find({Vbid(vbucket), Seqno(seqno)});
      ASSERT_TRUE(it != expected.end()) << "a part of a lost batch is there: " << vbucket << " " << seqno;
      EXPECT_EQ(it->second, record);
    }
    for (const auto& [key, record] : expected) {
      if (key.vbucket != Vbid(vbucket) || key.seqno.get() <= released_[vbucket]) continue;
      EXPECT_TRUE(found.contains(key.seqno.get())) << "a hole: " << vbucket << " " << key.seqno.get();
    }
  }
}

Result<std::optional<std::string>> CrashScript::Read(uint16_t vbucket, const std::string& key) {
  auto record = store_->GetData(Vbid(vbucket), key);
  if (record.ok()) return std::optional(std::move(record).value());
  if (record.code() == Code::kNotFound) return std::optional<std::string>();
  return record.status();
}

// Each key shows one of its versions, none older than the newest that is known durable.
void CrashScript::VerifyData() {
  std::map<uint16_t, std::map<std::string, std::string>> scans;
  for (uint16_t vbucket = 0; vbucket < kVbuckets; ++vbucket) scans[vbucket] = AllData(*store_, vbucket);
  for (auto& [where, versions] : data_) {
    const auto found = Read(where.first, where.second);
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    const auto scanned = scans[where.first].find(where.second);
    ASSERT_EQ(scanned != scans[where.first].end(), found.value().has_value());
    if (found.value()) {
      EXPECT_EQ(scanned->second, *found.value());
    }
    size_t oldest = versions.size();  // index of the oldest version that may show, or one behind "none yet"
    for (size_t i = 0; i < versions.size(); ++i) {
      if (versions[i].flushed) oldest = i;
    }
    bool known = oldest == versions.size() && !found.value().has_value();
    for (size_t i = oldest == versions.size() ? 0 : oldest; i < versions.size(); ++i) {
      known = known || versions[i].record == found.value();
    }
    EXPECT_TRUE(known) << "vb " << where.first << " " << where.second << " shows "
                       << found.value().value_or("nothing").substr(0, 8);
  }
  for (const auto& [vbucket, scan] : scans) {
    for (const auto& [key, record] : scan) EXPECT_TRUE(data_.contains({vbucket, key})) << key;
  }
}

void CrashScript::VerifyAndAdopt() {
  const uint64_t recovered = RecoveredNumber("batch");
  VerifyLog(recovered);
  const uint64_t cut = RecoveredNumber("cut");
  EXPECT_GE(cut, cut_) << "a durable cut is lost";
  EXPECT_LE(cut, round_);
  EXPECT_LE(cut, flushed_round_) << "a cut is recorded before its data was flushed";
  VerifyData();
  // What is there now must stay.
  batches_.resize(recovered);
  written_ = durable_ = recovered;
  cut_ = cut;
  for (auto& [where, versions] : data_) {
    const auto found = Read(where.first, where.second);
    ASSERT_TRUE(found.ok());
    versions = {{0, found.value(), true}};
  }
}

void CrashScript::VerifyNothingWrittenIsLost() {
  durable_ = written_;
  VerifyAndAdopt();
}

}  // namespace cairn::storage
