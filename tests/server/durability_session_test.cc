// What a write has to reach, from the request to its answer, without a socket.

#include <gmock/gmock.h>

#include "base/key.h"
#include "engine/storage/memory_store.h"
#include "tests/server/binary_harness.h"

namespace cairn::server {
namespace {

using Level = engine::DurabilityLevel;
using ::testing::HasSubstr;

constexpr std::string_view kMajority = "\x11\x01";
constexpr std::string_view kMajorityAndPersisted = "\x11\x02";
constexpr std::string_view kPersistedMajority = "\x11\x03";
constexpr std::string_view kMemory = "\x11\x80";
constexpr std::string_view kPersisted = "\x11\x81";

class DurabilitySession : public BinarySession {
 protected:
  static Request Set(const std::string& key, std::string_view frames) {
    Request request = Store(Opcode::kSet, key, "value");
    request.frames = frames;
    return request;
  }
  void OpenOnDisk(engine::EngineOptions options = Options()) {
    options.data_dir = "in memory";
    Open(options, std::make_unique<storage::MemoryStore>());
    left_over_.clear();
  }
  /// Executes `in` as one batch. What has to be reached is not looked at yet.
  void Run(const std::string& in) {
    const Session::Progress progress = session_->Run(in, out_, waiter_);
    last_outcome_ = progress.outcome;
    left_over_ = in.substr(progress.consumed);
  }
  std::vector<BinaryStatus> Statuses() {
    std::vector<BinaryStatus> statuses;
    for (const Answer& answer : DecodeAnswers(TakeOutput())) statuses.push_back(answer.status);
    return statuses;
  }
  uint64_t High(const std::string& key) { return engine_->History(VbidOf(key, 16))->high.get(); }
  std::string Found(const std::string& key) { return One(Plain(Opcode::kGet, key)).value; }
  void FlushLog() {
    while (Step()) {
    }
  }
};

TEST_F(DurabilitySession, NothingIsAskedByDefault) {
  EXPECT_EQ(engine_->durability(), Level::kMemory);
  Run(Encode(Store(Opcode::kSet, "a", "1")));
  EXPECT_FALSE(out_.has_mutations());
  EXPECT_EQ(Statuses(), std::vector{BinaryStatus::kOk});
}

TEST_F(DurabilitySession, AnImpossibleWriteIsNotExecuted) {
  OpenOnDisk();
  for (const std::string_view frames : {kMajority, kMajorityAndPersisted, kPersistedMajority}) {
    EXPECT_EQ(One(Set("a", frames)).status, BinaryStatus::kDurabilityImpossible);
  }
  EXPECT_EQ(High("a"), 0U);
  EXPECT_EQ(Found("a"), "Not found");
}

TEST_F(DurabilitySession, ImpossibleInTheTextProtocolToo) {
  ASSERT_TRUE(engine_->SetDurability(Level::kMajority).ok());
  const std::string impossible = "SERVER_ERROR durability impossible\r\n";
  EXPECT_EQ(Talk("set a 0 0 1\r\n1\r\n"), impossible);
  EXPECT_EQ(Talk("set a 0 0 1 noreply\r\n1\r\nget a\r\n"), "END\r\n") << "silently refused";
  for (const char* line :
       {"delete a\r\n", "incr a 1\r\n", "touch a 0\r\n", "gat 0 a b\r\n", "flush_all\r\n"}) {
    EXPECT_EQ(Talk(line), impossible) << line;
  }
  ASSERT_TRUE(engine_->SetDurability(Level::kMemory).ok());
  EXPECT_EQ(Talk("set a 0 0 1\r\n1\r\n"), "STORED\r\n");
}

TEST_F(DurabilitySession, EveryMutationIsRefusedWhenImpossible) {
  ASSERT_EQ(One(Store(Opcode::kSet, "a", "1")).status, BinaryStatus::kOk);
  const uint64_t high = High("a");
  std::vector<Request> writes;
  for (const Opcode opcode : {Opcode::kSet, Opcode::kAdd, Opcode::kReplace}) {
    writes.push_back(Store(opcode, "a", "2"));
  }
  for (const Opcode opcode : {Opcode::kAppend, Opcode::kPrepend}) {
    writes.push_back(Plain(opcode, "a"));
    writes.back().value = "2";
  }
  for (const Opcode opcode : {Opcode::kTouch, Opcode::kGat, Opcode::kGatK, Opcode::kGatQ}) {
    writes.push_back(Plain(opcode, "a"));
    writes.back().extras = U32(0);
  }
  for (const Opcode opcode : {Opcode::kIncrement, Opcode::kDecrementQ}) {
    writes.push_back(Plain(opcode, "a"));
    writes.back().extras = U64(1) + U64(0) + U32(0);
  }
  writes.push_back(Plain(Opcode::kDelete, "a"));
  writes.push_back(Plain(Opcode::kFlush));
  for (Request& write : writes) {
    write.frames = kMajority;
    EXPECT_EQ(One(write).status, BinaryStatus::kDurabilityImpossible) << proto::OpcodeName(write.opcode);
  }
  EXPECT_EQ(High("a"), high);
  EXPECT_EQ(Found("a"), "1");
}

TEST_F(DurabilitySession, LevelsThatDoNotExistAreRefused) {
  for (const int level : {0, 4, 0x7f, 0x82, 0xff}) {
    const std::string frames{'\x11', static_cast<char>(level)};
    EXPECT_EQ(One(Set("a", frames)).status, BinaryStatus::kInvalidDurability) << level;
  }
  EXPECT_EQ(High("a"), 0U);
}

TEST_F(DurabilitySession, WithoutADiskNothingCanBePersisted) {
  ASSERT_TRUE(OpenWithReplica(Level::kMemory));
  for (const std::string_view frames : {kPersisted, kMajorityAndPersisted, kPersistedMajority}) {
    EXPECT_EQ(One(Set("a", frames)).status, BinaryStatus::kInvalidDurability);
  }
  EXPECT_EQ(engine_->SetDurability(Level::kPersisted).code(), Code::kInvalidArgument);
}

TEST_F(DurabilitySession, OnlyAWriteHasDurability) {
  for (const Opcode opcode : {Opcode::kGet, Opcode::kGetKQ, Opcode::kNoop, Opcode::kGetReplica}) {
    Request request = Plain(opcode, opcode == Opcode::kNoop ? "" : "a");
    request.frames = kMajority;
    EXPECT_EQ(One(request).status, BinaryStatus::kInvalid) << proto::OpcodeName(opcode);
  }
}

TEST_F(DurabilitySession, FramesThatAreNotKnownAreRefusedAndTheNextRequestIsFound) {
  Request reorder = Store(Opcode::kSet, "a", "1");
  reorder.frames = std::string(1, '\0');
  const std::vector<Answer> answers = Ask(Encode(reorder) + Encode(Plain(Opcode::kNoop)));
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].status, BinaryStatus::kInvalid);
  EXPECT_EQ(answers[0].opaque, 0xabcdU);
  EXPECT_EQ(answers[1].status, BinaryStatus::kOk);
  EXPECT_EQ(High("a"), 0U);
}

