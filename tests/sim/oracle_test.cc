#include "tests/sim/oracle.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn::sim {
namespace {

using engine::VbucketPosition;
using engine::VbucketState;

constexpr Vbid kVb(0);

class OracleTest : public ::testing::Test {
 protected:
  static VbucketPosition At(VbucketState state, uint64_t high, std::vector<proto::FailoverEntry> log,
                            uint64_t digest = 0, uint64_t epoch = 1) {
    VbucketPosition position;
    position.state = state;
    position.high = Seqno(high);
    position.failover_log = std::move(log);
    position.digest = digest;
    position.epoch = epoch;
    return position;
  }
  void Look(NodeIndex node, const VbucketPosition& position) {
    oracle_.Look(node, kVb, position, false, now_ns_);
  }
  void Write(NodeIndex node, uint64_t seqno, const std::string& key, const std::string& value) {
    oracle_.Changed(node, kVb, Seqno(seqno), key, Version{value, 0, 0, seqno});
  }

  std::string failure_;
  int64_t now_ns_ = 0;
  Oracle oracle_{[this](const std::string& what) { failure_ += what + "\n"; }};
  const std::vector<proto::FailoverEntry> root_{{7, Seqno(0)}};
  const std::vector<proto::FailoverEntry> promoted_{{8, Seqno(2)}, {7, Seqno(0)}};
};

TEST_F(OracleTest, APromotionGoesOnFromItsFork) {
  Look(0, At(VbucketState::kActive, 0, root_));
  for (uint64_t seqno = 1; seqno <= 3; ++seqno) {
    Look(0, At(VbucketState::kActive, seqno, root_, 100 + seqno));
    Write(0, seqno, "k" + std::to_string(seqno), "v");
  }
  EXPECT_EQ(oracle_.Expected(0, kVb).size(), 3u);
  Look(1, At(VbucketState::kReplica, 2, root_, 102));
  EXPECT_EQ(oracle_.points_compared(), 1u);
  Look(1, At(VbucketState::kActive, 2, promoted_, 102, 2));
  EXPECT_EQ(oracle_.Expected(1, kVb).size(), 2u);
  EXPECT_EQ(oracle_.Expected(0, kVb).size(), 3u);
  EXPECT_EQ(failure_, "");
}

TEST_F(OracleTest, ACopyMustHaveTheDigestOfItsSeqno) {
  Look(0, At(VbucketState::kActive, 1, root_, 101));
  Look(1, At(VbucketState::kReplica, 1, root_, 102));
  EXPECT_NE(failure_.find("digest"), std::string::npos) << failure_;
}

TEST_F(OracleTest, AcknowledgedWritesMustBeBelowTheFork) {
  Look(0, At(VbucketState::kActive, 3, root_));
  oracle_.Acknowledged(Oracle::Durability::kMajority, kVb, 7, Seqno(3));
  Look(1, At(VbucketState::kActive, 2, promoted_, 0, 2));
  EXPECT_NE(failure_.find("majority"), std::string::npos) << failure_;
}

TEST_F(OracleTest, WhatWasPersistedMustComeBackOnTheSameNode) {
  Look(0, At(VbucketState::kActive, 3, root_));
  oracle_.Acknowledged(Oracle::Durability::kPersisted, kVb, 7, Seqno(3));
  oracle_.Restarted(0);
  Look(0, At(VbucketState::kActive, 2, promoted_));
  EXPECT_NE(failure_.find("persisted"), std::string::npos) << failure_;
}

TEST_F(OracleTest, EpochsRiseAndBelongToOneWriter) {
  Look(0, At(VbucketState::kActive, 1, root_, 0, 2));
  Write(0, 1, "k", "v");
  Look(1, At(VbucketState::kActive, 1, {{9, Seqno(1)}, {7, Seqno(0)}}, 0, 2));
  Write(1, 1, "k", "w");
  EXPECT_NE(failure_.find("epoch 2"), std::string::npos) << failure_;
  failure_.clear();
  Look(0, At(VbucketState::kActive, 1, root_, 0, 1));
  EXPECT_NE(failure_.find("went back"), std::string::npos) << failure_;
}

TEST_F(OracleTest, ARevertBringsBackTheContentAtStart) {
  engine::UpdateId id;
  id.bytes[0] = 1;
  Look(0, At(VbucketState::kActive, 1, root_));
  Write(0, 1, "k", "before");
  VbucketPosition open = At(VbucketState::kActive, 3, root_);
  open.window = id;
  open.window_start = Seqno(1);
  Look(0, open);
  Write(0, 3, "k", "in the window");
  VbucketPosition closed = At(VbucketState::kActive, 5, root_);
  closed.last_update = {id, false};
  Look(0, closed);
  EXPECT_EQ(oracle_.Expected(0, kVb).at("k").value, "before");
  Write(0, 5, "k", "after");
  EXPECT_EQ(oracle_.Expected(0, kVb).at("k").value, "after");
  // A copy that was left behind in the window and is promoted carries the decision out.
  VbucketPosition promoted = At(VbucketState::kActive, 3, {{8, Seqno(3)}, {7, Seqno(0)}}, 0, 2);
  promoted.last_update = {id, false};
  Look(1, promoted);
  EXPECT_EQ(oracle_.Expected(1, kVb).at("k").value, "before");
  EXPECT_EQ(failure_, "");
}

}  // namespace
}  // namespace cairn::sim
