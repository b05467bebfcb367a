#pragma once
// Two engines on disks that can die, and what brings one vbucket of the second to where the first is: the
// engine's side of a stream with everything that TAP does to it (resume, rollback, disk snapshots, backfills
// of the log, memory), but for the wire.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "engine/replication.h"
#include "engine/storage/fault_env.h"
#include "engine/storage/memory_store.h"
#include "tests/engine/engine_fixture.h"

namespace cairn::engine {

/// A disk on which the power can go.
class DyingDisk {
 public:
  virtual ~DyingDisk() = default;
  /// Null when it is dead.
  virtual storage::KvStore* Open() = 0;
  /// Everything after so many more changes fails.
  virtual void DieAfter(uint64_t changes) = 0;
  virtual bool dead() const = 0;
  /// The power is back; what was not synced may be gone. The engine has ended.
  virtual void Restart(uint64_t seed) = 0;
  /// Data records of a vbucket.
  virtual std::map<std::string, std::string> DataOf(Vbid vbucket) = 0;
};

class DyingMemory final : public DyingDisk {
 public:
  explicit DyingMemory(uint64_t seed) : memory_(seed) {}
  storage::KvStore* Open() override { return &store_; }
  void DieAfter(uint64_t changes) override { store_.die_at = store_.calls + changes + 1; }
  bool dead() const override { return store_.calls >= store_.die_at; }
  void Restart(uint64_t seed) override {
    if (seed % 3 == 0) memory_.Crash();
    if (seed % 3 == 1) memory_.CrashPower(seed);
    if (seed % 3 == 2) memory_.CrashProcess(seed);
    store_.die_at = UINT64_MAX;
  }
  std::map<std::string, std::string> DataOf(Vbid vbucket) override {
    std::map<std::string, std::string> all;
    for (const auto it = memory_.ReadData(vbucket, ""); it->Valid(); it->Next()) {
      all.emplace(it->data_key(), it->record());
    }
    return all;
  }
  storage::MemoryStore& memory() { return memory_; }

 private:
  class Store final : public storage::ForwardingStore {
   public:
    explicit Store(storage::MemoryStore* memory) : ForwardingStore(memory), memory_(memory) {}
    Status WriteLog(const storage::LogBatch& batch, bool sync) override {
      return Call([&] { return ForwardingStore::WriteLog(batch, sync); });
    }
    Status SyncLog() override {
      return Call([&] { return ForwardingStore::SyncLog(); });
    }
    Status WriteData(std::span<const storage::DataChange> changes) override {
      return Call([&] { return ForwardingStore::WriteData(changes); });
    }
    Status FlushData() override {
      return Call([&] { return ForwardingStore::FlushData(); });
    }
    Status DropVbucket(Vbid vbucket) override {
      return Call([&] { return ForwardingStore::DropVbucket(vbucket); });
    }
    void ReleaseLog(Vbid vbucket, Seqno through) override {
      if (calls < die_at) ForwardingStore::ReleaseLog(vbucket, through);
    }
    void ReleaseTombstones(Vbid vbucket, Seqno through) override {
      if (calls < die_at) ForwardingStore::ReleaseTombstones(vbucket, through);
    }
    Status Reopen() override { return calls >= die_at ? Gone() : ForwardingStore::Reopen(); }
    uint64_t calls = 0;
    uint64_t die_at = UINT64_MAX;

   private:
    static Status Gone() { return Status(Code::kIoError, "the power has gone"); }
    template <class Do>
    Status Call(Do&& call) {
      if (calls >= die_at) return Gone();
      if (++calls == die_at) memory_->FailNth(1, Status(Code::kAmbiguous, "the power is going"), false);
      return call();
    }
    storage::MemoryStore* memory_;
  };
  storage::MemoryStore memory_;
  Store store_{&memory_};
};

class DyingRocks final : public DyingDisk {
 public:
  storage::KvStore* Open() override {
    store_.reset();
    storage::RocksStoreOptions options;
    options.path = "/store";
    options.memtable_bytes_max = 256u << 10;
    options.cache_bytes = 256u << 10;
    options.background_threads = 1;
    options.env = env_.env();
    auto opened = storage::OpenRocksStore(options);
    if (!opened.ok()) return nullptr;
    store_ = std::move(opened).value();
    return store_.get();
  }
  void DieAfter(uint64_t changes) override { env_.CrashAfter(changes); }
  bool dead() const override { return env_.crashed(); }
  void Restart(uint64_t seed) override {
    store_.reset();
    env_.RestartAfterCrash(static_cast<storage::TailPolicy>(seed % 4), seed);
  }
  std::map<std::string, std::string> DataOf(Vbid vbucket) override {
    std::map<std::string, std::string> all;
    for (const auto it = store_->ReadData(vbucket, ""); it->Valid(); it->Next()) {
      all.emplace(it->data_key(), it->record());
    }
    return all;
  }

