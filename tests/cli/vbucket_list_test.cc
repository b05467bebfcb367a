#include "cli/vbucket_list.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

std::string Again(std::string_view text) {
  const Result<std::vector<uint32_t>> list = ParseVbucketList(text);
  return list.ok() ? FormatVbucketList(*list) : "refused: " + std::string(list.status().message());
}

TEST(VbucketListTest, ReadsNumbersAndRangesInAnyOrder) {
  EXPECT_EQ(*ParseVbucketList("0-2,600"), (std::vector<uint32_t>{0, 1, 2, 600}));
  EXPECT_EQ(*ParseVbucketList("7"), std::vector<uint32_t>{7});
  EXPECT_EQ(Again("600,0-511"), "0-511,600");
  EXPECT_EQ(Again("3,1,2,2-3"), "1-3");
  EXPECT_EQ(Again("0-65535"), "0-65535");
  EXPECT_EQ(Again("5-5,7-8"), "5,7-8");
}

TEST(VbucketListTest, RefusesWhatIsNoListAndNamesThePart) {
  for (const char* bad :
       {"", ",", "1,", ",1", "a", "1-", "-1", "1-2-3", " 1", "1, 2", "0x1", "99999999999"}) {
    EXPECT_EQ(Again(bad).find("refused: \""), 0u) << bad << ": " << Again(bad);
  }
  EXPECT_EQ(Again("1,5-3").find("refused: \"5-3\""), 0u);
  EXPECT_EQ(Again("65536").find("refused: \"65536\""), 0u);
  EXPECT_EQ(Again("0-65536").find("refused: \"0-65536\""), 0u);
}

TEST(VbucketListTest, NothingIsWrittenAsNothing) { EXPECT_EQ(FormatVbucketList({}), ""); }

}  // namespace
}  // namespace cairn::cli
