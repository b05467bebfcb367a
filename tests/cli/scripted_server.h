#pragma once
// A server for tests of the client: speaks just enough of the binary protocol on a Unix socket, answers SETQ
// and GETQ from a map, and refuses what the test tells it to. One connection after the other, on its own
// thread; everything it saw can be read when it has been stopped.

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cli/channel.h"
#include "proto/binary.h"

namespace cairn::cli {

class ScriptedServer {
 public:
  /// Status of the n-th request (from 0, over all connections, NOOPs not counted); kOk serves it.
  using Script = std::function<proto::BinaryStatus(size_t n, std::string_view key)>;

  explicit ScriptedServer(Script script);
  ~ScriptedServer() { Stop(); }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  Address address() const;
  /// Ends the thread. Clients must be gone, or see their connection closed.
  void Stop();

  // After Stop, or before the first connection.
  std::map<std::string, std::string, std::less<>> items;
  std::vector<std::string> stored_values;  // of accepted SETQs, in order
  size_t noops = 0;

 private:
  void Run();
  void Serve(int fd);
  std::string Answer(const proto::BinaryHeader& header, std::string_view body);

  Script script_;
  std::string path_;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  size_t requests_ = 0;
  std::thread thread_;
};

}  // namespace cairn::cli
