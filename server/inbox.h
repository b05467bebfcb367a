#pragma once
// LoopInbox: the door into a connection loop for other threads. New connections come through it, and the
// wakes of parked operations. Waiters share its ownership, so that an engine thread may wake a connection
// whose loop has ended: nobody reads it then.

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/file.h"
#include "base/mailbox.h"
#include "engine/ops.h"

namespace cairn::server {

/// Names a connection of a loop, also after it is gone: the slot is used again, the generation is not.
struct ConnectionHandle {
  uint32_t slot = 0;
  uint32_t generation = 0;
};

struct LoopMessage {
  enum class Kind : uint8_t {
    kAdopt,  // `fd` is a new connection
    kWake,   // `connection` may go on
    kStopAccepting,
    kDrain,  // close each connection as soon as it owes nothing
    kStop,   // end the loop
  };
  Kind kind = Kind::kStop;
  int fd = -1;
  ConnectionHandle connection;
};

class LoopInbox {
 public:
  /// Fails when the system has no descriptor left.
  static Result<std::shared_ptr<LoopInbox>> Make(size_t capacity);

  /// From any thread. False when the box is full.
  [[nodiscard]] bool Push(LoopMessage message) { return mailbox_.Push(std::move(message)); }

  // --- by the loop ---
  /// Readable when there is something to take.
  int fd() const { return event_fd_.get(); }
  /// Appends all messages to `out`.
  void Take(std::vector<LoopMessage>& out);

 private:
  LoopInbox(size_t capacity, UniqueFd event_fd);
  void Signal();

  const UniqueFd event_fd_;
  Mailbox<LoopMessage> mailbox_;
};

/// The one waiter of a connection, used again for each operation that is parked.
class ConnectionWaiter final : public engine::Waiter {
 public:
  ConnectionWaiter(std::shared_ptr<LoopInbox> inbox, ConnectionHandle connection)
      : inbox_(std::move(inbox)), connection_(connection) {}

  /// From any thread. At most one wake of a connection is under way.
  void Wake() override;

  // --- by the loop ---
  /// The wake has arrived; the next one is sent again. Everything that was done before a wake that came too
  /// early to be sent is visible after this: hence not a mere store.
  void Arrived() { under_way_.exchange(false, std::memory_order_acq_rel); }
  /// The connection is gone: wakes lead nowhere.
  void Close() { closed_.store(true, std::memory_order_release); }

 private:
  const std::shared_ptr<LoopInbox> inbox_;
  const ConnectionHandle connection_;
  std::atomic<bool> under_way_{false};
  std::atomic<bool> closed_{false};
};

}  // namespace cairn::server