 private:
  storage::FaultEnv env_{storage::FaultEnv::Base::kMemory};
  std::unique_ptr<storage::KvStore> store_;
};

/// An engine on a DyingDisk.
class DiskNode {
 public:
  DiskNode(DyingDisk* disk, ManualClock* clock, EngineOptions options, uint64_t seed)
      : disk_(disk), clock_(clock), options_(std::move(options)), seed_(seed * 1'000'000) {}

  /// False: the disk is dead.
  bool TryOpen() {
    storage::KvStore* const store = disk_->Open();
    if (store == nullptr) return false;
    engine_ = std::make_unique<TestEngine>(store, clock_, options_);
    engine_->SeedFrom(seed_ += 1000);
    return engine_->TryOpen().ok();
  }
  void Open() { ASSERT_TRUE(TryOpen()); }
  void Kill() { engine_.reset(); }
  void Restart(uint64_t seed) {
    Kill();
    disk_->Restart(seed);
    Open();
  }
  TestEngine& E() { return *engine_; }
  Replication& R() { return (*engine_)->replication(); }
  VbucketPosition At(Vbid vb) {
    const Result<VbucketPosition> at = R().Position(vb);
    EXPECT_TRUE(at.ok()) << at.status().ToString();
    return at.ok() ? at.value() : VbucketPosition();
  }
  void Background(int steps) {
    for (int i = 0; i < steps; ++i) {
      clock_->Advance(1'000'000);
      E()->RunBackground();
    }
  }
  /// Everything done so far is durable on return, unless the disk dies.
  bool Persist() {
    const uint64_t ticket = E()->CommitTicket();
    E()->AwaitCommit(ticket, std::make_shared<WakeFlag>());
    for (int i = 0; i < 300; ++i) {
      if (E()->CommitOutcome(ticket) == Code::kOk) return true;
      E()->RunBackground();
    }
    return false;
  }
  /// Polls; false: not within reach (the disk is dead).
  bool Await(const PendingRef& pending) {
    for (int i = 0; i < 300 && !pending->ready(); ++i) {
      E()->RunBackground();
      clock_->Advance(1'000'000);
    }
    return pending->ready();
  }
  void Warm(Vbid vb) {
    for (int i = 0; i < 5000 && !At(vb).warm; ++i) E()->RunBackground();
    ASSERT_TRUE(At(vb).warm);
  }
  DyingDisk& disk() { return *disk_; }

 private:
  DyingDisk* disk_;
  ManualClock* clock_;
  EngineOptions options_;
  uint64_t seed_;
  std::unique_ptr<TestEngine> engine_;
};

/// A consumer of one vbucket.
class DiskFollower {
 public:
  DiskFollower(DiskNode* source, DiskNode* replica, Vbid vb) : source_(source), replica_(replica), vb_(vb) {}

  /// Forgets the stream; the replica stays as it is.
  void Disconnect() {
    if (cursor_) source_->R().CloseCursor(vb_, *cursor_);
    Lose();
  }
  /// The source is gone, and with it what it knew of us.
  void Lose() {
    cursor_.reset();
    backfill_.reset();
    snapshot_ = asked_ = false;
    part_.clear();
  }
  /// One message. False: nothing to be had, or something has to be done first (the disk is dead).
  bool Step(size_t bytes = 2000) {
    if (!asked_) return Ask();
    if (backfill_) return StepBackfill(bytes);
    return StepMemory();
  }
  /// Until the replica has everything.
  bool CatchUp() {
    for (int i = 0; i < 100'000; ++i) {
      if (Step()) continue;
      if (asked_ && !backfill_ && cursor_ && replica_->At(vb_).high == source_->At(vb_).high) return true;
      if (replica_->disk().dead() || ::testing::Test::HasFailure()) return false;
      if (++idle_ > 5000) break;
      replica_->E()->RunBackground();
      source_->E()->RunBackground();
    }
    ADD_FAILURE() << "vbucket " << vb_.get() << " never catches up";
    return false;
  }
  int rollbacks = 0, rollbacks_to_0 = 0, data_parts = 0, log_parts = 0, equal = 0, different = 0;

