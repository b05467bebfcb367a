#include <gmock/gmock.h>

#include <set>
#include <vector>

#include "base/key.h"
#include "tests/server/binary_harness.h"

namespace cairn::server {
namespace {

TEST_F(BinarySession, StoresAndReads) {
  const Answer stored = One(Store(Opcode::kSet, "a", "hello", 7));
  EXPECT_EQ(stored.status, BinaryStatus::kOk);
  EXPECT_EQ(stored.opaque, 0xabcdU);
  EXPECT_NE(stored.cas, 0U);
  const Answer got = One(Plain(Opcode::kGet, "a"));
  EXPECT_EQ(got.value, "hello");
  EXPECT_EQ(got.extras, U32(7));
  EXPECT_EQ(got.cas, stored.cas);
  EXPECT_EQ(got.key, "");
  EXPECT_EQ(One(Plain(Opcode::kGetK, "a")).key, "a");
  const Answer missed = One(Plain(Opcode::kGetK, "b"));
  EXPECT_EQ(missed.status, BinaryStatus::kNotFound);
  EXPECT_EQ(missed.key, "b");
}

TEST_F(BinarySession, QuietFormsAnswerTheInterestingOutcome) {
  const std::string in = Encode(Store(Opcode::kSetQ, "a", "1")) + Encode(Plain(Opcode::kGetQ, "missing")) +
                         Encode(Plain(Opcode::kGetKQ, "a")) + Encode(Store(Opcode::kAddQ, "a", "2")) +
                         Encode(Plain(Opcode::kDeleteQ, "a")) + Encode(Plain(Opcode::kDeleteQ, "a")) +
                         Encode(Plain(Opcode::kNoop));
  const std::vector<Answer> answers = Ask(in);
  ASSERT_EQ(answers.size(), 4U);
  EXPECT_EQ(answers[0].opcode, Opcode::kGetKQ);
  EXPECT_EQ(answers[0].value, "1");
  EXPECT_EQ(answers[1].opcode, Opcode::kAddQ);
  EXPECT_EQ(answers[1].status, BinaryStatus::kExists);
  EXPECT_EQ(answers[2].opcode, Opcode::kDeleteQ);
  EXPECT_EQ(answers[2].status, BinaryStatus::kNotFound);
  EXPECT_EQ(answers[3].opcode, Opcode::kNoop);
}

TEST_F(BinarySession, PreconditionsHaveMemcachedsStatus) {
  EXPECT_EQ(One(Store(Opcode::kReplace, "a", "1")).status, BinaryStatus::kNotFound);
  Request append = Plain(Opcode::kAppend, "a");
  append.value = "2";
  EXPECT_EQ(One(append).status, BinaryStatus::kNotStored);
  const uint64_t cas = One(Store(Opcode::kAdd, "a", "1")).cas;
  EXPECT_EQ(One(Store(Opcode::kAdd, "a", "1")).status, BinaryStatus::kExists);
  EXPECT_EQ(One(append).status, BinaryStatus::kOk);
  Request compare = Store(Opcode::kSet, "a", "3");
  compare.cas = cas;
  EXPECT_EQ(One(compare).status, BinaryStatus::kExists);
  compare.cas = One(Plain(Opcode::kGet, "a")).cas;
  EXPECT_EQ(One(compare).status, BinaryStatus::kOk);
  compare.key = "missing";
  EXPECT_EQ(One(compare).status, BinaryStatus::kNotFound);
}

TEST_F(BinarySession, Counters) {
  Request count = Plain(Opcode::kIncrement, "n");
  count.extras = U64(3) + U64(10) + U32(0xffffffff);
  EXPECT_EQ(One(count).status, BinaryStatus::kNotFound) << "an expiry of all ones does not create";
  count.extras = U64(3) + U64(10) + U32(0);
  EXPECT_EQ(One(count).value, U64(10));
  EXPECT_EQ(One(count).value, U64(13));
  count.opcode = Opcode::kDecrement;
  EXPECT_EQ(One(count).value, U64(10));
  EXPECT_EQ(One(Store(Opcode::kSet, "n", "abc")).status, BinaryStatus::kOk);
  EXPECT_EQ(One(count).status, BinaryStatus::kDeltaBadValue);
}

TEST_F(BinarySession, TouchForms) {
  EXPECT_EQ(One(Store(Opcode::kSet, "a", "1", 9)).status, BinaryStatus::kOk);
  Request touch = Plain(Opcode::kTouch, "a");
  touch.extras = U32(100);
  EXPECT_EQ(One(touch).status, BinaryStatus::kOk);
  touch.opcode = Opcode::kGatK;
  const Answer got = One(touch);
  EXPECT_EQ(got.value, "1");
  EXPECT_EQ(got.key, "a");
  EXPECT_EQ(got.extras, U32(9));
  touch.opcode = Opcode::kGatQ;
  touch.key = "missing";
  EXPECT_TRUE(Ask(Encode(touch)).empty());
  touch.opcode = Opcode::kGat;
  EXPECT_EQ(One(touch).status, BinaryStatus::kNotFound);
  clock_.Advance(int64_t{101} * 1'000'000'000);
  EXPECT_EQ(One(Plain(Opcode::kGet, "a")).status, BinaryStatus::kNotFound);
}

TEST_F(BinarySession, AVbucketThatIsNamedMustBeTheKeys) {
  std::string key = "key";
  while (VbidOf(key, 16).get() == 0) key += "x";  // 0 means that none is named
  const uint16_t right = VbidOf(key, 16).get();
  Request request = Store(Opcode::kSet, key, "1");
  request.vbucket = right;
  EXPECT_EQ(One(request).status, BinaryStatus::kOk);
  request.vbucket = static_cast<uint16_t>(right == 1 ? 2 : 1);
  EXPECT_EQ(One(request).status, BinaryStatus::kNotMyVbucket);
}

TEST_F(BinarySession, UnknownOpcodesAreAnsweredAndSwallowed) {
  Request unknown;
  unknown.opcode = static_cast<Opcode>(0x70);
  unknown.key = "key";
  unknown.value = std::string(100, 'x');
  const std::vector<Answer> answers = Ask(Encode(unknown) + Encode(Plain(Opcode::kNoop)));
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].status, BinaryStatus::kUnknownCommand);
  EXPECT_EQ(answers[1].opcode, Opcode::kNoop);
  // Named in the protocol's table, not offered in this release.
  EXPECT_EQ(One(Plain(Opcode::kRandomKey)).status, BinaryStatus::kUnknownCommand);
}

TEST_F(BinarySession, OversizeIsAnsweredAndSwallowed) {
  const std::vector<Answer> answers =
      Ask(Encode(Store(Opcode::kSet, "a", std::string(2u << 20, 'x'))) + Encode(Plain(Opcode::kVersion)));
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].status, BinaryStatus::kTooBig);
  EXPECT_EQ(answers[1].value, "1.6.18");
}

