#include "server/loop.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/thread_role.h"

namespace cairn::server {
namespace {

constexpr size_t kBatchBytesKept = 2u << 20;

// A connection has at most one wake under way and arrives once; stop messages are few. A wake that was
// sent while its connection closed may still lie in the box when the next one uses the slot.
size_t InboxCapacity(const ServerOptions& options) { return 4 * size_t{options.connections_max} + 64; }

Service MakeService(const LoopDeps& deps) {
  proto::Limits limits;
  limits.value_bytes_max = deps.engine.options().max_item_size;
  Service service{deps.engine, deps.clock, deps.stats, deps.report, limits};
  service.commit_timeout_ms = deps.options.commit_timeout_ms;
  return service;
}

}  // namespace

uint32_t Loop::SecondsOf(const Clock& clock) {
  return static_cast<uint32_t>(clock.SteadyNs() / 1'000'000'000);
}

Result<std::unique_ptr<Loop>> Loop::Make(uint32_t number, const LoopDeps& deps) {
  CAIRN_ASSIGN_OR_RETURN(std::shared_ptr<LoopInbox> inbox, LoopInbox::Make(InboxCapacity(deps.options)));
  std::unique_ptr<Loop> loop(new Loop(number, deps, std::move(inbox)));
  CAIRN_RETURN_IF_ERROR(loop->Init());
  return loop;
}

Loop::Loop(uint32_t number, const LoopDeps& deps, std::shared_ptr<LoopInbox> inbox)
    : number_(number),
      deps_(deps),
      inbox_(std::move(inbox)),
      service_(MakeService(deps)),
      read_buffer_(kReadBufferBytes),
      now_s_(SecondsOf(deps.clock)) {}

Loop::~Loop() { Join(); }

EventPtr Loop::MakeEvent(evutil_socket_t fd, short what, event_callback_fn callback) {
  return EventPtr(event_new(base_.get(), fd, what, callback, this));
}

Status Loop::Init() {
  base_.reset(event_base_new());
  if (base_ == nullptr) return Status(Code::kIoError, "cannot make an event loop");
  inbox_event_ = MakeEvent(inbox_->fd(), EV_READ | EV_PERSIST,
                           [](evutil_socket_t, short, void* self) { static_cast<Loop*>(self)->OnInbox(); });
  tick_event_ = MakeEvent(-1, EV_PERSIST,
                          [](evutil_socket_t, short, void* self) { static_cast<Loop*>(self)->OnTick(); });
  resume_event_ =
      MakeEvent(-1, 0, [](evutil_socket_t, short, void* self) { static_cast<Loop*>(self)->OnResume(); });
  hold_event_ =
      MakeEvent(-1, 0, [](evutil_socket_t, short, void* self) { static_cast<Loop*>(self)->OnHoldTimer(); });
  if (!inbox_event_ || !tick_event_ || !resume_event_ || !hold_event_) {
    return Status(Code::kNoMemory, "cannot make the events of a loop");
  }
  const timeval second{1, 0};
  event_add(inbox_event_.get(), nullptr);
  event_add(tick_event_.get(), &second);
  return Status::Ok();
}

void Loop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Loop::Run() {
  BeginThread("cairn-loop-" + std::to_string(number_));
  // A turn at a time, so that closed connections are freed when none of their functions is running.
  while (event_base_got_break(base_.get()) == 0) {
    if (event_base_loop(base_.get(), EVLOOP_ONCE) < 0) break;
    Bury();
  }
}

void Loop::Join() {
  if (thread_.joinable()) thread_.join();
  for (Slot& slot : slots_) {
    if (slot.connection != nullptr) slot.connection->Close();
  }
  Bury();
  inbox_->Take(messages_);
  for (const LoopMessage& message : messages_) {
    if (message.kind != LoopMessage::Kind::kAdopt) continue;
    UniqueFd fd(message.fd);
    deps_.stats.ConnectionClosed();
  }
  messages_.clear();
}

void Loop::Bury() {
  for (const uint32_t slot : closed_slots_) {
    slots_[slot].connection.reset();
    ++slots_[slot].generation;
    free_slots_.push_back(slot);
  }
  closed_slots_.clear();
}

Connection* Loop::Find(ConnectionHandle handle) {
  if (handle.slot >= slots_.size() || slots_[handle.slot].generation != handle.generation) return nullptr;
  Connection* connection = slots_[handle.slot].connection.get();
  return connection == nullptr || connection->closed() ? nullptr : connection;
}

void Loop::Adopt(UniqueFd fd) {
  const int on = 1;
  // Fails on Unix sockets, which have nothing to delay.
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  uint32_t slot = 0;
  if (free_slots_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  slots_[slot].connection =
      std::make_unique<Connection>(*this, std::move(fd), ConnectionHandle{slot, slots_[slot].generation});
  slots_[slot].connection->Start();
}

void Loop::Closed(Connection& connection) {
  deps_.stats.ConnectionClosed();
  closed_slots_.push_back(connection.handle().slot);
}

void Loop::ResumeLater(Connection& connection) {
  resuming_.push_back(connection.handle());
  event_active(resume_event_.get(), EV_TIMEOUT, 1);
}

void Loop::OnResume() {
  std::vector<ConnectionHandle> due;
  due.swap(resuming_);
  for (const ConnectionHandle handle : due) {
    Connection* connection = Find(handle);
    if (connection != nullptr) connection->OnResume();
  }
}

int64_t Loop::AddHolding(Connection& connection, uint32_t timeout_ms) {
  const int64_t now_ns = deps_.clock.SteadyNs();
  const int64_t deadline_ns = now_ns + int64_t{timeout_ms} * 1'000'000;
  ArmHoldTimer(deadline_ns, now_ns);
  holding_.push_back({connection.handle(), deadline_ns});
  // A connection holds one batch at a time, so most of a long list is answered already.
  if (holding_.size() > 2 * slots_.size() + 64) {
    std::erase_if(holding_, [this](const Holding& holding) { return !StillHolds(holding); });
  }
  return deadline_ns;
}

void Loop::ArmHoldTimer(int64_t deadline_ns, int64_t now_ns) {
  if (deadline_ns >= hold_timer_ns_) return;
  hold_timer_ns_ = deadline_ns;
  const int64_t wait_us = std::max<int64_t>(1000, (deadline_ns - now_ns) / 1000);
  const timeval timeout{wait_us / 1'000'000, static_cast<suseconds_t>(wait_us % 1'000'000)};
  event_add(hold_event_.get(), &timeout);
}

bool Loop::StillHolds(const Holding& holding) {
  const Connection* connection = Find(holding.connection);
  return connection != nullptr && connection->holding() &&
         connection->hold_deadline_ns() == holding.deadline_ns;
}

// One timer for all: when it runs out those that are over give up, those that have been answered are
// forgotten, and it is set again for the first that remains.
void Loop::OnHoldTimer() {
  const int64_t now_ns = deps_.clock.SteadyNs();
  hold_timer_ns_ = INT64_MAX;
  std::vector<Holding> all;
  all.swap(holding_);
  for (const Holding& holding : all) {
    if (!StillHolds(holding)) continue;
    if (holding.deadline_ns <= now_ns) {
      // It may execute more, and hold that.
      Find(holding.connection)->OnHoldDeadline();
    } else {
      holding_.push_back(holding);
    }
  }
  for (const Holding& holding : holding_) ArmHoldTimer(holding.deadline_ns, now_ns);
}

void Loop::OnTick() {
  now_s_ = SecondsOf(deps_.clock);
  for (Slot& slot : slots_) {
    if (slot.connection != nullptr && !slot.connection->closed()) slot.connection->OnTick(now_s_);
  }
  batch_.Shrink(kBatchBytesKept);
  if (draining_) Drain();
}

void Loop::Drain() {
  for (Slot& slot : slots_) {
    if (slot.connection != nullptr && !slot.connection->closed()) slot.connection->CloseIfIdle();
  }
}

void Loop::OnInbox() {
  messages_.clear();
  inbox_->Take(messages_);
  for (LoopMessage& message : messages_) OnMessage(message);
}

void Loop::OnMessage(LoopMessage& message) {
  switch (message.kind) {
    case LoopMessage::Kind::kAdopt:
      Adopt(UniqueFd(message.fd));
      break;
    case LoopMessage::Kind::kWake:
      if (Connection* connection = Find(message.connection)) connection->OnWake();
      break;
    case LoopMessage::Kind::kStopAccepting:
      if (on_stop_accepting_) on_stop_accepting_();
      break;
    case LoopMessage::Kind::kDrain: {
      draining_ = true;
      const timeval often{0, 50'000};
      event_add(tick_event_.get(), &often);
      Drain();
      break;
    }
    case LoopMessage::Kind::kStop:
      event_base_loopbreak(base_.get());
      break;
  }
}

}  // namespace cairn::server
