#include <gmock/gmock.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "tests/server/session_harness.h"

namespace cairn::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class TextSession : public SessionTest {};

TEST_F(TextSession, StoresAndReads) {
  EXPECT_EQ(Talk("set a 7 0 5\r\nhello\r\n"), "STORED\r\n");
  EXPECT_EQ(Talk("get a\r\n"), "VALUE a 7 5\r\nhello\r\nEND\r\n");
  EXPECT_EQ(Talk("get nothing\r\n"), "END\r\n");
}

TEST_F(TextSession, AnswersAPipelineInOrder) {
  EXPECT_EQ(
      Talk("set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\nget a\r\nget b\r\nget c\r\ndelete a\r\nget a\r\n"),
      "STORED\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nEND\r\nVALUE b 0 1\r\n2\r\nEND\r\nEND\r\nDELETED\r\nEND\r\n");
}

TEST_F(TextSession, AnswersAPipelineLongerThanAWindow) {
  std::string in;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string number = std::to_string(i);
    const std::string size = std::to_string(number.size());
    in += "set key" + number + " 0 0 " + size + "\r\n" + number + "\r\nget key" + number + "\r\n";
    expected += "STORED\r\nVALUE key" + number + " 0 " + size + "\r\n" + number + "\r\nEND\r\n";
  }
  EXPECT_EQ(Talk(in), expected);
}

TEST_F(TextSession, TakesARequestByteByByte) {
  const std::string in = "set slow 1 0 3\r\nabc\r\nget slow\r\n";
  std::string begun;
  std::string answers;
  for (const char byte : in) {
    begun += byte;
    answers += Talk(begun);
    begun = left_over_;
  }
  EXPECT_EQ(answers, "STORED\r\nVALUE slow 1 3\r\nabc\r\nEND\r\n");
}

TEST_F(TextSession, SaysHowManyBytesItWaitsFor) {
  const std::string in = "set a 0 0 100\r\nonly this";
  const Session::Progress progress = session_->Run(in, out_, waiter_);
  EXPECT_EQ(progress.outcome, Outcome::kDone);
  EXPECT_EQ(progress.consumed, 0U);
  EXPECT_EQ(progress.bytes_wanted, std::string_view("set a 0 0 100\r\n").size() + 102);
}

TEST_F(TextSession, MultigetGivesTheHitsInOrder) {
  std::string in;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "k" + std::to_string(i);
    if (i % 3 != 0) {
      Talk("set " + key + " 0 0 1\r\nx\r\n");
      expected += "VALUE " + key + " 0 1\r\nx\r\n";
    }
    in += " " + key;
  }
  EXPECT_EQ(Talk("get" + in + "\r\n"), expected + "END\r\n");
}

TEST_F(TextSession, StoreModesHaveTheirLines) {
  EXPECT_EQ(Talk("replace a 0 0 1\r\n1\r\n"), "NOT_STORED\r\n");
  EXPECT_EQ(Talk("append a 0 0 1\r\n1\r\n"), "NOT_STORED\r\n");
  EXPECT_EQ(Talk("add a 0 0 1\r\n1\r\n"), "STORED\r\n");
  EXPECT_EQ(Talk("add a 0 0 1\r\n2\r\n"), "NOT_STORED\r\n");
  EXPECT_EQ(Talk("append a 0 0 1\r\n2\r\n"), "STORED\r\n");
  EXPECT_EQ(Talk("prepend a 0 0 1\r\n0\r\n"), "STORED\r\n");
  EXPECT_EQ(Talk("get a\r\n"), "VALUE a 0 3\r\n012\r\nEND\r\n");
}

TEST_F(TextSession, CasComparesVersions) {
  EXPECT_EQ(Talk("cas a 0 0 1 5\r\n1\r\n"), "NOT_FOUND\r\n");
  Talk("set a 0 0 1\r\n1\r\n");
  const std::string gets = Talk("gets a\r\n");
  const size_t begin = std::string_view("VALUE a 0 1 ").size();
  const std::string cas = gets.substr(begin, gets.find('\r') - begin);
  EXPECT_EQ(Talk("cas a 0 0 1 " + cas + "\r\n2\r\n"), "STORED\r\n");
  EXPECT_EQ(Talk("cas a 0 0 1 " + cas + "\r\n3\r\n"), "EXISTS\r\n");
  EXPECT_EQ(Talk("cas a 0 0 1 0\r\n3\r\n"), "EXISTS\r\n") << "0 is a version that no item has, not 'any'";
  EXPECT_EQ(Talk("get a\r\n"), "VALUE a 0 1\r\n2\r\nEND\r\n");
}

