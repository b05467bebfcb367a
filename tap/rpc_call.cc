#include "tap/rpc_call.h"

#include <grpc/support/time.h>

#include <utility>

#include "tap/wire.h"

namespace cairn::tap {
namespace {

// What comes out of the queue at the end of …
enum class Ended : intptr_t { kRead = 1, kWrite, kAlarm, kCall };

gpr_timespec In(int64_t ns) {
  return gpr_time_add(gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_nanos(ns, GPR_TIMESPAN));
}

void* TagOf(Ended what) { return reinterpret_cast<void*>(static_cast<intptr_t>(what)); }

}  // namespace

RpcCall::~RpcCall() { Shutdown(0); }

void RpcCall::Request(v1::Tap::AsyncService& service, grpc::ServerCompletionQueue& accepted, void* tag) {
  service.RequestReplicate(&context_, &stream_, &queue_, &accepted, tag);
}

void RpcCall::Begin() { StartRead(); }

// gRPC says "ipv4:127.0.0.1:1234" and "ipv6:%5B::1%5D:1234".
std::string RpcCall::peer() const {
  std::string peer = context_.peer();
  peer.erase(0, peer.find(':') == std::string::npos ? 0 : peer.find(':') + 1);
  for (const auto& [coded, plain] : {std::pair("%5B", "["), std::pair("%5D", "]")}) {
    const size_t at = peer.find(coded);
    if (at != std::string::npos) peer.replace(at, 3, plain);
  }
  return peer;
}

void RpcCall::Finish(const grpc::Status& status, int64_t patience_ns) {
  const gpr_timespec until = In(patience_ns);
  while (!CanWrite() && !over() && gpr_time_cmp(gpr_now(GPR_CLOCK_REALTIME), until) < 0) Collect(until);
  if (!CanWrite()) {
    Cancel();  // now it ends
    while (!CanWrite()) Collect(gpr_inf_future(GPR_CLOCK_REALTIME));
  }
  stream_.Finish(status, TagOf(Ended::kCall));
  Shutdown(patience_ns);
}

// What is still under way at the end, a read above all, ends with the cancellation.
void RpcCall::Shutdown(int64_t patience_ns) {
  {
    MutexLock lock(mutex_);
    if (shut_down_) return;
    shut_down_ = true;
  }
  queue_.Shutdown();
  gpr_timespec until = In(patience_ns);
  while (true) {
    void* tag = nullptr;
    bool ok = false;
    const grpc::CompletionQueue::NextStatus next = queue_.AsyncNext(&tag, &ok, until);
    if (next == grpc::CompletionQueue::SHUTDOWN) return;
    if (next == grpc::CompletionQueue::GOT_EVENT && tag != TagOf(Ended::kCall)) continue;
    Cancel();
    until = gpr_inf_future(GPR_CLOCK_REALTIME);
  }
}

bool RpcCall::CanWrite() {
  const auto written = [this] {
    MutexLock lock(mutex_);
    return !writing_;
  };
  // One more look than needed is a system call.
  while (!written()) {
    if (!CollectOne()) return written();
  }
  return true;
}

void RpcCall::Write(ProducerMessage message) {
  {
    MutexLock lock(mutex_);
    writing_ = true;
  }
  ToWire(std::move(message), out_);
  stream_.Write(out_, TagOf(Ended::kWrite));
}

Result<std::optional<ConsumerMessage>> RpcCall::Read() {
  while (true) {
    {
      MutexLock lock(mutex_);
      if (over_) return std::optional<ConsumerMessage>();
      if (std::exchange(read_done_, false)) break;
    }
    if (!CollectOne()) return std::optional<ConsumerMessage>();
  }
  Result<ConsumerMessage> message = FromWire(in_);
  StartRead();
  if (!message.ok()) return message.status();
  return std::optional(std::move(message).value());
}

void RpcCall::StartRead() { stream_.Read(&in_, TagOf(Ended::kRead)); }

bool RpcCall::over() {
  MutexLock lock(mutex_);
  return over_;
}

void RpcCall::Wait(int64_t ns, bool input) {
  {
    MutexLock lock(mutex_);
    if (std::exchange(interrupt_, false) || over_ || (input && read_done_)) return;
    waiting_ = true;
  }
  Collect(In(ns));
  MutexLock lock(mutex_);
  waiting_ = interrupt_ = false;
}

void RpcCall::Interrupt() {
  MutexLock lock(mutex_);
  interrupt_ = true;
  if (waiting_) EndWait();
}

void RpcCall::EndWait() {
  if (alarmed_ || shut_down_) return;
  alarmed_ = true;
  alarm_.Set(&queue_, gpr_inf_past(GPR_CLOCK_REALTIME), TagOf(Ended::kAlarm));
}

// Somebody in Wait has to see everything that comes, and would not if another thread took it away; who began
// to wait meanwhile is told.
bool RpcCall::CollectOne() {
  {
    MutexLock lock(mutex_);
    if (waiting_) return false;
  }
  if (!Collect(gpr_inf_past(GPR_CLOCK_REALTIME))) return false;
  MutexLock lock(mutex_);
  if (waiting_) EndWait();
  return true;
}

bool RpcCall::Collect(gpr_timespec deadline) {
  void* tag = nullptr;
  bool ok = false;
  if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return false;
  MutexLock lock(mutex_);
  switch (static_cast<Ended>(reinterpret_cast<intptr_t>(tag))) {
    case Ended::kRead:
      if (ok) {
        read_done_ = true;
      } else {
        over_ = true;
      }
      break;
    case Ended::kWrite:
      writing_ = false;
      if (!ok) over_ = true;
      break;
    case Ended::kAlarm:
      alarmed_ = false;
      break;
    case Ended::kCall:
      break;
  }
  return true;
}

}  // namespace cairn::tap
