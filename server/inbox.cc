#include "server/inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace cairn::server {

Result<std::shared_ptr<LoopInbox>> LoopInbox::Make(size_t capacity) {
  UniqueFd event_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event_fd.valid()) return ErrnoStatus(errno, "eventfd");
  return std::shared_ptr<LoopInbox>(new LoopInbox(capacity, std::move(event_fd)));
}

LoopInbox::LoopInbox(size_t capacity, UniqueFd event_fd)
    : event_fd_(std::move(event_fd)), mailbox_(capacity, [this] { Signal(); }) {}

void LoopInbox::Signal() {
  const uint64_t one = 1;
  // It can only fail when the counter is full, and then the loop is about to wake anyway.
  [[maybe_unused]] const ssize_t written = write(event_fd_.get(), &one, sizeof(one));
}

void LoopInbox::Take(std::vector<LoopMessage>& out) {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event_fd_.get(), &count, sizeof(count));
  mailbox_.DrainTo(out);
}

void ConnectionWaiter::Wake() {
  if (closed_.load(std::memory_order_acquire)) return;
  if (under_way_.exchange(true, std::memory_order_acq_rel)) return;
  LoopMessage message;
  message.kind = LoopMessage::Kind::kWake;
  message.connection = connection_;
  // The box holds several messages for each connection that may exist.
  CAIRN_CHECK(inbox_->Push(message));
}

}  // namespace cairn::server
