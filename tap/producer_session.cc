#include <time.h>

#include <algorithm>
#include <chrono>
#include <utility>

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
constexpr size_t kReadsPerRound = 64;
constexpr int64_t kSleepMaxNs = 1'000'000'000;
// More than this at a time is no short turn (base/urgent_turns.h).
constexpr size_t kUrgentBytesMax = size_t{16} << 10;
// So long after something was sent the pump dozes, so that the next thread that sends need not wake it.
constexpr int64_t kQuietNs = 100'000'000;

// When the calling thread, which serves clients, may send again, whatever the session.
thread_local int64_t may_send_from_ns = 0;

}  // namespace

ProducerSession::ProducerSession(engine::Replication& replication, Clock& clock, const Options& options,
                                 ProducerLink& link)
    : replication_(replication),
      clock_(clock),
      options_(options),
      link_(link),
      notices_(replication.vbucket_count()),
      producer_(std::make_unique<Producer>(replication, options.producer, clock.SteadyNs())) {
  listener_ = replication_.AddListener(
      [this](std::span<const Vbid> vbuckets, bool may_work) { Hear(vbuckets, may_work); });
}

ProducerSession::~ProducerSession() { Close(); }

void ProducerSession::Close() {
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
  Wake();
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
  info.connected = producer_ != nullptr && !link_.over();
  return info;
}

void ProducerSession::Run(const ConsumerMessage& first) {
  {
    MutexLock lock(core_mutex_);
    producer_->OnMessage(first, clock_.SteadyNs());
  }
  UrgentTurns urgent;
  while (true) {
    // Whatever was done before a wake that this takes back is seen by what follows.
    woken_.exchange(false, std::memory_order_acq_rel);
    Outlook outlook;
    {
      MutexLock turn(turn_);
      outlook = outlook_ = Work(urgent);
    }
    if (outlook.next == Outlook::Next::kEnd) break;
    if (outlook.next == Outlook::Next::kWork || outlook.long_work) urgent.Lapse();
    if (outlook.next == Outlook::Next::kWork) continue;
    if (!outlook.long_work) urgent.EndOfTurn();
    Sleep(outlook);
    Pace();
  }
  urgent.Lapse();
  SayGoodbye();
  // Whoever is in the listener has sent what it sends when this returns.
  Close();
}

ProducerSession::Outlook ProducerSession::Work(UrgentTurns& urgent) {
  const int64_t now_ns = round_ns_ = clock_.SteadyNs();
  if (link_.over()) return {Outlook::Next::kEnd};
  TakeInput(now_ns);
  TakeNotices();
  const Sent sent = Send(kRoundBytesMax, &urgent);
  const int64_t after_ns = clock_.SteadyNs();
  MutexLock lock(core_mutex_);
  if (link_.over() || producer_->ended()) return {Outlook::Next::kEnd};
  if (sent == Sent::kEnough) return {Outlook::Next::kWork};
  Outlook outlook{Outlook::Next::kListen, after_ns + kSleepMaxNs};
  outlook.reads = producer_->answers_waiting() < options_.answers_max;
  outlook.long_work = producer_->reads_disk();
  if (sent == Sent::kBlocked) return outlook;
  outlook.until_ns = std::min(outlook.until_ns, producer_->NextPollNs());
  if (outlook.until_ns <= after_ns) return {Outlook::Next::kWork};
  if (producer_->awaits_input() || after_ns - sent_ns_ > kQuietNs) return outlook;
  outlook.next = Outlook::Next::kDoze;
  outlook.until_ns = std::min(outlook.until_ns, after_ns + options_.look_ns);
  return outlook;
}

// Looking costs a system call when nothing is there. After a doze it can wait.
void ProducerSession::TakeInput(int64_t now_ns) {
  if (outlook_.next == Outlook::Next::kDoze && now_ns - looked_ns_ < options_.look_ns) return;
  looked_ns_ = now_ns;
  for (size_t i = 0; i < kReadsPerRound; ++i) {
    {
      MutexLock lock(core_mutex_);
      if (producer_->answers_waiting() >= options_.answers_max) return;
    }
    Result<std::optional<ConsumerMessage>> message = link_.Read();
    if (message.ok() && !message->has_value()) return;
    MutexLock lock(core_mutex_);
    if (message.ok()) {
      producer_->OnMessage(**message, clock_.SteadyNs());
    } else {
      producer_->End(EndReason::kBadMessage, message.status().message());
    }
  }
}

void ProducerSession::TakeNotices() {
  MutexLock lock(core_mutex_);
  notices_.TakeAll([this](Vbid vbucket) {
    core_mutex_.AssertHeld();
    producer_->OnOperations(vbucket);
  });
}

