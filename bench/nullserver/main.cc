// The floor under every figure: one epoll loop that parses nothing and answers a fixed reply to each
// request. What it uses is the kernel's share (receive, send, wake-ups) and can be taken off by nobody.
//
// It recognises requests in one of two ways and looks at nothing else of them:
//   --request-lines L   every L-th '\n' ends a request (text get: 1, text set: 2; the load generator's
//                       values hold no line ends)
//   --request-bytes B   every B bytes are a request (RESP, whose requests all have one size here)
// A request that arrives in parts is counted when its last byte is there. As it always names the same key,
// the load generator is to be run with --keys 1.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

struct Config {
  uint16_t port = 0;
  std::string reply = "value";
  std::string key = "key-0000000000000000000000000000";
  size_t value_size = 100;
  size_t values = 1;  // per reply: the M of a multiget
  size_t request_lines = 1;
  size_t request_bytes = 0;  // 0: count lines
  unsigned max_seconds = 600;
};

constexpr char kUsage[] =
    "usage: cairn-nullserver --port N [--reply value|stored|resp-value|resp-ok] [--values M]\n"
    "       [--key KEY] [--value-size B] [--request-lines L | --request-bytes B] [--max-seconds S]\n"
    "Listens on 127.0.0.1; prints 'nullserver ready' when it does; ends by itself after --max-seconds.\n";

template <class T>
bool ReadNumber(std::string_view text, T low, T high, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= low && *out <= high;
}

bool ReadFlag(std::string_view name, std::string_view value, Config* config) {
  constexpr size_t kSizeMax = 1 << 20;
  if (name == "--port") return ReadNumber<uint16_t>(value, 1, 65535, &config->port);
  if (name == "--values") return ReadNumber<size_t>(value, 1, 1000, &config->values);
  if (name == "--value-size") return ReadNumber<size_t>(value, 1, kSizeMax, &config->value_size);
  if (name == "--request-lines") return ReadNumber<size_t>(value, 1, 1000, &config->request_lines);
  if (name == "--request-bytes") return ReadNumber<size_t>(value, 1, kSizeMax, &config->request_bytes);
  if (name == "--max-seconds") return ReadNumber<unsigned>(value, 1, 86400, &config->max_seconds);
  if (name == "--key") config->key = value;
  if (name == "--reply") config->reply = value;
  return name == "--key" || name == "--reply";
}

/// The reply to one request; empty for an unknown kind.
std::string MakeReply(const Config& config) {
  const std::string value(config.value_size, 'x');
  const std::string size = std::to_string(config.value_size);
  std::string reply;
  if (config.reply == "stored") return "STORED\r\n";
  if (config.reply == "resp-ok") return "+OK\r\n";
  if (config.reply == "value") {
    for (size_t i = 0; i < config.values; ++i) {
      reply += "VALUE " + config.key + " 0 " + size + "\r\n" + value + "\r\n";
    }
    return reply + "END\r\n";
  }
  if (config.reply != "resp-value") return {};
  if (config.values > 1) reply = "*" + std::to_string(config.values) + "\r\n";
  for (size_t i = 0; i < config.values; ++i) reply += "$" + size + "\r\n" + value + "\r\n";
  return reply;
}

/// Counts requests in a stream of bytes.
class Counter {
 public:
  explicit Counter(const Config& config)
      : count_lines_(config.request_bytes == 0),
        units_per_request_(count_lines_ ? config.request_lines : config.request_bytes) {}

  size_t Count(const char* bytes, size_t size) {
    pending_ += count_lines_ ? static_cast<size_t>(std::count(bytes, bytes + size, '\n')) : size;
    const size_t requests = pending_ / units_per_request_;
    pending_ %= units_per_request_;
    return requests;
  }

 private:
  bool count_lines_;
  size_t units_per_request_;
  size_t pending_ = 0;
};

