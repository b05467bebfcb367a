// States of vbuckets: who is served, who waits, deletion and making anew, and what of it survives a crash.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "proto/meta_record.h"
#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

class VbucketStates : public EngineStoreTest {
 protected:
  Status SetState(Vbid vbucket, VbucketState state) {
    Status answer(Code::kInternal);
    E()->SetVbucketState(vbucket, state, [&](Status status) { answer = std::move(status); });
    return answer;
  }
  Status DeleteVbucket(Vbid vbucket) {
    Status answer(Code::kInternal);
    E()->DeleteVbucket(vbucket, [&](Status status) { answer = std::move(status); });
    return answer;
  }
  /// Keys of one vbucket.
  std::vector<std::string> KeysOf(Vbid vbucket, size_t count) {
    std::vector<std::string> keys;
    for (int i = 0; keys.size() < count; ++i) {
      const std::string key = "key-" + std::to_string(i);
      if (E()->MakeKey(key).vbucket == vbucket) keys.push_back(key);
    }
    return keys;
  }
};

TEST_F(VbucketStates, OnlyAnActiveOneIsServed) {
  Open();
  const Vbid vb(2);
  const auto keys = KeysOf(vb, 5);
  SetAll(keys, "v");
  for (const VbucketState state : {VbucketState::kReplica, VbucketState::kDead}) {
    ASSERT_TRUE(SetState(vb, state).ok());
    EXPECT_EQ(E()->GetVbucketState(vb).value(), state);
    const OpKey key = E()->MakeKey(keys[0]);
    StoreRequest request;
    EXPECT_EQ(E()->Get(key, nullptr).code, Code::kNotMyVbucket);
    EXPECT_EQ(E()->Store(key, request, nullptr).code, Code::kNotMyVbucket);
    EXPECT_EQ(E()->Delete(key, Cas(), nullptr).code, Code::kNotMyVbucket);
    EXPECT_EQ(E()->Touch(key, 0, nullptr).code, Code::kNotMyVbucket);
    EXPECT_EQ(E()->GetAndTouch(key, 0, nullptr).code, Code::kNotMyVbucket);
    EXPECT_EQ(E()->Arithmetic(key, {}, nullptr).code, Code::kNotMyVbucket);
    EXPECT_EQ(E()->HighSeqnos(state).size(), 1u);
    EXPECT_EQ(E()->HighSeqnos(VbucketState::kActive).size(), 3u);
    CrashAndReopen();
    EXPECT_EQ(E()->GetVbucketState(vb).value(), state) << "answered, so durable";
  }
  ASSERT_TRUE(SetState(vb, VbucketState::kActive).ok());
  EXPECT_EQ(Look(keys).size(), keys.size());
  EXPECT_EQ(SetState(Vbid(4), VbucketState::kActive).code(), Code::kOutOfRange);
  EXPECT_EQ(DeleteVbucket(Vbid(4)).code(), Code::kOutOfRange);
  EXPECT_EQ(E()->GetVbucketState(Vbid(4)).code(), Code::kNotMyVbucket);
}

TEST_F(VbucketStates, APendingOneParksItsClientsAndWakesThem) {
  Open();
  const Vbid vb(1);
  const auto keys = KeysOf(vb, 3);
  SetAll(keys, "v");
  for (const VbucketState next : {VbucketState::kActive, VbucketState::kReplica, VbucketState::kDead}) {
    ASSERT_TRUE(SetState(vb, VbucketState::kPending).ok());
    const OpKey key = E()->MakeKey(keys[0]);
    auto reader = std::make_shared<WakeFlag>();
    auto writer = std::make_shared<WakeFlag>();
    StoreRequest request;
    request.value = "w";
    EXPECT_EQ(E()->Get(key, reader).code, Code::kWouldBlock);
    EXPECT_EQ(E()->Store(key, request, writer).code, Code::kWouldBlock);
    EXPECT_EQ(E()->Get(key, nullptr).code, Code::kTmpFail) << "who cannot wait is told so";
    Background(5);
    EXPECT_FALSE(reader->woken || writer->woken);
    ASSERT_TRUE(SetState(vb, next).ok());
    EXPECT_TRUE(reader->woken && writer->woken);
    const Code expected = next == VbucketState::kActive ? Code::kOk : Code::kNotMyVbucket;
    EXPECT_EQ(E()->Get(key, nullptr).code, expected);
    EXPECT_EQ(E()->Store(key, request, nullptr).code, expected);
  }
}

