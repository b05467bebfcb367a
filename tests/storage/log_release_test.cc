#include "engine/storage/log_release.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "engine/storage/store_key.h"

namespace cairn::storage {
namespace {

using Decision = rocksdb::CompactionFilter::Decision;

class LogReleaseTest : public ::testing::Test {
 protected:
  std::unique_ptr<rocksdb::CompactionFilter> NewFilter() { return factory_.CreateCompactionFilter({}); }
  /// "keep", or the position before which everything is skipped.
  static std::string Ask(const rocksdb::CompactionFilter& filter, uint16_t vbucket, uint64_t seqno) {
    std::string skip_until;
    std::string unused;
    const Decision decision =
        filter.FilterV2(0, EncodeLogKey({Vbid(vbucket), Seqno(seqno)}),
                        rocksdb::CompactionFilter::ValueType::kValue, "record", &unused, &skip_until);
    if (decision == Decision::kKeep) return "keep";
    EXPECT_EQ(decision, Decision::kRemoveAndSkipUntil);
    const LogKey until = DecodeLogKey(skip_until);
    EXPECT_EQ(until.vbucket, Vbid(vbucket));
    return std::to_string(until.seqno.get());
  }

  std::shared_ptr<LogRelease> release_ = std::make_shared<LogRelease>();
  LogReleaseFilterFactory factory_{release_};
};

TEST_F(LogReleaseTest, SkipsToTheFirstPositionThatIsStillNeeded) {
  EXPECT_EQ(release_->Release(Vbid(3), Seqno(10)), 10u);
  EXPECT_EQ(release_->Release(Vbid(5), Seqno(kSeqnoMax)), kSeqnoMax);
  const auto filter = NewFilter();
  EXPECT_EQ(Ask(*filter, 0, 1), "keep");
  EXPECT_EQ(Ask(*filter, 3, 1), "11");
  EXPECT_EQ(Ask(*filter, 3, 10), "11");
  EXPECT_EQ(Ask(*filter, 3, 11), "keep");
  EXPECT_EQ(Ask(*filter, 4, 1), "keep");
  EXPECT_EQ(Ask(*filter, 5, 7), std::to_string(kSeqnoMax + 1));
  EXPECT_EQ(Ask(*filter, 3, 2), "11") << "in any order";
}

TEST_F(LogReleaseTest, TheMarkOnlyRises) {
  EXPECT_EQ(release_->Release(Vbid(1), Seqno(10)), 10u);
  EXPECT_EQ(release_->Release(Vbid(1), Seqno(4)), 0u);
  EXPECT_EQ(release_->Release(Vbid(1), Seqno(15)), 5u);
  EXPECT_EQ(Ask(*NewFilter(), 1, 15), "16");
}

TEST_F(LogReleaseTest, AFilterKeepsToTheMarksOfItsBeginning) {
  release_->Release(Vbid(1), Seqno(10));
  const auto before = NewFilter();
  release_->Forget(Vbid(1));
  EXPECT_EQ(Ask(*before, 1, 5), "11");
  EXPECT_EQ(Ask(*NewFilter(), 1, 5), "keep");
}

TEST_F(LogReleaseTest, WorksInFlushesAndCompactionsButNotInRecovery) {
  using Reason = rocksdb::TableFileCreationReason;
  EXPECT_TRUE(factory_.ShouldFilterTableFileCreation(Reason::kFlush));
  EXPECT_TRUE(factory_.ShouldFilterTableFileCreation(Reason::kCompaction));
  EXPECT_FALSE(factory_.ShouldFilterTableFileCreation(Reason::kRecovery));
}

}  // namespace
}  // namespace cairn::storage
