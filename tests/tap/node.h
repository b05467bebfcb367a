#pragma once
// A node in this process: an engine with its threads on a RocksDB directory, and its TapService on loopback.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/replication.h"
#include "engine/storage/kv_store.h"
#include "tap/service.h"
#include "tests/base/temp_dir.h"
#include "tests/support/patience.h"

namespace cairn::tap {

inline bool Eventually(const std::function<bool()>& condition, int seconds = 30) {
  return PatientlyUntil(std::chrono::seconds(seconds), condition);
}

class TapNode {
 public:
  static constexpr uint32_t kVbuckets = 8;

  explicit TapNode(const std::string& name) {
    tap_options.node_name = name;
    tap_options.data_dir = dir_.path();
    tap_options.listen = {"127.0.0.1"};
    tap_options.port = 0;
    engine_options.data_dir = dir_.path();
    engine_options.vbuckets = kVbuckets;
    engine_options.memory_quota = 256u << 20;
    engine_options.checkpoint_age_max_ms = 200;
  }
  ~TapNode() { Close(); }
  TapNode(const TapNode&) = delete;
  TapNode& operator=(const TapNode&) = delete;

  TapService::Options tap_options;
  engine::EngineOptions engine_options;

  Status TryOpen() {
    engine::EngineDeps deps;
    deps.clock = &clock_;
    storage::RocksStoreOptions store;
    store.path = dir_.path();
    CAIRN_ASSIGN_OR_RETURN(deps.store, storage::OpenRocksStore(store));
    CAIRN_ASSIGN_OR_RETURN(engine_, engine::Engine::Open(engine_options, std::move(deps)));
    CAIRN_ASSIGN_OR_RETURN(tap_, TapService::Start(tap_options, engine_->replication(), clock_));
    tap_options.port = tap_->port();  // the same one after a restart
    return Status::Ok();
  }
  TapNode& Open() {
    const Status status = TryOpen();
    EXPECT_TRUE(status.ok()) << status.ToString();
    return *this;
  }
  TapNode& Follow(const TapNode& source) {
    tap_options.replica_of = source.address();
    return Open();
  }
  void Close() {
    if (tap_ != nullptr) tap_->Stop();
    if (engine_ != nullptr) {
      EXPECT_TRUE(engine_->Shutdown(true).ok());
    }
    tap_.reset();
    engine_.reset();
  }

  engine::Engine& engine() { return *engine_; }
  TapService& tap() { return *tap_; }
  const TempDir& dir() const { return dir_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(*tap_options.port); }

  Code Set(const std::string& key, const std::string& value) {
    engine::StoreRequest request;
    request.value = value;
    return engine_->Store(engine_->MakeKey(key), request, nullptr).code;
  }
  Code Delete(const std::string& key) { return engine_->Delete(engine_->MakeKey(key), Cas(), nullptr).code; }
  /// Nothing: absent, or this node does not serve it.
  std::optional<std::string> Get(const std::string& key) {
    const engine::GetResult result = engine_->Get(engine_->MakeKey(key), nullptr);
    if (result.code != Code::kOk) return std::nullopt;
    return std::string(result.item->value());
  }
  void Fill(const std::string& prefix, int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(Set(prefix + std::to_string(i), "value " + std::to_string(i)), Code::kOk);
    }
  }
  bool All(engine::VbucketState state) { return engine_->HighSeqnos(state).size() == kVbuckets; }
  bool SameAs(TapNode& other) {
    return engine_->HighSeqnos(std::nullopt) == other.engine_->HighSeqnos(std::nullopt) &&
           engine_->Digest() == other.engine_->Digest();
  }
  /// Of the connections in one direction: the only one, or an empty one.
  ConnectionInfo Connection(bool producing) {
    for (const ConnectionInfo& info : tap_->Connections(true)) {
      if (info.producing == producing) return info;
    }
    return {};
  }

 private:
  TempDir dir_;
  SystemClock clock_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<TapService> tap_;
};

}  // namespace cairn::tap
