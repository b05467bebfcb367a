// BinaryExecutor: the requests that ask how far something is: on disk, in history, on a replica.

#include <optional>
#include <string>
#include <utility>

#include "engine/replication.h"
#include "server/binary_executor.h"
#include "server/binary_numbers.h"

namespace cairn::server {

using proto::BinaryStatus;

namespace {

constexpr uint32_t kPersistenceTimeoutMs = 30'000;
constexpr size_t kObservedKeysMax = 1000;  // of one request: its answer is made in one go

enum : uint8_t { kStateFound = 0x00, kStatePersisted = 0x01, kStateNotFound = 0x80, kStateDeleted = 0x81 };

uint8_t StateByte(const engine::KeyObservation& seen) {
  switch (seen.state) {
    case engine::KeyState::kFound:
      return seen.persisted ? kStatePersisted : kStateFound;
    case engine::KeyState::kDeleted:
      return kStateDeleted;
    case engine::KeyState::kNotFound:
      break;
  }
  return kStateNotFound;
}

struct ObservedKey {
  uint16_t vbucket;
  std::string_view key;
};

// Takes (vbucket 16, size 16, key) off the front of `rest`.
std::optional<ObservedKey> TakeKey(std::string_view* rest) {
  constexpr size_t kBefore = 4;
  if (rest->size() < kBefore) return std::nullopt;
  const auto vbucket = TakeBigEndian<uint16_t>(rest);
  const auto size = TakeBigEndian<uint16_t>(rest);
  if (size == 0 || size > kKeySizeMax || size > rest->size()) return std::nullopt;
  const ObservedKey observed{vbucket, rest->substr(0, size)};
  rest->remove_prefix(size);
  return observed;
}

// The branch that a seqno of `uuid` belongs to, and where it ended: the next newer entry's seqno.
struct Branch {
  bool newest = false;
  Seqno end;
};
std::optional<Branch> FindBranch(const std::vector<proto::FailoverEntry>& log, uint64_t uuid) {
  for (size_t i = 0; i < log.size(); ++i) {
    if (log[i].uuid == uuid) return i == 0 ? Branch{true, Seqno()} : Branch{false, log[i - 1].seqno};
  }
  return std::nullopt;
}

}  // namespace

// Keys of any vbuckets in one request. A key whose ejection or warm-up hides it makes the request begin again
// when it is known.
Outcome BinaryExecutor::Observe(const Request& request) {
  std::string body;
  std::string_view rest = request.value;
  for (size_t keys = 0; !rest.empty(); ++keys) {
    const std::optional<ObservedKey> observed = TakeKey(&rest);
    if (!observed.has_value() || keys == kObservedKeysMax)
      return AnswerError(request, BinaryStatus::kInvalid);
    const engine::OpKey key = engine_.MakeKey(observed->key);
    if (observed->vbucket != 0 && observed->vbucket != key.vbucket.get()) {
      return AnswerCode(request, Code::kNotMyVbucket);
    }
    const engine::KeyObservation seen = engine_.Observe(key, waiter_);
    if (seen.code == Code::kWouldBlock) return Park();
    if (seen.code != Code::kOk) return AnswerCode(request, seen.code);
    AppendBigEndian(key.vbucket.get(), body);
    AppendBigEndian(static_cast<uint16_t>(observed->key.size()), body);
    body += observed->key;
    AppendBigEndian(StateByte(seen), body);
    AppendBigEndian(seen.cas.get(), body);
  }
  return AnswerValue(request, body);
}

// Format 0: the uuid is the vbucket's newest. Format 1: there was a failover since, and with it the answer
// says where that branch ended: what lies behind it is lost.
Outcome BinaryExecutor::ObserveSeqno(const Request& request) {
  constexpr size_t kUuidSize = 8;
  if (request.value.size() != kUuidSize) return AnswerError(request, BinaryStatus::kInvalid);
  std::string_view value = request.value;
  const auto uuid = TakeBigEndian<uint64_t>(&value);
  const Result<engine::VbucketHistory> history = engine_.History(Vbid(request.header.vbucket));
  if (!history.ok()) return AnswerStatus(request, history.status());
  const std::optional<Branch> branch = FindBranch(history->failover_log, uuid);
  if (!branch.has_value()) return AnswerError(request, BinaryStatus::kNotFound);
  std::string body;
  AppendBigEndian(static_cast<uint8_t>(branch->newest ? 0 : 1), body);
  AppendBigEndian(request.header.vbucket, body);
  AppendBigEndian(history->failover_log.front().uuid, body);
  AppendBigEndian(history->persisted.get(), body);
  AppendBigEndian(history->high.get(), body);
  if (!branch->newest) {
    AppendBigEndian(uuid, body);
    AppendBigEndian(branch->end.get(), body);
  }
  return AnswerValue(request, body);
}

// A read of a replica (or of an active), for a client that cannot reach the active.
Outcome BinaryExecutor::GetReplica(const Request& request) {
  const engine::OpKey key = engine_.MakeKey(request.key);
  if (request.header.vbucket != 0 && request.header.vbucket != key.vbucket.get()) {
    return AnswerCode(request, Code::kNotMyVbucket);
  }
  const engine::GetResult result = engine_.replication().GetReplica(key, waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  stats_.Add(Counter::kCmdGet);
  return AnswerGet(request, result);
}

// Pairs of a uuid and the seqno where its branch begins, newest first.
Outcome BinaryExecutor::FailoverLog(const Request& request) {
  const Result<engine::VbucketHistory> history = engine_.History(Vbid(request.header.vbucket));
  if (!history.ok()) return AnswerStatus(request, history.status());
  std::string body;
  for (const proto::FailoverEntry& entry : history->failover_log) {
    AppendBigEndian(entry.uuid, body);
    AppendBigEndian(entry.seqno.get(), body);
  }
  return AnswerValue(request, body);
}

// The number is in the extras, or for CHECKPOINT_PERSISTENCE, as older clients send it, in the value.
Outcome BinaryExecutor::AwaitPersisted(const Request& request) {
  constexpr size_t kNumberSize = 8;
  if (request.extras.size() + request.value.size() != kNumberSize ||
      (!request.extras.empty() && !request.value.empty())) {
    return AnswerError(request, BinaryStatus::kInvalid);
  }
  std::string_view bytes = request.extras.empty() ? request.value : request.extras;
  const auto number = TakeBigEndian<uint64_t>(&bytes);
  const std::shared_ptr<AsyncCall> call = Await([&](const std::shared_ptr<AsyncCall>& pending) {
    const bool by_seqno = request.header.opcode == proto::Opcode::kSeqnoPersistence;
    engine_.AwaitPersisted(Vbid(request.header.vbucket), by_seqno ? Seqno(number) : Seqno(),
                           by_seqno ? CheckpointId() : CheckpointId(number), kPersistenceTimeoutMs,
                           [pending](Status status) { pending->Finish(std::move(status)); });
  });
  return call == nullptr ? Outcome::kParked : AnswerStatus(request, call->status());
}

}  // namespace cairn::server
