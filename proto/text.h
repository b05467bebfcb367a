#pragma once
// memcached's text protocol (protocol.txt in memcached's tree; grammar and deviations in docs/protocol.md).
// Lines and corner cases are those of memcached 1.6.18, compared line by line in tests/proto.
//
// ParseText looks at a line once and copies nothing. A storage command whose line is complete but whose
// data is not answers kNeedMore with the exact total, so that the caller waits for that many bytes and does
// not parse the line over and over.

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "proto/out_buffer.h"
#include "proto/parse.h"

namespace cairn::proto {

enum class TextCommand : uint8_t {
  kGet,
  kGets,
  kGat,
  kGats,  // retrieval
  kSet,
  kAdd,
  kReplace,
  kAppend,
  kPrepend,
  kCas,  // storage
  kDelete,
  kIncr,
  kDecr,
  kTouch,
  kFlushAll,
  kVersion,
  kVerbosity,
  kStats,
  kQuit,
  kShutdown,
  kLruCrawler,
  kOnlineUpdate,
};
/// "get"
std::string_view TextCommandName(TextCommand command);

enum class UpdateAction : uint8_t { kStart, kComplete, kRevert, kStatus };

/// One request; views into the parser's input. Only the fields that the command has are set, the others
/// keep what they held before.
struct TextRequest {
  TextCommand command{};
  bool noreply = false;
  UpdateAction action{};   // online_update
  uint32_t flags = 0;      // storage
  uint32_t level = 0;      // verbosity
  int64_t exptime = 0;     // storage, touch, gat, gats, flush_all; as sent: see AbsoluteExpiry
  uint64_t cas = 0;        // cas
  uint64_t delta = 0;      // incr, decr
  std::string_view key;    // the (first) key
  std::string_view rest;   // retrieval: the keys after the first, for TextKeys
  std::string_view value;  // storage: the data block
  /// stats: everything after the word ("", "items", "detail on"). lru_crawler: the same. online_update: the
  /// name (start) or the update id in hexadecimal (complete, revert), empty when not given. shutdown: its
  /// mode.
  std::string_view argument;
  /// kInvalid, kTooLarge, kClose: the whole line to answer, "\r\n" included; empty: answer nothing (the
  /// client said noreply and memcached keeps silent there too, or there is nobody to answer).
  std::string_view error;
};

/// The keys of a retrieval command, first one included. The parser has checked them all.
class TextKeys {
 public:
  explicit TextKeys(const TextRequest& request) : next_(request.key), rest_(request.rest) {}
  /// False when there are no more.
  bool Next(std::string_view* key);

 private:
  std::string_view next_;
  std::string_view rest_;
};

/// Takes one request off the front of `in`. kTooLarge sets command and key too: memcached drops the old
/// value of a `set` that it refuses, so that no stale one stays.
ParseOutcome ParseText(std::string_view in, const Limits& limits, TextRequest* request);

// Answers, whole lines.
namespace line {
inline constexpr std::string_view kStored = "STORED\r\n";
inline constexpr std::string_view kNotStored = "NOT_STORED\r\n";
inline constexpr std::string_view kExists = "EXISTS\r\n";
inline constexpr std::string_view kNotFound = "NOT_FOUND\r\n";
inline constexpr std::string_view kDeleted = "DELETED\r\n";
inline constexpr std::string_view kTouched = "TOUCHED\r\n";
inline constexpr std::string_view kOk = "OK\r\n";
inline constexpr std::string_view kReset = "RESET\r\n";
inline constexpr std::string_view kEnd = "END\r\n";
inline constexpr std::string_view kError = "ERROR\r\n";
inline constexpr std::string_view kBadLine = "CLIENT_ERROR bad command line format\r\n";
inline constexpr std::string_view kBadChunk = "CLIENT_ERROR bad data chunk\r\n";
inline constexpr std::string_view kBadDelta = "CLIENT_ERROR invalid numeric delta argument\r\n";
inline constexpr std::string_view kBadExptime = "CLIENT_ERROR invalid exptime argument\r\n";
inline constexpr std::string_view kNonNumeric =
    "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
inline constexpr std::string_view kLineTooLong = "CLIENT_ERROR line too long\r\n";
inline constexpr std::string_view kTooLarge = "SERVER_ERROR object too large for cache\r\n";
inline constexpr std::string_view kOutOfMemory = "SERVER_ERROR out of memory storing object\r\n";
}  // namespace line

/// The line that answers an engine's code where no command-specific line exists.
std::string_view TextLineOf(Code code);

/// Appends "VALUE key flags size\r\n" value "\r\n"; the caller ends the list with line::kEnd.
void AppendTextValue(std::string_view key, uint32_t flags, std::string_view value, OutBuffer* out);
/// The same with the CAS behind the size (gets, gats).
void AppendTextValueCas(std::string_view key, uint32_t flags, std::string_view value, uint64_t cas,
                        OutBuffer* out);
/// Appends "STAT name value\r\n".
void AppendTextStat(std::string_view name, std::string_view value, OutBuffer* out);
/// Appends a number and "\r\n" (incr, decr).
void AppendTextNumber(uint64_t number, OutBuffer* out);

}  // namespace cairn::proto
