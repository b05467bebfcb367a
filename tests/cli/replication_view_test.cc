#include "cli/replication_view.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

StreamRow Stream(uint32_t vbucket, std::string state, uint64_t lag) {
  StreamRow row;
  row.vbucket = vbucket;
  row.state = std::move(state);
  row.high = 1000;
  row.sent = 1000;
  row.applied = 1000 - lag;
  row.persisted = 900;
  row.lag_operations = lag;
  row.lag_us = lag * 10;
  row.verified = 900;
  row.verified_checkpoint = 3;
  row.last_end = "ok";
  return row;
}

// A node that copies from a, and sends to b, whose connection is gone.
ReplicationView View() {
  ReplicationView view;
  view.unix_ms = 1'715'938'264'500;
  ConnectionRow from;
  from.name = "a";
  from.address = "127.0.0.1:11209";
  from.connected = true;
  from.connected_ms = 185'000;
  from.reconnects = 2;
  from.bytes = 4096;
  from.operations = 1000;
  from.backfilled_operations = 800;
  from.streams_total = 4;
  from.streaming = 1;
  from.backfilling = 2;
  from.probing = 1;
  from.lag_operations = 500;
  from.lag_us = 2500;
  from.backfill_sent = 50;
  from.backfill_total = 200;
  from.verified = 1;
  view.connections.push_back(from);
  ConnectionRow to;
  to.name = "b";
  to.producing = true;
  to.streams_total = 2;
  to.streaming = 2;
  to.mismatched = 1;
  to.last_error = "connection reset\n";
  view.connections.push_back(to);
  return view;
}

TEST(ReplicationViewTest, TheScreenTellsLagProgressAndDigests) {
  EXPECT_EQ(RenderWatchScreen("127.0.0.1:11212", nullptr, View()),
            "127.0.0.1:11212  2024-05-17 09:31:04Z\n"
            "\n"
            "from a (127.0.0.1:11209): connected for 3 min 05 s, 2 reconnects\n"
            "  streams   1 stream, 2 backfill, 1 probe\n"
            "  lag       500 operations, about 2.0 KiB, 2.5 ms\n"
            "  received  4.0 KiB, 1,000 operations\n"
            "  backfill  [#########...............]  37 %  1 of 4 vbuckets copied, 800 operations\n"
            "  verified  1 of 4 vbuckets\n"
            "\n"
            "to b: NOT CONNECTED\n"
            "  streams   2 stream\n"
            "  lag       none\n"
            "  sent      0 B, 0 operations\n"
            "  verified  0 of 2 vbuckets, 1 DIFFERENT DIGESTS\n"
            "  last error connection reset\\n\n");
}

TEST(ReplicationViewTest, RatesComeFromTwoLooksAtTheSameConnection) {
  const ReplicationView before = View();
  ReplicationView now = View();
  now.unix_ms += 2000;
  now.connections[0].bytes += 2 << 20;
  now.connections[0].operations += 5000;
  EXPECT_EQ(RenderWatchLine(&before, now),
            "2024-05-17 09:31:06Z  from a: 1 stream, 2 backfill, 1 probe, backfill 37 %, lag 500 operations, "
            "about 171.0 KiB, 2.5 ms, 2,500 operations/s, 1.0 MiB/s, verified 1 of 4 vbuckets; to b: NOT "
            "CONNECTED, connection reset\\n");
  // A connection that was made anew counts from 0 again.
  now.connections[0].bytes = 10;
  EXPECT_EQ(RatesBetween(&before, now, now.connections[0]).seconds, 0);
  EXPECT_EQ(RatesBetween(nullptr, now, now.connections[0]).seconds, 0);
}

TEST(ReplicationViewTest, ANodeWithoutConnectionsSaysSo) {
  ReplicationView view;
  view.unix_ms = 1'715'938'264'500;
  EXPECT_EQ(RenderWatchLine(nullptr, view), "2024-05-17 09:31:04Z  no connections");
  EXPECT_NE(RenderConnections(view).find("no connections"), std::string::npos);
  EXPECT_EQ(ReplicationJson(view), R"({"time_ms":1715938264500,"connections":[]})");
}

TEST(ReplicationViewTest, TheTableHasARowPerConnectionAndTheErrorsBelow) {
  const std::string text = RenderConnections(View());
  EXPECT_NE(text.find("from       a     127.0.0.1:11209  3 min 05 s"), std::string::npos) << text;
  EXPECT_NE(text.find("to         b                      NO"), std::string::npos) << text;
  EXPECT_NE(text.find("\nLast errors\nb: connection reset\\n\n"), std::string::npos) << text;
}

TEST(ReplicationViewTest, StreamsAreSortedAndFiltered) {
  ReplicationView view = View();
  view.connections[0].streams = {Stream(0, "stream", 1), Stream(1, "backfill", 30), Stream(2, "stream", 7)};
  view.connections[1].streams = {Stream(1, "stream", 9)};
  const auto numbers = [](const std::vector<PeerStream>& streams) {
    std::string text;
    for (const PeerStream& s : streams) text += s.peer + std::to_string(s.stream.vbucket) + " ";
    return text;
  };
  EXPECT_EQ(numbers(SelectStreams(view, {})), "a1 b1 a2 a0 ");
  EXPECT_EQ(numbers(SelectStreams(view, {.sort = "vbucket"})), "a0 a1 b1 a2 ");
  EXPECT_EQ(numbers(SelectStreams(view, {.state = "stream"})), "b1 a2 a0 ");
  EXPECT_EQ(numbers(SelectStreams(view, {.peer = "127.0.0.1:11209"})), "a1 a2 a0 ");
  EXPECT_EQ(numbers(SelectStreams(view, {.peer = "b"})), "b1 ");
  EXPECT_EQ(numbers(SelectStreams(view, {.vbuckets = {0, 2}})), "a2 a0 ");
  EXPECT_EQ(numbers(SelectStreams(view, {.show_max = 2})), "a1 b1 ");
}

TEST(ReplicationViewTest, AStreamShowsWhereItIsAndWhatWasVerified) {
  StreamRow row = Stream(7, "backfill", 100);
  row.backfill_sent = 1;
  row.backfill_total = 4;
  row.digest_mismatch = true;
  row.last_end = "rollback";
  EXPECT_EQ(
      RenderStreams({{"a", false, row}}),
      "direction  node  vbucket  state     lag  behind  high  sent  applied  persisted  backfill  verified  "
      "digest     last end\n"
      "---------  ----  -------  --------  ---  ------  ----  ----  -------  ---------  --------  --------  "
      "---------  --------\n"
      "from       a           7  backfill  100  1.0 ms  1000  1000      900        900      25 %       900 "
      " DIFFERENT  rollback\n");
  EXPECT_EQ(RenderStreams({}), "no streams\n");
  EXPECT_NE(StreamsJson({{"a", false, row}}).find(R"("vbucket":7,"state":"backfill","high":1000)"),
            std::string::npos);
}

TEST(ReplicationViewTest, LinesAreCutToTheTerminal) {
  EXPECT_EQ(FitToTerminal("abcdef\ngr\u00fcn\n", 4, 10), "abcd\ngr\u00fcn\n");
  EXPECT_EQ(FitToTerminal("1\n2\n3\n4\n", 30, 3), "1\n2\n\u2026 2 more lines\n");
  EXPECT_EQ(FitToTerminal("1\n2\n3\n", 30, 3), "1\n2\n3\n");
}

}  // namespace
}  // namespace cairn::cli
