#pragma once
// A fixture for tests of one engine on a MemoryStore: opening, persisting, merging, crashing, and looking at
// what clients and the disk see.

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "engine/storage/memory_store.h"
#include "proto/disk_record.h"
#include "proto/meta_record.h"
#include "tests/engine/engine_fixture.h"

namespace cairn::engine {

inline constexpr int64_t kSecondNs = 1'000'000'000;

/// Lets a test refuse chosen writes of the log before they reach the store, and counts synced ones.
class InterceptedStore final : public storage::ForwardingStore {
 public:
  explicit InterceptedStore(storage::KvStore* store) : ForwardingStore(store) {}
  Status WriteLog(const storage::LogBatch& batch, bool sync) override {
    if (refuse) CAIRN_RETURN_IF_ERROR(refuse(batch));
    if (sync && !batch.meta_puts.empty()) ++synced_records;
    return ForwardingStore::WriteLog(batch, sync);
  }
  std::function<Status(const storage::LogBatch&)> refuse;
  size_t synced_records = 0;  // writes with records of vbuckets, or of anything else but operations
};

/// For gtest: a key's state in one short line.
inline void PrintTo(const Version& version, std::ostream* out) {
  *out << version.value.substr(0, 16) << '(' << version.value.size() << " B) flags " << version.flags
       << " expiry " << version.expiry << " cas " << version.cas;
}

class EngineStoreTest : public ::testing::Test {
 protected:
  using Step = TestEngine::Step;
  using View = std::map<std::string, Version>;
  using Data = std::map<std::pair<uint32_t, std::string>, std::string>;  // encoded records

  void SetUp() override { SetLogLevel(LogLevel::kOff); }

  void Open(const EngineOptions& options = SmallOptions()) {
    options_ = options;
    engine_.emplace(&gate_, &clock_, options);
    engine_->Open();
  }
  /// The process is gone; the store keeps the least that was promised.
  void Crash() {
    engine_->Kill();
    store_.Crash();
  }
  void CrashAndReopen() {
    Crash();
    engine_->Open();
  }
  void RestartCleanly() {
    const Status down = (*engine_)->Shutdown(true);
    ASSERT_TRUE(down.ok()) << down.ToString();
    engine_->Kill();
    engine_->Open();
  }

  TestEngine& E() { return *engine_; }
  void Background(int steps) {
    for (int i = 0; i < steps; ++i) E()->RunBackground();
  }
  /// Everything done so far is durable on return, also merged as far as that is allowed.
  void Persist() {
    const uint64_t ticket = E()->CommitTicket();
    E()->AwaitCommit(ticket, std::make_shared<WakeFlag>());
    for (int i = 0; i < 200 && E()->CommitOutcome(ticket) != Code::kOk; ++i) E()->RunBackground();
    ASSERT_EQ(E()->CommitOutcome(ticket), Code::kOk);
    Background(4);
  }
  void WarmUp() {
    for (int i = 0; i < 2000 && Stat("warmup", "ep_warmup_state") != "done"; ++i) E()->RunBackground();
    ASSERT_EQ(Stat("warmup", "ep_warmup_state"), "done");
  }
  void Do(Step step, const UpdateRequest& request = {}) {
    const Status done = E().Update(step, request);
    ASSERT_TRUE(done.ok()) << done.ToString();
  }
  void Start() { Do(Step::kStart); }
  void Complete() { Do(Step::kComplete); }
  void Revert() {
    Do(Step::kRevert);
    if (HasFatalFailure()) return;
    EXPECT_TRUE(E()->update_status().history.front().digest_equal);
  }

  std::string Stat(std::string_view group, std::string_view name) {
    std::string found;
    const Status status = E()->Stats(group, "", [&](std::string_view n, std::string_view v) {
      if (n == name) found = std::string(v);
    });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return found;
  }
  uint64_t Number(std::string_view group, std::string_view name) {
    const std::string text = Stat(group, name);
    EXPECT_FALSE(text.empty()) << name;
    return text.empty() ? 0 : std::stoull(text);
  }

  /// What clients see of these keys.
  View Look(const std::vector<std::string>& keys) {
    View view;
    for (const std::string& key : keys) {
      if (std::optional<Version> version = E().Get(key)) view[key] = *version;
    }
    return view;
  }
  /// From the first write of `meta_name` on nothing reaches the disk any more: a crash then finds what it
  /// would find just before that write.
  void StopDiskBefore(std::string_view meta_name) {
    gate_.refuse = [name = std::string(meta_name), dead = false](const storage::LogBatch& batch) mutable {
      for (const auto& put : batch.meta_puts) dead = dead || put.first == name;
      return dead ? Status(Code::kNoSpace, "the disk has stopped") : Status::Ok();
    };
  }

  /// The values in data as they are, or the tombstones.
  Data DataNow(bool tombstones = false) {
    Data data;
    for (uint32_t v = 0; v < options_.vbuckets; ++v) {
      const auto it = store_.ReadData(Vbid(static_cast<uint16_t>(v)), "");
      for (; it->Valid(); it->Next()) {
        if (proto::DataTombstone(it->record()).has_value() != tombstones) continue;
        data[{v, std::string(it->data_key())}] = std::string(it->record());
      }
    }
    return data;
  }

  static std::vector<std::string> Keys(int count, const std::string& prefix = "key-") {
    std::vector<std::string> keys;
    for (int i = 0; i < count; ++i) keys.push_back(prefix + std::to_string(i));
    return keys;
  }
  void SetAll(const std::vector<std::string>& keys, const std::string& value) {
    for (const std::string& key : keys) ASSERT_EQ(E().Set(key, value + key), Code::kOk) << key;
  }

  storage::MemoryStore store_{7};
  InterceptedStore gate_{&store_};
  ManualClock clock_;
  EngineOptions options_;
  std::optional<TestEngine> engine_;
};

inline UpdateRequest Named(const std::string& name, uint8_t id = 0) {
  UpdateRequest request;
  request.name = name;
  if (id != 0) request.id.bytes.fill(id);
  return request;
}

}  // namespace cairn::engine
