// DurabilityTracker: events in, outcomes out; and what the engine counts of it.

#include "engine/durability.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

constexpr Vbid kVbucket{3};
constexpr uint64_t kHistory = 0xabc;
using Level = DurabilityLevel;

class CountWakes final : public Waiter {
 public:
  void Wake() override { ++wakes; }
  int wakes = 0;
};

Requirement Want(Level level, uint64_t seqno, uint64_t history = kHistory) {
  return {kVbucket, level, Seqno(seqno), history};
}
ActiveView Active(Code synced = Code::kWouldBlock, uint64_t history = kHistory) {
  return {true, history, synced};
}

void Report(DurabilityTracker& tracker, std::string_view replica, uint64_t applied, uint64_t persisted,
            uint64_t history = kHistory) {
  tracker.Report(replica, kVbucket, history, Seqno(applied), Seqno(persisted));
}

TEST(DurabilityLevels, HaveNamesBothWays) {
  for (const Level level : {Level::kMemory, Level::kPersisted, Level::kMajority, Level::kMajorityAndPersisted,
                            Level::kPersistedMajority}) {
    EXPECT_EQ(DurabilityLevelOf(DurabilityLevelName(level)), level);
  }
  EXPECT_FALSE(DurabilityLevelOf("most").has_value());
  EXPECT_EQ(WithSync(Level::kMemory), Level::kPersisted);
  EXPECT_EQ(WithSync(Level::kMajority), Level::kMajorityAndPersisted);
  EXPECT_EQ(WithSync(Level::kPersistedMajority), Level::kPersistedMajority);
}

TEST(DurabilityLevels, AMajorityIsMoreThanHalf) {
  EXPECT_EQ(MajorityOf(1), 1U);
  EXPECT_EQ(MajorityOf(2), 2U);
  EXPECT_EQ(MajorityOf(3), 2U);
  EXPECT_EQ(MajorityOf(4), 3U);
  EXPECT_EQ(MajorityOf(5), 3U);
}

TEST(DurabilityTracker, AReplicaThatFollowsAVbucketNoMoreCountsForTheOthersOnly) {
  DurabilityTracker tracker(2);
  const Vbid other(kVbucket.get() + 1);
  Report(tracker, "a", 10, 10);
  tracker.Report("a", other, kHistory, Seqno(7), Seqno(7));
  EXPECT_EQ(tracker.LiveReplicas(kVbucket, kHistory), 1U);
  tracker.Forget("b", kVbucket);
  tracker.Forget("a", Vbid(99));
  EXPECT_EQ(tracker.LiveReplicas(kVbucket, kHistory), 1U);
  tracker.Forget("a", kVbucket);
  EXPECT_EQ(tracker.LiveReplicas(kVbucket, kHistory), 0U);
  EXPECT_FALSE(tracker.Possible(Level::kMajority, kVbucket, kHistory));
  EXPECT_EQ(tracker.LiveReplicas(other, kHistory), 1U);
  // What a majority had stays reached.
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 10), Active()), Code::kOk);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 11), Active()), Code::kWouldBlock);
  Report(tracker, "a", 11, 10);
  EXPECT_EQ(tracker.LiveReplicas(kVbucket, kHistory), 1U);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 11), Active()), Code::kOk);
}

TEST(DurabilityTracker, MemoryIsDoneAtOnceWhateverHappens) {
  DurabilityTracker tracker(3);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMemory, 9), ActiveView{}), Code::kOk);
}

TEST(DurabilityTracker, PersistedIsTheActivesSyncAlone) {
  DurabilityTracker tracker(3);
  for (const Code synced : {Code::kOk, Code::kWouldBlock, Code::kAmbiguous}) {
    EXPECT_EQ(tracker.Outcome(Want(Level::kPersisted, 9), Active(synced)), synced);
  }
}

