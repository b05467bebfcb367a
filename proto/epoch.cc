#include "proto/epoch.h"

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "base/crc32c.h"

namespace cairn::proto {

uint32_t EpochTagOf(const std::array<uint8_t, 16>& node_uuid) {
  const std::string_view bytes(reinterpret_cast<const char*>(node_uuid.data()), node_uuid.size());
  return std::max(Crc32c(bytes), uint32_t{1});
}

std::optional<uint64_t> NextEpoch(uint64_t known, uint64_t least, uint32_t tag) {
  uint64_t counter = EpochCounter(known) + 1;
  if (EpochCounter(least) > counter) counter = EpochCounter(least);
  if (EpochCounter(least) == counter && EpochTag(least) > tag) ++counter;
  if (counter > kEpochCounterMax) return std::nullopt;
  return MakeEpoch(counter, tag);
}

std::optional<uint64_t> HandoverEpoch(uint64_t known) {
  if (EpochCounter(known) >= kEpochCounterMax) return std::nullopt;
  return MakeEpoch(EpochCounter(known) + 1, 0);
}

std::string FormatEpoch(uint64_t epoch) {
  const std::string counter = std::to_string(EpochCounter(epoch));
  if (EpochTag(epoch) == 0) return counter;
  char tag[16];
  std::snprintf(tag, sizeof(tag), ".%08x", EpochTag(epoch));
  return counter + tag;
}

}  // namespace cairn::proto
