#include "tap/client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "proto/tap.grpc.pb.h"
#include "tap/rpc_channel.h"
#include "tap/wire.h"

namespace cairn::tap {
namespace {

// Of a message around its chunk.
constexpr uint32_t kEnvelopeBytesMax = 64u << 10;

class RpcConsumerLink final : public ConsumerLink {
 public:
  explicit RpcConsumerLink(std::shared_ptr<grpc::Channel> channel)
      : channel_(std::move(channel)), stub_(v1::Tap::NewStub(channel_)) {}

  bool Open() override {
    stream_ = stub_->Replicate(&context_);
    return stream_ != nullptr;
  }

  bool Write(const ConsumerMessage& message) override {
    ToWire(message, out_);
    return stream_->Write(out_);
  }

  Result<std::optional<ProducerMessage>> Read() override {
    if (!stream_->Read(&in_)) return std::optional<ProducerMessage>();
    CAIRN_ASSIGN_OR_RETURN(ProducerMessage message, FromWire(in_));
    return std::optional<ProducerMessage>(std::move(message));
  }

  void Cancel() override { context_.TryCancel(); }

  Status Finish() override {
    if (stream_ == nullptr) return Status(Code::kCancelled, "not connected");
    const grpc::Status status = stream_->Finish();
    if (status.ok()) return Status::Ok();
    return Status(Code::kIoError, status.error_message());
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Tap::Stub> stub_;
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
    return std::unique_ptr<ConsumerLink>(std::make_unique<RpcConsumerLink>(MakeRpcChannel(options)));
  };
}

}  // namespace cairn::tap