TEST(DurabilityTracker, MajorityCountsTheActiveAndReplicasThatHaveAppliedIt) {
  DurabilityTracker tracker(5);
  const Requirement want = Want(Level::kMajority, 10);
  Report(tracker, "a", 10, 0);
  EXPECT_EQ(tracker.Outcome(want, Active()), Code::kWouldBlock) << "two of five";
  Report(tracker, "b", 9, 9);
  EXPECT_EQ(tracker.Outcome(want, Active()), Code::kWouldBlock) << "one seqno short";
  Report(tracker, "b", 10, 9);
  EXPECT_EQ(tracker.Outcome(want, Active()), Code::kOk) << "three of five";
  EXPECT_EQ(tracker.Outcome(want, Active(Code::kAmbiguous)), Code::kOk) << "no disk was asked for";
}

TEST(DurabilityTracker, ACopyAloneIsAMajorityOfOne) {
  DurabilityTracker tracker(1);
  EXPECT_TRUE(tracker.Possible(Level::kMajority, kVbucket, kHistory));
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 10), Active()), Code::kOk);
  EXPECT_EQ(tracker.Outcome(Want(Level::kPersistedMajority, 10), Active()), Code::kWouldBlock);
  EXPECT_EQ(tracker.Outcome(Want(Level::kPersistedMajority, 10), Active(Code::kOk)), Code::kOk);
}

TEST(DurabilityTracker, MajorityAndPersistedNeedsBoth) {
  DurabilityTracker tracker(2);
  const Requirement want = Want(Level::kMajorityAndPersisted, 10);
  EXPECT_EQ(tracker.Outcome(want, Active(Code::kOk)), Code::kWouldBlock);
  Report(tracker, "a", 10, 0);
  EXPECT_EQ(tracker.Outcome(want, Active()), Code::kWouldBlock);
  EXPECT_EQ(tracker.Outcome(want, Active(Code::kOk)), Code::kOk);
  EXPECT_EQ(tracker.Outcome(want, Active(Code::kAmbiguous)), Code::kAmbiguous);
}

// Two replicas' disks are a majority of three. But an active that comes back without the write makes them
// give it up again.
TEST(DurabilityTracker, APersistedMajorityIncludesTheActive) {
  DurabilityTracker tracker(3);
  const Requirement want = Want(Level::kPersistedMajority, 10);
  Report(tracker, "a", 10, 9);
  EXPECT_EQ(tracker.Outcome(want, Active(Code::kOk)), Code::kWouldBlock) << "applied is not persisted";
  Report(tracker, "a", 10, 10);
  EXPECT_EQ(tracker.Outcome(want, Active()), Code::kWouldBlock);
  EXPECT_EQ(tracker.Outcome(want, Active(Code::kOk)), Code::kOk) << "the active and one replica";
  Report(tracker, "b", 10, 10);
  EXPECT_EQ(tracker.Outcome(want, Active()), Code::kWouldBlock) << "two replicas";
  EXPECT_EQ(tracker.Outcome(want, Active(Code::kAmbiguous)), Code::kAmbiguous) << "its sync has failed";
}

TEST(DurabilityTracker, AnotherBranchOfHistoryDoesNotCount) {
  DurabilityTracker tracker(2);
  Report(tracker, "a", 100, 100, kHistory + 1);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 10), Active()), Code::kWouldBlock);
  EXPECT_FALSE(tracker.Possible(Level::kMajority, kVbucket, kHistory));
  Report(tracker, "a", 10, 10);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 10), Active()), Code::kOk);
  EXPECT_TRUE(tracker.Possible(Level::kMajority, kVbucket, kHistory));
}

TEST(DurabilityTracker, AWriteWhoseBranchHasEndedIsAmbiguousEvenIfTheReplicaHasItsSeqno) {
  DurabilityTracker tracker(2);
  Report(tracker, "a", 100, 100);
  for (const Level level :
       {Level::kPersisted, Level::kMajority, Level::kMajorityAndPersisted, Level::kPersistedMajority}) {
    EXPECT_EQ(tracker.Outcome(Want(level, 10), Active(Code::kOk, kHistory + 1)), Code::kAmbiguous);
    EXPECT_EQ(tracker.Outcome(Want(level, 10), ActiveView{false, kHistory, Code::kOk}), Code::kAmbiguous);
  }
}

