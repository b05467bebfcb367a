#pragma once
// Warmer: after a restart, loads data into memory vbucket by vbucket while traffic is already served. When
// memory is filled beyond the low watermark, values stay on disk and items are loaded in their ejected form.
// One thread at a time.

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "engine/core.h"

namespace cairn::engine {

class Warmer {
 public:
  explicit Warmer(Core& core) : core_(core) {}
  ~Warmer() { Stop(); }
  Warmer(const Warmer&) = delete;
  Warmer& operator=(const Warmer&) = delete;

  void Start();
  void Stop();
  /// Loads up to about `items` items. False when everything is loaded.
  Result<bool> RunSome(size_t items);

  uint64_t loaded_items() const { return loaded_.load(std::memory_order_relaxed); }
  uint32_t warm_vbuckets() const { return next_.load(std::memory_order_relaxed); }
  /// Vbuckets whose data cannot be read through; they stay cold.
  uint32_t damaged_vbuckets() const { return damaged_.load(std::memory_order_relaxed); }
  int64_t duration_ns() const { return duration_ns_.load(std::memory_order_relaxed); }

 private:
  void Run();
  /// True at the end of the vbucket.
  Result<bool> LoadSome(VBucket& vb, size_t items);
  void FinishVbucket(VBucket& vb);

  Core& core_;
  std::atomic<uint32_t> next_{0};  // vbuckets before it are warm
  std::atomic<uint64_t> loaded_{0};
  std::atomic<uint32_t> damaged_{0};
  std::atomic<int64_t> duration_ns_{0};
  std::atomic<bool> stopping_{false};
  int64_t begun_ns_ = 0;
  std::string position_;  // key to go on from in vbucket next_
  std::thread thread_;
};

}  // namespace cairn::engine
