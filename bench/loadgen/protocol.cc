#include "bench/loadgen/protocol.h"

#include <charconv>
#include <cstring>
#include <optional>

namespace cairn::loadgen {
namespace {

constexpr size_t kBinaryHeader = 24;
constexpr unsigned char kBinaryRequest = 0x80;
constexpr unsigned char kBinaryResponse = 0x81;
constexpr unsigned char kOpSet = 0x01;
constexpr unsigned char kOpGetK = 0x0c;
constexpr unsigned char kOpGetKQ = 0x0d;
constexpr unsigned char kOpSetQ = 0x11;
constexpr unsigned char kOpGetReplica = 0x83;

struct Line {
  ParseOutcome outcome = ParseOutcome::kNeedMore;
  std::string_view text;  // without the line end
  size_t size = 0;        // with it
};

Line CutLine(std::string_view input) {
  const size_t end = input.find('\n');
  if (end == std::string_view::npos) {
    return {input.size() > kReplyLineMax ? ParseOutcome::kMalformed : ParseOutcome::kNeedMore, {}, 0};
  }
  if (end == 0 || input[end - 1] != '\r') return {ParseOutcome::kMalformed, {}, 0};
  return {ParseOutcome::kReply, input.substr(0, end - 1), end + 1};
}

std::optional<int64_t> ParseNumber(std::string_view digits) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

// The `size` bytes behind a header of `head` bytes, and the line end behind them.
ParseOutcome CutBody(std::string_view input, size_t head, size_t size, Reply* reply) {
  if (input.size() < head + size + 2) return ParseOutcome::kNeedMore;
  if (input[head + size] != '\r' || input[head + size + 1] != '\n') return ParseOutcome::kMalformed;
  reply->kind = ReplyKind::kValue;
  reply->text = input.substr(head, size);
  reply->consumed = head + size + 2;
  return ParseOutcome::kReply;
}

// "VALUE <key> <flags> <bytes> [<cas>]"
ParseOutcome ParseTextValue(std::string_view input, const Line& line, Reply* reply) {
  std::string_view rest = line.text.substr(6);
  std::string_view fields[4];
  size_t count = 0;
  while (!rest.empty() && count < 4) {
    const size_t space = std::min(rest.find(' '), rest.size());
    fields[count++] = rest.substr(0, space);
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  if (count < 3 || !rest.empty()) return ParseOutcome::kMalformed;
  const auto size = ParseNumber(fields[2]);
  if (!size || *size < 0 || static_cast<uint64_t>(*size) > kReplyBodyMax) return ParseOutcome::kMalformed;
  reply->key = fields[0];
  return CutBody(input, line.size, static_cast<size_t>(*size), reply);
}

ParseOutcome ParseText(std::string_view input, Reply* reply) {
  const Line line = CutLine(input);
  if (line.outcome != ParseOutcome::kReply) return line.outcome;
  if (line.text.starts_with("VALUE ")) return ParseTextValue(input, line, reply);
  reply->consumed = line.size;
  reply->text = line.text;
  if (line.text == "END") {
    reply->kind = ReplyKind::kEnd;
  } else if (line.text == "STORED") {
    reply->kind = ReplyKind::kStored;
  } else {
    reply->kind = ReplyKind::kError;
  }
  return ParseOutcome::kReply;
}

uint16_t Load16(const char* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_bswap16(v);
}

uint32_t Load32(const char* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_bswap32(v);
}

ParseOutcome ParseBinary(std::string_view input, Reply* reply) {
  if (input.empty()) return ParseOutcome::kNeedMore;
  if (static_cast<unsigned char>(input[0]) != kBinaryResponse) return ParseOutcome::kMalformed;
  if (input.size() < kBinaryHeader) return ParseOutcome::kNeedMore;
  const auto opcode = static_cast<unsigned char>(input[1]);
  const size_t key_size = Load16(input.data() + 2);
  const size_t extras_size = static_cast<unsigned char>(input[4]);
  const uint16_t status = Load16(input.data() + 6);
  const size_t body_size = Load32(input.data() + 8);
  if (body_size > kReplyBodyMax || key_size + extras_size > body_size) return ParseOutcome::kMalformed;
  if (input.size() < kBinaryHeader + body_size) return ParseOutcome::kNeedMore;
  reply->opaque = Load32(input.data() + 12);
  reply->consumed = kBinaryHeader + body_size;
  reply->text = input.substr(kBinaryHeader + extras_size + key_size, body_size - extras_size - key_size);
  reply->key = input.substr(kBinaryHeader + extras_size, key_size);
  const bool is_get = opcode == kOpGetK || opcode == kOpGetKQ || opcode == kOpGetReplica;
  if (status == 0) {
    reply->kind = is_get ? ReplyKind::kValue : ReplyKind::kStored;
  } else if (status == 1 && is_get) {
    reply->kind = ReplyKind::kMiss;
  } else {
    reply->kind = ReplyKind::kError;
  }
  return ParseOutcome::kReply;
}

ParseOutcome ParseResp(std::string_view input, Reply* reply) {
  const Line line = CutLine(input);
  if (line.outcome != ParseOutcome::kReply) return line.outcome;
  if (line.text.empty()) return ParseOutcome::kMalformed;
  const std::string_view rest = line.text.substr(1);
  reply->consumed = line.size;
  reply->text = rest;
  switch (line.text[0]) {
    case '+':
      reply->kind = rest == "OK" ? ReplyKind::kStored : ReplyKind::kError;
      return ParseOutcome::kReply;
    case '-':
      reply->kind = ReplyKind::kError;
      return ParseOutcome::kReply;
    case '$':
    case '*':
      break;
    default:
      return ParseOutcome::kMalformed;
  }
  const auto size = ParseNumber(rest);
  if (!size || *size < -1 || *size > static_cast<int64_t>(kReplyBodyMax)) return ParseOutcome::kMalformed;
  if (*size == -1) {
    reply->kind = ReplyKind::kMiss;
    return ParseOutcome::kReply;
  }
  if (line.text[0] == '$') return CutBody(input, line.size, static_cast<size_t>(*size), reply);
  reply->kind = ReplyKind::kArray;
  reply->array_size = static_cast<size_t>(*size);
  return ParseOutcome::kReply;
}

void AppendNumber(size_t n, std::string* out) {
  char digits[20];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), n);
  out->append(digits, end);
}

void AppendBulk(std::string_view bytes, std::string* out) {
  out->push_back('$');
  AppendNumber(bytes.size(), out);
  out->append("\r\n");
  out->append(bytes);
  out->append("\r\n");
}

struct BinaryHeader {
  unsigned char opcode;
  size_t key_size;
  size_t extras_size;
  size_t value_size;
  uint32_t opaque;
};

void AppendBinaryHeader(const BinaryHeader& header, std::string* out) {
  char bytes[kBinaryHeader] = {};
  bytes[0] = static_cast<char>(kBinaryRequest);
  bytes[1] = static_cast<char>(header.opcode);
  const uint16_t key_size = __builtin_bswap16(static_cast<uint16_t>(header.key_size));
  const size_t body = header.key_size + header.extras_size + header.value_size;
  const uint32_t body_size = __builtin_bswap32(static_cast<uint32_t>(body));
  const uint32_t opaque = __builtin_bswap32(header.opaque);
  std::memcpy(bytes + 2, &key_size, sizeof(key_size));
  bytes[4] = static_cast<char>(header.extras_size);
  std::memcpy(bytes + 8, &body_size, sizeof(body_size));
  std::memcpy(bytes + 12, &opaque, sizeof(opaque));
  out->append(bytes, sizeof(bytes));
}

}  // namespace