TEST(DurabilityTracker, ADisconnectedReplicaCountsNoMore) {
  DurabilityTracker tracker(3);
  Report(tracker, "b", 5, 5);
  Report(tracker, "a", 9, 9);
  tracker.Forget("a");
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 9), Active()), Code::kOk) << "a majority had it";
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 10), Active()), Code::kWouldBlock);
  EXPECT_TRUE(tracker.Possible(Level::kMajority, kVbucket, kHistory)) << "b is still there";
  tracker.Forget("b");
  EXPECT_FALSE(tracker.Possible(Level::kMajority, kVbucket, kHistory));
  EXPECT_TRUE(tracker.Possible(Level::kPersisted, kVbucket, kHistory)) << "needs no replica";
  Report(tracker, "a", 10, 0);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 10), Active()), Code::kOk) << "it came back";
}

TEST(DurabilityTracker, AReplicaThatHadToRollBackHasToComeAgain) {
  DurabilityTracker tracker(4);
  Report(tracker, "a", 100, 100);
  Report(tracker, "a", 50, 50);
  Report(tracker, "b", 100, 100);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 60), Active()), Code::kWouldBlock)
      << "there was no moment at which both had it";
  Report(tracker, "a", 60, 50);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 60), Active()), Code::kOk);
}

TEST(DurabilityTracker, WhatAMajorityHadStaysReachedOnItsBranchOnly) {
  DurabilityTracker tracker(5);
  Report(tracker, "a", 10, 8);
  Report(tracker, "b", 9, 7);
  Report(tracker, "c", 3, 6);
  for (const char* replica : {"a", "b", "c"}) tracker.Forget(replica);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 9), Active()), Code::kOk);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 10), Active()), Code::kWouldBlock);
  EXPECT_EQ(tracker.Outcome(Want(Level::kPersistedMajority, 7), Active(Code::kOk)), Code::kOk);
  EXPECT_EQ(tracker.Outcome(Want(Level::kPersistedMajority, 8), Active(Code::kOk)), Code::kWouldBlock);
  EXPECT_EQ(tracker.Outcome(Want(Level::kPersistedMajority, 6), Active()), Code::kWouldBlock);
  Report(tracker, "a", 1, 1, kHistory + 1);
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 2, kHistory + 1), Active(Code::kOk, kHistory + 1)),
            Code::kWouldBlock);
}

TEST(DurabilityTracker, OneReplicaIsCountedOnce) {
  DurabilityTracker tracker(3);
  for (int i = 0; i < 5; ++i) Report(tracker, "a", 10, 10);
  EXPECT_EQ(tracker.LiveReplicas(kVbucket, kHistory), 1U);
  DurabilityTracker five(5);
  for (int i = 0; i < 5; ++i) Report(five, "a", 10, 10);
  EXPECT_EQ(five.Outcome(Want(Level::kMajority, 10), Active()), Code::kWouldBlock);
}

TEST(DurabilityTracker, ReplicasOfOtherVbucketsDoNotCount) {
  DurabilityTracker tracker(2);
  // The first shares a shard with the vbucket that is asked about.
  for (const Vbid other : {Vbid(19), Vbid(4)}) {
    tracker.Report("a", other, kHistory, Seqno(100), Seqno(100));
  }
  EXPECT_EQ(tracker.Outcome(Want(Level::kMajority, 10), Active()), Code::kWouldBlock);
  EXPECT_EQ(tracker.LiveReplicas(kVbucket, kHistory), 0U);
}

TEST(DurabilityTracker, ReplicasAreBounded) {
  DurabilityTracker tracker(64);
  for (int i = 0; i < 100; ++i) Report(tracker, "replica " + std::to_string(i), 10, 10);
  EXPECT_EQ(tracker.LiveReplicas(kVbucket, kHistory), DurabilityTracker::kReplicasMax);
}

