#include "proto/text.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/types.h"
#include "proto/text_scan.h"
#include "proto/update_id.h"

namespace cairn::proto {
namespace {

constexpr std::string_view kBadDeleteLine =
    "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
constexpr std::string_view kTerminator = "\r\n";
constexpr int64_t kDataSizeMax = std::numeric_limits<int32_t>::max() - 2;  // memcached's own bound

/// A complete line, cut at its spaces.
struct Line {
  static constexpr size_t kTokensMax = 8;  // one more than the longest command has
  std::string_view in;                     // the whole input
  std::string_view text;                   // the line without its terminator
  size_t bytes;                            // the line with its terminator
  std::array<std::string_view, kTokensMax> tokens;
  size_t count = 0;      // of tokens, the command's word included; at most kTokensMax are kept
  bool noreply = false;  // the last token says so

  size_t args() const { return count - 1; }
};

ParseOutcome Done(const Line& line) { return {ParseState::kOk, line.bytes}; }

/// memcached keeps silent about the errors of a noreply command, but not about a wrong number of words.
ParseOutcome Refuse(const Line& line, std::string_view error, TextRequest* request) {
  request->error = line.noreply ? std::string_view() : error;
  return {ParseState::kInvalid, line.bytes};
}

ParseOutcome Close(std::string_view error, TextRequest* request) {
  request->error = error;
  return {ParseState::kClose, 0};
}

// Numbers as strtoull reads them, which is what memcached does: a sign is allowed, and a negative one is
// taken modulo 2^64 unless the result has the top bit set. Unlike there, blanks are no part of a number.
bool ParseUnsigned(std::string_view token, uint64_t* out) {
  const bool negative = !token.empty() && token[0] == '-';
  if (negative || (!token.empty() && token[0] == '+')) token.remove_prefix(1);
  if (token.empty()) return false;
  uint64_t value = 0;
  for (const char c : token) {
    if (c < '0' || c > '9') return false;
    if (__builtin_mul_overflow(value, 10U, &value)) return false;
    if (__builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value)) return false;
  }
  if (negative) {
    value = 0 - value;
    if (value >> 63 != 0) return false;
  }
  *out = value;
  return true;
}

bool ParseSigned(std::string_view token, int64_t* out) {
  const bool negative = !token.empty() && token[0] == '-';
  if (negative && token.size() > 1 && (token[1] == '-' || token[1] == '+')) return false;
  uint64_t magnitude = 0;
  if (!ParseUnsigned(negative ? token.substr(1) : token, &magnitude)) return false;
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  if (magnitude > kMax + (negative ? 1 : 0)) return false;
  *out = negative ? static_cast<int64_t>(0 - magnitude) : static_cast<int64_t>(magnitude);
  return true;
}

bool IsKey(std::string_view token) {
  const char* end = token.data() + token.size();
  return token.size() <= kKeySizeMax && FindKeyEnd(token.data(), token.data(), end) == end;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::string_view FirstToken(std::string_view text) {
  text = Trim(text);
  return text.substr(0, text.find(' '));
}

void Tokenize(Line* line) {
  std::string_view rest = line->text;
  std::string_view last;
  for (;;) {
    const size_t start = rest.find_first_not_of(' ');
    if (start == std::string_view::npos) break;
    rest.remove_prefix(start);
    last = rest.substr(0, rest.find(' '));
    if (line->count < Line::kTokensMax) line->tokens[line->count] = last;
    ++line->count;
    rest.remove_prefix(last.size());
  }
  line->noreply = last == "noreply";
}

// --- one function per shape of command; all expect the number of tokens to be right ---

ParseOutcome Storage(const Line& line, TextRequest* request, const Limits& limits) {
  request->noreply = line.noreply;
  request->key = line.tokens[1];
  uint64_t flags = 0;
  int64_t size = 0;
  if (!IsKey(line.tokens[1]) || !ParseUnsigned(line.tokens[2], &flags) ||
      !ParseSigned(line.tokens[3], &request->exptime) || !ParseSigned(line.tokens[4], &size) || size < 0 ||
      size > kDataSizeMax) {
    return Refuse(line, line::kBadLine, request);
  }
  if (request->command == TextCommand::kCas && !ParseUnsigned(line.tokens[5], &request->cas)) {
    return Refuse(line, line::kBadLine, request);
  }
  request->flags = static_cast<uint32_t>(flags);  // modulo 2^32, as memcached takes it
  const auto value_size = static_cast<size_t>(size);
  const size_t total = line.bytes + value_size + kTerminator.size();
  if (value_size > limits.value_bytes_max) {
    request->error = line.noreply ? std::string_view() : line::kTooLarge;
    return {ParseState::kTooLarge, total};
  }
  if (line.in.size() < total) return {ParseState::kNeedMore, total};
  request->value = line.in.substr(line.bytes, value_size);
  if (line.in.substr(line.bytes + value_size, kTerminator.size()) != kTerminator) {
    request->error = line.noreply ? std::string_view() : line::kBadChunk;
    return {ParseState::kInvalid, total};
  }
  return {ParseState::kOk, total};
}

ParseOutcome Delete(const Line& line, TextRequest* request, const Limits&) {
  // `delete k 0` is what clients of the first protocol send.
  const bool zero = line.args() >= 2 && line.tokens[2] == "0";
  const bool valid = line.args() == 1 || (line.args() == 2 && (zero || line.noreply)) ||
                     (line.args() == 3 && zero && line.noreply);
  if (!valid) return Refuse(line, kBadDeleteLine, request);
  if (!IsKey(line.tokens[1])) return Refuse(line, line::kBadLine, request);
  request->noreply = line.noreply;
  request->key = line.tokens[1];
  return Done(line);
}

ParseOutcome Counter(const Line& line, TextRequest* request, const Limits&) {
  if (!IsKey(line.tokens[1])) return Refuse(line, line::kBadLine, request);
  if (!ParseUnsigned(line.tokens[2], &request->delta)) return Refuse(line, line::kBadDelta, request);
  request->noreply = line.noreply;
  request->key = line.tokens[1];
  return Done(line);
}

ParseOutcome Touch(const Line& line, TextRequest* request, const Limits&) {
  if (!IsKey(line.tokens[1])) return Refuse(line, line::kBadLine, request);
  if (!ParseSigned(line.tokens[2], &request->exptime)) return Refuse(line, line::kBadExptime, request);
  request->noreply = line.noreply;
  request->key = line.tokens[1];
  return Done(line);
}

ParseOutcome FlushAll(const Line& line, TextRequest* request, const Limits&) {
  request->noreply = line.noreply;
  request->exptime = 0;
  const size_t args_without_time = line.noreply ? 1 : 0;
  if (line.args() != args_without_time && !ParseSigned(line.tokens[1], &request->exptime)) {
    return Refuse(line, line::kBadExptime, request);
  }
  return Done(line);
}

ParseOutcome Verbosity(const Line& line, TextRequest* request, const Limits&) {
  uint64_t level = 0;
  if (!ParseUnsigned(line.tokens[1], &level)) return Refuse(line, line::kBadLine, request);
  request->noreply = line.noreply;
  request->level = static_cast<uint32_t>(level);
  return Done(line);
}

/// version, quit, stats, shutdown, lru_crawler: whatever follows is the argument.
ParseOutcome Plain(const Line& line, TextRequest* request, const Limits&) {
  request->noreply = false;
  request->argument = Trim(Trim(line.text).substr(line.tokens[0].size()));
  return Done(line);
}

ParseOutcome OnlineUpdate(const Line& line, TextRequest* request, const Limits&) {
  // Its client is told when it is done, so there is no silent form.
  request->noreply = false;
  const std::string_view word = line.tokens[1];
  const std::string_view argument = line.args() == 2 ? line.tokens[2] : std::string_view();
  bool valid = false;
  if (word == "start") {
    request->action = UpdateAction::kStart;
    valid = argument.size() <= kUpdateNameSizeMax && IsKey(argument);
  } else if (word == "status") {
    request->action = UpdateAction::kStatus;
    valid = argument.empty();
  } else if (word == "complete" || word == "revert") {
    request->action = word == "complete" ? UpdateAction::kComplete : UpdateAction::kRevert;
    valid = argument.empty() || UpdateId::FromHex(argument).has_value();
  }
  if (!valid) {
    request->error = line::kBadLine;
    return {ParseState::kInvalid, line.bytes};
  }
  request->argument = argument;
  return Done(line);
}

using Handler = ParseOutcome (*)(const Line&, TextRequest*, const Limits&);

struct Command {
  std::string_view name;
  TextCommand command;
  size_t args_min;
  size_t args_max;
  Handler handler;  // null: a retrieval command
};

constexpr size_t kAnyArgs = std::numeric_limits<size_t>::max();

constexpr std::array<Command, 22> kCommands = {{
    {"get", TextCommand::kGet, 1, kAnyArgs, nullptr},
    {"gets", TextCommand::kGets, 1, kAnyArgs, nullptr},
    {"gat", TextCommand::kGat, 1, kAnyArgs, nullptr},
    {"gats", TextCommand::kGats, 1, kAnyArgs, nullptr},
    {"set", TextCommand::kSet, 4, 5, Storage},
    {"add", TextCommand::kAdd, 4, 5, Storage},
    {"replace", TextCommand::kReplace, 4, 5, Storage},
    {"append", TextCommand::kAppend, 4, 5, Storage},
    {"prepend", TextCommand::kPrepend, 4, 5, Storage},
    {"cas", TextCommand::kCas, 5, 6, Storage},
    {"delete", TextCommand::kDelete, 1, 3, Delete},
    {"incr", TextCommand::kIncr, 2, 3, Counter},
    {"decr", TextCommand::kDecr, 2, 3, Counter},
    {"touch", TextCommand::kTouch, 2, 3, Touch},
    {"flush_all", TextCommand::kFlushAll, 0, 2, FlushAll},
    {"version", TextCommand::kVersion, 0, kAnyArgs, Plain},
    {"verbosity", TextCommand::kVerbosity, 1, 2, Verbosity},
    {"stats", TextCommand::kStats, 0, kAnyArgs, Plain},
    {"quit", TextCommand::kQuit, 0, kAnyArgs, Plain},
    {"shutdown", TextCommand::kShutdown, 0, kAnyArgs, Plain},
    {"lru_crawler", TextCommand::kLruCrawler, 1, kAnyArgs, Plain},
    {"online_update", TextCommand::kOnlineUpdate, 1, 2, OnlineUpdate},
}};

const Command* FindCommand(std::string_view word) {
  for (const Command& command : kCommands) {
    if (command.name == word) return &command;
  }
  return nullptr;
}

bool IsHttp(const Line& line) {
  static constexpr std::array<std::string_view, 9> kVerbs = {"GET",     "POST",  "PUT",   "HEAD",   "DELETE",
                                                             "OPTIONS", "PATCH", "TRACE", "CONNECT"};
  const std::string_view text = Trim(line.text);
  if (text.substr(text.rfind(' ') + 1).starts_with("HTTP/")) return true;
  return line.count >= 2 && line.tokens[1].starts_with('/') &&
         std::find(kVerbs.begin(), kVerbs.end(), line.tokens[0]) != kVerbs.end();
}

/// get, gets, gat, gats: `args` is the line behind the word. Every key is checked here, so that the whole
/// command is refused before any of its answer exists.
ParseOutcome Retrieval(const Command& command, const Line& line, std::string_view args,
                       TextRequest* request) {
  request->command = command.command;
  request->noreply = false;
  args = Trim(args);
  if (args.empty()) {
    request->error = line::kError;
    return {ParseState::kInvalid, line.bytes};
  }
  if (command.command == TextCommand::kGat || command.command == TextCommand::kGats) {
    const std::string_view token = FirstToken(args);
    if (!ParseSigned(token, &request->exptime)) return Refuse(line, line::kBadExptime, request);
    args = Trim(args.substr(token.size()));
  }
  const char* const begin = args.data();
  const char* const end = begin + args.size();
  request->key = {};
  request->rest = {};
  for (const char* p = begin; p != end;) {
    const char* key_end = FindKeyEnd(begin, p, end);
    const auto size = static_cast<size_t>(key_end - p);
    if (size > kKeySizeMax || (key_end != end && *key_end != ' ')) {
      return Refuse(line, line::kBadLine, request);
    }
    if (p == begin) {
      request->key = {p, size};
      request->rest = {key_end, static_cast<size_t>(end - key_end)};
    }
    p = key_end;
    while (p != end && *p == ' ') ++p;
  }
  return Done(line);
}

ParseOutcome ParseLine(Line* line, const Limits& limits, TextRequest* request) {
  const std::string_view word = FirstToken(line->text);
  const Command* command = FindCommand(word);
  if (command != nullptr && command->handler == nullptr) {
    const auto behind = static_cast<size_t>(word.data() + word.size() - line->text.data());
    return Retrieval(*command, *line, line->text.substr(behind), request);
  }
  Tokenize(line);
  if (command == nullptr && word.size() >= 2 && IsHttp(*line)) return Close({}, request);
  if (command == nullptr || line->args() < command->args_min || line->args() > command->args_max) {
    request->error = line::kError;
    return {ParseState::kInvalid, line->bytes};
  }
  request->command = command->command;
  return command->handler(*line, request, limits);
}

size_t FindNewline(std::string_view in, size_t within) { return in.substr(0, within).find('\n'); }

/// The general case: finds the end of the line first, then looks at its words. An incomplete line is only
/// searched for its end, by memchr, so reading a long one piece by piece costs next to nothing.
ParseOutcome ParseAnyLine(std::string_view in, const Limits& limits, TextRequest* request) {
  size_t limit = limits.line_bytes_max;
  size_t newline = FindNewline(in, limit);
  if (newline == std::string_view::npos && in.size() >= limit) {
    // The first word of a retrieval command ends within the limit, or this is none. At the very edge a
    // word that fills the input is not known to have ended.
    const std::string_view head = in.substr(0, limit);
    const std::string_view word = FirstToken(head);
    const Command* command = FindCommand(word);
    const bool multiget = command != nullptr && command->handler == nullptr &&
                          word.data() + word.size() != head.data() + head.size();
    limit = multiget ? std::max(limit, limits.multiget_line_bytes_max) : limit;
    newline = FindNewline(in, limit);
  }
  if (newline == std::string_view::npos) {
    if (in.size() >= limit) return Close(line::kLineTooLong, request);
    return {ParseState::kNeedMore, in.size() + 1};
  }
  Line line;
  line.in = in;
  line.text = in.substr(0, newline);
  line.bytes = newline + 1;
  if (line.text.ends_with('\r')) line.text.remove_suffix(1);
  return ParseLine(&line, limits, request);
}

constexpr std::string_view kNoreplyTail = " noreply\r\n";

// --- fast paths: exactly the common spelling of get and set, anything else is left to ParseAnyLine ---

constexpr ParseOutcome kNotFast = {ParseState::kClose, 0};

bool StartsWith4(std::string_view in, const char (&word)[5]) {
  return in.size() >= 4 && std::memcmp(in.data(), word, 4) == 0;
}

/// "get <key>\r\n"
bool FastGet(std::string_view in, const Limits& limits, TextRequest* request, ParseOutcome* outcome) {
  const char* const begin = in.data();
  const char* const end = begin + in.size();
  const char* const key = begin + 4;
  const char* const key_end = FindKeyEnd(begin, key, end);
  const auto key_size = static_cast<size_t>(key_end - key);
  if (end - key_end < 2 || key_end[0] != '\r' || key_end[1] != '\n') return false;
  const size_t bytes = 4 + key_size + 2;
  if (key_size == 0 || key_size > kKeySizeMax || bytes > limits.line_bytes_max) return false;
  request->command = TextCommand::kGet;
  request->noreply = false;
  request->key = {key, key_size};
  request->rest = {};
  *outcome = {ParseState::kOk, bytes};
  return true;
}

/// One to nine digits and the byte behind them, which must exist: nullptr when it is not so.
const char* FastDigits(const char* p, const char* end, uint32_t* out) {
  const char* const last = end - p > 10 ? p + 10 : end;
  const char* const begin = p;
  uint32_t value = 0;
  for (; p != last; ++p) {
    const auto digit = static_cast<uint32_t>(*p - '0');
    if (digit > 9) break;
    value = value * 10 + digit;
  }
  *out = value;
  return p == begin || p == last ? nullptr : p;
}

/// "set <key> <flags> <exptime> <size>[ noreply]\r\n<data>\r\n"
bool FastSet(std::string_view in, const Limits& limits, TextRequest* request, ParseOutcome* outcome) {
  const char* const begin = in.data();
  const char* const end = begin + in.size();
  const char* const key = begin + 4;
  const char* p = FindKeyEnd(begin, key, end);
  const auto key_size = static_cast<size_t>(p - key);
  if (key_size == 0 || key_size > kKeySizeMax || p == end || *p != ' ') return false;
  uint32_t flags = 0;
  uint32_t exptime = 0;
  uint32_t size = 0;
  if ((p = FastDigits(p + 1, end, &flags)) == nullptr || *p != ' ') return false;
  if ((p = FastDigits(p + 1, end, &exptime)) == nullptr || *p != ' ') return false;
  if ((p = FastDigits(p + 1, end, &size)) == nullptr) return false;
  const std::string_view tail(p, static_cast<size_t>(end - p));
  const bool noreply = tail.starts_with(kNoreplyTail);
  if (noreply) p += kNoreplyTail.size() - kTerminator.size();
  if (!noreply && !tail.starts_with(kTerminator)) return false;
  const auto line_bytes = static_cast<size_t>(p + 2 - begin);
  if (line_bytes > limits.line_bytes_max || size > limits.value_bytes_max) return false;
  const size_t total = line_bytes + size + kTerminator.size();
  if (in.size() < total) {
    *outcome = {ParseState::kNeedMore, total};
    return true;
  }
  const char* const value = begin + line_bytes;
  if (value[size] != '\r' || value[size + 1] != '\n') return false;
  request->command = TextCommand::kSet;
  request->noreply = noreply;
  request->flags = flags;
  request->exptime = exptime;
  request->key = {key, key_size};
  request->value = {value, size};
  *outcome = {ParseState::kOk, total};
  return true;
}

}  // namespace

std::string_view TextCommandName(TextCommand command) {
  for (const Command& known : kCommands) {
    if (known.command == command) return known.name;
  }
  return "unknown";
}

bool TextKeys::Next(std::string_view* key) {
  if (next_.empty()) return false;
  *key = next_;
  const char* p = rest_.data();
  const char* const end = p + rest_.size();
  while (p != end && *p == ' ') ++p;
  const char* const key_end = FindKeyEnd(p, p, end);
  next_ = {p, static_cast<size_t>(key_end - p)};
  rest_ = {key_end, static_cast<size_t>(end - key_end)};
  return true;
}

ParseOutcome ParseText(std::string_view in, const Limits& limits, TextRequest* request) {
  ParseOutcome outcome = kNotFast;
  if (StartsWith4(in, "get ") && FastGet(in, limits, request, &outcome)) return outcome;
  if (StartsWith4(in, "set ") && FastSet(in, limits, request, &outcome)) return outcome;
  return ParseAnyLine(in, limits, request);
}

}  // namespace cairn::proto
