#include "tests/cli/scripted_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace cairn::cli {
namespace {

using proto::BinaryHeader;
using proto::BinaryStatus;
using proto::Opcode;

constexpr int kPollMs = 20;

bool WaitReadable(int fd) {
  pollfd waiting{fd, POLLIN, 0};
  return poll(&waiting, 1, kPollMs) > 0;
}

std::string Encode(const BinaryHeader& request, BinaryStatus status, std::string_view extras,
                   std::string_view value) {
  BinaryHeader header;
  header.magic = proto::kMagicResponse;
  header.opcode = request.opcode;
  header.extras_size = static_cast<uint8_t>(extras.size());
  header.vbucket = static_cast<uint16_t>(status);
  header.body_size = static_cast<uint32_t>(extras.size() + value.size());
  header.opaque = request.opaque;
  std::array<char, proto::kBinaryHeaderSize> bytes{};
  proto::EncodeBinaryHeader(header, bytes.data());
  return std::string(bytes.data(), bytes.size()).append(extras).append(value);
}

}  // namespace

ScriptedServer::ScriptedServer(Script script) : script_(std::move(script)) {
  std::string directory = "/tmp/cairn_cli_XXXXXX";
  CAIRN_CHECK(mkdtemp(directory.data()) != nullptr);
  path_ = directory + "/socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CAIRN_CHECK(listener_ >= 0);
  CAIRN_CHECK(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  CAIRN_CHECK(listen(listener_, 8) == 0);
  thread_ = std::thread([this] { Run(); });
}

Address ScriptedServer::address() const {
  Address address;
  address.unix_path = path_;
  return address;
}

void ScriptedServer::Stop() {
  if (!thread_.joinable()) return;
  stop_ = true;
  thread_.join();
  close(listener_);
  unlink(path_.c_str());
  rmdir(path_.substr(0, path_.rfind('/')).c_str());
}

void ScriptedServer::Run() {
  while (!stop_) {
    if (!WaitReadable(listener_)) continue;
    const int fd = accept(listener_, nullptr, nullptr);
    if (fd < 0) continue;
    Serve(fd);
    close(fd);
  }
}

void ScriptedServer::Serve(int fd) {
  std::string in;
  std::array<char, 65536> bytes{};
  while (!stop_) {
    if (!WaitReadable(fd)) continue;
    const ssize_t n = read(fd, bytes.data(), bytes.size());
    if (n <= 0) return;
    in.append(bytes.data(), static_cast<size_t>(n));
    std::string out;
    while (in.size() >= proto::kBinaryHeaderSize) {
      const BinaryHeader header = proto::DecodeBinaryHeader(in.data());
      const size_t size = proto::kBinaryHeaderSize + header.body_size;
      if (in.size() < size) break;
      out += Answer(header, std::string_view(in).substr(proto::kBinaryHeaderSize, header.body_size));
      in.erase(0, size);
    }
    for (size_t sent = 0; sent < out.size();) {
      const ssize_t m = send(fd, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
      if (m <= 0) return;
      sent += static_cast<size_t>(m);
    }
  }
}

std::string ScriptedServer::Answer(const BinaryHeader& header, std::string_view body) {
  if (header.opcode == Opcode::kNoop) {
    ++noops;
    return Encode(header, BinaryStatus::kOk, {}, {});
  }
  const std::string_view key = body.substr(header.extras_size, header.key_size);
  const BinaryStatus status = script_(requests_++, key);
  if (status != BinaryStatus::kOk) return Encode(header, status, {}, "as the script says");
  if (header.opcode == Opcode::kSetQ) {
    const std::string_view value = body.substr(size_t{header.extras_size} + header.key_size);
    items.insert_or_assign(std::string(key), std::string(value));
    stored_values.emplace_back(value);
    return {};
  }
  CAIRN_CHECK(header.opcode == Opcode::kGetQ);
  const auto at = items.find(key);
  return at == items.end() ? std::string()
                           : Encode(header, BinaryStatus::kOk, std::string_view("\0\0\0\7", 4), at->second);
}

}  // namespace cairn::cli
