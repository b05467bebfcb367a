// The engine's data operations with memcached's semantics, expiry, and operating: parameters, statistics,
// dumps, durability tickets.

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/engine/update_fixture.h"

namespace cairn::engine {
namespace {

class EngineOps : public EngineStoreTest {
 protected:
  Code Put(StoreMode mode, const std::string& key, const std::string& value, Cas cas = Cas()) {
    StoreRequest request;
    request.mode = mode;
    request.value = value;
    request.cas = cas;
    return E().Store(key, request);
  }
  ArithmeticResult Calculate(const std::string& key, const ArithmeticRequest& request) {
    return E()->Arithmetic(E()->MakeKey(key), request, nullptr);
  }
  ArithmeticResult Plus(const std::string& key, uint64_t delta, Cas cas = Cas()) {
    ArithmeticRequest request;
    request.delta = delta;
    request.cas = cas;
    return Calculate(key, request);
  }
  ArithmeticResult Minus(const std::string& key, uint64_t delta) {
    ArithmeticRequest request;
    request.increment = false;
    request.delta = delta;
    return Calculate(key, request);
  }
  std::string Value(const std::string& key) {
    const std::optional<Version> version = E().Get(key);
    return version ? version->value : "<none>";
  }
};

TEST_F(EngineOps, SetGetDelete) {
  Open();
  EXPECT_FALSE(E().Get("k").has_value());
  EXPECT_EQ(E().Delete("k"), Code::kNotFound);
  EXPECT_EQ(E().Set("k", "v", 42), Code::kOk);
  EXPECT_EQ(E().Get("k")->flags, 42u);
  EXPECT_EQ(Value("k"), "v");
  EXPECT_EQ(E().Set("k", "", 1), Code::kOk);
  EXPECT_EQ(Value("k"), "");
  EXPECT_EQ(E().Delete("k"), Code::kOk);
  EXPECT_EQ(E().Delete("k"), Code::kNotFound);
  const std::string binary("\0\r\n\xff", 4);
  EXPECT_EQ(E().Set(binary, binary), Code::kOk);
  EXPECT_EQ(Value(binary), binary);
  const std::string longest(kKeySizeMax, 'k');
  EXPECT_EQ(E().Set(longest, "v"), Code::kOk);
  EXPECT_EQ(Value(longest), "v");
}

TEST_F(EngineOps, AddReplaceAppendPrepend) {
  Open();
  EXPECT_EQ(Put(StoreMode::kReplace, "k", "r"), Code::kNotStored);
  EXPECT_EQ(Put(StoreMode::kAppend, "k", "a"), Code::kNotStored);
  EXPECT_EQ(Put(StoreMode::kPrepend, "k", "p"), Code::kNotStored);
  EXPECT_EQ(Put(StoreMode::kAdd, "k", "v"), Code::kOk);
  EXPECT_EQ(Put(StoreMode::kAdd, "k", "w"), Code::kNotStored);
  EXPECT_EQ(Put(StoreMode::kReplace, "k", "m"), Code::kOk);
  const uint32_t expiry = clock_.WallSeconds() + 100;
  ASSERT_EQ(E().Set("k", "m", 9, expiry), Code::kOk);
  StoreRequest request;  // flags and expiry of an append are ignored
  request.mode = StoreMode::kAppend;
  request.value = ">";
  request.flags = 1;
  request.expiry = 0;
  EXPECT_EQ(E().Store("k", request), Code::kOk);
  request.mode = StoreMode::kPrepend;
  request.value = "<";
  EXPECT_EQ(E().Store("k", request), Code::kOk);
  EXPECT_EQ(Value("k"), "<m>");
  EXPECT_EQ(E().Get("k")->flags, 9u);
  EXPECT_EQ(E().Get("k")->expiry, expiry);
  EXPECT_EQ(E().Delete("k"), Code::kOk);
  EXPECT_EQ(Put(StoreMode::kAdd, "k", "again"), Code::kOk);
}

TEST_F(EngineOps, CasGuardsEveryChange) {
  Open();
  EXPECT_EQ(Put(StoreMode::kSet, "k", "v", Cas(7)), Code::kNotFound);
  ASSERT_EQ(E().Set("k", "10"), Code::kOk);
  const Cas first(E().Get("k")->cas);
  ASSERT_EQ(E().Set("k", "11"), Code::kOk);
  const Cas second(E().Get("k")->cas);
  EXPECT_NE(first, second);
  for (const StoreMode mode :
       {StoreMode::kSet, StoreMode::kReplace, StoreMode::kAppend, StoreMode::kPrepend}) {
    EXPECT_EQ(Put(mode, "k", "x", first), Code::kExists);
  }
  EXPECT_EQ(E()->Delete(E()->MakeKey("k"), first, nullptr).code, Code::kExists);
  EXPECT_EQ(Plus("k", 1, first).code, Code::kExists);
  EXPECT_EQ(Value("k"), "11");
  const ArithmeticResult sum = Plus("k", 4, second);
  EXPECT_EQ(sum.code, Code::kOk);
  EXPECT_EQ(sum.value, 15u);
  EXPECT_EQ(Cas(E().Get("k")->cas), sum.cas);
  EXPECT_EQ(Put(StoreMode::kAppend, "k", "!", sum.cas), Code::kOk);
  EXPECT_EQ(E()->Delete(E()->MakeKey("k"), Cas(E().Get("k")->cas), nullptr).code, Code::kOk);
}

TEST_F(EngineOps, ArithmeticIsMemcacheds) {
  Open();
  EXPECT_EQ(Plus("n", 1).code, Code::kNotFound);
  const uint32_t expiry = clock_.WallSeconds() + 50;
  ArithmeticRequest create;
  create.create = true;
  create.initial = 99;
  create.expiry = expiry;
  const ArithmeticResult made = Calculate("n", create);
  EXPECT_EQ(made.code, Code::kOk);
  EXPECT_EQ(made.value, 99u);
  EXPECT_EQ(E().Get("n")->expiry, expiry);
  EXPECT_EQ(Plus("n", 2).value, 101u);
  EXPECT_EQ(Value("n"), "101");
  EXPECT_EQ(Minus("n", 2).value, 99u);
  EXPECT_EQ(Value("n"), "99 ") << "the length is kept";
  EXPECT_EQ(Plus("n", 1).value, 100u);
  EXPECT_EQ(Minus("n", 1000).value, 0u) << "decr stops at 0";
  const uint64_t top = std::numeric_limits<uint64_t>::max();
  ASSERT_EQ(E().Set("n", std::to_string(top), 5), Code::kOk);
  EXPECT_EQ(Plus("n", 1).value, 0u) << "incr wraps";
  EXPECT_EQ(E().Get("n")->flags, 5u);
  for (const char* bad : {"", "x", "12x", "-1", "+1", "1.5", " 1", "18446744073709551616", "0x10"}) {
    ASSERT_EQ(E().Set("n", bad), Code::kOk);
    EXPECT_EQ(Plus("n", 1).code, Code::kDeltaBadValue) << bad;
    EXPECT_EQ(Value("n"), bad);
  }
}

TEST_F(EngineOps, ValuesAboveTheLimitAreTooBig) {
  EngineOptions options = SmallOptions();
  options.max_item_size = 1000;
  Open(options);
  EXPECT_EQ(E().Set("k", std::string(1001, 'v')), Code::kTooBig);
  EXPECT_EQ(E().Set("k", std::string(1000, 'v')), Code::kOk);
  EXPECT_EQ(Put(StoreMode::kAppend, "k", "1"), Code::kTooBig);
  EXPECT_EQ(Put(StoreMode::kPrepend, "k", "1"), Code::kTooBig);
  EXPECT_EQ(E().Get("k")->value.size(), 1000u);
}

TEST_F(EngineOps, GetManyAnswersEachKey) {
  Open();
  std::vector<std::string> names = Keys(50);
  std::vector<OpKey> keys;
  for (size_t i = 0; i < names.size(); ++i) {
    keys.push_back(E()->MakeKey(names[i]));
    if (i % 3 == 0) continue;
    ASSERT_EQ(E().Set(names[i], "v" + names[i]), Code::kOk);
  }
  std::vector<GetResult> results(keys.size());
  E()->GetMany(keys, results, nullptr);
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(results[i].code, i % 3 != 0 ? Code::kOk : Code::kNotFound);
    if (i % 3 == 0) continue;
    EXPECT_EQ(results[i].item->value(), "v" + names[i]);
  }
}

TEST_F(EngineOps, ExpiryTimesFollowMemcachedsRule) {
  Open();
  const uint32_t now = clock_.WallSeconds();
  EXPECT_EQ(E()->AbsoluteExpiry(0), 0u);
  EXPECT_EQ(E()->AbsoluteExpiry(10), now + 10);
  EXPECT_EQ(E()->AbsoluteExpiry(60 * 60 * 24 * 30), now + 60 * 60 * 24 * 30);
  EXPECT_EQ(E()->AbsoluteExpiry(60 * 60 * 24 * 30 + 1), 60u * 60 * 24 * 30 + 1);
  EXPECT_EQ(E()->AbsoluteExpiry(now + 5), now + 5);
  EXPECT_EQ(E()->AbsoluteExpiry(int64_t{1} << 40), UINT32_MAX);
  ASSERT_EQ(E().Set("past", "v", 0, E()->AbsoluteExpiry(-1)), Code::kOk);
  EXPECT_FALSE(E().Get("past").has_value());
  ASSERT_EQ(E().Set("soon", "v", 0, E()->AbsoluteExpiry(10)), Code::kOk);
  clock_.Advance(9 * kSecondNs);
  EXPECT_TRUE(E().Get("soon").has_value());
  EXPECT_EQ(E().Touch("soon", E()->AbsoluteExpiry(20)), Code::kOk);
  clock_.Advance(15 * kSecondNs);
  EXPECT_TRUE(E().Get("soon").has_value());
  clock_.Advance(5 * kSecondNs);
  EXPECT_FALSE(E().Get("soon").has_value());
  EXPECT_EQ(E().Touch("soon", 0), Code::kNotFound);
  EXPECT_EQ(E()->GetAndTouch(E()->MakeKey("soon"), 0, nullptr).code, Code::kNotFound);
}

TEST_F(EngineOps, AnExpiredKeyIsAbsentForEveryOperation) {
  Open();
  const auto expired = [&] {
    ASSERT_EQ(E().Set("k", "1", 0, clock_.WallSeconds() + 1), Code::kOk);
    clock_.Advance(2 * kSecondNs);
  };
  uint64_t value = 0;
  expired();
  EXPECT_EQ(E().Increment("k", 1, &value), Code::kNotFound);
  expired();
  EXPECT_EQ(Put(StoreMode::kReplace, "k", "v"), Code::kNotStored);
  expired();
  EXPECT_EQ(Put(StoreMode::kAppend, "k", "v"), Code::kNotStored);
  expired();
  EXPECT_EQ(E().Delete("k"), Code::kNotFound);
  expired();
  EXPECT_EQ(Put(StoreMode::kAdd, "k", "v"), Code::kOk);
  Persist();
  CrashAndReopen();
  EXPECT_EQ(Value("k"), "v");
}

TEST_F(EngineOps, ThePagerRemovesExpiredItemsAndTheDiskForgetsThem) {
  EngineOptions options = SmallOptions();
  options.expiry_pager_interval_ms = 1000;
  Open(options);
  for (const std::string& key : Keys(300)) {
    ASSERT_EQ(E().Set(key, "v", 0, clock_.WallSeconds() + 5), Code::kOk);
  }
  ASSERT_EQ(E().Set("stays", "v"), Code::kOk);
  Persist();
  EXPECT_EQ(DataNow().size(), 301u);
  clock_.Advance(10 * kSecondNs);
  Background(100);
  EXPECT_EQ(Number("", "curr_items"), 1u);
  EXPECT_EQ(Number("", "ep_expired"), 300u);
  Persist();
  EXPECT_EQ(DataNow().size(), 1u);
}

TEST_F(EngineOps, FlushAllRemovesWhatWasThereAndNothingElse) {
  Open();
  const auto keys = Keys(1000);
  SetAll(keys, "v");
  Persist();
  ASSERT_TRUE(E()->FlushAll(0).ok());
  EXPECT_EQ(Look(keys).size(), 0u);
  ASSERT_EQ(E().Set(keys[3], "after"), Code::kOk);
  EXPECT_EQ(Put(StoreMode::kAdd, keys[4], "after"), Code::kOk);
  EXPECT_EQ(Put(StoreMode::kReplace, keys[5], "after"), Code::kNotStored);
  Background(200);
  EXPECT_EQ(Number("", "curr_items"), 2u);
  Persist();
  EXPECT_EQ(DataNow().size(), 2u);
  CrashAndReopen();
  EXPECT_EQ(Look(keys).size(), 2u);
}

TEST_F(EngineOps, FlushAllThatIsNotSweptSurvivesACrash) {
  Open();
  const auto keys = Keys(1000);
  SetAll(keys, "v");
  Persist();
  ASSERT_TRUE(E()->FlushAll(0).ok());
  ASSERT_EQ(E().Set(keys[3], "after"), Code::kOk);
  Persist();
  CrashAndReopen();
  EXPECT_EQ(Look(keys).size(), 1u);
  Background(300);
  Persist();
  EXPECT_EQ(DataNow().size(), 1u);
  CrashAndReopen();
  EXPECT_EQ(Look(keys).size(), 1u);
}

TEST_F(EngineOps, ADelayedFlushAllHappensInItsTime) {
  Open();
  ASSERT_EQ(E().Set("before", "v"), Code::kOk);
  ASSERT_TRUE(E()->FlushAll(10).ok());
  Background(3);
  EXPECT_TRUE(E().Get("before").has_value());
  clock_.Advance(9 * kSecondNs);
  ASSERT_EQ(E().Set("meanwhile", "v"), Code::kOk);
  clock_.Advance(2 * kSecondNs);
  Background(3);
  EXPECT_FALSE(E().Get("before").has_value());
  EXPECT_FALSE(E().Get("meanwhile").has_value());
  ASSERT_EQ(E().Set("after", "v"), Code::kOk);
  Background(20);
  EXPECT_TRUE(E().Get("after").has_value());
}

TEST_F(EngineOps, DumpGivesEveryLiveItemOnce) {
  Open();
  std::set<std::string> expected;
  for (const std::string& key : Keys(3000)) {
    ASSERT_EQ(E().Set(key, "v"), Code::kOk);
    expected.insert(key);
  }
  ASSERT_EQ(E().Delete("key-7"), Code::kOk);
  expected.erase("key-7");
  ASSERT_EQ(E().Set("key-8", "v", 0, 1), Code::kOk);
  expected.erase("key-8");
  std::set<std::string> found;
  std::string position;
  int pages = 0;
  do {
    auto page = E()->DumpItems(position, 100);
    ASSERT_TRUE(page.ok()) << page.status().ToString();
    for (const ItemRef& item : page->items) {
      EXPECT_TRUE(found.emplace(item->key()).second) << item->key() << " twice";
    }
    position = page->position;
    ASSERT_LT(++pages, 1000);
    ASSERT_EQ(E().Set("added-" + std::to_string(pages), "v"), Code::kOk);  // the dump goes on under writes
  } while (!position.empty());
  EXPECT_GT(pages, 4);
  std::erase_if(found, [](const std::string& key) { return key.starts_with("added-"); });
  EXPECT_EQ(found, expected);
  for (const char* bad : {"x", "1", "1:", ":2", "99999:0", "1:x"}) {
    const auto page = E()->DumpItems(bad, 10);
    EXPECT_TRUE(page.code() == Code::kInvalidArgument || (page.ok() && page.value().items.empty())) << bad;
  }
}

TEST_F(EngineOps, ParametersAreCheckedAndTakeEffect) {
  Open();
  EXPECT_EQ(E()->SetParam("no_such", "1").code(), Code::kInvalidArgument);
  EXPECT_FALSE(E()->SetParam("memory_quota", "lots").ok());
  EXPECT_EQ(E()->SetParam("memory_quota", "1000").code(), Code::kOutOfRange);
  EXPECT_EQ(E()->SetParam("expiry_pager_interval_ms", "1").code(), Code::kOutOfRange);
  EXPECT_TRUE(E()->SetParam("expiry_pager_interval_ms", "50").ok());
  ASSERT_EQ(E().Set("k", "v", 0, clock_.WallSeconds() + 1), Code::kOk);
  clock_.Advance(2 * kSecondNs);
  Background(50);
  EXPECT_EQ(Number("", "ep_expired"), 1u);
  EXPECT_TRUE(E()->SetParam("memory_quota", "2m").ok());
  EXPECT_EQ(Number("", "ep_max_size"), uint64_t{2} << 20);
}

TEST_F(EngineOps, OptionsOutOfRangeAreRefused) {
  const auto open_with = [&](auto&& change) {
    EngineOptions options = SmallOptions();
    change(options);
    TestEngine engine(&store_, &clock_, options);
    return engine.TryOpen().code();
  };
  EXPECT_EQ(open_with([](EngineOptions& o) { o.vbuckets = 0; }), Code::kInvalidArgument);
  EXPECT_EQ(open_with([](EngineOptions& o) { o.vbuckets = 3; }), Code::kInvalidArgument);
  EXPECT_EQ(open_with([](EngineOptions& o) { o.vbuckets = 131072; }), Code::kInvalidArgument);
  EXPECT_EQ(open_with([](EngineOptions& o) { o.max_item_size = 0; }), Code::kInvalidArgument);
  EXPECT_EQ(open_with([](EngineOptions& o) { o.max_item_size = 21u << 20; }), Code::kInvalidArgument);
  EXPECT_EQ(open_with([](EngineOptions& o) { o.memory_quota = 1000; }), Code::kInvalidArgument);
  EXPECT_EQ(open_with([](EngineOptions& o) { o.low_watermark_percent = 90; }), Code::kInvalidArgument);
  EXPECT_EQ(open_with([](EngineOptions& o) { o.refuse_percent = 101; }), Code::kInvalidArgument);
}

TEST_F(EngineOps, EveryGroupOfStatisticsIsThere) {
  Open();
  ASSERT_EQ(E().Set("k", "v"), Code::kOk);
  Start();
  ASSERT_EQ(E().Set("k", "w"), Code::kOk);
  Revert();
  for (const char* group : {"", "settings", "checkpoint", "vbucket", "hash", "timings", "online_update",
                            "warmup", "memory", "kvstore"}) {
    std::set<std::string> names;
    const Status status = E()->Stats(group, "", [&](std::string_view name, std::string_view) {
      EXPECT_TRUE(names.emplace(name).second) << group << ": " << name << " twice";
    });
    EXPECT_TRUE(status.ok()) << group;
    EXPECT_FALSE(names.empty()) << group;
  }
  EXPECT_EQ(E()->Stats("nothing", "", [](auto, auto) {}).code(), Code::kNotFound);
  EXPECT_EQ(E()->Stats("vbucket", "4", [](auto, auto) {}).code(), Code::kNotFound);
  EXPECT_EQ(E()->Stats("vbucket", "x", [](auto, auto) {}).code(), Code::kNotFound);
  int lines = 0;
  EXPECT_TRUE(E()->Stats("vbucket", "3",
                         [&](std::string_view name, std::string_view) {
                           EXPECT_TRUE(name.starts_with("vb_3:")) << name;
                           ++lines;
                         })
                  .ok());
  EXPECT_GT(lines, 0);
  EXPECT_GT(Number("", "ep_total_persisted"), 0u);
  E()->ResetStats();
  EXPECT_EQ(Number("", "ep_total_persisted"), 0u);
  EXPECT_EQ(Number("", "curr_items"), 1u);
}

TEST_F(EngineOps, CheckpointsAreNumberedAndKnownWhenPersisted) {
  Open();
  const OpKey key = E()->MakeKey("k");
  ASSERT_EQ(E().Set("k", "v"), Code::kOk);
  const CheckpointId open = E()->CreateCheckpoint(key.vbucket).value();
  EXPECT_LT(E()->LastClosedCheckpoint(key.vbucket).value(), open - 1);
  Persist();
  EXPECT_EQ(E()->LastClosedCheckpoint(key.vbucket).value(), open - 1);
  EXPECT_EQ(E()->CreateCheckpoint(key.vbucket).value(), open) << "an empty one is not closed";
  EXPECT_EQ(E()->CreateCheckpoint(Vbid(99)).code(), Code::kNotMyVbucket);
  EXPECT_EQ(E()->LastClosedCheckpoint(Vbid(99)).code(), Code::kNotMyVbucket);
  // Checkpoint ids only rise, also over a crash.
  CrashAndReopen();
  ASSERT_EQ(E().Set("k", "w"), Code::kOk);
  EXPECT_GT(E()->CreateCheckpoint(key.vbucket).value(), open);
}

// A dump that is refused has moved the first vbucket to the new phase already; what that left behind has to
// be done all the same, or the vbucket is never written again.
TEST_F(EngineOps, ARefusedDumpDoesNotCutAVbucketOffFromTheDisk) {
  Open();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(E().Set("key-" + std::to_string(i), "old"), Code::kOk);
  ASSERT_TRUE(E().Update(TestEngine::Step::kStart).ok());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(E().Set("key-" + std::to_string(i), "new"), Code::kOk);
  std::optional<Status> answer;
  E().Submit(TestEngine::Step::kRevert, {}, &answer);
  while (E().phase() != UpdatePhase::kReverting) E()->RunBackground();
  EXPECT_EQ(E()->DumpItems("", 10).code(), Code::kTmpFail);
  for (int i = 0; i < 1000 && !answer; ++i) E()->RunBackground();
  ASSERT_TRUE(answer && answer->ok());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(E().Set("key-" + std::to_string(i), "later"), Code::kOk);
  ASSERT_TRUE(E()->Shutdown(true).ok());
  E().Kill();
  E().Open();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(E().Get("key-" + std::to_string(i))->value, "later") << i;
}

class SyncPolicies : public EngineOps, public ::testing::WithParamInterface<SyncPolicy> {
 protected:
  void OpenWith() {
    EngineOptions options = SmallOptions();
    options.sync = GetParam();
    Open(options);
  }
};

TEST_P(SyncPolicies, ATicketThatIsOkMeansDurable) {
  OpenWith();
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(E().Set("k" + std::to_string(i), "v"), Code::kOk);
    const uint64_t ticket = E()->CommitTicket();
    auto flag = std::make_shared<WakeFlag>();
    E()->AwaitCommit(ticket, flag);
    EXPECT_FALSE(flag->woken);
    for (int step = 0; step < 3 && !flag->woken; ++step) E()->RunBackground();
    ASSERT_TRUE(flag->woken);
    ASSERT_EQ(E()->CommitOutcome(ticket), Code::kOk);
    if (i % 4 == 0) {
      CrashAndReopen();
      ASSERT_TRUE(E().Get("k" + std::to_string(i)).has_value());
    }
  }
}

