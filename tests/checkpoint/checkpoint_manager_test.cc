#include "checkpoint/checkpoint_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/checkpoint/sequence.h"

namespace cairn::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<uint64_t> Range(uint64_t first, uint64_t last) {
  std::vector<uint64_t> range(last - first + 1);
  std::iota(range.begin(), range.end(), first);
  return range;
}

TEST(CheckpointManagerTest, GoesOnAfterTheSeqnoAndIdItWasGiven) {
  Sequence s({}, Seqno(41), CheckpointId(7));
  EXPECT_EQ(Seqno(42), s.manager.next_seqno());
  EXPECT_EQ(Seqno(41), s.manager.high_seqno());
  s.Set("a");
  EXPECT_EQ(Seqno(42), s.manager.high_seqno());
  EXPECT_EQ(CheckpointId(0), s.manager.last_closed_id());
  ASSERT_TRUE(s.manager.CloseOpen(5, 0));
  EXPECT_EQ(CheckpointId(7), s.manager.last_closed_id());
  const auto infos = s.manager.checkpoints();
  ASSERT_EQ(2u, infos.size());
  EXPECT_EQ(CheckpointId(7), infos[0].id);
  EXPECT_EQ(Seqno(42), infos[0].first);
  EXPECT_EQ(Seqno(42), infos[0].last);
  EXPECT_FALSE(infos[0].open);
  EXPECT_EQ(5u, infos[0].end_digest);
  EXPECT_EQ(CheckpointId(8), infos[1].id);
  EXPECT_EQ(Seqno(43), infos[1].first);
  EXPECT_EQ(Seqno(42), infos[1].last);
  EXPECT_TRUE(infos[1].open);
}

TEST(CheckpointManagerTest, SupersedesWithinTheOpenCheckpointOnly) {
  Sequence s;
  EXPECT_FALSE(s.Set("a"));
  EXPECT_FALSE(s.Set("b"));
  EXPECT_TRUE(s.Set("a"));
  EXPECT_EQ(2u, s.manager.open_checkpoint().live_items);
  EXPECT_FALSE(s.Holds(1));
  s.manager.CloseOpen(0, 0);
  EXPECT_FALSE(s.Set("a")) << "the version in the closed checkpoint stays";
  EXPECT_TRUE(s.Holds(3));
  EXPECT_TRUE(s.Delete("a"));
}

TEST(CheckpointManagerTest, NeverSupersedesAcrossAMarker) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  s.Set("a");
  s.Marker("start");
  EXPECT_FALSE(s.Set("a"));
  EXPECT_TRUE(s.Set("a"));
  EXPECT_THAT(Seqnos(s.ReadAll(cursor)), ElementsAre(1, 2, 4));
}

TEST(CheckpointManagerTest, AnEmptyOpenCheckpointIsNotClosed) {
  Sequence s;
  EXPECT_FALSE(s.manager.CloseOpen(1, 0));
  s.Set("a");
  EXPECT_TRUE(s.manager.CloseOpen(1, 0));
  EXPECT_FALSE(s.manager.CloseOpen(1, 0));
  EXPECT_EQ(2u, s.manager.checkpoints().size());
}

TEST(CheckpointManagerTest, ItemsBytesAndAgeAskForAClose) {
  const Limits limits{3, 1000, 50};
  {
    Sequence s(limits);
    EXPECT_FALSE(s.manager.ShouldClose(1'000'000)) << "an empty one never";
    s.Set("a", 1), s.Set("b", 1), s.Set("b", 1);
    EXPECT_FALSE(s.manager.ShouldClose(0)) << "two live";
    s.Set("c", 1);
    EXPECT_TRUE(s.manager.ShouldClose(0));
  }
  {
    Sequence s(limits);
    s.Set("a", 1000);
    EXPECT_TRUE(s.manager.ShouldClose(0));
  }
  {
    Sequence s(limits);
    s.now_ns = 100;
    s.Set("a", 1);
    s.now_ns = 140;
    s.Set("b", 1);
    EXPECT_FALSE(s.manager.ShouldClose(149));
    EXPECT_TRUE(s.manager.ShouldClose(150));
    s.manager.CloseOpen(0, 150);
    EXPECT_FALSE(s.manager.ShouldClose(1000)) << "age starts with the first entry";
  }
}

