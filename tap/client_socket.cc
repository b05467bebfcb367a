#include "tap/client_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "tap/rpc_limits.h"

namespace cairn::tap {
namespace {

constexpr int kLookMs = 20;
// From here on a message is one of many that are sent as fast as they are taken, and the window matters.
constexpr size_t kSmallBytesMax = 4096;
constexpr size_t kSmallInARow = 16;
// Where fewer come between two messages of ours there is little to be saved.
constexpr size_t kSmallPerWriteMin = 4;
// A small part of the 64 KiB that HTTP/2's windows have at least, so that a source does not wait for what is
// held.
constexpr size_t kUnannouncedBytesMax = size_t{16} << 10;

using Clock = std::chrono::steady_clock;
using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

std::string HostOf(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return host;
}

// `localhost` is in a file on every machine; everything else could wait for a name server.
Result<Addresses> Resolve(const std::string& address) {
  const std::string host = HostOf(address);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (host == "localhost" ? 0 : AI_NUMERICHOST);
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), address.c_str() + address.rfind(':') + 1, &hints, &found);
  if (error != 0) return Status(Code::kNotSupported, host + ": " + gai_strerror(error));
  return Addresses(found, &freeaddrinfo);
}

// 0: connected; otherwise what went wrong.
int AwaitConnected(int fd, Clock::time_point until, const std::atomic<bool>& cancelled) {
  while (!cancelled.load(std::memory_order_acquire)) {
    pollfd polled{fd, POLLOUT, 0};
    const int ready = poll(&polled, 1, kLookMs);
    if (ready < 0 && errno != EINTR) return errno;
    if (ready > 0) {
      int error = 0;
      socklen_t size = sizeof(error);
      return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
    }
    if (Clock::now() >= until) return ETIMEDOUT;
  }
  return ECANCELED;
}

}  // namespace

Result<UniqueFd> ConnectTcp(const std::string& address, int timeout_ms, const std::atomic<bool>& cancelled) {
  const Clock::time_point until = Clock::now() + std::chrono::milliseconds(timeout_ms);
  CAIRN_ASSIGN_OR_RETURN(const Addresses addresses, Resolve(address));
  int error = ENOENT;
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    UniqueFd fd(socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
      error = errno;
      continue;
    }
    const int on = 1;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    // As gRPC does with the connections that it makes.
    const int silence_ms = kKeepaliveTimeMs + kKeepaliveTimeoutMs;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
    error = connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS || error == EINTR) error = AwaitConnected(fd.get(), until, cancelled);
    if (error == 0) return fd;
    if (error == ECANCELED) return Status(Code::kCancelled, "given up");
  }
  return Status(Code::kIoError, std::string("cannot connect: ") + std::strerror(error));
}

void HeldWrites::Attach(const UniqueFd& socket) {
  MutexLock lock(mutex_);
  socket_.Reset(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
}

void HeldWrites::Set(bool held) {
  const int value = held ? 1 : 0;
  setsockopt(socket_.get(), IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
  held_ = held;
  unannounced_bytes_ = 0;
}

void HeldWrites::Received(size_t bytes) {
  MutexLock lock(mutex_);
  if (!socket_.valid()) return;
  if (bytes > kSmallBytesMax) {
    small_in_a_row_ = 0;
    if (held_) Set(false);
    return;
  }
  ++small_since_written_;
  small_in_a_row_ = std::min(small_in_a_row_ + 1, kSmallInARow);
  if (!held_ && small_in_a_row_ == kSmallInARow) return Set(true);
  unannounced_bytes_ += bytes;
  if (held_ && unannounced_bytes_ > kUnannouncedBytesMax) {
    Set(false);
    Set(true);
  }
}

void HeldWrites::Writing(size_t bytes) {
  MutexLock lock(mutex_);
  if (held_ && bytes > kUnannouncedBytesMax) Set(false);
}

void HeldWrites::Written() {
  MutexLock lock(mutex_);
  if (!socket_.valid()) return;
  const bool go_on = std::exchange(small_since_written_, 0) >= kSmallPerWriteMin;
  if (!go_on) small_in_a_row_ = 0;
  if (held_) Set(false);
  if (go_on && small_in_a_row_ == kSmallInARow) Set(true);
}

void HeldWrites::Release() {
  MutexLock lock(mutex_);
  if (held_) Set(false);
  socket_.Reset();
}

}  // namespace cairn::tap
