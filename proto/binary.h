#pragma once
// memcached's binary protocol: requests are 24-byte headers with a body of extras, key and value; answers
// have the same shape (protocol_binary.txt in memcached's tree; byte tables in docs/protocol.md).
//
// ParseBinary is the one place where lengths are checked: whatever it answers kOk for has extras of the
// size its opcode wants, a key and a value exactly where its opcode wants them, and all views inside the
// input. Which of the named opcodes a server executes is the server's decision.

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "proto/out_buffer.h"
#include "proto/parse.h"
#include "proto/update_id.h"

namespace cairn::proto {

inline constexpr size_t kBinaryHeaderSize = 24;
inline constexpr uint8_t kMagicRequest = 0x80;
inline constexpr uint8_t kMagicResponse = 0x81;
/// A request with framing extras: byte 2 is their size, byte 3 the key's; they come before the extras.
inline constexpr uint8_t kMagicFramedRequest = 0x08;

enum class Opcode : uint8_t {
  kGet = 0x00,
  kSet = 0x01,
  kAdd = 0x02,
  kReplace = 0x03,
  kDelete = 0x04,
  kIncrement = 0x05,
  kDecrement = 0x06,
  kQuit = 0x07,
  kFlush = 0x08,
  kGetQ = 0x09,
  kNoop = 0x0a,
  kVersion = 0x0b,
  kGetK = 0x0c,
  kGetKQ = 0x0d,
  kAppend = 0x0e,
  kPrepend = 0x0f,
  kStat = 0x10,
  kSetQ = 0x11,
  kAddQ = 0x12,
  kReplaceQ = 0x13,
  kDeleteQ = 0x14,
  kIncrementQ = 0x15,
  kDecrementQ = 0x16,
  kQuitQ = 0x17,
  kFlushQ = 0x18,
  kAppendQ = 0x19,
  kPrependQ = 0x1a,
  kVerbosity = 0x1b,
  kTouch = 0x1c,
  kGat = 0x1d,
  kGatQ = 0x1e,
  kHello = 0x1f,
  kSaslListMechs = 0x20,
  kSaslAuth = 0x21,
  kSaslStep = 0x22,
  kGatK = 0x23,
  kGatKQ = 0x24,
  kSetVbucket = 0x3d,
  kGetVbucket = 0x3e,
  kDelVbucket = 0x3f,
  kGetAllVbSeqnos = 0x48,
  kStopPersistence = 0x80,
  kStartPersistence = 0x81,
  kSetParam = 0x82,
  kGetReplica = 0x83,
  kObserveSeqno = 0x91,
  kObserve = 0x92,
  kEvictKey = 0x93,
  kGetLocked = 0x94,
  kUnlockKey = 0x95,
  kGetFailoverLog = 0x96,
  kLastClosedCheckpoint = 0x97,
  kOnlineUpdateStart = 0x9b,
  kOnlineUpdateComplete = 0x9c,
  kOnlineUpdateRevert = 0x9d,
  kGetMeta = 0xa0,
  kGetMetaQ = 0xa1,
  kSetWithMeta = 0xa2,
  kSetWithMetaQ = 0xa3,
  kAddWithMeta = 0xa4,
  kAddWithMetaQ = 0xa5,
  kDelWithMeta = 0xa8,
  kDelWithMetaQ = 0xa9,
  kCreateCheckpoint = 0xaa,
  kEnableTraffic = 0xad,
  kDisableTraffic = 0xae,
  kCheckpointPersistence = 0xb1,
  kCompactDb = 0xb3,
  kRandomKey = 0xb6,
  kSeqnoPersistence = 0xb7,
  kGetKeys = 0xb8,
};

enum class BinaryStatus : uint16_t {
  kOk = 0x00,
  kNotFound = 0x01,
  kExists = 0x02,
  kTooBig = 0x03,
  kInvalid = 0x04,
  kNotStored = 0x05,
  kDeltaBadValue = 0x06,
  kNotMyVbucket = 0x07,
  kLocked = 0x09,
  kAuthError = 0x20,
  kAuthContinue = 0x21,
  kRange = 0x22,
  kRollback = 0x23,
  kAccess = 0x24,
  kUnknownCommand = 0x81,
  kNoMemory = 0x82,
  kNotSupported = 0x83,
  kInternal = 0x84,
  kBusy = 0x85,
  kTmpFail = 0x86,
  kInvalidDurability = 0xa0,
  kDurabilityImpossible = 0xa1,
  kAmbiguous = 0xa3,
};

/// Is there an operation of that code?
bool IsKnownOpcode(uint8_t code);
/// "GETKQ"; "UNKNOWN" when there is no such opcode.
std::string_view OpcodeName(Opcode opcode);
/// The text that goes into the body of an error answer ("Not found"); "Success" for kOk.
std::string_view BinaryStatusText(BinaryStatus status);
/// The status that answers an engine's code.
BinaryStatus BinaryStatusOf(Code code);

/// A quiet form answers only the interesting outcome: gets when they hit, mutations when they fail.
bool IsQuiet(Opcode opcode);
/// kGetKQ → kGetK; an opcode without a quiet form, or that is not quiet, is itself.
Opcode LoudForm(Opcode opcode);

struct BinaryHeader {
  uint8_t magic = 0;
  Opcode opcode{};  // may be none of the named ones
  uint16_t key_size = 0;
  uint8_t extras_size = 0;
  uint8_t framing_size = 0;  // kMagicFramedRequest only
  uint8_t datatype = 0;      // ignored, as memcached does
  uint16_t vbucket = 0;      // of an answer: the status
  uint32_t body_size = 0;    // framing extras, extras, key and value together
  uint32_t opaque = 0;       // goes back to the client as it came
  uint64_t cas = 0;
};

/// `in` points to at least kBinaryHeaderSize bytes.
BinaryHeader DecodeBinaryHeader(const char* in);
/// `out` has room for kBinaryHeaderSize bytes.
void EncodeBinaryHeader(const BinaryHeader& header, char* out);

/// What a write has to reach before it is answered, when its framing extras say so.
struct DurabilityFrame {
  bool present = false;
  uint8_t level = 0;        // as sent: which there are is the server's business
  uint16_t timeout_ms = 0;  // 0: the server's
};

/// One request; views into the parser's input.
struct BinaryRequest {
  BinaryHeader header;
  DurabilityFrame durability;
  std::string_view extras;
  std::string_view key;
  std::string_view value;

