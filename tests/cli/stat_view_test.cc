#include "cli/stat_view.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

StatList Vbuckets() {
  return {{"vb_0:state", "active"}, {"vb_0:items", "7"},      {"vb_10:state", "replica"},
          {"vb_10:items", "120"},   {"vb_2:state", "active"}, {"vb_2:uuid", "a1b2"},
          {"other", "ignored"},     {"vb_x:state", "ignored"}};
}

TEST(StatViewTest, VbucketsAreRowsInTheOrderOfTheirNumbers) {
  EXPECT_EQ(PivotVbucketStats(Vbuckets()).Render(),
            "vbucket  state    items  uuid\n"
            "-------  -------  -----  ----\n"
            "      0  active       7  -\n"
            "      2  active       -  a1b2\n"
            "     10  replica    120  -\n");
}

TEST(StatViewTest, OnlyVbucketsInTheStateAreKept) {
  VbucketTable table = PivotVbucketStats(Vbuckets());
  table.KeepState("replica");
  EXPECT_EQ(table.Json(), R"([{"vbucket":10,"state":"replica","items":120}])");
}

TEST(StatViewTest, NamesWithoutAFigureAreTheState) {
  const auto parsed = ParseVbucketStat("vb_12");
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->first, 12u);
  EXPECT_EQ(parsed->second, "state");
  EXPECT_EQ(ParseVbucketStat("vb_12:persistence:remaining")->second, "persistence:remaining");
  EXPECT_FALSE(ParseVbucketStat("vb_active_num").has_value());
}

TEST(StatViewTest, StatisticsBecomeOneObject) {
  EXPECT_EQ(StatsJson({{"pid", "12"}, {"version", "1.6.18"}}), R"({"pid":12,"version":"1.6.18"})");
  EXPECT_EQ(RenderStats({{"pid", "12"}, {"version", "1.6.18"}}), "pid      12\nversion  1.6.18\n");
}

Overview ACairnd() {
  Overview overview;
  overview.server = "127.0.0.1:11211";
  overview.general = {{"pid", "77"},
                      {"uptime", "3700"},
                      {"version", "1.6.18"},
                      {"cairn_version", "1"},
                      {"curr_connections", "3"},
                      {"curr_items", "63436"},
                      {"mem_used", "104857"},
                      {"bytes", "1"},
                      {"limit_maxbytes", "1048570"},
                      {"cmd_get", "4"},
                      {"get_hits", "3"},
                      {"get_misses", "1"},
                      {"cmd_set", "5"},
                      {"ep_queue_size", "1200"},
                      {"ep_persistence", "running"},
                      {"vb_active_num", "8"},
                      {"ep_persistence_error", "none"}};
  overview.warmup = {{"ep_warmup_state", "done"}, {"ep_warmup_items", "9"}, {"ep_warmup_time_us", "52000"}};
  overview.update = ParseUpdateStats({{"online_update_state", "normal"}});
  return overview;
}

TEST(StatViewTest, TheOverviewFitsOneScreen) {
  EXPECT_EQ(RenderOverview(ACairnd()),
            "server         127.0.0.1:11211\n"
            "version        Cairn 1, speaks memcached 1.6.18\n"
            "process        77\n"
            "up for         1 h 01 min\n"
            "clients        3 connections\n"
            "\n"
            "items          63,436\n"
            "memory         102.4 KiB of 1.0 MiB (10.0 %)\n"
            "reads          4, 75.0 % hits\n"
            "writes         5\n"
            "\n"
            "persistence    running, 1,200 operations waiting\n"
            "warm-up        done, 9 items in 52 ms\n"
            "vbuckets       8 active, 0 replica, 0 pending, 0 dead\n"
            "online update  normal\n");
}

TEST(StatViewTest, ADiskErrorIsSaid) {
  Overview overview = ACairnd();
  overview.general.back().second = "NO_SPACE: disk full";
  EXPECT_NE(RenderOverview(overview).find("disk error     NO_SPACE: disk full"), std::string::npos);
}

TEST(StatViewTest, TheOverviewOfAnotherServerLeavesOutWhatItHasNot) {
  Overview overview;
  overview.general = {{"pid", "1"}, {"version", "1.6.18"}};
  const std::string text = RenderOverview(overview);
  EXPECT_EQ(text.find("warm-up"), std::string::npos);
  EXPECT_NE(text.find("not known to this server"), std::string::npos);
  EXPECT_EQ(
      OverviewJson(overview),
      R"({"pid":1,"version":"1.6.18","warmup":{},"online_update":{"state":"","digest_now":"","history":[]}})");
}

}  // namespace
}  // namespace cairn::cli
