#pragma once
// Fault points and probes, after FoundationDB's BUGGIFY and TEST: places in the code where a test can make
// something fail, and rare paths that count how often they are taken.
//
//   if (CAIRN_FAULT("flusher.write_log")) return Status(Code::kIoError, "injected");
//   CAIRN_CRASH_POINT("update.after_decision");   // the process may end here, as by kill -9
//   CAIRN_PROBE("checkpoint.expel_raced_cursor");
//
// Points are compiled into every build, so that what is tested is what is shipped. While nothing is armed a
// fault point costs one relaxed load of a flag that all points share; a probe costs one relaxed addition.
// Names are "<folder or component>.<what happens>", string literals.
//
// The registry is the one deliberate singleton of the code base. A point must be placeable in any
// function without passing a registry through every signature on the way, else nobody places them; the
// state is empty in production and nothing else hangs on it. Who runs several engines in one process arms
// points for all of them. Only tests and main() (through ArmFromText with the environment variable
// CAIRN_FAULT) touch it. All functions may be called from any thread.

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/mutex.h"
#include "base/random.h"
#include "base/status.h"

namespace cairn {

/// When and how an armed point fires.
struct FaultSpec {
  enum class Action : uint8_t {
    kFail,   // CAIRN_FAULT answers true, and the code there fails
    kCrash,  // the process is ended by SIGKILL: nothing is flushed, no destructor runs
  };
  uint64_t first_hit = 1;           // hits are counted from arming; earlier ones do not fire
  uint64_t fires_max = UINT64_MAX;  // after so many it only counts
  double probability = 1.0;         // of each hit from first_hit on
  uint64_t seed = 0;                // of the point's own random sequence
  Action action = Action::kFail;

  static FaultSpec Always() { return {}; }
  /// Exactly the n-th hit (n ≥ 1).
  static FaultSpec Nth(uint64_t n) { return {.first_hit = n, .fires_max = 1}; }
  /// The n-th hit and all after it: a device that broke.
  static FaultSpec From(uint64_t n) { return {.first_hit = n}; }
  static FaultSpec WithProbability(double p, uint64_t seed) { return {.probability = p, .seed = seed}; }
  /// Ends the process at the n-th hit.
  static FaultSpec CrashAt(uint64_t n) { return {.first_hit = n, .action = Action::kCrash}; }
};

class FaultRegistry {
 public:
  FaultRegistry(const FaultRegistry&) = delete;
  FaultRegistry& operator=(const FaultRegistry&) = delete;

  /// The process's; see above.
  static FaultRegistry& Global();

  /// Arms the point `name`, which need not have been reached yet, in place of an earlier spec.
  void Arm(std::string_view name, const FaultSpec& spec) CAIRN_EXCLUDES(mutex_);
  void Disarm(std::string_view name) CAIRN_EXCLUDES(mutex_);
  void DisarmAll() CAIRN_EXCLUDES(mutex_);
  /// Arms from text: "name:N:crash" or "name:N:fail" (the N-th hit), "name:N+:fail" (from the N-th on),
  /// "name:0.25:fail" (that probability, seed 0); several separated by commas. Arms nothing on an error.
  Status ArmFromText(std::string_view text) CAIRN_EXCLUDES(mutex_);

  /// Of a point armed now: how often it was reached since, and how often it fired. 0 when not armed.
  uint64_t Hits(std::string_view name) const CAIRN_EXCLUDES(mutex_);
  uint64_t Fires(std::string_view name) const CAIRN_EXCLUDES(mutex_);

  /// Counts a hit and decides; use CAIRN_FAULT.
  bool Hit(std::string_view name) CAIRN_EXCLUDES(mutex_);

 private:
  struct Point {
    FaultSpec spec;
    Random random;
    uint64_t hits = 0;
    uint64_t fires = 0;
  };

  FaultRegistry() = default;
  void UpdateFlag() CAIRN_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::unordered_map<std::string, Point> points_ CAIRN_GUARDED_BY(mutex_);
};

namespace internal {
/// Is any point armed? constinit, so that a fault point is one load without a guard.
extern constinit std::atomic<bool> faults_armed;
}  // namespace internal

/// Arms a point for a scope of a test.
class ScopedFault {
 public:
  ScopedFault(std::string_view name, const FaultSpec& spec) : name_(name) {
    FaultRegistry::Global().Arm(name_, spec);
  }
  ~ScopedFault() { FaultRegistry::Global().Disarm(name_); }
  ScopedFault(const ScopedFault&) = delete;
  ScopedFault& operator=(const ScopedFault&) = delete;
  uint64_t hits() const { return FaultRegistry::Global().Hits(name_); }
  uint64_t fires() const { return FaultRegistry::Global().Fires(name_); }

 private:
  const std::string name_;
};

/// One CAIRN_PROBE in the code; enters the process's list when it is first reached.
class ProbeSite {
 public:
  constexpr explicit ProbeSite(const char* name) : name_(name) {}
  void Hit() {
    if (hits_.fetch_add(1, std::memory_order_relaxed) == 0) Enlist();
  }

 private:
  friend std::map<std::string, uint64_t> ProbeCounts();
  friend void ResetProbes();
  void Enlist();

  const char* const name_;
  std::atomic<uint64_t> hits_{0};
  std::atomic<bool> enlisted_{false};
  ProbeSite* next_ = nullptr;
};

/// Probes reached since the last ResetProbes, by name (sites of one name added up).
std::map<std::string, uint64_t> ProbeCounts();
void ResetProbes();

}  // namespace cairn

#define CAIRN_FAULT(name)                                                                  \
  (__builtin_expect(::cairn::internal::faults_armed.load(std::memory_order_relaxed), 0) && \
   ::cairn::FaultRegistry::Global().Hit(name))

#define CAIRN_CRASH_POINT(name) static_cast<void>(CAIRN_FAULT(name))

#define CAIRN_PROBE(name)                                 \
  do {                                                    \
    static constinit ::cairn::ProbeSite probe_site{name}; \
    probe_site.Hit();                                     \
  } while (false)