TEST_F(TextSession, CountsUpAndDown) {
  EXPECT_EQ(Talk("incr n 1\r\n"), "NOT_FOUND\r\n");
  Talk("set n 0 0 2\r\n10\r\n");
  EXPECT_EQ(Talk("incr n 5\r\n"), "15\r\n");
  EXPECT_EQ(Talk("decr n 100\r\n"), "0\r\n");
  Talk("set n 0 0 3\r\nabc\r\n");
  EXPECT_EQ(Talk("incr n 1\r\n"), "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
}

TEST_F(TextSession, NoreplyIsSilent) {
  EXPECT_EQ(Talk("set a 0 0 1 noreply\r\n1\r\nadd a 0 0 1 noreply\r\n2\r\nincr a 1 noreply\r\n"
                 "touch a 0 noreply\r\nget a\r\ndelete a noreply\r\nflush_all noreply\r\nget a\r\n"),
            "VALUE a 0 1\r\n2\r\nEND\r\nEND\r\n");
}

TEST_F(TextSession, GatTouchesAndMisses) {
  Talk("set a 3 0 1\r\n1\r\n");
  EXPECT_EQ(Talk("gat 100 a b\r\n"), "VALUE a 3 1\r\n1\r\nEND\r\n");
  EXPECT_EQ(Talk("gat 100 b\r\n"), "END\r\n");
  clock_.Advance(int64_t{101} * 1'000'000'000);
  EXPECT_EQ(Talk("get a\r\n"), "END\r\n");
}

TEST_F(TextSession, ExpiryAndTouch) {
  Talk("set a 0 10 1\r\n1\r\n");
  EXPECT_EQ(Talk("touch a 100\r\n"), "TOUCHED\r\n");
  EXPECT_EQ(Talk("touch b 100\r\n"), "NOT_FOUND\r\n");
  clock_.Advance(int64_t{50} * 1'000'000'000);
  EXPECT_EQ(Talk("get a\r\n"), "VALUE a 0 1\r\n1\r\nEND\r\n");
  EXPECT_EQ(Talk("set b 0 -1 1\r\n1\r\nget b\r\n"), "STORED\r\nEND\r\n");
}

TEST_F(TextSession, FlushAllSparesWhatIsStoredInTheSameSecond) {
  EXPECT_EQ(Talk("set a 0 0 1\r\n1\r\nflush_all\r\nset b 0 0 1\r\n2\r\nget a b\r\n"),
            "STORED\r\nOK\r\nSTORED\r\nVALUE b 0 1\r\n2\r\nEND\r\n");
}

TEST_F(TextSession, LargeValuesComeBackWhole) {
  std::string value(200'000, 'x');
  for (size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>('a' + i % 26);
  const std::string size = std::to_string(value.size());
  EXPECT_EQ(Talk("set big 0 0 " + size + "\r\n" + value + "\r\n"), "STORED\r\n");
  const std::string hit = "VALUE big 0 " + size + "\r\n" + value + "\r\n";
  EXPECT_EQ(Talk("get big\r\nget big big nothing\r\n"), hit + "END\r\n" + hit + hit + "END\r\n");
  EXPECT_THAT(Talk("gets big\r\n"), StartsWith("VALUE big 0 " + size + " "));
}

TEST_F(TextSession, OutputIsSentInParts) {
  Talk("set a 0 0 1000\r\n" + std::string(1000, 'x') + "\r\n");
  std::string in;
  for (int i = 0; i < 3000; ++i) in += "get a\r\n";
  const Session::Progress progress = session_->Run(in, out_, waiter_);
  EXPECT_EQ(progress.outcome, Outcome::kOutputFull);
  EXPECT_LT(out_.size(), service_->output_bytes_max + 20'000);
  std::string answers = TakeOutput();
  answers += Talk(in.substr(progress.consumed));
  EXPECT_EQ(answers.size(), 3000 * (std::string_view("VALUE a 0 1000\r\n").size() + 1002 + 5));
}

TEST_F(TextSession, AMultigetGoesOnBehindAFullOutput) {
  Talk("set a 0 0 100000\r\n" + std::string(100'000, 'x') + "\r\n");
  std::string in = "get";
  for (int i = 0; i < 100; ++i) in += " a";
  const std::string answers = Talk(in + "\r\nversion\r\n");
  EXPECT_EQ(answers.size(), 100 * (std::string_view("VALUE a 0 100000\r\n").size() + 100'002) +
                                std::string_view("END\r\nVERSION 1.6.18\r\n").size());
}

TEST_F(TextSession, ARefusedRequestIsSkippedExactly) {
  const std::string large(2u << 20, 'x');
  EXPECT_EQ(Talk("set big 0 0 2097152\r\n" + large + "\r\nversion\r\n"),
            "SERVER_ERROR object too large for cache\r\nVERSION 1.6.18\r\n");
  Talk("set big 0 0 3\r\nold\r\n");
  EXPECT_EQ(Talk("set big 0 0 2097152\r\n" + large.substr(0, 1000)),
            "SERVER_ERROR object too large for cache\r\n");
  EXPECT_EQ(Talk(large.substr(1000)), "");
  EXPECT_EQ(Talk("\r\nget big\r\n"), "VALUE big 0 3\r\nold\r\nEND\r\n") << "a refused set changes nothing";
}

TEST_F(TextSession, OddLines) {
  EXPECT_EQ(Talk("nonsense\r\n"), "ERROR\r\n");
  EXPECT_EQ(Talk("get " + std::string(251, 'k') + "\r\n"), "CLIENT_ERROR bad command line format\r\n");
  EXPECT_EQ(Talk("set a 0 0 abc\r\n"), "CLIENT_ERROR bad command line format\r\n");
  EXPECT_EQ(Talk("shutdown\r\n"), "ERROR: shutdown not enabled\r\n");
  EXPECT_EQ(Talk("version\r\n"), "VERSION 1.6.18\r\n");
  EXPECT_EQ(Talk("verbosity 1\r\n"), "OK\r\n");
  EXPECT_EQ(Talk("quit\r\nversion\r\n"), "");
  EXPECT_EQ(last_outcome_, Outcome::kClose);
}

TEST_F(TextSession, AnHttpRequestClosesTheConnection) {
  EXPECT_EQ(Talk("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "");
  EXPECT_EQ(last_outcome_, Outcome::kClose);
}

TEST_F(TextSession, StatsGroups) {
  Talk("set a 0 0 1\r\n1\r\nget a\r\nget b\r\n");
  const std::string general = Talk("stats\r\n");
  for (const char* name : {"accepting_conns 1",
                           "bytes ",
                           "bytes_written ",
                           "cas_badval 0",
                           "cas_hits 0",
                           "cas_misses 0",
                           "cmd_flush 0",
                           "cmd_get 2",
                           "cmd_set 1",
                           "cmd_touch 0",
                           "conn_yields ",
                           "curr_connections ",
                           "curr_items 1",
                           "decr_hits 0",
                           "decr_misses 0",
                           "delete_hits 0",
                           "delete_misses 0",
                           "evictions 0",
                           "expired_unfetched ",
                           "get_expired ",
                           "get_flushed ",
                           "get_hits 1",
                           "get_misses 1",
                           "idle_kicks 0",
                           "incr_hits 0",
                           "incr_misses 0",
                           "limit_maxbytes ",
                           "listen_disabled_num 0",
                           "log_watchers 0",
                           "pid ",
                           "rejected_connections 0",
                           "store_no_memory 0",
                           "store_too_large 0",
                           "threads ",
                           "time ",
                           "total_connections ",
                           "total_items ",
                           "touch_hits 0",
                           "touch_misses 0",
                           "uptime ",
                           "version 1.6.18",
                           "cairn_version "}) {
    EXPECT_THAT(general, HasSubstr("STAT " + std::string(name)));
  }
  for (const char* name : {"maxconns ", "item_size_max 1048576", "domain_socket NULL", "evictions ",
                           "cas_enabled yes", "flush_enabled yes", "shutdown_command no",
                           "auth_enabled_sasl no", "binding_protocol auto-negotiate", "tcp_backlog "}) {
    EXPECT_THAT(Talk("stats settings\r\n"), HasSubstr("STAT " + std::string(name)));
  }
  EXPECT_THAT(Talk("stats items\r\n"), HasSubstr("STAT items:1:number 1\r\n"));
  EXPECT_THAT(Talk("stats slabs\r\n"), HasSubstr("STAT active_slabs 1\r\n"));
  EXPECT_THAT(Talk("stats timings\r\n"), HasSubstr("STAT op_max_us "));
  for (const char* group : {"checkpoint", "vbucket", "vbucket 3", "hash", "online_update", "conns"}) {
    EXPECT_THAT(Talk("stats " + std::string(group) + "\r\n"), ::testing::EndsWith("END\r\n")) << group;
  }
  EXPECT_EQ(Talk("stats detail on\r\n"), "OK\r\n");
  EXPECT_EQ(Talk("stats unknown_group\r\n"), "ERROR\r\n");
  EXPECT_EQ(Talk("stats reset\r\n"), "RESET\r\n");
  EXPECT_THAT(Talk("stats\r\n"), HasSubstr("STAT cmd_get 0\r\n"));
}

TEST_F(TextSession, NoStatisticIsGivenTwice) {
  for (const char* group : {"stats\r\n", "stats settings\r\n", "stats timings\r\n"}) {
    std::set<std::string> names;
    std::istringstream lines(Talk(group));
    for (std::string line; std::getline(lines, line);) {
      const std::string name = line.substr(0, line.find(' ', 5));
      EXPECT_TRUE(names.insert(name).second) << group << line;
    }
  }
}

TEST_F(TextSession, MetadumpListsTheKeysEscaped) {
  EXPECT_EQ(Talk("lru_crawler metadump all\r\n"), "END\r\n");
  Talk("set a/b 0 0 1\r\n1\r\nset c 0 2000000000 2\r\n22\r\n");
  const std::string dump = Talk("lru_crawler metadump all\r\n");
  EXPECT_THAT(dump, HasSubstr("key=a%2Fb exp=-1 la=0 cas="));
  EXPECT_THAT(dump, HasSubstr("key=c exp=2000000000 la=0 cas="));
  EXPECT_THAT(dump, ::testing::EndsWith("END\r\n"));
  EXPECT_EQ(Talk("lru_crawler enable\r\n"), "ERROR\r\n");
}

TEST_F(TextSession, AMetadumpGoesOnBehindAFullOutput) {
  for (int i = 0; i < 3000; ++i) Talk("set key" + std::to_string(i) + " 0 0 1 noreply\r\n1\r\n");
  service_->output_bytes_max = 10'000;
  const std::string dump = Talk("lru_crawler metadump all\r\nversion\r\n");
  EXPECT_EQ(std::count(dump.begin(), dump.end(), '\n'), 3002);
  EXPECT_THAT(dump, ::testing::EndsWith("END\r\nVERSION 1.6.18\r\n"));
}

TEST_F(TextSession, OnlineUpdateIsRevertedAndCompleted) {
  Talk("set a 1 0 3\r\nold\r\n");
  EXPECT_THAT(Talk("online_update status\r\n"), StartsWith("OK status phase=normal"));
  const std::string started = Talk("online_update start spring\r\n");
  EXPECT_THAT(started, StartsWith("OK started id="));
  EXPECT_THAT(started, HasSubstr(" name=spring\r\n"));
  const std::string again = Talk("online_update start other\r\n");
  EXPECT_THAT(again, StartsWith("SERVER_ERROR NOT_SUPPORTED: "));
  Talk("set a 2 0 3\r\nnew\r\nset b 0 0 1\r\n1\r\n");
  EXPECT_THAT(Talk("online_update status\r\n"), StartsWith("OK status phase=updating"));
  EXPECT_THAT(Talk("online_update revert\r\n"), HasSubstr("added=1 updated=1 deleted=0 digest=equal\r\n"));
  EXPECT_EQ(Talk("get a b\r\n"), "VALUE a 1 3\r\nold\r\nEND\r\n");
  EXPECT_THAT(Talk("online_update revert\r\n"), StartsWith("SERVER_ERROR NOT_SUPPORTED: "));

  EXPECT_THAT(Talk("online_update start\r\n"), StartsWith("OK started id="));
  Talk("set a 2 0 3\r\nnew\r\n");
  EXPECT_THAT(Talk("online_update complete\r\n"), StartsWith("OK completed id="));
  EXPECT_EQ(Talk("get a\r\n"), "VALUE a 2 3\r\nnew\r\nEND\r\n");
}

TEST_F(TextSession, AnUpdateCommandIsRepeatable) {
  const std::string started = Talk("online_update start\r\n");
  const std::string id = started.substr(std::string_view("OK started id=").size(), 32);
  EXPECT_THAT(Talk("online_update revert " + id + "\r\n"), StartsWith("OK reverted id=" + id));
  EXPECT_THAT(Talk("online_update revert " + id + "\r\n"), StartsWith("OK reverted id=" + id));
  EXPECT_THAT(Talk("online_update revert 00\r\n"), StartsWith("CLIENT_ERROR"));
}

TEST_F(TextSession, MutationsAreMarkedForWhatTheyHaveToReach) {
  ASSERT_TRUE(OpenWithReplica(engine::DurabilityLevel::kMajority));
  const std::string in =
      "set a 0 0 1\r\n1\r\nget a\r\nset b 0 0 1 noreply\r\n2\r\nincr a 1\r\nadd a 0 0 1\r\n9\r\n"
      "delete b\r\nflush_all\r\n";
  ASSERT_EQ(session_->Run(in, out_, waiter_).consumed, in.size());
  EXPECT_TRUE(out_.has_mutations());
  Settling settling(*engine_);
  ASSERT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.GiveUp(out_);
  const std::string ambiguous = "SERVER_ERROR ambiguous: not known to be durable\r\n";
  EXPECT_EQ(TakeOutput(),
            ambiguous + "VALUE a 0 1\r\n1\r\nEND\r\n" + ambiguous + "NOT_STORED\r\n" + ambiguous + ambiguous);
}

}  // namespace
}  // namespace cairn::server