TEST_F(VbucketStates, OnlyADeadOneIsDeleted) {
  Open();
  const Vbid vb(3);
  for (const VbucketState state : {VbucketState::kActive, VbucketState::kReplica, VbucketState::kPending}) {
    ASSERT_TRUE(SetState(vb, state).ok());
    EXPECT_EQ(DeleteVbucket(vb).code(), Code::kNotSupported);
  }
  ASSERT_TRUE(SetState(vb, VbucketState::kDead).ok());
  EXPECT_TRUE(DeleteVbucket(vb).ok());
  EXPECT_EQ(DeleteVbucket(vb).code(), Code::kNotMyVbucket);
  EXPECT_EQ(E()->GetVbucketState(vb).code(), Code::kNotMyVbucket);
  EXPECT_EQ(E()->Get(E()->MakeKey(KeysOf(vb, 1)[0]), nullptr).code, Code::kNotMyVbucket);
  CrashAndReopen();
  EXPECT_EQ(E()->GetVbucketState(vb).code(), Code::kNotMyVbucket);
}

TEST_F(VbucketStates, ADeletedOneLeavesNothingAndMadeAnewItIsEmptyAndGoesOnCounting) {
  Open();
  const Vbid vb(3);
  const auto keys = KeysOf(vb, 200);
  SetAll(keys, std::string(500, 'v'));
  Persist();
  const Version old = *E().Get(keys[0]);
  const uint64_t used = Number("", "mem_used");
  ASSERT_TRUE(SetState(vb, VbucketState::kDead).ok());
  ASSERT_TRUE(DeleteVbucket(vb).ok());
  EXPECT_LT(Number("", "mem_used") + 100'000, used);
  EXPECT_TRUE(DataNow().empty());
  ASSERT_TRUE(SetState(vb, VbucketState::kActive).ok());
  EXPECT_TRUE(Look(keys).empty());
  ASSERT_EQ(E().Set(keys[0], "new"), Code::kOk);
  EXPECT_GT(E().Get(keys[0])->cas, old.cas);
  EXPECT_EQ(Number("", "curr_items"), 1u);
}

// What was written into a vbucket that was made anew is as durable as anything else.
TEST_F(VbucketStates, AVbucketMadeAnewSurvivesACrash) {
  for (const bool merged : {false, true}) {
    SCOPED_TRACE(merged);
    Open();
    const Vbid vb(3);
    const auto keys = KeysOf(vb, 20);
    SetAll(keys, "old");
    Persist();
    ASSERT_TRUE(SetState(vb, VbucketState::kDead).ok());
    ASSERT_TRUE(DeleteVbucket(vb).ok());
    ASSERT_TRUE(SetState(vb, VbucketState::kActive).ok());
    if (merged) Background(10);
    ASSERT_EQ(E().Set(keys[0], "new"), Code::kOk);
    const uint64_t ticket = E()->CommitTicket();
    E()->AwaitCommit(ticket, std::make_shared<WakeFlag>());
    if (merged) Background(10);
    // One flush and no merge: the crash finds the log only.
    gate_.refuse = [](const storage::LogBatch& batch) {
      return batch.meta_puts.empty() ? Status::Ok() : Status(Code::kNoSpace, "no merge");
    };
    for (int i = 0; i < 3 && E()->CommitOutcome(ticket) != Code::kOk; ++i) E()->RunBackground();
    ASSERT_EQ(E()->CommitOutcome(ticket), Code::kOk);
    Crash();
    gate_.refuse = nullptr;
    E().Open();
    ASSERT_EQ(E()->GetVbucketState(vb).code(), Code::kOk) << "the vbucket is gone";
    EXPECT_EQ(E()->GetVbucketState(vb).value(), VbucketState::kActive);
    ASSERT_TRUE(E().Get(keys[0]).has_value());
    EXPECT_EQ(E().Get(keys[0])->value, "new");
    EXPECT_FALSE(E().Get(keys[1]).has_value());
    Crash();
  }
}

TEST_F(VbucketStates, MakingAndDeletingOverAndOverIsBounded) {
  Open();
  const Vbid vb(0);
  for (size_t i = 0; i < proto::kFailoverEntriesMax + 20; ++i) {
    ASSERT_TRUE(SetState(vb, VbucketState::kDead).ok());
    ASSERT_TRUE(DeleteVbucket(vb).ok()) << i;
    ASSERT_TRUE(SetState(vb, VbucketState::kActive).ok());
  }
  const auto keys = KeysOf(vb, 3);
  SetAll(keys, "v");
  Persist();
  RestartCleanly();
  EXPECT_EQ(Look(keys).size(), 3u);
}

// A merge may be writing a vbucket's operations to data while the vbucket is deleted.
TEST_F(VbucketStates, ADeletionInTheMiddleOfAMergeLeavesNothing) {
  Open();
  const Vbid vb(3);
  const auto keys = KeysOf(vb, 20);
  SetAll(keys, "old");
  ASSERT_TRUE(SetState(vb, VbucketState::kDead).ok());
  std::atomic<bool> answered{false};
  Status deleted(Code::kInternal);
  std::thread deleter;
  store_.SetHook([&](storage::MemoryStore::Op op) {
    if (op != storage::MemoryStore::Op::kWriteData || deleter.joinable()) return;
    deleter = std::thread([&] {
      E()->DeleteVbucket(vb, [&](Status status) {
        deleted = std::move(status);
        answered = true;
      });
    });
    for (int i = 0; i < 100 && !answered; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  E()->RunBackground();
  ASSERT_TRUE(deleter.joinable()) << "no merge came by";
  deleter.join();
  store_.SetHook(nullptr);
  EXPECT_TRUE(deleted.ok()) << deleted.ToString();
  EXPECT_TRUE(DataNow().empty());
  CrashAndReopen();
  EXPECT_EQ(E()->GetVbucketState(vb).code(), Code::kNotMyVbucket);
  ASSERT_TRUE(SetState(vb, VbucketState::kActive).ok());
  RestartCleanly();
  EXPECT_TRUE(Look(keys).empty()) << "deleted keys are back";
}

// Each unclean end adds to a vbucket's history; the records of many vbuckets must not outgrow one write.
TEST_F(VbucketStates, LongHistoriesOfManyVbucketsCanStillBeWritten) {
  EngineOptions options = SmallOptions();
  options.vbuckets = 8192;
  Open(options);
  ASSERT_EQ(E().Set("k", "v"), Code::kOk);
  Persist();
  Crash();
  for (uint16_t v = 0; v < 8192; ++v) {
    const std::string name = proto::VbucketMetaName(Vbid(v));
    proto::VbucketMeta meta = proto::DecodeVbucketMeta(Vbid(v), store_.GetMeta(name).value()).value();
    meta.failover_log.resize(proto::kFailoverEntriesMax, {~uint64_t{0}, Seqno(kSeqnoMax / 4)});
    storage::LogBatch batch;
    batch.meta_puts.emplace_back(name, proto::EncodeVbucketMeta(Vbid(v), meta));
    ASSERT_TRUE(store_.WriteLog(batch, true).ok());
  }
  const Status opened = E().TryOpen();
  ASSERT_TRUE(opened.ok()) << opened.ToString();
  EXPECT_EQ(E().Get("k")->value, "v");
  ASSERT_EQ(E().Set("k", "w"), Code::kOk);
  Persist();
  Start();
  Complete();
  Persist();
  EXPECT_EQ(Number("", "ep_merge_errors"), 0u);
}

}  // namespace
}  // namespace cairn::engine
