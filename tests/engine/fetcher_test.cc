#include "engine/fetcher.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/key.h"
#include "base/log.h"
#include "engine/storage/memory_store.h"
#include "proto/disk_record.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/forwarding_store.h"

namespace cairn::engine {
namespace {

/// Does something between a read of the log and its answer.
class InterruptedStore final : public storage::ForwardingStore {
 public:
  explicit InterruptedStore(storage::KvStore* store) : ForwardingStore(store) {}
  Result<std::string> GetLog(storage::LogKey key) override {
    Result<std::string> answer = ForwardingStore::GetLog(key);
    if (meanwhile) std::exchange(meanwhile, nullptr)();
    return answer;
  }
  std::function<void()> meanwhile;
};

/// One vbucket and a fetcher, without an engine around them.
class FetcherTest : public ::testing::Test {
 protected:
  static constexpr Vbid kVbucket{0};

  void SetUp() override {
    SetLogLevel(LogLevel::kOff);
    core_.hand_to_flusher = [](Vbid) {};
    core_.announce = [](std::span<const Vbid>, bool) {};
    MutexLock lock(vb_.mutex);
    vb_.OpenSequence(true, 1, core_.Now());
  }

  /// Stores the value, in memory and in the log, and ejects it from memory.
  Seqno Write(const std::string& value) {
    Effects fx;
    storage::LogBatch log;
    Seqno seqno;
    {
      MutexLock lock(vb_.mutex);
      seqno = vb_.Store(key_, StoreMode::kSet, Cas(), Item::NewValue(key_.key, value, ItemMeta{}),
                        core_.Now(), fx)
                  .seqno;
      const checkpoint::Batch batch = vb_.ReadForLog();
      for (const checkpoint::Operation& operation : batch.operations) {
        proto::EncodeLogRecord(
            kVbucket, *operation.item, operation.checkpoint,
            &log.records.emplace_back(storage::LogKey{kVbucket, operation.item->seqno()}, std::string())
                 .second);
      }
      EXPECT_TRUE(store_.WriteLog(log, true).ok());
      vb_.MarkPersisted(batch.last, fx);
      size_t freed = 0;
      for (hashtable::VisitCursor cursor; !cursor.done;) vb_.EjectSome(cursor, 7, &freed, fx);
      EXPECT_TRUE(vb_.StillEjected(key_, seqno));
    }
    core_.Finish(vb_, fx);
    return seqno;
  }
  /// As a rollback to nothing does it.
  void ReplaceContent() {
    VBucket fresh(vb_.options());
    Effects fx;
    {
      MutexLock lock(vb_.mutex);
      MutexLock fresh_lock(fresh.mutex);
      fresh.OpenSequence(true, 2, core_.Now());
      vb_.ReplaceContent(fresh, fx);
      fresh.ForgetMemory();
    }
    core_.Finish(vb_, fx);
    store_.ReleaseLog(kVbucket, Seqno(kSeqnoMax));
  }
  GetResult Get() {
    Effects fx;
    MutexLock lock(vb_.mutex);
    return vb_.Get(key_, core_.Now(), fx);
  }
  /// Asks for the version and has it read.
  void Fetch(Seqno seqno) {
    const auto waiter = std::make_shared<WakeFlag>();
    ASSERT_TRUE(fetcher_.Fetch(kVbucket, key_.key, seqno, waiter));
    ASSERT_EQ(fetcher_.RunSome(1), 1u);
    EXPECT_TRUE(waiter->woken);
  }
  uint64_t Errors() const { return core_.metrics.Sum(Metric::kFetchErrors); }

  static EngineOptions Options() {
    EngineOptions options = SmallOptions();
    options.vbuckets = 1;
    return options;
  }
  ManualClock clock_;
  storage::MemoryStore store_{3};
  InterruptedStore* disk_ = new InterruptedStore(&store_);  // the core's
  Core core_{Options(), &clock_, std::unique_ptr<storage::KvStore>(disk_), 5};
  VBucket& vb_ = *core_.vbuckets[0];
  Fetcher fetcher_{core_};
  const hashtable::HashedKey key_{"key", KeyHash("key", core_.hash_seed)};
};

TEST_F(FetcherTest, ReadsAnEjectedVersion) {
  const std::string value(100, 'v');
  const Seqno seqno = Write(value);
  EXPECT_EQ(Get().code, Code::kWouldBlock);
  Fetch(seqno);
  ASSERT_EQ(Get().code, Code::kOk);
  EXPECT_EQ(Get().item->value(), value);
  EXPECT_EQ(Errors(), 0u);
}

TEST_F(FetcherTest, AVersionThatIsNowhereOnDiskIsDamage) {
  const Seqno seqno = Write(std::string(100, 'v'));
  store_.ReleaseLog(kVbucket, Seqno(kSeqnoMax));
  Fetch(seqno);
  EXPECT_EQ(Errors(), 1u);
  EXPECT_EQ(Get().code, Code::kCorruption);
}

// The other history has the same key at the same seqno.
TEST_F(FetcherTest, WhatWasReadOfAHistoryIsNotTakenForAnothersVersion) {
  const Seqno before = Write(std::string(100, 'a'));
  Seqno after;
  disk_->meanwhile = [&] {
    ReplaceContent();
    after = Write(std::string(100, 'b'));
  };
  Fetch(before);
  ASSERT_EQ(after, before);
  EXPECT_EQ(Get().code, Code::kWouldBlock) << "it is asked for again";
  Fetch(after);
  ASSERT_EQ(Get().code, Code::kOk);
  EXPECT_EQ(Get().item->value(), std::string(100, 'b'));
  EXPECT_EQ(Errors(), 0u);
}

TEST_F(FetcherTest, WhatIsMissingOfAHistoryIsNoDamageToAnother) {
  const Seqno before = Write(std::string(100, 'a'));
  store_.ReleaseLog(kVbucket, Seqno(kSeqnoMax));  // by a rollback that is under way
  // The first two looks find nothing either.
  int looks = 0;
  const std::function<void()> look = [&] {
    if (++looks < 3) {
      disk_->meanwhile = look;
      return;
    }
    ReplaceContent();
    Write(std::string(100, 'b'));
  };
  disk_->meanwhile = look;
  Fetch(before);
  ASSERT_EQ(looks, 3);
  EXPECT_EQ(Errors(), 0u);
  EXPECT_EQ(Get().code, Code::kWouldBlock);
  Fetch(before);
  ASSERT_EQ(Get().code, Code::kOk);
  EXPECT_EQ(Get().item->value(), std::string(100, 'b'));
}

}  // namespace
}  // namespace cairn::engine
