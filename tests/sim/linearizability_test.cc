#include "tests/sim/linearizability.h"

#include <gtest/gtest.h>

namespace cairn::sim {
namespace {

using Kind = KeyOperation::Kind;

KeyOperation Set(int64_t begin, int64_t end, const std::string& value, uint64_t cas) {
  KeyOperation operation;
  operation.kind = Kind::kSet;
  operation.begin_ns = begin;
  operation.end_ns = end;
  operation.value = value;
  operation.done = true;
  operation.seen.cas = cas;
  return operation;
}
KeyOperation Get(int64_t begin, int64_t end, const std::string& value, uint64_t cas) {
  KeyOperation operation;
  operation.begin_ns = begin;
  operation.end_ns = end;
  operation.done = !value.empty();
  if (!value.empty()) operation.seen = {true, value, 0, 0, cas};
  return operation;
}
KeyOperation Other(Kind kind, int64_t begin, int64_t end, bool done = true) {
  KeyOperation operation;
  operation.kind = kind;
  operation.begin_ns = begin;
  operation.end_ns = end;
  operation.done = done;
  return operation;
}
bool Linearizable(std::vector<KeyOperation> operations) {
  return CheckKey(std::move(operations), {Register()}, 0).linearizable;
}

TEST(Linearizability, AReadSeesTheLastWrite) {
  EXPECT_TRUE(Linearizable({Set(0, 10, "a", 1), Set(20, 30, "b", 2), Get(40, 50, "b", 2)}));
  EXPECT_FALSE(Linearizable({Set(0, 10, "a", 1), Set(20, 30, "b", 2), Get(40, 50, "a", 1)}));
  EXPECT_FALSE(Linearizable({Set(0, 10, "a", 1), Get(40, 50, "", 0)}));
  EXPECT_FALSE(Linearizable({Set(0, 10, "a", 1), Get(40, 50, "a", 7)}));
}

TEST(Linearizability, OperationsAtOnceMayHappenInEitherOrder) {
  EXPECT_TRUE(Linearizable({Set(0, 30, "a", 1), Set(0, 30, "b", 2), Get(40, 50, "a", 1)}));
  EXPECT_TRUE(Linearizable({Set(0, 30, "a", 1), Set(0, 30, "b", 2), Get(40, 50, "b", 2)}));
  // But once one of them was seen to be over, it stays so.
  EXPECT_FALSE(
      Linearizable({Set(0, 30, "a", 1), Set(0, 30, "b", 2), Get(40, 50, "a", 1), Get(60, 70, "b", 2)}));
}

TEST(Linearizability, WithoutAnAnswerItMayHaveHappenedAtAnyTimeOrNever) {
  KeyOperation lost = Set(0, INT64_MAX, "b", 0);
  EXPECT_TRUE(Linearizable({Set(0, 5, "a", 1), lost, Get(40, 50, "a", 1)}));
  EXPECT_TRUE(Linearizable({Set(0, 5, "a", 1), lost, Get(40, 50, "b", 9)}));
  EXPECT_TRUE(Linearizable({Set(0, 5, "a", 1), lost, Get(40, 50, "a", 1), Get(60, 70, "b", 9)}));
  EXPECT_FALSE(Linearizable({Set(0, 5, "a", 1), lost, Get(40, 50, "b", 9), Get(60, 70, "a", 1)}));
  const Verdict verdict = CheckKey({Set(0, 5, "a", 1), lost}, {Register()}, 0);
  EXPECT_EQ(verdict.ends.size(), 2u);
}

TEST(Linearizability, RefusalsCountToo) {
  EXPECT_TRUE(
      Linearizable({Other(Kind::kDelete, 0, 10, false), Set(20, 30, "a", 1), Other(Kind::kDelete, 40, 50)}));
  EXPECT_FALSE(Linearizable({Set(20, 30, "a", 1), Other(Kind::kDelete, 40, 50, false)}));
  KeyOperation add = Set(40, 50, "b", 2);
  add.kind = Kind::kAdd;
  EXPECT_FALSE(Linearizable({Set(20, 30, "a", 1), add}));
}

TEST(Linearizability, RevertBringsBackWhatWasAtStart) {
  const std::vector<KeyOperation> window = {Set(0, 10, "a", 1), Other(Kind::kStart, 20, 30),
                                            Set(40, 50, "b", 2), Other(Kind::kRevert, 60, 70)};
  std::vector<KeyOperation> good = window, bad = window;
  good.push_back(Get(80, 90, "a", 1));
  bad.push_back(Get(80, 90, "b", 2));
  EXPECT_TRUE(Linearizable(good));
  EXPECT_FALSE(Linearizable(bad));
}

TEST(Linearizability, AnItemMayVanishWhenItsTimeHasCome) {
  KeyOperation set = Set(0, 10, "a", 1);
  set.expiry = 100;
  EXPECT_FALSE(CheckKey({set, Get(20, 30, "", 0)}, {Register()}, 99).linearizable);
  EXPECT_TRUE(CheckKey({set, Get(20, 30, "", 0)}, {Register()}, 100).linearizable);
  EXPECT_FALSE(CheckKey({set, Get(20, 30, "", 0), Get(40, 50, "a", 1)}, {Register()}, 100).linearizable);
}

}  // namespace
}  // namespace cairn::sim
