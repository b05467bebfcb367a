#include "cli/vbucket_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/types.h"
#include "cli/format.h"

namespace cairn::cli {
namespace {

// First and last of "600" or "0-511".
Result<std::pair<uint32_t, uint32_t>> ParsePart(std::string_view part) {
  const size_t dash = std::min(part.find('-'), part.size());
  const std::optional<uint32_t> first = ParseU32(part.substr(0, dash));
  const std::optional<uint32_t> last = dash == part.size() ? first : ParseU32(part.substr(dash + 1));
  if (!first || !last) {
    return Status(Code::kInvalidArgument,
                  fmt::format("\"{}\" is no vbucket and no range of them; write 0-511,600", part));
  }
  if (*last >= kVbucketCountMax || *first > *last) {
    return Status(Code::kInvalidArgument, fmt::format("\"{}\": vbuckets go from 0 to {}, the smaller first",
                                                      part, kVbucketCountMax - 1));
  }
  return std::pair(*first, *last);
}

}  // namespace

Result<std::vector<uint32_t>> ParseVbucketList(std::string_view text) {
  std::vector<bool> chosen(kVbucketCountMax);  // what bounds the work, whatever was written
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const auto part = ParsePart(text.substr(begin, end - begin));
    if (!part.ok()) return part.status();
    std::fill(chosen.begin() + part->first, chosen.begin() + part->second + 1, true);
    begin = end + 1;
  }
  std::vector<uint32_t> vbuckets;
  for (uint32_t i = 0; i < kVbucketCountMax; ++i) {
    if (chosen[i]) vbuckets.push_back(i);
  }
  return vbuckets;
}

std::string FormatVbucketList(const std::vector<uint32_t>& vbuckets) {
  std::string text;
  for (size_t i = 0; i < vbuckets.size();) {
    size_t end = i + 1;
    while (end < vbuckets.size() && vbuckets[end] == vbuckets[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += std::to_string(vbuckets[i]);
    if (end - i > 1) text += fmt::format("-{}", vbuckets[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace cairn::cli
