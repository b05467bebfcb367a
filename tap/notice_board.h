#pragma once
// NoticeBoard: which vbuckets have something new. Engine threads put notices up on the way of every batch of
// operations, who works for the session takes them down. A notice that hangs already costs one atomic
// operation.

#include <atomic>
#include <bit>
#include <cstdint>
#include <vector>

#include "base/types.h"

namespace cairn::tap {

class NoticeBoard {
 public:
  explicit NoticeBoard(uint32_t vbucket_count) : words_((vbucket_count + 63) / 64) {}

  /// From any thread. True when it did not hang there already: wake the session then. Otherwise whoever put
  /// it up does, and the session will see what was done before this call.
  bool Put(Vbid vbucket) {
    std::atomic<uint64_t>& word = words_[vbucket.get() / 64];
    const uint64_t bit = uint64_t{1} << (vbucket.get() % 64);
    return (word.fetch_or(bit, std::memory_order_acq_rel) & bit) == 0;
  }

  /// By who works for the session: calls `take(Vbid)` for each notice, which is down before the call.
  template <class Take>
  void TakeAll(const Take& take) {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (words_[i].load(std::memory_order_relaxed) == 0) continue;
      uint64_t bits = words_[i].exchange(0, std::memory_order_acq_rel);
      for (; bits != 0; bits &= bits - 1) {
        take(Vbid(static_cast<uint16_t>(i * 64 + static_cast<size_t>(std::countr_zero(bits)))));
      }
    }
  }

 private:
  std::vector<std::atomic<uint64_t>> words_;
};

}  // namespace cairn::tap
