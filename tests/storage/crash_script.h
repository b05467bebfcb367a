#pragma once
// A script of writes, merges, releases and reopenings for the crash and I/O error tests, with a model of
// what the store has promised so far, so that a recovered store can be judged.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "engine/storage/fault_env.h"
#include "engine/storage/kv_store.h"

namespace cairn::storage {

class CrashScript {
 public:
  /// `env` outlives the script.
  CrashScript(FaultEnv* env, uint64_t seed) : env_(env), random_(seed) {}

  Status Open();
  void Close() { store_.reset(); }
  KvStore& store() { return *store_; }

  /// Runs the next steps until one fails (its status) or the script is at its end (OK).
  Status Run();
  bool done() const { return step_ >= kSteps; }
  /// Compares the opened store with the model (test failures), and goes on from what it found: that is
  /// durable now. The step that failed is repeated.
  void VerifyAndAdopt();
  /// After a restart that keeps everything: as VerifyAndAdopt, and every batch that was answered OK is there.
  void VerifyNothingWrittenIsLost();

 private:
  static constexpr int kSteps = 36;
  static constexpr uint16_t kVbuckets = 3;
  struct Batch {
    std::map<LogKey, std::string> records;
  };
  // One version of a data key; `round` counts merges, so it says in which the version came. `flushed`: all of
  // that merge was answered OK, so no older version may show any more.
  struct Version {
    uint64_t round = 0;
    std::optional<std::string> record;
    bool flushed = false;
  };

  Status Step();
  Status StepWrite(bool sync);
  Status StepMerge();
  Status WriteAll(const std::vector<DataChange>& sorted);
  Status StepRelease();
  uint64_t RecoveredNumber(const std::string& name);
  void VerifyLog(uint64_t recovered);
  void VerifyData();
  Result<std::optional<std::string>> Read(uint16_t vbucket, const std::string& key);

  FaultEnv* const env_;
  Random random_;
  std::unique_ptr<KvStore> store_;
  int step_ = 0;

  std::vector<Batch> batches_;  // attempted; batch n also writes meta "batch" = n + 1
  uint64_t written_ = 0;        // of these answered OK, from the first on
  uint64_t durable_ = 0;        // of these durable
  std::map<uint16_t, uint64_t> next_seqno_;
  std::map<uint16_t, uint64_t> released_;
  std::map<std::pair<uint16_t, std::string>, std::vector<Version>> data_;  // oldest first
  uint64_t round_ = 0;                                                     // last merge that was attempted
  uint64_t flushed_round_ = 0;  // last one that FlushData made durable
  uint64_t cut_ = 0;            // last one whose cut is durable
};

}  // namespace cairn::storage
