#pragma once
// Sessions: a Producer or a Consumer with the thread that drives it and the connection it speaks over. What a
// connection is, is hidden behind a link: gRPC (tap/rpc_call.h, tap/rpc_channel.h), or a test's.
//
// Producing: one thread a call, the pump. It reads what the consumer says and sends. While it sleeps, a
// thread that has executed writes sends them itself, and its clients are answered afterwards: the write is
// applied one thread's awakening earlier, and what a client has been told has mostly left the process.
// Consuming: one source has an owner thread, which dials, applies and sends, and a reader thread for as long
// as there is a connection, which does the same while the owner sleeps.

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/random.h"
#include "base/urgent_turns.h"
#include "engine/replication.h"
#include "tap/consumer.h"
#include "tap/notice_board.h"
#include "tap/producer.h"
#include "tap/waker.h"

namespace cairn::tap {

/// The way to a consumer. By one thread at a time, except what says otherwise; nothing but Wait waits.
class ProducerLink {
 public:
  virtual ~ProducerLink() = default;
  /// What was written is on its way; false for as long as the other side, or the network, takes nothing.
  virtual bool CanWrite() = 0;
  /// Only when CanWrite.
  virtual void Write(ProducerMessage message) = 0;
  /// The next message that has come, if any. INVALID_ARGUMENT: one that cannot be understood.
  virtual Result<std::optional<ConsumerMessage>> Read() = 0;
  /// Nothing comes or arrives any more. Any thread.
  virtual bool over() = 0;
  /// Until something was written, a message has come (at once if one is there, and `input`), the connection
  /// is over, or Interrupt; at most for so long. Also returns for no reason. By one thread, while another may
  /// call the others: CanWrite is then told by this one's return only.
  virtual void Wait(int64_t ns, bool input) = 0;
  /// The Wait that goes on, or else the next one, returns. Any thread.
  virtual void Interrupt() = 0;
  /// Ends the connection. Any thread.
  virtual void Cancel() = 0;
};

/// The way to a source; made for one connection.
class ConsumerLink {
 public:
  virtual ~ConsumerLink() = default;
  /// Connects. False: Finish says why.
  virtual bool Open() = 0;
  virtual bool Write(const ConsumerMessage& message) = 0;
  /// The next message, nothing at the end. INVALID_ARGUMENT: one that cannot be understood.
  virtual Result<std::optional<ProducerMessage>> Read() = 0;
  /// Ends the connection, also one that is being opened. Any thread.
  virtual void Cancel() = 0;
  /// Why it ended. After Cancel, or after Read's end; nothing else is called afterwards.
  virtual Status Finish() = 0;
};

/// Makes a link to an address. An error: the certificates cannot be read.
using Dialer = std::function<Result<std::unique_ptr<ConsumerLink>>(const std::string& address)>;

/// Since when a write has not gone out; so that somebody else can end a connection that takes nothing.
class WriteWatch {
 public:
  void Begin(int64_t now_ns) { since_ns_.store(now_ns, std::memory_order_relaxed); }
  /// Nothing when it has begun already.
  void GoOn(int64_t now_ns) {
    int64_t none = 0;
    since_ns_.compare_exchange_strong(none, now_ns, std::memory_order_relaxed);
  }
  void End() { since_ns_.store(0, std::memory_order_relaxed); }
  bool StuckFor(int64_t ns, int64_t now_ns) const {
    const int64_t since_ns = since_ns_.load(std::memory_order_relaxed);
    return since_ns != 0 && now_ns - since_ns > ns;
  }

 private:
  std::atomic<int64_t> since_ns_{0};
};

class ProducerSession {
 public:
  struct Options {
    Producer::Options producer;
    std::string address;  // of the consumer
    // A round begins so much after one that sent all there was: under load operations are gathered instead of
    // sent one by one. After a pause the first one goes at once.
    int64_t pace_ns = 60'000;
    int64_t stuck_ns = 30'000'000'000;   // a write that takes longer ends the connection
    int64_t goodbye_ns = 2'000'000'000;  // after a goodbye the consumer has so long to hang up
    size_t answers_max = 8'192;          // that wait to be sent; then nothing more is read
    // How often input is looked for while nothing is needed of the consumer; progress comes every 10 ms. A
    // thread that waits in gRPC is woken by every message that another one sends, for nothing.
    int64_t look_ns = 9'000'000;
    // Of threads that serve clients: what they send at most at a time, and what share of their time.
    size_t here_bytes_max = size_t{16} << 10;
    int64_t here_share = 4;  // a fourth
  };

  ProducerSession(engine::Replication& replication, Clock& clock, const Options& options, ProducerLink& link);
  ~ProducerSession();
  ProducerSession(const ProducerSession&) = delete;
  ProducerSession& operator=(const ProducerSession&) = delete;

  /// Serves the consumer, whose first message this is, until it or the connection goes; on return the
  /// producer is gone. Once.
  void Run(const ConsumerMessage& first);

  /// Any thread: ends with a goodbye.
  void End(EndReason reason, std::string_view text);
  /// Any thread, now and then: cancels the connection when the other side takes nothing.
  void CancelIfStuck(int64_t now_ns);
  ConnectionInfo info() const;

