#include "bench/loadgen/connection.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace cairn::loadgen {
namespace {

Status SystemError(const char* what) {
  return Status(Code::kIoError, std::string(what) + ": " + std::strerror(errno));
}

int ConnectTcp(int fd, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

int ConnectUnix(int fd, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

}  // namespace

Result<Connection> Connection::Open(uint16_t port, const std::string& unix_path) {
  const int family = unix_path.empty() ? AF_INET : AF_UNIX;
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return SystemError("socket");
  Connection connection(fd);
  const int connected = unix_path.empty() ? ConnectTcp(fd, port) : ConnectUnix(fd, unix_path);
  if (connected != 0) return SystemError("connect");
  // Connecting blocks, which is simple and happens before the measurement; the rest must not.
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return SystemError("fcntl");
  return connection;
}

Connection::Connection(Connection&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      out_(std::move(other.out_)),
      out_begin_(other.out_begin_),
      in_(std::move(other.in_)),
      in_begin_(other.in_begin_),
      in_end_(other.in_end_) {}

Connection::~Connection() { Close(); }

void Connection::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<bool> Connection::Flush() {
  while (out_begin_ < out_.size()) {
    const ssize_t n = send(fd_, out_.data() + out_begin_, out_.size() - out_begin_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return false;
    if (n < 0) return SystemError("send");
    out_begin_ += static_cast<size_t>(n);
  }
  out_.clear();
  out_begin_ = 0;
  return true;
}

Result<bool> Connection::Receive() {
  if (in_begin_ > 0) {
    std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  // A value larger than the buffer: the parser bounds its size (kReplyBodyMax), so this ends.
  if (in_end_ == in_.size()) in_.resize(in_.size() * 2);
  ssize_t n = 0;
  do {
    n = recv(fd_, in_.data() + in_end_, in_.size() - in_end_, 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) return false;
  if (n < 0) return SystemError("recv");
  if (n == 0) return Status(Code::kIoError, "the server closed the connection");
  in_end_ += static_cast<size_t>(n);
  return true;
}

}  // namespace cairn::loadgen
