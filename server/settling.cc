#include "server/settling.h"

#include <span>

namespace cairn::server {

Code Settling::Look(const Output& out) {
  const std::span<const engine::Requirement> requirements = out.requirements(mark_);
  for (; requirement_ < requirements.size(); ++requirement_) {
    const Code outcome = engine_->DurabilityOutcome(requirements[requirement_], ticket_);
    if (outcome != Code::kOk) return outcome;
  }
  return Code::kOk;
}

void Settling::Decide(Output& out, bool met) {
  if (!met) {
    out.SetAmbiguous(mark_);
    ++ambiguous_;
  }
  ++mark_;
  requirement_ = 0;
}

Code Settling::Advance(Output& out) {
  while (mark_ < out.mark_count()) {
    const Code outcome = Look(out);
    if (outcome == Code::kWouldBlock) return outcome;
    Decide(out, outcome == Code::kOk);
  }
  wait_ = {};
  out.ReplaceAmbiguous();
  return Code::kOk;
}

void Settling::Await(const Output& out, const engine::WaiterRef& waiter) {
  wait_ = engine_->AwaitDurability(out.requirements(mark_)[requirement_], ticket_, waiter);
}

void Settling::GiveUp(Output& out) {
  while (mark_ < out.mark_count()) Decide(out, Look(out) == Code::kOk);
  wait_ = {};
  out.ReplaceAmbiguous();
}

}  // namespace cairn::server
