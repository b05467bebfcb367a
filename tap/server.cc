#include "tap/server.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <list>

#include "base/log.h"
#include "proto/tap.grpc.pb.h"
#include "tap/wire.h"

namespace cairn::tap {
namespace {

constexpr uint32_t kStopGraceMs = 3'000;

using Stream = grpc::ServerReaderWriter<v1::FromProducer, v1::FromConsumer>;

// "ipv4:127.0.0.1:1234", "ipv6:%5B::1%5D:1234" as people write it.
std::string ReadablePeer(std::string peer) {
  peer.erase(0, peer.find(':') == std::string::npos ? 0 : peer.find(':') + 1);
  for (const auto& [coded, plain] : {std::pair("%5B", "["), std::pair("%5D", "]")}) {
    const size_t at = peer.find(coded);
    if (at != std::string::npos) peer.replace(at, 3, plain);
  }
  return peer;
}

}  // namespace

class TapServer::Service final : public v1::Tap::Service {
 public:
  Service(const Options& options, engine::Replication& replication, Clock& clock)
      : options_(options), replication_(replication), clock_(clock) {}

  grpc::Status Replicate(grpc::ServerContext* context, Stream* stream) override;
  void EndAll();
  void Watch();
  std::vector<ConnectionInfo> Connections(bool streams) const;

 private:
  // One call, from its beginning to its end; lives on the handler's stack.
  struct Call final : public ProducerLink {
    Call(grpc::ServerContext& call_context, Stream& call_stream, int64_t now_ns)
        : context(call_context), stream(call_stream), begun_ns(now_ns) {}

    bool Write(ProducerMessage message) override {
      ToWire(std::move(message), out);
      return stream.Write(out);
    }
    void Cancel() override { context.TryCancel(); }

    grpc::ServerContext& context;
    Stream& stream;
    const int64_t begun_ns;
    v1::FromProducer out;  // pump
    // Guarded by the service's mutex.
    std::string name;
    ProducerSession* session = nullptr;
    bool replaced = false;
  };

  bool Enter(Call& call);
  void Leave(Call& call);
  bool TakeName(Call& call, const std::string& name);
  void SetSession(Call& call, ProducerSession* session);
  void Serve(Call& call, ConsumerMessage first);
  void Refuse(Call& call, EndReason reason, std::string_view text);

