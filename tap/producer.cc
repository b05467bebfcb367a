#include "tap/producer.h"

#include <algorithm>
#include <utility>

#include "tap/producer_rep.h"

namespace cairn::tap {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kPromptedNs = 100 * kMs;
constexpr size_t kAnswersPerMessage = 512;  // each with a failover log of up to 16 KiB
constexpr std::string_view kFeatures[] = {"digest", "takeover", "keys-only"};

std::vector<std::string> CommonFeatures(const std::vector<std::string>& theirs) {
  std::vector<std::string> common;
  for (const std::string_view feature : kFeatures) {
    if (std::find(theirs.begin(), theirs.end(), feature) != theirs.end()) common.emplace_back(feature);
  }
  return common;
}

}  // namespace

std::string_view StreamStateName(StreamState state) {
  switch (state) {
    case StreamState::kProbe:
      return "probe";
    case StreamState::kBackfill:
      return "backfill";
    case StreamState::kStream:
      return "stream";
    case StreamState::kPaused:
      return "paused";
    case StreamState::kEnded:
      return "ended";
  }
  return "unknown";
}

Producer::Rep::Rep(engine::Replication& repl, const Options& opts, int64_t now_ns)
    : replication(repl),
      options(opts),
      connected_ns(now_ns),
      heard_ns(now_ns),
      sent_ns(now_ns),
      streams(repl.vbucket_count()) {
  // Until the consumer has said its own: a connection that says nothing is not kept for long.
  hello.noop_interval_ms = 1'000;
  hello.idle_timeout_ms = 30'000;
}

Producer::Producer(engine::Replication& replication, const Options& options, int64_t now_ns)
    : rep_(std::make_unique<Rep>(replication, options, now_ns)) {}

Producer::~Producer() { rep_->CloseAll(); }

void Producer::Rep::CloseAll() {
  current = nullptr;
  for (const std::unique_ptr<Stream>& stream : streams) {
    if (stream) Release(*stream);
  }
  for (std::unique_ptr<Stream>& stream : streams) stream.reset();
  open_streams = 0;
  ready.clear();
  backfills.clear();
  giving.clear();
  receiver_ready.clear();
  answers.clear();
  late.clear();
  if (greeted) replication.ForgetReplica(hello.name);
  greeted = false;
}

/// The goodbye is the last that is sent; nothing is read or taken in any more.
void Producer::Rep::Refuse(EndReason reason, std::string_view text) {
  if (goodbye || ended) return;
  goodbye = reason;
  goodbye_text = std::string(text.substr(0, 1024));
  end_reason = reason;
  info.last_error = std::string(EndReasonName(reason)) + (text.empty() ? "" : ": ") + goodbye_text;
  CloseAll();
}

bool Producer::Rep::Greet(const ConsumerMessage& message) {
  if (!message.hello) {
    Refuse(EndReason::kBadMessage, "the first message is not a hello");
    return false;
  }
  const Hello& theirs = *message.hello;
  const uint32_t vbuckets = replication.vbucket_count();
  if (theirs.version_min > kProtocolVersionMax || theirs.version_max < kProtocolVersionMin) {
    Refuse(EndReason::kVersion, "this node speaks versions " + std::to_string(kProtocolVersionMin) + " to " +
                                    std::to_string(kProtocolVersionMax));
  } else if (theirs.vbucket_count != vbuckets) {
    Refuse(EndReason::kVbucketCount, "this node has " + std::to_string(vbuckets) + " vbuckets");
  } else if (theirs.node_uuid == replication.node_uuid()) {
    Refuse(EndReason::kSelf, "this is the same node");
  } else if (!options.may_replicate) {
    Refuse(EndReason::kLostPrivilege, "may not replicate");
  } else if (!replication.persistent()) {
    Refuse(EndReason::kInternal, "this node has no disk");
  } else if (const Status checked = Check(message, vbuckets, true); !checked.ok()) {
    Refuse(EndReason::kBadMessage, checked.message());
  }
  if (goodbye) return false;
  greeted = true;
  hello = theirs;
  cursor_name = "tap:" + hello.name;
  info.name = hello.name;
  welcome = Welcome{std::min(theirs.version_max, kProtocolVersionMax),
                    CommonFeatures(theirs.features),
                    options.name,
                    replication.node_uuid(),
                    vbuckets,
                    options.max_item_size};
  digests =
      std::find(welcome->features.begin(), welcome->features.end(), "digest") != welcome->features.end();
  return true;
}

