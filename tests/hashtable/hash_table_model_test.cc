// Random operations on a table and on a std::unordered_map side by side, over hash functions from good to
// useless, while the size goes up and down and a visit is under way.

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "tests/hashtable/table_test_util.h"

namespace cairn::hashtable {
namespace {

uint64_t FewTags(std::string_view key, uint64_t seed) { return KeyHash(key, seed) & ~uint64_t{0xfffc}; }
uint64_t FewHighBits(std::string_view key, uint64_t seed) { return KeyHash(key, seed) >> 20; }
uint64_t FewHashes(std::string_view key, uint64_t seed) { return KeyHash(key, seed) & 0xc0000000000000f1; }

struct Mode {
  const char* name;
  HashTable::HashFunction hash;
  uint64_t keys;
  int operations;
};
void PrintTo(const Mode& mode, std::ostream* out) { *out << mode.name; }

class Model {
 public:
  Model(const Mode& mode, uint64_t seed) : mode_(mode), random_(seed), t_(mode.hash) {}

  void Run() {
    for (int i = 0; i < mode_.operations && !testing::Test::HasFatalFailure(); ++i) {
      // Long phases of growth and of shrinking.
      const bool growing = i / (mode_.operations / 6) % 2 == 0;
      Step(growing);
      if (i % 200 == 0) VisitSome();
      if (i % 3000 == 0) CheckAll();
    }
    CheckAll();
  }

  void DrainAndCheckReferences() {
    size_t taken = 0;
    while (t_.table.size() != 0) taken += t_.table.TakeSome(100).size();
    EXPECT_EQ(taken, entries_.size());
    HashTableInspector::Check(t_.table);
    for (auto& [key, entry] : entries_) ASSERT_EQ(entry.item->ref_count(), 1u) << "only the model holds it";
  }

 private:
  struct Entry {
    ItemRef item;
    int frequency = 1;
  };

  ItemRef RandomItem(const std::string& key) {
    const ItemMeta meta{static_cast<uint32_t>(random_()), 0, Cas(++seqno_ << 8), Seqno(seqno_)};
    switch (random_() % 8) {
      case 0:
        return Item::NewDeleted(key, false, meta);
      case 1:
        return Item::NewEjected(key, 50, random_(), meta);
      default:
        return Item::NewValue(key, std::string(random_() % 200, 'v'), meta);
    }
  }

  void Step(bool growing) {
    const std::string key = KeyOf(random_() % mode_.keys);
    const uint64_t choice = random_() % 100;
    const uint64_t puts = growing ? 60 : 20;
    if (choice < puts) {
      Put(key);
    } else if (choice < 70) {
      Erase(key);
    } else if (choice < 80) {
      SwapForm(key);
    } else if (choice < 90) {
      TouchOrSet(key);
    } else if (choice == 99 && !growing && random_() % 50 == 0) {
      Take();
    } else {
      CheckKey(key);
    }
  }

  void Put(const std::string& key) {
    ItemRef item = RandomItem(key);
    const HashedKey hashed = t_.Hashed(key);
    const auto it = entries_.find(key);
    Item* const found = t_.table.Find(hashed);
    ASSERT_EQ(found, it == entries_.end() ? nullptr : it->second.item.get());
    ItemRef old = found != nullptr && random_() % 2 == 0 ? t_.table.Replace(hashed, found, item)
                                                         : t_.table.Put(hashed, item);
    ASSERT_EQ(old.get(), found);
    if (it == entries_.end()) {
      entries_[key] = Entry{std::move(item)};
    } else {
      ASSERT_EQ(old->ref_count(), 2u);
      it->second.item = std::move(item);
    }
  }

  void Erase(const std::string& key) {
    ItemRef old = t_.table.Erase(t_.Hashed(key));
    const auto it = entries_.find(key);
    ASSERT_EQ(old.get(), it == entries_.end() ? nullptr : it->second.item.get());
    if (it == entries_.end()) return;
    ASSERT_EQ(old->ref_count(), 2u);
    entries_.erase(it);
  }