TEST(DurabilityWaits, AreWokenOnceByTheReportThatCompletesThem) {
  DurabilityTracker tracker(3);
  const auto waiter = std::make_shared<CountWakes>();
  const auto later = std::make_shared<CountWakes>();
  tracker.Await(Want(Level::kMajority, 10), waiter);
  tracker.Await(Want(Level::kMajority, 11), later);
  Report(tracker, "a", 9, 9);
  EXPECT_EQ(waiter->wakes, 0);
  Report(tracker, "a", 10, 9);
  EXPECT_EQ(waiter->wakes, 1);
  EXPECT_EQ(later->wakes, 0);
  Report(tracker, "b", 20, 20);
  EXPECT_EQ(waiter->wakes, 1);
  EXPECT_EQ(later->wakes, 1);
  EXPECT_EQ(tracker.waiting(), 0U);
}

TEST(DurabilityWaits, ForADiskCountWhatIsPersisted) {
  DurabilityTracker tracker(3);
  const auto waiter = std::make_shared<CountWakes>();
  tracker.Await(Want(Level::kPersistedMajority, 10), waiter);
  Report(tracker, "a", 10, 9);
  EXPECT_EQ(waiter->wakes, 0) << "applied is not persisted";
  Report(tracker, "a", 10, 10);
  EXPECT_EQ(waiter->wakes, 1);
}

TEST(DurabilityWaits, ForReplicasDisksAreCountedByThemselves) {
  DurabilityTracker tracker(3);
  const auto waiter = std::make_shared<CountWakes>();
  const auto await = [&](Level level, uint64_t seqno) {
    bool first = false;
    const DurabilityTracker::WaitId id = tracker.Await(Want(level, seqno), waiter, &first);
    return std::pair(id, first);
  };
  EXPECT_TRUE(await(Level::kMajority, 10).second);
  EXPECT_FALSE(await(Level::kMajorityAndPersisted, 10).second) << "the disk is the active's own";
  EXPECT_EQ(tracker.waiting_for_disks(), 0U);
  EXPECT_TRUE(await(Level::kPersistedMajority, 10).second) << "the first that waits for their disks";
  const auto [cancelled, first] = await(Level::kPersistedMajority, 11);
  EXPECT_FALSE(first);
  EXPECT_EQ(tracker.waiting(), 4U);
  EXPECT_EQ(tracker.waiting_for_disks(), 2U);
  tracker.Cancel(kVbucket, cancelled);
  tracker.Cancel(kVbucket, cancelled);
  EXPECT_EQ(tracker.waiting_for_disks(), 1U);
  Report(tracker, "a", 10, 9);
  EXPECT_EQ(tracker.waiting(), 1U);
  EXPECT_EQ(tracker.waiting_for_disks(), 1U);
  Report(tracker, "a", 10, 10);
  EXPECT_EQ(tracker.waiting_for_disks(), 0U);
  EXPECT_TRUE(await(Level::kPersistedMajority, 12).second);
  tracker.set_copies(2);
  EXPECT_EQ(tracker.waiting_for_disks(), 0U);
  EXPECT_TRUE(await(Level::kPersistedMajority, 13).second);
  tracker.ReleaseStale([](Vbid) { return ActiveView{}; });
  EXPECT_EQ(tracker.waiting_for_disks(), 0U);
  EXPECT_EQ(tracker.waiting(), 0U);
}

TEST(DurabilityWaits, SurviveADisconnectAndGoOnWithTheNextReplica) {
  DurabilityTracker tracker(3);
  const auto waiter = std::make_shared<CountWakes>();
  Report(tracker, "a", 9, 9);
  tracker.Await(Want(Level::kMajority, 10), waiter);
  tracker.Forget("a");
  EXPECT_EQ(waiter->wakes, 0);
  EXPECT_EQ(tracker.waiting(), 1U);
  Report(tracker, "b", 10, 0);
  EXPECT_EQ(waiter->wakes, 1);
}