TEST(CheckpointManagerTest, ReleasedEntriesStillCountTowardsTheLimits) {
  Sequence s(Limits{3, 1 << 20, INT64_MAX});
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  for (const char* key : {"a", "b", "c"}) {
    EXPECT_FALSE(s.manager.ShouldClose(0));
    s.Set(key);
    s.ReadAll(cursor);
    s.Advance(cursor, s.manager.high_seqno().get());
  }
  EXPECT_EQ(0u, s.manager.memory_bytes());
  EXPECT_TRUE(s.manager.ShouldClose(0));
  EXPECT_EQ(3u, s.manager.open_checkpoint().live_items);
  EXPECT_EQ(0u, s.manager.open_checkpoint().bytes);
}

TEST(CheckpointManagerTest, ReleasedBytesStillCountTowardsTheLimit) {
  Sequence s(Limits{1000, 10'000, INT64_MAX});
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  for (int i = 0; i < 9; ++i) {
    s.Set("k" + std::to_string(i), 1000);
    s.ReadAll(cursor);
    s.Advance(cursor, s.manager.high_seqno().get());
    EXPECT_FALSE(s.manager.ShouldClose(0)) << i;
  }
  s.Set("k9", 1000);
  EXPECT_TRUE(s.manager.ShouldClose(0));
}

TEST(CheckpointManagerTest, SkipToLeavesAGapThatBatchesCover) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  s.Set("a");
  s.manager.CloseOpen(0, 0);
  s.manager.SkipTo(Seqno(1000));
  s.manager.SkipTo(Seqno(10));
  EXPECT_EQ(Seqno(1000), s.manager.next_seqno());
  EXPECT_EQ(Seqno(1), s.manager.high_seqno());
  EXPECT_TRUE(s.ReadAll(cursor).ends_checkpoint);
  EXPECT_FALSE(s.manager.HasMore(cursor)) << "a gap alone is nothing to read";
  EXPECT_TRUE(s.ReadAll(cursor).nothing());
  s.Set("a");
  EXPECT_TRUE(s.Set("a")) << "slots are found behind the gap too";
  const Batch batch = s.ReadAll(cursor);
  EXPECT_THAT(Seqnos(batch), ElementsAre(1001));
  EXPECT_EQ(Seqno(2), batch.first);
  EXPECT_EQ(Seqno(1001), batch.last);
  EXPECT_EQ(Seqno(1000), batch.checkpoint.first);
}

TEST(CheckpointManagerDeathTest, MisuseIsAsserted) {
  Sequence s;
  s.Set("a");
  EXPECT_DEATH(s.manager.SkipTo(Seqno(100)), "empty");
  Trash trash;
  EXPECT_DEATH(s.manager.Append(Item::NewMarker("", Seqno(7)), Seqno(0), 0, trash), "seqno");
  EXPECT_DEATH(s.manager.Read(99, 1, 1), "cursor");
}

TEST(CheckpointManagerTest, ReadsInBatchesBoundedByItemsAndBytes) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  for (int i = 0; i < 10; ++i) s.Set("k" + std::to_string(i), 100);
  Batch batch = s.manager.Read(cursor, 3, SIZE_MAX);
  EXPECT_THAT(Seqnos(batch), ElementsAre(1, 2, 3));
  EXPECT_EQ(Seqno(1), batch.first);
  EXPECT_EQ(Seqno(3), batch.last);
  EXPECT_FALSE(batch.ends_checkpoint);
  const size_t one = s.items.at(1)->allocated_bytes();
  EXPECT_EQ(3 * one, batch.bytes);
  EXPECT_THAT(Seqnos(s.manager.Read(cursor, 100, 2 * one)), ElementsAre(4, 5));
  EXPECT_THAT(Seqnos(s.manager.Read(cursor, 100, 2 * one - 1)), ElementsAre(6));
  EXPECT_THAT(Seqnos(s.manager.Read(cursor, 100, 0)), ElementsAre(7)) << "at least one";
  EXPECT_EQ(3u, s.manager.Remaining(cursor));
  EXPECT_THAT(Seqnos(s.ReadAll(cursor)), ElementsAre(8, 9, 10));
  EXPECT_TRUE(s.ReadAll(cursor).nothing());
}