TEST_P(SyncPolicies, AWaiterThatComesAfterTheOutcomeIsWokenToo) {
  OpenWith();
  ASSERT_EQ(E().Set("k", "v"), Code::kOk);
  const uint64_t ticket = E()->CommitTicket();
  Persist();
  ASSERT_EQ(E()->CommitOutcome(ticket), Code::kOk);
  auto flag = std::make_shared<WakeFlag>();
  E()->AwaitCommit(ticket, flag);
  Background(2);
  EXPECT_TRUE(flag->woken);
}

TEST_P(SyncPolicies, AFailedSyncIsAmbiguousAndThenEverythingIsWrittenAgain) {
  OpenWith();
  ASSERT_EQ(E().Set("before", "v"), Code::kOk);
  Persist();
  ASSERT_EQ(E().Set("k", "v"), Code::kOk);
  const uint64_t ticket = E()->CommitTicket();
  auto flag = std::make_shared<WakeFlag>();
  E()->AwaitCommit(ticket, flag);
  store_.FailNth(1, Status(Code::kAmbiguous, "sync failed"), false);
  E()->RunBackground();
  EXPECT_TRUE(flag->woken);
  EXPECT_EQ(E()->CommitOutcome(ticket), Code::kAmbiguous);
  EXPECT_EQ(Number("", "ep_store_reopens"), 1u);
  EXPECT_EQ(Value("k"), "v");
  Persist();
  EXPECT_EQ(Stat("", "ep_persistence_error"), "none");
  CrashAndReopen();
  EXPECT_EQ(Value("k"), "v");
  EXPECT_EQ(Value("before"), "v");
}

