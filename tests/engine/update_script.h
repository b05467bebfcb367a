#pragma once
// A fixed script of an engine's life (writes, START, a window, its decision, merges, flush_all, restarts, a
// second update with the other decision), with a model of what the engine has promised so far, so that what
// is there after a crash or an I/O error at any point of it can be judged.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/storage/kv_store.h"
#include "tests/engine/engine_fixture.h"

namespace cairn::engine {

/// The disk of a script.
class ScriptDisk {
 public:
  virtual ~ScriptDisk() = default;
  /// The store, opened; null when it cannot be (its error in *error).
  virtual storage::KvStore* Open(Status* error) = 0;
  /// Called when the engine is gone at an orderly end: nothing is lost.
  virtual void Close() = 0;
  /// The power has gone: nothing that is done now has an effect. The script stops where it is.
  virtual bool dead() const = 0;
};

class UpdateScript {
 public:
  struct Options {
    bool commit_first = true;  // the first update is completed, the second reverted; else the other way
    SyncPolicy sync = SyncPolicy::kInterval;
    bool errors = false;  // I/O errors come and go: failed orders are repeated
  };
  UpdateScript(ScriptDisk* disk, const Options& options);

  /// Runs until the disk is dead or to the end. False: it is dead.
  bool Run();
  /// The engine ends as by kill -9. The disk may then be told what is left of it.
  void Kill();
  /// Opens again and judges what is there; then ends an open update by `commit` or revert, writes, restarts
  /// and judges again. Test failures tell what is wrong.
  void Recover(bool commit);

 private:
  using State = std::map<std::string, Version>;  // of one vbucket
  using Step = TestEngine::Step;
  static constexpr uint32_t kVbuckets = 2;
  static constexpr int kKeys = 14;
  struct Past {
    std::vector<State> states{State{}};
    size_t floor = 0;  // no older state may come back
    uint64_t cas_max = 0, seqno_max = 0;
  };

  bool stop() const;
  bool OpenEngine();
  void Background(int steps);
  void Observe();
  void Set(int key, const std::string& value, uint32_t flags = 0);
  void Delete(int key);
  void Record(const std::string& key, const MutationResult& result, std::optional<Version> version);
  MutationResult Retry(const std::function<MutationResult(const WaiterRef&)>& operation);
  void Persist();
  void Order(Step step);
  void Ended(Step step, const Status& answer);
  void FlushAll();
  void RestartCleanly();
  void Window(int round);
  void Update(bool commit, int round);
  void Judge();
  void JudgeUpdate(const UpdateStatus& status);
  std::vector<State> Look();
  void ResetTo(const std::vector<State>& states, bool keep_floor);
  uint32_t Vb(const std::string& key) const;
  static std::string Key(int key) { return "key-" + std::to_string(key); }
  static std::string Describe(const State& state);

  ScriptDisk* const disk_;
  const Options options_;
  ManualClock clock_;
  std::unique_ptr<TestEngine> engine_;
  std::vector<Past> pasts_{kVbuckets};
  std::vector<State> at_start_{kVbuckets};
  std::vector<size_t> start_index_ = std::vector<size_t>(kVbuckets);
  UpdatePhase seen_ = UpdatePhase::kNormal;
  UpdateRequest request_;         // of the running or last update; its id names it
  std::optional<Step> ordered_;   // not answered yet
  std::optional<Step> answered_;  // last order that was answered with success
  uint8_t updates_ = 0;
};

}  // namespace cairn::engine
