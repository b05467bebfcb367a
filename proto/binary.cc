#include "proto/binary.h"

#include <array>
#include <cstring>

#include "base/check.h"
#include "base/types.h"

namespace cairn::proto {
namespace {

enum class Presence : uint8_t { kNone, kOptional, kRequired };

/// What a request of one opcode looks like.
struct Shape {
  std::string_view name;      // empty: no such opcode
  uint32_t extras_sizes = 0;  // bit n: n bytes of extras are allowed
  Presence key = Presence::kNone;
  Presence value = Presence::kNone;
  uint8_t key_size_max = kKeySizeMax;
};

constexpr uint32_t Bytes(uint32_t n) { return 1U << n; }

class ShapeTable {
 public:
  constexpr ShapeTable() {
    AddData();
    AddConnection();
    AddVbuckets();
    AddEngine();
  }
  constexpr const Shape& operator[](Opcode opcode) const { return shapes_[static_cast<uint8_t>(opcode)]; }

 private:
  using enum Opcode;
  using enum Presence;

  constexpr void Add(Opcode opcode, const Shape& shape) { shapes_[static_cast<uint8_t>(opcode)] = shape; }

  constexpr void AddData() {
    Add(kGet, {"GET", Bytes(0), kRequired, kNone});
    Add(kGetQ, {"GETQ", Bytes(0), kRequired, kNone});
    Add(kGetK, {"GETK", Bytes(0), kRequired, kNone});
    Add(kGetKQ, {"GETKQ", Bytes(0), kRequired, kNone});
    Add(kSet, {"SET", Bytes(8), kRequired, kOptional});
    Add(kSetQ, {"SETQ", Bytes(8), kRequired, kOptional});
    Add(kAdd, {"ADD", Bytes(8), kRequired, kOptional});
    Add(kAddQ, {"ADDQ", Bytes(8), kRequired, kOptional});
    Add(kReplace, {"REPLACE", Bytes(8), kRequired, kOptional});
    Add(kReplaceQ, {"REPLACEQ", Bytes(8), kRequired, kOptional});
    Add(kDelete, {"DELETE", Bytes(0), kRequired, kNone});
    Add(kDeleteQ, {"DELETEQ", Bytes(0), kRequired, kNone});
    Add(kIncrement, {"INCREMENT", Bytes(20), kRequired, kNone});
    Add(kIncrementQ, {"INCREMENTQ", Bytes(20), kRequired, kNone});
    Add(kDecrement, {"DECREMENT", Bytes(20), kRequired, kNone});
    Add(kDecrementQ, {"DECREMENTQ", Bytes(20), kRequired, kNone});
    Add(kAppend, {"APPEND", Bytes(0), kRequired, kOptional});
    Add(kAppendQ, {"APPENDQ", Bytes(0), kRequired, kOptional});
    Add(kPrepend, {"PREPEND", Bytes(0), kRequired, kOptional});
    Add(kPrependQ, {"PREPENDQ", Bytes(0), kRequired, kOptional});
    Add(kTouch, {"TOUCH", Bytes(4), kRequired, kNone});
    Add(kGat, {"GAT", Bytes(4), kRequired, kNone});
    Add(kGatQ, {"GATQ", Bytes(4), kRequired, kNone});
    Add(kGatK, {"GATK", Bytes(4), kRequired, kNone});
    Add(kGatKQ, {"GATKQ", Bytes(4), kRequired, kNone});
  }

  constexpr void AddConnection() {
    Add(kQuit, {"QUIT", Bytes(0), kNone, kNone});
    Add(kQuitQ, {"QUITQ", Bytes(0), kNone, kNone});
    Add(kFlush, {"FLUSH", Bytes(0) | Bytes(4), kNone, kNone});
    Add(kFlushQ, {"FLUSHQ", Bytes(0) | Bytes(4), kNone, kNone});
    Add(kNoop, {"NOOP", Bytes(0), kNone, kNone});
    Add(kVersion, {"VERSION", Bytes(0), kNone, kNone});
    Add(kStat, {"STAT", Bytes(0), kOptional, kNone});
    Add(kVerbosity, {"VERBOSITY", Bytes(4), kNone, kNone});
    Add(kHello, {"HELLO", Bytes(0), kOptional, kOptional});
    Add(kSaslListMechs, {"SASL_LIST_MECHS", Bytes(0), kNone, kNone});
    Add(kSaslAuth, {"SASL_AUTH", Bytes(0), kRequired, kOptional});
    Add(kSaslStep, {"SASL_STEP", Bytes(0), kRequired, kOptional});
  }

