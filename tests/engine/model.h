#pragma once
// Random operations, online updates, expiry, memory pressure, restarts and crashes against a map. A run is
// wholly determined by its seed. After a crash each vbucket must show exactly a state it has been in, at or
// after the last one known to be durable; a revert must bring back exactly the state at START.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/key.h"
#include "base/random.h"
#include "tests/engine/engine_fixture.h"

namespace cairn::engine {

inline constexpr uint32_t kModelVbuckets = 4;
inline constexpr int kModelKeys = 48;

using State = std::map<std::string, Version>;  // of one vbucket

/// One vbucket's possible pasts: states in order, of which those from `floor` on may be what a crash leaves.
struct Past {
  std::vector<State> states{State{}};
  size_t floor = 0;
  const State& now() const { return states.back(); }
};
using Pasts = std::array<Past, kModelVbuckets>;
using States = std::array<State, kModelVbuckets>;

class Model {
 public:
  Model(uint64_t seed, storage::KvStore* store, std::function<void(uint64_t)> crash)
      : random_(seed), crash_(std::move(crash)), engine_(store, &clock_, Options(seed)) {
    for (int i = 0; i < kModelKeys; ++i) keys_.push_back("key-" + std::to_string(i));
  }

  void Run(int steps) {
    engine_.Open();
    for (int i = 0;
         i < steps && !::testing::Test::HasFatalFailure() && !::testing::Test::HasNonfatalFailure(); ++i) {
      Step();
    }
    if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) return;
    EndUpdateIfOpen();
    Compare("at the end");
    Restart(true);
    Compare("after the last restart");
  }

 private:
  using UpdateStep = TestEngine::Step;

  static EngineOptions Options(uint64_t seed) {
    EngineOptions options = SmallOptions();
    options.vbuckets = kModelVbuckets;
    options.checkpoint_items_max = 1 + static_cast<uint32_t>(seed % 40);
    if (seed % 3 == 0) options.memory_quota = 1u << 20;
    if (seed % 5 == 1) options.sync = SyncPolicy::kNone;
    if (seed % 5 == 2) options.sync = SyncPolicy::kAlways;
    return options;
  }

  uint32_t Vb(const std::string& key) const { return VbidOf(key, kModelVbuckets).get(); }
  uint32_t NowSeconds() const { return clock_.WallSeconds(); }

  State Live(const State& state) const {
    State live;
    for (const auto& [key, version] : state) {
      if (version.expiry == 0 || version.expiry > NowSeconds()) live[key] = version;
    }
    return live;
  }