TEST_F(DurabilitySession, AMajorityWaitsForTheReplica) {
  ASSERT_TRUE(OpenWithReplica(Level::kMemory));
  Run(Encode(Set("a", kMajority)));
  ASSERT_EQ(out_.mark_count(), 1U);
  Settling settling(*engine_);
  EXPECT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.Await(out_, waiter_);
  EXPECT_EQ(counting_waiter_->wakes, 0);
  Report("replica", VbidOf("a", 16), High("a"), 0);
  EXPECT_EQ(counting_waiter_->wakes, 1);
  EXPECT_EQ(settling.Advance(out_), Code::kOk);
  EXPECT_EQ(settling.ambiguous(), 0U);
  EXPECT_EQ(Statuses(), std::vector{BinaryStatus::kOk});
}

TEST_F(DurabilitySession, ARequestMayAskForLessThanTheDefault) {
  ASSERT_TRUE(OpenWithReplica(Level::kMajority));
  Run(Encode(Set("a", kMemory)) + Encode(Store(Opcode::kSet, "b", "1")));
  ASSERT_EQ(out_.mark_count(), 1U);
  EXPECT_EQ(out_.requirements(0)[0].vbucket, VbidOf("b", 16));
}

TEST_F(DurabilitySession, OnlyWhatIsNotReachedBecomesAmbiguous) {
  ASSERT_TRUE(OpenWithReplica(Level::kMajority));
  std::string other = "b";
  while (VbidOf(other, 16) == VbidOf("a", 16)) other += "b";
  Run(Encode(Store(Opcode::kSet, "a", "1")) + Encode(Store(Opcode::kSet, other, "1")) +
      Encode(Store(Opcode::kSet, "a", "2")));
  Settling settling(*engine_);
  EXPECT_EQ(settling.Advance(out_), Code::kWouldBlock);
  Report("replica", VbidOf("a", 16), 1, 0);
  Report("replica", VbidOf(other, 16), 1, 0);
  EXPECT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.GiveUp(out_);
  EXPECT_EQ(settling.ambiguous(), 1U);
  EXPECT_EQ(Statuses(), (std::vector{BinaryStatus::kOk, BinaryStatus::kOk, BinaryStatus::kAmbiguous}));
}

