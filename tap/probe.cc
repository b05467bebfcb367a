#include "tap/probe.h"

#include <chrono>
#include <future>
#include <utility>

namespace cairn::tap {
namespace {

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

Status ProbeSource(const Dialer& dialer, const std::string& address, const Hello& hello,
                   uint32_t timeout_ms) {
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<ConsumerLink> link, dialer(address));
  std::future<Status> asked = std::async(std::launch::async, [&] { return Ask(*link, address, hello); });
  if (asked.wait_for(std::chrono::milliseconds(timeout_ms)) == std::future_status::ready) {
    return asked.get();
  }
  link->Cancel();
  static_cast<void>(asked.get());
  return Status(Code::kTmpFail, "the source " + address + " does not answer");
}

}  // namespace cairn::tap
