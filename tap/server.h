#pragma once
// TapServer: the gRPC end of a producer. One call is one consumer, with a ProducerSession of its own; a
// second call under the same consumer name ends the first.
//
// Owner: TapService, or a test. Any thread.

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/replication.h"
#include "tap/rpc_server.h"
#include "tap/session.h"

namespace cairn::tap {

class TapServer {
 public:
  struct Options {
    RpcServer::Options rpc;
    ProducerSession::Options session;     // its address is filled in
    int64_t hello_ns = 10'000'000'000;    // a call that says nothing for so long is cancelled
    int64_t replaced_ns = 5'000'000'000;  // how long the call that is replaced may take to end
  };

  static Result<std::unique_ptr<TapServer>> Start(const Options& options, engine::Replication& replication,
                                                  Clock& clock);
  ~TapServer();  // stops
  TapServer(const TapServer&) = delete;
  TapServer& operator=(const TapServer&) = delete;

  /// Says goodbye to all consumers; on return none is served any more. A second call does nothing.
  void Stop();
  /// Now and then: ends calls that say nothing or take nothing.
  void Watch();

  const std::vector<std::string>& addresses() const;
  uint16_t port() const;
  Acceptor::Counters counters() const;
  std::vector<ConnectionInfo> Connections(bool streams) const;

 private:
  class Service;
  TapServer(std::unique_ptr<Service> service, std::unique_ptr<RpcServer> rpc);
  std::unique_ptr<Service> service_;
  std::unique_ptr<RpcServer> rpc_;
};

}  // namespace cairn::tap
