// The requests that ask how far something is.

#include <gmock/gmock.h>

#include "base/key.h"
#include "engine/storage/memory_store.h"
#include "server/binary_numbers.h"
#include "tests/server/binary_harness.h"

namespace cairn::server {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

std::string U16(uint16_t n) {
  std::string bytes;
  AppendBigEndian(n, bytes);
  return bytes;
}
std::string U8(int n) { return {static_cast<char>(n)}; }

class BinaryObserve : public BinarySession {
 protected:
  void SetUp() override {
    engine::EngineOptions options = Options();
    options.data_dir = "in memory";
    options.sync = engine::SyncPolicy::kAlways;  // a step of the flusher syncs
    Open(options, std::make_unique<storage::MemoryStore>());
    FlushLog();
  }
  void FlushLog() {
    while (Step()) {
    }
  }
  static Request In(uint16_t vbucket, Opcode opcode) {
    Request request = Plain(opcode);
    request.vbucket = vbucket;
    return request;
  }
  static std::string Asked(const std::string& key, uint16_t vbucket) {
    return U16(vbucket) + U16(static_cast<uint16_t>(key.size())) + key;
  }
  static std::string Asked(const std::string& key) { return Asked(key, VbidOf(key, 16).get()); }
  Answer Observe(const std::string& value) {
    Request request = Plain(Opcode::kObserve);
    request.value = value;
    return One(request);
  }
  /// Executes without letting the engine go on.
  std::vector<Answer> RunOnce(const std::string& in) {
    const Session::Progress progress = session_->Run(in, out_, waiter_);
    last_outcome_ = progress.outcome;
    return DecodeAnswers(TakeOutput());
  }
  uint64_t SetNow(const std::string& key) {
    const std::vector<Answer> answers = RunOnce(Encode(Store(Opcode::kSet, key, "1")));
    return answers.empty() ? 0 : answers.front().cas;
  }
  Status SetState(uint16_t vbucket, engine::VbucketState state) {
    Status changed(Code::kInternal);
    engine_->SetVbucketState(Vbid(vbucket), state, [&](Status status) { changed = status; });
    return changed;
  }
};

TEST_F(BinaryObserve, SaysWhereEachKeyIs) {
  const uint64_t cas = SetNow("a");
  const std::string a = Asked("a");
  EXPECT_EQ(Observe(a).value, a + U8(0x00) + U64(cas)) << "in memory";
  FlushLog();
  EXPECT_EQ(Observe(a).value, a + U8(0x01) + U64(cas)) << "on disk";
  EXPECT_EQ(Observe(Asked("missing")).value, Asked("missing") + U8(0x80) + U64(0));
  RunOnce(Encode(Plain(Opcode::kDelete, "a")));
  const std::string deleted = Observe(a).value;
  EXPECT_EQ(deleted.substr(0, a.size() + 1), a + U8(0x81)) << "deleted, and the disk does not know it";
  FlushLog();
  EXPECT_EQ(Observe(a).value[a.size()], '\x80');
}

TEST_F(BinaryObserve, TakesManyKeysAndAVbucketThatIsNotNamed) {
  const uint64_t cas = SetNow("a");
  const Answer answer = Observe(Asked("a", 0) + Asked("b"));
  EXPECT_EQ(answer.value, Asked("a") + U8(0x00) + U64(cas) + Asked("b") + U8(0x80) + U64(0));
}

TEST_F(BinaryObserve, DoesNotDeleteWhatHasExpired) {
  Request set = Store(Opcode::kSet, "a", "1");
  set.extras = U32(0) + U32(10);
  RunOnce(Encode(set));
  FlushLog();
  clock_.Advance(11 * kSecond);
  const Vbid vbucket = VbidOf("a", 16);
  const Seqno high = engine_->History(vbucket)->high;
  EXPECT_EQ(Observe(Asked("a")).value[Asked("a").size()], '\x81');
  EXPECT_EQ(engine_->History(vbucket)->high, high);
}

TEST_F(BinaryObserve, RefusesWhatDoesNotParse) {
  const std::string good = Asked("a");
  const std::vector<std::string> bad = {good.substr(0, 1),
                                        good.substr(0, 3),
                                        good.substr(0, 4),
                                        good + "x",
                                        good + U16(0),
                                        U16(0) + U16(0),
                                        U16(0) + U16(251) + std::string(251, 'k'),
                                        U16(0) + U16(0xffff) + "abc"};
  for (const std::string& value : bad) EXPECT_EQ(Observe(value).status, BinaryStatus::kInvalid);
  std::string many;
  for (int i = 0; i < 1001; ++i) many += Asked("a");
  EXPECT_EQ(Observe(many).status, BinaryStatus::kInvalid);
  EXPECT_EQ(Observe(many.substr(good.size())).status, BinaryStatus::kOk);
}

TEST_F(BinaryObserve, KnowsOnlyItsOwnVbuckets) {
  const uint16_t vbucket = VbidOf("a", 16).get();
  EXPECT_EQ(Observe(Asked("a", static_cast<uint16_t>(vbucket == 1 ? 2 : 1))).status,
            BinaryStatus::kNotMyVbucket);
  ASSERT_TRUE(SetState(vbucket, engine::VbucketState::kReplica).ok());
  EXPECT_EQ(Observe(Asked("a")).status, BinaryStatus::kOk) << "a replica is asked too";
  ASSERT_TRUE(SetState(vbucket, engine::VbucketState::kDead).ok());
  EXPECT_EQ(Observe(Asked("a")).status, BinaryStatus::kNotMyVbucket);
}

TEST_F(BinaryObserve, SeqnosOfTheNewestBranch) {
  const Vbid vbucket = VbidOf("a", 16);
  FlushLog();
  const uint64_t persisted = engine_->History(vbucket)->persisted.get();
  SetNow("a");
  const uint64_t uuid = engine_->History(vbucket)->failover_log.front().uuid;
  Request request = In(vbucket.get(), Opcode::kObserveSeqno);
  request.value = U64(uuid);
  EXPECT_EQ(One(request).value, U8(0) + U16(vbucket.get()) + U64(uuid) + U64(persisted) + U64(persisted + 1));
  FlushLog();
  EXPECT_EQ(One(request).value,
            U8(0) + U16(vbucket.get()) + U64(uuid) + U64(persisted + 1) + U64(persisted + 1));
}

TEST_F(BinaryObserve, SeqnosOfABranchThatHasEnded) {
  const uint16_t vbucket = VbidOf("a", 16).get();
  SetNow("a");
  const uint64_t old_uuid = engine_->History(Vbid(vbucket))->failover_log.front().uuid;
  ASSERT_TRUE(SetState(vbucket, engine::VbucketState::kDead).ok());
  const uint64_t end = engine_->History(Vbid(vbucket))->high.get();
  Status deleted(Code::kInternal);
  engine_->DeleteVbucket(Vbid(vbucket), [&](Status status) { deleted = status; });
  ASSERT_TRUE(deleted.ok());
  ASSERT_TRUE(SetState(vbucket, engine::VbucketState::kActive).ok());
  const engine::VbucketHistory history = *engine_->History(Vbid(vbucket));
  ASSERT_NE(history.failover_log.front().uuid, old_uuid);
  Request request = In(vbucket, Opcode::kObserveSeqno);
  request.value = U64(old_uuid);
  const Answer answer = One(request);
  ASSERT_EQ(answer.value.size(), 43U);
  EXPECT_EQ(answer.value, U8(1) + U16(vbucket) + U64(history.failover_log.front().uuid) +
                              U64(history.persisted.get()) + U64(history.high.get()) + U64(old_uuid) +
                              U64(end));
}

TEST_F(BinaryObserve, SeqnosOfABranchThatNeverWas) {
  Request request = In(3, Opcode::kObserveSeqno);
  request.value = U64(12345);
  EXPECT_EQ(One(request).status, BinaryStatus::kNotFound);
  request.value = "1234567";
  EXPECT_EQ(One(request).status, BinaryStatus::kInvalid);
  request.value = "123456789";
  EXPECT_EQ(One(request).status, BinaryStatus::kInvalid);
  request = In(999, Opcode::kObserveSeqno);
  request.value = U64(1);
  EXPECT_EQ(One(request).status, BinaryStatus::kNotMyVbucket);
}

TEST_F(BinaryObserve, FailoverLogNewestFirst) {
  std::string expected;
  const engine::VbucketHistory history = *engine_->History(Vbid(5));
  for (const proto::FailoverEntry& entry : history.failover_log) {
    expected += U64(entry.uuid) + U64(entry.seqno.get());
  }
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(One(In(5, Opcode::kGetFailoverLog)).value, expected);
  EXPECT_EQ(One(In(16, Opcode::kGetFailoverLog)).status, BinaryStatus::kNotMyVbucket);
}

TEST_F(BinaryObserve, SeqnoPersistenceAnswersWhenItIsThere) {
  const Vbid vbucket = VbidOf("a", 16);
  SetNow("a");
  Request request = In(vbucket.get(), Opcode::kSeqnoPersistence);
  request.extras = U64(engine_->History(vbucket)->high.get());
  EXPECT_TRUE(RunOnce(Encode(request)).empty());
  EXPECT_EQ(last_outcome_, Outcome::kParked);
  FlushLog();
  EXPECT_EQ(counting_waiter_->wakes, 1);
  const std::vector<Answer> answers = RunOnce(Encode(request));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, BinaryStatus::kOk);
  EXPECT_EQ(RunOnce(Encode(request)).size(), 1U) << "what is there already is answered at once";
}