TEST_F(DurabilitySession, WhatWasReachedStaysReachedWhenTheReplicaLeaves) {
  ASSERT_TRUE(OpenWithReplica(Level::kMajority));
  Run(Encode(Store(Opcode::kSet, "a", "1")) + Encode(Store(Opcode::kSet, "a", "2")));
  Settling settling(*engine_);
  Report("replica", VbidOf("a", 16), 1, 0);
  EXPECT_EQ(settling.Advance(out_), Code::kWouldBlock);
  engine_->durability_tracker().Forget("replica");
  EXPECT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.GiveUp(out_);
  EXPECT_EQ(Statuses(), (std::vector{BinaryStatus::kOk, BinaryStatus::kAmbiguous}));
}

TEST_F(DurabilitySession, AVbucketThatIsTakenAwayMakesItAmbiguousAtOnce) {
  ASSERT_TRUE(OpenWithReplica(Level::kMajority));
  const Vbid vbucket = VbidOf("a", 16);
  Run(Encode(Store(Opcode::kSet, "a", "1")));
  Settling settling(*engine_);
  ASSERT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.Await(out_, waiter_);
  Status changed(Code::kInternal);
  engine_->SetVbucketState(vbucket, engine::VbucketState::kDead, [&](Status status) { changed = status; });
  ASSERT_TRUE(changed.ok());
  Step();
  EXPECT_EQ(counting_waiter_->wakes, 1);
  Report("replica", vbucket, 100, 100);
  EXPECT_EQ(settling.Advance(out_), Code::kOk);
  EXPECT_EQ(Statuses(), std::vector{BinaryStatus::kAmbiguous});
}

TEST_F(DurabilitySession, PersistedWaitsForTheSync) {
  engine::EngineOptions options = Options();
  options.sync = engine::SyncPolicy::kNone;
  OpenOnDisk(options);
  Run(Encode(Set("a", kPersisted)));
  Settling settling(*engine_);
  ASSERT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.Await(out_, waiter_);
  FlushLog();
  EXPECT_GE(counting_waiter_->wakes, 1) << "what waits is synced whatever the policy";
  EXPECT_EQ(settling.Advance(out_), Code::kOk);
  EXPECT_EQ(Statuses(), std::vector{BinaryStatus::kOk});
}

