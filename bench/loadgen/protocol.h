#pragma once
// The client's side of three protocols: appends requests to a buffer and cuts replies out of one. Pure
// functions on bytes, no sockets, so that every edge is a unit test. Sources: memcached's protocol.txt and
// binary protocol revamped (24-byte header), the Redis serialization protocol version 2.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::loadgen {

enum class Protocol : uint8_t { kText, kBinary, kResp };

/// A reply line, or the header of a value, is never longer; more without a line end is malformed.
inline constexpr size_t kReplyLineMax = 4096;
/// A value or a binary body is never larger (the servers' own limits are far below).
inline constexpr size_t kReplyBodyMax = size_t{64} << 20;

enum class ReplyKind : uint8_t {
  kValue,   // a value; text also names the key, binary the request's opaque
  kMiss,    // no such key (binary and RESP; text just leaves the key out)
  kEnd,     // text: the end of a get's answer
  kStored,  // a set was carried out
  kArray,   // RESP: `array_size` replies to one request follow
  kError,   // the server refused; `text` says why
};

struct Reply {
  ReplyKind kind = ReplyKind::kError;
  std::string_view key;   // text protocol's VALUE only
  std::string_view text;  // the value, or the error's words; points into the input
  uint32_t opaque = 0;    // binary only
  size_t array_size = 0;  // kArray only
  size_t consumed = 0;    // bytes of input that this reply took
};

enum class ParseOutcome : uint8_t { kReply, kNeedMore, kMalformed };

/// Cuts one reply off the front of `input`. kNeedMore leaves `reply` unspecified; call again with the same
/// bytes and more behind them. kMalformed means the stream cannot be followed any further.
ParseOutcome ParseReply(Protocol protocol, std::string_view input, Reply* reply);

/// The text protocol's `get k1 k2 …` and the RESP array header of GET/MGET: what stands before the keys of
/// a read of `count` keys. Binary has none.
void AppendGetHead(Protocol protocol, size_t count, std::string* out);
/// One key of a text or RESP read.
void AppendGetKey(Protocol protocol, std::string_view key, std::string* out);
/// What ends a read (the line end of text).
void AppendGetTail(Protocol protocol, std::string* out);
/// Text or RESP SET without flags and expiry.
void AppendSet(Protocol protocol, std::string_view key, std::string_view value, std::string* out);

/// Binary GETK or SET. The quiet forms answer only what is worth an answer (a hit, an error), so the last
/// request of a pipeline is sent loud to end it.
void AppendBinaryGet(std::string_view key, uint32_t opaque, bool quiet, std::string* out);
/// GET_REPLICA: a read that a replica answers.
void AppendBinaryGetReplica(std::string_view key, uint32_t opaque, std::string* out);
void AppendBinarySet(std::string_view key, std::string_view value, uint32_t opaque, bool quiet,
                     std::string* out);

}  // namespace cairn::loadgen
