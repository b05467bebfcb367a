#include "server/connection.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/log.h"
#include "server/loop.h"

namespace cairn::server {
namespace {

constexpr size_t kReadBytesMax = 256 * 1024;  // of one request's rest, per turn of the loop
constexpr size_t kReadBytesMin = 16 * 1024;
constexpr size_t kJoinBytesMax = 8 * 1024;  // a begun request up to this size is joined in the loop's buffer
constexpr int kBatchesPerTurn = 4;          // of output_bytes_max each, before others get their turn
constexpr size_t kIovecs = 64;

// With 10,000 idle clients this is what they cost.
static_assert(sizeof(Connection) <= 1024);

}  // namespace

Connection::Connection(Loop& loop, UniqueFd fd, ConnectionHandle handle)
    : loop_(loop),
      fd_(std::move(fd)),
      handle_(handle),
      own_waiter_(std::make_shared<ConnectionWaiter>(loop.inbox(), handle)),
      waiter_(own_waiter_),
      session_(loop.service()),
      last_input_s_(loop.now_s()),
      last_progress_s_(loop.now_s()) {
  event_assign(&read_event_, loop.base(), fd_.get(), EV_READ | EV_PERSIST, ReadCallback, this);
  event_assign(&write_event_, loop.base(), fd_.get(), EV_WRITE | EV_PERSIST, WriteCallback, this);
}

Connection::~Connection() { Close(); }

void Connection::Start() { Settle(); }

void Connection::Close() {
  if (closed()) return;
  if (reading_) event_del(&read_event_);
  if (writing_) event_del(&write_event_);
  own_waiter_->Close();
  held_.reset();
  fd_.Reset();
  loop_.Closed(*this);
}

void Connection::ReadCallback(evutil_socket_t, short, void* self) {
  static_cast<Connection*>(self)->OnReadable();
}

void Connection::WriteCallback(evutil_socket_t, short, void* self) {
  static_cast<Connection*>(self)->OnWritable();
}

// The rest of a large request goes behind its beginning, into the connection's own buffer. Otherwise the
// loop's buffer takes as much as there is, behind the few bytes of a begun request.
void Connection::OnReadable() {
  const size_t begun = input_.size();
  const bool own = std::max(begun, input_wanted_) > kJoinBytesMax;
  char* into = nullptr;
  size_t room = 0;
  if (own) {
    const size_t missing = input_wanted_ > begun ? input_wanted_ - begun : 0;
    room = std::clamp(missing, kReadBytesMin, kReadBytesMax);
    into = input_.Reserve(room);
  } else {
    into = loop_.read_buffer().data() + begun;
    room = loop_.read_buffer().size() - begun;
  }
  const ssize_t got = recv(fd_.get(), into, room, 0);
  if (got > 0) {
    const auto bytes = static_cast<size_t>(got);
    loop_.service().stats.Add(Counter::kBytesRead, bytes);
    last_input_s_ = loop_.now_s();
    TakeInput(into, bytes, own);
  } else if (got == 0) {
    ending_ = true;  // what it has sent is still answered: it may have closed its sending side only
  } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
    return Close();
  }
  Settle();
}

void Connection::TakeInput(char* into, size_t bytes, bool own) {
  const size_t total = input_.size() + bytes;
  if (own) {
    input_.Commit(bytes);
  } else if (total < input_wanted_) {
    input_.Append({into, bytes});
  }
  if (total < input_wanted_) return;
  if (own) return Execute(input_.view(), true);
  const std::string_view begun = input_.view();
  char* const front = into - begun.size();
  begun.copy(front, begun.size());
  input_.Clear();
  Execute({front, total}, false);
}

bool Connection::MayExecute() const {
  return !closed() && !parked_ && held_ == nullptr && unsent_bytes() < kUnsentBytesMax;
}

void Connection::Execute(std::string_view in, bool in_own_buffer) {
  Output& out = loop_.batch();
  bool close_after = false;
  size_t wanted = 1;
  for (int batch = 0;; ++batch) {
    const Session::Progress progress = session_.Run(in, out, waiter_);
    in.remove_prefix(progress.consumed);
    parked_ = progress.outcome == Outcome::kParked;
    close_after = progress.outcome == Outcome::kClose;
    wanted = progress.bytes_wanted;
    Deliver(out);
    if (closed()) return;
    if (progress.outcome != Outcome::kOutputFull || !MayExecute()) break;
    if (batch + 1 == kBatchesPerTurn) {
      loop_.service().stats.Add(Counter::kYields);
      resuming_ = true;
      loop_.ResumeLater(*this);
      break;
    }
  }
  if (close_after) {
    ending_ = true;
    in = {};
  }
  input_wanted_ = std::max<size_t>(wanted, 1);
  KeepInput(in, in_own_buffer);
}

void Connection::KeepInput(std::string_view rest, bool in_own_buffer) {
  if (in_own_buffer) {
    input_.Consume(input_.size() - rest.size());
  } else {
    input_.Append(rest);
  }
  input_.Shrink(0);
}