TEST_P(SyncPolicies, AStoppedPersistenceWritesNothingAndGoesOnWhereItWas) {
  OpenWith();
  ASSERT_TRUE(E()->StopPersistence().ok());
  EXPECT_EQ(Stat("", "ep_persistence"), "stopped");
  const uint64_t calls = store_.mutating_calls();
  SetAll(Keys(50), "v");
  const uint64_t ticket = E()->CommitTicket();
  for (int i = 0; i < 20; ++i) {
    clock_.Advance(kSecondNs);
    E()->RunBackground();
  }
  EXPECT_EQ(store_.mutating_calls(), calls);
  EXPECT_EQ(E()->CommitOutcome(ticket), Code::kWouldBlock);
  EXPECT_EQ(Number("", "ep_queue_size"), 50u);
  ASSERT_TRUE(E()->StartPersistence().ok());
  Persist();
  EXPECT_EQ(Number("", "ep_queue_size"), 0u);
  CrashAndReopen();
  EXPECT_EQ(Look(Keys(50)).size(), 50u);
}

TEST_P(SyncPolicies, AProcessThatIsKilledLosesAtMostWhatWasNotWritten) {
  OpenWith();
  for (int i = 0; i < 30; ++i) {
    ASSERT_EQ(E().Set("k" + std::to_string(i), "v"), Code::kOk);
    E()->RunBackground();  // written, perhaps not synced
  }
  E().Kill();
  store_.CrashProcess(3);
  E().Open();
  for (int i = 0; i < 30; ++i) EXPECT_EQ(Value("k" + std::to_string(i)), "v") << i;
}

INSTANTIATE_TEST_SUITE_P(All, SyncPolicies,
                         ::testing::Values(SyncPolicy::kAlways, SyncPolicy::kInterval, SyncPolicy::kNone));

}  // namespace
}  // namespace cairn::engine
