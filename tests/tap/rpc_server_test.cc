// The gRPC server as strangers see it: certificates, limits, garbage, and the end of descriptors.

#include "tap/rpc_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/fault.h"
#include "proto/tap.grpc.pb.h"
#include "tap/rpc_channel.h"
#include "tests/tap/certificates.h"

namespace cairn::tap {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Stream = grpc::ServerReaderWriter<v1::FromProducer, v1::FromConsumer>;

// Answers each message with its credits' number of bytes.
class Echo final : public v1::Tap::Service {
 public:
  grpc::Status Replicate(grpc::ServerContext*, Stream* stream) override {
    v1::FromConsumer in;
    while (stream->Read(&in)) {
      v1::FromProducer out;
      out.set_chunk(std::string(in.credit_bytes(), 'x'));
      stream->Write(out);
    }
    return grpc::Status::OK;
  }
};

// One call that asks for some bytes.
class Call {
 public:
  Call(uint16_t port, const TlsFiles& tls = {}, uint32_t receive_max = 4u << 20) {
    RpcChannelOptions options;
    options.address = "127.0.0.1:" + std::to_string(port);
    options.tls = LoadTls(tls).value();
    options.receive_bytes_max = receive_max;
    stub_ = v1::Tap::NewStub(MakeRpcChannel(options));
    context_.set_deadline(std::chrono::system_clock::now() + 10s);
  }
  grpc::ClientContext& context() { return context_; }
  bool Ask(uint64_t bytes, size_t padding = 0) {
    if (stream_ == nullptr) stream_ = stub_->Replicate(&context_);
    v1::FromConsumer out;
    out.set_credit_bytes(bytes);
    if (padding > 0) out.mutable_hello()->set_name(std::string(padding, 'n'));
    v1::FromProducer in;
    return stream_->Write(out) && stream_->Read(&in) && in.chunk().size() == bytes;
  }
  grpc::Status Finish() { return stream_->Finish(); }

 private:
  std::unique_ptr<v1::Tap::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::FromConsumer, v1::FromProducer>> stream_;
};

bool Works(uint16_t port, const TlsFiles& tls = {}) { return Call(port, tls).Ask(100); }

UniqueFd Connect(uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

// The other side has closed it, after whatever it sent.
bool ClosedWithin(const UniqueFd& fd, std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until) {
    pollfd polled{fd.get(), POLLIN, 0};
    if (poll(&polled, 1, 20) <= 0) continue;
    char buffer[4096];
    if (read(fd.get(), buffer, sizeof(buffer)) <= 0) return true;
  }
  return false;
}

class RpcServerTest : public ::testing::Test {
 protected:
  RpcServer& Start(RpcServer::Options options = {}) {
    options.addresses = {"127.0.0.1"};
    Result<std::unique_ptr<RpcServer>> started = RpcServer::Start(options, {&echo_});
    EXPECT_TRUE(started.ok()) << started.status().ToString();
    server_ = std::move(started).value();
    return *server_;
  }

