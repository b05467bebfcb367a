#pragma once
// `stats tap [streams|VBUCKET]`: what ConnectionInfo holds, as names and values. Pure.

#include <string_view>
#include <vector>

#include "engine/ops.h"
#include "tap/producer.h"

namespace cairn::tap {

/// Without argument: every connection, its streams added up. "streams", or a vbucket's number: those streams
/// too. INVALID_ARGUMENT for another argument.
Status WriteTapStats(const std::vector<ConnectionInfo>& connections, std::string_view argument,
                     int64_t now_ns, const engine::StatSink& sink);

}  // namespace cairn::tap
