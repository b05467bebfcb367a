#include "server/session.h"

#include <algorithm>
#include <utility>

#include "server/binary_executor.h"
#include "server/text_executor.h"

namespace cairn::server {
namespace {

// A window of requests parsed ahead, and what stopped the parsing.
struct Window {
  size_t count = 0;
  proto::ParseOutcome stopped_by{proto::ParseState::kOk, 0};
};

template <class Executor>
Window FillWindow(std::string_view in, size_t at, Service& service, Executor& executor) {
  Window window;
  bool more = true;
  while (more && window.count < Service::kWindow && at < in.size()) {
    window.stopped_by = executor.Parse(in.substr(at), window.count);
    if (window.stopped_by.state != proto::ParseState::kOk) break;
    at += window.stopped_by.bytes;
    service.request_ends[window.count] = at;
    more = executor.Prepare(window.count++);
  }
  if (window.count > 1) service.engine.Prefetch({service.keys.data(), window.count});
  return window;
}

}  // namespace

void Session::FinishWait() {
  service_.stats.timings().RecordWait(unfinished_.parked_ticks, service_.stats.tick_clock().Now());
  unfinished_.parked_ticks = 0;
}

template <class Executor>
Session::Progress Session::RunWindows(std::string_view in, size_t consumed, Executor& executor) {
  while (true) {
    if (executor.output_full()) return {Outcome::kOutputFull, consumed, 0};
    const Window window = FillWindow(in, consumed, service_, executor);
    executor.BeginWindow(window.count);
    executor.SkipLap();
    engine::AnnounceLater announce_later = service_.engine.AnnounceAtEnd();
    for (size_t i = 0; i < window.count; ++i) {
      // Requests without a key (stats and the like) may take long.
      if (i > 0 && service_.keys[i].text().empty()) announce_later.TellNow();
      const Outcome outcome = executor.Execute(i);
      if (outcome == Outcome::kParked || outcome == Outcome::kOutputFull) return {outcome, consumed, 0};
      if (__builtin_expect(unfinished_.parked_ticks != 0, 0)) FinishWait();
      consumed = service_.request_ends[i];
      if (outcome == Outcome::kClose) return {outcome, consumed, 0};
    }
    const auto [state, bytes] = window.stopped_by;
    if (state == proto::ParseState::kNeedMore) return {Outcome::kDone, consumed, bytes};
    if (state != proto::ParseState::kOk) {
      service_.stats.Add(Counter::kProtocolErrors);
      executor.AnswerRefused(state, window.count);
      if (state == proto::ParseState::kClose) return {Outcome::kClose, consumed, 0};
      const size_t present = std::min(bytes, in.size() - consumed);
      skip_bytes_ = bytes - present;
      consumed += present;
    }
    if (consumed == in.size()) return {Outcome::kDone, consumed, 1};
  }
}

Session::Progress Session::Run(std::string_view in, Output& out, const engine::WaiterRef& waiter) {
  size_t consumed = 0;
  if (skip_bytes_ > 0) {
    consumed = static_cast<size_t>(std::min<uint64_t>(skip_bytes_, in.size()));
    skip_bytes_ -= consumed;
  }
  if (consumed == in.size()) return {Outcome::kDone, consumed, 1};
  if (!protocol_.has_value()) protocol_ = proto::SniffProtocol(in[consumed]);
  if (*protocol_ == proto::Protocol::kText) {
    TextExecutor executor(service_, unfinished_, out, waiter);
    return RunWindows(in, consumed, executor);
  }
  BinaryExecutor executor(service_, unfinished_, out, waiter);
  return RunWindows(in, consumed, executor);
}

}  // namespace cairn::server