TEST_F(BinaryObserve, SeqnoPersistenceGivesUp) {
  Request request = In(3, Opcode::kSeqnoPersistence);
  request.extras = U64(1'000'000);
  EXPECT_TRUE(RunOnce(Encode(request)).empty());
  clock_.Advance(29 * kSecond);
  FlushLog();
  EXPECT_TRUE(RunOnce(Encode(request)).empty());
  clock_.Advance(2 * kSecond);
  FlushLog();
  const std::vector<Answer> answers = RunOnce(Encode(request));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, BinaryStatus::kTmpFail);
}

TEST_F(BinaryObserve, ADeletedVbucketReleasesWhoWaits) {
  Request request = In(3, Opcode::kSeqnoPersistence);
  request.extras = U64(1'000'000);
  EXPECT_TRUE(RunOnce(Encode(request)).empty());
  ASSERT_TRUE(SetState(3, engine::VbucketState::kDead).ok());
  FlushLog();
  EXPECT_TRUE(RunOnce(Encode(request)).empty()) << "dead is not deleted";
  Status deleted(Code::kInternal);
  engine_->DeleteVbucket(Vbid(3), [&](Status status) { deleted = status; });
  ASSERT_TRUE(deleted.ok());
  FlushLog();
  const std::vector<Answer> answers = RunOnce(Encode(request));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, BinaryStatus::kNotMyVbucket);
}

