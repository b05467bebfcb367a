#include "tap/fence_teller.h"

#include <utility>

#include "base/log.h"
#include "proto/epoch.h"

namespace cairn::tap {
namespace {

constexpr uint32_t kNoopIntervalMs = 1'000;
constexpr uint32_t kIdleTimeoutMs = 10'000;

}  // namespace

struct FenceTeller::Attempt {
  std::map<Vbid, uint64_t> waiting;  // our epoch of each that was not heard
  std::map<Vbid, uint64_t> asked;    // of `waiting`: no answer yet
  int64_t until_ns = 0;
};

FenceTeller::FenceTeller(engine::Replication& replication, Clock& clock, const Options& options,
                         Dialer dialer)
    : replication_(replication), clock_(clock), options_(options), dialer_(std::move(dialer)) {}

void FenceTeller::Stop() {
  MutexLock lock(mutex_);
  stopping_ = true;
  if (link_ != nullptr) link_->Cancel();
  stop_.NotifyAll();
}

FenceTeller::Outcome FenceTeller::Tell(const std::string& address, const VbucketSet& vbuckets) {
  Attempt attempt;
  Outcome outcome;
  for (const Vbid vbucket : vbuckets) {
    const Result<engine::VbucketPosition> position = replication_.Position(vbucket);
    if (position.ok() && position->state == engine::VbucketState::kActive) {
      if (attempt.waiting.size() < kEntriesMax) attempt.waiting[vbucket] = position->epoch;
    } else {
      outcome.not_active.push_back(vbucket);
    }
  }
  last_error_.clear();
  if (attempt.waiting.empty()) return outcome;
  const std::map<Vbid, uint64_t> all = attempt.waiting;
  Result<std::unique_ptr<ConsumerLink>> dialed = dialer_(address);
  if (!dialed.ok()) {
    last_error_ = dialed.status().message();
    return outcome;
  }
  const std::unique_ptr<ConsumerLink> link = std::move(dialed).value();
  {
    MutexLock lock(mutex_);
    if (stopping_) return outcome;
    link_ = link.get();
  }
  attempt.until_ns = clock_.SteadyNs() + options_.attempt_ns;
  if (link->Open()) {
    Converse(*link, attempt);
    link->Cancel();
  }
  {
    MutexLock lock(mutex_);
    link_ = nullptr;
  }
  const Status finished = link->Finish();
  if (!attempt.waiting.empty() && last_error_.empty()) {
    last_error_ = finished.ok() ? "no answer" : std::string(finished.message());
  }
  for (const auto& [vbucket, epoch] : all) {
    if (!attempt.waiting.contains(vbucket)) outcome.heard.emplace(vbucket, epoch);
  }
  return outcome;
}

ConsumerMessage FenceTeller::FirstMessage(const Attempt& attempt) const {
  ConsumerMessage message;
  Hello& hello = message.hello.emplace();
  // Under a name of its own: the node may follow other vbuckets of this source at the same time.
  hello.name = options_.name.substr(0, kNameSizeMax - 6) + ".fence";
  hello.node_uuid = replication_.node_uuid();
  hello.vbucket_count = replication_.vbucket_count();
  hello.noop_interval_ms = kNoopIntervalMs;
  hello.idle_timeout_ms = kIdleTimeoutMs;
  for (const auto& [vbucket, epoch] : attempt.waiting) message.fence.push_back({vbucket, epoch});
  return message;
}

void FenceTeller::Converse(ConsumerLink& link, Attempt& attempt) {
  // Told first, then asked: the notices become durable there meanwhile.
  if (!link.Write(FirstMessage(attempt))) return;
  bool first = true;
  while (!attempt.waiting.empty() && clock_.SteadyNs() < attempt.until_ns) {
    if (attempt.asked.empty() && !AskAgain(link, attempt)) return;
    // The source's noops come in between, so that this does not wait for long.
    Result<std::optional<ProducerMessage>> read = link.Read();
    if (!read.ok() || !read->has_value()) {
      if (!read.ok()) last_error_ = read.status().message();
      return;
    }
    const ProducerMessage& message = **read;
    const Status checked = Check(message, replication_.vbucket_count(), std::exchange(first, false));
    if (!checked.ok()) {
      last_error_ = checked.message();
      return;
    }
    std::vector<engine::FenceRequest> lost;
    for (const StreamAnswer& answer : message.answers) OnAnswer(answer, attempt, lost);
    if (!lost.empty()) static_cast<void>(replication_.Fence(std::move(lost)));
    if (message.goodbye.has_value()) {
      last_error_ = std::string(EndReasonName(*message.goodbye)) + ": " + message.goodbye_text;
      return;
    }
  }
}

bool FenceTeller::AskAgain(ConsumerLink& link, Attempt& attempt) {
  {
    MutexLock lock(mutex_);
    const int64_t until_ns = clock_.SteadyNs() + options_.ask_every_ns;
    for (int64_t left_ns = options_.ask_every_ns; left_ns > 0; left_ns = until_ns - clock_.SteadyNs()) {
      if (stopping_) return false;
      stop_.WaitFor(mutex_, std::chrono::nanoseconds(left_ns));
    }
  }
  ConsumerMessage message;
  for (const auto& [vbucket, epoch] : attempt.waiting) {
    OpenStream open;
    open.vbucket = vbucket;
    open.epoch = epoch;
    open.no_backfill = true;
    message.open.push_back(open);
    message.close.push_back(vbucket);
  }
  attempt.asked = attempt.waiting;
  return link.Write(message);
}

// Only an active that does not know our epoch yet answers "fenced"; anything else was decided behind that.
void FenceTeller::OnAnswer(const StreamAnswer& answer, Attempt& attempt,
                           std::vector<engine::FenceRequest>& lost) {
  attempt.asked.erase(answer.vbucket);
  const auto ours = attempt.waiting.find(answer.vbucket);
  if (ours != attempt.waiting.end() && answer.epoch > ours->second) {
    // Two were promoted that did not know of each other, and this one has lost.
    CAIRN_LOG(kWarn, "vbucket {}: epoch {} is known elsewhere, above {} here", answer.vbucket.get(),
              proto::FormatEpoch(answer.epoch), proto::FormatEpoch(ours->second));
    lost.push_back({answer.vbucket, answer.epoch});
  }
  if (answer.reason != EndReason::kFenced) attempt.waiting.erase(answer.vbucket);
}

}  // namespace cairn::tap