struct Peer {
  Counter counter;
  size_t owed_bytes = 0;  // of replies, not sent yet
  bool full = false;      // the socket takes no more for now
};

class NullServer {
 public:
  explicit NullServer(const Config& config) : config_(config), reply_(MakeReply(config)) {
    // Long enough that one send answers any pipeline that is measured; every offset that is a multiple of
    // the reply's size is a place to start.
    constexpr size_t kRunBytes = 256 * 1024;
    while (run_.size() < kRunBytes) run_ += reply_;
  }

  bool Listen();
  void Serve();

 private:
  void Accept();
  bool OnReadable(int fd, Peer& peer);
  bool Answer(int fd, Peer& peer);
  void Watch(int fd, uint32_t events, int operation);

  const Config& config_;
  std::string reply_;
  std::string run_;
  int listener_ = -1;
  int epoll_ = -1;
  std::unordered_map<int, Peer> peers_;
  char buffer_[64 * 1024];
};

bool NullServer::Listen() {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(config_.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (listener_ < 0 || epoll_ < 0) return false;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return false;
  if (listen(listener_, 1024) != 0) return false;
  Watch(listener_, EPOLLIN, EPOLL_CTL_ADD);
  return true;
}

void NullServer::Watch(int fd, uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll_, operation, fd, &event);
}

void NullServer::Serve() {
  constexpr int kEventsMax = 256;
  epoll_event events[kEventsMax];
  for (;;) {
    const int n = epoll_wait(epoll_, events, kEventsMax, -1);
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener_) {
        Accept();
        continue;
      }
      Peer& peer = peers_.at(fd);
      const bool alive = (events[i].events & EPOLLOUT) != 0 ? Answer(fd, peer) : OnReadable(fd, peer);
      if (alive) continue;
      peers_.erase(fd);
      close(fd);
    }
  }
}

void NullServer::Accept() {
  for (;;) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    peers_.insert_or_assign(fd, Peer{Counter(config_)});
    Watch(fd, EPOLLIN, EPOLL_CTL_ADD);
  }
}

bool NullServer::OnReadable(int fd, Peer& peer) {
  const ssize_t n = recv(fd, buffer_, sizeof(buffer_), 0);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return false;
  peer.owed_bytes += peer.counter.Count(buffer_, static_cast<size_t>(n)) * reply_.size();
  return Answer(fd, peer);
}

// While a peer does not take its answers, nothing more is read from it: it is watched for EPOLLOUT only.
bool NullServer::Answer(int fd, Peer& peer) {
  while (peer.owed_bytes > 0) {
    // What is owed ends with a whole reply, so its length says where in a reply it begins.
    const size_t into_reply = (reply_.size() - peer.owed_bytes % reply_.size()) % reply_.size();
    const size_t size = std::min(peer.owed_bytes, run_.size() - into_reply);
    const ssize_t n = send(fd, run_.data() + into_reply, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (!peer.full) Watch(fd, EPOLLOUT, EPOLL_CTL_MOD);
      peer.full = true;
      return true;
    }
    if (n < 0) return false;
    peer.owed_bytes -= static_cast<size_t>(n);
  }
  if (peer.full) Watch(fd, EPOLLIN, EPOLL_CTL_MOD);
  peer.full = false;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Config config;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc || !ReadFlag(argv[i], argv[i + 1], &config)) {
      std::fputs(kUsage, stderr);
      return 2;
    }
  }
  if (config.port == 0 || MakeReply(config).empty()) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const auto server = std::make_unique<NullServer>(config);
  if (!server->Listen()) {
    std::fprintf(stderr, "cairn-nullserver: cannot listen on port %u: %s\n", config.port,
                 std::strerror(errno));
    return 1;
  }
  // The default action of SIGALRM ends the process: a floor that was forgotten does not run for ever.
  alarm(config.max_seconds);
  std::printf("nullserver ready port %u\n", config.port);
  std::fflush(stdout);
  server->Serve();
}
