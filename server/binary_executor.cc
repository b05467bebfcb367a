#include "server/binary_executor.h"

#include "server/config.h"

namespace cairn::server {

using proto::BinaryStatus;
using proto::Opcode;

namespace {

constexpr uint32_t kDoNotCreate = 0xffffffff;

bool IsFlush(Opcode opcode) { return opcode == Opcode::kFlush || opcode == Opcode::kFlushQ; }

// What an opcode does to a key; kNone: it has nothing to do with one.
enum class KeyOp : uint8_t { kNone, kGet, kGetAndTouch, kTouch, kStore, kDelete, kArithmetic };

KeyOp KeyOpOf(Opcode opcode) {
  switch (proto::LoudForm(opcode)) {
    case Opcode::kGet:
    case Opcode::kGetK:
      return KeyOp::kGet;
    case Opcode::kGat:
    case Opcode::kGatK:
      return KeyOp::kGetAndTouch;
    case Opcode::kTouch:
      return KeyOp::kTouch;
    case Opcode::kSet:
    case Opcode::kAdd:
    case Opcode::kReplace:
    case Opcode::kAppend:
    case Opcode::kPrepend:
      return KeyOp::kStore;
    case Opcode::kDelete:
      return KeyOp::kDelete;
    case Opcode::kIncrement:
    case Opcode::kDecrement:
      return KeyOp::kArithmetic;
    default:
      return KeyOp::kNone;
  }
}

OpClass ClassOf(KeyOp op) {
  switch (op) {
    case KeyOp::kGet:
      return OpClass::kGet;
    case KeyOp::kGetAndTouch:
    case KeyOp::kTouch:
      return OpClass::kTouch;
    case KeyOp::kStore:
      return OpClass::kStore;
    case KeyOp::kDelete:
      return OpClass::kDelete;
    case KeyOp::kArithmetic:
      return OpClass::kArithmetic;
    case KeyOp::kNone:
      break;
  }
  return OpClass::kOther;
}

engine::StoreMode ModeOf(Opcode loud) {
  switch (loud) {
    case Opcode::kAdd:
      return engine::StoreMode::kAdd;
    case Opcode::kReplace:
      return engine::StoreMode::kReplace;
    case Opcode::kAppend:
      return engine::StoreMode::kAppend;
    case Opcode::kPrepend:
      return engine::StoreMode::kPrepend;
    default:
      return engine::StoreMode::kSet;
  }
}

bool IsWrite(KeyOp op) { return op != KeyOp::kNone && op != KeyOp::kGet; }

// The levels of the framing extras. Those above 3 are ours: what a client says to ask for less, or for no
// replica.
std::optional<engine::DurabilityLevel> LevelOf(uint8_t number) {
  switch (number) {
    case 0x01:
      return engine::DurabilityLevel::kMajority;
    case 0x02:
      return engine::DurabilityLevel::kMajorityAndPersisted;
    case 0x03:
      return engine::DurabilityLevel::kPersistedMajority;
    case 0x80:
      return engine::DurabilityLevel::kMemory;
    case 0x81:
      return engine::DurabilityLevel::kPersisted;
    default:
      return std::nullopt;
  }
}

// memcached reads the 32 bits as signed: what is negative has passed already.
int64_t SignedTime(uint32_t exptime) { return static_cast<int32_t>(exptime); }

}  // namespace

bool BinaryExecutor::Prepare(size_t index) {
  const Request& request = service_.binary_requests[index];
  if (KeyOpOf(request.header.opcode) == KeyOp::kNone) {
    service_.keys[index] = engine::OpKey();
    return false;
  }
  service_.keys[index] = engine_.MakeKey(request.key);
  return true;
}

Outcome BinaryExecutor::Execute(size_t index) {
  const Request& request = service_.binary_requests[index];
  const engine::OpKey& key = service_.keys[index];
  const KeyOp op = KeyOpOf(request.header.opcode);
  // 0 is what clients without a map of vbuckets send; a client with one must name the right one.
  if (op != KeyOp::kNone && request.header.vbucket != 0 && request.header.vbucket != key.vbucket.get()) {
    return AnswerCode(request, Code::kNotMyVbucket);
  }
  if (IsWrite(op)) {
    if (const std::optional<Outcome> refused = AdmitWrite(request, key.vbucket)) return *refused;
  } else if (__builtin_expect(request.durability.present, 0) && !IsFlush(request.header.opcode)) {
    return AnswerError(request, BinaryStatus::kInvalid, "only a write has durability");
  }
  Outcome outcome = Outcome::kDone;
  switch (op) {
    case KeyOp::kGet:
      outcome = Get(request, index);
      break;
    case KeyOp::kGetAndTouch:
      outcome = GetAndTouch(request, key);
      break;
    case KeyOp::kTouch:
      outcome = Touch(request, key);
      break;
    case KeyOp::kStore:
      outcome = Store(request, key);
      break;
    case KeyOp::kDelete:
      outcome = Delete(request, key);
      break;
    case KeyOp::kArithmetic:
      outcome = Arithmetic(request, key);
      break;
    case KeyOp::kNone:
      outcome = ExecuteControl(request);
      break;
  }
  Lap(ClassOf(op));
  return outcome;
}

std::optional<Outcome> BinaryExecutor::AdmitWrite(const Request& request, std::optional<Vbid> vbucket) {
  if (__builtin_expect(request.durability.present, 0)) {
    const std::optional<Level> level = LevelOf(request.durability.level);
    if (!level.has_value()) return AnswerError(request, BinaryStatus::kInvalidDurability);
    Demand(*level, request.durability.timeout_ms);
  } else {
    DemandDefault();
  }
  if (!demanding()) return std::nullopt;
  if (!TimeoutFits()) return Outcome::kOutputFull;
  switch (vbucket ? engine_.AdmitDurability(*vbucket, level_) : engine_.AdmitDurabilityOfAll(level_)) {
    case engine::DurabilityAdmission::kOk:
      return std::nullopt;
    case engine::DurabilityAdmission::kInvalidLevel:
      return AnswerError(request, BinaryStatus::kInvalidDurability);
    case engine::DurabilityAdmission::kImpossible:
      return AnswerError(request, BinaryStatus::kDurabilityImpossible);
  }
  return std::nullopt;
}

void BinaryExecutor::AnswerRefused(proto::ParseState state, size_t index) {
  const Request& request = service_.binary_requests[index];
  switch (state) {
    case proto::ParseState::kTooLarge:
      stats_.Add(Counter::kStoreTooLarge);
      AnswerError(request, BinaryStatus::kTooBig);
      break;
    case proto::ParseState::kUnknown:
      AnswerError(request, BinaryStatus::kUnknownCommand);
      break;
    case proto::ParseState::kInvalid:
      AnswerError(request, BinaryStatus::kInvalid);
      break;
    default:
      break;  // kClose: the peer does not speak this protocol
  }
}

Outcome BinaryExecutor::AnswerError(const Request& request, BinaryStatus status, std::string_view text) {
  proto::AppendBinaryError(request.header, status, &out_.buffer(), text);
  return Outcome::kDone;
}

Outcome BinaryExecutor::AnswerCode(const Request& request, Code code) {
  if (code == Code::kTmpOom || code == Code::kNoMemory) stats_.Add(Counter::kStoreNoMemory);
  if (code == Code::kTooBig) stats_.Add(Counter::kStoreTooLarge);
  return AnswerError(request, proto::BinaryStatusOf(code));
}

Outcome BinaryExecutor::AnswerStatus(const Request& request, const Status& status) {
  if (!status.ok()) return AnswerError(request, proto::BinaryStatusOf(status.code()), status.message());
  proto::AppendBinarySuccess(request.header, 0, &out_.buffer());
  return Outcome::kDone;
}

Outcome BinaryExecutor::AnswerValue(const Request& request, std::string_view value) {
  proto::BinaryResponse response;
  response.opcode = request.header.opcode;
  response.opaque = request.header.opaque;
  response.value = value;
  proto::AppendBinaryResponse(response, &out_.buffer());
  return Outcome::kDone;
}

void BinaryExecutor::AnswerMutation(const Request& request, Cas cas, Output::Requirements requirements) {
  const size_t begin = out_.position();
  if (!proto::IsQuiet(request.header.opcode)) {
    proto::AppendBinarySuccess(request.header, cas.get(), &out_.buffer());
  }
  if (demanding()) Mark(request, begin, requirements);
}

void BinaryExecutor::Mark(const Request& request, size_t begin, Output::Requirements requirements) {
  out_.set_timeout_ms(timeout_ms_);
  out_.MarkBinary(begin, request.header, requirements);
}

void BinaryExecutor::AppendHit(const Request& request, const ItemRef& item) {
  const std::string_view value = item->value();
  const Opcode loud = proto::LoudForm(request.header.opcode);
  // An answer that may still become "ambiguous" must be in one piece.
  const bool revocable = demanding() && (loud == Opcode::kGat || loud == Opcode::kGatK);
  if (__builtin_expect(value.size() < Output::kShareBytesMin || revocable, 1)) {
    proto::AppendBinaryValue(request.header, item->cas().get(), item->flags(), item->key(), value,
                             &out_.buffer());
    return;
  }
  const bool with_key = loud == Opcode::kGetK || loud == Opcode::kGatK;
  const std::string_view key = with_key ? item->key() : std::string_view();
  const uint32_t flags = __builtin_bswap32(item->flags());
  proto::BinaryHeader header;
  header.magic = proto::kMagicResponse;
  header.opcode = request.header.opcode;
  header.opaque = request.header.opaque;
  header.cas = item->cas().get();
  header.extras_size = sizeof(flags);
  header.key_size = static_cast<uint16_t>(key.size());
  header.body_size = static_cast<uint32_t>(sizeof(flags) + key.size() + value.size());
  proto::EncodeBinaryHeader(header, out_.buffer().Reserve(proto::kBinaryHeaderSize));
  out_.buffer().Commit(proto::kBinaryHeaderSize);
  out_.buffer().Append({reinterpret_cast<const char*>(&flags), sizeof(flags)});
  out_.buffer().Append(key);
  out_.AppendValue(item);
}

Outcome BinaryExecutor::Get(const Request& request, size_t index) {
  const engine::GetResult& result = LookUp(
      index, [this](size_t i) { return KeyOpOf(service_.binary_requests[i].header.opcode) == KeyOp::kGet; });
  if (result.code == Code::kWouldBlock) return Park();
  stats_.Add(Counter::kCmdGet);
  return AnswerGet(request, result);
}

Outcome BinaryExecutor::AnswerGet(const Request& request, const engine::GetResult& result) {
  if (result.code == Code::kOk) {
    stats_.Add(Counter::kGetHits);
    AppendHit(request, result.item);
    return Outcome::kDone;
  }
  if (result.code != Code::kNotFound) return AnswerCode(request, result.code);
  stats_.Add(Counter::kGetMisses);
  const Opcode opcode = request.header.opcode;
  if (proto::IsQuiet(opcode)) return Outcome::kDone;
  // As memcached does: the miss of a command that asks for the key carries the key instead of a text.
  const bool with_key = opcode == Opcode::kGetK || opcode == Opcode::kGatK;
  if (!with_key) return AnswerError(request, BinaryStatus::kNotFound);
  proto::BinaryResponse response;
  response.opcode = opcode;
  response.status = BinaryStatus::kNotFound;
  response.opaque = request.header.opaque;
  response.key = request.key;
  proto::AppendBinaryResponse(response, &out_.buffer());
  return Outcome::kDone;
}

Outcome BinaryExecutor::GetAndTouch(const Request& request, const engine::OpKey& key) {
  const uint32_t expiry = engine_.AbsoluteExpiry(SignedTime(request.exptime()));
  const engine::TouchedResult result = engine_.GetAndTouch(key, expiry, waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  stats_.Add(Counter::kCmdGet);
  stats_.Add(Counter::kCmdTouch);
  stats_.Add(result.code == Code::kOk ? Counter::kTouchHits : Counter::kTouchMisses);
  const size_t begin = out_.position();
  AnswerGet(request, result);
  if (demanding() && result.code == Code::kOk) {
    const engine::Requirement required = RequirementOf(key.vbucket, result.item->seqno(), result.history);
    Mark(request, begin, {&required, 1});
  }
  return Outcome::kDone;
}

Outcome BinaryExecutor::Touch(const Request& request, const engine::OpKey& key) {
  const uint32_t expiry = engine_.AbsoluteExpiry(SignedTime(request.exptime()));
  const engine::MutationResult result = engine_.Touch(key, expiry, waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  stats_.Add(Counter::kCmdTouch);
  if (result.code == Code::kOk) {
    stats_.Add(Counter::kTouchHits);
    const engine::Requirement required = RequirementOf(key.vbucket, result.seqno, result.history);
    AnswerMutation(request, result.cas, {&required, 1});
    return Outcome::kDone;
  }
  if (result.code == Code::kNotFound) stats_.Add(Counter::kTouchMisses);
  return AnswerCode(request, result.code);
}

// The outcomes of the preconditions are memcached's: a failed ADD is "exists", a failed REPLACE "not found".
Outcome BinaryExecutor::Store(const Request& request, const engine::OpKey& key) {
  const Opcode loud = proto::LoudForm(request.header.opcode);
  engine::StoreRequest store;
  store.mode = ModeOf(loud);
  store.cas = Cas(request.header.cas);
  store.value = request.value;
  const bool joins = store.mode == engine::StoreMode::kAppend || store.mode == engine::StoreMode::kPrepend;
  if (!joins) {
    store.flags = request.flags();
    store.expiry = engine_.AbsoluteExpiry(SignedTime(request.exptime()));
    // With a CAS it is compare-and-swap whatever the opcode says.
    if (request.header.cas != 0) store.mode = engine::StoreMode::kSet;
  }
  const engine::MutationResult result = engine_.Store(key, store, waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  stats_.Add(Counter::kCmdSet);
  const bool compare = request.header.cas != 0;
  const engine::Requirement required = RequirementOf(key.vbucket, result.seqno, result.history);
  switch (result.code) {
    case Code::kOk:
      if (compare) stats_.Add(Counter::kCasHits);
      AnswerMutation(request, result.cas, {&required, 1});
      return Outcome::kDone;
    case Code::kNotStored:
    case Code::kNotFound:
      if (compare) stats_.Add(Counter::kCasMisses);
      if (joins) return AnswerError(request, BinaryStatus::kNotStored);
      if (compare || loud == Opcode::kReplace) return AnswerError(request, BinaryStatus::kNotFound);
      return AnswerError(request, loud == Opcode::kAdd ? BinaryStatus::kExists : BinaryStatus::kNotStored);
    case Code::kExists:
      if (compare) stats_.Add(Counter::kCasBadval);
      return AnswerError(request, BinaryStatus::kExists);
    default:
      return AnswerCode(request, result.code);
  }
}

Outcome BinaryExecutor::Delete(const Request& request, const engine::OpKey& key) {
  const engine::MutationResult result = engine_.Delete(key, Cas(request.header.cas), waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  if (result.code == Code::kOk) {
    stats_.Add(Counter::kDeleteHits);
    const engine::Requirement required = RequirementOf(key.vbucket, result.seqno, result.history);
    AnswerMutation(request, Cas(), {&required, 1});
    return Outcome::kDone;
  }
  if (result.code == Code::kNotFound) stats_.Add(Counter::kDeleteMisses);
  return AnswerCode(request, result.code);
}

Outcome BinaryExecutor::Arithmetic(const Request& request, const engine::OpKey& key) {
  engine::ArithmeticRequest arithmetic;
  arithmetic.increment = proto::LoudForm(request.header.opcode) == Opcode::kIncrement;
  arithmetic.delta = request.delta();
  arithmetic.create = request.exptime() != kDoNotCreate;
  arithmetic.cas = Cas(request.header.cas);
  if (arithmetic.create) {
    arithmetic.initial = request.initial();
    arithmetic.expiry = engine_.AbsoluteExpiry(SignedTime(request.exptime()));
  }
  const engine::ArithmeticResult result = engine_.Arithmetic(key, arithmetic, waiter_);
  if (result.code == Code::kWouldBlock) return Park();
  if (result.code == Code::kOk) {
    stats_.Add(arithmetic.increment ? Counter::kIncrHits : Counter::kDecrHits);
    const size_t begin = out_.position();
    if (!proto::IsQuiet(request.header.opcode)) {
      proto::AppendBinaryCounter(request.header, result.cas.get(), result.value, &out_.buffer());
    }
    if (demanding()) {
      const engine::Requirement required = RequirementOf(key.vbucket, result.seqno, result.history);
      Mark(request, begin, {&required, 1});
    }
    return Outcome::kDone;
  }
  if (result.code == Code::kNotFound) {
    stats_.Add(arithmetic.increment ? Counter::kIncrMisses : Counter::kDecrMisses);
  }
  return AnswerCode(request, result.code);
}

}  // namespace cairn::server
