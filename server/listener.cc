#include "server/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace cairn::server {
namespace {

constexpr std::string_view kTooMany = "ERROR Too many open connections\r\n";

UniqueFd OpenSpare() { return UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

struct TcpAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Result<TcpAddress> MakeTcpAddress(const std::string& address, uint16_t port) {
  TcpAddress result;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    result.size = sizeof(*v4);
    return result;
  }
  if (inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    result.size = sizeof(*v6);
    return result;
  }
  return Status(Code::kInvalidArgument, "'" + address + "' is not a numeric address");
}

uint16_t BoundPort(int fd) {
  TcpAddress address;
  address.size = sizeof(address.storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) return 0;
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  return ntohs(address.storage.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
}

Status BindError(int error, const std::string& name) {
  if (error == EADDRINUSE) return Status(Code::kExists, name + " is in use by another process");
  if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) {
    return Status(Code::kNotSupported, name + ": this machine does not have that address");
  }
  return ErrnoStatus(error, "cannot listen on " + name);
}

Result<sockaddr_un> MakeUnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Status(Code::kInvalidArgument, "the path of a Unix socket has at most 107 bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Removes what an earlier process left behind, and nothing else.
Status RemoveStaleSocket(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Status::Ok() : ErrnoStatus(errno, path);
  }
  if (!S_ISSOCK(info.st_mode)) return Status(Code::kExists, path + " exists and is not a socket");
  const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe.valid()) return ErrnoStatus(errno, "socket");
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
      errno != ECONNREFUSED) {
    return Status(Code::kExists, path + " is in use by another process");
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, "cannot remove " + path);
  return Status::Ok();
}

}  // namespace

Result<BoundSocket> BindTcp(const std::string& address, uint16_t port, uint32_t backlog) {
  CAIRN_ASSIGN_OR_RETURN(const TcpAddress target, MakeTcpAddress(address, port));
  const bool v6 = target.storage.ss_family == AF_INET6;
  BoundSocket bound;
  bound.name = (v6 ? "[" + address + "]:" : address + ":") + std::to_string(port);
  bound.fd = UniqueFd(socket(target.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!bound.fd.valid()) return BindError(errno, bound.name);
  const int on = 1;
  setsockopt(bound.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (v6) setsockopt(bound.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (bind(bound.fd.get(), reinterpret_cast<const sockaddr*>(&target.storage), target.size) != 0 ||
      listen(bound.fd.get(), static_cast<int>(backlog)) != 0) {
    return BindError(errno, bound.name);
  }
  bound.port = BoundPort(bound.fd.get());
  if (port == 0) bound.name = (v6 ? "[" + address + "]:" : address + ":") + std::to_string(bound.port);
  return bound;
}

Result<BoundSocket> BindUnix(const std::string& path, uint32_t mode, uint32_t backlog) {
  CAIRN_ASSIGN_OR_RETURN(const sockaddr_un address, MakeUnixAddress(path));
  CAIRN_RETURN_IF_ERROR(RemoveStaleSocket(path, address));
  BoundSocket bound;
  bound.name = path;
  bound.fd = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!bound.fd.valid()) return ErrnoStatus(errno, "socket");
  if (bind(bound.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return BindError(errno, path);
  }
  bound.unix_path = path;
  // Nobody can connect before listen, so there is no moment with the wrong mode.
  struct stat info {};
  if (chmod(path.c_str(), mode) != 0 || stat(path.c_str(), &info) != 0 ||
      listen(bound.fd.get(), static_cast<int>(backlog)) != 0) {
    const Status status = ErrnoStatus(errno, "cannot listen on " + path);
    unlink(path.c_str());
    return status;
  }
  bound.unix_inode = info.st_ino;
  return bound;
}

Listener::Listener(event_base* base, BoundSocket socket, ServerStats& stats, Options options,
                   OnAccept on_accept)
    : socket_(std::move(socket)),
      stats_(stats),
      options_(options),
      on_accept_(std::move(on_accept)),
      spare_fd_(OpenSpare()) {
  const auto on_readable = [](evutil_socket_t, short, void* self) {
    static_cast<Listener*>(self)->OnReadable();
  };
  const auto on_pause_over = [](evutil_socket_t, short, void* self) {
    static_cast<Listener*>(self)->OnPauseOver();
  };
  accept_event_.reset(event_new(base, socket_.fd.get(), EV_READ | EV_PERSIST, on_readable, this));
  pause_event_.reset(event_new(base, -1, 0, on_pause_over, this));
  CAIRN_CHECK(accept_event_ != nullptr && pause_event_ != nullptr);
  event_add(accept_event_.get(), nullptr);
}

Listener::~Listener() { Close(); }

void Listener::Close() {
  accept_event_.reset();
  pause_event_.reset();
  if (!socket_.fd.valid()) return;
  socket_.fd.Reset();
  struct stat info {};
  if (!socket_.unix_path.empty() && lstat(socket_.unix_path.c_str(), &info) == 0 &&
      info.st_ino == socket_.unix_inode) {
    unlink(socket_.unix_path.c_str());
  }
}

void Listener::OnReadable() {
  for (int i = 0; i < kAcceptsPerTurn && AcceptOne(); ++i) {
  }
}

bool Listener::AcceptOne() {
  UniqueFd fd(accept4(socket_.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd.valid()) {
    const int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) return false;
    if (error == EINTR || error == ECONNABORTED) return true;
    if (error == EMFILE || error == ENFILE) return TurnAwayWithSpare();
    stats_.Add(Counter::kAcceptErrors);
    CAIRN_LOG(kWarn, "accept on {}: {}", socket_.name, std::strerror(error));
    Pause();
    return false;
  }
  if (stats_.connections() >= options_.connections_max) {
    stats_.Add(Counter::kConnectionsRejected);
    [[maybe_unused]] const ssize_t sent = send(fd.get(), kTooMany.data(), kTooMany.size(), MSG_NOSIGNAL);
    return true;
  }
  stats_.ConnectionOpened();
  on_accept_(std::move(fd));
  return true;
}

// A client that is left in the kernel's queue would wait for ever and keep this loop spinning.
bool Listener::TurnAwayWithSpare() {
  stats_.Add(Counter::kAcceptOutOfDescriptors);
  spare_fd_.Reset();
  UniqueFd fd(accept4(socket_.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const bool turned_away = fd.valid();
  if (turned_away) {
    stats_.Add(Counter::kConnectionsRejected);
    [[maybe_unused]] const ssize_t sent = send(fd.get(), kTooMany.data(), kTooMany.size(), MSG_NOSIGNAL);
  }
  fd.Reset();
  spare_fd_ = OpenSpare();
  // Somebody else in the process took the descriptor: wait until one is free again.
  if (!turned_away || !spare_fd_.valid()) Pause();
  return turned_away && spare_fd_.valid();
}

void Listener::Pause() {
  const timeval pause{0, kPauseMs * 1000};
  event_del(accept_event_.get());
  event_add(pause_event_.get(), &pause);
}

void Listener::OnPauseOver() {
  if (!spare_fd_.valid()) spare_fd_ = OpenSpare();
  event_add(accept_event_.get(), nullptr);
}

}  // namespace cairn::server