TEST_F(DurabilitySession, MajorityAndPersistedWaitsForBothInAnyOrder) {
  OpenOnDisk();
  const Vbid vbucket = VbidOf("a", 16);
  for (const bool replica_first : {true, false}) {
    Report("replica", vbucket, High("a"), 0);
    Run(Encode(Set("a", kMajorityAndPersisted)));
    Settling settling(*engine_);
    ASSERT_EQ(settling.Advance(out_), Code::kWouldBlock);
    settling.Await(out_, waiter_);
    for (const bool first : {true, false}) {
      if (first == replica_first) {
        Report("replica", vbucket, High("a"), 0);
      } else {
        FlushLog();
      }
      ASSERT_EQ(settling.Advance(out_), first ? Code::kWouldBlock : Code::kOk);
      if (first) settling.Await(out_, waiter_);
    }
    EXPECT_EQ(Statuses(), std::vector{BinaryStatus::kOk});
  }
}

TEST_F(DurabilitySession, APersistedMajorityNeedsTheReplicasDisk) {
  OpenOnDisk();
  const Vbid vbucket = VbidOf("a", 16);
  Report("replica", vbucket, 0, 0);
  Run(Encode(Set("a", kPersistedMajority)));
  Settling settling(*engine_);
  ASSERT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.Await(out_, waiter_);
  FlushLog();
  EXPECT_EQ(counting_waiter_->wakes, 1) << "the active's disk has it";
  Report("replica", vbucket, High("a"), 0);
  ASSERT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.Await(out_, waiter_);
  Report("replica", vbucket, High("a"), High("a"));
  EXPECT_EQ(counting_waiter_->wakes, 2);
  EXPECT_EQ(settling.Advance(out_), Code::kOk);
  EXPECT_EQ(Statuses(), std::vector{BinaryStatus::kOk});
}

TEST_F(DurabilitySession, SyncAlwaysIsNeverLess) {
  engine::EngineOptions options = Options();
  options.sync = engine::SyncPolicy::kAlways;
  OpenOnDisk(options);
  EXPECT_EQ(engine_->durability(), Level::kPersisted);
  Run(Encode(Set("a", kMemory)));
  ASSERT_EQ(out_.mark_count(), 1U);
  EXPECT_EQ(out_.requirements(0)[0].level, Level::kPersisted);
  out_.Clear();
  Report("replica", VbidOf("a", 16), 0, 0);
  Run(Encode(Set("a", kMajority)));
  EXPECT_EQ(out_.requirements(0)[0].level, Level::kMajorityAndPersisted);
  out_.Clear();
  ASSERT_TRUE(engine_->SetDurability(Level::kMajority).ok());
  EXPECT_EQ(engine_->durability(), Level::kMajorityAndPersisted);
}

TEST_F(DurabilitySession, AFailedSyncIsAmbiguous) {
  auto store = std::make_unique<storage::MemoryStore>();
  storage::MemoryStore* const disk = store.get();
  engine::EngineOptions options = Options();
  options.data_dir = "in memory";
  Open(options, std::move(store));
  Run(Encode(Set("a", kPersisted)));
  Settling settling(*engine_);
  ASSERT_EQ(settling.Advance(out_), Code::kWouldBlock);
  settling.Await(out_, waiter_);
  disk->FailNth(1, Status(Code::kAmbiguous, "injected"), false);
  Step();
  EXPECT_EQ(counting_waiter_->wakes, 1);
  EXPECT_EQ(settling.Advance(out_), Code::kOk);
  EXPECT_EQ(Statuses(), std::vector{BinaryStatus::kAmbiguous});
}

