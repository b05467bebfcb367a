#include "server/executor_base.h"

#include <algorithm>

#include "base/log.h"

namespace cairn::server {

uint32_t FlushDelay(int64_t exptime, uint32_t now_s) {
  constexpr int64_t kRelativeMax = 60 * 60 * 24 * 30;
  if (exptime <= 0) return 0;
  if (exptime <= kRelativeMax) return static_cast<uint32_t>(exptime);
  const int64_t delay = exptime - int64_t{now_s};
  return delay <= 0 ? 0 : static_cast<uint32_t>(std::min<int64_t>(delay, UINT32_MAX));
}

void ApplyVerbosity(uint32_t level) {
  SetLogLevel(level == 0 ? LogLevel::kWarn : level == 1 ? LogLevel::kInfo : LogLevel::kDebug);
}

}  // namespace cairn::server
