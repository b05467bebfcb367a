#include "tap/consumer.h"

#include <algorithm>
#include <utility>

#include "tap/consumer_rep.h"

namespace cairn::tap {
namespace {

constexpr int64_t kMs = 1'000'000;
// Progress is told at once after a pause, else so much behind the last time: a message costs both sides more
// than what it speaks of.
constexpr int64_t kProgressNs = 10 * kMs;
constexpr int64_t kProgressPromptNs = kMs / 4;  // when a client waits for it, and all is applied
// When nobody waits, of so many vbuckets at a time: all thousand of them would hold up the threads of both
// sides that carry writes for some hundred microseconds.
constexpr size_t kProgressEntriesSteady = 32;
constexpr int64_t kPendingPollNs = kMs;
constexpr size_t kQueueMax = 1 << 16;  // messages; their chunks are bounded by credits
constexpr int64_t kWindowsPerSnapshot = 4;

}  // namespace

Consumer::Rep::Rep(engine::Replication& repl, const Options& opts)
    : replication(repl), options(opts), follows(repl.vbucket_count()) {
  const auto follow = [this](Vbid vbucket) {
    auto added = std::make_unique<Follow>();
    added->vbucket = vbucket;
    follows[vbucket.get()] = std::move(added);
  };
  for (const Vbid vbucket : options.vbuckets) {
    if (vbucket.get() < follows.size()) follow(vbucket);
  }
  if (options.vbuckets.empty()) {
    for (size_t i = 0; i < follows.size(); ++i) follow(Vbid(static_cast<uint16_t>(i)));
  }
}

Consumer::Consumer(engine::Replication& replication, const Options& options)
    : rep_(std::make_unique<Rep>(replication, options)) {}

Consumer::~Consumer() = default;

void Consumer::Connected(int64_t now_ns) {
  Rep& rep = *rep_;
  ++rep.connections;
  rep.connection = rep.connections;
  rep.connected = true;
  rep.hello_sent = rep.welcomed = rep.noop_due = rep.prompt = rep.prompt_disk = false;
  rep.failed.reset();
  rep.connected_ns = rep.heard_ns = rep.now_ns = now_ns;
  rep.owed = rep.outstanding = rep.granted_ahead = 0;
  // What was not applied by now is asked for again: the position decides.
  rep.queue.clear();
  rep.reader.reset();
  rep.credit.reset();
  rep.gathering = {};
  rep.closes.clear();
  rep.fences.clear();
  rep.last_words.clear();
  for (const std::unique_ptr<Follow>& follow : rep.follows) {
    if (follow) rep.Forget(*follow);
    if (follow && !follow->ours && !follow->pending) rep.AskAt(*follow, now_ns);
  }
}

/// Nothing of the connection before concerns this one.
void Consumer::Rep::Forget(Follow& follow) {
  follow.held.clear();
  follow.retry_ns = 0;
  follow.asked = 0;
  follow.open = follow.deaf = false;
  follow.stale = follow.pending != nullptr;
  follow.in_data = false;
  follow.told_pending = false;
  follow.rollbacks = 0;
  follow.delay_ns = 0;
}

void Consumer::Disconnected(std::string_view why, int64_t now_ns) {
  Rep& rep = *rep_;
  if (!rep.connected) return;
  rep.now_ns = now_ns;
  rep.connected = false;
  if (!why.empty() && !rep.failed) rep.last_error = std::string(why);
  for (const std::unique_ptr<Follow>& follow : rep.follows) {
    if (!follow || follow->phase == Follow::Phase::kEnded) continue;
    follow->last_end = rep.failed.value_or(EndReason::kDisconnected);
    if (follow->phase == Follow::Phase::kAsking) follow->phase = Follow::Phase::kIdle;
  }
  rep.asks.clear();
}

/// Ends the connection by name; the next one begins anew.
void Consumer::Rep::Fail(EndReason reason, std::string_view text) {
  if (failed) return;
  failed = reason;
  last_error = std::string(EndReasonName(reason)) + (text.empty() ? "" : ": ") + std::string(text);
}

void Consumer::Rep::FailFor(Vbid vbucket, std::string_view what) {
  Fail(EndReason::kBadMessage, "vbucket " + std::to_string(vbucket.get()) + ": " + std::string(what));
}

void Consumer::OnMessage(ProducerMessage message, int64_t now_ns) {
  if (rep_->connected && !rep_->failed) rep_->OnMessage(std::move(message), now_ns);
}

void Consumer::Rep::OnMessage(ProducerMessage message, int64_t now) {
  now_ns = heard_ns = now;
  ++messages;
  const Status checked = Check(message, replication.vbucket_count(), !welcomed);
  if (!checked.ok()) return Fail(EndReason::kBadMessage, checked.message());
  if (message.welcome) {
    const Welcome& welcome = *message.welcome;
    if (welcome.vbucket_count != replication.vbucket_count()) {
      return Fail(EndReason::kVbucketCount,
                  "the source has " + std::to_string(welcome.vbucket_count) + " vbuckets");
    }
    if (welcome.node_uuid == replication.node_uuid()) return Fail(EndReason::kSelf, "this is the same node");
    welcomed = true;
    source_name = welcome.name;
  }
  if (message.noop) noop_due = true;
  if (message.prompt && !prompt) persisted_poll_ns = now;
  if (message.prompt || !message.chunk.empty()) {
    prompt = message.prompt;
    prompt_disk = message.prompt && message.prompt_disk;
  }
  if (!message.chunk.empty()) {
    if (outstanding <= 0) return Fail(EndReason::kBadMessage, "a chunk without credits");
    outstanding -= static_cast<int64_t>(message.chunk.size());
    bytes += message.chunk.size();
  }
  if (message.answers.empty() && message.chunk.empty() && !message.goodbye) return;
  if (queue.size() >= kQueueMax) return Fail(EndReason::kBadMessage, "more messages than anybody asked for");
  queue.push_back(std::move(message));
}

bool Consumer::Step(int64_t now_ns) {
  rep_->now_ns = now_ns;
  return rep_->Step(now_ns);
}

std::optional<ConsumerMessage> Consumer::Poll(int64_t now_ns) {
  rep_->now_ns = now_ns;
  return rep_->Poll(now_ns);
}

std::optional<ConsumerMessage> Consumer::Rep::Poll(int64_t now) {
  if (!connected || failed) return std::nullopt;
  if (now - heard_ns >= int64_t{options.idle_timeout_ms} * kMs) {
    Fail(EndReason::kIdle, "nothing heard from the source");
    return std::nullopt;
  }
  ConsumerMessage message;
  if (!hello_sent) {
    hello_sent = true;
    Hello hello;
    hello.features = {"digest", "takeover"};
    hello.name = options.name;
    hello.node_uuid = replication.node_uuid();
    hello.vbucket_count = replication.vbucket_count();
    hello.noop_interval_ms = options.noop_interval_ms;
    hello.idle_timeout_ms = options.idle_timeout_ms;
    message.hello = std::move(hello);
    message.credit_bytes = options.window_bytes;
    outstanding = static_cast<int64_t>(options.window_bytes);
    return message;
  }
  message.noop_answer = std::exchange(noop_due, false);
  const size_t fence_count = std::min(fences.size(), kEntriesMax);
  message.fence.assign(fences.begin(), fences.begin() + static_cast<ptrdiff_t>(fence_count));
  fences.erase(fences.begin(), fences.begin() + static_cast<ptrdiff_t>(fence_count));
  const size_t close_count = std::min(closes.size(), kEntriesMax);
  message.close.assign(closes.begin(), closes.begin() + static_cast<ptrdiff_t>(close_count));
  closes.erase(closes.begin(), closes.begin() + static_cast<ptrdiff_t>(close_count));
  // A vbucket is opened again only behind its close.
  while (closes.empty() && !asks.empty() && asks.begin()->first <= now && message.open.size() < kEntriesMax) {
    Follow& follow = *Find(asks.begin()->second);
    asks.erase(asks.begin());
    Ask(follow, message);
  }
  AddProgress(message, now);
  AddCredits(message);
  if (message == ConsumerMessage{}) return std::nullopt;
  return message;
}

Progress Consumer::Rep::ProgressOf(const Follow& follow) const {
  Progress progress;
  progress.vbucket = follow.vbucket;
  progress.history_uuid = follow.history_uuid;
  progress.applied = follow.applied;
  progress.persisted = follow.persisted;
  progress.verified = follow.verified;
  progress.verified_checkpoint = follow.verified_checkpoint;
  progress.digest_mismatch = follow.digest_mismatch;
  progress.pending_ready = follow.told_pending && follow.persisted == follow.applied;
  return progress;
}

int64_t Consumer::Rep::NextProgressNs() const {
  return progress_ns + (prompt && queue.empty() ? kProgressPromptNs : kProgressNs);
}

void Consumer::Rep::AddProgress(ConsumerMessage& message, int64_t now) {
  while (!last_words.empty() && message.progress.size() < kEntriesMax) {
    message.progress.push_back(last_words.back());
    last_words.pop_back();
  }
  if (dirty.empty() || now < NextProgressNs()) return;
  progress_ns = now;
  const size_t entries_max = prompt ? kEntriesMax : kProgressEntriesSteady;
  while (!dirty.empty() && message.progress.size() < entries_max) {
    Follow& follow = *Find(dirty.front());
    dirty.pop_front();
    follow.on_dirty = false;
    if (!follow.listens()) continue;
    message.progress.push_back(ProgressOf(follow));
  }
}

/// Returned in large pieces, or when there is nothing else to do.
void Consumer::Rep::AddCredits(ConsumerMessage& message) {
  const auto window = static_cast<int64_t>(options.window_bytes);
  // A snapshot that is larger than the window would wait for credits that wait for it. It gets more, within
  // limits, and gives them back when it has been applied.
  const bool starves = gathering.active && gathering.whole && queue.empty() && outstanding <= 0 && owed <= 0;
  if (starves) {
    if (granted_ahead >= kWindowsPerSnapshot * window) {
      return Fail(EndReason::kBadMessage, "a snapshot of more than four windows");
    }
    message.credit_bytes = static_cast<uint64_t>(window / 8);
    granted_ahead += window / 8;
    owed -= window / 8;
    outstanding += window / 8;
    return;
  }
  // With progress, if some is to be told; a message of their own only when they are many.
  const bool carried = dirty.empty() || message != ConsumerMessage{};
  if (owed <= 0 || (owed < window / 8 && !(queue.empty() && carried))) return;
  message.credit_bytes = static_cast<uint64_t>(owed);
  outstanding += owed;
  owed = 0;
}

int64_t Consumer::NextPollNs() const {
  const Rep& rep = *rep_;
  if (rep.connected && rep.failed) return 0;
  int64_t next = INT64_MAX;
  const auto at = [&next](int64_t ns) { next = std::min(next, ns); };
  if (rep.connected) {
    if (!rep.hello_sent || rep.noop_due || !rep.closes.empty() || !rep.fences.empty()) return 0;
    const bool many = rep.owed >= static_cast<int64_t>(rep.options.window_bytes) / 8;
    if (rep.owed > 0 && (many || (rep.queue.empty() && rep.dirty.empty()))) return 0;
    at(rep.heard_ns + int64_t{rep.options.idle_timeout_ms} * kMs);
    if (!rep.asks.empty()) at(rep.asks.begin()->first);
    if (!rep.dirty.empty()) at(rep.NextProgressNs());
    if (!rep.unpersisted.empty()) at(rep.persisted_poll_ns);
  }
  if (!rep.busy.empty()) at(rep.now_ns + kPendingPollNs);
  for (const Vbid vbucket : rep.held) {
    const Follow& follow = *rep.follows[vbucket.get()];
    if (follow.can_apply()) at(follow.retry_ns);
  }
  return next;
}

void Consumer::Drop(const std::vector<Vbid>& vbuckets) {
  for (const Vbid vbucket : vbuckets) {
    if (vbucket.get() >= rep_->follows.size()) continue;
    Follow* follow = rep_->Find(vbucket);
    if (follow == nullptr || follow->ours) continue;
    follow->ours = true;
    rep_->EndFollow(*follow, EndReason::kClosed, "");
  }
}

bool Consumer::wants_disconnect() const {
  if (rep_->failed) return true;
  if (!rep_->fences.empty() || !rep_->closes.empty() || !rep_->busy.empty()) return false;
  return std::all_of(rep_->follows.begin(), rep_->follows.end(),
                     [](const auto& follow) { return !follow || follow->phase == Follow::Phase::kEnded; });
}

EndReason Consumer::end_reason() const { return rep_->failed.value_or(EndReason::kOk); }

bool Consumer::takeover_done() const {
  return rep_->options.takeover &&
         std::all_of(rep_->follows.begin(), rep_->follows.end(),
                     [](const auto& follow) { return !follow || follow->promoted; });
}

bool Consumer::in_sync() const {
  return std::all_of(rep_->follows.begin(), rep_->follows.end(), [](const auto& follow) {
    if (!follow || follow->ours) return true;
    return follow->phase == Follow::Phase::kFollowing && follow->listens() && !follow->in_data &&
           follow->applied >= follow->source_high;
  });
}

namespace {

StreamState StateOf(const Follow& follow) {
  switch (follow.phase) {
    case Follow::Phase::kFollowing:
    case Follow::Phase::kPreparing:
      if (follow.in_data) return StreamState::kBackfill;
      return follow.held.empty() ? StreamState::kStream : StreamState::kPaused;
    case Follow::Phase::kEnded:
      return StreamState::kEnded;
    default:
      return StreamState::kProbe;
  }
}

}  // namespace

ConnectionInfo Consumer::info(int64_t now_ns) const {
  const Rep& rep = *rep_;
  ConnectionInfo info;
  info.name = rep.source_name;
  info.producing = false;
  info.connected = rep.connected && rep.welcomed && !rep.failed;
  info.credits = rep.outstanding > 0 ? static_cast<uint64_t>(rep.outstanding) : 0;
  info.bytes = rep.bytes;
  info.messages = rep.messages;
  info.operations = rep.operations;
  info.backfilled_operations = rep.backfilled_operations;
  info.reconnects = rep.connections > 0 ? rep.connections - 1 : 0;
  info.connected_ns = rep.connected_ns;
  info.last_error = rep.last_error;
  for (const std::unique_ptr<Follow>& follow : rep.follows) {
    if (!follow) continue;
    StreamInfo& stream = info.streams.emplace_back();
    stream.vbucket = follow->vbucket;
    stream.state = StateOf(*follow);
    stream.sent = stream.applied = follow->applied;
    stream.persisted = follow->persisted;
    stream.high = std::max(follow->source_high, follow->applied);
    stream.lag_operations = stream.high - stream.applied;
    // Since when the oldest operation waits is the source's to know; here: that it has not been heard.
    stream.lag_ns = stream.lag_operations == 0 ? 0 : now_ns - rep.heard_ns;
    stream.backfill_sent = follow->backfilled;
    stream.verified = follow->verified;
    stream.verified_checkpoint = follow->verified_checkpoint;
    stream.digest_mismatch = follow->digest_mismatch;
    stream.last_end = follow->last_end;
  }
  return info;
}

}  // namespace cairn::tap
