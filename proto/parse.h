#pragma once
// What the text and binary parsers have in common: limits, and the outcome of one attempt to take a
// request off the front of a buffer. Both parsers are pure functions over bytes: they copy nothing, keep
// no state between calls and never look at a byte behind the request they return. Any thread.

#include <cstddef>
#include <cstdint>

namespace cairn::proto {

/// What a connection accepts. All in bytes.
struct Limits {
  size_t line_bytes_max = 2048;                // text: a command line, terminator included
  size_t multiget_line_bytes_max = 64u << 10;  // text: a get, gets, gat or gats line
  size_t value_bytes_max = 1u << 20;           // a value, in both protocols
};

enum class ParseState : uint8_t {
  kOk,        // the request is complete; `bytes` were consumed
  kNeedMore,  // call again when the buffer holds `bytes` in all (always more than it holds now)
  kTooLarge,  // the value is above the limit: answer so, then skip `bytes` (may exceed the buffer)
  kInvalid,   // malformed, but its end is known: answer the error, then skip `bytes` (may exceed the buffer)
  kUnknown,   // binary: no such opcode: answer 0x81, then skip `bytes` (may exceed the buffer)
  kClose,     // the end of the request cannot be known, or the peer is no client: close the connection
};

/// `bytes` counts from the start of the buffer; it is 0 for kClose. Skipping is exact: the next request
/// starts behind those bytes. A caller that does not want to read so much only to drop it closes instead.
struct ParseOutcome {
  ParseState state;
  size_t bytes;
};

enum class Protocol : uint8_t { kText, kBinary };

/// Which protocol a connection speaks, from the first byte it sent.
constexpr Protocol SniffProtocol(char first_byte) {
  const auto byte = static_cast<uint8_t>(first_byte);
  return byte == 0x80 || byte == 0x08 ? Protocol::kBinary : Protocol::kText;
}

/// An expiry time as clients send it → seconds since the Unix epoch as items keep it: 0 is never,
/// a negative one has passed already, up to 30 days counts from now, more is absolute (memcached's
/// protocol.txt, "Expiration times"). The answer is 0 only for never.
uint32_t AbsoluteExpiry(int64_t exptime, uint32_t now_unix_seconds);

}  // namespace cairn::proto
