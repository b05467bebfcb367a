#include "bench/loadgen/runner.h"

#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "bench/loadgen/connection.h"
#include "bench/loadgen/key_space.h"
#include "bench/loadgen/workload.h"

namespace cairn::loadgen {
namespace {

constexpr double kNsPerSecond = 1e9;
// How long answers may still come after the run was told to end.
constexpr int64_t kDrainNs = 2'000'000'000;

Status SystemError(const char* what) {
  return Status(Code::kIoError, std::string(what) + ": " + std::strerror(errno));
}

int64_t ToNs(double seconds) { return static_cast<int64_t>(seconds * kNsPerSecond); }

double OwnCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Status PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  if (sched_setaffinity(0, sizeof(set), &set) != 0) return SystemError("--pin");
  return Status::Ok();
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Client {
  Client(Connection c, const KeySpace& space, const Options& options, Supply& supply, Counters& counters,
         uint64_t client_index)
      : connection(std::move(c)),
        workload(options, supply, client_index),
        batch(space, options.protocol, {options.verify, options.expect_version, options.replica}, counters),
        index(client_index) {}

  Connection connection;
  Workload workload;
  Batch batch;
  uint64_t index;
  int64_t started_ns = 0;  // of the batch in flight: when it was sent, or when it was due
  int64_t due_ns = 0;      // open loop: when the next batch is due
  bool busy = false;
  bool awaits_space = false;  // registered for EPOLLOUT
};

class Runner {
 public:
  Runner(const Options& options, const Clock& clock)
      : options_(options),
        clock_(clock),
        space_({options.keys, options.prefix, options.key_size, options.value_size}),
        supply_(options),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        signals_(OpenSignals()) {}

  Result<Outcome> Run();

 private:
  static int OpenSignals();
  Status Prepare();
  Status Watch(int fd, uint32_t events, void* data, int operation);
  Status ReadServer(std::optional<ProcessUsage>* usage) const;
  void Loop();
  void StartDueBatches(int64_t now);
  void StartBatch(Client& client, int64_t now);
  void Flush(Client& client);
  void OnReadable(Client& client);
  bool AcceptReplies(Client& client, int64_t now);
  void Lose(Client& client, std::string_view why);
  int64_t WaitLimitNs(int64_t now) const;
  void HandleEvents(int64_t timeout_ns);
  void Stop(int64_t now);
  bool IsDue(const Client& client, int64_t now) const { return interval_ns_ == 0 || client.due_ns <= now; }

