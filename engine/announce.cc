#include "engine/announce.h"

#include <algorithm>
#include <utility>

#include "engine/core.h"

namespace cairn::engine {

constinit thread_local AnnounceLater* AnnounceLater::current_ = nullptr;

bool AnnounceLater::Add(Vbid vbucket) {
  if (count_ == kGatheredMax) Tell(false);  // in the middle of an operation
  gathered_[count_++] = vbucket;
  return true;
}

// Whoever hears of it may cause more, which is gathered meanwhile.
void AnnounceLater::Tell(bool may_work) {
  std::array<Vbid, kGatheredMax> gathered;
  const size_t count = std::exchange(count_, 0);
  std::copy_n(gathered_.begin(), count, gathered.begin());
  if (count > 0) core_.announce({gathered.data(), count}, may_work);
}

}  // namespace cairn::engine
