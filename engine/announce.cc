#include "engine/announce.h"

#include "engine/core.h"

namespace cairn::engine {

constinit thread_local AnnounceLater* AnnounceLater::current_ = nullptr;

bool AnnounceLater::Add(Vbid vbucket) {
  if (count_ == kGatheredMax) Tell();
  gathered_[count_++] = vbucket;
  return true;
}

void AnnounceLater::Tell() {
  if (count_ > 0) core_.announce({gathered_.data(), count_}, true);
  count_ = 0;
}

}  // namespace cairn::engine
