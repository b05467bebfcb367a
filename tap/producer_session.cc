#include <time.h>

#include <algorithm>

#include "base/log.h"
#include "base/thread_role.h"
#include "tap/session.h"

namespace cairn::tap {
namespace {

// A round sends at most so much before input is looked at again.
constexpr size_t kRoundBytesMax = size_t{1} << 20;
constexpr size_t kRoundMessagesMax = 64;
constexpr int64_t kSleepMaxNs = 1'000'000'000;

}  // namespace

ProducerSession::ProducerSession(engine::Replication& replication, Clock& clock, const Options& options,
                                 ProducerLink& link)
    : replication_(replication),
      clock_(clock),
      options_(options),
      link_(link),
      notices_(replication.vbucket_count()),
      producer_(std::make_unique<Producer>(replication, options.producer, clock.SteadyNs())) {
  listener_ = replication_.AddListener([this](Vbid vbucket) {
    if (notices_.Put(vbucket)) waker_.Wake();
  });
  pump_ = std::thread([this] { Run(); });
}

ProducerSession::~ProducerSession() { Finish(); }

bool ProducerSession::Push(ConsumerMessage message) {
  {
    MutexLock lock(inbox_mutex_);
    while (inbox_.size() >= options_.messages_max && !over_.load(std::memory_order_acquire)) {
      room_.Wait(inbox_mutex_);
    }
    if (over_.load(std::memory_order_acquire)) return false;
    inbox_.push_back(std::move(message));
  }
  waker_.Wake();
  return true;
}

void ProducerSession::Finish() {
  over_.store(true, std::memory_order_release);
  waker_.Wake();
  if (pump_.joinable()) pump_.join();
  if (listener_ != 0) replication_.RemoveListener(std::exchange(listener_, 0));
  MutexLock lock(core_mutex_);
  if (producer_ == nullptr) return;
  last_info_ = producer_->info(clock_.SteadyNs());
  producer_.reset();
}

void ProducerSession::End(EndReason reason, std::string_view text) {
  {
    MutexLock lock(core_mutex_);
    if (producer_ == nullptr) return;
    producer_->End(reason, text);
  }
  waker_.Wake();
}

void ProducerSession::CancelIfStuck(int64_t now_ns) {
  if (!watch_.StuckFor(options_.stuck_ns, now_ns)) return;
  CAIRN_LOG(kWarn, "consumer at {} has taken nothing for {} s: disconnected", options_.address,
            options_.stuck_ns / 1'000'000'000);
  link_.Cancel();
}

ConnectionInfo ProducerSession::info() const {
  MutexLock lock(core_mutex_);
  ConnectionInfo info = producer_ == nullptr ? last_info_ : producer_->info(clock_.SteadyNs());
  info.address = options_.address;
  info.producing = true;
  info.connected = producer_ != nullptr && !over_.load(std::memory_order_acquire);
  return info;
}

void ProducerSession::Run() {
  BeginThread("tap-pump");
  while (!over_.load(std::memory_order_acquire)) {
    waker_.Arm();
    const int64_t round_ns = clock_.SteadyNs();
    size_t bytes = 0;
    TakeInput();
    const bool sent = Send(bytes);
    bool ended = false;
    {
      MutexLock lock(core_mutex_);
      ended = producer_->ended();
    }
    if (ended) {
      SayGoodbye();
      break;
    }
    if (sent) {
      Pace(round_ns, bytes);
    } else {
      waker_.Wait(UntilNextPoll());
    }
  }
  MutexLock lock(inbox_mutex_);
  over_.store(true, std::memory_order_release);
  room_.NotifyAll();
}

void ProducerSession::TakeInput() {
  {
    MutexLock lock(inbox_mutex_);
    taken_.assign(std::make_move_iterator(inbox_.begin()), std::make_move_iterator(inbox_.end()));
    inbox_.clear();
    room_.NotifyAll();
  }
  MutexLock lock(core_mutex_);
  for (const ConsumerMessage& message : taken_) producer_->OnMessage(message, clock_.SteadyNs());
  notices_.TakeAll([this](Vbid vbucket) {
    core_mutex_.AssertHeld();
    producer_->OnOperations(vbucket);
  });
}

bool ProducerSession::Send(size_t& bytes) {
  bool sent = false;
  for (size_t i = 0; i < kRoundMessagesMax && bytes < kRoundBytesMax; ++i) {
    std::optional<ProducerMessage> message;
    {
      MutexLock lock(core_mutex_);
      message = producer_->Poll(clock_.SteadyNs());
    }
    if (!message.has_value()) return sent;
    bytes += message->chunk.size();
    watch_.Begin(clock_.SteadyNs());
    const bool written = link_.Write(*std::move(message));
    watch_.End();
    if (!written) {
      over_.store(true, std::memory_order_release);
      return sent;
    }
    sent = true;
  }
  // There is more: no pause before it.
  bytes = std::max(bytes, options_.producer.chunk_bytes);
  return sent;
}

// The consumer hangs up when it has read why; a cancellation from here could overtake the text.
void ProducerSession::SayGoodbye() {
  const int64_t until_ns = clock_.SteadyNs() + options_.goodbye_ns;
  while (!over_.load(std::memory_order_acquire)) {
    waker_.Arm();
    const int64_t left_ns = until_ns - clock_.SteadyNs();
    if (left_ns <= 0) {
      link_.Cancel();
      return;
    }
    if (!over_.load(std::memory_order_acquire)) waker_.Wait(left_ns);
  }
}

void ProducerSession::Pace(int64_t round_ns, size_t bytes) {
  if (bytes == 0 || bytes >= options_.producer.chunk_bytes) return;
  const int64_t left_ns = round_ns + options_.pace_ns - clock_.SteadyNs();
  if (left_ns <= 0) return;
  const timespec pause{0, std::min<int64_t>(left_ns, 999'999'999)};
  nanosleep(&pause, nullptr);
}

int64_t ProducerSession::UntilNextPoll() const {
  MutexLock lock(core_mutex_);
  const int64_t at_ns = producer_->NextPollNs();
  return std::min(at_ns == INT64_MAX ? kSleepMaxNs : at_ns - clock_.SteadyNs(), kSleepMaxNs);
}

}  // namespace cairn::tap
