#include "tap/probe.h"

#include <chrono>
#include <future>
#include <utility>

namespace cairn::tap {
namespace {

constexpr std::chrono::milliseconds kLookEvery{5};

Status Ask(ConsumerLink& link, const std::string& address, const Hello& hello) {
  const std::string unreachable = "the source " + address + " cannot be reached";
  ConsumerMessage message;
  message.hello = hello;
  Status answer(Code::kTmpFail, unreachable);
  if (link.Open() && link.Write(message)) {
    const Result<std::optional<ProducerMessage>> read = link.Read();
    if (!read.ok()) {
      answer = read.status();
    } else if (read->has_value() && (*read)->welcome) {
      answer = Status::Ok();
    } else if (read->has_value() && (*read)->goodbye) {
      answer = Status(Code::kInvalidArgument,
                      "the source " + address + " refuses: " + std::string(EndReasonName(*(*read)->goodbye)) +
                          ": " + (*read)->goodbye_text);
    }
  }
  link.Cancel();
  const Status finished = link.Finish();
  if (answer == Code::kTmpFail && !finished.ok()) {
    answer = Status(Code::kTmpFail, unreachable + ": " + std::string(finished.message()));
  }
  return answer;
}

}  // namespace

Status ProbeSource(const Dialer& dialer, const ProbeOptions& options) {
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<ConsumerLink> link, dialer(options.address));
  std::future<Status> asked =
      std::async(std::launch::async, [&] { return Ask(*link, options.address, options.hello); });
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(options.timeout_ms);
  Status given_up;
  while (given_up.ok()) {
    if (asked.wait_for(kLookEvery) == std::future_status::ready) return asked.get();
    given_up = options.check();
    if (given_up.ok() && std::chrono::steady_clock::now() >= until) {
      given_up = Status(Code::kTmpFail, "the source " + options.address + " does not answer");
    }
  }
  link->Cancel();
  static_cast<void>(asked.get());
  return given_up;
}

}  // namespace cairn::tap
