#include "base/item.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cairn {
namespace {

const ItemMeta kMeta{.flags = 0xdeadbeef, .expiry = 1'800'000'000, .cas = Cas(77), .seqno = Seqno(kSeqnoMax)};

TEST(Item, ValueCarriesWhatItWasGiven) {
  const std::string value("v\0v", 3);
  const ItemRef item = Item::NewValue("key", value, kMeta);
  EXPECT_EQ(item->kind(), ItemKind::kValue);
  EXPECT_TRUE(item->is_value());
  EXPECT_EQ(item->key(), "key");
  EXPECT_EQ(item->value(), value);
  EXPECT_EQ(item->value_size(), 3U);
  EXPECT_EQ(item->flags(), 0xdeadbeefU);
  EXPECT_EQ(item->expiry(), 1'800'000'000U);
  EXPECT_EQ(item->cas(), Cas(77));
  EXPECT_EQ(item->seqno(), Seqno(kSeqnoMax));
  EXPECT_EQ(item->allocated_bytes(), 32U + 3 + 3);
  EXPECT_GE(item->resident_bytes(), item->allocated_bytes());
}

TEST(Item, LongestKeyAndEmptyValue) {
  const std::string key(kKeySizeMax, 'k');
  const ItemRef item = Item::NewValue(key, "", {});
  EXPECT_EQ(item->key(), key);
  EXPECT_EQ(item->value(), "");
}

TEST(ItemDeathTest, LargerThanTheLimitsIsAProgrammerError) {
  EXPECT_DEATH(Item::NewValue(std::string(kKeySizeMax + 1, 'k'), "", {}), "check failed");
  EXPECT_DEATH(Item::NewUninitialized("k", kValueSizeMax + 1, {}), "check failed");
}

TEST(Item, UninitializedIsFilledByItsOwner) {
  const ItemRef item = Item::NewUninitialized("k", 2, {});
  item->mutable_value()[0] = 'a';
  item->mutable_value()[1] = 'b';
  item->set_cas(Cas(5));
  item->set_seqno(Seqno(6));
  item->set_expiry(7);
  const ItemRef same = Item::NewValue("k", "ab", {.flags = 0, .expiry = 7, .cas = Cas(5), .seqno = Seqno(6)});
  EXPECT_EQ(item->digest(), same->digest());
}

TEST(Item, EjectedKeepsDigestAndMetadataWithoutTheValue) {
  const ItemRef item = Item::NewValue("key", std::string(1'000, 'x'), kMeta);
  const ItemRef ejected = Item::Eject(item.get());
  EXPECT_EQ(ejected->kind(), ItemKind::kEjected);
  EXPECT_EQ(ejected->key(), "key");
  EXPECT_EQ(ejected->value(), "");
  EXPECT_EQ(ejected->value_size(), 1'000U);
  EXPECT_EQ(ejected->value_digest(), item->value_digest());
  EXPECT_EQ(ejected->digest(), item->digest());
  EXPECT_EQ(ejected->flags(), item->flags());
  EXPECT_EQ(ejected->cas(), item->cas());
  EXPECT_EQ(ejected->seqno(), item->seqno());
  EXPECT_EQ(ejected->allocated_bytes(), 32U + 3 + 8);
  EXPECT_EQ(item->value().size(), 1'000U) << "the original is as it was";
}

TEST(Item, EjectingAnythingElseSharesIt) {
  for (const ItemRef& item : {Item::NewDeleted("k", false, kMeta), Item::NewMarker("m", Seqno(1)),
                              Item::NewEjected("k", 10, 1, kMeta)}) {
    const ItemRef again = Item::Eject(item.get());
    EXPECT_EQ(again.get(), item.get());
    EXPECT_EQ(item->ref_count(), 2U);
  }
}

TEST(Item, DeletedKnowsWhy) {
  const ItemRef by_user = Item::NewDeleted("k", false, kMeta);
  const ItemRef by_time = Item::NewDeleted("k", true, kMeta);
  EXPECT_TRUE(by_user->is_deleted());
  EXPECT_FALSE(by_user->deleted_by_expiry());
  EXPECT_TRUE(by_time->is_deleted());
  EXPECT_TRUE(by_time->deleted_by_expiry());
  EXPECT_EQ(by_user->digest(), 0U);
  EXPECT_EQ(by_user->value_digest(), 0U);
  EXPECT_EQ(by_user->value(), "");
}

TEST(Item, MarkerHasAPayloadAndNoKey) {
  const ItemRef marker = Item::NewMarker("payload", Seqno(9));
  EXPECT_TRUE(marker->is_marker());
  EXPECT_EQ(marker->key(), "");
  EXPECT_EQ(marker->value(), "payload");
  EXPECT_EQ(marker->seqno(), Seqno(9));
  EXPECT_EQ(marker->digest(), 0U);
  EXPECT_EQ(Item::NewMarker("", Seqno(1))->value(), "");
}

// These numbers are on disk and on the wire (checkpoint_end carries the sum): they may never change.
TEST(Item, DigestIsStable) {
  const ItemRef item = Item::NewValue("key", "value", kMeta);
  EXPECT_EQ(item->value_digest(), 0x87d57e269b9df0f0ULL);
  EXPECT_EQ(item->digest(), 0x9294756972b5b945ULL);
}

TEST(Item, DigestCoversEveryField) {
  const uint64_t digest = Item::NewValue("key", "value", kMeta)->digest();
  EXPECT_NE(Item::NewValue("kez", "value", kMeta)->digest(), digest);
  EXPECT_NE(Item::NewValue("key", "valuf", kMeta)->digest(), digest);
  EXPECT_NE(Item::NewValue("keyv", "alue", kMeta)->digest(), digest);
  for (int field = 0; field < 4; ++field) {
    ItemMeta meta = kMeta;
    if (field == 0) ++meta.flags;
    if (field == 1) ++meta.expiry;
    if (field == 2) ++meta.cas;
    if (field == 3) meta.seqno = Seqno(1);
    EXPECT_NE(Item::NewValue("key", "value", meta)->digest(), digest) << field;
  }
  ItemMeta swapped = kMeta;
  std::swap(swapped.flags, swapped.expiry);
  EXPECT_NE(Item::NewValue("key", "value", swapped)->digest(), digest);
}

TEST(Item, ExpiresAtItsSecond) {
  const ItemRef item = Item::NewValue("k", "v", {.flags = 0, .expiry = 100, .cas = {}, .seqno = {}});
  EXPECT_FALSE(item->expired_at(99));
  EXPECT_TRUE(item->expired_at(100));
  EXPECT_FALSE(Item::NewValue("k", "v", {})->expired_at(UINT32_MAX)) << "0 is never";
}

TEST(ItemRef, CountsReferences) {
  ItemRef a = Item::NewValue("k", "v", {});
  EXPECT_EQ(a->ref_count(), 1U);
  ItemRef b = a;
  EXPECT_EQ(a->ref_count(), 2U);
  ItemRef c = std::move(b);
  EXPECT_FALSE(b);  // NOLINT(bugprone-use-after-move): what a move leaves is promised
  EXPECT_EQ(a->ref_count(), 2U);
  const ItemRef& alias = c;
  c = alias;  // itself
  EXPECT_EQ(a->ref_count(), 2U);
  c.Reset();
  EXPECT_EQ(a->ref_count(), 1U);
  Item* const raw = a.Release();
  EXPECT_EQ(raw->ref_count(), 1U);
  const ItemRef adopted = ItemRef::Adopt(raw);
  const ItemRef shared = ItemRef::Share(raw);
  EXPECT_EQ(raw->ref_count(), 2U);
  ItemRef other = Item::NewValue("o", "v", {});
  other = shared;
  EXPECT_EQ(other->key(), "k");
  EXPECT_EQ(raw->ref_count(), 3U);
}

TEST(ItemRef, ThreadsCopyAndDrop) {
  const ItemRef item = Item::NewValue("k", "v", {});
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([item] {
      for (int i = 0; i < 10'000; ++i) {
        const ItemRef copy = item;  // NOLINT(performance-unnecessary-copy-initialization): the point
        ASSERT_EQ(copy->value(), "v");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  EXPECT_EQ(item->ref_count(), 1U);
}

}  // namespace
}  // namespace cairn