TEST(CheckpointManagerTest, ABatchEndsAtACheckpointsEnd) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  s.Set("a"), s.Set("b");
  s.manager.CloseOpen(0xd1, 0);
  s.Set("c");
  Batch batch = s.ReadAll(cursor);
  EXPECT_THAT(Seqnos(batch), ElementsAre(1, 2));
  EXPECT_TRUE(batch.ends_checkpoint);
  EXPECT_EQ(CheckpointId(1), batch.checkpoint.id);
  EXPECT_EQ(0xd1u, batch.checkpoint.end_digest);
  batch = s.ReadAll(cursor);
  EXPECT_THAT(Seqnos(batch), ElementsAre(3));
  EXPECT_FALSE(batch.ends_checkpoint);
  EXPECT_EQ(CheckpointId(2), batch.operations[0].checkpoint);
}

TEST(CheckpointManagerTest, ADigestThatWasNotKnownIsNotTakenForOne) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  s.Set("a");
  s.manager.CloseOpen(std::nullopt, 0);
  s.Set("b");
  s.manager.CloseOpen(0, 0);
  EXPECT_FALSE(s.ReadAll(cursor).checkpoint.digest_known);
  EXPECT_TRUE(s.ReadAll(cursor).checkpoint.digest_known);
}

TEST(CheckpointManagerTest, AnEndIsReadOnceEvenByACursorThatHadEverything) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  s.Set("a");
  s.ReadAll(cursor);
  s.Advance(cursor, 1);
  EXPECT_FALSE(s.manager.HasMore(cursor));
  s.manager.CloseOpen(0xd1, 0);
  EXPECT_EQ(0u, s.manager.Remaining(cursor));
  EXPECT_TRUE(s.manager.HasMore(cursor));
  EXPECT_EQ(2u, s.manager.checkpoints().size()) << "its end is not confirmed yet";

  Batch batch = s.ReadAll(cursor);
  EXPECT_THAT(batch.operations, IsEmpty());
  EXPECT_TRUE(batch.ends_checkpoint);
  EXPECT_FALSE(batch.nothing());
  EXPECT_EQ(Seqno(1), batch.last);
  EXPECT_EQ(0xd1u, batch.checkpoint.end_digest);
  EXPECT_FALSE(s.manager.HasMore(cursor));

  s.manager.Rewind(cursor);
  EXPECT_TRUE(s.ReadAll(cursor).ends_checkpoint) << "again: it was not confirmed";
  s.Advance(cursor, 1);
  s.manager.Rewind(cursor);
  EXPECT_TRUE(s.ReadAll(cursor).nothing());
  EXPECT_EQ(1u, s.manager.checkpoints().size());
  EXPECT_EQ(0u, s.manager.memory_bytes());
}

TEST(CheckpointManagerTest, ASupersededSlotNeitherSkipsNorRepeatsTheNewest) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  s.Set("a"), s.Set("b"), s.Set("c");
  EXPECT_THAT(Seqnos(s.manager.Read(cursor, 1, SIZE_MAX)), ElementsAre(1));
  s.Set("b");  // the slot right in front of the cursor
  s.Set("a");  // one behind it
  EXPECT_EQ(3u, s.manager.Remaining(cursor));
  EXPECT_THAT(Seqnos(s.ReadAll(cursor)), ElementsAre(3, 4, 5));
  s.manager.Rewind(cursor);
  EXPECT_EQ(3u, s.manager.Remaining(cursor));
  EXPECT_THAT(Seqnos(s.ReadAll(cursor)), ElementsAre(3, 4, 5)) << "1 and 2 are gone for good";
}

