#pragma once
// A TCP proxy on loopback that can cut all its connections at once.

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/file.h"

namespace cairn::tap {

class CuttingProxy {
 public:
  explicit CuttingProxy(uint16_t target_port) : target_port_(target_port) {
    listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    CAIRN_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    CAIRN_CHECK(listen(listener_.get(), 16) == 0);
    CAIRN_CHECK(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~CuttingProxy() {
    stop_ = true;
    thread_.join();
  }
  CuttingProxy(const CuttingProxy&) = delete;
  CuttingProxy& operator=(const CuttingProxy&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void Cut() { cut_ = true; }
  /// Connections are taken and then nothing goes through, until it is told otherwise.
  void Stall(bool stalled) { stalled_ = stalled; }

 private:
  struct Pair {
    UniqueFd client, server;
  };

  static sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void Run() {
    while (!stop_) {
      if (cut_.exchange(false)) pairs_.clear();
      std::vector<pollfd> polled{{listener_.get(), POLLIN, 0}};
      for (const Pair& pair : pairs_) {
        const short events = stalled_ ? 0 : POLLIN;
        polled.push_back({pair.client.get(), events, 0});
        polled.push_back({pair.server.get(), events, 0});
      }
      poll(polled.data(), polled.size(), 5);
      if (polled[0].revents != 0) Accept();
      for (size_t i = (polled.size() - 1) / 2; i-- > 0;) {
        const bool alive =
            Move(polled[1 + 2 * i], pairs_[i].server) && Move(polled[2 + 2 * i], pairs_[i].client);
        if (!alive) pairs_.erase(pairs_.begin() + static_cast<ptrdiff_t>(i));
      }
    }
  }

  void Accept() {
    Pair pair{UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)),
              UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))};
    sockaddr_in address = Loopback(target_port_);
    if (connect(pair.server.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return;
    pairs_.push_back(std::move(pair));
  }

  static bool Move(const pollfd& from, const UniqueFd& to) {
    if ((from.revents & POLLIN) == 0) return (from.revents & (POLLHUP | POLLERR)) == 0;
    char buffer[65536];
    const ssize_t size = read(from.fd, buffer, sizeof(buffer));
    for (ssize_t at = 0; at < size;) {
      const ssize_t sent = send(to.get(), buffer + at, static_cast<size_t>(size - at), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      at += sent;
    }
    return size > 0;
  }

  const uint16_t target_port_;
  uint16_t port_ = 0;
  UniqueFd listener_;
  std::vector<Pair> pairs_;
  std::atomic<bool> stop_{false}, cut_{false}, stalled_{false};
  std::thread thread_;
};

}  // namespace cairn::tap
