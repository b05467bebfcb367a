#pragma once
// A real server in this process, on loopback sockets, and a client of it.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "engine/engine.h"
#include "engine/storage/kv_store.h"
#include "server/server.h"

namespace cairn::server {

class Client {
 public:
  explicit Client(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    SetTimeout();
  }
  explicit Client(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    connected_ = connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    SetTimeout();
  }

  bool connected() const { return connected_; }
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  /// Exactly so many bytes; fewer at the end of the stream or after ten seconds.
  std::string Read(size_t bytes) {
    std::string read(bytes, '\0');
    size_t done = 0;
    while (done < bytes) {
      const ssize_t got = recv(fd_.get(), read.data() + done, bytes - done, 0);
      if (got <= 0) break;
      done += static_cast<size_t>(got);
    }
    read.resize(done);
    return read;
  }
  /// Up to and with the text.
  std::string ReadUntil(std::string_view end) {
    std::string read;
    while (!read.ends_with(end)) {
      const std::string byte = Read(1);
      if (byte.empty()) break;
      read += byte;
    }
    return read;
  }
  std::string Ask(std::string_view request, std::string_view end = "\r\n") {
    EXPECT_TRUE(Send(request));
    return ReadUntil(end);
  }
  void CloseSending() { shutdown(fd_.get(), SHUT_WR); }
  bool AtEnd() { return Read(1).empty(); }
  /// Nothing arrives for so long.
  bool SilentFor(int ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    char byte = 0;
    return recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
  }

 private:
  void SetTimeout() {
    const timeval timeout{10, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  }
  UniqueFd fd_;
  bool connected_ = false;
};

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_options_.listen = {"127.0.0.1"};
    server_options_.port = 0;
    server_options_.ephemeral_port = true;
    server_options_.threads = 2;
    engine_options_.vbuckets = 16;
    engine_options_.memory_quota = 256u << 20;
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Stop();
    if (engine_ != nullptr) {
      EXPECT_TRUE(engine_->Shutdown(true).ok());
    }
  }
  void Start(std::unique_ptr<storage::KvStore> store = nullptr) {
    engine::EngineDeps deps;
    deps.clock = &clock_;
    deps.store = std::move(store);
    if (deps.store != nullptr) engine_options_.data_dir = "in memory";
    auto opened = engine::Engine::Open(engine_options_, std::move(deps));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    engine_ = std::move(opened).value();
    auto started = Server::Start(server_options_, *engine_, clock_);
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    server_ = std::move(started).value();
  }
  bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 500; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  SystemClock clock_;
  ServerOptions server_options_;
  engine::EngineOptions engine_options_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Server> server_;
};

}  // namespace cairn::server
