#include "checkpoint/chunk.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "checkpoint/fifo.h"
#include "checkpoint/trash.h"

namespace cairn::checkpoint {
namespace {

ItemRef NewItem(uint64_t seqno) { return Item::NewValue("key", "value", {0, 0, Cas(), Seqno(seqno)}); }

TEST(ChunkTest, TakesExactlyTheMemoryItWasGiven) {
  for (size_t bytes : {160u, 320u, 640u, 1280u, 2560u, 4096u}) {
    ChunkPtr chunk = Chunk::New(bytes);
    EXPECT_EQ(bytes, chunk->memory_bytes());
    EXPECT_EQ(Chunk::SlotsIn(bytes), chunk->capacity());
  }
  EXPECT_EQ(16u, Chunk::SlotsIn(160));
  EXPECT_EQ(501u, Chunk::SlotsIn(4096));
}

TEST(ChunkTest, EverySlotCanBeFilledFoundAndEmptied) {
  ChunkPtr chunk = Chunk::New(4096);
  std::vector<ItemRef> items;
  for (uint32_t i = 0; i < chunk->capacity(); ++i) {
    items.push_back(NewItem(i + 1));
    chunk->Put(i, items.back(), items.back()->allocated_bytes());
  }
  EXPECT_EQ(chunk->capacity(), chunk->live());
  EXPECT_EQ(chunk->capacity() * items[0]->allocated_bytes(), chunk->item_bytes());
  for (uint32_t i = 0; i < chunk->capacity(); ++i) {
    EXPECT_EQ(i, chunk->NextLive(i));
    EXPECT_EQ(chunk->capacity() - i, chunk->CountFrom(i));
  }
  for (uint32_t i = 0; i < chunk->capacity(); ++i) {
    ASSERT_TRUE(chunk->Holds(i));
    EXPECT_EQ(i + 1, chunk->Take(i)->seqno().get());
    EXPECT_FALSE(chunk->Holds(i));
    EXPECT_EQ(i + 1, chunk->NextLive(0));
  }
  EXPECT_EQ(0u, chunk->item_bytes());
}

TEST(ChunkTest, CountsAndFindsAcrossWordsWithGaps) {
  ChunkPtr chunk = Chunk::New(4096);
  for (uint32_t i : {0u, 63u, 64u, 200u, 500u}) {
    ItemRef item = NewItem(i + 1);
    chunk->Put(i, item, item->allocated_bytes());
  }
  EXPECT_EQ(5u, chunk->CountFrom(0));
  EXPECT_EQ(4u, chunk->CountFrom(1));
  EXPECT_EQ(4u, chunk->CountFrom(63));
  EXPECT_EQ(3u, chunk->CountFrom(64));
  EXPECT_EQ(1u, chunk->CountFrom(201));
  EXPECT_EQ(0u, chunk->CountFrom(501));
  EXPECT_EQ(63u, chunk->NextLive(1));
  EXPECT_EQ(200u, chunk->NextLive(65));
  EXPECT_EQ(500u, chunk->NextLive(201));
  EXPECT_FALSE(chunk->Holds(62));
  EXPECT_FALSE(chunk->Holds(501)) << "beyond the last filled slot";
}

TEST(ChunkTest, DestructionDropsWhatIsHeldAndNothingElse) {
  ItemRef kept = NewItem(1);
  ItemRef taken = NewItem(2);
  ChunkPtr chunk = Chunk::New(160);
  chunk->Put(0, kept, kept->allocated_bytes());
  chunk->Put(5, taken, taken->allocated_bytes());
  chunk->Take(5).Reset();
  EXPECT_EQ(2u, kept->ref_count());
  EXPECT_EQ(1u, taken->ref_count());
  chunk.reset();
  EXPECT_EQ(1u, kept->ref_count());
  EXPECT_EQ(1u, taken->ref_count());
}

TEST(FifoTest, KeepsOrderWhilePushingAndPopping) {
  Fifo<std::string> fifo;
  uint64_t pushed = 0;
  uint64_t popped = 0;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 3 + round % 7; ++i) fifo.PushBack(std::to_string(pushed++));
    ASSERT_EQ(pushed - popped, fifo.size());
    for (size_t i = 0; i < fifo.size(); ++i) ASSERT_EQ(std::to_string(popped + i), fifo[i]);
    for (int i = 0; i < 2 + round % 5 && !fifo.empty(); ++i)
      ASSERT_EQ(std::to_string(popped++), fifo.PopFront());
  }
  while (!fifo.empty()) ASSERT_EQ(std::to_string(popped++), fifo.PopFront());
  EXPECT_EQ(pushed, popped);
}

TEST(FifoTest, BisectsFromTheFrontThatIsLeft) {
  Fifo<int> fifo;
  for (int i = 0; i < 10; ++i) fifo.PushBack(i * 10);
  for (int i = 0; i < 3; ++i) fifo.PopFront();
  EXPECT_EQ(0u, fifo.FirstIndex([](int v) { return v >= 5; }));
  EXPECT_EQ(2u, fifo.FirstIndex([](int v) { return v >= 50; }));
  EXPECT_EQ(3u, fifo.FirstIndex([](int v) { return v > 50; }));
  EXPECT_EQ(7u, fifo.FirstIndex([](int v) { return v > 90; }));
}

TEST(TrashTest, FreesWhatItWasGivenWhenItGoes) {
  std::vector<ItemRef> items;
  for (uint64_t i = 1; i <= 5; ++i) items.push_back(NewItem(i));
  Trash outer;
  EXPECT_TRUE(outer.empty());
  {
    Trash trash;
    trash.Add(nullptr);
    EXPECT_TRUE(trash.empty());
    for (const ItemRef& item : items) trash.Add(item);
    EXPECT_FALSE(trash.empty());
    outer = std::move(trash);
  }
  for (const ItemRef& item : items) EXPECT_EQ(2u, item->ref_count());
  outer = Trash();
  for (const ItemRef& item : items) EXPECT_EQ(1u, item->ref_count());
  EXPECT_TRUE(outer.empty());
}

}  // namespace
}  // namespace cairn::checkpoint
