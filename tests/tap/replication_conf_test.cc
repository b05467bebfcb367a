#include "tap/replication_conf.h"

#include <gmock/gmock.h>

namespace cairn::tap {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

VbucketSet Set(const std::string& text) { return ParseVbuckets(text, 1024).value(); }

TEST(VbucketSets, AreWrittenAsRanges) {
  for (const char* text : {"", "0", "0-1023", "0-15,17,1020-1023"}) {
    EXPECT_EQ(FormatVbuckets(Set(text)), text);
  }
  EXPECT_THAT(Set("3-5"), ElementsAre(Vbid(3), Vbid(4), Vbid(5)));
}

TEST(VbucketSets, WhatIsNoListIsRefused) {
  for (const char* text :
       {"1024", "5-3", "x", "1,", ",1", "1-", "-1", "2,1", "1,1", "1-3,3", "99999999999", "1 "}) {
    EXPECT_EQ(ParseVbuckets(text, 1024).code(), Code::kInvalidArgument) << text;
  }
}

TEST(ReplicationConf, ComesBackAsItWasWritten) {
  ReplicationConf conf;
  conf.SourceAt("10.0.0.1:7070") = {"10.0.0.1:7070", "node-b", Set("0-511")};
  conf.SourceAt("[::1]:7071") = {"[::1]:7071", "node-b", Set("512-1023")};
  conf.AddPromotion("10.0.0.1:7070", Set("0-3,7"), false);
  conf.AddPromotion("10.0.0.1:7070", Set("9"), true);
  const Result<ReplicationConf> back = ParseConf(FormatConf(conf), 1024);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(*back, conf);
  EXPECT_EQ(FormatConf(conf),
            "cairn replication 1\n"
            "source 10.0.0.1:7070 node-b 0-511\n"
            "source [::1]:7071 node-b 512-1023\n"
            "promoted 10.0.0.1:7070 told 9\n"
            "promoted 10.0.0.1:7070 untold 0-3,7\n");
}

TEST(ReplicationConf, WhatWasPromotedIsNotFollowedUntilThatIsForgotten) {
  ReplicationConf conf;
  conf.SourceAt("a:1") = {"a:1", "n", Set("0-9")};
  conf.AddPromotion("a:1", Set("2-3"), false);
  ASSERT_EQ(conf.Followed().size(), 1U);
  EXPECT_EQ(FormatVbuckets(conf.Followed()[0].vbuckets), "0-1,4-9");
  EXPECT_EQ(FormatVbuckets(conf.PromotedFrom("a:1")), "2-3");
  // Heard: it stays promoted, and in one list only.
  conf.AddPromotion("a:1", Set("2"), true);
  EXPECT_EQ(conf.promotions[0], (Promotion{"a:1", Set("2"), Set("3")}));
  conf.RemovePromotions(Set("2"));
  EXPECT_EQ(FormatVbuckets(conf.Followed()[0].vbuckets), "0-2,4-9");
  conf.AddPromotion("a:1", Set("0-9"), false);
  EXPECT_THAT(conf.Followed(), IsEmpty());
  // Promoted from another source later: only that one counts.
  conf.AddPromotion("b:1", Set("0-9"), false);
  EXPECT_THAT(conf.PromotedFrom("a:1"), IsEmpty());
  EXPECT_EQ(conf.promotions.size(), 1U);
}

TEST(ReplicationConf, ASourceWithoutVbucketsIsNone) {
  ReplicationConf conf;
  conf.SourceAt("a:1") = {"a:1", "n", Set("0-9")};
  conf.RemoveFromSources(Set("0-5"));
  EXPECT_EQ(FormatVbuckets(conf.FindSource("a:1")->vbuckets), "6-9");
  conf.RemoveFromSources(Set("0-9"));
  EXPECT_EQ(conf.FindSource("a:1"), nullptr);
}

TEST(ReplicationConf, ADamagedFileIsRefusedWithItsLine) {
  const auto refused = [](const std::string& text) {
    const Result<ReplicationConf> conf = ParseConf(text, 64);
    EXPECT_EQ(conf.code(), Code::kCorruption) << text;
    return std::string(conf.status().message());
  };
  const std::string header = "cairn replication 1\n";
  EXPECT_THAT(refused(""), HasSubstr("empty"));
  EXPECT_THAT(refused("cairn replication 2\n"), HasSubstr("line 1"));
  EXPECT_THAT(refused(header + "source a:1 n 64\n"), HasSubstr("line 2"));
  EXPECT_THAT(refused(header + "source a:1 n 1\nsource a:1 n 2\n"), HasSubstr("line 3"));
  EXPECT_THAT(refused(header + "promoted a:1 perhaps 1\n"), HasSubstr("line 2"));
  EXPECT_THAT(refused(header + "\n"), HasSubstr("line 2"));
}

}  // namespace
}  // namespace cairn::tap