TEST(CheckpointManagerTest, ABatchInFlightKeepsItsItems) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  s.Set("a");
  const Batch batch = s.ReadAll(cursor);
  s.Set("a");
  s.Advance(cursor, 1);
  EXPECT_EQ("a", batch.operations[0].item->key());
  EXPECT_EQ(Seqno(1), batch.operations[0].item->seqno());
}

TEST(CheckpointManagerTest, AReleasedVersionIsPersistedAgain) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  s.Set("a");
  s.ReadAll(cursor);
  s.Advance(cursor, 1);
  EXPECT_FALSE(s.Holds(1));
  EXPECT_FALSE(s.Set("a"));
  EXPECT_EQ(2u, s.manager.open_checkpoint().live_items);
  EXPECT_THAT(Seqnos(s.ReadAll(cursor)), ElementsAre(2));
}

TEST(CheckpointManagerTest, NothingIsReleasedWithoutACursor) {
  Sequence s;
  for (int i = 0; i < 5000; ++i) s.Set("k" + std::to_string(i));
  s.manager.CloseOpen(0, 0);
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  EXPECT_EQ(5000u, s.held());
  s.Remove(cursor);
  EXPECT_EQ(5000u, s.held());
}

TEST(CheckpointManagerTest, WhatAllCursorsConfirmedIsReleasedOutOfTheOpenCheckpoint) {
  Sequence s;
  const CursorId fast = *s.manager.AddCursor("fast", Seqno(1));
  const CursorId slow = *s.manager.AddCursor("slow", Seqno(1));
  for (int i = 0; i < 3000; ++i) s.Set("k" + std::to_string(i));
  s.ReadAll(fast);
  s.ReadAll(slow);
  s.Advance(fast, 3000);
  EXPECT_EQ(3000u, s.held());
  s.Advance(slow, 1500);
  EXPECT_GE(1500u + 501u, s.held()) << "whole chunks: at most one is held for a part of it";
  for (uint64_t i = 1501; i <= 3000; ++i) ASSERT_TRUE(s.Holds(i));
  s.Remove(slow);
  EXPECT_EQ(0u, s.held());
  EXPECT_EQ(0u, s.manager.memory_bytes());
}

TEST(CheckpointManagerTest, APartlyConfirmedChunkIsNotFilledFurther) {
  // Otherwise a vbucket under steady writes would hold up to 500 confirmed items until the chunk is full.
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  for (int i = 0; i < 100; ++i) s.Set("k" + std::to_string(i));
  s.ReadAll(cursor);
  s.Set("x");
  s.Advance(cursor, 100);
  s.ReadAll(cursor);
  s.Set("y");
  s.Advance(cursor, 101);
  EXPECT_EQ(1u, s.held());
}

TEST(CheckpointManagerTest, ClosedCheckpointsGoAsSoonAsAllHavePassedTheirEnd) {
  Sequence s;
  const CursorId a = *s.manager.AddCursor("a", Seqno(1));
  const CursorId b = *s.manager.AddCursor("b", Seqno(1));
  for (int c = 0; c < 5; ++c) {
    for (int i = 0; i < 100; ++i) s.Set("k" + std::to_string(i));
    s.manager.CloseOpen(0, 0);
  }
  for (int c = 0; c < 5; ++c) {
    s.ReadAll(a);
    s.ReadAll(b);
  }
  s.Advance(a, 500);
  s.Advance(b, 399);
  EXPECT_EQ(3u, s.manager.checkpoints().size());
  s.Advance(b, 400);
  EXPECT_EQ(2u, s.manager.checkpoints().size());
  EXPECT_EQ(100u, s.held());
  s.Advance(b, 500);
  EXPECT_EQ(1u, s.manager.checkpoints().size());
  EXPECT_EQ(0u, s.manager.memory_bytes());
}