TEST_F(BinarySession, AnotherMagicCloses) {
  EXPECT_EQ(One(Plain(Opcode::kNoop)).status, BinaryStatus::kOk);
  Talk("get a\r\n");
  EXPECT_EQ(last_outcome_, Outcome::kClose);
}

TEST_F(BinarySession, QuitAnswersAndQuitQDoesNot) {
  EXPECT_EQ(One(Plain(Opcode::kQuit)).status, BinaryStatus::kOk);
  EXPECT_EQ(last_outcome_, Outcome::kClose);
  EXPECT_TRUE(Ask(Encode(Plain(Opcode::kQuitQ))).empty());
  EXPECT_EQ(last_outcome_, Outcome::kClose);
}

TEST_F(BinarySession, StatEndsWithAnEmptyAnswer) {
  const std::vector<Answer> answers = Ask(Encode(Plain(Opcode::kStat)));
  ASSERT_GT(answers.size(), 30U);
  EXPECT_EQ(answers.back().key, "");
  EXPECT_EQ(answers.back().value, "");
  EXPECT_EQ(answers.front().key, "pid");
  EXPECT_EQ(One(Plain(Opcode::kStat, "unknown_group")).status, BinaryStatus::kNotFound);
  EXPECT_EQ(One(Plain(Opcode::kStat, "reset")).key, "");
}

TEST_F(BinarySession, OnlineUpdateWithEmptyBodies) {
  One(Store(Opcode::kSet, "a", "old"));
  EXPECT_EQ(One(Plain(Opcode::kOnlineUpdateRevert)).status, BinaryStatus::kNotSupported);
  EXPECT_EQ(One(Plain(Opcode::kOnlineUpdateComplete)).status, BinaryStatus::kNotSupported);
  const Answer started = One(Plain(Opcode::kOnlineUpdateStart));
  EXPECT_EQ(started.status, BinaryStatus::kOk);
  EXPECT_THAT(started.value, ::testing::StartsWith("started id="));
  EXPECT_EQ(One(Plain(Opcode::kOnlineUpdateStart)).status, BinaryStatus::kNotSupported);
  One(Store(Opcode::kSet, "a", "new"));
  EXPECT_EQ(One(Plain(Opcode::kOnlineUpdateRevert)).status, BinaryStatus::kOk);
  EXPECT_EQ(One(Plain(Opcode::kGet, "a")).value, "old");
  EXPECT_EQ(One(Plain(Opcode::kOnlineUpdateStart, "named")).status, BinaryStatus::kOk);
  One(Store(Opcode::kSet, "a", "new"));
  EXPECT_EQ(One(Plain(Opcode::kOnlineUpdateComplete)).status, BinaryStatus::kOk);
  EXPECT_EQ(One(Plain(Opcode::kGet, "a")).value, "new");
}