  void SwapForm(const std::string& key) {
    const auto it = entries_.find(key);
    if (it == entries_.end()) return;
    ItemRef old = it->second.item;
    ItemRef form = Item::Eject(old.get());
    ASSERT_TRUE(t_.table.SwapForm(t_.Hashed(key), old.get(), form));
    it->second.item = form;
    if (it->second.item.get() == old.get()) return;  // no value to eject
    ASSERT_EQ(old->ref_count(), 1u);
  }

  void TouchOrSet(const std::string& key) {
    const auto it = entries_.find(key);
    const HashedKey hashed = t_.Hashed(key);
    if (random_() % 2 == 0) {
      t_.table.Touch(hashed, 0);
      if (it != entries_.end()) it->second.frequency = std::min(it->second.frequency + 1, 7);
    } else {
      const int frequency = static_cast<int>(random_() % 8);
      t_.table.SetFrequency(hashed, frequency);
      if (it != entries_.end()) it->second.frequency = frequency;
    }
  }

  void Take() {
    for (const ItemRef& item : t_.table.TakeSome(random_() % 400)) {
      const auto it = entries_.find(std::string(item->key()));
      ASSERT_NE(it, entries_.end());
      ASSERT_EQ(it->second.item.get(), item.get());
      entries_.erase(it);
    }
  }

  void CheckKey(const std::string& key) {
    const auto it = entries_.find(key);
    const HashedKey hashed = t_.Hashed(key);
    t_.table.PrefetchBucket(hashed.hash);
    t_.table.PrefetchItem(hashed.hash);
    ASSERT_EQ(t_.table.Find(hashed), it == entries_.end() ? nullptr : it->second.item.get());
    ASSERT_EQ(t_.table.Frequency(hashed), it == entries_.end() ? 0 : it->second.frequency);
  }

  void VisitSome() {
    // Everything visited is in the table, nothing is visited twice in one pass.
    const bool more = t_.table.Visit(cursor_, 1 + random_() % 100, [this](Item* item) {
      const std::string key(item->key());
      const auto it = entries_.find(key);
      ASSERT_NE(it, entries_.end());
      ASSERT_EQ(it->second.item.get(), item);
      ASSERT_EQ(++visited_[key], 1);
    });
    if (more) return;
    cursor_ = VisitCursor();
    visited_.clear();
  }

  void CheckAll() {
    HashTableInspector::Check(t_.table);
    ASSERT_EQ(t_.table.size(), entries_.size());
    uint64_t digest = 0;
    for (const auto& [key, entry] : entries_) {
      digest += entry.item->digest();
      CheckKey(key);
    }
    ASSERT_EQ(t_.table.digest(), digest);
  }

  const Mode mode_;
  std::mt19937_64 random_;
  uint64_t seqno_ = 0;
  std::unordered_map<std::string, Entry> entries_;
  VisitCursor cursor_;
  std::unordered_map<std::string, int> visited_;
  TestTable t_;
};

class HashTableModelTest : public testing::TestWithParam<std::tuple<Mode, uint64_t>> {};

TEST_P(HashTableModelTest, AgreesWithAMap) {
  const auto& [mode, seed] = GetParam();
  Model model(mode, seed);
  model.Run();
  if (!HasFatalFailure()) model.DrainAndCheckReferences();
}

INSTANTIATE_TEST_SUITE_P(Hashes, HashTableModelTest,
                         testing::Combine(testing::Values(Mode{"GoodHash", &KeyHash, 20000, 120'000},
                                                          Mode{"GoodHashSmall", &KeyHash, 30, 20'000},
                                                          Mode{"FewTags", &FewTags, 2000, 20'000},
                                                          Mode{"FewHighBits", &FewHighBits, 4000, 30'000},
                                                          Mode{"FewHashes", &FewHashes, 600, 10'000}),
                                          testing::Values<uint64_t>(1, 2, 3)),
                         [](const testing::TestParamInfo<std::tuple<Mode, uint64_t>>& param) {
                           return std::string(std::get<0>(param.param).name) + "Seed" +
                                  std::to_string(std::get<1>(param.param));
                         });

}  // namespace
}  // namespace cairn::hashtable
