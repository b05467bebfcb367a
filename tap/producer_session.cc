#include <time.h>

#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "base/thread_role.h"
#include "base/urgent_turns.h"
#include "tap/session.h"

namespace cairn::tap {
namespace {

// A round sends at most so much before input is looked at again.
constexpr size_t kRoundBytesMax = size_t{1} << 20;
constexpr size_t kRoundMessagesMax = 64;
// The first message of a round is small and each next one twice as large: of what has gathered the consumer
// applies the beginning while the rest is being read and encoded, and much of it still goes in few messages.
constexpr size_t kFirstChunkBytes = size_t{4} << 10;
constexpr size_t kDoublingsMax = 8;  // beyond all that a chunk may be
constexpr int64_t kSleepMaxNs = 1'000'000'000;
// More than this at a time is no short turn (base/urgent_turns.h).
constexpr size_t kUrgentBytesMax = size_t{16} << 10;

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

bool ProducerSession::Push(const ConsumerMessage& message) {
  bool wake = false;
  {
    MutexLock lock(core_mutex_);
    while (producer_ != nullptr && !over_.load(std::memory_order_acquire) &&
           producer_->answers_waiting() >= options_.answers_max) {
      room_.Wait(core_mutex_);
    }
    if (producer_ == nullptr || over_.load(std::memory_order_acquire)) return false;
    producer_->OnMessage(message, clock_.SteadyNs());
    // Most of what a consumer says is progress, which nothing has to be sent for.
    wake = producer_->NextPollNs() < asleep_until_ns_;
  }
  if (wake) waker_.Wake();
  return true;
}

void ProducerSession::Rest() {
  MutexLock lock(core_mutex_);
  if (producer_ == nullptr || over_.load(std::memory_order_acquire) || producer_->awaits_input()) return;
  wanted_.WaitFor(core_mutex_, std::chrono::nanoseconds(options_.rest_ns));
}

void ProducerSession::Finish() {
  {
    MutexLock lock(core_mutex_);
    over_.store(true, std::memory_order_release);
    room_.NotifyAll();
  }
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
  UrgentTurns urgent;
  while (!over_.load(std::memory_order_acquire)) {
    waker_.Arm();
    const int64_t round_ns = clock_.SteadyNs();
    TakeNotices();
    size_t bytes = 0;
    const bool more = Send(bytes, urgent);
    if (over_.load(std::memory_order_acquire)) break;  // the link has gone: who waits for room is not kept
    int64_t sleep_ns = 0;
    {
      MutexLock lock(core_mutex_);
      if (producer_->ended()) break;
      sleep_ns = more ? 0 : Sleep();
      if (producer_->awaits_input()) wanted_.NotifyAll();
    }
    if (sleep_ns <= 0) {
      urgent.Lapse();
      continue;
    }
    urgent.EndOfTurn();
    waker_.Wait(sleep_ns);
    if (bytes > 0) Pace(round_ns);
  }
  if (!over_.load(std::memory_order_acquire)) SayGoodbye();
  MutexLock lock(core_mutex_);
  over_.store(true, std::memory_order_release);
  room_.NotifyAll();
  wanted_.NotifyAll();
}

void ProducerSession::TakeNotices() {
  MutexLock lock(core_mutex_);
  asleep_until_ns_ = 0;
  notices_.TakeAll([this](Vbid vbucket) {
    core_mutex_.AssertHeld();
    producer_->OnOperations(vbucket);
  });
}

bool ProducerSession::Send(size_t& bytes, UrgentTurns& urgent) {
  for (size_t i = 0; i < kRoundMessagesMax && bytes < kRoundBytesMax; ++i) {
    std::optional<ProducerMessage> message;
    {
      MutexLock lock(core_mutex_);
      if (bytes >= kUrgentBytesMax || producer_->reads_disk()) urgent.Lapse();
      message = producer_->Poll(clock_.SteadyNs(), kFirstChunkBytes << std::min(i, kDoublingsMax));
      room_.NotifyAll();
    }
    if (!message.has_value()) return false;
    bytes += message->chunk.size();
    const bool large = message->chunk.size() >= options_.producer.chunk_bytes / 2;
    watch_.Begin(clock_.SteadyNs());
    const bool written = link_.Write(*std::move(message));
    watch_.End();
    if (!written) {
      over_.store(true, std::memory_order_release);
      return false;
    }
    if (large) GiveWay();
  }
  return true;
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

// What comes right behind a round that has been sent waits for what comes next to it.
void ProducerSession::Pace(int64_t round_ns) {
  const int64_t left_ns = round_ns + options_.pace_ns - clock_.SteadyNs();
  if (left_ns <= 0) return;
  const timespec pause{0, std::min<int64_t>(left_ns, 999'999'999)};
  nanosleep(&pause, nullptr);
}

int64_t ProducerSession::Sleep() {
  const int64_t now_ns = clock_.SteadyNs();
  asleep_until_ns_ = std::min(producer_->NextPollNs(), now_ns + kSleepMaxNs);
  return asleep_until_ns_ - now_ns;
}

}  // namespace cairn::tap
