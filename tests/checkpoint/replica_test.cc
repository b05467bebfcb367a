// The replica's side of the manager: seqnos and checkpoint ids come from the active.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint_manager.h"
#include "tests/checkpoint/sequence.h"

namespace cairn::checkpoint {
namespace {

using ::testing::ElementsAre;

TEST(ReplicaTest, AppendsAtTheActivesSeqnosAndCoversItsGaps) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  ASSERT_TRUE(s.SetAt(Seqno(3), "a").ok());
  ASSERT_TRUE(s.SetAt(Seqno(7), "b").ok());
  ASSERT_TRUE(s.SetAt(Seqno(9), "a").ok());
  EXPECT_TRUE(s.superseded_last);
  EXPECT_EQ(Seqno(9), s.manager.high_seqno());
  EXPECT_EQ(Seqno(10), s.manager.next_seqno());
  const Batch batch = s.ReadAll(cursor);
  EXPECT_THAT(Seqnos(batch), ElementsAre(7, 9));
  EXPECT_EQ(Seqno(1), batch.first);
  EXPECT_EQ(Seqno(9), batch.last);
}

TEST(ReplicaTest, RefusesASeqnoThatGoesBack) {
  Sequence s;
  ASSERT_TRUE(s.SetAt(Seqno(5), "a").ok());
  EXPECT_EQ(Code::kOutOfRange, s.SetAt(Seqno(5), "b").code());
  EXPECT_EQ(Code::kOutOfRange, s.SetAt(Seqno(2), "b").code());
  EXPECT_EQ(1u, s.held());
  EXPECT_EQ(Seqno(5), s.manager.high_seqno());
}

TEST(ReplicaTest, AGapOfAnyWidthIsCheap) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  const uint64_t step = uint64_t{1} << 40;
  for (uint64_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(s.SetAt(Seqno(i * step), "k" + std::to_string(i)).ok());
    ASSERT_TRUE(s.SetAt(Seqno(i * step + 1), "l" + std::to_string(i)).ok());
  }
  EXPECT_GT(20u * (176 + 2 * 64), s.manager.memory_bytes());
  EXPECT_EQ(40u, s.manager.Remaining(cursor));
  ASSERT_TRUE(s.SetAt(Seqno(21 * step), "k7").ok());
  EXPECT_TRUE(s.superseded_last) << "found by bisection";
  EXPECT_FALSE(s.Holds(7 * step));
  EXPECT_TRUE(s.Holds(7 * step + 1));
  EXPECT_EQ(40u, s.manager.Remaining(cursor));
  s.manager.Read(cursor, 15, SIZE_MAX);
  EXPECT_EQ(25u, s.manager.Remaining(cursor));
  s.ReadAll(cursor);
  s.Advance(cursor, 21 * step);
  EXPECT_EQ(0u, s.held());
  EXPECT_EQ(0u, s.manager.memory_bytes());
}

TEST(ReplicaTest, OpensAndClosesAsTheStreamSays) {
  Sequence s({}, Seqno(100), CheckpointId(4));
  ASSERT_TRUE(s.SetAt(Seqno(102), "a").ok());
  ASSERT_TRUE(s.manager.OpenNext(CheckpointId(5), 0xd4, 0).ok());
  EXPECT_EQ(CheckpointId(4), s.manager.last_closed_id());
  EXPECT_EQ(CheckpointId(5), s.manager.open_checkpoint().id);
  EXPECT_EQ(0xd4u, s.manager.checkpoints()[0].end_digest);
  ASSERT_TRUE(s.manager.OpenNext(CheckpointId(5), 0xff, 0).ok()) << "seeing it twice is success";
  EXPECT_EQ(2u, s.manager.checkpoints().size());
  ASSERT_TRUE(s.manager.OpenNext(CheckpointId(9), 0, 0).ok()) << "an empty one takes the id";
  EXPECT_EQ(2u, s.manager.checkpoints().size());
  EXPECT_EQ(CheckpointId(9), s.manager.open_checkpoint().id);
  EXPECT_EQ(CheckpointId(4), s.manager.last_closed_id());
  EXPECT_EQ(Code::kInvalidArgument, s.manager.OpenNext(CheckpointId(8), 0, 0).code());
}

TEST(ReplicaTest, DoesNotSupersedeAcrossAMarkerEither) {
  Sequence s;
  ASSERT_TRUE(s.SetAt(Seqno(1), "a").ok());
  ASSERT_TRUE(s.MarkerAt(Seqno(4), "start").ok());
  ASSERT_TRUE(s.SetAt(Seqno(8), "a").ok());
  EXPECT_FALSE(s.superseded_last);
  EXPECT_TRUE(s.Holds(1));
}

// What a replica reads from its own sequence is what its active holds: same ids, live operations, ends.
TEST(ReplicaTest, FollowsAnActiveExactly) {
  Sequence active;
  Sequence replica;
  const CursorId tap = *active.manager.AddDroppableCursor("tap/r", Seqno(1));
  const CursorId persistence = *replica.manager.AddCursor("persistence", Seqno(1));
  std::vector<CheckpointInfo> ends;
  for (int i = 0; i < 5000; ++i) {
    active.Set("k" + std::to_string(i * 7919 % 61));
    if (i % 997 == 0) active.Marker("m");
    if (i % 700 == 699) active.manager.CloseOpen(static_cast<uint64_t>(i), 0);
    if (i % 90 != 89) continue;
    const Batch batch = active.manager.Read(tap, 50, SIZE_MAX);
    ASSERT_TRUE(
        replica.manager.OpenNext(batch.checkpoint.id, ends.empty() ? 0 : ends.back().end_digest, 0).ok());
    for (const Operation& operation : batch.operations) {
      ASSERT_TRUE(replica.AppendAt(std::string(operation.item->key()), operation.item).ok());
    }
    if (batch.ends_checkpoint) ends.push_back(batch.checkpoint);
    active.Advance(tap, batch.last.get());
  }
  ASSERT_GE(ends.size(), 2u);
  for (const CheckpointInfo& end : ends) {
    Batch batch;
    do {
      batch = replica.manager.Read(persistence, 20, SIZE_MAX);
    } while (!batch.ends_checkpoint && !batch.nothing());
    if (batch.nothing()) break;  // the last one is still open on the replica
    EXPECT_EQ(end.id, batch.checkpoint.id);
    EXPECT_EQ(end.last, batch.checkpoint.last);
    EXPECT_EQ(end.end_digest, batch.checkpoint.end_digest);
  }
}

}  // namespace
}  // namespace cairn::checkpoint
