#pragma once
// What both ends of our gRPC connections agree on (docs/tap.md, "Flow and time").

#include <cstdint>

namespace cairn::tap {

// A dead peer is found within the sum of both.
inline constexpr int kKeepaliveTimeMs = 10'000;
inline constexpr int kKeepaliveTimeoutMs = 5'000;
inline constexpr int kMetadataBytesMax = 8 << 10;
// HTTP/2 window of a stream of ours, fixed: what is under way to a consumer is bounded by its credits.
inline constexpr uint32_t kTapWindowBytes = 16u << 20;

}  // namespace cairn::tap