TEST(DurabilityWaits, EndWithTheirOwner) {
  DurabilityTracker tracker(2);
  const auto waiter = std::make_shared<CountWakes>();
  {
    DurabilityWait wait(tracker, kVbucket, tracker.Await(Want(Level::kMajority, 10), waiter));
    DurabilityWait moved = std::move(wait);
    EXPECT_EQ(tracker.waiting(), 1U);
  }
  EXPECT_EQ(tracker.waiting(), 0U);
  Report(tracker, "a", 10, 10);
  EXPECT_EQ(waiter->wakes, 0);
}

TEST(DurabilityWaits, AnOwnerThatComesLateCancelsNothingElse) {
  DurabilityTracker tracker(2);
  const auto first = std::make_shared<CountWakes>();
  const auto second = std::make_shared<CountWakes>();
  DurabilityWait over(tracker, kVbucket, tracker.Await(Want(Level::kMajority, 10), first));
  Report(tracker, "a", 10, 10);
  EXPECT_EQ(first->wakes, 1);
  DurabilityWait pending(tracker, kVbucket, tracker.Await(Want(Level::kMajority, 11), second));
  over = DurabilityWait();
  EXPECT_EQ(tracker.waiting(), 1U);
  Report(tracker, "a", 11, 10);
  EXPECT_EQ(second->wakes, 1);
}

TEST(DurabilityWaits, OfABranchThatHasEndedAreReleased) {
  DurabilityTracker tracker(2);
  const auto waiter = std::make_shared<CountWakes>();
  tracker.Await(Want(Level::kMajority, 10), waiter);
  ActiveView view = Active();
  const auto look = [&](Vbid vbucket) {
    EXPECT_EQ(vbucket, kVbucket);
    return view;
  };
  tracker.ReleaseStale(look);
  EXPECT_EQ(waiter->wakes, 0);
  view.history = kHistory + 1;
  tracker.ReleaseStale(look);
  EXPECT_EQ(waiter->wakes, 1);
  tracker.Await(Want(Level::kMajority, 10, kHistory + 1), waiter);
  view.active = false;
  tracker.ReleaseStale(look);
  EXPECT_EQ(waiter->wakes, 2);
  EXPECT_EQ(tracker.waiting(), 0U);
  tracker.ReleaseStale([](Vbid) -> ActiveView {
    ADD_FAILURE() << "nobody waits, so nothing is looked at";
    return {};
  });
}

class DurabilityStats : public EngineStoreTest {
 protected:
  uint64_t Impossible() { return Number("", "ep_durability_impossible"); }
};

TEST_F(DurabilityStats, CountWhatIsNotExecutedForWantOfReplicas) {
  Open();
  EXPECT_EQ(Impossible(), 0u);
  EXPECT_EQ(E()->AdmitDurability(Vbid(1), Level::kPersisted), DurabilityAdmission::kOk);
  EXPECT_EQ(Impossible(), 0u) << "a level without replicas";
  EXPECT_EQ(E()->AdmitDurability(Vbid(1), Level::kMajority), DurabilityAdmission::kImpossible);
  EXPECT_EQ(E()->AdmitDurability(Vbid(2), Level::kPersistedMajority), DurabilityAdmission::kImpossible);
  EXPECT_EQ(Impossible(), 2u);
  EXPECT_EQ(E()->AdmitDurabilityOfAll(Level::kMajority), DurabilityAdmission::kImpossible);
  EXPECT_EQ(Impossible(), 3u) << "one write, however many vbuckets it is for";
  Status set(Code::kInternal);
  E()->SetVbucketState(Vbid(1), VbucketState::kDead, [&](Status status) { set = std::move(status); });
  ASSERT_TRUE(set.ok()) << set.ToString();
  EXPECT_EQ(E()->AdmitDurability(Vbid(1), Level::kMajority), DurabilityAdmission::kOk);
  EXPECT_EQ(Impossible(), 3u) << "the write itself is refused, for another reason";
  E()->ResetStats();
  EXPECT_EQ(Impossible(), 0u);
}

}  // namespace
}  // namespace cairn::engine