  TempDir dir_;
  Echo echo_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(RpcServerTest, ServesOnEveryAddressOfTheMachineUnlessTold) {
  RpcServer::Options options;
  Result<std::unique_ptr<RpcServer>> started = RpcServer::Start(options, {&echo_});
  ASSERT_TRUE(started.ok());
  EXPECT_TRUE(Works((*started)->port()));
  EXPECT_EQ((*started)->addresses().front(), "127.0.0.1:" + std::to_string((*started)->port()));
  (*started)->Stop(0);
  EXPECT_FALSE(Works((*started)->port()));
}

TEST_F(RpcServerTest, ATakenPortIsNamed) {
  Start();
  RpcServer::Options options;
  options.addresses = {"127.0.0.1"};
  options.port = server_->port();
  const Status status = RpcServer::Start(options, {&echo_}).status();
  EXPECT_EQ(status.code(), Code::kExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:" + std::to_string(server_->port())));
}

TEST_F(RpcServerTest, AnAddressOthersReachNeedsCertificates) {
  RpcServer::Options options;
  options.addresses = {"127.0.0.1", "0.0.0.0"};
  const Status status = RpcServer::Start(options, {&echo_}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("0.0.0.0"));
}

TEST_F(RpcServerTest, TlsIsMutual) {
  const CertificateAuthority ours(dir_, "ours"), others(dir_, "others");
  const TlsFiles node = ours.Sign("node"), client = ours.Sign("client");
  TlsFiles stranger = others.Sign("stranger");
  stranger.ca = ours.path();  // believes us, but we do not believe it
  TlsFiles doubter = ours.Sign("doubter");
  doubter.ca = others.path();  // the other way round
  RpcServer::Options options;
  options.tls = node;
  const uint16_t port = Start(options).port();
  EXPECT_TRUE(Works(port, client));
  EXPECT_FALSE(Works(port, stranger));
  EXPECT_FALSE(Works(port, doubter));
  EXPECT_FALSE(Works(port)) << "without TLS";
  EXPECT_TRUE(Works(port, client)) << "after all of those";
}

TEST_F(RpcServerTest, BadCertificateFilesAreNamedAtTheStart) {
  const CertificateAuthority ours(dir_, "ours");
  const TlsFiles good = ours.Sign("node"), other = ours.Sign("other");
  ASSERT_TRUE(LoadTls(good).ok());
  const auto refused = [](const TlsFiles& files) {
    const Status status = LoadTls(files).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refused({good.certificate, good.key, dir_.File("missing")}), HasSubstr("missing"));
  EXPECT_THAT(refused({good.certificate, other.key, good.ca}), HasSubstr("not the private key"));
  EXPECT_THAT(refused({good.key, good.key, good.ca}), HasSubstr("holds no PEM certificate"));
  EXPECT_THAT(refused({good.certificate, good.certificate, good.ca}), HasSubstr("no PEM private key"));
  EXPECT_THAT(refused({good.certificate, good.key, good.key}), HasSubstr("holds no PEM certificate"));
  RpcServer::Options options;
  options.tls = {good.certificate, other.key, good.ca};
  EXPECT_EQ(RpcServer::Start(options, {&echo_}).code(), Code::kInvalidArgument);
}

TEST_F(RpcServerTest, GarbageClosesOnlyItsOwnConnection) {
  RpcServer::Options options;
  options.handshake_timeout_ms = 1'000;
  const uint16_t port = Start(options).port();
  Call before(port);
  ASSERT_TRUE(before.Ask(10));
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100'000, '\xff'),
        std::string("PRI * HTTP/2.0\r\n\r\nSM"),
        std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string(64, '\x7f')}) {
    const UniqueFd fd = Connect(port);
    [[maybe_unused]] const ssize_t sent = send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    EXPECT_TRUE(ClosedWithin(fd, 5s)) << bytes.substr(0, 20);
  }
  EXPECT_TRUE(before.Ask(10));
  EXPECT_TRUE(Works(port));
}

TEST_F(RpcServerTest, AConnectionThatSaysNothingIsClosed) {
  RpcServer::Options options;
  options.handshake_timeout_ms = 300;
  const UniqueFd fd = Connect(Start(options).port());
  EXPECT_TRUE(ClosedWithin(fd, 5s));
}

TEST_F(RpcServerTest, ConnectionsBeyondTheLimitAreClosedAndPlacesComeBack) {
  RpcServer::Options options;
  options.connections_max = 4;
  options.connections_per_address_max = 100;
  const uint16_t port = Start(options).port();
  std::vector<UniqueFd> held;
  for (int i = 0; i < 4; ++i) held.push_back(Connect(port));
  for (int i = 0; i < 200; ++i) {
    EXPECT_TRUE(ClosedWithin(Connect(port), 5s));
  }
  EXPECT_FALSE(ClosedWithin(held[0], 50ms));
  EXPECT_EQ(server_->counters().open, 4U);
  EXPECT_EQ(server_->counters().refused, 200U);
  held.clear();
  bool works = false;
  for (int i = 0; i < 100 && !works; ++i) {
    works = Works(port);
    if (!works) std::this_thread::sleep_for(20ms);
  }
  EXPECT_TRUE(works);
}

TEST_F(RpcServerTest, OneAddressDoesNotTakeAllPlaces) {
  RpcServer::Options options;
  options.connections_max = 4;
  options.connections_per_address_max = 2;
  const uint16_t port = Start(options).port();
  const UniqueFd first = Connect(port), second = Connect(port);
  EXPECT_TRUE(ClosedWithin(Connect(port), 5s));
  UniqueFd other(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in from{}, to{};
  from.sin_family = to.sin_family = AF_INET;
  inet_pton(AF_INET, "127.0.0.9", &from.sin_addr);
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  to.sin_port = htons(port);
  ASSERT_EQ(bind(other.get(), reinterpret_cast<sockaddr*>(&from), sizeof(from)), 0);
  ASSERT_EQ(connect(other.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  EXPECT_FALSE(ClosedWithin(other, 100ms));
}

TEST_F(RpcServerTest, GoesOnAfterDescriptorsRanOut) {
  const uint16_t port = Start().port();
  ASSERT_TRUE(Works(port));
  // Connections that wait in the kernel's queue while not one descriptor is left in the process. A connection
  // of before may still give some back, so there are several attempts.
  std::vector<UniqueFd> waiting, hoard;
  for (int i = 0; i < 10; ++i) waiting.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit saved{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &saved), 0);
  rlimit small = saved;
  small.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &small), 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool turned_away = false;
  for (size_t i = 0; i < waiting.size() && !turned_away; ++i) {
    for (int fd = dup(0); fd >= 0; fd = dup(0)) hoard.emplace_back(fd);
    ASSERT_EQ(errno, EMFILE);
    ASSERT_EQ(connect(waiting[i].get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    turned_away = ClosedWithin(waiting[i], 500ms);
  }
  EXPECT_TRUE(turned_away) << "taken with the spare descriptor and closed";
  EXPECT_GE(server_->counters().out_of_descriptors, 1U);
  hoard.clear();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &saved), 0);
  EXPECT_TRUE(Works(port));
}

TEST_F(RpcServerTest, MessagesAndMetadataHaveLimits) {
  RpcServer::Options options;
  options.receive_bytes_max = 100'000;
  const uint16_t port = Start(options).port();
  EXPECT_TRUE(Call(port).Ask(10, 90'000));
  Call large(port);
  EXPECT_FALSE(large.Ask(10, 110'000));
  EXPECT_EQ(large.Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  Call metadata(port);
  metadata.context().AddMetadata("x", std::string(20'000, 'm'));
  EXPECT_FALSE(metadata.Ask(10));
  // What the server sends has none but the client's.
  EXPECT_TRUE(Call(port, {}, 24u << 20).Ask(20u << 20));
  EXPECT_FALSE(Call(port, {}, 1u << 20).Ask(2u << 20));
}

TEST_F(RpcServerTest, StopCancelsWhatRunsAfterItsGrace) {
  const uint16_t port = Start().port();
  Call call(port);
  ASSERT_TRUE(call.Ask(1));
  const auto begun = std::chrono::steady_clock::now();
  server_->Stop(100);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 5s);
  EXPECT_FALSE(call.Ask(1));
}

}  // namespace
}  // namespace cairn::tap