 private:
  enum class Sent : uint8_t { kAll, kEnough, kBlocked };  // kBlocked: the link takes nothing at the moment
  /// What the pump does next, after some work.
  struct Outlook {
    enum class Next : uint8_t { kWork, kDoze, kListen, kEnd } next = Next::kWork;
    int64_t until_ns = 0;    // when there is something to do although nothing happens
    bool reads = true;       // a message that has come would be read
    bool long_work = false;  // what comes next reads the disk
  };

  void Hear(std::span<const Vbid> vbuckets, bool may_work);
  bool SendHere();
  bool SendForThePump(int64_t now_ns) CAIRN_REQUIRES(turn_);
  Outlook Work(UrgentTurns& urgent) CAIRN_REQUIRES(turn_);
  void TakeInput(int64_t now_ns) CAIRN_REQUIRES(turn_);
  void TakeNotices() CAIRN_REQUIRES(turn_);
  /// Another thread than the pump: what would have to be read from disk is left.
  Sent Send(size_t bytes_max, UrgentTurns* pump) CAIRN_REQUIRES(turn_);
  void Wake() CAIRN_EXCLUDES(sleep_mutex_);
  void Sleep(const Outlook& outlook) CAIRN_EXCLUDES(sleep_mutex_);
  void Pace() CAIRN_EXCLUDES(turn_);
  void SayGoodbye();
  void Close();

  engine::Replication& replication_;
  Clock& clock_;
  const Options options_;
  ProducerLink& link_;
  NoticeBoard notices_;
  WriteWatch watch_;

  Mutex turn_;  // held by who works: the pump, or a thread that sends while the pump sleeps
  Outlook outlook_ CAIRN_GUARDED_BY(turn_);        // of the pump, when it sleeps
  int64_t round_ns_ CAIRN_GUARDED_BY(turn_) = 0;   // when the last round began
  int64_t sent_ns_ CAIRN_GUARDED_BY(turn_) = 0;    // … that sent something
  int64_t looked_ns_ CAIRN_GUARDED_BY(turn_) = 0;  // for input

  mutable Mutex core_mutex_;
  std::unique_ptr<Producer> producer_ CAIRN_GUARDED_BY(core_mutex_);
  ConnectionInfo last_info_ CAIRN_GUARDED_BY(core_mutex_);  // once the producer is gone

  std::atomic<bool> woken_{false};
  Mutex sleep_mutex_;
  Outlook::Next sleeping_ CAIRN_GUARDED_BY(sleep_mutex_) = Outlook::Next::kWork;
  CondVar doze_;

  engine::Replication::ListenerId listener_ = 0;
};

class ConsumerSession {
 public:
  struct Options {
    std::string address;
    Consumer::Options consumer;
    int64_t backoff_min_ns = 50'000'000, backoff_max_ns = 5'000'000'000;
    int64_t stuck_ns = 30'000'000'000;
    uint64_t seed = 0;  // of the back-off's jitter
  };

  /// Begins to follow.
  ConsumerSession(engine::Replication& replication, Clock& clock, const Options& options, Dialer dialer);
  ~ConsumerSession();  // stops
  ConsumerSession(const ConsumerSession&) = delete;
  ConsumerSession& operator=(const ConsumerSession&) = delete;

  const std::string& address() const { return options_.address; }
  const std::string& name() const { return options_.consumer.name; }
  /// On return nothing is applied any more. A second call does nothing. By the owner.
  void Stop();
  /// On return nothing of these vbuckets is applied any more.
  void Drop(const std::vector<Vbid>& vbuckets);
  /// Takeover: every vbucket is active here.
  bool takeover_done() const;
  void CancelIfStuck(int64_t now_ns);
  ConnectionInfo info() const;

 private:
  struct Connection;  // what the reader and the owner share of one

  void Run();
  /// One connection from its dialling to its end. Returns why it ended.
  std::string Follow();
  void Read(Connection& connection);
  std::string Converse(Connection& connection);
  /// What is left after some work.
  struct Outlook {
    bool goes_on = true;  // false: the connection has to end
    bool more = false;    // to be done at once
    int64_t next_ns = 0;  // when there is something to do although nothing arrives
  };
  /// Applies and sends what there is. With the connection's turn held.
  Outlook Work(Connection& connection);
  bool WorkHere(Connection& connection);
  void TakeInput(Connection& connection);
  void NoteSettled(Connection& connection);
  void ApplyRest();
  void BackOff(bool was_good);
  void Explain(const std::string& why);

  engine::Replication& replication_;
  Clock& clock_;
  const Options options_;
  const Dialer dialer_;
  Waker waker_;
  WriteWatch watch_;
  std::atomic<bool> stopping_{false};
  mutable Mutex core_mutex_;
  Consumer consumer_ CAIRN_GUARDED_BY(core_mutex_);
  bool connected_ CAIRN_GUARDED_BY(core_mutex_) = false;
  uint64_t reconnects_ CAIRN_GUARDED_BY(core_mutex_) = 0;
  std::string last_error_ CAIRN_GUARDED_BY(core_mutex_);
  Mutex link_mutex_;
  ConsumerLink* link_ CAIRN_GUARDED_BY(link_mutex_) = nullptr;  // to be cancelled
  Random random_;                                               // owner thread
  int64_t backoff_ns_ = 0;                                      // owner thread
  std::thread owner_;
};

}  // namespace cairn::tap
