#include "server/text_executor.h"

#include <span>
#include <string>
#include <utility>

#include "base/log.h"
#include "server/config.h"
#include "server/update_commands.h"

namespace cairn::server {

using proto::TextCommand;
namespace line = proto::line;

namespace {

OpClass ClassOf(TextCommand command) {
  switch (command) {
    case TextCommand::kGet:
    case TextCommand::kGets:
      return OpClass::kGet;
    case TextCommand::kSet:
    case TextCommand::kAdd:
    case TextCommand::kReplace:
    case TextCommand::kAppend:
    case TextCommand::kPrepend:
    case TextCommand::kCas:
      return OpClass::kStore;
    case TextCommand::kDelete:
      return OpClass::kDelete;
    case TextCommand::kIncr:
    case TextCommand::kDecr:
      return OpClass::kArithmetic;
    case TextCommand::kTouch:
    case TextCommand::kGat:
    case TextCommand::kGats:
      return OpClass::kTouch;
    default:
      return OpClass::kOther;
  }
}

bool WithCas(TextCommand command) { return command == TextCommand::kGets || command == TextCommand::kGats; }

engine::StoreMode ModeOf(TextCommand command) {
  switch (command) {
    case TextCommand::kAdd:
      return engine::StoreMode::kAdd;
    case TextCommand::kReplace:
      return engine::StoreMode::kReplace;
    case TextCommand::kAppend:
      return engine::StoreMode::kAppend;
    case TextCommand::kPrepend:
      return engine::StoreMode::kPrepend;
    default:
      return engine::StoreMode::kSet;
  }
}

// "key=a%20b exp=-1 la=0 cas=7 fetch=no cls=1 size=60", as memcached's crawler prints it.
void AppendMetadumpLine(const Item& item, proto::OutBuffer& out) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  out.Append("key=");
  for (const char c : item.key()) {
    const auto byte = static_cast<uint8_t>(c);
    const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                       (byte >= 'A' && byte <= 'Z') || c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out.Append(c);
    } else {
      const char escaped[] = {'%', kHex[byte >> 4], kHex[byte & 15]};
      out.Append({escaped, sizeof(escaped)});
    }
  }
  out.Append(" exp=");
  if (item.expiry() == 0) {
    out.Append("-1");
  } else {
    out.AppendUint(item.expiry());
  }
  out.Append(" la=0 cas=");
  out.AppendUint(item.cas().get());
  out.Append(" fetch=no cls=1 size=");
  out.AppendUint(sizeof(Item) + item.key().size() + item.value_size());
  out.Append("\n");
}

}  // namespace

bool TextExecutor::Prepare(size_t index) {
  const Request& request = service_.text_requests[index];
  switch (request.command) {
    case TextCommand::kGet:
    case TextCommand::kGets:
      // A multiget uses the window's keys as its scratch memory, so it ends the window.
      service_.keys[index] = engine_.MakeKey(request.key);
      return request.rest.empty();
    case TextCommand::kSet:
    case TextCommand::kAdd:
    case TextCommand::kReplace:
    case TextCommand::kAppend:
    case TextCommand::kPrepend:
    case TextCommand::kCas:
    case TextCommand::kDelete:
    case TextCommand::kIncr:
    case TextCommand::kDecr:
    case TextCommand::kTouch:
      service_.keys[index] = engine_.MakeKey(request.key);
      return true;
    default:
      service_.keys[index] = engine::OpKey();
      return false;
  }
}

