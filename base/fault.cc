#include "base/fault.h"

#include <unistd.h>

#include <charconv>
#include <csignal>
#include <utility>
#include <vector>

#include "base/check.h"

namespace cairn {
namespace internal {
constinit std::atomic<bool> faults_armed{false};
}  // namespace internal

namespace {

template <class Number>
bool ParseWhole(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

/// "3" (the third hit), "3+" (from the third on), "0.25" (that probability).
bool ParseWhen(std::string_view text, FaultSpec& spec) {
  if (text.find('.') != std::string_view::npos) {
    return ParseWhole(text, spec.probability) && spec.probability > 0 && spec.probability <= 1;
  }
  const bool and_after = text.ends_with('+');
  if (and_after) text.remove_suffix(1);
  if (!and_after) spec.fires_max = 1;
  return ParseWhole(text, spec.first_hit) && spec.first_hit > 0;
}

bool ParseAction(std::string_view text, FaultSpec& spec) {
  if (text == "fail") {
    spec.action = FaultSpec::Action::kFail;
  } else if (text == "crash") {
    spec.action = FaultSpec::Action::kCrash;
  } else {
    return false;
  }
  return true;
}

/// Takes the part before `separator` off `text`, all of it when there is none.
std::string_view TakeField(std::string_view& text, char separator) {
  const size_t end = text.find(separator);
  const std::string_view field = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return field;
}

}  // namespace

FaultRegistry& FaultRegistry::Global() {
  static FaultRegistry* const registry = new FaultRegistry;  // outlives every thread
  return *registry;
}

void FaultRegistry::UpdateFlag() {
  internal::faults_armed.store(!points_.empty(), std::memory_order_relaxed);
}

void FaultRegistry::Arm(std::string_view name, const FaultSpec& spec) {
  CAIRN_CHECK(!name.empty() && spec.first_hit > 0);
  MutexLock lock(mutex_);
  points_.insert_or_assign(std::string(name), Point{spec, Random(spec.seed)});
  UpdateFlag();
}

void FaultRegistry::Disarm(std::string_view name) {
  MutexLock lock(mutex_);
  points_.erase(std::string(name));
  UpdateFlag();
}

void FaultRegistry::DisarmAll() {
  MutexLock lock(mutex_);
  points_.clear();
  UpdateFlag();
}

Status FaultRegistry::ArmFromText(std::string_view text) {
  std::vector<std::pair<std::string_view, FaultSpec>> parsed;
  while (!text.empty()) {
    const std::string_view entry = TakeField(text, ',');
    std::string_view rest = entry;
    const std::string_view name = TakeField(rest, ':');
    FaultSpec spec;
    if (name.empty() || !ParseWhen(TakeField(rest, ':'), spec) || !ParseAction(rest, spec)) {
      return Status(Code::kInvalidArgument,
                    "fault \"" + std::string(entry) + "\" is not name:<hit|hit+|probability>:<fail|crash>");
    }
    parsed.emplace_back(name, spec);
  }
  for (const auto& [name, spec] : parsed) Arm(name, spec);
  return Status::Ok();
}

uint64_t FaultRegistry::Hits(std::string_view name) const {
  MutexLock lock(mutex_);
  const auto it = points_.find(std::string(name));
  return it == points_.end() ? 0 : it->second.hits;
}

uint64_t FaultRegistry::Fires(std::string_view name) const {
  MutexLock lock(mutex_);
  const auto it = points_.find(std::string(name));
  return it == points_.end() ? 0 : it->second.fires;
}

bool FaultRegistry::Hit(std::string_view name) {
  MutexLock lock(mutex_);
  const auto it = points_.find(std::string(name));
  if (it == points_.end()) return false;
  Point& point = it->second;
  ++point.hits;
  if (point.hits < point.spec.first_hit || point.fires >= point.spec.fires_max) return false;
  if (point.spec.probability < 1 && point.random.NextDouble() >= point.spec.probability) return false;
  ++point.fires;
  if (point.spec.action == FaultSpec::Action::kCrash) kill(getpid(), SIGKILL);
  return true;
}

namespace {
// The list's head; sites are added at its front and never leave it.
constinit std::atomic<ProbeSite*> probe_sites{nullptr};
}  // namespace

void ProbeSite::Enlist() {
  if (enlisted_.exchange(true, std::memory_order_relaxed)) return;
  next_ = probe_sites.load(std::memory_order_relaxed);
  while (!probe_sites.compare_exchange_weak(next_, this, std::memory_order_release)) {
  }
}

std::map<std::string, uint64_t> ProbeCounts() {
  std::map<std::string, uint64_t> counts;
  for (const ProbeSite* s = probe_sites.load(std::memory_order_acquire); s != nullptr; s = s->next_) {
    const uint64_t hits = s->hits_.load(std::memory_order_relaxed);
    if (hits != 0) counts[s->name_] += hits;
  }
  return counts;
}

void ResetProbes() {
  for (ProbeSite* s = probe_sites.load(std::memory_order_acquire); s != nullptr; s = s->next_) {
    s->hits_.store(0, std::memory_order_relaxed);
  }
}

}  // namespace cairn
