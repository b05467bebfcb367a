#include "cli/channel.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cli/format.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kDefaultPort = "11211";
constexpr std::string_view kUnixPrefix = "unix:";
constexpr size_t kReadBytes = size_t{256} << 10;
// Input that was consumed is moved out of the way only when it is this much, so that small answers do not
// each move what follows.
constexpr size_t kCompactBytes = size_t{256} << 10;

std::string ErrnoText(int error) { return std::strerror(error); }

int PollMs(int64_t ms) { return static_cast<int>(std::clamp<int64_t>(ms, 0, 1'000'000)); }

struct AddrInfoDeleter {
  void operator()(addrinfo* info) const { freeaddrinfo(info); }
};

// A connected descriptor, or -1 and *error.
int ConnectOne(int family, const sockaddr* address, socklen_t size, int64_t timeout_ms, std::string* error) {
  const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    *error = ErrnoText(errno);
    return -1;
  }
  int failure = connect(fd, address, size) == 0 ? 0 : errno;
  // EAGAIN is a Unix socket whose backlog is full: as good as refused.
  if (failure == EINPROGRESS) {
    pollfd waiting{fd, POLLOUT, 0};
    const int ready = poll(&waiting, 1, PollMs(timeout_ms));
    socklen_t length = sizeof(failure);
    if (ready == 0) {
      failure = ETIMEDOUT;
    } else if (ready < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0) {
      failure = errno;
    }
  }
  if (failure == 0) return fd;
  *error = ErrnoText(failure);
  close(fd);
  return -1;
}

int ConnectUnix(const std::string& path, int64_t timeout_ms, std::string* error) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    *error = "the path is too long for a socket";
    return -1;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return ConnectOne(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof(address), timeout_ms, error);
}

int ConnectTcp(const Address& address, int64_t timeout_ms, std::string* error) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failure = getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  if (failure != 0) {
    *error = gai_strerror(failure);
    return -1;
  }
  const std::unique_ptr<addrinfo, AddrInfoDeleter> owner(found);
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    const int fd = ConnectOne(info->ai_family, info->ai_addr, info->ai_addrlen, timeout_ms, error);
    if (fd < 0) continue;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
  }
  return -1;
}

Status BadAddress(std::string_view text, std::string_view why) {
  return Status(Code::kInvalidArgument, fmt::format("\"{}\" is no HOST:PORT or unix:PATH: {}", text, why));
}

}  // namespace

std::string Address::ToString() const {
  if (!unix_path.empty()) return std::string(kUnixPrefix) + unix_path;
  return host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port;
}

Result<Address> ParseAddress(std::string_view text) {
  if (!text.starts_with(kUnixPrefix)) return ParseTcpAddress(text, kDefaultPort);
  Address address;
  address.unix_path = text.substr(kUnixPrefix.size());
  if (address.unix_path.empty()) return BadAddress(text, "no path");
  return address;
}

Result<Address> ParseTcpAddress(std::string_view text, std::string_view default_port) {
  Address address;
  std::string_view port = default_port;
  std::string_view rest;
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return BadAddress(text, "']' is missing");
    address.host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
    if (!rest.empty() && rest[0] != ':') return BadAddress(text, "':' expected behind ']'");
  } else {
    const size_t colon = std::min(text.find(':'), text.size());
    if (text.find(':', std::min(colon + 1, text.size())) != std::string_view::npos) {
      return BadAddress(text, "write an IPv6 address as [ADDRESS]:PORT");
    }
    address.host = text.substr(0, colon);
    rest = text.substr(colon);
  }
  if (!rest.empty()) port = rest.substr(1);
  if (address.host.empty()) return BadAddress(text, "no host");
  const auto number = ParseU32(port);
  if (!number || *number == 0 || *number > 65535) return BadAddress(text, "the port must be 1 to 65535");
  address.port = port;
  return address;
}

Result<std::unique_ptr<Channel>> Channel::Connect(const Address& address, Clock* clock, int64_t timeout_ms) {
  std::string error = "no address";
  const int fd = address.unix_path.empty() ? ConnectTcp(address, timeout_ms, &error)
                                           : ConnectUnix(address.unix_path, timeout_ms, &error);
  if (fd < 0) {
    return Status(Code::kIoError, fmt::format("cannot connect to {}: {}", address.ToString(), error));
  }
  return std::unique_ptr<Channel>(new Channel(fd, clock, timeout_ms));
}