  void Step() {
    const uint64_t dice = random_.Uniform(1000);
    if (dice < 700) {
      Mutate();
    } else if (dice < 800) {
      Background(static_cast<int>(random_.Uniform(6)) + 1);
    } else if (dice < 840) {
      const std::string& key = keys_[random_.Uniform(kModelKeys)];
      CheckKey(key, "while running");
    } else if (dice < 870) {
      clock_.Advance(static_cast<int64_t>(random_.Uniform(1'500'000'000)));
    } else if (dice < 890) {
      SyncNow();
    } else if (dice < 930) {
      ProgressUpdate();
    } else if (dice < 940) {
      Compare("while running");
    } else if (dice < 946) {
      FlushAll();
    } else if (dice < 952) {
      Restart(true);
    } else if (dice < 962) {
      Restart(false);
    }
  }

  void Background(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      engine_->RunBackground();
      ObservePhase();
    }
  }

  /// Notices that the engine has passed a cut.
  void ObservePhase() {
    const UpdateStatus status = engine_->update_status();
    // A START that still waits for a flush_all to be swept has no id yet and has cut nothing.
    const UpdatePhase phase = status.id.is_none() ? UpdatePhase::kNormal : status.phase;
    if (phase == observed_) return;
    const bool opened = phase == UpdatePhase::kStarting || phase == UpdatePhase::kUpdating;
    if (opened && observed_ == UpdatePhase::kNormal) {
      for (uint32_t v = 0; v < kModelVbuckets; ++v) {
        at_start_[v] = pasts_[v].now();
        start_index_[v] = pasts_[v].states.size() - 1;
      }
    }
    if (phase == UpdatePhase::kReverting) ResetTo(at_start_);
    observed_ = phase;
  }

  void ResetTo(const States& states) {
    for (uint32_t v = 0; v < kModelVbuckets; ++v) {
      pasts_[v].states = {states[v]};
      pasts_[v].floor = 0;
    }
  }

  void Record(const std::string& key, const std::optional<Version>& version) {
    Past& past = pasts_[Vb(key)];
    State next = past.now();
    Trace((version ? "store " : "delete ") + key + " vb " + std::to_string(Vb(key)) + " cas " +
          std::to_string(version ? version->cas : 0));
    if (version) {
      next[key] = *version;
      // A CAS names one version of its key for ever.
      const auto [it, fresh] = cas_seen_[key].emplace(version->cas, *version);
      ASSERT_TRUE(fresh) << key << " was given CAS " << version->cas << " again";
    } else {
      next.erase(key);
    }
    past.states.push_back(std::move(next));
  }

  std::string RandomValue() {
    const size_t size = random_.OneIn(4) ? random_.Uniform(30'000) : random_.Uniform(60);
    return std::to_string(++counter_) + std::string(size, static_cast<char>('a' + random_.Uniform(26)));
  }

  void Mutate() {
    const std::string& key = keys_[random_.Uniform(kModelKeys)];
    const State live = Live(pasts_[Vb(key)].now());
    const bool exists = live.contains(key);
    const uint32_t expiry =
        random_.OneIn(6) ? NowSeconds() + 1 + static_cast<uint32_t>(random_.Uniform(4)) : 0;
    switch (random_.Uniform(10)) {
      case 0:
      case 1: {
        const Code code = engine_.Delete(key);
        ASSERT_EQ(code, exists ? Code::kOk : Code::kNotFound) << key << ' ' << CodeName(code);
        if (exists) Record(key, std::nullopt);
        return;
      }
      case 2: {
        const Code code = engine_.Touch(key, expiry);
        if (code == Code::kTmpOom) return;
        ASSERT_EQ(code, exists ? Code::kOk : Code::kNotFound) << key;
        if (exists) RecordStored(key, live.at(key).value, live.at(key).flags, expiry);
        return;
      }
      case 3: {
        StoreRequest request;
        request.mode = StoreMode::kAppend;
        request.value = "+";
        const Code code = engine_.Store(key, request);
        if (code == Code::kTmpOom) return;
        ASSERT_EQ(code, exists ? Code::kOk : Code::kNotStored) << key << ' ' << CodeName(code);
        if (exists) RecordStored(key, live.at(key).value + "+", live.at(key).flags, live.at(key).expiry);
        return;
      }
      case 4: {
        StoreRequest request;
        request.mode = random_.OneIn(2) ? StoreMode::kAdd : StoreMode::kReplace;
        const std::string value = RandomValue();
        request.value = value;
        const Code code = engine_.Store(key, request);
        if (code == Code::kTmpOom) return;
        const bool stores = (request.mode == StoreMode::kAdd) != exists;
        ASSERT_EQ(code, stores ? Code::kOk : Code::kNotStored) << key << ' ' << CodeName(code);
        if (stores) RecordStored(key, value, 0, 0);
        return;
      }
      default: {
        const std::string value = RandomValue();
        const auto flags = static_cast<uint32_t>(random_.Uniform(3));
        const Code code = engine_.Set(key, value, flags, expiry);
        if (code == Code::kTmpOom) return;
        ASSERT_EQ(code, Code::kOk) << key << ' ' << CodeName(code);
        RecordStored(key, value, flags, expiry);
        return;
      }
    }
  }

  void RecordStored(const std::string& key, const std::string& value, uint32_t flags, uint32_t expiry) {
    ObservePhase();
    const std::optional<Version> stored = engine_.Get(key);
    ASSERT_TRUE(stored.has_value()) << key;
    ASSERT_EQ(stored->value, value) << key;
    ASSERT_EQ(stored->flags, flags) << key;
    ASSERT_EQ(stored->expiry, expiry) << key;
    Record(key, stored);
  }

  void CheckKey(const std::string& key, const char* when) {
    const State live = Live(pasts_[Vb(key)].now());
    const std::optional<Version> found = engine_.Get(key);
    const auto it = live.find(key);
    ASSERT_EQ(found.has_value(), it != live.end()) << key << ' ' << when;
    if (found) {
      ASSERT_EQ(*found, it->second) << key << " " << when;
    }
  }

  void Compare(const char* when) {
    ObservePhase();
    for (const std::string& key : keys_) {
      CheckKey(key, when);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  void SyncNow() {
    const uint64_t ticket = engine_->CommitTicket();
    auto flag = std::make_shared<WakeFlag>();
    std::array<size_t, kModelVbuckets> tops{};
    for (uint32_t v = 0; v < kModelVbuckets; ++v) tops[v] = pasts_[v].states.size() - 1;
    const UpdatePhase before = engine_.phase();
    engine_->AwaitCommit(ticket, flag);
    for (int i = 0; i < 50 && !flag->woken; ++i) engine_->RunBackground();
    ASSERT_EQ(engine_->CommitOutcome(ticket), Code::kOk);
    Trace("synced");
    ObservePhase();
    if (before == UpdatePhase::kUpdating && engine_.phase() == UpdatePhase::kReverting) return;
    for (uint32_t v = 0; v < kModelVbuckets; ++v) {
      if (tops[v] < pasts_[v].states.size()) pasts_[v].floor = std::max(pasts_[v].floor, tops[v]);
    }
  }

  void ProgressUpdate() {
    ObservePhase();
    if (answer_pending_) {
      Background(20);
      if (answer_) {
        EXPECT_TRUE(answer_->ok()) << answer_->ToString();
        AfterAnswer();
      }
      return;
    }
    answer_.reset();
    const UpdatePhase phase = engine_.phase();
    if (phase != UpdatePhase::kNormal && phase != UpdatePhase::kUpdating) return;
    submitted_ = phase == UpdatePhase::kNormal ? UpdateStep::kStart
                 : random_.OneIn(2)            ? UpdateStep::kComplete
                                               : UpdateStep::kRevert;
    answer_pending_ = true;
    Trace("submit " + std::to_string(static_cast<int>(submitted_)));
    engine_.Submit(submitted_, {}, &answer_);
  }

  void AfterAnswer() {
    answer_pending_ = false;
    ObservePhase();
    if (submitted_ == UpdateStep::kStart) {
      // Answered: everything up to START is durable.
      for (uint32_t v = 0; v < kModelVbuckets; ++v)
        pasts_[v].floor = std::max(pasts_[v].floor, start_index_[v]);
    } else if (submitted_ == UpdateStep::kRevert) {
      const UpdateStatus status = engine_->update_status();
      ASSERT_FALSE(status.history.empty());
      EXPECT_TRUE(status.history.front().digest_equal);
      EXPECT_FALSE(status.history.front().committed);
    }
  }

  void EndUpdateIfOpen() {
    for (int i = 0; i < 200 && answer_pending_; ++i) ProgressUpdate();
    ASSERT_FALSE(answer_pending_);
    if (engine_.phase() != UpdatePhase::kUpdating) return;
    const Status reverted = engine_.Update(UpdateStep::kRevert);
    ASSERT_TRUE(reverted.ok()) << reverted.ToString();
    ObservePhase();
    ResetTo(at_start_);
    Compare("after the last revert");
  }

  void FlushAll() {
    const Status flushed = engine_->FlushAll(0);
    ObservePhase();
    if (engine_.phase() != UpdatePhase::kNormal) {
      EXPECT_EQ(flushed.code(), Code::kNotSupported);
      return;
    }
    ASSERT_TRUE(flushed.ok()) << flushed.ToString();
    Trace("flush_all");
    for (Past& past : pasts_) past.states.push_back(State{});
  }

  static bool Tracing() { return std::getenv("CAIRN_MODEL_TRACE") != nullptr; }
  void Trace(const std::string& what) const {
    if (Tracing())
      fprintf(stderr, "%s [%s]\n", what.c_str(), std::string(UpdatePhaseName(observed_)).c_str());
  }

  void Restart(bool clean) {
    ObservePhase();
    Trace(clean ? "restart" : "crash");
    const UpdatePhase phase = engine_.phase();
    const bool undecided = answer_pending_ && !answer_ && phase == UpdatePhase::kUpdating;
    if (clean) {
      const Status down = engine_->Shutdown(true);
      ASSERT_TRUE(down.ok()) << down.ToString();
      for (Past& past : pasts_) past.floor = past.states.size() - 1;
    }
    engine_.Kill();
    if (!clean) crash_(random_.Next64());
    engine_.Open();
    if (::testing::Test::HasFatalFailure()) return;
    answer_pending_ = false;
    answer_.reset();
    Adopt(undecided && submitted_ == UpdateStep::kRevert);
  }

  /// Reads what the restart has left and checks that it may be.
  void Adopt(bool revert_possible) {
    for (int i = 0; i < 30 && random_.OneIn(2); ++i) engine_->RunBackground();
    States found;
    for (const std::string& key : keys_) {
      const std::optional<Version> version = engine_.Get(key);
      if (version) found[Vb(key)][key] = *version;
      if (::testing::Test::HasFailure()) return;
    }
    observed_ = engine_.phase();
    bool reverted = revert_possible;
    for (uint32_t v = 0; v < kModelVbuckets && reverted; ++v) reverted = found[v] == Live(at_start_[v]);
    for (uint32_t v = 0; v < kModelVbuckets; ++v) {
      Past& past = pasts_[v];
      bool matched = false;
      for (size_t i = past.floor; i < past.states.size() && !matched; ++i) {
        matched = Live(past.states[i]) == found[v];
      }
      ASSERT_TRUE(matched || reverted)
          << "vbucket " << v << " came back in a state it never was in, " << found[v].size()
          << " keys, candidates " << past.states.size() - past.floor << "\n"
          << Difference(Live(past.now()), found[v]);
    }
    // From here on this is the past (with expired items left out: they are gone for good or on their way).
    ResetTo(found);
  }

  static std::string Difference(const State& expected, const State& found) {
    std::string text;
    for (const auto& [key, version] : expected) {
      const auto it = found.find(key);
      if (it == found.end()) {
        text += key + " is missing (cas " + std::to_string(version.cas) + ")\n";
      } else if (!(it->second == version)) {
        text += key + " has cas " + std::to_string(it->second.cas) + ", expected " +
                std::to_string(version.cas) + "\n";
      }
    }
    for (const auto& [key, version] : found) {
      if (!expected.contains(key)) text += key + " should not be (cas " + std::to_string(version.cas) + ")\n";
    }
    return text;
  }

  Random random_;
  ManualClock clock_;
  std::function<void(uint64_t)> crash_;
  TestEngine engine_;
  std::vector<std::string> keys_;
  Pasts pasts_;
  States at_start_;
  std::array<size_t, kModelVbuckets> start_index_{};  // of at_start_ in pasts_
  UpdatePhase observed_ = UpdatePhase::kNormal;
  std::optional<Status> answer_;
  bool answer_pending_ = false;
  UpdateStep submitted_ = UpdateStep::kStart;
  uint64_t counter_ = 0;
  std::map<std::string, std::map<uint64_t, Version>> cas_seen_;
};

/// How many seeds to run, and from which on (for a longer run, or to repeat one).
inline uint64_t Seeds(uint64_t by_default) {
  const char* text = std::getenv("CAIRN_MODEL_SEEDS");
  return text == nullptr ? by_default : std::strtoull(text, nullptr, 10);
}

inline uint64_t FirstSeed() {
  const char* text = std::getenv("CAIRN_MODEL_FIRST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

}  // namespace cairn::engine