ProducerSession::Sent ProducerSession::Send(size_t bytes_max, UrgentTurns* pump) {
  size_t bytes = 0;
  for (size_t i = 0; i < kRoundMessagesMax && bytes < bytes_max; ++i) {
    if (!link_.CanWrite()) {
      watch_.GoOn(clock_.SteadyNs());
      return Sent::kBlocked;
    }
    watch_.End();
    std::optional<ProducerMessage> message;
    {
      MutexLock lock(core_mutex_);
      if (pump != nullptr && (bytes >= kUrgentBytesMax || producer_->reads_disk())) pump->Lapse();
      const size_t chunk_bytes = kFirstChunkBytes << std::min(i, kDoublingsMax);
      message = producer_->Poll(clock_.SteadyNs(), chunk_bytes, pump == nullptr);
    }
    if (!message.has_value()) return Sent::kAll;
    bytes += message->chunk.size();
    const bool large = message->chunk.size() >= options_.producer.chunk_bytes / 2;
    link_.Write(*std::move(message));
    sent_ns_ = round_ns_;
    if (large && pump != nullptr) GiveWay();
  }
  return Sent::kEnough;
}

// --- by the threads that serve clients ---

void ProducerSession::Hear(std::span<const Vbid> vbuckets, bool may_work) {
  bool news = false;
  for (const Vbid vbucket : vbuckets) news = notices_.Put(vbucket) || news;
  if (news && !(may_work && SendHere())) Wake();
}

// While the pump sleeps its work is done here. True: there is nothing that it would have to be woken for. A
// thread that sends all the time would serve that much fewer clients, so that it leaves this to the pump.
bool ProducerSession::SendHere() {
  const int64_t now_ns = clock_.SteadyNs();
  if (now_ns < may_send_from_ns) return false;
  if (!turn_.TryLock()) return false;
  const bool sleeps = outlook_.next == Outlook::Next::kDoze || outlook_.next == Outlook::Next::kListen;
  bool done = false;
  if (sleeps && now_ns - round_ns_ >= options_.pace_ns) {
    done = SendForThePump(now_ns);
    const int64_t end_ns = clock_.SteadyNs();
    may_send_from_ns = end_ns + (options_.here_share - 1) * (end_ns - now_ns);
  }
  turn_.Unlock();
  return done;
}

bool ProducerSession::SendForThePump(int64_t now_ns) {
  // Somebody may be looking at all of its streams.
  if (!core_mutex_.TryLock()) return false;
  const bool simple = producer_->is_simple(now_ns);
  core_mutex_.Unlock();
  if (!simple) return false;
  round_ns_ = now_ns;
  TakeNotices();
  const Sent sent = Send(options_.here_bytes_max, nullptr);
  MutexLock lock(core_mutex_);
  return sent == Sent::kAll && !producer_->ended() && producer_->NextPollNs() >= outlook_.until_ns &&
         (outlook_.next == Outlook::Next::kListen || !producer_->awaits_input());
}

// --- the pump's sleep ---

void ProducerSession::Wake() {
  if (woken_.exchange(true, std::memory_order_acq_rel)) return;
  MutexLock lock(sleep_mutex_);
  if (sleeping_ == Outlook::Next::kDoze) doze_.NotifyOne();
  if (sleeping_ == Outlook::Next::kListen) link_.Interrupt();
}

void ProducerSession::Sleep(const Outlook& outlook) {
  const int64_t ns = outlook.until_ns - clock_.SteadyNs();
  {
    MutexLock lock(sleep_mutex_);
    if (ns <= 0 || woken_.load(std::memory_order_acquire)) return;
    sleeping_ = outlook.next;
    if (sleeping_ == Outlook::Next::kDoze) doze_.WaitFor(sleep_mutex_, std::chrono::nanoseconds(ns));
  }
  if (outlook.next == Outlook::Next::kListen) link_.Wait(ns, outlook.reads);
  MutexLock lock(sleep_mutex_);
  sleeping_ = Outlook::Next::kWork;
}

// What comes right behind a round that has been sent, by whomever, waits for what comes next to it.
void ProducerSession::Pace() {
  int64_t until_ns = 0;
  {
    MutexLock turn(turn_);
    until_ns = sent_ns_ + options_.pace_ns;
  }
  const int64_t left_ns = until_ns - clock_.SteadyNs();
  if (left_ns <= 0) return;
  const timespec pause{0, std::min<int64_t>(left_ns, 999'999'999)};
  nanosleep(&pause, nullptr);
}

// The consumer hangs up when it has read why; a cancellation from here could overtake the text.
void ProducerSession::SayGoodbye() {
  const int64_t until_ns = clock_.SteadyNs() + options_.goodbye_ns;
  while (!link_.over()) {
    const int64_t left_ns = until_ns - clock_.SteadyNs();
    if (left_ns <= 0) break;
    link_.Wait(left_ns, true);
    static_cast<void>(link_.Read());  // it may have been under way to say something
  }
  link_.Cancel();
}

}  // namespace cairn::tap
