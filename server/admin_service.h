#pragma once
// AdminService: administration of this node over gRPC (proto/admin.proto) on --admin-port. What cairnctl has
// no words for in the memcached protocol: online updates, sources, vbuckets changing hands, durability,
// figures.
//
// Owner: main, or a test. Everything in its dependencies outlives it; stop it before them. Calls run on
// gRPC's threads, and each is bounded: long ones wait until their client's deadline, at most kWaitMaxMs, and
// what they began goes on without them, but for a takeover, which ends with its call. Errors are gRPC
// statuses by the one table of base/status.h, with the code's name in front of the text.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "engine/engine.h"
#include "tap/tls.h"

namespace cairn::tap {
class TapService;
}

namespace cairn::server {

struct AdminOptions {
  std::vector<std::string> listen;  // numeric; empty: loopback
  uint16_t port = 0;                // 0: any free one
  tap::TlsFiles tls;
  std::string version;                           // of this program
  std::vector<std::string> memcached_addresses;  // of this node, for those who ask
};

struct AdminDeps {
  engine::Engine* engine = nullptr;
  tap::TapService* tap = nullptr;  // none: this node does not replicate, and such calls are NOT_SUPPORTED
  Clock* clock = nullptr;
  /// What STAT answers to the request, as in StatsReport::Write. False: there is no such group.
  std::function<bool(std::string_view request, const engine::StatSink& sink)> stats;
};

class AdminService {
 public:
  static constexpr int64_t kWaitMaxMs = 3'600'000;
  static constexpr uint32_t kWatchersMax = 16;

  /// Serves when it returns. INVALID_ARGUMENT: an address off loopback without TLS, or bad certificates.
  static Result<std::unique_ptr<AdminService>> Start(const AdminOptions& options, const AdminDeps& deps);
  ~AdminService();  // stops
  AdminService(const AdminService&) = delete;
  AdminService& operator=(const AdminService&) = delete;

  /// No call runs any more when it returns. A second call does nothing.
  void Stop();
  uint16_t port() const;
  /// "127.0.0.1:11212", … as they were bound.
  const std::vector<std::string>& addresses() const;

 private:
  struct Rep;
  explicit AdminService(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace cairn::server