ParseOutcome ParseReply(Protocol protocol, std::string_view input, Reply* reply) {
  *reply = Reply{};
  switch (protocol) {
    case Protocol::kText:
      return ParseText(input, reply);
    case Protocol::kBinary:
      return ParseBinary(input, reply);
    case Protocol::kResp:
      return ParseResp(input, reply);
  }
  return ParseOutcome::kMalformed;
}

void AppendGetHead(Protocol protocol, size_t count, std::string* out) {
  if (protocol == Protocol::kText) {
    out->append("get");
    return;
  }
  out->push_back('*');
  AppendNumber(count + 1, out);
  out->append(count == 1 ? "\r\n$3\r\nGET\r\n" : "\r\n$4\r\nMGET\r\n");
}

void AppendGetKey(Protocol protocol, std::string_view key, std::string* out) {
  if (protocol == Protocol::kText) {
    out->push_back(' ');
    out->append(key);
    return;
  }
  AppendBulk(key, out);
}

void AppendGetTail(Protocol protocol, std::string* out) {
  if (protocol == Protocol::kText) out->append("\r\n");
}

void AppendSet(Protocol protocol, std::string_view key, std::string_view value, std::string* out) {
  if (protocol == Protocol::kResp) {
    out->append("*3\r\n$3\r\nSET\r\n");
    AppendBulk(key, out);
    AppendBulk(value, out);
    return;
  }
  out->append("set ");
  out->append(key);
  out->append(" 0 0 ");
  AppendNumber(value.size(), out);
  out->append("\r\n");
  out->append(value);
  out->append("\r\n");
}

void AppendBinaryGet(std::string_view key, uint32_t opaque, bool quiet, std::string* out) {
  AppendBinaryHeader({quiet ? kOpGetKQ : kOpGetK, key.size(), 0, 0, opaque}, out);
  out->append(key);
}

void AppendBinaryGetReplica(std::string_view key, uint32_t opaque, std::string* out) {
  AppendBinaryHeader({kOpGetReplica, key.size(), 0, 0, opaque}, out);
  out->append(key);
}

void AppendBinarySet(std::string_view key, std::string_view value, uint32_t opaque, bool quiet,
                     std::string* out) {
  constexpr size_t kFlagsAndExpiry = 8;
  AppendBinaryHeader({quiet ? kOpSetQ : kOpSet, key.size(), kFlagsAndExpiry, value.size(), opaque}, out);
  out->append(kFlagsAndExpiry, '\0');
  out->append(key);
  out->append(value);
}

}  // namespace cairn::loadgen