TEST_F(BinarySession, Vbuckets) {
  Request request = Plain(Opcode::kGetVbucket);
  request.vbucket = 3;
  EXPECT_EQ(One(request).value, U32(1)) << "active";
  request.opcode = Opcode::kSetVbucket;
  request.extras = U32(4);
  EXPECT_EQ(One(request).status, BinaryStatus::kOk);
  request.opcode = Opcode::kGetVbucket;
  request.extras = {};
  EXPECT_EQ(One(request).value, U32(4)) << "dead";
  request.opcode = Opcode::kDelVbucket;
  EXPECT_EQ(One(request).status, BinaryStatus::kOk);
  request.opcode = Opcode::kGetVbucket;
  EXPECT_EQ(One(request).status, BinaryStatus::kNotMyVbucket);
  request.opcode = Opcode::kSetVbucket;
  request.extras = U32(9);
  EXPECT_EQ(One(request).status, BinaryStatus::kInvalid);
  EXPECT_EQ(One(Plain(Opcode::kGetAllVbSeqnos)).value.size(), 15 * 10U) << "one of 16 is deleted";
}

TEST_F(BinarySession, Checkpoints) {
  Request request = Plain(Opcode::kCreateCheckpoint);
  request.vbucket = 2;
  const std::string first = One(request).value;
  ASSERT_EQ(first.size(), 8U);
  // A checkpoint without operations is not closed again; give it one.
  std::string key = "k";
  while (VbidOf(key, 16).get() != 2) key += "k";
  One(Store(Opcode::kSet, key, "1"));
  EXPECT_GT(One(request).value, first);
  request.vbucket = 999;
  EXPECT_EQ(One(request).status, BinaryStatus::kNotMyVbucket);
}

TEST_F(BinarySession, GetKeysListsAllKeysInPages) {
  std::set<std::string> expected;
  for (int i = 0; i < 2500; ++i) {
    const std::string key = "key" + std::to_string(i);
    expected.insert(key);
    Ask(Encode(Store(Opcode::kSetQ, key, "v")));
  }
  std::set<std::string> listed;
  Request request = Plain(Opcode::kGetKeys);
  int pages = 0;
  do {
    const Answer page = One(request);
    ASSERT_EQ(page.status, BinaryStatus::kOk);
    for (std::string_view rest = page.value; !rest.empty();) {
      const size_t size = static_cast<uint8_t>(rest[1]);
      EXPECT_EQ(rest.substr(2, 4), U32(0));
      EXPECT_TRUE(listed.insert(std::string(rest.substr(6, size))).second) << "a key is listed once";
      rest.remove_prefix(6 + size);
    }
    request.key = page.key;
    ++pages;
  } while (!request.key.empty());
  EXPECT_EQ(listed, expected);
  EXPECT_GE(pages, 3);
  request.key = "no position";
  EXPECT_EQ(One(request).status, BinaryStatus::kInvalid);
}

TEST_F(BinarySession, LargeValuesComeBackWhole) {
  const std::string value(100'000, 'v');
  One(Store(Opcode::kSet, "a", value, 5));
  const Answer got = One(Plain(Opcode::kGetK, "a"));
  EXPECT_EQ(got.value, value);
  EXPECT_EQ(got.key, "a");
  EXPECT_EQ(got.extras, U32(5));
}

TEST_F(BinarySession, AnAmbiguousBatchSaysSoForEachMutation) {
  ASSERT_TRUE(OpenWithReplica(engine::DurabilityLevel::kMajority));
  const std::string value(50'000, 'v');
  Request gat = Plain(Opcode::kGat, "big");
  gat.extras = U32(100);
  const std::string in = Encode(Store(Opcode::kSetQ, "big", value)) + Encode(Plain(Opcode::kGet, "big")) +
                         Encode(gat) + Encode(Plain(Opcode::kDelete, "missing")) +
                         Encode(Store(Opcode::kSet, "b", "1"));
  ASSERT_EQ(session_->Run(in, out_, waiter_).consumed, in.size());
  Settling settling(*engine_);
  ASSERT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.GiveUp(out_);
  std::vector<std::pair<Opcode, BinaryStatus>> seen;
  for (const Answer& answer : DecodeAnswers(TakeOutput())) seen.emplace_back(answer.opcode, answer.status);
  const std::vector<std::pair<Opcode, BinaryStatus>> expected = {{Opcode::kSetQ, BinaryStatus::kAmbiguous},
                                                                 {Opcode::kGet, BinaryStatus::kOk},
                                                                 {Opcode::kGat, BinaryStatus::kAmbiguous},
                                                                 {Opcode::kDelete, BinaryStatus::kNotFound},
                                                                 {Opcode::kSet, BinaryStatus::kAmbiguous}};
  EXPECT_EQ(seen, expected);
}

}  // namespace
}  // namespace cairn::server
