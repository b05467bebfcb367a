#pragma once
// What the tests of the stores share: a temporary directory, short ways to build batches, and reading a
// whole range.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/storage/kv_store.h"

namespace cairn::storage {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "cairn-storage-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string Sub(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline std::pair<LogKey, std::string> LogRecord(uint16_t vbucket, uint64_t seqno, std::string record) {
  return {{Vbid(vbucket), Seqno(seqno)}, std::move(record)};
}

inline DataChange Put(uint16_t vbucket, std::string key, std::string record) {
  return {Vbid(vbucket), std::move(key), std::move(record), false};
}

inline DataChange Remove(uint16_t vbucket, std::string key) {
  return {Vbid(vbucket), std::move(key), {}, true};
}

inline DataRun RunOf(const std::vector<DataChange>& changes) {
  DataRun run;
  for (const DataChange& change : changes) run.push_back(&change);
  return run;
}

inline std::map<uint64_t, std::string> AllLog(KvStore& store, uint16_t vbucket, uint64_t first = 0,
                                              uint64_t last = UINT64_MAX) {
  std::map<uint64_t, std::string> found;
  const auto it = store.ReadLog(Vbid(vbucket), Seqno(first), Seqno(last));
  for (; it->Valid(); it->Next()) {
    EXPECT_EQ(it->log_key().vbucket, Vbid(vbucket));
    EXPECT_TRUE(found.empty() || found.rbegin()->first < it->log_key().seqno.get());
    found.emplace(it->log_key().seqno.get(), it->record());
  }
  EXPECT_TRUE(it->status().ok()) << it->status().ToString();
  return found;
}

inline std::map<std::string, std::string> AllData(KvStore& store, uint16_t vbucket,
                                                  std::string_view from = {}) {
  std::map<std::string, std::string> found;
  const auto it = store.ReadData(Vbid(vbucket), from);
  for (; it->Valid(); it->Next()) {
    EXPECT_TRUE(found.empty() || found.rbegin()->first < it->data_key());
    found.emplace(it->data_key(), it->record());
  }
  EXPECT_TRUE(it->status().ok()) << it->status().ToString();
  return found;
}

#define CAIRN_ASSERT_OK(expr)                                  \
  do {                                                         \
    const ::cairn::Status test_status_ = (expr);               \
    ASSERT_TRUE(test_status_.ok()) << test_status_.ToString(); \
  } while (false)

#define CAIRN_EXPECT_OK(expr)                                  \
  do {                                                         \
    const ::cairn::Status test_status_ = (expr);               \
    EXPECT_TRUE(test_status_.ok()) << test_status_.ToString(); \
  } while (false)

}  // namespace cairn::storage
