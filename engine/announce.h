#pragma once
// AnnounceLater: gathers what the calling thread has to tell streams ("there is something new in that
// vbucket") until it goes out of scope. A stream's thread is then woken once for a batch of operations, and
// sends all of it; the first operation would else wake it, and most of the batch would go as a second
// message.
//
// One thread's, on its stack. Nested ones do nothing: the outermost tells.

#include <array>
#include <cstddef>
#include <functional>
#include <span>

#include "base/types.h"

namespace cairn::engine {

struct Core;

/// There is something new in these vbuckets. `may_work`: the calling thread holds no lock and is between two
/// batches of a connection, so whoever hears of it may do some tens of microseconds of work on it; else it
/// returns at once.
using Announce = std::function<void(std::span<const Vbid> vbuckets, bool may_work)>;

class AnnounceLater {
 public:
  explicit AnnounceLater(const Core& core) : core_(core), outer_(current_) {
    if (outer_ == nullptr) current_ = this;
  }
  ~AnnounceLater() {
    if (outer_ != nullptr) return;
    Tell(true);
    current_ = nullptr;
    Tell(false);  // what that has caused
  }
  /// What is gathered until now; before something that takes long. Of the outermost.
  void TellNow() {
    if (outer_ == nullptr) Tell(true);
  }
  AnnounceLater(const AnnounceLater&) = delete;
  AnnounceLater& operator=(const AnnounceLater&) = delete;

  /// True: it will be told. False: nothing gathers for `core` on this thread, tell it now.
  static bool Take(const Core& core, Vbid vbucket) {
    return current_ != nullptr && &current_->core_ == &core && current_->Add(vbucket);
  }

 private:
  static constexpr size_t kGatheredMax = 32;

  bool Add(Vbid vbucket);
  void Tell(bool may_work);

  static constinit thread_local AnnounceLater* current_;
  const Core& core_;
  AnnounceLater* const outer_;
  size_t count_ = 0;
  std::array<Vbid, kGatheredMax> gathered_;
};

}  // namespace cairn::engine
