#pragma once
// AsyncCall: the place where an engine command that takes long (START, COMPLETE, REVERT, a vbucket's
// state) leaves its outcome for the connection that asked. The connection parks meanwhile, others go on;
// if it closes, the call outlives it and its wake finds nobody.
//
// The engine's thread fills it once, then the connection's loop reads it once.

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "base/status.h"
#include "engine/ops.h"

namespace cairn::server {

class AsyncCall {
 public:
  explicit AsyncCall(engine::WaiterRef waiter) : waiter_(std::move(waiter)) {}

  /// From any thread, once.
  void Finish(Result<engine::UpdateStatus> result) {
    if (result.ok()) {
      update_ = std::move(result).value();
    } else {
      status_ = result.status();
    }
    Publish();
  }
  void Finish(Status status) {
    status_ = std::move(status);
    Publish();
  }

  bool done() const { return done_.load(std::memory_order_acquire); }
  // Only when done().
  const Status& status() const { return status_; }
  const engine::UpdateStatus& update() const { return *update_; }

 private:
  void Publish() {
    done_.store(true, std::memory_order_release);
    waiter_->Wake();
  }

  const engine::WaiterRef waiter_;
  Status status_;
  std::optional<engine::UpdateStatus> update_;
  std::atomic<bool> done_{false};
};

}  // namespace cairn::server
