#include "cli/records.h"

#include <fmt/format.h>

#include <array>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/types.h"
#include "cli/format.h"
#include "cli/json.h"

namespace cairn::cli {
namespace {

constexpr std::array<std::pair<std::string_view, RecordFormat>, 3> kFormats = {{
    {"debian", RecordFormat::kDebian},
    {"tsv", RecordFormat::kTsv},
    {"jsonl", RecordFormat::kJsonl},
}};

// Bytes that may stand in a TSV field only as an escape, and the letters that stand for them.
constexpr std::string_view kTsvBytes("\n\t\r\0\\", 5);
constexpr std::string_view kTsvLetters = "ntr0\\";

std::string_view TrimBlanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

bool EqualsIgnoringCase(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const char c = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] | 0x20) : a[i];
    if (c != lower[i]) return false;
  }
  return true;
}

// deb822: fields "Name: text", continuation lines begin with a blank, an empty line ends the stanza.
class DebianParser final : public RecordParser {
 protected:
  Outcome OnLine(std::string_view line) override {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (TrimBlanks(line).empty()) return EndStanza();
    if (value_.empty()) first_line_ = line_number();
    const size_t colon = line.find(':');
    if (line[0] != ' ' && line[0] != '\t' && colon != std::string_view::npos &&
        EqualsIgnoringCase(line.substr(0, colon), "package")) {
      key_ = TrimBlanks(line.substr(colon + 1));
    }
    if (value_.size() + line.size() >= kRecordBytesMax) {
      too_long_ = true;
      return std::nullopt;
    }
    if (!value_.empty()) value_.push_back('\n');
    value_.append(line);
    return std::nullopt;
  }

  Outcome OnEnd() override { return EndStanza(); }

 private:
  Outcome EndStanza() {
    if (value_.empty()) return std::nullopt;
    Record record{std::exchange(key_, {}), std::exchange(value_, {}), {}, {}};
    if (std::exchange(too_long_, false)) return ErrorAt(first_line_, "the stanza is too long");
    if (record.key.empty()) return ErrorAt(first_line_, "the stanza has no field Package");
    return Checked(std::move(record), first_line_);
  }

  std::string key_;
  std::string value_;
  uint64_t first_line_ = 0;
  bool too_long_ = false;
};

class TsvParser final : public RecordParser {
 protected:
  Outcome OnLine(std::string_view line) override {
    if (line.empty()) return std::nullopt;
    std::vector<std::string_view> cells;
    for (size_t begin = 0; begin <= line.size();) {
      const size_t tab = std::min(line.find('\t', begin), line.size());
      cells.push_back(line.substr(begin, tab - begin));
      begin = tab + 1;
    }
    if (cells.size() < 2 || cells.size() > 4) {
      return ErrorAt(line_number(),
                     fmt::format("{} columns, not key TAB value [TAB flags [TAB expiry]]", cells.size()));
    }
    Record record;
    Result<std::string> key = TsvUnescape(cells[0]);
    Result<std::string> value = TsvUnescape(cells[1]);
    for (const auto* cell : {&key, &value}) {
      if (!cell->ok()) return ErrorAt(line_number(), cell->status().message());
    }
    record.key = std::move(*key);
    record.value = std::move(*value);
    if (cells.size() > 2 && !(record.flags = ParseU32(cells[2]))) {
      return ErrorAt(line_number(), "the third column (flags) is no 32-bit number");
    }
    if (cells.size() > 3 && !(record.expiry = ParseU32(cells[3]))) {
      return ErrorAt(line_number(), "the fourth column (expiry) is no 32-bit number");
    }
    return Checked(std::move(record), line_number());
  }
};

class JsonlParser final : public RecordParser {
 protected:
  Outcome OnLine(std::string_view line) override {
    if (TrimBlanks(line).empty()) return std::nullopt;
    Result<std::vector<JsonField>> fields = ParseFlatObject(line);
    if (!fields.ok()) return ErrorAt(line_number(), fields.status().message());
    Record record;
    bool has_value = false;
    for (JsonField& field : *fields) {
      const Status status = Take(std::move(field), &record, &has_value);
      if (!status.ok()) return ErrorAt(line_number(), status.message());
    }
    if (!has_value) return ErrorAt(line_number(), "no \"value\"");
    return Checked(std::move(record), line_number());
  }

