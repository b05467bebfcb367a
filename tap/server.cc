#include "tap/server.h"

#include <algorithm>
#include <list>
#include <system_error>
#include <thread>

#include "base/log.h"
#include "base/thread_role.h"
#include "tap/rpc_call.h"

namespace cairn::tap {
namespace {

constexpr uint32_t kStopGraceMs = 3'000;
constexpr int64_t kLookNs = 1'000'000'000;
// How long the end of a call may take to be taken by the other side; of one that is refused, while others
// wait to be accepted.
constexpr int64_t kLastWordsNs = 2'000'000'000;
constexpr int64_t kRefusalNs = 50'000'000;

}  // namespace

class TapServer::Service final : public v1::Tap::AsyncService {
 public:
  Service(const Options& options, engine::Replication& replication, Clock& clock)
      : options_(options), replication_(replication), clock_(clock) {}

  /// Takes calls, each in a thread of its own, until EndAll.
  void Accept(grpc::ServerCompletionQueue& accepted);
  void EndAll();
  void Watch();
  /// Waits for the calls' threads. After EndAll.
  void Join();
  std::vector<ConnectionInfo> Connections(bool streams) const;

 private:
  // One call, from its beginning to its end.
  struct Call {
    RpcCall rpc;
    int64_t begun_ns = 0;
    std::thread thread;
    // Guarded by the service's mutex.
    std::string name;
    ProducerSession* session = nullptr;
    bool replaced = false;
    bool ended = false;  // its thread does nothing any more
  };

  void AcceptCalls(grpc::ServerCompletionQueue& accepted);
  void Begin(std::unique_ptr<Call> call);
  void Run(Call& call);
  void JoinEnded();
  bool TakeName(Call& call, const std::string& name);
  void SetSession(Call& call, ProducerSession* session);
  std::optional<ConsumerMessage> Hello(Call& call);
  void Serve(Call& call, const ConsumerMessage& first);
  void Refuse(Call& call, EndReason reason, std::string_view text);