Channel::~Channel() { close(fd_); }

Status Channel::SendSome(bool* moved) {
  const ssize_t n = send(fd_, out_.data() + out_begin_, out_.size() - out_begin_, MSG_NOSIGNAL);
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return Status::Ok();
    return Status(Code::kIoError, "connection lost: " + ErrnoText(errno));
  }
  *moved = true;
  out_begin_ += static_cast<size_t>(n);
  if (out_begin_ == out_.size()) {
    out_.clear();
    out_begin_ = 0;
  }
  return Status::Ok();
}

Status Channel::ReceiveSome(bool* moved) {
  if (in_begin_ == in_.size() || in_begin_ >= kCompactBytes) {
    in_.erase(0, in_begin_);
    in_begin_ = 0;
  }
  const size_t had = in_.size();
  in_.resize(had + kReadBytes);
  const ssize_t n = recv(fd_, in_.data() + had, kReadBytes, 0);
  const int error = errno;
  in_.resize(had + static_cast<size_t>(std::max<ssize_t>(n, 0)));
  if (n == 0) return Status(Code::kIoError, "the server closed the connection");
  if (n < 0 && error != EAGAIN && error != EINTR) {
    return Status(Code::kIoError, "connection lost: " + ErrnoText(error));
  }
  *moved = n > 0;
  return Status::Ok();
}

// Waits for the socket and moves bytes once in each direction that is ready. `moved_ns`: when bytes moved
// last.
Status Channel::Step(int64_t* moved_ns) {
  const int64_t left_ms = timeout_ms_ - (clock_->SteadyNs() - *moved_ns) / 1'000'000;
  if (left_ms <= 0) {
    return Status(Code::kTimeout,
                  fmt::format("no answer for {}", FormatDuration(static_cast<double>(timeout_ms_) / 1e3)));
  }
  pollfd waiting{fd_, POLLIN, 0};
  if (out_begin_ < out_.size()) waiting.events |= POLLOUT;
  const int ready = poll(&waiting, 1, PollMs(left_ms));
  if (ready < 0 && errno != EINTR) return Status(Code::kIoError, ErrnoText(errno));
  if (ready <= 0) return Status::Ok();
  bool sent = false;
  bool received = false;
  // Input first: a server that refuses says why before it closes.
  if ((waiting.revents & (POLLIN | POLLERR | POLLHUP)) != 0) CAIRN_RETURN_IF_ERROR(ReceiveSome(&received));
  if ((waiting.revents & POLLOUT) != 0) CAIRN_RETURN_IF_ERROR(SendSome(&sent));
  if (sent || received) *moved_ns = clock_->SteadyNs();
  return Status::Ok();
}

Status Channel::Flush() {
  int64_t moved_ns = clock_->SteadyNs();
  while (out_begin_ < out_.size()) CAIRN_RETURN_IF_ERROR(Step(&moved_ns));
  return Status::Ok();
}

Result<std::string_view> Channel::Await(size_t bytes) {
  int64_t moved_ns = clock_->SteadyNs();
  while (out_begin_ < out_.size() || in_.size() - in_begin_ < bytes) {
    CAIRN_RETURN_IF_ERROR(Step(&moved_ns));
  }
  return std::string_view(in_).substr(in_begin_);
}

Result<std::string_view> Channel::AwaitLine(size_t bytes_max) {
  size_t searched = 0;
  while (true) {
    CAIRN_ASSIGN_OR_RETURN(const std::string_view have, Await(searched + 1));
    const size_t newline = have.find('\n', searched);
    if (newline == std::string_view::npos && have.size() > bytes_max) {
      return Status(Code::kIoError, "the server sent a line without an end");
    }
    searched = have.size();
    if (newline == std::string_view::npos) continue;
    Consume(newline + 1);
    return have.substr(0, newline > 0 && have[newline - 1] == '\r' ? newline - 1 : newline);
  }
}

}  // namespace cairn::cli