 private:
  static Status Take(JsonField field, Record* record, bool* has_value) {
    const auto bad = [&field](std::string_view wanted) {
      return Status(Code::kInvalidArgument, fmt::format("\"{}\" must be {}", field.name, wanted));
    };
    const bool is_key = field.name == "key" || field.name == "key_base64";
    const bool is_value = field.name == "value" || field.name == "value_base64";
    if (is_key || is_value) {
      if (!field.is_string) return bad("a string");
      if (field.name.ends_with("_base64")) {
        Result<std::string> bytes = Base64Decode(field.text);
        if (!bytes.ok()) return bad("base64");
        field.text = std::move(*bytes);
      }
      (is_key ? record->key : record->value) = std::move(field.text);
      *has_value |= is_value;
    } else if (field.name == "flags" || field.name == "expiry") {
      const std::optional<uint32_t> number = field.is_string ? std::nullopt : ParseU32(field.text);
      if (!number) return bad("a 32-bit number");
      (field.name == "flags" ? record->flags : record->expiry) = number;
    }
    return Status::Ok();
  }
};

}  // namespace

std::optional<RecordFormat> ParseRecordFormat(std::string_view name) {
  for (const auto& [known, format] : kFormats) {
    if (name == known) return format;
  }
  return std::nullopt;
}

std::unique_ptr<RecordParser> RecordParser::Make(RecordFormat format) {
  switch (format) {
    case RecordFormat::kDebian:
      return std::make_unique<DebianParser>();
    case RecordFormat::kTsv:
      return std::make_unique<TsvParser>();
    case RecordFormat::kJsonl:
      return std::make_unique<JsonlParser>();
  }
  CAIRN_CHECK(false && "unknown format");
  return nullptr;
}

void RecordParser::Feed(std::string_view bytes) {
  // What was taken is dropped here and not per line, so that a line costs no move of the rest.
  buffer_.erase(0, at_);
  searched_ -= at_;
  at_ = 0;
  buffer_.append(bytes);
}

std::optional<std::string_view> RecordParser::NextLine(bool* too_long) {
  *too_long = false;
  const size_t newline = buffer_.find('\n', searched_);
  const bool complete = newline != std::string::npos;
  const size_t end = complete ? newline : buffer_.size();
  if (end - at_ > kRecordBytesMax) skipping_ = true;
  if (!complete && !finished_) {
    if (skipping_) at_ = buffer_.size();  // only the line's end still matters
    searched_ = buffer_.size();
    return std::nullopt;
  }
  if (!complete && at_ == end && !skipping_) return std::nullopt;
  const std::string_view line(buffer_.data() + at_, end - at_);
  at_ = searched_ = complete ? end + 1 : end;
  ++line_number_;
  *too_long = std::exchange(skipping_, false);
  return line;
}

std::optional<Result<Record>> RecordParser::Next() {
  bool too_long = false;
  while (const std::optional<std::string_view> line = NextLine(&too_long)) {
    if (too_long) return ErrorAt(line_number_, "the line is too long");
    Outcome outcome = OnLine(*line);
    if (outcome) return outcome;
  }
  if (!finished_ || std::exchange(ended_, true)) return std::nullopt;
  return OnEnd();
}

Result<Record> RecordParser::Checked(Record record, uint64_t line) {
  if (record.key.empty()) return ErrorAt(line, "no key");
  if (record.key.size() > kKeySizeMax) {
    return ErrorAt(line, fmt::format("a key of {} bytes (at most {})", record.key.size(), kKeySizeMax));
  }
  return record;
}

Status RecordParser::ErrorAt(uint64_t line, std::string_view what) {
  return Status(Code::kInvalidArgument, fmt::format("line {}: {}", line, what));
}

std::string TsvEscape(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (const char c : bytes) {
    const size_t index = kTsvBytes.find(c);
    if (index != std::string_view::npos) out.push_back('\\');
    out.push_back(index == std::string_view::npos ? c : kTsvLetters[index]);
  }
  return out;
}

Result<std::string> TsvUnescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out.push_back(text[i]);
      continue;
    }
    const size_t index = ++i < text.size() ? kTsvLetters.find(text[i]) : std::string_view::npos;
    if (index == std::string_view::npos) {
      return Status(Code::kInvalidArgument, "a backslash may only be followed by n, t, r, 0 or \\");
    }
    out.push_back(kTsvBytes[index]);
  }
  return out;
}

void AppendRecord(RecordFormat format, const Record& record, std::string* out) {
  CAIRN_CHECK(format != RecordFormat::kDebian);
  const uint32_t flags = record.flags.value_or(0);
  const uint32_t expiry = record.expiry.value_or(0);
  if (format == RecordFormat::kTsv) {
    *out += TsvEscape(record.key) + '\t' + TsvEscape(record.value);
    if (flags != 0 || expiry != 0) *out += fmt::format("\t{}", flags);
    if (expiry != 0) *out += fmt::format("\t{}", expiry);
  } else {
    JsonWriter json;
    json.BeginObject().Bytes("key", record.key).Bytes("value", record.value);
    if (flags != 0) json.Name("flags").Number(flags);
    if (expiry != 0) json.Name("expiry").Number(expiry);
    *out += json.EndObject().text();
  }
  out->push_back('\n');
}

}  // namespace cairn::cli
