#pragma once
// Sets of vbuckets as people write them: "0-511,600". Pure functions, any thread.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace cairn::cli {

/// Numbers and ranges between commas, each below kVbucketCountMax; ascending and without repetitions in the
/// answer, however they were written. INVALID_ARGUMENT says which part makes no sense.
Result<std::vector<uint32_t>> ParseVbucketList(std::string_view text);

/// The shortest way to write them; `vbuckets` ascending. "" for none.
std::string FormatVbucketList(const std::vector<uint32_t>& vbuckets);

}  // namespace cairn::cli