  const Options& options_;
  const Clock& clock_;
  const KeySpace space_;
  Supply supply_;
  Descriptor epoll_;
  Descriptor signals_;
  std::deque<Client> clients_;
  Outcome outcome_;
  size_t live_ = 0;
  size_t busy_ = 0;
  bool stopping_ = false;
  bool exhausted_ = false;  // the supply is empty
  int64_t start_ns_ = 0;
  int64_t end_ns_ = 0;      // --seconds
  int64_t give_up_ns_ = 0;  // --max-seconds
  int64_t drain_end_ns_ = 0;
  int64_t last_reply_ns_ = 0;
  double interval_ns_ = 0;  // open loop: between two batches of the whole run
  uint64_t ticks_ = 0;      // open loop: batches that have become due
};

int Runner::OpenSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

Status Runner::Watch(int fd, uint32_t events, void* data, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = data;
  if (epoll_ctl(epoll_.get(), operation, fd, &event) != 0) return SystemError("epoll_ctl");
  return Status::Ok();
}

Status Runner::ReadServer(std::optional<ProcessUsage>* usage) const {
  if (options_.server_pid == 0) return Status::Ok();
  CAIRN_ASSIGN_OR_RETURN(*usage, ReadUsage(options_.server_pid));
  return Status::Ok();
}

Status Runner::Prepare() {
  if (epoll_.get() < 0) return SystemError("epoll_create1");
  if (signals_.get() < 0) return SystemError("signalfd");
  if (options_.pin_cpu >= 0) CAIRN_RETURN_IF_ERROR(PinTo(options_.pin_cpu));
  CAIRN_RETURN_IF_ERROR(Watch(signals_.get(), EPOLLIN, nullptr, EPOLL_CTL_ADD));
  for (uint64_t i = 0; i < options_.connections; ++i) {
    CAIRN_ASSIGN_OR_RETURN(Connection connection, Connection::Open(options_.port, options_.unix_path));
    Client& client =
        clients_.emplace_back(std::move(connection), space_, options_, supply_, outcome_.counters, i);
    CAIRN_RETURN_IF_ERROR(Watch(client.connection.fd(), EPOLLIN, &client, EPOLL_CTL_ADD));
  }
  live_ = clients_.size();
  if (options_.rate > 0) {
    interval_ns_ = kNsPerSecond * static_cast<double>(options_.depth * options_.multiget) / options_.rate;
  }
  return Status::Ok();
}

Result<Outcome> Runner::Run() {
  CAIRN_RETURN_IF_ERROR(Prepare());
  CAIRN_RETURN_IF_ERROR(ReadServer(&outcome_.server_before));
  const double cpu_before = OwnCpuSeconds();
  start_ns_ = clock_.SteadyNs();
  last_reply_ns_ = start_ns_;
  end_ns_ = options_.seconds > 0 ? start_ns_ + ToNs(options_.seconds) : INT64_MAX;
  give_up_ns_ = start_ns_ + ToNs(options_.max_seconds);
  for (Client& client : clients_) {
    client.due_ns = start_ns_ + static_cast<int64_t>(interval_ns_ * static_cast<double>(client.index));
  }
  Loop();
  outcome_.seconds = static_cast<double>(last_reply_ns_ - start_ns_) / kNsPerSecond;
  outcome_.client_cpu_seconds = OwnCpuSeconds() - cpu_before;
  outcome_.distinct_sets = supply_.distinct_sets();
  CAIRN_RETURN_IF_ERROR(ReadServer(&outcome_.server_after));
  const bool reached_end = exhausted_ || (options_.seconds > 0 && last_reply_ns_ >= end_ns_) ||
                           (options_.seconds > 0 && stopping_ && clock_.SteadyNs() >= end_ns_);
  outcome_.complete = reached_end && busy_ == 0 && outcome_.lost_connections == 0;
  return std::move(outcome_);
}

void Runner::Loop() {
  if (interval_ns_ == 0) {
    for (Client& client : clients_) StartBatch(client, clock_.SteadyNs());
  }
  for (;;) {
    const int64_t now = clock_.SteadyNs();
    if (!stopping_ && (now >= end_ns_ || now >= give_up_ns_)) Stop(now);
    // Before the question whether anything is left: this is where an open loop finds that nothing is.
    StartDueBatches(now);
    if (live_ == 0) return;
    if (busy_ == 0 && (stopping_ || exhausted_)) return;
    if (stopping_ && now >= drain_end_ns_) return;
    HandleEvents(WaitLimitNs(now));
  }
}

void Runner::Stop(int64_t now) {
  stopping_ = true;
  const double step = interval_ns_ * static_cast<double>(clients_.size());
  for (const Client& client : clients_) {
    if (interval_ns_ == 0 || !client.busy || client.due_ns > now) continue;
    const auto batches = static_cast<uint64_t>(static_cast<double>(now - client.due_ns) / step) + 1;
    outcome_.unsent += batches * options_.depth * options_.multiget;
  }
  drain_end_ns_ = now + kDrainNs;
}

// The ticks are dealt to the connections in turn, so the next one that is due is always ticks_'s.
void Runner::StartDueBatches(int64_t now) {
  if (interval_ns_ == 0) return;
  while (start_ns_ + static_cast<int64_t>(interval_ns_ * static_cast<double>(ticks_)) <= now) {
    Client& client = clients_[ticks_ % clients_.size()];
    ++ticks_;
    if (!client.busy && IsDue(client, now)) StartBatch(client, now);
  }
}

int64_t Runner::WaitLimitNs(int64_t now) const {
  int64_t until = std::min(end_ns_, give_up_ns_);
  if (stopping_) until = drain_end_ns_;
  if (interval_ns_ > 0 && !stopping_ && !exhausted_) {
    until = std::min(until, start_ns_ + static_cast<int64_t>(interval_ns_ * static_cast<double>(ticks_)));
  }
  return std::max<int64_t>(until - now, 0);
}

void Runner::HandleEvents(int64_t timeout_ns) {
  constexpr int kEventsMax = 256;
  epoll_event events[kEventsMax];
  const timespec timeout = {timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  const int n = epoll_pwait2(epoll_.get(), events, kEventsMax, &timeout, nullptr);
  for (int i = 0; i < n; ++i) {
    if (events[i].data.ptr == nullptr) {
      signalfd_siginfo info;
      if (read(signals_.get(), &info, sizeof(info)) > 0 && !stopping_) {
        outcome_.interrupted = true;
        Stop(clock_.SteadyNs());
      }
      continue;
    }
    Client& client = *static_cast<Client*>(events[i].data.ptr);
    if (client.awaits_space && (events[i].events & EPOLLOUT) != 0) Flush(client);
    if (!client.connection.closed() && (events[i].events & ~uint32_t{EPOLLOUT}) != 0) OnReadable(client);
  }
}

void Runner::StartBatch(Client& client, int64_t now) {
  if (stopping_ || exhausted_ || client.connection.closed()) return;
  if (!client.workload.Fill(&client.batch)) {
    exhausted_ = true;
    return;
  }
  client.started_ns = now;
  if (interval_ns_ > 0) {
    client.started_ns = client.due_ns;
    client.due_ns += static_cast<int64_t>(interval_ns_ * static_cast<double>(clients_.size()));
  }
  client.busy = true;
  ++busy_;
  client.batch.Encode(client.connection.outgoing());
  Flush(client);
}

void Runner::Flush(Client& client) {
  const Result<bool> flushed = client.connection.Flush();
  if (!flushed.ok()) return Lose(client, flushed.status().message());
  const bool awaits_space = !*flushed;
  if (awaits_space == client.awaits_space) return;
  const uint32_t events = awaits_space ? uint32_t{EPOLLIN} | uint32_t{EPOLLOUT} : uint32_t{EPOLLIN};
  const Status watched = Watch(client.connection.fd(), events, &client, EPOLL_CTL_MOD);
  if (!watched.ok()) return Lose(client, watched.message());
  client.awaits_space = awaits_space;
}

void Runner::OnReadable(Client& client) {
  const Result<bool> received = client.connection.Receive();
  if (!received.ok()) return Lose(client, received.status().message());
  if (!*received) return;
  const int64_t now = clock_.SteadyNs();
  if (!AcceptReplies(client, now)) return Lose(client, "an answer that does not follow the protocol");
  if (client.busy && client.batch.done()) {
    client.busy = false;
    --busy_;
    if (IsDue(client, now)) StartBatch(client, now);
  }
}

bool Runner::AcceptReplies(Client& client, int64_t now) {
  Reply reply;
  size_t requests_done = 0;
  for (;;) {
    const std::string_view input = client.connection.received();
    if (input.empty()) break;
    const ParseOutcome parsed = ParseReply(options_.protocol, input, &reply);
    if (parsed == ParseOutcome::kMalformed) return false;
    if (parsed == ParseOutcome::kNeedMore) break;
    const auto completed = client.busy ? client.batch.Accept(reply) : std::nullopt;
    if (!completed) return false;
    requests_done += *completed;
    client.connection.Consume(reply.consumed);
  }
  if (requests_done > 0) {
    outcome_.latency.Record(static_cast<uint64_t>(std::max<int64_t>(now - client.started_ns, 0)),
                            requests_done);
    last_reply_ns_ = now;
  }
  return true;
}

void Runner::Lose(Client& client, std::string_view why) {
  client.connection.Close();
  if (client.busy) --busy_;
  client.busy = false;
  --live_;
  ++outcome_.lost_connections;
  outcome_.counters.NoteError(why);
}

}  // namespace

Result<Outcome> Run(const Options& options, const Clock& clock) { return Runner(options, clock).Run(); }

}  // namespace cairn::loadgen