Outcome TextExecutor::Execute(size_t index) {
  const Request& request = service_.text_requests[index];
  const engine::OpKey& key = service_.keys[index];
  Outcome outcome = Outcome::kDone;
  switch (request.command) {
    case TextCommand::kGet:
    case TextCommand::kGets:
      outcome = request.rest.empty() ? GetOne(request, index) : GetMany(request);
      break;
    case TextCommand::kGat:
    case TextCommand::kGats:
      outcome = GetAndTouch(request);
      break;
    case TextCommand::kSet:
    case TextCommand::kAdd:
    case TextCommand::kReplace:
    case TextCommand::kAppend:
    case TextCommand::kPrepend:
    case TextCommand::kCas:
      outcome = Store(request, key);
      break;
    case TextCommand::kDelete:
      outcome = Delete(request, key);
      break;
    case TextCommand::kIncr:
    case TextCommand::kDecr:
      outcome = Arithmetic(request, key);
      break;
    case TextCommand::kTouch:
      outcome = Touch(request, key);
      break;
    case TextCommand::kFlushAll:
      outcome = FlushAll(request);
      break;
    case TextCommand::kVersion:
      out_.buffer().Append("VERSION ");
      out_.buffer().Append(kProtocolVersion);
      out_.buffer().Append("\r\n");
      break;
    case TextCommand::kVerbosity:
      outcome = Verbosity(request);
      break;
    case TextCommand::kStats:
      outcome = Stats(request);
      break;
    case TextCommand::kQuit:
      outcome = Outcome::kClose;
      break;
    case TextCommand::kShutdown:
      out_.buffer().Append("ERROR: shutdown not enabled\r\n");
      break;
    case TextCommand::kLruCrawler:
      outcome = LruCrawler(request);
      break;
    case TextCommand::kOnlineUpdate:
      outcome = OnlineUpdate(request);
      break;
  }
  Lap(ClassOf(request.command));
  return outcome;
}

void TextExecutor::AnswerRefused(proto::ParseState state, size_t index) {
  if (state == proto::ParseState::kTooLarge) stats_.Add(Counter::kStoreTooLarge);
  out_.buffer().Append(service_.text_requests[index].error);
}

std::optional<Outcome> TextExecutor::AdmitWrite(const Request& request, std::optional<Vbid> vbucket) {
  DemandDefault();
  if (!demanding()) return std::nullopt;
  if (!TimeoutFits()) return Outcome::kOutputFull;
  const engine::DurabilityAdmission admission =
      vbucket ? engine_.AdmitDurability(*vbucket, level_) : engine_.AdmitDurabilityOfAll(level_);
  if (admission == engine::DurabilityAdmission::kOk) return std::nullopt;
  if (!request.noreply) out_.buffer().Append("SERVER_ERROR durability impossible\r\n");
  return Outcome::kDone;
}

void TextExecutor::Answer(const Request& request, std::string_view text, Output::Requirements requirements) {
  const size_t begin = out_.position();
  if (!request.noreply) out_.buffer().Append(text);
  if (demanding()) Mark(begin, requirements);
}

void TextExecutor::Mark(size_t begin, Output::Requirements requirements) {
  out_.set_timeout_ms(timeout_ms_);
  out_.MarkText(begin, requirements);
}

// An outcome that has no line of its own for this command. Errors change nothing, so nobody waits for
// their durability.
void TextExecutor::AnswerCode(const Request& request, Code code) {
  if (code == Code::kTmpOom || code == Code::kNoMemory) stats_.Add(Counter::kStoreNoMemory);
  if (code == Code::kTooBig) stats_.Add(Counter::kStoreTooLarge);
  if (!request.noreply) out_.buffer().Append(proto::TextLineOf(code));
}

void TextExecutor::AppendHit(const Request& request, const ItemRef& item) {
  const std::string_view value = item->value();
  if (__builtin_expect(value.size() < Output::kShareBytesMin, 1)) {
    if (WithCas(request.command)) {
      proto::AppendTextValueCas(item->key(), item->flags(), value, item->cas().get(), &out_.buffer());
    } else {
      proto::AppendTextValue(item->key(), item->flags(), value, &out_.buffer());
    }
    return;
  }
  proto::OutBuffer& buffer = out_.buffer();
  buffer.Append("VALUE ");
  buffer.Append(item->key());
  buffer.Append(' ');
  buffer.AppendUint(item->flags());
  buffer.Append(' ');
  buffer.AppendUint(value.size());
  if (WithCas(request.command)) {
    buffer.Append(' ');
    buffer.AppendUint(item->cas().get());
  }
  buffer.Append("\r\n");
  out_.AppendValue(item);
  buffer.Append("\r\n");
}

