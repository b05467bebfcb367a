#include "tap/client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <atomic>
#include <utility>

#include "proto/tap.grpc.pb.h"
#include "tap/client_socket.h"
#include "tap/rpc_channel.h"
#include "tap/wire.h"

namespace cairn::tap {
namespace {

// Of a message around its chunk.
constexpr uint32_t kEnvelopeBytesMax = 64u << 10;
constexpr int kConnectTimeoutMs = 10'000;

class RpcConsumerLink final : public ConsumerLink {
 public:
  explicit RpcConsumerLink(RpcChannelOptions options) : options_(std::move(options)) {}

  bool Open() override {
    Result<UniqueFd> socket(Status(Code::kNotSupported, "gRPC makes the connections with TLS"));
    if (options_.tls.certificate.empty()) {
      socket = ConnectTcp(options_.address, kConnectTimeoutMs, cancelled_);
      if (!socket.ok() && socket.code() != Code::kNotSupported) {
        unreachable_ = socket.status();
        return false;
      }
    }
    if (socket.ok()) {
      held_.Attach(*socket);
      channel_ = MakeRpcChannelOver(options_, std::move(socket).value());
    } else {
      channel_ = MakeRpcChannel(options_);
    }
    stub_ = v1::Tap::NewStub(channel_);
    stream_ = stub_->Replicate(&context_);
    return stream_ != nullptr;
  }

  bool Write(const ConsumerMessage& message) override {
    ToWire(message, out_);
    held_.Writing(out_.ByteSizeLong());
    const bool written = stream_->Write(out_);
    held_.Written();
    return written;
  }

  Result<std::optional<ProducerMessage>> Read() override {
    if (!stream_->Read(&in_)) return std::optional<ProducerMessage>();
    held_.Received(in_.ByteSizeLong());
    CAIRN_ASSIGN_OR_RETURN(ProducerMessage message, FromWire(in_));
    return std::optional<ProducerMessage>(std::move(message));
  }

  void Cancel() override {
    cancelled_.store(true, std::memory_order_release);
    held_.Release();
    context_.TryCancel();
  }

  Status Finish() override {
    held_.Release();
    if (stream_ == nullptr) {
      return unreachable_.ok() ? Status(Code::kCancelled, "not connected") : unreachable_;
    }
    const grpc::Status status = stream_->Finish();
    if (status.ok()) return Status::Ok();
    return Status(Code::kIoError, status.error_message());
  }

 private:
  const RpcChannelOptions options_;
  std::atomic<bool> cancelled_{false};
  HeldWrites held_;
  Status unreachable_;  // why Open failed
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Tap::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::FromConsumer, v1::FromProducer>> stream_;
  v1::FromConsumer out_;  // writing thread
  v1::FromProducer in_;   // reading thread
};

}  // namespace

Dialer MakeDialer(const TlsFiles& tls) {
  return [tls](const std::string& address) -> Result<std::unique_ptr<ConsumerLink>> {
    RpcChannelOptions options;
    options.address = address;
    options.receive_bytes_max = static_cast<uint32_t>(kChunkBytesMax) + kEnvelopeBytesMax;
    CAIRN_ASSIGN_OR_RETURN(options.tls, LoadTls(tls));
    return std::unique_ptr<ConsumerLink>(std::make_unique<RpcConsumerLink>(std::move(options)));
  };
}

}  // namespace cairn::tap
