// What ParseText makes of a line. The expected answers to odd lines are those that memcached 1.6.18 gave to
// the same bytes, except where docs/protocol.md names a deviation.

#include "proto/text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::proto {
namespace {

const std::string kKey250(250, 'k');
const std::string kKey251(251, 'k');

/// One request as text: the command, its key and what it carries.
std::string Describe(const TextRequest& r) {
  std::string text(TextCommandName(r.command));
  std::string_view key;
  switch (r.command) {
    case TextCommand::kGet:
    case TextCommand::kGets:
    case TextCommand::kGat:
    case TextCommand::kGats:
      if (r.command == TextCommand::kGat || r.command == TextCommand::kGats) {
        text += " t=" + std::to_string(r.exptime);
      }
      for (TextKeys keys(r); keys.Next(&key);) text += " " + std::string(key);
      break;
    case TextCommand::kSet:
    case TextCommand::kAdd:
    case TextCommand::kReplace:
    case TextCommand::kAppend:
    case TextCommand::kPrepend:
    case TextCommand::kCas:
      text += " " + std::string(r.key) + " f=" + std::to_string(r.flags) + " t=" + std::to_string(r.exptime);
      if (r.command == TextCommand::kCas) text += " c=" + std::to_string(r.cas);
      text += " '" + std::string(r.value) + "'";
      break;
    case TextCommand::kIncr:
    case TextCommand::kDecr:
      text += " " + std::string(r.key) + " " + std::to_string(r.delta);
      break;
    case TextCommand::kDelete:
      text += " " + std::string(r.key);
      break;
    case TextCommand::kTouch:
      text += " " + std::string(r.key) + " t=" + std::to_string(r.exptime);
      break;
    case TextCommand::kFlushAll:
      text += " t=" + std::to_string(r.exptime);
      break;
    case TextCommand::kVerbosity:
      text += " " + std::to_string(r.level);
      break;
    case TextCommand::kOnlineUpdate:
      text += " action=" + std::to_string(static_cast<int>(r.action));
      [[fallthrough]];
    default:
      if (!r.argument.empty()) text += " [" + std::string(r.argument) + "]";
  }
  return r.noreply ? text + " noreply" : text;
}

/// A whole conversation: requests in angle brackets, refusals as the line that is answered.
std::string Transcript(std::string_view in, const Limits& limits = {}) {
  std::string out;
  while (!in.empty()) {
    TextRequest request;
    const ParseOutcome outcome = ParseText(in, limits, &request);
    switch (outcome.state) {
      case ParseState::kOk:
        out += "<" + Describe(request) + ">";
        break;
      case ParseState::kInvalid:
      case ParseState::kTooLarge:
        out += request.error;
        break;
      case ParseState::kNeedMore:
        EXPECT_GT(outcome.bytes, in.size());
        return out + "(more)";
      default:
        EXPECT_EQ(outcome.bytes, 0U);
        return out + std::string(request.error) + "(closed)";
    }
    EXPECT_GT(outcome.bytes, 0U);
    if (outcome.bytes > in.size()) return out + "(skips " + std::to_string(outcome.bytes - in.size()) + ")";
    in.remove_prefix(outcome.bytes);
  }
  return out;
}

struct Row {
  std::string in;
  std::string out;
};

void ExpectRows(const std::vector<Row>& rows) {
  for (const Row& row : rows) EXPECT_EQ(Transcript(row.in), row.out) << row.in;
}

const std::string kErr(line::kError);
const std::string kBad(line::kBadLine);
const std::string kChunk(line::kBadChunk);
const std::string kDelta(line::kBadDelta);
const std::string kTime(line::kBadExptime);
const std::string kUsage("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");

TEST(TextLines, NoCommand) {
  ExpectRows({{"\r\n", kErr},
              {"\n", kErr},
              {" \r\n", kErr},
              {"x\r\n", kErr},
              {"xx\r\n", kErr},
              {"GET a\r\n", kErr},
              {"getx a\r\n", kErr},
              {"se\r\n", kErr},
              {"quitx\r\n", kErr},
              {"mn\r\nversion\r\n", kErr + "<version>"},
              {"version\r\r\n", kErr}});
}

TEST(TextLines, Retrieval) {
  ExpectRows({{"get\r\n", kErr},
              {"get \r\n", kErr},
              {"gets\r\n", kErr},
              {"get a\r\n", "<get a>"},
              {"get a\n", "<get a>"},
              {" get a\r\n", "<get a>"},
              {"get  a  b \r\n", "<get a b>"},
              {"gets a bb ccc\r\nget d\r\n", "<gets a bb ccc><get d>"},
              {"get " + kKey250 + "\r\n", "<get " + kKey250 + ">"},
              {"get " + kKey251 + "\r\n", kBad},
              {"get a " + kKey251 + "\r\nversion\r\n", kBad + "<version>"},
              {"get " + kKey251 + " a\r\n", kBad},
              {"get / HTTP/1.1\r\n", "<get / HTTP/1.1>"},
              {"get \xc3\xa4\xff\x80\r\n", "<get \xc3\xa4\xff\x80>"}});
  // Refused here, taken by memcached: protocol.txt forbids control characters in keys.
  for (const std::string& key :
       {std::string("a\tb"), std::string("a\x01"), std::string("a\0b", 3), std::string("a\x7f"),
        std::string("a\rb"), std::string("a\r"), std::string("\x1f")}) {
    EXPECT_EQ(Transcript("get " + key + "\r\nversion\r\n"), kBad + "<version>");
    EXPECT_EQ(Transcript("get x " + key + "\r\nversion\r\n"), kBad + "<version>");
  }
}

TEST(TextLines, GetAndTouch) {
  ExpectRows({{"gat\r\n", kErr},
              {"gat 0\r\n", "<gat t=0>"},  // memcached answers END
              {"gat abc\r\n", kTime},
              {"gat 0 a\r\n", "<gat t=0 a>"},
              {"gats 7 a b\r\n", "<gats t=7 a b>"},
              {"gat -1 a\r\n", "<gat t=-1 a>"},
              {"gat abc a\r\n", kTime},
              {"gat 10x a\r\n", kTime},
              {"gat 99999999999 a\r\n", "<gat t=99999999999 a>"},
              {"gat 99999999999999999999 a\r\n", kTime},
              {"gat 0 " + kKey251 + "\r\n", kBad},
              {"gat 0 a " + kKey251 + "\r\n", kBad}});
}

TEST(TextLines, Storage) {
  ExpectRows({{"set a 0 0 1\r\nx\r\n", "<set a f=0 t=0 'x'>"},
              {"set a 0 0 0\r\n\r\n", "<set a f=0 t=0 ''>"},
              {"add a 1 2 3\r\nxyz\r\n", "<add a f=1 t=2 'xyz'>"},
              {"replace a 1 2 1\r\nx\r\n", "<replace a f=1 t=2 'x'>"},
              {"append a 1 2 1\r\nx\r\n", "<append a f=1 t=2 'x'>"},
              {"prepend a 1 2 1\r\nx\r\n", "<prepend a f=1 t=2 'x'>"},
              {"append zz abc 0 1\r\nx\r\n", kBad + kErr},
              {"set a 0 0 1 noreply\r\nx\r\n", "<set a f=0 t=0 'x' noreply>"},
              {"set a 0 0 1 noreply \r\nx\r\n", "<set a f=0 t=0 'x' noreply>"},
              {"set a 0 0 1 NOREPLY\r\nx\r\n", "<set a f=0 t=0 'x'>"},
              {"set a 0 0 1 foo\r\nx\r\n", "<set a f=0 t=0 'x'>"},
              {"set a 0 0 1 noreply x\r\nx\r\n", kErr + kErr},
              {"set a 0 0\r\n", kErr},
              {"set a\r\n", kErr},
              {"set\r\n", kErr},
              {"add q 0 0\r\n", kErr},
              {"sets a 0 0 1\r\nx\r\n", kErr + kErr},
              {"set  a  0  0  1 \r\nx\r\n", "<set a f=0 t=0 'x'>"},
              {"set a 0 0 1\nx\r\n", "<set a f=0 t=0 'x'>"},
              {"set a 0 0 4\r\n\r\n\r\n\r\n", "<set a f=0 t=0 '\r\n\r\n'>"},
              {"set " + kKey250 + " 0 0 1\r\nx\r\n", "<set " + kKey250 + " f=0 t=0 'x'>"},
              {"set a 0 0 1 2 3 4 5 6 7 8 9 10 noreply\r\n", kErr}});
}

// memcached refuses the line and then reads the data as if it were a command.
TEST(TextLines, StorageRefusedByItsLine) {
  ExpectRows({{"set " + kKey251 + " 0 0 1\r\nx\r\nversion\r\n", kBad + kErr + "<version>"},
              {"set " + kKey251 + " 0 0 1 noreply\r\nx\r\nversion\r\n", kErr + "<version>"},
              {"set a b 0 1\r\nx\r\n", kBad + kErr},
              {"set a 0 abc 1\r\nx\r\n", kBad + kErr},
              {"set a 0 1.5 1\r\nx\r\n", kBad + kErr},
              {"set a 0 0 -1\r\nx\r\n", kBad + kErr},
              {"set a 0 0 abc\r\nx\r\n", kBad + kErr},
              {"set a 0 0 abc noreply\r\nx\r\n", kErr},
              {"set a 0 0 1x\r\nx\r\n", kBad + kErr},
              {"set a 0x10 0 1\r\nx\r\n", kBad + kErr},
              {"set a 0 0 2147483647\r\nx\r\n", kBad + kErr},
              {"set a 0 0 2147483646\r\nx\r\n", kBad + kErr},
              // Refused here; memcached takes the length modulo 2^32.
              {"set a 0 0 4294967296\r\nx\r\n", kBad + kErr},
              {"set a\tb 0 0 1\r\nx\r\n", kBad + kErr}});
}

TEST(TextLines, Numbers) {
  ExpectRows({{"set a +1 0 1\r\nx\r\n", "<set a f=1 t=0 'x'>"},
              {"set a 0 +1 1\r\nx\r\n", "<set a f=0 t=1 'x'>"},
              {"set a 0 0 +1\r\nx\r\n", "<set a f=0 t=0 'x'>"},
              {"set a 0 0 01\r\nx\r\n", "<set a f=0 t=0 'x'>"},
              {"set a 010 0 1\r\nx\r\n", "<set a f=10 t=0 'x'>"},
              {"set a 4294967295 0 1\r\nx\r\n", "<set a f=4294967295 t=0 'x'>"},
              {"set a 4294967296 0 1\r\nx\r\n", "<set a f=0 t=0 'x'>"},
              {"set a 18446744073709551615 0 1\r\nx\r\n", "<set a f=4294967295 t=0 'x'>"},
              {"set a 18446744073709551616 0 1\r\nx\r\n", kBad + kErr},
              {"set a -1 0 1\r\nx\r\n", kBad + kErr},
              {"set a 0 -1 1\r\nx\r\n", "<set a f=0 t=-1 'x'>"},
              {"set a 0 2147483647 1\r\nx\r\n", "<set a f=0 t=2147483647 'x'>"},
              {"set a 0 4294967295 1\r\nx\r\n", "<set a f=0 t=4294967295 'x'>"},
              {"set a 0 -2147483649 1\r\nx\r\n", "<set a f=0 t=-2147483649 'x'>"},
              {"set a 0 -9223372036854775808 1\r\nx\r\n", "<set a f=0 t=-9223372036854775808 'x'>"},
              {"set a 0 -9223372036854775809 1\r\nx\r\n", kBad + kErr},
              {"set a 0 9223372036854775808 1\r\nx\r\n", kBad + kErr},
              {"set a 0 -- 1\r\nx\r\n", kBad + kErr},
              {"set a 0 -+1 1\r\nx\r\n", kBad + kErr},
              {"set a - 0 1\r\nx\r\n", kBad + kErr}});
}

TEST(TextLines, DataThatDoesNotEndWhereItShould) {
  ExpectRows({{"set a 0 0 1\r\nx\n", "(more)"},
              {"set a 0 0 1\r\nx\nversion\r\n", kChunk + kErr},
              {"set a 0 0 1\r\nxy\r\nversion\r\n", kChunk + kErr + "<version>"},
              {"set a 0 0 1\r\nxyz\r\nversion\r\n", kChunk + kErr + "<version>"},
              {"set a 0 0 1\r\nxyzw\r\nversion\r\n", kChunk + kErr + "<version>"},
              {"set a 0 0 5\r\nxy\r\nversion\r\n", kChunk + kErr},
              {"set a 0 0 1 noreply\r\nxyzw\r\nversion\r\n", kErr + "<version>"}});
}

TEST(TextLines, Cas) {
  ExpectRows({{"cas a 0 0 1 5\r\nx\r\n", "<cas a f=0 t=0 c=5 'x'>"},
              {"cas a 0 0 1 5 noreply\r\nx\r\n", "<cas a f=0 t=0 c=5 'x' noreply>"},
              {"cas a 0 0 1 5 foo\r\nx\r\n", "<cas a f=0 t=0 c=5 'x'>"},
              {"cas a 0 0 1\r\nx\r\n", kErr + kErr},
              {"cas a 0 0 1 5 noreply x\r\nx\r\n", kErr + kErr},
              {"cas a 0 0 1 abc\r\nx\r\nversion\r\n", kBad + kErr + "<version>"},
              {"cas a 0 0 1 5x\r\nx\r\n", kBad + kErr},
              {"cas a 0 0 1 -1\r\nx\r\n", kBad + kErr},
              {"cas a 0 0 1 +5\r\nx\r\n", "<cas a f=0 t=0 c=5 'x'>"},
              {"cas a 0 0 1 18446744073709551615\r\nx\r\n", "<cas a f=0 t=0 c=18446744073709551615 'x'>"},
              {"cas a 0 0 1 18446744073709551616\r\nx\r\n", kBad + kErr},
              {"cas a 0 0 1 -9223372036854775809\r\nx\r\n", "<cas a f=0 t=0 c=9223372036854775807 'x'>"},
              {"cas a 0 0 1 noreply\r\nx\r\nversion\r\n", kErr + "<version>"}});
}

TEST(TextLines, Delete) {
  ExpectRows({{"delete\r\n", kErr},
              {"delete zz\r\n", "<delete zz>"},
              {"delete zz 0\r\n", "<delete zz>"},
              {"delete zz noreply\r\n", "<delete zz noreply>"},
              {"delete zz 0 noreply\r\n", "<delete zz noreply>"},
              {"delete zz 1\r\n", kUsage},
              {"delete zz 00\r\n", kUsage},
              {"delete zz foo\r\n", kUsage},
              {"delete zz 0 foo\r\n", kUsage},
              {"delete zz 5 noreply\r\nversion\r\n", "<version>"},
              {"delete zz foo noreply\r\nversion\r\n", "<version>"},
              {"delete zz noreply noreply\r\nversion\r\n", "<version>"},
              {"delete zz 0 noreply x\r\n", kErr},
              {"delete x x x x x x x x x x x x x x x x x x x noreply\r\n", kErr},
              {"delete " + kKey251 + "\r\n", kBad},
              {"delete " + kKey251 + " noreply\r\nversion\r\n", "<version>"}});
}

TEST(TextLines, Counters) {
  ExpectRows({{"incr\r\n", kErr},
              {"incr a\r\n", kErr},
              {"incr zz 1\r\n", "<incr zz 1>"},
              {"decr zz 007\r\n", "<decr zz 7>"},
              {"incr zz 1 noreply\r\n", "<incr zz 1 noreply>"},
              {"incr zz 1 foo\r\n", "<incr zz 1>"},
              {"incr zz 1 noreply x\r\n", kErr},
              {"incr zz abc\r\n", kDelta},
              {"incr zz abc noreply\r\nversion\r\n", "<version>"},
              {"incr zz -1\r\n", kDelta},
              {"incr zz 1x\r\n", kDelta},
              {"decr zz 0x10\r\n", kDelta},
              {"incr zz +1\r\n", "<incr zz 1>"},
              {"incr zz 18446744073709551615\r\n", "<incr zz 18446744073709551615>"},
              {"incr zz 18446744073709551616\r\n", kDelta},
              {"incr zz -18446744073709551615\r\n", "<incr zz 1>"},
              {"incr " + kKey251 + " 1\r\n", kBad}});
}

TEST(TextLines, Touch) {
  ExpectRows({{"touch\r\n", kErr},
              {"touch a\r\n", kErr},
              {"touch zz 0\r\n", "<touch zz t=0>"},
              {"touch zz -1\r\n", "<touch zz t=-1>"},
              {"touch zz abc\r\n", kTime},
              {"touch zz abc noreply\r\nversion\r\n", "<version>"},
              {"touch zz 0 noreply\r\n", "<touch zz t=0 noreply>"},
              {"touch zz 0 foo\r\n", "<touch zz t=0>"},
              {"touch zz 0 noreply x\r\n", kErr},
              {"touch " + kKey251 + " 0\r\n", kBad}});
}

TEST(TextLines, FlushAll) {
  ExpectRows({{"flush_all\r\n", "<flush_all t=0>"},
              {"flush_all 0\r\n", "<flush_all t=0>"},
              {"flush_all 1000\r\n", "<flush_all t=1000>"},
              {"flush_all -1\r\n", "<flush_all t=-1>"},
              {"flush_all abc\r\n", kTime},
              {"flush_all 10x\r\n", kTime},
              {"flush_all noreply\r\n", "<flush_all t=0 noreply>"},
              {"flush_all 1000 noreply\r\n", "<flush_all t=1000 noreply>"},
              {"flush_all 1000 foo\r\n", "<flush_all t=1000>"},
              {"flush_all foo noreply\r\nversion\r\n", "<version>"},
              {"flush_all 1000 noreply x\r\n", kErr}});
}

TEST(TextLines, Administration) {
  ExpectRows({{"version\r\n", "<version>"},
              {"version \r\n", "<version>"},
              {"version x\r\n", "<version [x]>"},
              {"version noreply\r\n", "<version [noreply]>"},
              {"verbosity\r\n", kErr},
              {"verbosity 0\r\n", "<verbosity 0>"},
              {"verbosity abc\r\n", kBad},
              {"verbosity -1\r\n", kBad},
              {"verbosity 4294967296\r\n", "<verbosity 0>"},
              {"verbosity 0 foo\r\n", "<verbosity 0>"},
              {"verbosity 0 noreply\r\n", "<verbosity 0 noreply>"},
              {"verbosity noreply\r\nversion\r\n", "<version>"},
              {"verbosity abc noreply\r\nversion\r\n", "<version>"},
              {"verbosity 0 a b\r\n", kErr},
              {"stats\r\n", "<stats>"},
              {"stats  detail on \r\n", "<stats [detail on]>"},
              {"stats HTTP/1\r\n", "<stats [HTTP/1]>"},
              {"quit\r\n", "<quit>"},
              {"quit a b\r\n", "<quit [a b]>"},
              {"shutdown\r\n", "<shutdown>"},
              {"shutdown graceful\r\n", "<shutdown [graceful]>"}});
}

TEST(TextLines, OnlineUpdate) {
  const std::string id(32, 'a');
  ExpectRows({{"online_update\r\n", kErr},
              {"online_update start\r\n", "<online_update action=0>"},
              {"online_update start spring-2\r\n", "<online_update action=0 [spring-2]>"},
              {"online_update start a b\r\n", kErr},
              {"online_update start " + std::string(129, 'n') + "\r\n", kBad},
              {"online_update start a\tb\r\n", kBad},
              {"online_update complete\r\n", "<online_update action=1>"},
              {"online_update complete " + id + "\r\n", "<online_update action=1 [" + id + "]>"},
              {"online_update revert\r\n", "<online_update action=2>"},
              {"online_update revert abc\r\n", kBad},
              {"online_update revert " + std::string(32, 'g') + "\r\n", kBad},
              {"online_update status\r\n", "<online_update action=3>"},
              {"online_update status x\r\n", kBad},
              {"online_update pause\r\n", kBad}});
}

TEST(TextLines, HttpClosesTheConnection) {
  ExpectRows({{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "(closed)"},
              {"GET /\r\n", "(closed)"},
              {"POST /x\r\nversion\r\n", "(closed)"},
              {"HEAD / HTTP/1.1\r\n", "(closed)"},
              {"foo HTTP/1.1\r\nversion\r\n", "(closed)"},
              {"xx a b c d e f g h i j HTTP/9\r\n", "(closed)"},
              {"HTTP/1.1\r\n", "(closed)"},
              {"a HTTP/\r\nversion\r\n", kErr + "<version>"},
              {"GET x\r\n", kErr}});
}

TEST(TextLimits, LongLines) {
  const std::string too_long(line::kLineTooLong);
  EXPECT_EQ(Transcript(std::string(2047, 'x')), "(more)");
  EXPECT_EQ(Transcript(std::string(2048, 'x')), too_long + "(closed)");
  EXPECT_EQ(Transcript("version" + std::string(2039, ' ') + "\r\n"), "<version>");
  EXPECT_EQ(Transcript("version" + std::string(2040, ' ') + "\r\n"), too_long + "(closed)");
  EXPECT_EQ(Transcript(std::string(2044, ' ') + "get a\r\n"), "<get a>");
  EXPECT_EQ(Transcript(std::string(2045, ' ') + "get a\r\n"), too_long + "(closed)");

  std::string keys;
  while (keys.size() < 60'000) keys += " key";
  for (const char* word : {"get", "gets", "gat 0", "gats 0"}) {
    EXPECT_EQ(Transcript(std::string(word) + keys), "(more)") << word;
    EXPECT_TRUE(Transcript(std::string(word) + keys + "\r\nversion\r\n").ends_with(" key key><version>"))
        << word;
  }
  EXPECT_EQ(Transcript("get" + std::string(65'531, ' ') + "\r\n"), kErr);
  EXPECT_EQ(Transcript("get" + std::string(65'532, ' ') + "\r\n"), too_long + "(closed)");
  EXPECT_EQ(Transcript("get" + std::string(65'533, ' ')), too_long + "(closed)");
  EXPECT_EQ(Transcript("set" + keys), too_long + "(closed)");
}

TEST(TextLimits, ValueAboveTheLimitIsRefusedAtItsLineAndSkippedExactly) {
  Limits limits;
  limits.value_bytes_max = 10;
  const std::string too_large(line::kTooLarge);
  EXPECT_EQ(Transcript("set a 0 0 10\r\n0123456789\r\n", limits), "<set a f=0 t=0 '0123456789'>");
  EXPECT_EQ(Transcript("set a 0 0 11\r\n", limits), too_large + "(skips 13)");
  EXPECT_EQ(Transcript("set a 0 0 11\r\n01234567890\r\nversion\r\n", limits), too_large + "<version>");
  EXPECT_EQ(Transcript("cas a 0 0 11 1 noreply\r\n01234567890\r\nversion\r\n", limits), "<version>");
  EXPECT_EQ(Transcript("set a 0 0 2147483645\r\n", limits), too_large + "(skips 2147483647)");
  TextRequest request;
  EXPECT_EQ(ParseText("set a 0 0 11\r\n", limits, &request).state, ParseState::kTooLarge);
  EXPECT_EQ(request.key, "a");
  EXPECT_EQ(request.command, TextCommand::kSet);
}

TEST(TextLimits, IncompleteDataAsksForTheExactTotal) {
  for (const std::string_view head :
       {"set k 1 2 1000\r\n", "set k 1 2 1000 noreply\r\n", "add k 1 2 1000\r\n"}) {
    const std::string whole = std::string(head) + std::string(1000, 'v') + "\r\n";
    TextRequest request;
    for (size_t n = head.size(); n < whole.size(); ++n) {
      const ParseOutcome outcome = ParseText(std::string_view(whole).substr(0, n), Limits{}, &request);
      ASSERT_EQ(outcome.state, ParseState::kNeedMore);
      ASSERT_EQ(outcome.bytes, whole.size());
    }
    EXPECT_EQ(ParseText(whole, Limits{}, &request).state, ParseState::kOk);
  }
}

TEST(TextTruncation, EveryPrefixOfAValidRequestNeedsMore) {
  const std::vector<std::string> requests = {"get " + kKey250 + "\r\n",
                                             "get a b " + kKey250 + " c\r\n",
                                             "gets a\n",
                                             "gat 100 a b\r\n",
                                             "set a 1 2 3\r\nxyz\r\n",
                                             "set a 1 2 3 noreply\r\nxyz\r\n",
                                             "cas a 1 2 3 4\r\n\r\n\r\r\n",
                                             "prepend a 1 2 0\r\n\r\n",
                                             "delete a noreply\r\n",
                                             "incr a 1\r\n",
                                             "touch a 1\r\n",
                                             "flush_all\r\n",
                                             "verbosity 1\r\n",
                                             "stats items\r\n",
                                             "online_update start name\r\n",
                                             "quit\r\n"};
  for (const std::string& whole : requests) {
    TextRequest request;
    for (size_t n = 0; n < whole.size(); ++n) {
      // A copy, so that a sanitizer sees a read behind the prefix.
      const std::vector<char> prefix(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
      const ParseOutcome outcome = ParseText({prefix.data(), n}, Limits{}, &request);
      ASSERT_EQ(outcome.state, ParseState::kNeedMore) << whole << " cut at " << n;
      ASSERT_GT(outcome.bytes, n);
      ASSERT_LE(outcome.bytes, whole.size());
    }
    const ParseOutcome outcome = ParseText(whole, Limits{}, &request);
    EXPECT_EQ(outcome.state, ParseState::kOk) << whole;
    EXPECT_EQ(outcome.bytes, whole.size());
  }
}

TEST(TextFastPath, AgreesWithTheGeneralOne) {
  // A leading space sends the same request around the fast paths.
  std::vector<std::string> lines;
  for (size_t n = 1; n <= 251; ++n) {
    lines.push_back("get " + std::string(n, 'k') + "\r\n");
    lines.push_back("set " + std::string(n, 'k') + " 1 2 3\r\nabc\r\n");
    lines.push_back("set " + std::string(n, 'k') + " 1 2 3 noreply\r\nabc\r\n");
    lines.push_back("set " + std::string(n, 'k') + " 1 2 3 noreplx\r\nabc\r\n");
    lines.push_back("get " + std::string(n, 'k') + "\x7f\r\n");
  }
  for (const char* number :
       {"0", "9", "999999999", "1000000000", "4294967295", "4294967296", "x", "", "1 "}) {
    lines.push_back("set k " + std::string(number) + " 0 1\r\nv\r\n");
    lines.push_back("set k 0 " + std::string(number) + " 1\r\nv\r\n");
    lines.push_back("set k 0 0 " + std::string(number) + "\r\nv\r\n");
  }
  for (const std::string& text : lines) EXPECT_EQ(Transcript(text), Transcript(" " + text)) << text;
}

TEST(TextReply, Values) {
  OutBuffer out;
  AppendTextValue("key", 4294967295U, "hello", &out);
  AppendTextValueCas("k", 0, "", 18446744073709551615U, &out);
  AppendTextStat("pid", "1", &out);
  AppendTextNumber(100, &out);
  EXPECT_EQ(
      out.view(),
      "VALUE key 4294967295 5\r\nhello\r\nVALUE k 0 0 18446744073709551615\r\n\r\nSTAT pid 1\r\n100\r\n");
}

TEST(TextReply, EveryCodeHasALine) {
  for (int code = 0; code <= static_cast<int>(Code::kInternal); ++code) {
    const std::string_view text = TextLineOf(static_cast<Code>(code));
    EXPECT_TRUE(text.ends_with("\r\n")) << code;
    EXPECT_EQ(text.find('\n'), text.size() - 1) << code;
  }
}

}  // namespace
}  // namespace cairn::proto
