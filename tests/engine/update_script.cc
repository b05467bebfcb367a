#include "tests/engine/update_script.h"

#include <gtest/gtest.h>

#include <utility>

#include "base/key.h"

namespace cairn::engine {
namespace {

bool Failed() { return ::testing::Test::HasFailure(); }

}  // namespace

UpdateScript::UpdateScript(ScriptDisk* disk, const Options& options) : disk_(disk), options_(options) {}

uint32_t UpdateScript::Vb(const std::string& key) const { return VbidOf(key, kVbuckets).get(); }
bool UpdateScript::stop() const { return disk_->dead() || Failed(); }

bool UpdateScript::OpenEngine() {
  EngineOptions options = SmallOptions();
  options.vbuckets = kVbuckets;
  options.checkpoint_items_max = 5;
  options.sync = options_.sync;
  for (int attempt = 0; attempt < 100; ++attempt) {
    Status status;
    storage::KvStore* store = disk_->Open(&status);
    if (store != nullptr) {
      engine_ = std::make_unique<TestEngine>(store, &clock_, options);
      status = engine_->TryOpen();
      if (status.ok()) return true;
      engine_.reset();
      disk_->Close();
    }
    if (disk_->dead()) return false;
    EXPECT_TRUE(options_.errors) << status.ToString();
    if (!options_.errors) return false;
  }
  ADD_FAILURE() << "the engine cannot be opened any more";
  return false;
}

void UpdateScript::Background(int steps) {
  for (int i = 0; i < steps && !stop(); ++i) {
    (*engine_)->RunBackground();
    Observe();
  }
}

/// Notices the cuts of an update: no client writes between a step of the engine and this.
void UpdateScript::Observe() {
  const UpdateStatus status = (*engine_)->update_status();
  const UpdatePhase phase = status.id.is_none() ? UpdatePhase::kNormal : status.phase;
  if (phase == seen_) return;
  if (seen_ == UpdatePhase::kNormal && phase == UpdatePhase::kStarting) {
    for (uint32_t v = 0; v < kVbuckets; ++v) {
      at_start_[v] = pasts_[v].states.back();
      start_index_[v] = pasts_[v].states.size() - 1;
    }
  }
  if (phase == UpdatePhase::kReverting) ResetTo(at_start_, false);
  seen_ = phase;
}

void UpdateScript::ResetTo(const std::vector<State>& states, bool keep_floor) {
  for (uint32_t v = 0; v < kVbuckets; ++v) {
    pasts_[v].states = {states[v]};
    if (!keep_floor) pasts_[v].floor = 0;
  }
}

MutationResult UpdateScript::Retry(const std::function<MutationResult(const WaiterRef&)>& operation) {
  for (int attempt = 0; attempt < 50; ++attempt) {
    auto flag = std::make_shared<WakeFlag>();
    const MutationResult result = operation(flag);
    if (result.code != Code::kWouldBlock && result.code != Code::kTmpFail) return result;
    for (int i = 0; i < 50 && !flag->woken; ++i) {
      (*engine_)->RunBackground();
      Observe();
    }
  }
  return {Code::kTimeout, Cas(), Seqno()};
}

void UpdateScript::Record(const std::string& key, const MutationResult& result,
                          std::optional<Version> version) {
  Past& past = pasts_[Vb(key)];
  EXPECT_GT(result.cas.get(), past.cas_max) << key << ": a CAS was given out twice";
  EXPECT_GT(result.seqno.get(), past.seqno_max) << key << ": a seqno was given out twice";
  past.cas_max = result.cas.get();
  past.seqno_max = result.seqno.get();
  State next = past.states.back();
  if (version) {
    version->cas = result.cas.get();
    next[key] = *version;
  } else {
    next.erase(key);
  }
  past.states.push_back(std::move(next));
}

void UpdateScript::Set(int key, const std::string& value, uint32_t flags) {
  if (stop()) return;
  const std::string name = Key(key);
  StoreRequest request;
  request.value = value;
  request.flags = flags;
  const MutationResult stored = Retry(
      [&](const WaiterRef& waiter) { return (*engine_)->Store((*engine_)->MakeKey(name), request, waiter); });
  if (disk_->dead() && stored.code != Code::kOk) return;
  ASSERT_EQ(stored.code, Code::kOk) << CodeName(stored.code) << " although memory is not full";
  Record(name, stored, Version{value, flags, 0, 0});
}

void UpdateScript::Delete(int key) {
  if (stop()) return;
  const std::string name = Key(key);
  const MutationResult deleted = Retry(
      [&](const WaiterRef& waiter) { return (*engine_)->Delete((*engine_)->MakeKey(name), Cas(), waiter); });
  if (disk_->dead() && deleted.code != Code::kOk) return;
  const bool exists = pasts_[Vb(name)].states.back().contains(name);
  ASSERT_EQ(deleted.code, exists ? Code::kOk : Code::kNotFound) << name << ' ' << CodeName(deleted.code);
  if (exists) Record(name, deleted, std::nullopt);
}

void UpdateScript::Persist() {
  if (stop()) return;
  std::vector<size_t> tops;
  for (const Past& past : pasts_) tops.push_back(past.states.size() - 1);
  const uint64_t ticket = (*engine_)->CommitTicket();
  (*engine_)->AwaitCommit(ticket, std::make_shared<WakeFlag>());
  for (int i = 0; i < 200 && (*engine_)->CommitOutcome(ticket) != Code::kOk && !stop(); ++i) {
    Background(1);
    clock_.Advance(10'000'000);
  }
  if (stop()) return;
  ASSERT_EQ((*engine_)->CommitOutcome(ticket), Code::kOk);
  for (uint32_t v = 0; v < kVbuckets; ++v) {
    if (tops[v] < pasts_[v].states.size()) pasts_[v].floor = tops[v];
  }
}

void UpdateScript::Order(Step step) {
  if (stop()) return;
  if (step == Step::kStart) {
    request_.name = "update-" + std::to_string(++updates_);
    request_.id.bytes.fill(updates_);
    answered_.reset();
  }
  for (int attempt = 0; attempt < 60 && !stop(); ++attempt) {
    ordered_ = step;
    auto answer = std::make_shared<std::optional<Status>>();
    engine_->Submit(step, request_, [answer](const Result<UpdateStatus>& r) { *answer = r.status(); });
    for (int i = 0; i < 4000 && !*answer && !stop(); ++i) {
      Background(1);
      clock_.Advance(10'000'000);
      if (i < 3) Set(kKeys - 1, "race-" + std::to_string(i));  // clients go on
    }
    if (!*answer) break;
    Ended(step, **answer);
    if ((*answer)->ok() || step == Step::kStart) return;
  }
  if (!stop()) ADD_FAILURE() << "order " << static_cast<int>(step) << " is never carried out";
}

void UpdateScript::Ended(Step step, const Status& answer) {
  Observe();
  if (!answer.ok()) {
    EXPECT_TRUE(options_.errors) << answer.ToString();
    const UpdatePhase expected = step == Step::kStart ? UpdatePhase::kNormal : UpdatePhase::kUpdating;
    EXPECT_EQ((*engine_)->update_status().phase, expected) << answer.ToString();
    if (step == Step::kStart) ordered_.reset();
    return;
  }
  ordered_.reset();
  answered_ = step;
  if (step == Step::kStart) {
    for (uint32_t v = 0; v < kVbuckets; ++v) pasts_[v].floor = std::max(pasts_[v].floor, start_index_[v]);
  } else if (step == Step::kRevert) {
    EXPECT_TRUE((*engine_)->update_status().history.front().digest_equal);
  }
}

void UpdateScript::FlushAll() {
  if (stop()) return;
  const Status flushed = (*engine_)->FlushAll(0);
  ASSERT_TRUE(flushed.ok()) << flushed.ToString();
  for (Past& past : pasts_) past.states.push_back(State{});
  Background(2);
  Set(1, "after flush");
  Background(6);
}

void UpdateScript::RestartCleanly() {
  if (stop()) return;
  const Status down = (*engine_)->Shutdown(true);
  if (disk_->dead()) return;
  EXPECT_TRUE(down.ok() || options_.errors) << down.ToString();
  if (down.ok()) {
    for (Past& past : pasts_) past.floor = past.states.size() - 1;
  }
  engine_.reset();
  disk_->Close();
  if (OpenEngine()) Judge();
}

void UpdateScript::Window(int round) {
  const std::string value = "window-" + std::to_string(round);
  for (int key = 0; key < 6; ++key) Set(key, value, 8);
  Background(2);
  Delete(6);
  Delete(2);
  Set(9 + round % 2, value);
  Persist();
  Set(2, value + "-again");
  Delete(9);
  Background(1);
  Set(3, value + "-unsynced");
}

void UpdateScript::Update(bool commit, int round) {
  Order(Step::kStart);
  if (stop()) return;
  const bool started = answered_.has_value();
  Window(round);
  if (!started) return;
  Order(commit ? Step::kComplete : Step::kRevert);
  Set(7, "behind-" + std::to_string(round));
  Background(2);
  Persist();
  Background(3);
}

bool UpdateScript::Run() {
  if (!OpenEngine()) return false;
  for (int key = 0; key < 8; ++key) Set(key, "first-" + std::to_string(key), static_cast<uint32_t>(key));
  Background(1);
  Set(0, "second");
  Delete(4);
  Persist();
  Background(2);
  for (int key = 3; key < 7; ++key) Set(key, "third");
  Update(options_.commit_first, 0);
  FlushAll();
  for (int key = 0; key < 8; ++key) Set(key, "fourth");
  Persist();
  Background(3);
  RestartCleanly();
  Set(5, "cold");
  Delete(6);
  Update(!options_.commit_first, 1);
  for (int key = 0; key < 4; ++key) Set(key, "fifth");
  Persist();
  Background(4);
  RestartCleanly();
  return !disk_->dead();
}

void UpdateScript::Kill() {
  engine_.reset();
  disk_->Close();
}

std::vector<UpdateScript::State> UpdateScript::Look() {
  std::vector<State> found(kVbuckets);
  for (int key = 0; key < kKeys; ++key) {
    const std::string name = Key(key);
    ItemRef item;
    const MutationResult read = Retry([&](const WaiterRef& waiter) -> MutationResult {
      GetResult got = (*engine_)->Get((*engine_)->MakeKey(name), waiter);
      item = std::move(got.item);
      return {got.code, Cas(), Seqno()};
    });
    if (disk_->dead()) return found;
    EXPECT_TRUE(read.code == Code::kOk || read.code == Code::kNotFound) << name << ' ' << CodeName(read.code);
    if (read.code != Code::kOk) continue;
    found[Vb(name)][name] =
        Version{std::string(item->value()), item->flags(), item->expiry(), item->cas().get()};
  }
  return found;
}

std::string UpdateScript::Describe(const State& state) {
  std::string text;
  for (const auto& [key, version] : state) {
    text += "  " + key + '=' + version.value + '/' + std::to_string(version.cas);
  }
  return text + '\n';
}

/// What the engine has promised about the running or last update.
void UpdateScript::JudgeUpdate(const UpdateStatus& status) {
  const bool open = status.phase != UpdatePhase::kNormal;
  if (open) {
    EXPECT_EQ(status.phase, UpdatePhase::kUpdating);
    EXPECT_EQ(status.id, request_.id) << "an update is open that nobody has started";
  }
  const bool last = !status.history.empty() && status.history.front().id == request_.id;
  if (!answered_) {
    EXPECT_TRUE(!open || ordered_) << "a START that was answered with an error is open";
    return;
  }
  if (*answered_ == Step::kStart) {
    EXPECT_TRUE(open || (ordered_ && last)) << "the engine has forgotten its update";
  } else {
    EXPECT_FALSE(open) << "an update that was ended is open again";
    ASSERT_TRUE(last) << "the history has lost an update";
    EXPECT_EQ(status.history.front().committed, *answered_ == Step::kComplete);
  }
}

void UpdateScript::Judge() {
  const UpdateStatus status = (*engine_)->update_status();
  JudgeUpdate(status);
  const bool ended = !status.history.empty() && status.history.front().id == request_.id;
  const bool reverted_now = ended && !status.history.front().committed && ordered_ == Step::kRevert &&
                            seen_ != UpdatePhase::kReverting;
  const std::vector<State> found = Look();
  if (disk_->dead()) return;  // in the middle of it: the next opening is judged
  for (uint32_t v = 0; v < kVbuckets; ++v) {
    if (reverted_now) {
      EXPECT_EQ(found[v], at_start_[v]) << "the revert was decided, vbucket " << v << " is not as at START\n"
                                        << Describe(at_start_[v]) << Describe(found[v]);
      continue;
    }
    const Past& past = pasts_[v];
    bool known = false;
    for (size_t i = past.floor; i < past.states.size(); ++i) known = known || past.states[i] == found[v];
    EXPECT_TRUE(known) << "vbucket " << v
                       << " was never so, or it has lost what was durable\nnow:   " << Describe(found[v])
                       << "floor: " << Describe(past.states[past.floor])
                       << "last:  " << Describe(past.states.back());
  }
  ResetTo(found, false);
  seen_ = status.phase;
  if (ended && ordered_ && *ordered_ != Step::kStart) answered_ = ordered_;
  if (status.phase == UpdatePhase::kUpdating && !answered_) answered_ = Step::kStart;
  ordered_.reset();
}

void UpdateScript::Recover(bool commit) {
  if (!OpenEngine()) {
    ADD_FAILURE() << "the engine does not come back";
    return;
  }
  Judge();
  if (Failed()) return;
  if (seen_ == UpdatePhase::kUpdating) Order(commit ? Step::kComplete : Step::kRevert);
  if (Failed()) return;
  const std::vector<State> now = Look();
  for (uint32_t v = 0; v < kVbuckets; ++v) {
    EXPECT_EQ(now[v], pasts_[v].states.back()) << Describe(pasts_[v].states.back()) << Describe(now[v]);
  }
  for (int key = 0; key < kKeys; key += 2) Set(key, "recovered");
  Delete(1);
  Persist();
  Background(3);
  RestartCleanly();
}

}  // namespace cairn::engine