  const Options options_;
  engine::Replication& replication_;
  Clock& clock_;
  mutable Mutex mutex_;
  CondVar left_;
  std::list<Call*> calls_ CAIRN_GUARDED_BY(mutex_);
  bool ending_ CAIRN_GUARDED_BY(mutex_) = false;
};

grpc::Status TapServer::Service::Replicate(grpc::ServerContext* context, Stream* stream) {
  Call call(*context, *stream, clock_.SteadyNs());
  if (!Enter(call)) return {grpc::StatusCode::UNAVAILABLE, "shutting down"};
  v1::FromConsumer in;
  if (stream->Read(&in)) {
    Result<ConsumerMessage> first = FromWire(in);
    Status good = first.status();
    if (good.ok()) good = Check(*first, replication_.vbucket_count(), true);
    if (!good.ok()) {
      Refuse(call, EndReason::kBadMessage, good.message());
    } else if (!TakeName(call, first->hello->name)) {
      Refuse(call, EndReason::kClosed, "an older connection of this name does not end");
    } else {
      Serve(call, std::move(first).value());
    }
  }
  Leave(call);
  return grpc::Status::OK;
}

bool TapServer::Service::Enter(Call& call) {
  MutexLock lock(mutex_);
  if (!ending_) calls_.push_back(&call);
  return !ending_;
}

void TapServer::Service::Leave(Call& call) {
  MutexLock lock(mutex_);
  calls_.remove(&call);
  left_.NotifyAll();
}

// The older call of this name has to be over first: what it reported as a replica is forgotten when it ends.
bool TapServer::Service::TakeName(Call& call, const std::string& name) {
  const int64_t until_ns = clock_.SteadyNs() + options_.replaced_ns;
  MutexLock lock(mutex_);
  while (!ending_ && !call.replaced) {
    const auto same = std::find_if(calls_.begin(), calls_.end(), [&](Call* other) {
      mutex_.AssertHeld();
      return other != &call && other->name == name;
    });
    if (same == calls_.end()) {
      call.name = name;
      return true;
    }
    if (!(*same)->replaced) {
      CAIRN_LOG(kWarn, "consumer {} connects again from {}: its older connection is ended", name,
                ReadablePeer(call.context.peer()));
      (*same)->replaced = true;
      (*same)->Cancel();
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

void TapServer::Service::Serve(Call& call, ConsumerMessage first) {
  ProducerSession::Options options = options_.session;
  options.address = ReadablePeer(call.context.peer());
  const std::string name = first.hello->name;
  ProducerSession session(replication_, clock_, options, call);
  SetSession(call, &session);
  CAIRN_LOG(kInfo, "consumer {} at {}: connected", name, options.address);
  bool open = session.Push(first);
  v1::FromConsumer in;
  while (open && call.stream.Read(&in)) {
    Result<ConsumerMessage> message = FromWire(in);
    if (!message.ok()) {
      session.End(EndReason::kBadMessage, message.status().message());
      continue;
    }
    open = session.Push(*message);
    if (open) session.Rest();
  }
  // A pump that waits for a consumer that has hung up waits no longer.
  call.Cancel();
  session.Finish();
  SetSession(call, nullptr);
  const ConnectionInfo info = session.info();
  CAIRN_LOG(kInfo, "consumer {} at {}: gone after {} messages{}{}", name, options.address, info.messages,
            info.last_error.empty() ? "" : ": ", EscapeKey(info.last_error, 500));
}

void TapServer::Service::Refuse(Call& call, EndReason reason, std::string_view text) {
  CAIRN_LOG(kWarn, "consumer at {} refused: {}", ReadablePeer(call.context.peer()), EscapeKey(text, 300));
  ProducerMessage message;
  message.goodbye = reason;
  message.goodbye_text = text;
  static_cast<void>(call.Write(std::move(message)));
}

void TapServer::Service::EndAll() {
  MutexLock lock(mutex_);
  ending_ = true;
  for (Call* const call : calls_) {
    if (call->session != nullptr) {
      call->session->End(EndReason::kShutdown, "shutting down");
    } else {
      call->Cancel();
    }
  }
  left_.NotifyAll();
}

void TapServer::Service::Watch() {
  const int64_t now_ns = clock_.SteadyNs();
  MutexLock lock(mutex_);
  for (Call* const call : calls_) {
    if (call->session != nullptr) {
      call->session->CancelIfStuck(now_ns);
    } else if (call->name.empty() && now_ns - call->begun_ns > options_.hello_ns) {
      call->Cancel();
    }
  }
}

std::vector<ConnectionInfo> TapServer::Service::Connections(bool streams) const {
  std::vector<ConnectionInfo> infos;
  MutexLock lock(mutex_);
  for (const Call* const call : calls_) {
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
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<RpcServer> rpc, RpcServer::Start(options.rpc, {service.get()}));
  return std::unique_ptr<TapServer>(new TapServer(std::move(service), std::move(rpc)));
}

TapServer::TapServer(std::unique_ptr<Service> service, std::unique_ptr<RpcServer> rpc)
    : service_(std::move(service)), rpc_(std::move(rpc)) {}

TapServer::~TapServer() { Stop(); }

void TapServer::Stop() {
  service_->EndAll();
  rpc_->Stop(kStopGraceMs);
}

void TapServer::Watch() { service_->Watch(); }
const std::vector<std::string>& TapServer::addresses() const { return rpc_->addresses(); }
uint16_t TapServer::port() const { return rpc_->port(); }
Acceptor::Counters TapServer::counters() const { return rpc_->counters(); }
std::vector<ConnectionInfo> TapServer::Connections(bool streams) const {
  return service_->Connections(streams);
}

}  // namespace cairn::tap