void Producer::OnMessage(const ConsumerMessage& message, int64_t now_ns) {
  Rep& rep = *rep_;
  if (rep.goodbye || rep.ended) return;
  rep.heard_ns = now_ns;
  if (!rep.greeted) {
    if (!rep.Greet(message)) return;
  } else if (const Status ok = Check(message, rep.replication.vbucket_count(), false); !ok.ok()) {
    return rep.Refuse(EndReason::kBadMessage, ok.message());
  }
  if (message.goodbye) return rep.Refuse(EndReason::kClosed, "the consumer said goodbye");
  if (rep.credits + static_cast<int64_t>(message.credit_bytes) > static_cast<int64_t>(kWindowBytesMax)) {
    return rep.Refuse(EndReason::kBadMessage, "more than 1 GiB of credits");
  }
  rep.credits += static_cast<int64_t>(message.credit_bytes);
  if (rep.credits > 0) rep.starved_ns = 0;
  if (!message.fence.empty()) {
    std::vector<engine::FenceRequest> fences;
    fences.reserve(message.fence.size());
    for (const FenceNotice& fence : message.fence) fences.push_back({fence.vbucket, fence.epoch});
    static_cast<void>(rep.replication.Fence(std::move(fences)));
  }
  for (const Progress& progress : message.progress) {
    rep.OnProgress(progress, now_ns);
    if (rep.goodbye) return;
  }
  rep.HandOver();
  for (const Vbid vbucket : message.close) rep.Close(vbucket);
  for (const OpenStream& open : message.open) {
    rep.Open(open, now_ns);
    if (rep.goodbye) return;
  }
}

void Producer::OnOperations(Vbid vbucket) {
  if (vbucket.get() >= rep_->streams.size()) return;
  Stream* stream = rep_->streams[vbucket.get()].get();
  if (stream != nullptr) rep_->MarkReady(*stream);
}

void Producer::Rep::CheckTimes(int64_t now) {
  const int64_t idle_ns = int64_t{hello.idle_timeout_ms} * kMs;
  if (now - heard_ns >= idle_ns) return Refuse(EndReason::kIdle, "nothing heard from the consumer");
  if (credits > 0 || !HasWork()) {
    starved_ns = 0;
  } else if (starved_ns == 0) {
    starved_ns = now;
  } else if (now - starved_ns >= idle_ns) {
    Refuse(EndReason::kTooSlow, "no credits for longer than the idle time-out");
  }
}

/// A stream has, or may have, something to send.
bool Producer::Rep::HasWork() const {
  return current != nullptr || !ready.empty() || !backfills.empty() || !late.empty();
}

/// Somebody began to wait when nothing was left to be sent.
bool Producer::Rep::OwesPrompt() const {
  return (!told_prompt && InHurry()) || (!told_prompt_disk && replication.clients_wait_for_disks());
}

/// What costs no credits.
std::optional<ProducerMessage> Producer::Rep::PollControl() {
  ProducerMessage message;
  message.welcome = std::exchange(welcome, std::nullopt);
  while (!answers.empty() && message.answers.size() < kAnswersPerMessage) {
    message.answers.push_back(std::move(answers.front()));
    answers.pop_front();
  }
  if (!message.welcome && message.answers.empty()) return std::nullopt;
  return message;
}