  const Options options_;
  engine::Replication& replication_;
  Clock& clock_;
  std::thread accepting_;
  mutable Mutex mutex_;
  CondVar left_;
  std::list<std::unique_ptr<Call>> calls_ CAIRN_GUARDED_BY(mutex_);
  bool ending_ CAIRN_GUARDED_BY(mutex_) = false;
};

void TapServer::Service::Accept(grpc::ServerCompletionQueue& accepted) {
  accepting_ = std::thread([this, &accepted] {
    BeginThread("tap-calls");
    AcceptCalls(accepted);
    void* tag = nullptr;
    bool ok = false;
    while (accepted.Next(&tag, &ok)) {
    }
  });
}

// gRPC keeps calls waiting that nobody has asked for.
void TapServer::Service::AcceptCalls(grpc::ServerCompletionQueue& accepted) {
  while (true) {
    auto call = std::make_unique<Call>();
    {
      MutexLock lock(mutex_);
      if (ending_) return;  // the queue may be shut down
      call->rpc.Request(*this, accepted, call.get());
    }
    void* tag = nullptr;
    bool ok = false;
    if (!accepted.Next(&tag, &ok) || !ok) return;
    JoinEnded();
    Begin(std::move(call));
  }
}

void TapServer::Service::Begin(std::unique_ptr<Call> call) {
  Call& begun = *call;
  begun.begun_ns = clock_.SteadyNs();
  begun.rpc.Begin();
  bool refused = false;
  {
    MutexLock lock(mutex_);
    refused = ending_ || calls_.size() >= options_.rpc.threads_max;
    if (!refused) {
      try {
        begun.thread = std::thread([this, &begun] { Run(begun); });
        calls_.push_back(std::move(call));
      } catch (const std::system_error& error) {
        CAIRN_LOG(kWarn, "consumer at {}: {}", begun.rpc.peer(), error.what());
        refused = true;
      }
    }
  }
  if (refused)
    begun.rpc.Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls, or shutting down"}, kRefusalNs);
}

void TapServer::Service::Run(Call& call) {
  BeginThread("tap-pump");
  if (std::optional<ConsumerMessage> first = Hello(call)) {
    const std::string name = first->hello->name;
    if (!TakeName(call, name)) {
      Refuse(call, EndReason::kClosed, "an older connection of this name does not end");
    } else {
      Serve(call, *first);
    }
  }
  {
    // Who comes again under this name need not wait for what the old connection does not take.
    MutexLock lock(mutex_);
    call.name.clear();
    left_.NotifyAll();
  }
  call.rpc.Finish(grpc::Status::OK, kLastWordsNs);
  MutexLock lock(mutex_);
  call.ended = true;
}

// What is no hello is answered with a goodbye, silence with a cancellation, by Watch.
std::optional<ConsumerMessage> TapServer::Service::Hello(Call& call) {
  while (!call.rpc.over()) {
    Result<std::optional<ConsumerMessage>> first = call.rpc.Read();
    if (first.ok() && !first->has_value()) {
      call.rpc.Wait(kLookNs, true);
      continue;
    }
    Status good = first.status();
    if (good.ok()) good = Check(**first, replication_.vbucket_count(), true);
    if (good.ok()) return std::move(first).value();
    Refuse(call, EndReason::kBadMessage, good.message());
    break;
  }
  return std::nullopt;
}

void TapServer::Service::JoinEnded() {
  std::list<std::unique_ptr<Call>> ended;
  {
    MutexLock lock(mutex_);
    for (auto it = calls_.begin(); it != calls_.end();) {
      const auto next = std::next(it);
      if ((*it)->ended) ended.splice(ended.end(), calls_, it);
      it = next;
    }
  }
  for (const std::unique_ptr<Call>& call : ended) call->thread.join();
}

void TapServer::Service::Join() {
  if (accepting_.joinable()) accepting_.join();
  std::list<std::unique_ptr<Call>> calls;
  {
    MutexLock lock(mutex_);
    calls.swap(calls_);
  }
  for (const std::unique_ptr<Call>& call : calls) call->thread.join();
}

// The older call of this name has to be over first: what it reported as a replica is forgotten when it ends.
bool TapServer::Service::TakeName(Call& call, const std::string& name) {
  const int64_t until_ns = clock_.SteadyNs() + options_.replaced_ns;
  MutexLock lock(mutex_);
  while (!ending_ && !call.replaced) {
    const auto same = std::find_if(calls_.begin(), calls_.end(), [&](const std::unique_ptr<Call>& other) {
      mutex_.AssertHeld();
      return other.get() != &call && other->name == name;
    });
    if (same == calls_.end()) {
      call.name = name;
      return true;
    }
    if (!(*same)->replaced) {
      CAIRN_LOG(kWarn, "consumer {} connects again from {}: its older connection is ended", name,
                call.rpc.peer());
      (*same)->replaced = true;
      (*same)->rpc.Cancel();
    }
    const int64_t left_ns = until_ns - clock_.SteadyNs();
    if (left_ns <= 0) return false;
    left_.WaitFor(mutex_, std::chrono::nanoseconds(left_ns));
  }
  return false;
}

void TapServer::Service::SetSession(Call& call, ProducerSession* session) {
  MutexLock lock(mutex_);
  call.session = session;
  if (session != nullptr && ending_) session->End(EndReason::kShutdown, "shutting down");
}

void TapServer::Service::Serve(Call& call, const ConsumerMessage& first) {
  ProducerSession::Options options = options_.session;
  options.address = call.rpc.peer();
  const std::string& name = first.hello->name;
  ProducerSession session(replication_, clock_, options, call.rpc);
  SetSession(call, &session);
  CAIRN_LOG(kInfo, "consumer {} at {}: connected", name, options.address);
  session.Run(first);
  SetSession(call, nullptr);
  const ConnectionInfo info = session.info();
  CAIRN_LOG(kInfo, "consumer {} at {}: gone after {} messages{}{}", name, options.address, info.messages,
            info.last_error.empty() ? "" : ": ", EscapeKey(info.last_error, 500));
}

void TapServer::Service::Refuse(Call& call, EndReason reason, std::string_view text) {
  CAIRN_LOG(kWarn, "consumer at {} refused: {}", call.rpc.peer(), EscapeKey(text, 300));
  ProducerMessage message;
  message.goodbye = reason;
  message.goodbye_text = text;
  call.rpc.Write(std::move(message));
}

void TapServer::Service::EndAll() {
  MutexLock lock(mutex_);
  ending_ = true;
  for (const std::unique_ptr<Call>& call : calls_) {
    if (call->session != nullptr) {
      call->session->End(EndReason::kShutdown, "shutting down");
    } else if (!call->ended) {
      call->rpc.Cancel();
    }
  }
  left_.NotifyAll();
}

void TapServer::Service::Watch() {
  JoinEnded();
  const int64_t now_ns = clock_.SteadyNs();
  MutexLock lock(mutex_);
  for (const std::unique_ptr<Call>& call : calls_) {
    if (call->session != nullptr) {
      call->session->CancelIfStuck(now_ns);
    } else if (!call->ended && call->name.empty() && now_ns - call->begun_ns > options_.hello_ns) {
      call->rpc.Cancel();
    }
  }
}

std::vector<ConnectionInfo> TapServer::Service::Connections(bool streams) const {
  std::vector<ConnectionInfo> infos;
  MutexLock lock(mutex_);
  for (const std::unique_ptr<Call>& call : calls_) {
    if (call->session == nullptr) continue;
    infos.push_back(call->session->info());
    infos.back().name = call->name;
    if (!streams) infos.back().streams.clear();
  }
  return infos;
}

Result<std::unique_ptr<TapServer>> TapServer::Start(const Options& options, engine::Replication& replication,
                                                    Clock& clock) {
  auto service = std::make_unique<Service>(options, replication, clock);
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<RpcServer> rpc,
                         RpcServer::Start(options.rpc, {service.get()}, true));
  service->Accept(rpc->calls());
  return std::unique_ptr<TapServer>(new TapServer(std::move(service), std::move(rpc)));
}

TapServer::TapServer(std::unique_ptr<Service> service, std::unique_ptr<RpcServer> rpc)
    : service_(std::move(service)), rpc_(std::move(rpc)) {}

TapServer::~TapServer() { Stop(); }

void TapServer::Stop() {
  service_->EndAll();
  rpc_->Stop(kStopGraceMs);
  service_->Join();
}

void TapServer::Watch() { service_->Watch(); }
const std::vector<std::string>& TapServer::addresses() const { return rpc_->addresses(); }
uint16_t TapServer::port() const { return rpc_->port(); }
Acceptor::Counters TapServer::counters() const { return rpc_->counters(); }
std::vector<ConnectionInfo> TapServer::Connections(bool streams) const {
  return service_->Connections(streams);
}

}  // namespace cairn::tap
