#include "tap/acceptor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/thread_role.h"
#include "tap/rpc_limits.h"

namespace cairn::tap {
namespace {

constexpr int kBacklog = 128;
constexpr int kAcceptsPerTurn = 64;
constexpr int kPauseMs = 50;
constexpr int kFreePortAttempts = 16;

UniqueFd OpenSpare() { return UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

struct Address {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);

  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  sockaddr_in& v4() { return reinterpret_cast<sockaddr_in&>(storage); }
  sockaddr_in6& v6() { return reinterpret_cast<sockaddr_in6&>(storage); }
};

Result<Address> MakeAddress(const std::string& text, uint16_t port) {
  Address address;
  if (inet_pton(AF_INET, text.c_str(), &address.v4().sin_addr) == 1) {
    address.v4().sin_family = AF_INET;
    address.v4().sin_port = htons(port);
    address.size = sizeof(sockaddr_in);
    return address;
  }
  if (inet_pton(AF_INET6, text.c_str(), &address.v6().sin6_addr) == 1) {
    address.v6().sin6_family = AF_INET6;
    address.v6().sin6_port = htons(port);
    address.size = sizeof(sockaddr_in6);
    return address;
  }
  return Status(Code::kInvalidArgument, "'" + text + "' is not a numeric address");
}

// The address alone, IPv4 as ::ffff:a.b.c.d, so that one limit holds for a machine.
in6_addr PeerOf(Address& address) {
  if (address.storage.ss_family == AF_INET6) return address.v6().sin6_addr;
  in6_addr mapped{};
  mapped.s6_addr[10] = mapped.s6_addr[11] = 0xff;
  std::memcpy(&mapped.s6_addr[12], &address.v4().sin_addr, sizeof(in_addr));
  return mapped;
}

std::string NameOf(const std::string& text, uint16_t port) {
  const bool v6 = text.find(':') != std::string::npos;
  return (v6 ? "[" + text + "]:" : text + ":") + std::to_string(port);
}

Status BindError(int error, const std::string& name) {
  if (error == EADDRINUSE) return Status(Code::kExists, name + " is in use by another process");
  if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) {
    return Status(Code::kNotSupported, name + ": this machine does not have that address");
  }
  return ErrnoStatus(error, "cannot listen on " + name);
}

Result<UniqueFd> ListenOn(const std::string& text, uint16_t& port) {
  CAIRN_ASSIGN_OR_RETURN(Address address, MakeAddress(text, port));
  const std::string name = NameOf(text, port);
  const int family = address.storage.ss_family;
  UniqueFd fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return BindError(errno, name);
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (bind(fd.get(), address.raw(), address.size) != 0 || listen(fd.get(), kBacklog) != 0 ||
      getsockname(fd.get(), address.raw(), &address.size) != 0) {
    return BindError(errno, name);
  }
  port = ntohs(family == AF_INET ? address.v4().sin_port : address.v6().sin6_port);
  return fd;
}

// Names a socket for as long as the machine runs; 0 when `fd` is not a socket.
uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

}  // namespace

Acceptor::Acceptor(const Options& options) : options_(options) {}

Result<std::unique_ptr<Acceptor>> Acceptor::Bind(const Options& options) {
  Status status;
  for (int attempt = 0; attempt < kFreePortAttempts; ++attempt) {
    std::unique_ptr<Acceptor> acceptor(new Acceptor(options));
    status = acceptor->BindAll();
    if (status.ok()) return acceptor;
    // A port that was free at the first address need not be at the next.
    if (options.port != 0 || status.code() != Code::kExists) break;
  }
  return status;
}

Status Acceptor::BindAll() {
  const bool by_default = options_.addresses.empty();
  const std::vector<std::string> addresses =
      by_default ? std::vector<std::string>{"127.0.0.1", "::1"} : options_.addresses;
  port_ = options_.port;
  for (const std::string& address : addresses) {
    Result<UniqueFd> fd = ListenOn(address, port_);
    // A machine without IPv6 is served on what it has.
    if (by_default && fd.code() == Code::kNotSupported && !listeners_.empty()) continue;
    if (!fd.ok()) return fd.status();
    listeners_.push_back(std::move(*fd));
    addresses_.push_back(NameOf(address, port_));
  }
  stop_fd_ = UniqueFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  spare_fd_ = OpenSpare();
  if (!stop_fd_.valid() || !spare_fd_.valid()) return ErrnoStatus(errno, "eventfd");
  return Status::Ok();
}

Acceptor::~Acceptor() { Stop(); }

