#pragma once
// Sessions: a Producer or a Consumer with the thread that drives it and the connection it speaks over. What a
// connection is, is hidden behind a link: gRPC (tap/rpc_links.h), or a test's.
//
// Producing: one RPC has a reader (the RPC's own thread, which calls Push) and a pump (this class's thread),
// which alone sends. Consuming: one source has an owner thread, which dials, applies and sends, and a reader
// thread for as long as there is a connection, which does the same while the owner sleeps.

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
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

/// The way to a consumer.
class ProducerLink {
 public:
  virtual ~ProducerLink() = default;
  /// One thread at a time. False: the connection is gone. May wait for the other side to read.
  virtual bool Write(ProducerMessage message) = 0;
  /// Ends the connection; a Write or the reader's Read returns. Any thread.
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

/// Since when a thread has been in a Write; so that somebody else can end a connection that takes nothing.
class WriteWatch {
 public:
  void Begin(int64_t now_ns) { since_ns_.store(now_ns, std::memory_order_relaxed); }
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
    int64_t stuck_ns = 30'000'000'000;   // a Write that lasts longer ends the connection
    int64_t goodbye_ns = 2'000'000'000;  // after a goodbye the consumer has so long to hang up
    size_t answers_max = 8'192;          // that wait to be sent; then nothing more is read
    int64_t rest_ns = 9'000'000;         // see Rest; progress comes every 10 ms
  };

  ProducerSession(engine::Replication& replication, Clock& clock, const Options& options, ProducerLink& link);
  ~ProducerSession();  // like Finish
  ProducerSession(const ProducerSession&) = delete;
  ProducerSession& operator=(const ProducerSession&) = delete;

  /// A message, from the reader. Waits when too many answers wait. False: the session is over, stop reading.
  bool Push(const ConsumerMessage& message);
  /// Waits a little as long as nothing is needed of the consumer, at most `rest_ns`; from the reader, between
  /// two messages. A thread that waits in gRPC for a message is woken by every message that another one sends
  /// on the same call, thousands of times a second, for nothing.
  void Rest();
  /// Nothing comes any more; from the reader. On return the pump has ended and the producer is gone.
  void Finish();

  /// Any thread: ends with a goodbye.
  void End(EndReason reason, std::string_view text);
  /// Any thread, now and then: cancels the connection when the other side takes nothing.
  void CancelIfStuck(int64_t now_ns);
  ConnectionInfo info() const;

 private:
  void Run();
  /// Adds the chunks' bytes to `bytes`. True: there may be more.
  bool Send(size_t& bytes, UrgentTurns& urgent);
  void TakeNotices();
  void SayGoodbye();
  void Pace(int64_t round_ns);
  /// For how long there is nothing to do unless something comes: the pump may be woken early from now on.
  int64_t Sleep() CAIRN_REQUIRES(core_mutex_);

  engine::Replication& replication_;
  Clock& clock_;
  const Options options_;
  ProducerLink& link_;
  NoticeBoard notices_;
  Waker waker_;
  WriteWatch watch_;
  std::atomic<bool> over_{false};  // no more input, or the link is gone
  mutable Mutex core_mutex_;
  std::unique_ptr<Producer> producer_ CAIRN_GUARDED_BY(core_mutex_);
  ConnectionInfo last_info_ CAIRN_GUARDED_BY(core_mutex_);     // once the producer is gone
  CondVar room_;                                               // for answers
  CondVar wanted_;                                             // the reader: something is
  int64_t asleep_until_ns_ CAIRN_GUARDED_BY(core_mutex_) = 0;  // of the pump; 0: it is awake
  engine::Replication::ListenerId listener_ = 0;
  std::thread pump_;
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