  constexpr void AddVbuckets() {
    // The state is one byte or, from older tools, four.
    Add(kSetVbucket, {"SET_VBUCKET", Bytes(1) | Bytes(4), kNone, kNone});
    Add(kGetVbucket, {"GET_VBUCKET", Bytes(0), kNone, kNone});
    Add(kDelVbucket, {"DEL_VBUCKET", Bytes(0), kNone, kOptional});
    Add(kGetAllVbSeqnos, {"GET_ALL_VB_SEQNOS", Bytes(0) | Bytes(4), kNone, kNone});
    Add(kObserveSeqno, {"OBSERVE_SEQNO", Bytes(0), kNone, kRequired});
    Add(kObserve, {"OBSERVE", Bytes(0), kNone, kRequired});
    Add(kGetFailoverLog, {"GET_FAILOVER_LOG", Bytes(0), kNone, kNone});
    Add(kLastClosedCheckpoint, {"LAST_CLOSED_CHECKPOINT", Bytes(0), kNone, kNone});
    Add(kCreateCheckpoint, {"CREATE_CHECKPOINT", Bytes(0), kNone, kNone});
    Add(kCheckpointPersistence, {"CHECKPOINT_PERSISTENCE", Bytes(0) | Bytes(8), kNone, kOptional});
    Add(kSeqnoPersistence, {"SEQNO_PERSISTENCE", Bytes(8), kNone, kNone});
  }

  constexpr void AddEngine() {
    constexpr uint32_t kWithMeta = Bytes(24) | Bytes(26) | Bytes(28) | Bytes(30);
    constexpr uint32_t kUpdate = Bytes(0) | Bytes(UpdateId::kSize);
    Add(kOnlineUpdateStart, {"ONLINE_UPDATE_START", kUpdate, kOptional, kNone, kUpdateNameSizeMax});
    Add(kOnlineUpdateComplete, {"ONLINE_UPDATE_COMPLETE", kUpdate, kNone, kNone});
    Add(kOnlineUpdateRevert, {"ONLINE_UPDATE_REVERT", kUpdate, kNone, kNone});
    Add(kStopPersistence, {"STOP_PERSISTENCE", Bytes(0), kNone, kNone});
    Add(kStartPersistence, {"START_PERSISTENCE", Bytes(0), kNone, kNone});
    Add(kSetParam, {"SET_PARAM", Bytes(4), kRequired, kRequired});
    Add(kGetReplica, {"GET_REPLICA", Bytes(0), kRequired, kNone});
    Add(kEvictKey, {"EVICT_KEY", Bytes(0), kRequired, kNone});
    Add(kGetLocked, {"GET_LOCKED", Bytes(0) | Bytes(4), kRequired, kNone});
    Add(kUnlockKey, {"UNLOCK_KEY", Bytes(0), kRequired, kNone});
    Add(kGetMeta, {"GET_META", Bytes(0) | Bytes(1), kRequired, kNone});
    Add(kGetMetaQ, {"GETQ_META", Bytes(0) | Bytes(1), kRequired, kNone});
    Add(kSetWithMeta, {"SET_WITH_META", kWithMeta, kRequired, kOptional});
    Add(kSetWithMetaQ, {"SETQ_WITH_META", kWithMeta, kRequired, kOptional});
    Add(kAddWithMeta, {"ADD_WITH_META", kWithMeta, kRequired, kOptional});
    Add(kAddWithMetaQ, {"ADDQ_WITH_META", kWithMeta, kRequired, kOptional});
    Add(kDelWithMeta, {"DEL_WITH_META", kWithMeta, kRequired, kOptional});
    Add(kDelWithMetaQ, {"DELQ_WITH_META", kWithMeta, kRequired, kOptional});
    Add(kEnableTraffic, {"ENABLE_TRAFFIC", Bytes(0), kNone, kNone});
    Add(kDisableTraffic, {"DISABLE_TRAFFIC", Bytes(0), kNone, kNone});
    Add(kCompactDb, {"COMPACT_DB", Bytes(24), kNone, kNone});
    Add(kRandomKey, {"RANDOM_KEY", Bytes(0), kNone, kNone});
    Add(kGetKeys, {"GET_KEYS", Bytes(0) | Bytes(4), kOptional, kNone});
  }

