#pragma once
// Two engines without threads and what carries one's operations to the other: the engine's side of
// replication alone, without TAP.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "engine/replication.h"
#include "engine/storage/memory_store.h"
#include "tests/engine/update_fixture.h"

namespace cairn::engine {

/// An engine with its disk.
class Node {
 public:
  Node(uint64_t seed, ManualClock* clock) : store(seed), clock_(clock), seed_(seed * 100'000) {}

  void Open(const EngineOptions& options) {
    engine.emplace(&gate, clock_, options);
    engine->SeedFrom(seed_);
    engine->Open();
  }
  void Kill() { engine->Kill(); }
  /// An empty disk, and nobody on it.
  void Renew() {
    engine.reset();
    gate.refuse = nullptr;
    std::destroy_at(&store);
    std::construct_at(&store, ++renewed_);
  }
  void CrashAndReopen() {
    engine->Kill();
    store.Crash();
    engine->Open();
  }
  void RestartCleanly() {
    const Status down = (*engine)->Shutdown(true);
    ASSERT_TRUE(down.ok()) << down.ToString();
    engine->Kill();
    engine->Open();
  }
  TestEngine& E() { return *engine; }
  Replication& R() { return (*engine)->replication(); }
  VbucketPosition At(Vbid vb) {
    const Result<VbucketPosition> at = R().Position(vb);
    EXPECT_TRUE(at.ok()) << at.status().ToString();
    return at.ok() ? at.value() : VbucketPosition();
  }
  void Background(int steps) {
    for (int i = 0; i < steps; ++i) E()->RunBackground();
  }
  /// Everything done so far is durable on return.
  void Persist() {
    const uint64_t ticket = E()->CommitTicket();
    E()->AwaitCommit(ticket, std::make_shared<WakeFlag>());
    for (int i = 0; i < 200 && E()->CommitOutcome(ticket) != Code::kOk; ++i) E()->RunBackground();
    ASSERT_EQ(E()->CommitOutcome(ticket), Code::kOk);
  }
  std::string Stat(std::string_view group, std::string_view name) {
    std::string found;
    const Status status = E()->Stats(group, "", [&](std::string_view n, std::string_view v) {
      if (n == name) found = std::string(v);
    });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return found;
  }
  std::optional<Version> GetReplica(std::string_view key) {
    const OpKey op = E()->MakeKey(key);
    for (int attempt = 0; attempt < 1000; ++attempt) {
      auto flag = std::make_shared<WakeFlag>();
      const GetResult got = R().GetReplica(op, flag);
      if (got.code == Code::kOk) {
        return Version{std::string(got.item->value()), got.item->flags(), got.item->expiry(),
                       got.item->cas().get()};
      }
      if (got.code != Code::kWouldBlock) {
        EXPECT_EQ(got.code, Code::kNotFound) << key;
        return std::nullopt;
      }
      for (int i = 0; i < 1000 && !flag->woken; ++i) E()->RunBackground();
      EXPECT_TRUE(flag->woken);
    }
    return std::nullopt;
  }
  uint64_t DataKeys(Vbid vb) {
    uint64_t count = 0;
    for (auto it = store.ReadData(vb, ""); it->Valid(); it->Next()) ++count;
    return count;
  }

  storage::MemoryStore store;
  InterceptedStore gate{&store};
  std::optional<TestEngine> engine;

 private:
  ManualClock* clock_;
  const uint64_t seed_;
  uint64_t renewed_ = 100;
};

/// What a consumer does for one vbucket, as long as the source's memory reaches back.
class Follower {
 public:
  Follower(Node* source, Node* replica, Vbid vb) : source_(source), replica_(replica), vb_(vb) {}

  /// Takes over history and asks from where the replica is. The place `pin` keeps the source's memory.
  void Begin() {
    const VbucketPosition at = source_->At(vb_);
    const PendingRef adopted = replica_->R().Adopt({{vb_, at.failover_log, at.epoch}});
    ASSERT_TRUE(adopted->ready());
    ASSERT_TRUE(adopted->status().ok()) << adopted->status().ToString();
    Ask();
  }
  void Ask() {
    if (cursor_) source_->R().CloseCursor(vb_, *cursor_);
    const Seqno from = replica_->At(vb_).high;
    Result<StreamCursor> opened = source_->R().OpenCursor(vb_, "replica", from);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString() << " at " << from.get();
    cursor_ = opened.value();
  }
  /// One batch; false when there is nothing.
  bool Step() {
    const Result<StreamBatch> read = source_->R().Read(vb_, *cursor_);
    EXPECT_TRUE(read.ok()) << read.status().ToString();
    if (!read.ok() || read.value().nothing()) return false;
    const checkpoint::Batch& batch = read.value();
    if (batch.last >= batch.first) {
      std::vector<ItemRef> items;
      for (const checkpoint::Operation& operation : batch.operations) items.push_back(operation.item);
      const SnapshotRange range{batch.checkpoint.id, batch.first - 1, batch.last, source_->At(vb_).persisted};
      EXPECT_EQ(replica_->R().Apply(vb_, range, items), Code::kOk) << "vbucket " << vb_.get();
      applied += items.size();
    }
    if (!batch.ends_checkpoint) return true;
    CheckpointEnd end{batch.checkpoint.id, batch.last, std::nullopt};
    if (batch.checkpoint.digest_known) end.digest = batch.checkpoint.end_digest;
    const Result<DigestVerdict> verdict = replica_->R().EndCheckpoint(vb_, end);
    EXPECT_TRUE(verdict.ok()) << verdict.status().ToString();
    if (!verdict.ok()) return true;
    equal += verdict.value() == DigestVerdict::kEqual ? 1 : 0;
    different += verdict.value() == DigestVerdict::kDifferent ? 1 : 0;
    return true;
  }
  void CatchUp() {
    for (int i = 0; i < 100'000 && Step(); ++i) {
    }
  }
  const StreamCursor& cursor() const { return *cursor_; }

