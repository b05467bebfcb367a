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
  for (size_t i = 0; i < count_; ++i) core_.announce(gathered_[i]);
  count_ = 0;
}

}  // namespace cairn::engine