 private:
  static constexpr Seqno kNowhere{UINT64_MAX};

  /// Where to begin: a seqno to go on from, or (second) to roll back to.
  std::pair<Seqno, Seqno> Decide() {
    const VbucketPosition to = source_->At(vb_);
    const VbucketPosition from = replica_->At(vb_);
    const Seqno at = from.in_snapshot ? from.snapshot_start : from.high;
    if (at == Seqno()) return {Seqno(), kNowhere};
    const uint64_t uuid = from.failover_log.empty() ? 0 : from.failover_log.front().uuid;
    Seqno end = to.high;
    for (const proto::FailoverEntry& entry : to.failover_log) {
      if (entry.uuid == uuid) {
        const Seqno reach = from.in_snapshot ? from.snapshot_end : at;
        if (reach > end) return {at, from.in_snapshot ? Seqno() : end};
        if (at < to.purged) return {at, Seqno()};
        const bool other_window = from.window != UpdateId() && from.window != to.window;
        if (other_window && to.merged > at) return {at, from.window_start};
        return {at, kNowhere};
      }
      end = entry.seqno;
    }
    return {at, Seqno()};
  }
  bool Ask() {
    auto [from, back] = Decide();
    if (back != kNowhere) {
      ++rollbacks;
      rollbacks_to_0 += back == Seqno() ? 1 : 0;
      const PendingRef done = replica_->R().Rollback(vb_, back);
      if (!replica_->Await(done)) return false;
      EXPECT_TRUE(done->status().ok()) << done->status().ToString();
      EXPECT_LE(replica_->At(vb_).high, back);
      if (!done->status().ok()) return false;
      from = replica_->At(vb_).high;
    }
    const VbucketPosition at = source_->At(vb_);
    const PendingRef adopted = replica_->R().Adopt({{vb_, at.failover_log, at.epoch}});
    if (!replica_->Await(adopted) || !adopted->status().ok()) return false;
    const VbucketPosition now = replica_->At(vb_);
    from = now.in_snapshot ? now.snapshot_start : now.high;
    asked_ = true;
    return Join(from, now.in_snapshot);
  }
  bool Join(Seqno from, bool from_disk) {
    if (!from_disk) {
      Result<StreamCursor> opened = source_->R().OpenCursor(vb_, "follower", from);
      if (opened.ok()) {
        cursor_ = opened.value();
        return true;
      }
      EXPECT_EQ(opened.code(), Code::kOutOfRange) << opened.status().ToString();
    }
    Result<std::unique_ptr<Backfill>> backfill = source_->R().OpenBackfill(vb_, from);
    if (!backfill.ok()) {
      EXPECT_EQ(backfill.code(), Code::kBusy) << backfill.status().ToString();
      asked_ = false;
      return false;
    }
    backfill_ = std::move(backfill).value();
    if (backfill_->has_data() && replica_->At(vb_).window != UpdateId()) {
      // Merged since it was asked; the marker that ended the window is gone. Asked again, it says so.
      Disconnect();
      return false;
    }
    at_ = from;
    return true;
  }
  bool StepBackfill(size_t bytes) {
    Result<Backfill::Chunk> next = backfill_->Next(bytes);
    if (!next.ok()) {
      EXPECT_TRUE(next.code() == Code::kTmpFail || next.code() == Code::kCancelled)
          << next.status().ToString();
      Disconnect();
      return false;
    }
    Backfill::Chunk& chunk = next.value();
    if (chunk.kind == Backfill::Kind::kData) return TakeData(chunk);
    if (chunk.kind == Backfill::Kind::kLog) return TakeLog(chunk);
    const Seqno end = backfill_->end();
    EXPECT_EQ(end, at_) << "the parts do not lie end to end";
    backfill_.reset();
    return Join(replica_->At(vb_).high, false);
  }
  bool TakeData(const Backfill::Chunk& chunk) {
    EXPECT_TRUE(backfill_->has_data());
    EXPECT_EQ(chunk.end, backfill_->data_end());
    if (!snapshot_) {
      ++data_parts;
      EXPECT_EQ(chunk.start, at_);
      const PendingRef begun = replica_->R().BeginSnapshot(vb_, chunk.start, chunk.end);
      if (!replica_->Await(begun)) {
        EXPECT_TRUE(replica_->disk().dead()) << "BeginSnapshot is never ready";
        return false;
      }
      EXPECT_TRUE(begun->status().ok()) << begun->status().ToString();
      if (!begun->status().ok()) return false;
      snapshot_ = true;
    }
    Code code = Code::kWouldBlock;
    for (int i = 0; i < 300 && code == Code::kWouldBlock; ++i) {
      code = replica_->R().ApplySnapshot(vb_, chunk.items);
      if (code == Code::kWouldBlock) replica_->E()->RunBackground();
    }
    if (code != Code::kOk) {
      EXPECT_TRUE(replica_->disk().dead()) << CodeName(code);
      return false;
    }
    if (!chunk.ends_part) return true;
    const Status ended = replica_->R().EndSnapshot(vb_, chunk.checkpoint);
    EXPECT_TRUE(ended.ok()) << ended.ToString();
    snapshot_ = false;
    at_ = chunk.end;
    return ended.ok();
  }
  bool TakeLog(Backfill::Chunk& chunk) {
    EXPECT_EQ(chunk.start, at_) << "a hole";
    std::move(chunk.items.begin(), chunk.items.end(), std::back_inserter(part_));
    if (!chunk.ends_part) return true;
    ++log_parts;
    at_ = chunk.end;
    const SnapshotRange range{chunk.checkpoint, chunk.start, chunk.end, source_->At(vb_).persisted};
    const Code code = replica_->R().Apply(vb_, range, part_);
    EXPECT_EQ(code, Code::kOk) << CodeName(code) << " of " << part_.size() << " up to " << chunk.end.get();
    part_.clear();
    return code == Code::kOk;
  }
  bool StepMemory() {
    const Result<StreamBatch> read = source_->R().Read(vb_, *cursor_);
    if (!read.ok()) {
      EXPECT_TRUE(read.code() == Code::kOutOfRange || read.code() == Code::kCancelled);
      Disconnect();
      return false;
    }
    const checkpoint::Batch& batch = read.value();
    if (batch.nothing()) return false;
    if (batch.last >= batch.first) {
      std::vector<ItemRef> items;
      for (const checkpoint::Operation& operation : batch.operations) items.push_back(operation.item);
      const SnapshotRange range{batch.checkpoint.id, batch.first - 1, batch.last, source_->At(vb_).persisted};
      const Code code = replica_->R().Apply(vb_, range, items);
      EXPECT_EQ(code, Code::kOk) << CodeName(code);
    }
    if (!batch.ends_checkpoint) return true;
    CheckpointEnd end{batch.checkpoint.id, batch.last, std::nullopt};
    if (batch.checkpoint.digest_known) end.digest = batch.checkpoint.end_digest;
    const Result<DigestVerdict> verdict = replica_->R().EndCheckpoint(vb_, end);
    EXPECT_TRUE(verdict.ok()) << verdict.status().ToString();
    if (!verdict.ok()) return false;
    equal += verdict.value() == DigestVerdict::kEqual ? 1 : 0;
    different += verdict.value() == DigestVerdict::kDifferent ? 1 : 0;
    return true;
  }

  DiskNode* source_;
  DiskNode* replica_;
  Vbid vb_;
  bool asked_ = false;
  bool snapshot_ = false;  // begun, not ended
  std::optional<StreamCursor> cursor_;
  std::unique_ptr<Backfill> backfill_;
  std::vector<ItemRef> part_;
  Seqno at_;
  int idle_ = 0;
};

}  // namespace cairn::engine
