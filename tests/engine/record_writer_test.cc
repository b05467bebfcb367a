#include "engine/record_writer.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/clock.h"
#include "engine/storage/memory_store.h"
#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

constexpr uint32_t kVbuckets = 1024;

// With histories as long as they may be, so that the records of all vbuckets take several batches.
proto::VbucketMeta LongRecord(Vbid vbucket) {
  proto::VbucketMeta meta;
  meta.state = 1;
  meta.max_cas = Cas(vbucket.get() + 1);
  for (size_t i = proto::kFailoverEntriesMax; i > 0; --i) meta.failover_log.push_back({i, Seqno(i)});
  return meta;
}

class RecordWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.vbuckets = kVbuckets;
    core_ = std::make_unique<Core>(options, &clock_, std::make_unique<storage::ForwardingStore>(&gate_), 7);
  }
  Status AddAll(RecordWriter& records, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; ++i) {
      const Vbid vbucket(static_cast<uint16_t>(i));
      CAIRN_RETURN_IF_ERROR(records.Add(vbucket, LongRecord(vbucket)));
    }
    return Status::Ok();
  }
  uint32_t Present() {
    uint32_t present = 0;
    for (uint32_t i = 0; i < kVbuckets; ++i) {
      const Vbid vbucket(static_cast<uint16_t>(i));
      const Result<std::string> record = store_.GetMeta(proto::VbucketMetaName(vbucket));
      if (!record.ok()) continue;
      EXPECT_EQ(*record, proto::EncodeVbucketMeta(vbucket, LongRecord(vbucket)));
      ++present;
    }
    return present;
  }

  ManualClock clock_;
  storage::MemoryStore store_{3};
  InterceptedStore gate_{&store_};
  std::unique_ptr<Core> core_;
};

TEST_F(RecordWriterTest, ManyGoInSeveralBatchesAndAreDurableTogether) {
  int batches = 0;
  gate_.refuse = [&](const storage::LogBatch& batch) {
    ++batches;
    size_t bytes = 0;
    for (const auto& put : batch.meta_puts) bytes += put.second.size();
    EXPECT_LE(bytes, storage::kLogBatchBytesSoft + (32u << 10));
    return Status::Ok();
  };
  RecordWriter records(*core_);
  ASSERT_TRUE(AddAll(records, 0, kVbuckets).ok());
  ASSERT_TRUE(records.Finish().ok());
  EXPECT_GE(batches, 2);
  store_.Crash();
  ASSERT_TRUE(store_.Reopen().ok());
  EXPECT_EQ(Present(), kVbuckets);
}

// The first batch was not synced when the store was opened anew: it may be gone, though the last one is
// there.
TEST_F(RecordWriterTest, AReopenInBetweenIsAnError) {
  RecordWriter records(*core_);
  ASSERT_TRUE(AddAll(records, 0, kVbuckets - 1).ok());
  ASSERT_TRUE(core_->store.Reopen().ok());
  ASSERT_TRUE(AddAll(records, kVbuckets - 1, kVbuckets).ok());
  EXPECT_EQ(records.Finish().code(), Code::kTmpFail);
  RecordWriter again(*core_);
  ASSERT_TRUE(AddAll(again, 0, kVbuckets).ok());
  EXPECT_TRUE(again.Finish().ok());
  EXPECT_EQ(Present(), kVbuckets);
}

TEST_F(RecordWriterTest, AReopenDoesNotMatterToASingleBatch) {
  RecordWriter records(*core_);
  ASSERT_TRUE(AddAll(records, 0, 3).ok());
  ASSERT_TRUE(core_->store.Reopen().ok());
  EXPECT_TRUE(records.Finish().ok());
  EXPECT_EQ(Present(), 3u);
}

}  // namespace
}  // namespace cairn::engine