TEST_F(DurabilitySession, AnotherTimeBeginsAnotherBatch) {
  ASSERT_TRUE(OpenWithReplica(Level::kMajority));
  const std::string in = Encode(Set("a", kMajority)) + Encode(Store(Opcode::kSet, "a", "2")) +
                         Encode(Set("a", "\x13\x01\x01\x02")) + Encode(Plain(Opcode::kNoop));
  Run(in);
  EXPECT_EQ(last_outcome_, Outcome::kOutputFull);
  EXPECT_EQ(out_.mark_count(), 2U);
  EXPECT_EQ(out_.timeout_ms(), engine_->durability_settings().timeout_ms);
  EXPECT_EQ(High("a"), 2U) << "the third is not executed yet";
  out_.Clear();
  Run(left_over_);
  EXPECT_EQ(out_.timeout_ms(), 0x102U);
  EXPECT_EQ(High("a"), 3U);
  EXPECT_TRUE(left_over_.empty());
}

TEST_F(DurabilitySession, FlushIsOneWriteInAllVbuckets) {
  ASSERT_TRUE(OpenWithReplica(Level::kMemory));
  Request flush = Plain(Opcode::kFlush);
  flush.frames = kMajority;
  Run(Encode(flush));
  ASSERT_EQ(out_.mark_count(), 1U);
  EXPECT_EQ(out_.requirements(0).size(), 16U);
  Settling settling(*engine_);
  for (uint16_t i = 0; i < 16; ++i) {
    EXPECT_EQ(settling.Advance(out_), Code::kWouldBlock);
    Report("replica", Vbid(i), engine_->History(Vbid(i))->high.get(), 0);
  }
  EXPECT_EQ(settling.Advance(out_), Code::kOk);
  EXPECT_EQ(Statuses(), std::vector{BinaryStatus::kOk});
}

TEST_F(DurabilitySession, GatOfManyKeysWaitsForAllOfThem) {
  ASSERT_TRUE(OpenWithReplica(Level::kMemory));
  std::string second = "b";
  while (VbidOf(second, 16) == VbidOf("a", 16)) second += "b";
  Talk("set a 0 0 1\r\n1\r\nset " + second + " 0 0 1\r\n2\r\n");
  ASSERT_TRUE(engine_->SetDurability(Level::kMajority).ok());
  Run("gat 100 a missing " + second + "\r\n");
  ASSERT_EQ(out_.mark_count(), 1U);
  EXPECT_EQ(out_.requirements(0).size(), 2U);
  Settling settling(*engine_);
  Report("replica", VbidOf(second, 16), 2, 0);
  EXPECT_EQ(settling.Advance(out_), Code::kWouldBlock);
  Report("replica", VbidOf("a", 16), 2, 0);
  EXPECT_EQ(settling.Advance(out_), Code::kOk);
  EXPECT_EQ(TakeOutput(), "VALUE a 0 1\r\n1\r\nVALUE " + second + " 0 1\r\n2\r\nEND\r\n");
}

TEST_F(DurabilitySession, HelloTellsThatDurabilityIsThere) {
  Request hello = Plain(Opcode::kHello, "agent");
  hello.value = std::string("\x00\x04\x00\x10\x00\x0e\x00\x11\x00\x10\x00", 11);
  EXPECT_EQ(One(hello).value, std::string("\x00\x10\x00\x11", 4));
  hello.value = std::string("\x00\x04", 2);
  EXPECT_EQ(One(hello).value, "");
}

TEST_F(DurabilitySession, TheDefaultCanBeSetWhileItRuns) {
  Request param = Plain(Opcode::kSetParam, "durability");
  param.extras = U32(1);
  param.value = "majority";
  EXPECT_EQ(One(param).status, BinaryStatus::kOk);
  EXPECT_EQ(engine_->durability(), Level::kMajority);
  param.value = "most";
  EXPECT_EQ(One(param).status, BinaryStatus::kInvalid);
  param.value = "persisted";
  EXPECT_EQ(One(param).status, BinaryStatus::kInvalid) << "there is no disk";
  EXPECT_EQ(engine_->durability(), Level::kMajority);
}

}  // namespace
}  // namespace cairn::server
