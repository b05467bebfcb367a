#include "checkpoint/trash.h"

#include "checkpoint/checkpoint.h"

namespace cairn::checkpoint {

Trash::Rest& Trash::rest() {
  if (rest_ == nullptr) rest_ = new Rest;
  return *rest_;
}

void Trash::AddToRest(ItemRef item) { rest().items.push_back(std::move(item)); }

void Trash::FreeRest() { delete std::exchange(rest_, nullptr); }

}  // namespace cairn::checkpoint
