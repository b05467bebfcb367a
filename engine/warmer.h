#pragma once
// Warmer: loads data into memory vbucket by vbucket while traffic is already served: after a restart all of
// them, later those whose content was replaced by what is on disk (a rollback). When memory is filled beyond
// the low watermark, values stay on disk and items are loaded in their ejected form.
//
// Threads: RunSome by one thread at a time, Load from any.

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "engine/core.h"

namespace cairn::engine {

/// Where the loading of one vbucket stands.
struct WarmerProgress {
  uint32_t index = 0;
  bool first_round = true;
  uint64_t content = 0;  // of the content that is being loaded; 0: not begun
  std::string position;  // key to go on from
  Seqno highest;         // of the records so far
};

class Warmer {
 public:
  explicit Warmer(Core& core) : core_(core) {}
  ~Warmer() { Stop(); }
  Warmer(const Warmer&) = delete;
  Warmer& operator=(const Warmer&) = delete;

  void Start();
  void Stop() CAIRN_EXCLUDES(mutex_);
  /// Loads this vbucket before all that are not begun.
  void Load(Vbid vbucket) CAIRN_EXCLUDES(mutex_);
  /// Loads up to about `items` items. False when everything is loaded.
  Result<bool> RunSome(size_t items) CAIRN_EXCLUDES(mutex_);

  uint64_t loaded_items() const { return loaded_.load(std::memory_order_relaxed); }
  /// Vbuckets of the first round, after the restart, that are warm.
  uint32_t warm_vbuckets() const { return next_.load(std::memory_order_relaxed); }
  /// Vbuckets whose data cannot be read through; they stay cold.
  uint32_t damaged_vbuckets() const { return damaged_.load(std::memory_order_relaxed); }
  int64_t duration_ns() const { return duration_ns_.load(std::memory_order_relaxed); }

 private:
  void Run() CAIRN_EXCLUDES(mutex_);
  /// The next vbucket to load becomes current_; false: there is none.
  bool TakeNext() CAIRN_EXCLUDES(mutex_);
  /// True at the end of the vbucket, or when its content is not what was begun.
  Result<bool> LoadSome(VBucket& vb, size_t items);
  void FinishVbucket(VBucket& vb, uint64_t content);
  /// After a vbucket: true when everything is loaded.
  bool NoteEnd(const WarmerProgress& ended) CAIRN_EXCLUDES(mutex_);

  Core& core_;
  std::atomic<uint32_t> next_{0};  // vbuckets before it are through with the first round
  std::atomic<uint64_t> loaded_{0};
  std::atomic<uint32_t> damaged_{0};
  std::atomic<int64_t> duration_ns_{0};
  std::atomic<bool> stopping_{false};
  int64_t begun_ns_ = 0;
  std::optional<WarmerProgress> current_;  // of the loading thread
  mutable Mutex mutex_;
  CondVar wake_;
  std::deque<Vbid> wanted_ CAIRN_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace cairn::engine