TEST(CheckpointManagerTest, RemainingIsExactAcrossCheckpointsAndGaps) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  for (int i = 0; i < 1000; ++i) s.Set("k" + std::to_string(i % 300));
  s.manager.CloseOpen(0, 0);
  for (int i = 0; i < 700; ++i) s.Set("k" + std::to_string(i));
  EXPECT_EQ(1000u, s.manager.Remaining(cursor));
  s.manager.Read(cursor, 10, SIZE_MAX);
  EXPECT_EQ(990u, s.manager.Remaining(cursor));
  s.ReadAll(cursor);
  EXPECT_EQ(700u, s.manager.Remaining(cursor));
  s.manager.Rewind(cursor);
  EXPECT_EQ(1000u, s.manager.Remaining(cursor));
}

TEST(CheckpointManagerTest, AddCursorSeesTheRestOrIsRefused) {
  Sequence s;
  for (int i = 0; i < 100; ++i) s.Set("k" + std::to_string(i));
  const CursorId first = *s.manager.AddCursor("first", Seqno(0));
  EXPECT_EQ(100u, s.manager.Remaining(first));
  EXPECT_EQ(Code::kExists, s.manager.AddCursor("first", Seqno(1)).code());
  EXPECT_EQ(Code::kInvalidArgument, s.manager.AddCursor("x", Seqno(102)).code());
  const CursorId end = *s.manager.AddCursor("end", Seqno(101));
  EXPECT_EQ(Seqno(100), s.manager.Confirmed(end));
  EXPECT_EQ(0u, s.manager.Remaining(end));
  s.ReadAll(first);
  s.Advance(first, 100);
  EXPECT_EQ(Code::kOutOfRange, s.manager.AddCursor("late", Seqno(100)).code());
  EXPECT_TRUE(s.manager.AddCursor("late", Seqno(101)).ok());
  s.manager.CloseOpen(0, 0);
  EXPECT_TRUE(s.ReadAll(end).ends_checkpoint) << "it joined before the end";
}

TEST(CheckpointManagerTest, AdvanceBeyondTheReadPositionSkipsAhead) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("merge", Seqno(1));
  for (int c = 0; c < 3; ++c) {
    s.Set("a"), s.Set("b");
    s.manager.CloseOpen(0, 0);
  }
  s.Advance(cursor, 3);
  EXPECT_EQ(Seqno(3), s.manager.ReadPosition(cursor));
  EXPECT_THAT(Seqnos(s.ReadAll(cursor)), ElementsAre(4));
  s.Advance(cursor, 6);
  EXPECT_FALSE(s.manager.HasMore(cursor)) << "ends that were skipped are passed";
  s.Advance(cursor, 2);
  EXPECT_EQ(Seqno(6), s.manager.Confirmed(cursor)) << "never back";
}

TEST(CheckpointManagerTest, DropsTheSlowestDroppableCursorOnly) {
  Sequence s;
  const CursorId persistence = *s.manager.AddCursor("persistence", Seqno(1));
  const CursorId near = *s.manager.AddDroppableCursor("tap/near", Seqno(1));
  const CursorId far = *s.manager.AddDroppableCursor("tap/far", Seqno(1));
  for (int i = 0; i < 100; ++i) s.Set("k" + std::to_string(i));
  for (CursorId cursor : {persistence, near, far}) s.ReadAll(cursor);
  s.Advance(persistence, 100);
  s.Advance(near, 90);
  s.Advance(far, 10);
  Trash trash;
  EXPECT_EQ("tap/far", s.manager.DropSlowestCursor(trash));
  EXPECT_FALSE(s.manager.HasCursor(far));
  EXPECT_TRUE(s.manager.HasCursor(near));
  s.manager.RemoveCursor(far, trash);
  EXPECT_EQ("tap/near", s.manager.DropSlowestCursor(trash));
  EXPECT_EQ(0u, s.manager.memory_bytes());
  EXPECT_EQ(std::nullopt, s.manager.DropSlowestCursor(trash));
}