  std::array<Shape, 256> shapes_{};
};

constexpr ShapeTable kShapes;

uint16_t Load16(const char* p) {
  uint16_t v = 0;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_bswap16(v);
}
uint32_t Load32(const char* p) {
  uint32_t v = 0;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_bswap32(v);
}
uint64_t Load64(const char* p) {
  uint64_t v = 0;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_bswap64(v);
}

bool Fits(Presence presence, uint64_t size) {
  return presence == Presence::kOptional || (presence == Presence::kRequired) == (size > 0);
}

// All that can be wrong with the sizes of a request whose opcode is known.
bool SizesFit(const BinaryHeader& header, const Shape& shape) {
  const uint32_t before_value = uint32_t{header.framing_size} + header.extras_size + header.key_size;
  return before_value <= header.body_size && header.extras_size < 32 &&
         (shape.extras_sizes >> header.extras_size & 1) != 0 && header.key_size <= shape.key_size_max &&
         Fits(shape.key, header.key_size) && Fits(shape.value, header.body_size - before_value);
}

// A nibble of a frame's first byte; 15 means that the next byte has more of it. False: nothing is there.
bool TakeNibble(uint8_t nibble, std::string_view* rest, size_t* number) {
  constexpr uint8_t kEscape = 15;
  *number = nibble;
  if (nibble != kEscape) return true;
  if (rest->empty()) return false;
  *number += static_cast<uint8_t>(rest->front());
  rest->remove_prefix(1);
  return true;
}

bool ParseDurability(std::string_view data, DurabilityFrame* durability) {
  constexpr uint16_t kReserved = 0xffff;
  if (durability->present || (data.size() != 1 && data.size() != 3)) return false;
  durability->present = true;
  durability->level = static_cast<uint8_t>(data[0]);
  if (data.size() == 1) return true;
  durability->timeout_ms = Load16(data.data() + 1);
  return durability->timeout_ms != 0 && durability->timeout_ms != kReserved;
}

// The framing extras: frames of an id, a size and so many bytes. An unknown one might change what the request
// means, so it is not passed over.
bool ParseFrames(std::string_view frames, DurabilityFrame* durability) {
  constexpr size_t kDurabilityId = 1;
  while (!frames.empty()) {
    const auto first = static_cast<uint8_t>(frames.front());
    frames.remove_prefix(1);
    size_t id = 0;
    size_t size = 0;
    if (!TakeNibble(first >> 4, &frames, &id) || !TakeNibble(first & 15, &frames, &size)) return false;
    if (size > frames.size() || id != kDurabilityId) return false;
    if (!ParseDurability(frames.substr(0, size), durability)) return false;
    frames.remove_prefix(size);
  }
  return true;
}

}  // namespace

bool IsKnownOpcode(uint8_t code) { return !kShapes[static_cast<Opcode>(code)].name.empty(); }

std::string_view OpcodeName(Opcode opcode) {
  const std::string_view name = kShapes[opcode].name;
  return name.empty() ? "UNKNOWN" : name;
}

BinaryHeader DecodeBinaryHeader(const char* in) {
  BinaryHeader header;
  header.magic = static_cast<uint8_t>(in[0]);
  header.opcode = static_cast<Opcode>(in[1]);
  if (header.magic == kMagicFramedRequest) {
    header.framing_size = static_cast<uint8_t>(in[2]);
    header.key_size = static_cast<uint8_t>(in[3]);
  } else {
    header.key_size = Load16(in + 2);
  }
  header.extras_size = static_cast<uint8_t>(in[4]);
  header.datatype = static_cast<uint8_t>(in[5]);
  header.vbucket = Load16(in + 6);
  header.body_size = Load32(in + 8);
  header.opaque = Load32(in + 12);
  header.cas = Load64(in + 16);
  return header;
}

uint32_t BinaryRequest::ExtrasU32(size_t offset) const {
  CAIRN_DCHECK(offset + 4 <= extras.size());
  return Load32(extras.data() + offset);
}

uint64_t BinaryRequest::ExtrasU64(size_t offset) const {
  CAIRN_DCHECK(offset + 8 <= extras.size());
  return Load64(extras.data() + offset);
}

uint32_t BinaryRequest::exptime() const {
  switch (extras.size()) {
    case 4:
      return ExtrasU32(0);  // TOUCH, GAT, FLUSH
    case 8:
      return ExtrasU32(4);  // SET, ADD, REPLACE
    case 20:
      return ExtrasU32(16);  // INCREMENT, DECREMENT
    default:
      return 0;
  }
}

UpdateId BinaryRequest::update_id() const { return UpdateId::FromBytes(extras).value_or(UpdateId{}); }

ParseOutcome ParseBinary(std::string_view in, const Limits& limits, BinaryRequest* request) {
  const bool framed = !in.empty() && static_cast<uint8_t>(in[0]) == kMagicFramedRequest;
  if (!in.empty() && !framed && static_cast<uint8_t>(in[0]) != kMagicRequest) return {ParseState::kClose, 0};
  if (in.size() < kBinaryHeaderSize) return {ParseState::kNeedMore, kBinaryHeaderSize};
  const BinaryHeader header = DecodeBinaryHeader(in.data());
  request->header = header;
  request->durability = {};
  const size_t total = kBinaryHeaderSize + header.body_size;
  const Shape& shape = kShapes[header.opcode];
  if (shape.name.empty()) return {ParseState::kUnknown, total};
  if (!SizesFit(header, shape)) return {ParseState::kInvalid, total};

  const size_t extras_at = kBinaryHeaderSize + header.framing_size;
  if (framed) {
    if (in.size() < extras_at) return {ParseState::kNeedMore, extras_at};
    const std::string_view frames = in.substr(kBinaryHeaderSize, header.framing_size);
    if (!ParseFrames(frames, &request->durability)) return {ParseState::kInvalid, total};
  }
  const size_t value_at = extras_at + header.extras_size + header.key_size;
  const bool too_large = total - value_at > limits.value_bytes_max;
  const size_t needed = too_large ? value_at : total;
  if (in.size() < needed) return {ParseState::kNeedMore, needed};
  request->extras = in.substr(extras_at, header.extras_size);
  request->key = in.substr(extras_at + header.extras_size, header.key_size);
  if (too_large) return {ParseState::kTooLarge, total};
  request->value = in.substr(value_at, total - value_at);
  return {ParseState::kOk, total};
}

bool IsQuiet(Opcode opcode) { return LoudForm(opcode) != opcode; }

Opcode LoudForm(Opcode opcode) {
  using enum Opcode;
  switch (opcode) {
    case kGetQ:
      return kGet;
    case kGetKQ:
      return kGetK;
    case kGatQ:
      return kGat;
    case kGatKQ:
      return kGatK;
    case kQuitQ:
      return kQuit;
    case kFlushQ:
      return kFlush;
    case kSetQ:
      return kSet;
    case kAddQ:
      return kAdd;
    case kReplaceQ:
      return kReplace;
    case kDeleteQ:
      return kDelete;
    case kIncrementQ:
      return kIncrement;
    case kDecrementQ:
      return kDecrement;
    case kAppendQ:
      return kAppend;
    case kPrependQ:
      return kPrepend;
    case kGetMetaQ:
      return kGetMeta;
    case kSetWithMetaQ:
      return kSetWithMeta;
    case kAddWithMetaQ:
      return kAddWithMeta;
    case kDelWithMetaQ:
      return kDelWithMeta;
    default:
      return opcode;
  }
}

}  // namespace cairn::proto