  // The extras, decoded; each may be called only for the opcodes it names.
  /// SET, ADD, REPLACE.
  uint32_t flags() const { return ExtrasU32(0); }
  /// SET, ADD, REPLACE, INCREMENT, DECREMENT, TOUCH, GAT; FLUSH (0 when it has no extras). As sent: see
  /// AbsoluteExpiry. For counters 0xffffffff means "do not create".
  uint32_t exptime() const;
  /// INCREMENT, DECREMENT.
  uint64_t delta() const { return ExtrasU64(0); }
  uint64_t initial() const { return ExtrasU64(8); }
  /// VERBOSITY.
  uint32_t level() const { return ExtrasU32(0); }
  /// ONLINE_UPDATE_*: the update that is meant, none when the extras are empty.
  UpdateId update_id() const;

  uint32_t ExtrasU32(size_t offset) const;
  uint64_t ExtrasU64(size_t offset) const;
};

/// Takes one request off the front of `in`. `request->header` is filled for every state but kNeedMore with
/// fewer than 24 bytes; the views and the durability only for kOk. A size above a limit and every
/// malformation are seen from the header (and the framing extras) alone, before more of the body is waited
/// for. A frame of another kind than durability is kInvalid. kClose: the magic is not a request's.
ParseOutcome ParseBinary(std::string_view in, const Limits& limits, BinaryRequest* request);

/// One answer. Views may point anywhere; they are copied.
struct BinaryResponse {
  Opcode opcode{};
  BinaryStatus status = BinaryStatus::kOk;
  uint32_t opaque = 0;
  uint64_t cas = 0;
  std::string_view extras;
  std::string_view key;
  std::string_view value;
};

/// Appends a whole answer.
void AppendBinaryResponse(const BinaryResponse& response, OutBuffer* out);
/// Appends a hit: 4 bytes of flags as extras, `key` only when the opcode asks for it (GETK, GATK).
void AppendBinaryValue(const BinaryHeader& request, uint64_t cas, uint32_t flags, std::string_view key,
                       std::string_view value, OutBuffer* out);
/// Appends the 24-byte header of a success without a body.
void AppendBinarySuccess(const BinaryHeader& request, uint64_t cas, OutBuffer* out);
/// Appends an answer to INCREMENT or DECREMENT: the new value in 8 bytes.
void AppendBinaryCounter(const BinaryHeader& request, uint64_t cas, uint64_t value, OutBuffer* out);
/// Appends an error with `text` as its body, by default the status' own text.
void AppendBinaryError(const BinaryHeader& request, BinaryStatus status, OutBuffer* out,
                       std::string_view text = {});
/// Appends one STAT answer; an empty name ends the list.
void AppendBinaryStat(const BinaryHeader& request, std::string_view name, std::string_view value,
                      OutBuffer* out);

}  // namespace cairn::proto