TEST_F(BinaryObserve, CheckpointPersistenceWaitsForItsEnd) {
  const uint16_t vbucket = VbidOf("a", 16).get();
  SetNow("a");
  const std::string open = U64(engine_->LastClosedCheckpoint(Vbid(vbucket))->get() + 1);
  Request request = In(vbucket, Opcode::kCheckpointPersistence);
  request.value = open;
  EXPECT_TRUE(RunOnce(Encode(request)).empty());
  FlushLog();
  EXPECT_TRUE(RunOnce(Encode(request)).empty()) << "on disk, but not closed";
  ASSERT_TRUE(engine_->CreateCheckpoint(Vbid(vbucket)).ok());
  FlushLog();
  SetNow("a");
  FlushLog();
  const std::vector<Answer> answers = RunOnce(Encode(request));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, BinaryStatus::kOk);
  request.extras = open;
  request.value.clear();
  EXPECT_EQ(One(request).status, BinaryStatus::kOk) << "the number may be in the extras";
}

TEST_F(BinaryObserve, PersistenceNumbersHaveEightBytesInOnePlace) {
  Request request = In(3, Opcode::kCheckpointPersistence);
  EXPECT_EQ(One(request).status, BinaryStatus::kInvalid);
  request.value = "1234567";
  EXPECT_EQ(One(request).status, BinaryStatus::kInvalid);
  request.value = "12345678";
  request.extras = "12345678";
  EXPECT_EQ(One(request).status, BinaryStatus::kInvalid);
  request = In(999, Opcode::kSeqnoPersistence);
  request.extras = U64(0);
  EXPECT_EQ(One(request).status, BinaryStatus::kNotMyVbucket);
}

TEST_F(BinaryObserve, WithoutADiskNothingPersists) {
  Open(Options());
  Request request = In(3, Opcode::kSeqnoPersistence);
  request.extras = U64(1);
  EXPECT_EQ(One(request).status, BinaryStatus::kNotSupported);
}

TEST_F(BinaryObserve, GetReplicaReadsWhatGetRefuses) {
  Request set = Store(Opcode::kSet, "a", "hello", 7);
  const uint64_t cas = One(set).cas;
  const uint16_t vbucket = VbidOf("a", 16).get();
  EXPECT_EQ(One(Plain(Opcode::kGetReplica, "a")).value, "hello") << "an active answers too";
  ASSERT_TRUE(SetState(vbucket, engine::VbucketState::kReplica).ok());
  EXPECT_EQ(One(Plain(Opcode::kGet, "a")).status, BinaryStatus::kNotMyVbucket);
  Request request = Plain(Opcode::kGetReplica, "a");
  request.vbucket = vbucket;
  const Answer answer = One(request);
  EXPECT_EQ(answer.value, "hello");
  EXPECT_EQ(answer.extras, U32(7));
  EXPECT_EQ(answer.cas, cas);
  EXPECT_EQ(answer.key, "");
  request.vbucket = static_cast<uint16_t>(vbucket == 1 ? 2 : 1);
  EXPECT_EQ(One(request).status, BinaryStatus::kNotMyVbucket);
  EXPECT_EQ(One(Plain(Opcode::kGetReplica, "missing")).status, BinaryStatus::kNotFound);
  ASSERT_TRUE(SetState(vbucket, engine::VbucketState::kDead).ok());
  EXPECT_EQ(One(Plain(Opcode::kGetReplica, "a")).status, BinaryStatus::kNotMyVbucket);
}

TEST_F(BinaryObserve, AnEngineThatShutsDownAnswersWhoWaits) {
  Request request = In(3, Opcode::kSeqnoPersistence);
  request.extras = U64(1'000'000);
  EXPECT_TRUE(RunOnce(Encode(request)).empty());
  EXPECT_TRUE(engine_->Shutdown(true).ok());
  EXPECT_EQ(counting_waiter_->wakes, 1);
}

}  // namespace
}  // namespace cairn::server
