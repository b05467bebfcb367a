// BinaryExecutor: the requests that are about the connection, the vbuckets or the engine, not about a key.

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "server/binary_executor.h"
#include "server/binary_numbers.h"
#include "server/config.h"
#include "server/update_commands.h"

namespace cairn::server {

using proto::BinaryStatus;
using proto::Opcode;

namespace {

// The state is one byte, or four from older tools (proto/binary.cc).
std::optional<engine::VbucketState> StateOf(std::string_view extras) {
  uint32_t number = 0;
  for (const char byte : extras) number = number << 8 | static_cast<uint8_t>(byte);
  if (number < 1 || number > 4) return std::nullopt;
  return static_cast<engine::VbucketState>(number);
}

proto::UpdateAction ActionOf(Opcode opcode) {
  switch (opcode) {
    case Opcode::kOnlineUpdateStart:
      return proto::UpdateAction::kStart;
    case Opcode::kOnlineUpdateComplete:
      return proto::UpdateAction::kComplete;
    default:
      return proto::UpdateAction::kRevert;
  }
}

}  // namespace

Outcome BinaryExecutor::ExecuteControl(const Request& request) {
  switch (request.header.opcode) {
    case Opcode::kQuit:
    case Opcode::kQuitQ:
      return Quit(request);
    case Opcode::kFlush:
    case Opcode::kFlushQ:
      return Flush(request);
    case Opcode::kNoop:
      return AnswerStatus(request, Status::Ok());
    case Opcode::kHello:
      return Hello(request);
    case Opcode::kVersion:
      return AnswerValue(request, kProtocolVersion);
    case Opcode::kVerbosity:
      ApplyVerbosity(request.level());
      return AnswerStatus(request, Status::Ok());
    case Opcode::kStat:
      return Stat(request);
    case Opcode::kOnlineUpdateStart:
    case Opcode::kOnlineUpdateComplete:
    case Opcode::kOnlineUpdateRevert:
      return OnlineUpdate(request);
    case Opcode::kStopPersistence:
      return AnswerStatus(request, engine_.StopPersistence());
    case Opcode::kStartPersistence:
      return AnswerStatus(request, engine_.StartPersistence());
    case Opcode::kGetKeys:
      return GetKeys(request);
    case Opcode::kSetParam:
      return AnswerStatus(request, engine_.SetParam(request.key, request.value));
    default:
      return ExecuteVbucket(request);
  }
}

Outcome BinaryExecutor::ExecuteVbucket(const Request& request) {
  const Vbid vbucket(request.header.vbucket);
  switch (request.header.opcode) {
    case Opcode::kSetVbucket:
      return SetVbucket(request);
    case Opcode::kGetVbucket:
      return GetVbucket(request);
    case Opcode::kDelVbucket:
      return DeleteVbucket(request);
    case Opcode::kGetAllVbSeqnos:
      return AllSeqnos(request);
    case Opcode::kCreateCheckpoint:
      return AnswerCheckpoint(request, engine_.CreateCheckpoint(vbucket));
    case Opcode::kLastClosedCheckpoint:
      return AnswerCheckpoint(request, engine_.LastClosedCheckpoint(vbucket));
    case Opcode::kGetReplica:
      return GetReplica(request);
    case Opcode::kObserve:
      return Observe(request);
    case Opcode::kObserveSeqno:
      return ObserveSeqno(request);
    case Opcode::kGetFailoverLog:
      return FailoverLog(request);
    case Opcode::kSeqnoPersistence:
    case Opcode::kCheckpointPersistence:
      return AwaitPersisted(request);
    default:
      return AnswerError(request, BinaryStatus::kUnknownCommand);
  }
}

Outcome BinaryExecutor::Quit(const Request& request) {
  if (request.header.opcode == Opcode::kQuit) AnswerStatus(request, Status::Ok());
  return Outcome::kClose;
}

// What is to happen later is not written yet: nobody can wait for it.
Outcome BinaryExecutor::Flush(const Request& request) {
  const int64_t exptime = static_cast<int32_t>(request.exptime());
  const uint32_t delay_s = FlushDelay(exptime, service_.clock.WallSeconds());
  if (const std::optional<Outcome> refused = AdmitWrite(request, std::nullopt)) return *refused;
  stats_.Add(Counter::kCmdFlush);
  const Status status = engine_.FlushAll(delay_s);
  if (!status.ok()) return AnswerStatus(request, status);
  std::vector<engine::Requirement> required;
  if (demanding() && delay_s == 0) required = engine_.RequireAll(level_);
  AnswerMutation(request, Cas(), required);
  return Outcome::kDone;
}

// Of the features that a client offers, those two are taken that tell it how to ask for durability; they
// change nothing on the connection.
Outcome BinaryExecutor::Hello(const Request& request) {
  constexpr std::string_view kFramedRequests("\x00\x10", 2);
  constexpr std::string_view kDurability("\x00\x11", 2);
  std::string taken;
  for (size_t at = 0; at + 2 <= request.value.size(); at += 2) {
    const std::string_view feature = request.value.substr(at, 2);
    if (feature != kFramedRequests && feature != kDurability) continue;
    if (taken.find(feature) == std::string::npos) taken += feature;
  }
  return AnswerValue(request, taken);
}

Outcome BinaryExecutor::Stat(const Request& request) {
  proto::OutBuffer& buffer = out_.buffer();
  const StatsReport::Answer answer =
      service_.report.Write(request.key, [&](std::string_view name, std::string_view value) {
        proto::AppendBinaryStat(request.header, name, value, &buffer);
      });
  if (answer == StatsReport::Answer::kUnknown) return AnswerError(request, BinaryStatus::kNotFound);
  proto::AppendBinaryStat(request.header, {}, {}, &buffer);
  return Outcome::kDone;
}

// The answer's value is the same line as in the text protocol, without its "OK " and its end.
Outcome BinaryExecutor::OnlineUpdate(const Request& request) {
  const proto::UpdateAction action = ActionOf(request.header.opcode);
  const std::shared_ptr<AsyncCall> call = Await([&](const std::shared_ptr<AsyncCall>& pending) {
    engine::UpdateRequest update;
    update.id = request.update_id();
    update.name = std::string(request.key);
    BeginUpdate(engine_, action, update, pending);
  });
  if (call == nullptr) return Outcome::kParked;
  if (!call->status().ok()) return AnswerStatus(request, call->status());
  proto::OutBuffer text;
  AppendUpdateLine(VerbOf(action), call->update(), text);
  constexpr std::string_view kOk = "OK ";
  constexpr std::string_view kEnd = "\r\n";
  const std::string_view line = text.view();
  return AnswerValue(request, line.substr(kOk.size(), line.size() - kOk.size() - kEnd.size()));
}

Outcome BinaryExecutor::SetVbucket(const Request& request) {
  const std::optional<engine::VbucketState> state = StateOf(request.extras);
  if (!state.has_value()) return AnswerError(request, BinaryStatus::kInvalid);
  const std::shared_ptr<AsyncCall> call = Await([&](const std::shared_ptr<AsyncCall>& pending) {
    engine_.SetVbucketState(Vbid(request.header.vbucket), *state,
                            [pending](Status status) { pending->Finish(std::move(status)); });
  });
  return call == nullptr ? Outcome::kParked : AnswerStatus(request, call->status());
}

Outcome BinaryExecutor::DeleteVbucket(const Request& request) {
  const std::shared_ptr<AsyncCall> call = Await([&](const std::shared_ptr<AsyncCall>& pending) {
    engine_.DeleteVbucket(Vbid(request.header.vbucket),
                          [pending](Status status) { pending->Finish(std::move(status)); });
  });
  return call == nullptr ? Outcome::kParked : AnswerStatus(request, call->status());
}

Outcome BinaryExecutor::GetVbucket(const Request& request) {
  const Result<engine::VbucketState> state = engine_.GetVbucketState(Vbid(request.header.vbucket));
  if (!state.ok()) return AnswerStatus(request, state.status());
  std::string body;
  AppendBigEndian(static_cast<uint32_t>(*state), body);
  return AnswerValue(request, body);
}

// Pairs of a vbucket (16 bits) and its high seqno (64 bits).
Outcome BinaryExecutor::AllSeqnos(const Request& request) {
  std::optional<engine::VbucketState> wanted;
  if (!request.extras.empty()) {
    wanted = StateOf(request.extras);
    if (!wanted.has_value()) return AnswerError(request, BinaryStatus::kInvalid);
  }
  std::string body;
  for (const auto& [vbucket, seqno] : engine_.HighSeqnos(wanted)) {
    AppendBigEndian(vbucket.get(), body);
    AppendBigEndian(seqno.get(), body);
  }
  return AnswerValue(request, body);
}

// A page of the list of all keys. The request's key is the position (none: the beginning), its extras how
// many keys at most. The answer's key is the position to go on from, none at the end; its value has, for
// each key, its size (16 bits), its expiry (32 bits, Unix time) and the key.
Outcome BinaryExecutor::GetKeys(const Request& request) {
  constexpr uint32_t kKeysMax = 1000;  // a page holds the loop up for well below a millisecond
  const uint32_t wanted = request.extras.empty() ? kKeysMax : request.ExtrasU32(0);
  Result<engine::Engine::DumpPage> page = engine_.DumpItems(request.key, std::clamp(wanted, 1u, kKeysMax));
  if (!page.ok()) return AnswerStatus(request, page.status());
  std::string body;
  for (const ItemRef& item : page->items) {
    AppendBigEndian(static_cast<uint16_t>(item->key().size()), body);
    AppendBigEndian(item->expiry(), body);
    body += item->key();
  }
  proto::BinaryResponse response;
  response.opcode = request.header.opcode;
  response.opaque = request.header.opaque;
  response.key = page->position;
  response.value = body;
  proto::AppendBinaryResponse(response, &out_.buffer());
  return Outcome::kDone;
}

Outcome BinaryExecutor::AnswerCheckpoint(const Request& request, const Result<CheckpointId>& result) {
  if (!result.ok()) return AnswerStatus(request, result.status());
  std::string body;
  AppendBigEndian(result->get(), body);
  return AnswerValue(request, body);
}

}  // namespace cairn::server
