#pragma once
// Settling: finds out how far the writes of one executed batch have come, so that its answers can be sent.
// Each marked answer of the Output has requirements (engine/durability.h); the batch is settled when each is
// met, or known to be ambiguous, or given up. Nothing is looked at twice once it is decided.
//
// Owner: the connection, beside the Output. One thread; the waiter may be woken from any.

#include <cstddef>
#include <cstdint>

#include "engine/engine.h"
#include "server/output.h"

namespace cairn::server {

class Settling {
 public:
  /// After the batch was executed: its writes lie before the commit ticket that is drawn here.
  explicit Settling(engine::Engine& engine) : engine_(&engine), ticket_(engine.CommitTicket()) {}

  /// kOk: `out` may be sent; what is ambiguous has been answered so. kWouldBlock: not yet.
  Code Advance(Output& out);
  /// After kWouldBlock: `waiter` is woken when Advance is worth another try.
  void Await(const Output& out, const engine::WaiterRef& waiter);
  /// The time is over: what is not met now is ambiguous. `out` may be sent.
  void GiveUp(Output& out);

  /// How many answers became ambiguous; once settled.
  size_t ambiguous() const { return ambiguous_; }

 private:
  /// Of all requirements of the answer `mark_`, from `requirement_` on.
  Code Look(const Output& out);
  void Decide(Output& out, bool met);

  engine::Engine* engine_;
  uint64_t ticket_;
  size_t mark_ = 0;         // the first that is not decided
  size_t requirement_ = 0;  // of it, the first that is not met
  size_t ambiguous_ = 0;
  engine::DurabilityWait wait_;
};

}  // namespace cairn::server
