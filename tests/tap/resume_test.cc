// Each rule of docs/tap.md, "Resume", by tables.

#include "tap/resume.h"

#include <gtest/gtest.h>

namespace cairn::tap {
namespace {

using engine::VbucketPosition;
using engine::VbucketState;

constexpr uint64_t kUuid = 0xaa;

/// An active with one branch of history, at seqno 1000; data to 600, tombstones gone to 200.
VbucketPosition Source() {
  VbucketPosition position;
  position.state = VbucketState::kActive;
  position.epoch = 3;
  position.failover_log = {{kUuid, Seqno(0)}};
  position.high = position.persisted = Seqno(1000);
  position.merged = Seqno(600);
  position.purged = Seqno(200);
  return position;
}

OpenStream At(uint64_t seqno, uint64_t uuid = kUuid) {
  OpenStream request;
  request.history_uuid = uuid;
  request.seqno = request.snapshot_start = request.snapshot_end = Seqno(seqno);
  request.epoch = 3;
  return request;
}

void ExpectFrom(const VbucketPosition& position, const OpenStream& request) {
  const ResumeDecision decision = DecideResume(position, request);
  EXPECT_EQ(decision.reason, EndReason::kOk) << decision.text;
}
void ExpectEnd(const VbucketPosition& position, const OpenStream& request, EndReason reason,
               uint64_t rollback = 0) {
  const ResumeDecision decision = DecideResume(position, request);
  EXPECT_EQ(EndReasonName(decision.reason), EndReasonName(reason)) << decision.text;
  EXPECT_EQ(decision.rollback, Seqno(rollback));
  EXPECT_FALSE(decision.text.empty());
}

TEST(TapResume, FromWhereItStandsOnTheSameBranch) {
  for (const uint64_t seqno : {0u, 200u, 201u, 599u, 600u, 601u, 1000u}) ExpectFrom(Source(), At(seqno));
}

TEST(TapResume, OnlyAVbucketAtAnExactPointIsStreamed) {
  VbucketPosition dead = Source();
  dead.state = VbucketState::kDead;
  ExpectEnd(dead, At(0), EndReason::kStateChanged);
  VbucketPosition receiving = Source();
  receiving.in_snapshot = true;
  ExpectEnd(receiving, At(0), EndReason::kStateChanged);
  for (const VbucketState state : {VbucketState::kActive, VbucketState::kReplica, VbucketState::kPending}) {
    VbucketPosition position = Source();
    position.state = state;
    ExpectFrom(position, At(700));
  }
}

TEST(TapResume, ASourceOfALowerEpochIsFenced) {
  OpenStream request = At(700);
  request.epoch = 4;
  ExpectEnd(Source(), request, EndReason::kFenced);
  // Also for who has nothing: it may know of another active.
  request = At(0);
  request.epoch = 4;
  ExpectEnd(Source(), request, EndReason::kFenced);
  request.epoch = 2;
  ExpectFrom(Source(), request);
}

TEST(TapResume, WrongStateComesBeforeFenced) {
  VbucketPosition dead = Source();
  dead.state = VbucketState::kDead;
  OpenStream request = At(700);
  request.epoch = 4;
  ExpectEnd(dead, request, EndReason::kStateChanged);
}

TEST(TapResume, NothingYetIsFromTheBeginningWhateverTheBranch) { ExpectFrom(Source(), At(0, 0xdead)); }

TEST(TapResume, AnUnknownBranchStartsOver) {
  ExpectEnd(Source(), At(700, 0xdead), EndReason::kRollback, 0);
  ExpectEnd(Source(), At(700, 0), EndReason::kRollback, 0);
  VbucketPosition without = Source();
  without.failover_log.clear();
  ExpectEnd(without, At(700), EndReason::kRollback, 0);
}

TEST(TapResume, AheadOfTheNewestBranchGoesBackToTheHighSeqno) {
  ExpectEnd(Source(), At(1001), EndReason::kRollback, 1000);
}

TEST(TapResume, ACopyThatIsOnlyBehindTakesNothingAway) {
  VbucketPosition copy = Source();
  copy.state = VbucketState::kReplica;
  ExpectEnd(copy, At(1001), EndReason::kStateChanged);
  ExpectFrom(copy, At(1000));
}

TEST(TapResume, ACopyThatIsBehindOnAnOlderBranchTooTakesNothingAway) {
  // It has heard of the branch that begins at 900, and has not come so far.
  VbucketPosition copy = Source();
  copy.state = VbucketState::kReplica;
  copy.failover_log = {{0xbb, Seqno(900)}, {kUuid, Seqno(0)}};
  copy.high = copy.persisted = Seqno(800);
  ExpectEnd(copy, At(850), EndReason::kStateChanged);
  ExpectEnd(copy, At(950), EndReason::kStateChanged);
  ExpectFrom(copy, At(800));
  copy.high = copy.persisted = Seqno(900);
  ExpectEnd(copy, At(950), EndReason::kRollback, 900);
}

// What it does not know may be newer than what it has.
TEST(TapResume, ACopyThatDoesNotKnowTheBranchTakesNothingAway) {
  VbucketPosition copy = Source();
  copy.state = VbucketState::kReplica;
  copy.source_high = Seqno(1000);
  OpenStream request = At(700, 0xdead);
  ExpectEnd(copy, request, EndReason::kStateChanged);
  // Somebody was promoted since, and the copy has what that one had.
  request.epoch = 2;
  ExpectEnd(copy, request, EndReason::kRollback, 0);
  copy.source_high = Seqno(1001);
  ExpectEnd(copy, request, EndReason::kStateChanged);
  copy.source_high = Seqno(kSeqnoMax);
  ExpectEnd(copy, request, EndReason::kStateChanged);
  copy.source_high = copy.high = copy.persisted = copy.merged = copy.purged = Seqno(0);
  ExpectEnd(copy, request, EndReason::kStateChanged);
  request = At(0);
  ExpectFrom(copy, request);
  copy.state = VbucketState::kActive;
  ExpectEnd(copy, At(700, 0xdead), EndReason::kRollback, 0);
}

TEST(TapResume, ACopyThatHasGivenSomethingUpIsNotFollowed) {
  VbucketPosition copy = Source();
  copy.state = VbucketState::kReplica;
  copy.regain = Seqno(1100);
  for (const uint64_t seqno : {0u, 700u, 1000u}) ExpectEnd(copy, At(seqno), EndReason::kStateChanged);
}

/// Failovers as in Couchbase's DCP: each branch ends where the next newer one begins.
struct Branches {
  uint64_t uuid, seqno;
  EndReason reason;
  uint64_t rollback;
};
class SeveralFailovers : public ::testing::TestWithParam<Branches> {};

TEST_P(SeveralFailovers, DecideByTheBranchsEnd) {
  VbucketPosition position = Source();
  position.purged = Seqno(0);
  position.failover_log = {{0xd, Seqno(900)}, {0xc, Seqno(700)}, {0xb, Seqno(700)}, {0xa, Seqno(0)}};
  const Branches& c = GetParam();
  if (c.reason == EndReason::kOk) {
    ExpectFrom(position, At(c.seqno, c.uuid));
  } else {
    ExpectEnd(position, At(c.seqno, c.uuid), c.reason, c.rollback);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, SeveralFailovers,
    ::testing::Values(Branches{0xd, 1000, EndReason::kOk, 0}, Branches{0xd, 950, EndReason::kOk, 0},
                      // Behind the branch's beginning: the common past.
                      Branches{0xd, 100, EndReason::kOk, 0}, Branches{0xd, 1001, EndReason::kRollback, 1000},
                      Branches{0xc, 900, EndReason::kOk, 0}, Branches{0xc, 901, EndReason::kRollback, 900},
                      // A branch on which nothing was ever written.
                      Branches{0xb, 700, EndReason::kOk, 0}, Branches{0xb, 701, EndReason::kRollback, 700},
                      Branches{0xa, 700, EndReason::kOk, 0}, Branches{0xa, 650, EndReason::kOk, 0},
                      Branches{0xa, 10'000, EndReason::kRollback, 700},
                      Branches{0xe, 650, EndReason::kRollback, 0}));

TEST(TapResume, BelowThePurgePointStartsOver) {
  ExpectEnd(Source(), At(199), EndReason::kPurged, 0);
  ExpectFrom(Source(), At(200));
  // What is ahead is rolled back first, and then is not below it.
  VbucketPosition all_purged = Source();
  all_purged.purged = Seqno(1000);
  ExpectEnd(all_purged, At(1001), EndReason::kRollback, 1000);
}

OpenStream InWindow(uint64_t seqno, uint8_t window, uint64_t start) {
  OpenStream request = At(seqno);
  request.window.bytes[0] = window;
  request.window_start = Seqno(start);
  return request;
}

TEST(TapResume, AWindowThatEndedBehindTheLogGoesBackToItsStart) {
  // The marker that ended it lies before 600: nobody would tell the consumer.
  ExpectEnd(Source(), InWindow(550, 1, 500), EndReason::kRollback, 500);
  // At the log's beginning, or behind it, the marker comes from the log.
  ExpectFrom(Source(), InWindow(600, 1, 500));
  ExpectFrom(Source(), InWindow(700, 1, 500));
  // Another window is open by now: the consumer's has ended all the same.
  VbucketPosition other = Source();
  other.window.bytes[0] = 2;
  ExpectEnd(other, InWindow(550, 1, 500), EndReason::kRollback, 500);
  // The same window is open in both.
  VbucketPosition same = Source();
  same.window.bytes[0] = 1;
  ExpectFrom(same, InWindow(550, 1, 500));
}

OpenStream InSnapshot(uint64_t start, uint64_t end, uint64_t uuid = kUuid) {
  OpenStream request = At(start, uuid);
  request.snapshot_end = Seqno(end);
  return request;
}

TEST(TapResume, InTheMiddleOfADiskSnapshotAnotherReachesAsFar) {
  ExpectFrom(Source(), InSnapshot(300, 550));
  ExpectFrom(Source(), InSnapshot(300, 600));
  ExpectFrom(Source(), InSnapshot(0, 900));
  // This source's data does not reach as far: what was received beyond it could not be put right.
  ExpectEnd(Source(), InSnapshot(300, 601), EndReason::kRollback, 0);
  VbucketPosition no_data = Source();
  no_data.merged = no_data.purged = Seqno(0);
  ExpectEnd(no_data, InSnapshot(0, 900), EndReason::kRollback, 0);
  // It had been received of a branch that has been cut off here.
  VbucketPosition branched = Source();
  branched.failover_log = {{0xbb, Seqno(500)}, {kUuid, Seqno(0)}};
  ExpectEnd(branched, InSnapshot(300, 550), EndReason::kRollback, 0);
  ExpectFrom(branched, InSnapshot(300, 500));
  ExpectEnd(Source(), InSnapshot(150, 550), EndReason::kPurged, 0);
  ExpectEnd(Source(), InSnapshot(300, 550, 0xdead), EndReason::kRollback, 0);
}

}  // namespace
}  // namespace cairn::tap
