#pragma once
// Session: the protocol state of one connection, without the connection. Bytes go in, answers come out
// into an Output; no socket, clock or thread inside, so that tests drive it directly and the loop stays
// thin. Requests are taken in windows: a few are parsed ahead, their keys' memory is prefetched, then they
// are executed in order.
//
// A request that cannot be finished stays at the front of the input: the caller presents the same bytes
// again (after the waiter's wake, or once there is room for output), and the session goes on where it was.
// One thread at a time; the waiter may be woken from any.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "proto/binary.h"
#include "proto/parse.h"
#include "proto/text.h"
#include "server/async_call.h"
#include "server/output.h"
#include "server/server_stats.h"
#include "server/stats_report.h"

namespace cairn::server {

/// What the sessions of one loop share: the services they call and scratch memory for a window.
struct Service {
  static constexpr size_t kWindow = 16;      // requests parsed ahead
  static constexpr size_t kKeysAtOnce = 32;  // keys of a multiget looked up together

  engine::Engine& engine;
  Clock& clock;
  ServerStats& stats;
  const StatsReport& report;
  proto::Limits limits;
  // A write for which only the sync policy asks is answered "ambiguous" when it is not durable by then;
  // others that do not say themselves have Engine::durability_settings().
  uint32_t commit_timeout_ms = 5'000;
  /// A batch ends when so many bytes of answers wait, so that they are sent before more are made.
  size_t output_bytes_max = 1u << 20;

  std::array<engine::OpKey, kKeysAtOnce> keys{};
  std::array<engine::GetResult, kKeysAtOnce> results{};
  std::array<proto::TextRequest, kWindow> text_requests{};
  std::array<proto::BinaryRequest, kWindow> binary_requests{};
  std::array<size_t, kWindow> request_ends{};
  uint32_t op_number = 0;  // for sampling
};

/// How one request, or a run of them, came out.
enum class Outcome : uint8_t {
  kDone,        // on to the next (of a run: all that is complete was executed, more input is needed)
  kParked,      // the engine keeps the waiter; the request begins again after the wake
  kOutputFull,  // room is needed before it goes on
  kClose,       // send what there is, then close
};

/// What a request that is presented again has done already.
struct Unfinished {
  size_t keys_done = 0;                      // of a multiget, already answered
  std::vector<engine::Requirement> touched;  // what the done keys of a gat have to reach
  std::shared_ptr<AsyncCall> call;           // an engine command under way
  std::optional<std::string> dump_position;  // of a metadump under way
  uint64_t parked_ticks = 0;                 // when it was parked; 0: it is not

  void ForgetKeys() {
    keys_done = 0;
    touched.clear();
  }
};

class Session {
 public:
  explicit Session(Service& service) : service_(service) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  struct Progress {
    Outcome outcome;
    size_t consumed;      // bytes of the input that are done with
    size_t bytes_wanted;  // kDone: what the rest of the input must grow to before another Run is of use
  };
  /// Executes requests off the front of `in` and appends their answers.
  Progress Run(std::string_view in, Output& out, const engine::WaiterRef& waiter);

  /// False after the first byte of a request and before its end; for a graceful end.
  bool between_requests() const { return skip_bytes_ == 0; }

 private:
  template <class Executor>
  Progress RunWindows(std::string_view in, size_t consumed, Executor& executor);
  void FinishWait();

  Service& service_;
  std::optional<proto::Protocol> protocol_;
  uint64_t skip_bytes_ = 0;  // of a refused request, still to come
  Unfinished unfinished_;
};

}  // namespace cairn::server
