#include "proto/parse.h"

#include <algorithm>
#include <limits>

namespace cairn::proto {

uint32_t AbsoluteExpiry(int64_t exptime, uint32_t now_unix_seconds) {
  constexpr int64_t kRelativeMax = 30 * 24 * 3600;
  constexpr int64_t kLatest = std::numeric_limits<uint32_t>::max();
  if (exptime == 0) return 0;
  // One second after the epoch has passed on every clock.
  if (exptime < 0) return 1;
  const int64_t base = exptime <= kRelativeMax ? now_unix_seconds : 0;
  return static_cast<uint32_t>(std::min(base + std::min(exptime, kLatest), kLatest));
}

}  // namespace cairn::proto