std::optional<ProducerMessage> Producer::Rep::Poll(int64_t now) {
  if (ended) return std::nullopt;
  if (!goodbye) CheckTimes(now);
  if (goodbye) {
    ProducerMessage message;
    message.goodbye = goodbye;
    message.goodbye_text = goodbye_text;
    ended = true;
    return message;
  }
  if (!greeted) return std::nullopt;
  if (std::optional<ProducerMessage> control = PollControl()) return control;
  StepGiving(now);
  if (credits > 0) FillChunk(now);
  if (credits > 0 && !writer.empty()) {
    ProducerMessage message;
    message.chunk = writer.Take();
    unfinished = false;
    credits -= static_cast<int64_t>(message.chunk.size());
    info.bytes += message.chunk.size();
    message.prompt_disk = told_prompt_disk = replication.clients_wait_for_disks();
    message.prompt = told_prompt = told_prompt_disk || InHurry();
    return message;
  }
  if (OwesPrompt()) {
    ProducerMessage message;
    message.prompt_disk = told_prompt_disk = told_prompt_disk || replication.clients_wait_for_disks();
    message.prompt = told_prompt = true;
    return message;
  }
  if (now - sent_ns >= int64_t{hello.noop_interval_ms} * kMs) {
    ProducerMessage message;
    message.noop = true;
    return message;
  }
  return std::nullopt;
}

std::optional<ProducerMessage> Producer::Poll(int64_t now_ns, size_t chunk_bytes, bool here) {
  rep_->here = here;
  rep_->chunk_bytes = std::min(chunk_bytes, rep_->options.chunk_bytes);
  std::optional<ProducerMessage> message = rep_->Poll(now_ns);
  if (message) {
    rep_->sent_ns = now_ns;
    if (message->prompt) rep_->prompted_ns = now_ns;
    ++rep_->info.messages;
  }
  return message;
}

int64_t Producer::NextPollNs() const {
  const Rep& rep = *rep_;
  if (rep.ended) return INT64_MAX;
  if (rep.goodbye) return 0;
  const int64_t idle_ns = int64_t{rep.hello.idle_timeout_ms} * kMs;
  int64_t next = rep.heard_ns + idle_ns;
  if (!rep.greeted) return next;
  if (rep.welcome || !rep.answers.empty() || rep.OwesPrompt()) return 0;
  next = std::min(next, rep.sent_ns + int64_t{rep.hello.noop_interval_ms} * kMs);
  for (const Vbid vbucket : rep.giving) {
    const Stream& stream = *rep.streams[vbucket.get()];
    if (stream.giving_deadline_ns != 0) next = std::min(next, stream.giving_deadline_ns);
  }
  if (!rep.HasWork()) return next;
  if (rep.credits <= 0) return rep.starved_ns == 0 ? next : std::min(next, rep.starved_ns + idle_ns);
  if (rep.current != nullptr || !rep.ready.empty() || !rep.late.empty()) return 0;
  for (const Vbid vbucket : rep.backfills) {
    const Stream& stream = *rep.streams[vbucket.get()];
    if (stream.backfill == nullptr && rep.backfills_open >= rep.options.backfills_max) continue;
    next = std::min(next, stream.not_before_ns);
  }
  return next;
}

void Producer::End(EndReason reason, std::string_view text) { rep_->Refuse(reason, text); }
bool Producer::ended() const { return rep_->ended; }
EndReason Producer::end_reason() const { return rep_->end_reason; }
size_t Producer::answers_waiting() const { return rep_->answers.size(); }

bool Producer::reads_disk() const { return rep_->current != nullptr || !rep_->backfills.empty(); }

bool Producer::is_simple(int64_t now_ns) const {
  const Rep& rep = *rep_;
  return rep.greeted && !rep.goodbye && rep.current == nullptr && rep.backfills.empty() &&
         rep.giving.empty() && now_ns - rep.prompted_ns > kPromptedNs;
}

bool Producer::awaits_input() const {
  const Rep& rep = *rep_;
  return rep.open_streams == 0 || rep.told_prompt || rep.InHurry() || rep.goodbye || rep.HasWork();
}

std::string_view Producer::consumer_name() const { return rep_->info.name; }

ConnectionInfo Producer::info(int64_t now_ns) const {
  ConnectionInfo info = rep_->info;
  info.producing = true;
  info.connected = rep_->greeted && !rep_->goodbye;
  info.credits = rep_->credits > 0 ? static_cast<uint64_t>(rep_->credits) : 0;
  info.connected_ns = rep_->connected_ns;
  info.streams.reserve(rep_->open_streams);
  for (const std::unique_ptr<Stream>& stream : rep_->streams) {
    if (stream) info.streams.push_back(rep_->Info(*stream, now_ns));
  }
  return info;
}

}  // namespace cairn::tap
