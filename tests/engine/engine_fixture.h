#pragma once
// An engine without threads on a store that tests can crash, and short ways to use it.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/storage/kv_store.h"
#include "tests/support/forwarding_store.h"

namespace cairn::engine {

class WakeFlag final : public Waiter {
 public:
  void Wake() override { woken = true; }
  bool woken = false;
};

/// What a key holds, as a client sees it (CAS aside).
struct Version {
  std::string value;
  uint32_t flags = 0;
  uint32_t expiry = 0;
  uint64_t cas = 0;
  bool operator==(const Version&) const = default;
};

/// One engine at a time on one store.
class TestEngine {
 public:
  TestEngine(storage::KvStore* store, ManualClock* clock, EngineOptions options)
      : store_(store), clock_(clock), options_(std::move(options)) {}

  /// Two engines of one test must not draw the same numbers.
  void SeedFrom(uint64_t seed) { seed_ = seed; }
  Status TryOpen() {
    EngineDeps deps;
    deps.clock = clock_;
    if (store_ != nullptr) deps.store = std::make_unique<storage::ForwardingStore>(store_);
    deps.threads = false;
    deps.seed = ++seed_;
    Result<std::unique_ptr<Engine>> opened = Engine::Open(options_, std::move(deps));
    if (!opened.ok()) return opened.status();
    engine_ = std::move(opened).value();
    return Status::Ok();
  }
  void Open() {
    const Status opened = TryOpen();
    ASSERT_TRUE(opened.ok()) << opened.ToString();
  }
  /// Ends the engine as if the process was killed.
  void Kill() { engine_.reset(); }
  Engine& operator*() { return *engine_; }
  Engine* operator->() { return engine_.get(); }
  bool running() const { return engine_ != nullptr; }

  /// Background work until there is none (bounded).
  void Settle() {
    for (int i = 0; i < 20'000 && engine_->RunBackground(); ++i) {
    }
  }

  Code Set(std::string_view key, std::string_view value, uint32_t flags = 0, uint32_t expiry = 0) {
    StoreRequest request;
    request.value = value;
    request.flags = flags;
    request.expiry = expiry;
    return Retry([&](const WaiterRef& w) { return engine_->Store(engine_->MakeKey(key), request, w).code; });
  }
  Code Store(std::string_view key, const StoreRequest& request) {
    return Retry([&](const WaiterRef& w) { return engine_->Store(engine_->MakeKey(key), request, w).code; });
  }
  Code Delete(std::string_view key) {
    return Retry([&](const WaiterRef& w) { return engine_->Delete(engine_->MakeKey(key), Cas(), w).code; });
  }
  Code Touch(std::string_view key, uint32_t expiry) {
    return Retry([&](const WaiterRef& w) { return engine_->Touch(engine_->MakeKey(key), expiry, w).code; });
  }
  Code Increment(std::string_view key, uint64_t delta, uint64_t* value) {
    ArithmeticRequest request;
    request.delta = delta;
    return Retry([&](const WaiterRef& w) {
      const ArithmeticResult r = engine_->Arithmetic(engine_->MakeKey(key), request, w);
      *value = r.value;
      return r.code;
    });
  }
  std::optional<Version> Get(std::string_view key) {
    GetResult result;
    const Code code = Retry([&](const WaiterRef& w) {
      result = engine_->Get(engine_->MakeKey(key), w);
      return result.code;
    });
    EXPECT_TRUE(code == Code::kOk || code == Code::kNotFound) << CodeName(code) << " for " << key;
    if (code != Code::kOk) return std::nullopt;
    return Version{std::string(result.item->value()), result.item->flags(), result.item->expiry(),
                   result.item->cas().get()};
  }

  enum class Step { kStart, kComplete, kRevert };
  /// Runs the step to its answer, or until nothing happens any more (TIMEOUT).
  Status Update(Step step, const UpdateRequest& request = {}) {
    // Shared: an answer that comes after we have given up must still have somewhere to go.
    auto answer = std::make_shared<std::optional<Status>>();
    Submit(step, request, [answer](const Result<UpdateStatus>& r) { *answer = r.status(); });
    for (int i = 0; i < 50'000 && !*answer; ++i) {
      if (!engine_->RunBackground()) clock_->Advance(1'000'000);
    }
    return *answer ? **answer : Status(Code::kTimeout, "no answer");
  }
  /// `answer` must outlive the engine or the answer.
  void Submit(Step step, const UpdateRequest& request, std::optional<Status>* answer) {
    Submit(step, request, [answer](const Result<UpdateStatus>& r) { *answer = r.status(); });
  }
  void Submit(Step step, const UpdateRequest& request, const Engine::UpdateDone& done) {
    switch (step) {
      case Step::kStart:
        engine_->StartUpdate(request, done);
        break;
      case Step::kComplete:
        engine_->CompleteUpdate(request, done);
        break;
      case Step::kRevert:
        engine_->RevertUpdate(request, done);
        break;
    }
  }
  UpdatePhase phase() { return engine_->update_status().phase; }

 private:
  template <class Operation>
  Code Retry(Operation&& operation) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      auto flag = std::make_shared<WakeFlag>();
      const Code code = operation(flag);
      if (code != Code::kWouldBlock) return code;
      for (int i = 0; i < 20'000 && !flag->woken; ++i) {
        if (!engine_->RunBackground()) clock_->Advance(1'000'000);
      }
      if (!flag->woken) return Code::kWouldBlock;
    }
    return Code::kTimeout;
  }

  storage::KvStore* store_;
  ManualClock* clock_;
  EngineOptions options_;
  uint64_t seed_ = 100;
  std::unique_ptr<Engine> engine_;
};

inline EngineOptions SmallOptions() {
  EngineOptions options;
  options.vbuckets = 4;
  options.memory_quota = 256u << 20;
  options.checkpoint_items_max = 50;
  options.flush_delay_ms = 0;
  options.load_bytes_min = 0;
  return options;
}

}  // namespace cairn::engine
