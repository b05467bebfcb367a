#pragma once
// Trash: what a CheckpointManager no longer needs, on its way out of the vbucket's lock. Destroying the
// Trash drops the references and frees the memory, which is why it must outlive the lock:
//
//   Trash trash;
//   { MutexLock lock(vbucket.mutex); …; checkpoints.Append(item, replaced, now_ns, trash); }
//
// One is made for every write, so an empty one is two null pointers, and one item is kept without an
// allocation. The caller may add items of its own (the version that left the table). Owned by one thread.

#include <utility>

#include "base/item.h"

namespace cairn::checkpoint {

class Trash {
 public:
  Trash() = default;
  Trash(Trash&& other) noexcept
      : first_(std::move(other.first_)), rest_(std::exchange(other.rest_, nullptr)) {}
  Trash& operator=(Trash&& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(rest_, other.rest_);
    return *this;
  }
  ~Trash() {
    if (rest_ != nullptr) FreeRest();
  }

  /// Takes over the reference; a null one is ignored.
  void Add(ItemRef item) {
    if (!first_) {
      first_ = std::move(item);
    } else if (item) {
      AddToRest(std::move(item));
    }
  }
  bool empty() const { return !first_ && rest_ == nullptr; }

 private:
  friend class Checkpoint;
  struct Rest;  // more items, chunks, and whole lists of chunks

  Rest& rest();
  void AddToRest(ItemRef item);
  void FreeRest();

  ItemRef first_;
  Rest* rest_ = nullptr;
};

}  // namespace cairn::checkpoint