Outcome TextExecutor::GetOne(const Request& request, size_t index) {
  engine::GetResult& result = LookUp(index, [this](size_t i) {
    const Request& next = service_.text_requests[i];
    return (next.command == TextCommand::kGet || next.command == TextCommand::kGets) && next.rest.empty();
  });
  if (result.code == Code::kWouldBlock) return Park();
  stats_.Add(Counter::kCmdGet);
  if (result.code == Code::kOk) {
    stats_.Add(Counter::kGetHits);
    AppendHit(request, result.item);
    result.item.Reset();
  } else if (result.code == Code::kNotFound) {
    stats_.Add(Counter::kGetMisses);
  } else {
    out_.buffer().Append(proto::TextLineOf(result.code));
    return Outcome::kDone;
  }
  out_.buffer().Append(line::kEnd);
  return Outcome::kDone;
}

// In chunks, each looked up with the memory latencies overlapped. What has been answered stays answered
// when a later key has to wait for the disk or the output is full.
Outcome TextExecutor::GetMany(const Request& request) {
  proto::TextKeys keys(request);
  std::string_view text;
  for (size_t i = 0; i < unfinished_.keys_done; ++i) keys.Next(&text);
  while (true) {
    size_t count = 0;
    while (count < Service::kKeysAtOnce && keys.Next(&text)) service_.keys[count++] = engine_.MakeKey(text);
    if (count == 0) break;
    const std::span<engine::GetResult> results(service_.results.data(), count);
    engine_.GetMany({service_.keys.data(), count}, results, waiter_);
    Code stopped = Code::kOk;
    for (const engine::GetResult& result : results) {
      if (result.code == Code::kOk) PrefetchValue(*result.item);
    }
    for (engine::GetResult& result : results) {
      if (stopped == Code::kOk && result.code != Code::kOk && result.code != Code::kNotFound) {
        stopped = result.code;
      }
      if (stopped == Code::kOk) {
        stats_.Add(Counter::kCmdGet);
        stats_.Add(result.code == Code::kOk ? Counter::kGetHits : Counter::kGetMisses);
        if (result.code == Code::kOk) AppendHit(request, result.item);
        ++unfinished_.keys_done;
      }
      result.item.Reset();
    }
    Lap(OpClass::kGet);
    if (stopped == Code::kWouldBlock) return Park();
    if (stopped != Code::kOk) {
      unfinished_.keys_done = 0;
      out_.buffer().Append(proto::TextLineOf(stopped));
      return Outcome::kDone;
    }
    if (output_full()) return Outcome::kOutputFull;
  }
  unfinished_.keys_done = 0;
  out_.buffer().Append(line::kEnd);
  return Outcome::kDone;
}

Outcome TextExecutor::GetAndTouch(const Request& request) {
  const uint32_t expiry = engine_.AbsoluteExpiry(request.exptime);
  proto::TextKeys keys(request);
  std::string_view text;
  for (size_t i = 0; i < unfinished_.keys_done; ++i) keys.Next(&text);
  while (keys.Next(&text)) {
    const engine::OpKey key = engine_.MakeKey(text);
    if (const std::optional<Outcome> refused = AdmitWrite(request, key.vbucket)) {
      if (*refused == Outcome::kDone) unfinished_.ForgetKeys();
      return *refused;
    }
    const engine::TouchedResult result = engine_.GetAndTouch(key, expiry, waiter_);
    if (result.code == Code::kWouldBlock) return Park();
    const bool hit = result.code == Code::kOk;
    if (!hit && result.code != Code::kNotFound) {
      unfinished_.ForgetKeys();
      AnswerCode(request, result.code);
      return Outcome::kDone;
    }
    if (hit && demanding()) {
      unfinished_.touched.push_back(RequirementOf(key.vbucket, result.item->seqno(), result.history));
    }
    stats_.Add(Counter::kCmdTouch);
    stats_.Add(hit ? Counter::kTouchHits : Counter::kTouchMisses);
    stats_.Add(Counter::kCmdGet);
    stats_.Add(hit ? Counter::kGetHits : Counter::kGetMisses);
    ++unfinished_.keys_done;
    if (hit) AppendHit(request, result.item);
    if (output_full()) return Outcome::kOutputFull;
  }
  const std::vector<engine::Requirement> touched = std::move(unfinished_.touched);
  unfinished_.ForgetKeys();
  Answer(request, line::kEnd, touched);
  return Outcome::kDone;
}

