#include "cli/update_view.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

// As a cairnd answers during an update, after one that was reverted and one that was completed.
StatList Updating() {
  return {{"ep_onlineupdate", "true"},
          {"online_update_state", "updating"},
          {"online_update_id", "000102030405060708090a0b0c0d0e0f"},
          {"online_update_name", "catalogue-2"},
          {"online_update_started", "1715938264"},
          {"online_update_age_ms", "185000"},
          {"online_update_digest_at_start", "00000000000000aa"},
          {"online_update_vbuckets_moved", "1024"},
          {"online_update_vbuckets_total", "1024"},
          {"online_update_digest_now", "00000000000000bb"},
          {"online_update_keys_added", "100"},
          {"online_update_keys_updated", "2000"},
          {"online_update_keys_deleted", "1"},
          {"online_update_window_bytes", "1048576"},
          {"online_update_preimage_bytes", "2048"},
          {"online_update_keys_to_revert", "0"},
          {"online_update_history_1_id", "11111111111111111111111111111111"},
          {"online_update_history_1_name", ""},
          {"online_update_history_1_outcome", "completed"},
          {"online_update_history_1_digest_equal", "true"},
          {"online_update_history_0_id", "22222222222222222222222222222222"},
          {"online_update_history_0_name", "first"},
          {"online_update_history_0_outcome", "reverted"},
          {"online_update_history_0_started", "1715938000"},
          {"online_update_history_0_decided", "1715938060"},
          {"online_update_history_0_open_ms", "62000"},
          {"online_update_history_0_duration_us", "12000"},
          {"online_update_history_0_added", "5"},
          {"online_update_history_0_updated", "6"},
          {"online_update_history_0_deleted", "7"},
          {"online_update_history_0_digest_equal", "true"}};
}

TEST(UpdateViewTest, ReadsWhatTheServerSays) {
  const UpdateView view = ParseUpdateStats(Updating());
  EXPECT_TRUE(view.running());
  EXPECT_EQ(view.name, "catalogue-2");
  EXPECT_EQ(view.changed(), 2101u);
  EXPECT_EQ(view.age_s, 185);
  EXPECT_EQ(view.window_bytes, 1048576u);
  ASSERT_EQ(view.history.size(), 2u);
  EXPECT_EQ(view.history[0].name, "first");  // newest first, in whatever order they came
  EXPECT_EQ(view.history[0].duration_us, 12000u);
  EXPECT_FALSE(view.history[0].alarming());
  EXPECT_EQ(view.history[1].outcome, "completed");
}

TEST(UpdateViewTest, TheTableTellsAllAndWhatEachDecisionWouldDo) {
  EXPECT_EQ(
      RenderUpdate(ParseUpdateStats(Updating())),
      "state            updating\n"
      "name             catalogue-2\n"
      "id               000102030405060708090a0b0c0d0e0f\n"
      "started          2024-05-17 09:31:04Z, 3 min 05 s ago\n"
      "keys             100 added, 2,000 updated, 1 deleted\n"
      "window           1.0 MiB logged since START\n"
      "pre-images       2.0 KiB of memory held to take it back\n"
      "digest at START  00000000000000aa\n"
      "digest now       00000000000000bb\n"
      "\n"
      "COMPLETE would keep these 2,101 keys as they are now.\n"
      "REVERT would remove the 100 added, and bring back the 2,000 updated and 1 deleted as they were at "
      "START.\n"
      "\n"
      "The last updates, newest first\n"
      "started               name   outcome      open for   took  added  updated  deleted  digest       id\n"
      "--------------------  -----  ---------  ----------  -----  -----  -------  -------  -----------  "
      "--------------------------------\n"
      "2024-05-17 09:26:40Z  first  reverted   1 min 02 s  12 ms      5        6        7  as at START  "
      "22222222222222222222222222222222\n"
      "-                            completed        0 ms      -      0        0        0               "
      "11111111111111111111111111111111\n");
}

TEST(UpdateViewTest, ARevertThatDidNotReachTheDigestOfStartIsAnAlarm) {
  StatList stats = Updating();
  stats.back().second = "false";
  const UpdateView view = ParseUpdateStats(stats);
  EXPECT_TRUE(view.history[0].alarming());
  EXPECT_NE(RenderUpdate(view).find("DIFFERS FROM START"), std::string::npos);
}

TEST(UpdateViewTest, WithoutAnUpdateOnlyStateAndHistoryAreShown) {
  const UpdateView view = ParseUpdateStats({{"online_update_state", "normal"},
                                            {"online_update_digest_now", "cc"},
                                            {"online_update_keys_added", "0"}});
  EXPECT_FALSE(view.running());
  EXPECT_EQ(RenderUpdate(view), "state       normal\ndigest now  cc\n");
  EXPECT_EQ(RenderUpdateLine(view), "normal");
  EXPECT_EQ(UpdateJson(view), R"({"state":"normal","digest_now":"cc","history":[]})");
}

TEST(UpdateViewTest, AStepUnderWayShowsHowFarItIs) {
  const UpdateView view = ParseUpdateStats({{"online_update_state", "reverting"},
                                            {"online_update_age_ms", "2000"},
                                            {"online_update_vbuckets_moved", "3"},
                                            {"online_update_vbuckets_total", "1024"},
                                            {"online_update_keys_to_revert", "1000"}});
  EXPECT_EQ(RenderUpdateLine(view),
            "reverting  2.0 s  0 added, 0 updated, 0 deleted  0 B  vbuckets 3/1024  1,000 keys left");
  EXPECT_TRUE(DescribeChoices(view).empty());
}

TEST(UpdateViewTest, AServerThatKnowsNothingIsNotMistakenForAnIdleOne) {
  const UpdateView view = ParseUpdateStats({{"pid", "1"}, {"online_update_history_x_id", "1"}});
  EXPECT_FALSE(view.running());
  EXPECT_EQ(RenderUpdateLine(view), "not known to this server");
}

}  // namespace
}  // namespace cairn::cli
