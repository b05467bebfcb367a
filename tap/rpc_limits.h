#pragma once
// What both ends of our gRPC connections agree on (docs/tap.md, "Flow and time").

namespace cairn::tap {

// A dead peer is found within the sum of both.
inline constexpr int kKeepaliveTimeMs = 10'000;
inline constexpr int kKeepaliveTimeoutMs = 5'000;
inline constexpr int kMetadataBytesMax = 8 << 10;

}  // namespace cairn::tap
