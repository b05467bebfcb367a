#pragma once
// Chooses what a connection asks next. One per connection with a seed of its own: with equal seeds all
// connections would ask for the same key at nearly the same time, which flatters every cache on the way.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "bench/loadgen/batch.h"
#include "bench/loadgen/options.h"
#include "bench/loadgen/random.h"

namespace cairn::loadgen {

/// What all connections of a run share: the keys that are left, and the common order.
class Supply {
 public:
  explicit Supply(const Options& options);
  /// Takes up to `wanted` keys from what is left to do; 0 when the run is over.
  size_t Take(size_t wanted);
  /// Order::kOnce: the next key number of the scrambled order.
  uint64_t NextOnce() { return scramble_(next_++); }
  /// The key number of a rank, so that the popular keys of a Zipf load lie scattered.
  uint64_t Scatter(uint64_t rank) const { return scramble_(rank); }
  /// Notes that `key` is being set; kept only with --count-distinct.
  void NoteSet(uint64_t key);
  uint64_t distinct_sets() const { return distinct_sets_; }

 private:
  uint64_t left_;
  uint64_t next_ = 0;
  Permutation scramble_;
  std::vector<bool> set_keys_;
  uint64_t distinct_sets_ = 0;
};

class Workload {
 public:
  /// `options` and `supply` must outlive the workload. `index` is the connection's number.
  Workload(const Options& options, Supply& supply, uint64_t index);
  /// Clears `batch` and fills it. False when there is nothing left to do.
  bool Fill(Batch* batch);

 private:
  uint64_t NextKey();

  const Options& options_;
  Supply& supply_;
  Random random_;
  std::optional<Zipf> zipf_;
};

}  // namespace cairn::loadgen