  size_t applied = 0;
  int equal = 0, different = 0;

 private:
  Node* source_;
  Node* replica_;
  Vbid vb_;
  std::optional<StreamCursor> cursor_;
};

class ReplicaTest : public ::testing::Test {
 protected:
  using Step = TestEngine::Step;

  void SetUp() override { SetLogLevel(LogLevel::kOff); }
  /// Everything of `b` follows `a`.
  void OpenBoth(const EngineOptions& options = SmallOptions()) {
    options_ = options;
    a.Open(options);
    b.Open(options);
    for (uint32_t v = 0; v < options.vbuckets; ++v) {
      const Vbid vb(static_cast<uint16_t>(v));
      // Keeps what the source has in memory: there is no disk to go back to in these tests.
      ASSERT_TRUE(a.R().OpenCursor(vb, "pin", Seqno(0)).ok());
      followers.emplace_back(&a, &b, vb);
      followers.back().Begin();
      ASSERT_FALSE(HasFatalFailure());
    }
  }
  void Renew() {
    followers.clear();
    a.Renew();
    b.Renew();
  }
  void CatchUp() {
    for (Follower& follower : followers) follower.CatchUp();
  }
  int Equal() const {
    int sum = 0;
    for (const Follower& follower : followers) sum += follower.equal;
    return sum;
  }
  int Different() const {
    int sum = 0;
    for (const Follower& follower : followers) sum += follower.different;
    return sum;
  }
  void CloseCheckpoints() {
    for (uint32_t v = 0; v < options_.vbuckets; ++v) {
      ASSERT_TRUE(a.E()->CreateCheckpoint(Vbid(static_cast<uint16_t>(v))).ok());
    }
  }
  std::vector<Vbid> All() const {
    std::vector<Vbid> all;
    for (uint32_t v = 0; v < options_.vbuckets; ++v) all.push_back(Vbid(static_cast<uint16_t>(v)));
    return all;
  }
  /// Every key looks the same on both.
  void ExpectSame(const std::vector<std::string>& keys) {
    std::map<std::string, std::optional<Version>> expected;
    for (const std::string& key : keys) expected[key] = a.E().Get(key);
    CatchUp();  // looking makes an active delete what is expired
    for (const std::string& key : keys) ASSERT_EQ(b.GetReplica(key), expected[key]) << key;
    for (const Vbid vb : All()) {
      EXPECT_EQ(a.At(vb).high, b.At(vb).high) << vb.get();
      EXPECT_EQ(a.At(vb).open_checkpoint, b.At(vb).open_checkpoint) << vb.get();
      EXPECT_TRUE(!b.At(vb).warm || a.At(vb).digest == b.At(vb).digest) << vb.get();
    }
  }
  void SetAll(const std::vector<std::string>& keys, const std::string& value) {
    for (const std::string& key : keys) ASSERT_EQ(a.E().Set(key, value + key), Code::kOk) << key;
  }
  static std::vector<std::string> Keys(int count, const std::string& prefix = "key-") {
    std::vector<std::string> keys;
    for (int i = 0; i < count; ++i) keys.push_back(prefix + std::to_string(i));
    return keys;
  }
  void Do(Node& node, Step step) {
    const Status done = node.E().Update(step, {});
    ASSERT_TRUE(done.ok()) << done.ToString();
  }
  static Status Promote(Node& node, const std::vector<Vbid>& vbuckets, const PromoteOptions& options = {}) {
    const PendingRef pending = node.R().Promote(vbuckets, options);
    return pending->ready() ? pending->status() : Status(Code::kTimeout, "not ready");
  }

  ManualClock clock_;
  Node a{7, &clock_};
  Node b{8, &clock_};
  EngineOptions options_;
  std::vector<Follower> followers;
};

}  // namespace cairn::engine