void Connection::Deliver(Output& out) {
  if (out.has_mutations()) {
    Settling settling(loop_.service().engine);
    if (settling.Advance(out) == Code::kWouldBlock) return Hold(out, std::move(settling));
    loop_.service().stats.Add(Counter::kAmbiguous, settling.ambiguous());
  }
  if (!out.empty()) Send(out);
  out.Clear();
}

void Connection::Hold(Output& out, Settling settling) {
  loop_.service().stats.Add(Counter::kHeld);
  held_ = std::make_unique<Held>(Held{Output(), std::move(settling), 0});
  std::swap(held_->output, out);
  held_->deadline_ns = loop_.AddHolding(*this, held_->output.timeout_ms());
  held_->settling.Await(held_->output, waiter_);
}

void Connection::ReleaseHeld() {
  const std::unique_ptr<Held> held = std::move(held_);
  loop_.service().stats.Add(Counter::kAmbiguous, held->settling.ambiguous());
  if (!held->output.empty()) Send(held->output);
}

void Connection::GoOn() {
  if (!input_.empty() && input_.size() >= input_wanted_ && MayExecute() && !resuming_) {
    Execute(input_.view(), true);
  }
}

void Connection::Send(Output& out) {
  if (unsent_ != nullptr) {
    unsent_->TakeFrom(out);
    if (!WriteSome(*unsent_)) return Close();
    if (unsent_->empty()) unsent_.reset();
    return;
  }
  if (!WriteSome(out)) return Close();
  if (out.empty()) return;
  last_progress_s_ = loop_.now_s();
  unsent_ = std::make_unique<Output>();
  unsent_->TakeFrom(out);
}

bool Connection::WriteSome(Output& out) {
  std::array<iovec, kIovecs> iovecs;
  while (!out.empty()) {
    const size_t count = out.FillIovecs(iovecs);
    msghdr message{};
    message.msg_iov = iovecs.data();
    message.msg_iovlen = count;
    const ssize_t sent = count == 1 ? send(fd_.get(), iovecs[0].iov_base, iovecs[0].iov_len, MSG_NOSIGNAL)
                                    : sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    loop_.service().stats.Add(Counter::kBytesWritten, static_cast<uint64_t>(sent));
    out.Consume(static_cast<size_t>(sent));
    last_progress_s_ = loop_.now_s();
  }
  return true;
}

void Connection::OnWritable() {
  if (unsent_ != nullptr) {
    if (!WriteSome(*unsent_)) return Close();
    if (unsent_->empty()) unsent_.reset();
  }
  GoOn();  // what had to wait for room
  Settle();
}

void Connection::OnWake() {
  own_waiter_->Arrived();
  const bool was_parked = parked_;
  parked_ = false;
  if (held_ != nullptr) {
    if (held_->settling.Advance(held_->output) == Code::kWouldBlock) {
      held_->settling.Await(held_->output, waiter_);
    } else {
      ReleaseHeld();
    }
    if (closed()) return;
  }
  if (was_parked) input_wanted_ = 1;
  GoOn();
  Settle();
}

void Connection::OnResume() {
  resuming_ = false;
  if (MayExecute()) Execute(input_.view(), true);
  Settle();
}

void Connection::OnHoldDeadline() {
  held_->settling.GiveUp(held_->output);
  ReleaseHeld();
  if (closed()) return;
  GoOn();
  Settle();
}

void Connection::OnTick(uint32_t now_s) {
  const ServerOptions& options = loop_.options();
  const bool waits_for_us = parked_ || held_ != nullptr || resuming_;
  if (unsent_ != nullptr) {
    if (now_s - last_progress_s_ < options.slow_client_timeout_s) return;
    loop_.service().stats.Add(Counter::kSlowKicks);
    return Close();
  }
  if (waits_for_us) return;
  const uint32_t silent_s = now_s - last_input_s_;
  if (!input_.empty() && silent_s >= options.slow_client_timeout_s) {
    loop_.service().stats.Add(Counter::kSlowKicks);
    return Close();
  }
  if (options.idle_timeout_s != 0 && silent_s >= options.idle_timeout_s) {
    loop_.service().stats.Add(Counter::kIdleKicks);
    Close();
  }
}

void Connection::CloseIfIdle() {
  const bool owes = parked_ || held_ != nullptr || resuming_ || unsent_ != nullptr;
  if (owes || !input_.empty() || !session_.between_requests()) return;
  char byte = 0;
  if (recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) return;
  Close();
}

void Connection::Settle() {
  if (closed()) return;
  const bool owes = parked_ || held_ != nullptr || resuming_ || unsent_ != nullptr;
  if (ending_ && !owes) return Close();
  const bool want_read = !ending_ && !resuming_ && MayExecute();
  if (want_read != reading_) {
    reading_ = want_read;
    want_read ? event_add(&read_event_, nullptr) : event_del(&read_event_);
  }
  const bool want_write = unsent_ != nullptr;
  if (want_write != writing_) {
    writing_ = want_write;
    want_write ? event_add(&write_event_, nullptr) : event_del(&write_event_);
  }
}

}  // namespace cairn::server
