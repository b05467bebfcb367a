#include <algorithm>

#include "base/log.h"
#include "base/thread_role.h"
#include "base/urgent_turns.h"
#include "tap/session.h"

namespace cairn::tap {
namespace {

// What a source may have under way besides the chunks it has credits for.
constexpr size_t kQueueMessagesMax = size_t{1} << 16;
constexpr int64_t kSleepMaxNs = 1'000'000'000;
// To apply more than this is no short turn (base/urgent_turns.h).
constexpr size_t kUrgentBytesMax = size_t{16} << 10;
// A connection that lived so long was a good one: the next one is tried soon.
constexpr int64_t kGoodConnectionNs = 1'000'000'000;
// After a disconnection: how long what is whole may take to be applied before the next connection is tried.
constexpr int64_t kApplyRestMaxNs = 10'000'000'000;

}  // namespace

struct ConsumerSession::Connection {
  std::unique_ptr<ConsumerLink> link;
  Mutex mutex;
  CondVar room;
  std::deque<ProducerMessage> queue CAIRN_GUARDED_BY(mutex);
  size_t queued_bytes CAIRN_GUARDED_BY(mutex) = 0;
  bool at_end CAIRN_GUARDED_BY(mutex) = false;
  std::string bad_message CAIRN_GUARDED_BY(mutex);
  bool abandoned CAIRN_GUARDED_BY(mutex) = false;  // the reader need not wait for room
  Mutex turn;  // held by who works: the owner, or the reader while the owner sleeps
  int64_t asleep_until_ns CAIRN_GUARDED_BY(turn) = 0;  // of the owner; 0: it does not sleep
  // Of who works.
  bool heard = false;    // a message came
  bool settled = false;  // it has lived for a while
  bool link_gone = false;
  int64_t opened_ns = 0;
  std::vector<ProducerMessage> taken;
};

ConsumerSession::ConsumerSession(engine::Replication& replication, Clock& clock, const Options& options,
                                 Dialer dialer)
    : replication_(replication),
      clock_(clock),
      options_(options),
      dialer_(std::move(dialer)),
      consumer_(replication_, options.consumer),
      random_(options.seed),
      backoff_ns_(options.backoff_min_ns) {
  owner_ = std::thread([this] { Run(); });
}

ConsumerSession::~ConsumerSession() { Stop(); }

void ConsumerSession::Stop() {
  {
    MutexLock lock(link_mutex_);
    stopping_.store(true, std::memory_order_release);
    if (link_ != nullptr) link_->Cancel();
  }
  waker_.Wake();
  if (owner_.joinable()) owner_.join();
}

void ConsumerSession::Drop(const std::vector<Vbid>& vbuckets) {
  {
    MutexLock lock(core_mutex_);
    consumer_.Drop(vbuckets);
  }
  waker_.Wake();
}

bool ConsumerSession::takeover_done() const {
  MutexLock lock(core_mutex_);
  return consumer_.takeover_done();
}

void ConsumerSession::CancelIfStuck(int64_t now_ns) {
  if (!watch_.StuckFor(options_.stuck_ns, now_ns)) return;
  MutexLock lock(link_mutex_);
  if (link_ != nullptr) link_->Cancel();
}

ConnectionInfo ConsumerSession::info() const {
  MutexLock lock(core_mutex_);
  ConnectionInfo info = consumer_.info(clock_.SteadyNs());
  info.address = options_.address;
  info.producing = false;
  info.connected = connected_;
  info.reconnects = reconnects_;
  if (!last_error_.empty()) info.last_error = last_error_;
  return info;
}

void ConsumerSession::Run() {
  BeginThread("tap-consumer");
  while (!stopping_.load(std::memory_order_acquire)) {
    const int64_t begun_ns = clock_.SteadyNs();
    const std::string why = Follow();
    if (stopping_.load(std::memory_order_acquire)) return;
    Explain(why);
    ApplyRest();
    BackOff(clock_.SteadyNs() - begun_ns > kGoodConnectionNs);
  }
}

std::string ConsumerSession::Follow() {
  Connection connection;
  Result<std::unique_ptr<ConsumerLink>> dialed = dialer_(options_.address);
  if (!dialed.ok()) return std::string(dialed.status().message());
  connection.link = std::move(dialed).value();
  {
    MutexLock lock(link_mutex_);
    if (stopping_.load(std::memory_order_acquire)) return {};
    link_ = connection.link.get();
  }
  std::string why;
  if (connection.link->Open()) {
    std::thread reader([this, &connection] { Read(connection); });
    why = Converse(connection);
    connection.link->Cancel();
    {
      MutexLock lock(connection.mutex);
      connection.abandoned = true;
      connection.room.NotifyAll();
    }
    reader.join();
  }
  {
    MutexLock lock(link_mutex_);
    link_ = nullptr;
  }
  const Status finished = connection.link->Finish();
  return why.empty() ? std::string(finished.ok() ? "the source hung up" : finished.message()) : why;
}

// The reader: everything that arrives goes into the queue, whose bound is what the source has credits for.
void ConsumerSession::Read(Connection& connection) {
  BeginThread("tap-reader");
  const size_t bytes_max = options_.consumer.window_bytes + kChunkBytesMax;
  UrgentTurns urgent;
  while (true) {
    urgent.EndOfTurn();
    Result<std::optional<ProducerMessage>> read = connection.link->Read();
    {
      MutexLock lock(connection.mutex);
      if (!read.ok() || !read->has_value()) {
        if (!read.ok()) connection.bad_message = read.status().message();
        connection.at_end = true;
        break;
      }
      while ((connection.queued_bytes > bytes_max || connection.queue.size() >= kQueueMessagesMax) &&
             !connection.abandoned) {
        connection.room.Wait(connection.mutex);
      }
      if ((*read)->chunk.size() > kUrgentBytesMax) urgent.Lapse();
      connection.queued_bytes += (*read)->chunk.size();
      connection.queue.push_back(*std::move(read).value());
    }
    if (!WorkHere(connection)) waker_.Wake();
  }
  waker_.Wake();
}

// While the owner sleeps the reader does its work: a write is then applied, and its progress told, one
// thread's awakening earlier. True: there is nothing that the owner would have to be woken for.
bool ConsumerSession::WorkHere(Connection& connection) {
  if (!connection.turn.TryLock()) return false;
  const bool asleep = connection.asleep_until_ns != 0;
  bool done = false;
  if (asleep) {
    TakeInput(connection);
    const Outlook outlook = Work(connection);
    done = outlook.goes_on && !outlook.more && outlook.next_ns >= connection.asleep_until_ns;
  }
  connection.turn.Unlock();
  return done;
}

std::string ConsumerSession::Converse(Connection& connection) {
  {
    MutexLock lock(core_mutex_);
    consumer_.Connected(clock_.SteadyNs());
  }
  connection.opened_ns = clock_.SteadyNs();
  std::string why;
  bool over = false;
  while (!over && !stopping_.load(std::memory_order_acquire)) {
    waker_.Arm();
    {
      // What was read before the end counts, a goodbye above all.
      MutexLock lock(connection.mutex);
      over = connection.at_end;
      why = connection.bad_message;
    }
    Outlook outlook;
    int64_t sleep_ns = 0;
    {
      MutexLock turn(connection.turn);
      connection.asleep_until_ns = 0;
      TakeInput(connection);
      NoteSettled(connection);
      outlook = Work(connection);
      over = over || !outlook.goes_on;
      if (!over && !outlook.more) {
        const int64_t now_ns = clock_.SteadyNs();
        connection.asleep_until_ns = std::min(outlook.next_ns, now_ns + kSleepMaxNs);
        sleep_ns = connection.asleep_until_ns - now_ns;
      }
    }
    if (sleep_ns > 0) {
      waker_.Wait(sleep_ns);
    } else {
      GiveWay();
    }
  }
  {
    MutexLock turn(connection.turn);
    connection.asleep_until_ns = 0;  // the reader works no more
  }
  MutexLock lock(core_mutex_);
  const int64_t now_ns = clock_.SteadyNs();
  if (why.empty() && consumer_.wants_disconnect()) {
    why = consumer_.info(now_ns).last_error;
    if (why.empty()) why = EndReasonName(consumer_.end_reason());
  }
  connected_ = false;
  consumer_.Disconnected(why, now_ns);
  return why;
}

void ConsumerSession::TakeInput(Connection& connection) {
  {
    MutexLock lock(connection.mutex);
    connection.taken.assign(std::make_move_iterator(connection.queue.begin()),
                            std::make_move_iterator(connection.queue.end()));
    connection.queue.clear();
    connection.queued_bytes = 0;
    connection.room.NotifyAll();
  }
  if (connection.taken.empty()) return;
  MutexLock lock(core_mutex_);
  for (ProducerMessage& message : connection.taken) {
    consumer_.OnMessage(std::move(message), clock_.SteadyNs());
  }
  connected_ = true;
  connection.heard = true;
}

// A source that refuses us would else be told of twice every few seconds.
void ConsumerSession::NoteSettled(Connection& connection) {
  if (connection.settled || !connection.heard) return;
  if (clock_.SteadyNs() - connection.opened_ns < kGoodConnectionNs) return;
  connection.settled = true;
  MutexLock lock(core_mutex_);
  last_error_.clear();
  CAIRN_LOG(kInfo, "source {}: following", options_.address);
}

ConsumerSession::Outlook ConsumerSession::Work(Connection& connection) {
  Outlook outlook;
  while (true) {
    std::optional<ConsumerMessage> message;
    {
      MutexLock lock(core_mutex_);
      const int64_t now_ns = clock_.SteadyNs();
      if (!outlook.more) outlook.more = consumer_.Step(now_ns);
      // Without a link the reader comes to its end by itself, with what the source may have said last.
      if (!connection.link_gone) message = consumer_.Poll(now_ns);
      if (!message.has_value()) {
        outlook.goes_on = !consumer_.wants_disconnect();
        outlook.next_ns = connection.link_gone ? INT64_MAX : consumer_.NextPollNs();
        return outlook;
      }
    }
    watch_.Begin(clock_.SteadyNs());
    connection.link_gone = !connection.link->Write(*message);
    watch_.End();
  }
}

void ConsumerSession::ApplyRest() {
  const int64_t until_ns = clock_.SteadyNs() + kApplyRestMaxNs;
  while (!stopping_.load(std::memory_order_acquire) && clock_.SteadyNs() < until_ns) {
    MutexLock lock(core_mutex_);
    if (!consumer_.Step(clock_.SteadyNs())) return;
  }
}

void ConsumerSession::BackOff(bool was_good) {
  if (was_good) backoff_ns_ = options_.backoff_min_ns;
  const int64_t delay_ns =
      backoff_ns_ / 2 + static_cast<int64_t>(random_.Uniform(static_cast<uint64_t>(backoff_ns_ / 2 + 1)));
  backoff_ns_ = std::min(backoff_ns_ * 2, options_.backoff_max_ns);
  const int64_t until_ns = clock_.SteadyNs() + delay_ns;
  while (!stopping_.load(std::memory_order_acquire) && clock_.SteadyNs() < until_ns) {
    waker_.Arm();
    if (!stopping_.load(std::memory_order_acquire)) waker_.Wait(until_ns - clock_.SteadyNs());
  }
  MutexLock lock(core_mutex_);
  ++reconnects_;
}

// The same trouble every few seconds is one line.
void ConsumerSession::Explain(const std::string& why) {
  MutexLock lock(core_mutex_);
  if (last_error_ == why) return;
  last_error_ = why;
  CAIRN_LOG(kWarn, "source {}: {}", options_.address, EscapeKey(why, 500));
}

}  // namespace cairn::tap