Outcome TextExecutor::Store(const Request& request, const engine::OpKey& key) {
  if (const std::optional<Outcome> refused = AdmitWrite(request, key.vbucket)) return *refused;
  // No item has this CAS: what `cas` with 0 means, while the engine takes 0 for "any".
  constexpr Cas kNeverMatches{UINT64_MAX};
  engine::StoreRequest store;
  store.mode = ModeOf(request.command);
  store.value = request.value;
  store.flags = request.flags;
  store.expiry = engine_.AbsoluteExpiry(request.exptime);
  const bool compare = request.command == TextCommand::kCas;
  if (compare) store.cas = request.cas == 0 ? kNeverMatches : Cas(request.cas);
  const engine::MutationResult result = engine_.Store(key, store, waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  stats_.Add(Counter::kCmdSet);
  const engine::Requirement required = RequirementOf(key.vbucket, result.seqno, result.history);
  switch (result.code) {
    case Code::kOk:
      if (compare) stats_.Add(Counter::kCasHits);
      Answer(request, line::kStored, {&required, 1});
      break;
    case Code::kExists:
      if (compare) stats_.Add(Counter::kCasBadval);
      AnswerCode(request, result.code);
      break;
    case Code::kNotFound:
      if (compare) stats_.Add(Counter::kCasMisses);
      AnswerCode(request, compare ? Code::kNotFound : Code::kNotStored);
      break;
    default:
      AnswerCode(request, result.code);
  }
  return Outcome::kDone;
}

Outcome TextExecutor::Delete(const Request& request, const engine::OpKey& key) {
  if (const std::optional<Outcome> refused = AdmitWrite(request, key.vbucket)) return *refused;
  const engine::MutationResult result = engine_.Delete(key, Cas(), waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  if (result.code == Code::kOk) {
    stats_.Add(Counter::kDeleteHits);
    const engine::Requirement required = RequirementOf(key.vbucket, result.seqno, result.history);
    Answer(request, line::kDeleted, {&required, 1});
  } else {
    if (result.code == Code::kNotFound) stats_.Add(Counter::kDeleteMisses);
    AnswerCode(request, result.code);
  }
  return Outcome::kDone;
}

Outcome TextExecutor::Arithmetic(const Request& request, const engine::OpKey& key) {
  if (const std::optional<Outcome> refused = AdmitWrite(request, key.vbucket)) return *refused;
  engine::ArithmeticRequest arithmetic;
  arithmetic.increment = request.command == TextCommand::kIncr;
  arithmetic.delta = request.delta;
  const engine::ArithmeticResult result = engine_.Arithmetic(key, arithmetic, waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  if (result.code == Code::kOk) {
    stats_.Add(arithmetic.increment ? Counter::kIncrHits : Counter::kDecrHits);
    const size_t begin = out_.position();
    if (!request.noreply) proto::AppendTextNumber(result.value, &out_.buffer());
    const engine::Requirement required = RequirementOf(key.vbucket, result.seqno, result.history);
    if (demanding()) Mark(begin, {&required, 1});
    return Outcome::kDone;
  }
  if (result.code == Code::kNotFound) {
    stats_.Add(arithmetic.increment ? Counter::kIncrMisses : Counter::kDecrMisses);
  }
  AnswerCode(request, result.code);
  return Outcome::kDone;
}

Outcome TextExecutor::Touch(const Request& request, const engine::OpKey& key) {
  if (const std::optional<Outcome> refused = AdmitWrite(request, key.vbucket)) return *refused;
  const uint32_t expiry = engine_.AbsoluteExpiry(request.exptime);
  const engine::MutationResult result = engine_.Touch(key, expiry, waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  stats_.Add(Counter::kCmdTouch);
  if (result.code == Code::kOk) {
    stats_.Add(Counter::kTouchHits);
    const engine::Requirement required = RequirementOf(key.vbucket, result.seqno, result.history);
    Answer(request, line::kTouched, {&required, 1});
  } else {
    if (result.code == Code::kNotFound) stats_.Add(Counter::kTouchMisses);
    AnswerCode(request, result.code);
  }
  return Outcome::kDone;
}

// What is to happen later is not written yet: nobody can wait for it.
Outcome TextExecutor::FlushAll(const Request& request) {
  if (const std::optional<Outcome> refused = AdmitWrite(request, std::nullopt)) return *refused;
  stats_.Add(Counter::kCmdFlush);
  const uint32_t delay_s = FlushDelay(request.exptime, service_.clock.WallSeconds());
  const Status status = engine_.FlushAll(delay_s);
  if (status.ok()) {
    std::vector<engine::Requirement> required;
    if (demanding() && delay_s == 0) required = engine_.RequireAll(level_);
    Answer(request, line::kOk, required);
  } else if (!request.noreply) {
    AppendTextError(status, out_.buffer());
  }
  return Outcome::kDone;
}

Outcome TextExecutor::Verbosity(const Request& request) {
  ApplyVerbosity(request.level);
  if (!request.noreply) out_.buffer().Append(line::kOk);
  return Outcome::kDone;
}

Outcome TextExecutor::Stats(const Request& request) {
  proto::OutBuffer& buffer = out_.buffer();
  const StatsReport::Answer answer =
      service_.report.Write(request.argument, [&buffer](std::string_view name, std::string_view value) {
        proto::AppendTextStat(name, value, &buffer);
      });
  switch (answer) {
    case StatsReport::Answer::kList:
      buffer.Append(line::kEnd);
      break;
    case StatsReport::Answer::kReset:
      buffer.Append(line::kReset);
      break;
    case StatsReport::Answer::kOk:
      buffer.Append(line::kOk);
      break;
    case StatsReport::Answer::kUnknown:
      buffer.Append(line::kError);
      break;
  }
  return Outcome::kDone;
}

// "lru_crawler metadump all", from which memcached's tools learn the keys. There is no LRU to crawl; the
// command's other forms do not exist here.
Outcome TextExecutor::LruCrawler(const Request& request) {
  constexpr size_t kPageItems = 500;
  proto::OutBuffer& buffer = out_.buffer();
  if (request.argument != "metadump all") {
    buffer.Append(line::kError);
    return Outcome::kDone;
  }
  bool begun = unfinished_.dump_position.has_value();
  std::string position = std::move(unfinished_.dump_position).value_or(std::string());
  unfinished_.dump_position.reset();
  do {
    const Result<engine::Engine::DumpPage> page = engine_.DumpItems(position, kPageItems);
    if (!page.ok()) {
      buffer.Append(begun ? "SERVER_ERROR temporary failure\r\n" : "BUSY not all keys are known yet\r\n");
      return Outcome::kDone;
    }
    for (const ItemRef& item : page->items) AppendMetadumpLine(*item, buffer);
    begun = true;
    position = page->position;
    if (output_full() && !position.empty()) {
      unfinished_.dump_position = std::move(position);
      return Outcome::kOutputFull;
    }
  } while (!position.empty());
  buffer.Append(line::kEnd);
  return Outcome::kDone;
}

Outcome TextExecutor::OnlineUpdate(const Request& request) {
  if (request.action == proto::UpdateAction::kStatus) {
    AppendUpdateLine(UpdateVerb::kStatus, engine_.update_status(), out_.buffer());
    return Outcome::kDone;
  }
  const std::shared_ptr<AsyncCall> call = Await([&](const std::shared_ptr<AsyncCall>& pending) {
    BeginUpdate(engine_, request.action, request.argument, pending);
  });
  if (call == nullptr) return Outcome::kParked;
  if (call->status().ok()) {
    AppendUpdateLine(VerbOf(request.action), call->update(), out_.buffer());
  } else {
    AppendTextError(call->status(), out_.buffer());
  }
  return Outcome::kDone;
}

}  // namespace cairn::server
