// The memory that tables really keep from the system when a whole node's grow and shrink in step: with slabs
// that are only partly used, which TableStats does not see.

#include <gtest/gtest.h>

#include <memory>
#include <string_view>
#include <vector>

#include "base/item.h"
#include "base/key.h"
#include "bench/slab_bytes.h"
#include "hashtable/hash_table.h"

namespace cairn::hashtable {
namespace {

constexpr uint64_t kSeed = 0x5eed;
constexpr size_t kTables = 1024;
constexpr size_t kItemsFirst = 2000;
constexpr size_t kItemsLast = 6000;
constexpr size_t kStep = 250;
// All that these tables allocate is in slabs: the largest directory has 1.5 KiB.
constexpr double kBytesPerItemMax = 10.2;

class TableMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(HaveJemalloc()) << "registered only where jemalloc is linked";
    for (size_t i = 0; i < kTables; ++i) tables_.push_back(std::make_unique<HashTable>(kSeed));
    Put(0, 0);  // fills the item's size class with something, and takes whatever the first call allocates
    item_bytes_ = tables_[0]->stats().item_bytes;
    Erase(0, 0);
    before_ = SlabBytes(item_bytes_);
  }

  // The number of the item of a table, as a key of 8 bytes.
  template <class UseKey>
  static void WithKey(size_t table, size_t item, UseKey&& use) {
    const uint64_t number = item * kTables + table;
    const std::string_view key(reinterpret_cast<const char*>(&number), sizeof(number));
    use(HashedKey{key, KeyHash(key, kSeed)});
  }
  void Put(size_t table, size_t item) {
    WithKey(table, item, [&](const HashedKey& key) {
      tables_[table]->Put(key, Item::NewDeleted(key.key, false, ItemMeta{0, 0, Cas(1), Seqno(1)}));
    });
  }
  void Erase(size_t table, size_t item) {
    WithKey(table, item, [&](const HashedKey& key) { ASSERT_TRUE(tables_[table]->Erase(key)); });
  }
  double BytesPerItem(size_t items) const {
    return static_cast<double>(SlabBytes(item_bytes_) - before_) / static_cast<double>(items * kTables);
  }

  std::vector<std::unique_ptr<HashTable>> tables_;
  size_t item_bytes_ = 0;
  size_t before_ = 0;
};

TEST_F(TableMemoryTest, TablesThatGrowInStepLeaveNoSlabsBehind) {
  size_t items = 0;
  for (size_t size = kItemsFirst; size <= kItemsLast; size += kStep) {
    for (; items < size; ++items) {
      for (size_t t = 0; t < kTables; ++t) Put(t, items);
    }
    size_t table_bytes = 0;
    for (const auto& table : tables_) table_bytes += table->stats().table_bytes;
    EXPECT_LE(BytesPerItem(items), kBytesPerItemMax) << items << " items";
    EXPECT_GE(SlabBytes(item_bytes_) - before_, table_bytes)
        << "the slabs hold what the tables say they have";
  }
}

}  // namespace
}  // namespace cairn::hashtable
