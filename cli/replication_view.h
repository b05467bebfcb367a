#pragma once
// Connections and streams of replication as people and scripts read them. Pure.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/admin_client.h"

namespace cairn::cli {

/// Bytes that the lag is worth: its operations, each as large as those on the connection were on average.
uint64_t LagBytes(const ConnectionRow& connection);

/// What came in between two looks at the same connection; zeros when it is another or the first.
struct ConnectionRates {
  double seconds = 0;
  uint64_t bytes = 0, operations = 0;
};
ConnectionRates RatesBetween(const ReplicationView* before, const ReplicationView& now,
                             const ConnectionRow& connection);

/// The screen of `replicate watch`: a block per connection. `before`: the last look, or null.
std::string RenderWatchScreen(const std::string& address, const ReplicationView* before,
                              const ReplicationView& now);
/// The same as one line, for a log.
std::string RenderWatchLine(const ReplicationView* before, const ReplicationView& now);
/// The table of `replicate list`, and of what went wrong.
std::string RenderConnections(const ReplicationView& view);
/// {"time_ms", "connections": [...]}; streams where there are any.
std::string ReplicationJson(const ReplicationView& view);

/// What `cairnctl tap` shows of all streams.
struct StreamQuery {
  std::string sort = "lag";             // lag, vbucket, backfill
  std::string state = {};               // only these; empty: all
  std::string peer = {};                // only of connections with this name or address; empty: all
  std::vector<uint32_t> vbuckets = {};  // only these, ascending; empty: all
  uint64_t show_max = 0;                // 0: all
};
struct PeerStream {
  std::string peer;  // name of the other side
  bool producing = false;
  StreamRow stream;
};
std::vector<PeerStream> SelectStreams(const ReplicationView& view, const StreamQuery& query);
std::string RenderStreams(const std::vector<PeerStream>& streams);
std::string StreamsJson(const std::vector<PeerStream>& streams);

/// Lines that fit: at most `columns` columns each and `rows` lines, the last saying how many were left out.
std::string FitToTerminal(std::string_view text, size_t columns, size_t rows);

}  // namespace cairn::cli