TEST(CheckpointManagerTest, DropsNoCursorThatHoldsNothing) {
  Sequence s;
  const CursorId persistence = *s.manager.AddCursor("persistence", Seqno(1));
  const CursorId tap = *s.manager.AddDroppableCursor("tap/a", Seqno(1));
  s.Set("a");
  s.ReadAll(tap);
  s.Advance(tap, 1);
  Trash trash;
  EXPECT_EQ(std::nullopt, s.manager.DropSlowestCursor(trash)) << "persistence holds it anyway";
  s.ReadAll(persistence);
  s.Advance(persistence, 1);
  EXPECT_EQ(std::nullopt, s.manager.DropSlowestCursor(trash)) << "nothing is held";
}

TEST(CheckpointManagerTest, HotKeysDoNotHoldTheMemoryOfTheirHistory) {
  Sequence s;
  for (int i = 0; i < 200'000; ++i) {
    s.Set("k" + std::to_string(i % 10));
    s.items.clear();
  }
  EXPECT_EQ(10u, s.manager.open_checkpoint().live_items);
  EXPECT_GT(16u * 1024, s.manager.memory_bytes()) << "1.6 MB of slots, were they all kept";
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  EXPECT_EQ(Range(199'991, 200'000), Seqnos(s.ReadAll(cursor)));
}

TEST(CheckpointManagerTest, OneHotKeyHoldsOneItem) {
  Sequence s;
  for (int i = 0; i < 200'000; ++i) {
    s.Set("counter");
    s.items.clear();
  }
  EXPECT_EQ(1u, s.manager.open_checkpoint().live_items);
  EXPECT_GT(16u * 1024, s.manager.memory_bytes()) << "each chunk is empty when the next one begins";
}

TEST(CheckpointManagerTest, AnIdleCheckpointHoldsNoSlots) {
  Sequence s;
  EXPECT_EQ(0u, s.manager.memory_bytes());
  s.Set("a", 4);
  EXPECT_GT(300u, s.manager.memory_bytes());
}

TEST(CheckpointManagerTest, ItemsAreFreedByTheTrashNotInside) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("p", Seqno(1));
  for (int i = 0; i < 40; ++i) s.Set("k" + std::to_string(i));
  s.manager.CloseOpen(0, 0);
  for (int i = 0; i < 40; ++i) s.Set("k" + std::to_string(i));
  s.ReadAll(cursor);
  s.ReadAll(cursor);
  {
    Trash trash;
    s.manager.Advance(cursor, Seqno(80), trash);
    EXPECT_EQ(0u, s.manager.memory_bytes());
    EXPECT_EQ(80u, s.held()) << "in the trash";
  }
  EXPECT_EQ(0u, s.held());
}

TEST(CheckpointManagerTest, CursorsAreListedWithExactFigures) {
  Sequence s;
  const CursorId cursor = *s.manager.AddCursor("persistence", Seqno(1));
  (void)*s.manager.AddDroppableCursor("tap/a", Seqno(1));
  for (int i = 0; i < 5; ++i) s.Set("k" + std::to_string(i));
  s.manager.Read(cursor, 3, SIZE_MAX);
  s.Advance(cursor, 2);
  const auto cursors = s.manager.cursors();
  ASSERT_EQ(2u, cursors.size());
  EXPECT_EQ("persistence", cursors[0].name);
  EXPECT_EQ(Seqno(3), cursors[0].read);
  EXPECT_EQ(Seqno(2), cursors[0].confirmed);
  EXPECT_EQ(2u, cursors[0].remaining);
  EXPECT_FALSE(cursors[0].droppable);
  EXPECT_EQ(5u, cursors[1].remaining);
  EXPECT_TRUE(cursors[1].droppable);
}

}  // namespace
}  // namespace cairn::checkpoint
