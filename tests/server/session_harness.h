#pragma once
// A session on a real engine without threads or disk: bytes in, answers out.

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/storage/kv_store.h"
#include "server/session.h"
#include "server/settling.h"

namespace cairn::server {

class CountingWaiter final : public engine::Waiter {
 public:
  void Wake() override { wakes.fetch_add(1); }
  std::atomic<int> wakes{0};
};

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(Options()); }

  static engine::EngineOptions Options() {
    engine::EngineOptions options;
    options.vbuckets = 16;
    options.max_item_size = 1u << 20;
    return options;
  }

  void Open(const engine::EngineOptions& options, std::unique_ptr<storage::KvStore> store = nullptr) {
    engine::EngineDeps deps;
    deps.store = std::move(store);
    deps.clock = &clock_;
    deps.threads = false;
    deps.seed = 1;
    auto opened = engine::Engine::Open(options, std::move(deps));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    session_.reset();
    service_.reset();
    engine_ = std::move(opened).value();
    report_ = std::make_unique<StatsReport>(*engine_, stats_, server_options_, clock_);
    proto::Limits limits;
    limits.value_bytes_max = options.max_item_size;
    service_.reset(new Service{*engine_, clock_, stats_, *report_, limits});
    session_ = std::make_unique<Session>(*service_);
  }

  /// A replica tells how far it is in a vbucket, on the active's branch of history.
  void Report(std::string_view replica, Vbid vbucket, uint64_t applied, uint64_t persisted) {
    const Result<engine::VbucketHistory> history = engine_->History(vbucket);
    ASSERT_TRUE(history.ok());
    engine_->durability_tracker().Report(replica, vbucket, history->failover_log.front().uuid, Seqno(applied),
                                         Seqno(persisted));
  }
  /// Opens again without a disk, with a replica that is connected and has nothing yet, and that default.
  bool OpenWithReplica(engine::DurabilityLevel level) {
    Open(Options());
    for (uint16_t i = 0; i < engine_->vbucket_count(); ++i) Report("replica", Vbid(i), 0, 0);
    return engine_->SetDurability(level).ok();
  }

  /// Everything that is answered to `in`, which must be consumed to its end.
  std::string Talk(std::string_view in) {
    std::string answers;
    while (true) {
      const Session::Progress progress = session_->Run(in, out_, waiter_);
      in.remove_prefix(progress.consumed);
      answers += TakeOutput();
      last_outcome_ = progress.outcome;
      if (progress.outcome == Outcome::kOutputFull) continue;
      if (progress.outcome == Outcome::kParked && Step()) continue;
      break;
    }
    left_over_ = std::string(in);
    return answers;
  }

  /// Lets the engine's background work go on. False when there is none.
  bool Step() { return engine_->RunBackground(); }

  /// What would be sent, in the pieces in which it would be sent.
  std::string TakeOutput() {
    std::string bytes;
    while (!out_.empty()) {
      iovec iovecs[8];
      const size_t count = out_.FillIovecs(iovecs);
      size_t size = 0;
      for (size_t i = 0; i < count; ++i) {
        bytes.append(static_cast<const char*>(iovecs[i].iov_base), iovecs[i].iov_len);
        size += iovecs[i].iov_len;
      }
      out_.Consume(size);
    }
    out_.Clear();
    return bytes;
  }

  ManualClock clock_;
  ServerStats stats_;
  ServerOptions server_options_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<StatsReport> report_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Session> session_;
  Output out_;
  std::shared_ptr<CountingWaiter> counting_waiter_ = std::make_shared<CountingWaiter>();
  engine::WaiterRef waiter_ = counting_waiter_;
  Outcome last_outcome_ = Outcome::kDone;
  std::string left_over_;
};

}  // namespace cairn::server