void Acceptor::Start(OnAccept on_accept) {
  CAIRN_CHECK(!thread_.joinable());
  on_accept_ = std::move(on_accept);
  thread_ = std::thread([this] { Run(); });
}

void Acceptor::Stop() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(stop_fd_.get(), &one, sizeof(one));
    thread_.join();
  }
  listeners_.clear();
}

Acceptor::Counters Acceptor::counters() const {
  Counters counters;
  counters.accepted = accepted_.load(std::memory_order_relaxed);
  counters.refused = refused_.load(std::memory_order_relaxed);
  counters.out_of_descriptors = out_of_descriptors_.load(std::memory_order_relaxed);
  counters.errors = errors_.load(std::memory_order_relaxed);
  counters.open = open_.load(std::memory_order_relaxed);
  return counters;
}

void Acceptor::Run() {
  BeginThread("tap-accept");
  std::vector<pollfd> polled;
  for (const UniqueFd& fd : listeners_) polled.push_back({fd.get(), POLLIN, 0});
  polled.push_back({stop_fd_.get(), POLLIN, 0});
  while (true) {
    if (poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) {
      errors_.fetch_add(1, std::memory_order_relaxed);
      Pause();
    }
    if (polled.back().revents != 0) return;
    for (size_t i = 0; i + 1 < polled.size(); ++i) {
      if (polled[i].revents != 0) AcceptSome(polled[i].fd);
    }
  }
}

void Acceptor::AcceptSome(int listener) {
  for (int i = 0; i < kAcceptsPerTurn && AcceptOne(listener); ++i) {
  }
}

// True: another client may be waiting.
bool Acceptor::AcceptOne(int listener) {
  Address peer;
  const bool injected = CAIRN_FAULT("acceptor.out_of_descriptors");
  UniqueFd fd(injected ? -1 : accept4(listener, peer.raw(), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd.valid()) {
    Take(listener, std::move(fd), PeerOf(peer));
    return true;
  }
  const int error = injected ? EMFILE : errno;
  if (error == EAGAIN || error == EWOULDBLOCK) return false;
  if (error == EINTR || error == ECONNABORTED) return true;
  if (error == EMFILE || error == ENFILE) return TurnAwayWithSpare(listener);
  errors_.fetch_add(1, std::memory_order_relaxed);
  CAIRN_LOG(kWarn, "accept: {}", std::strerror(error));
  Pause();
  return false;
}

// A client that is left in the kernel's queue would wait for ever and keep this thread spinning.
bool Acceptor::TurnAwayWithSpare(int listener) {
  if (out_of_descriptors_.fetch_add(1, std::memory_order_relaxed) == 0) {
    CAIRN_LOG(kWarn, "no descriptor is left for a connection on {}: clients are turned away", addresses_[0]);
  }
  spare_fd_.Reset();
  UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const bool turned_away = fd.valid();
  if (turned_away) refused_.fetch_add(1, std::memory_order_relaxed);
  fd.Reset();
  spare_fd_ = OpenSpare();
  // Somebody else in the process took the descriptor: wait until one is free again.
  if (!turned_away || !spare_fd_.valid()) Pause();
  return turned_away && spare_fd_.valid();
}

void Acceptor::Take(int listener, UniqueFd fd, const in6_addr& peer) {
  ForgetClosed();
  const auto of_peer = std::count_if(connections_.begin(), connections_.end(), [&](const Connection& open) {
    return std::memcmp(&open.peer, &peer, sizeof(peer)) == 0;
  });
  if (connections_.size() >= options_.connections_max || of_peer >= options_.connections_per_address_max) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  // A peer that takes nothing keeps gRPC from ending its calls.
  const int silence_ms = kKeepaliveTimeMs + kKeepaliveTimeoutMs;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
  connections_.push_back({fd.get(), CookieOf(fd.get()), peer});
  accepted_.fetch_add(1, std::memory_order_relaxed);
  open_.store(static_cast<uint32_t>(connections_.size()), std::memory_order_relaxed);
  on_accept_(listener, std::move(fd));
}

void Acceptor::ForgetClosed() {
  std::erase_if(connections_, [](const Connection& open) { return CookieOf(open.fd) != open.cookie; });
  open_.store(static_cast<uint32_t>(connections_.size()), std::memory_order_relaxed);
}

// Not longer than it takes to be told to stop.
void Acceptor::Pause() {
  pollfd stop{stop_fd_.get(), POLLIN, 0};
  poll(&stop, 1, kPauseMs);
  if (!spare_fd_.valid()) spare_fd_ = OpenSpare();
}

}  // namespace cairn::tap
