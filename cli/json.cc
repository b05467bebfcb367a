#include "cli/json.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "cli/format.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void AppendUtf8(uint32_t code_point, std::string* out) {
  const auto put = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | code_point >> 6);
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3f));
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
}

void AppendQuoted(std::string_view text, std::string* out) {
  out->push_back('"');
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      *out += "\\ufffd";
    } else if (first == '"' || first == '\\') {
      out->push_back('\\');
      out->push_back(text[0]);
    } else if (first == '\n') {
      *out += "\\n";
    } else if (first == '\t') {
      *out += "\\t";
    } else if (first < 0x20 || first == 0x7f) {
      *out += fmt::format("\\u{:04x}", first);
    } else {
      out->append(text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out->push_back('"');
}

// A cursor over one line. Every method leaves at_ behind what it has read, or sets an error.
class FlatObjectReader {
 public:
  explicit FlatObjectReader(std::string_view text) : text_(text) {}

  Result<std::vector<JsonField>> Read() {
    std::vector<JsonField> fields;
    CAIRN_RETURN_IF_ERROR(Expect('{'));
    SkipBlanks();
    if (!Take('}')) {
      do {
        JsonField field;
        SkipBlanks();
        CAIRN_RETURN_IF_ERROR(ReadString(&field.name));
        CAIRN_RETURN_IF_ERROR(Expect(':'));
        CAIRN_RETURN_IF_ERROR(ReadValue(&field));
        fields.push_back(std::move(field));
        SkipBlanks();
      } while (Take(','));
      CAIRN_RETURN_IF_ERROR(Expect('}'));
    }
    SkipBlanks();
    if (at_ != text_.size()) return Error("text after the object");
    return fields;
  }

 private:
  Status Error(std::string_view what) const {
    return Status(Code::kInvalidArgument, fmt::format("{} at column {}", what, at_ + 1));
  }
  void SkipBlanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }
  bool Take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Status Expect(char c) {
    SkipBlanks();
    return Take(c) ? Status::Ok() : Error(fmt::format("'{}' expected", c));
  }

  Status ReadValue(JsonField* field) {
    SkipBlanks();
    if (at_ < text_.size() && text_[at_] == '"') {
      field->is_string = true;
      return ReadString(&field->text);
    }
    const size_t end = text_.find_first_of(",}{[]: \t\r\"", at_);
    const std::string_view word = text_.substr(at_, end == std::string_view::npos ? end : end - at_);
    if (word.empty()) return Error("a string, number, true, false or null expected");
    const bool number = word.find_first_not_of("+-.0123456789eE") == std::string_view::npos;
    if (!number && word != "true" && word != "false" && word != "null") return Error("unknown word");
    field->text = word;
    at_ += word.size();
    return Status::Ok();
  }

  Status ReadString(std::string* out) {
    if (!Take('"')) return Error("'\"' expected");
    while (true) {
      const size_t stop = text_.find_first_of("\"\\", at_);
      if (stop == std::string_view::npos) return Error("string without an end");
      out->append(text_.substr(at_, stop - at_));
      at_ = stop + 1;
      if (text_[stop] == '"') return Status::Ok();
      CAIRN_RETURN_IF_ERROR(ReadEscape(out));
    }
  }

  Status ReadEscape(std::string* out) {
    if (at_ == text_.size()) return Error("string without an end");
    const char c = text_[at_++];
    constexpr std::string_view kFrom = "\"\\/bfnrt";
    constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
    if (const size_t index = kFrom.find(c); index != std::string_view::npos) {
      out->push_back(kTo[index]);
      return Status::Ok();
    }
    if (c != 'u') return Error("unknown escape");
    CAIRN_ASSIGN_OR_RETURN(uint32_t code_point, ReadHex4());
    if (code_point >= 0xdc00 && code_point < 0xe000) return Error("second half of a surrogate pair alone");
    if (code_point >= 0xd800 && code_point < 0xdc00) {
      if (!Take('\\') || !Take('u')) return Error("first half of a surrogate pair alone");
      CAIRN_ASSIGN_OR_RETURN(const uint32_t low, ReadHex4());
      if (low < 0xdc00 || low >= 0xe000) return Error("first half of a surrogate pair alone");
      code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
    }
    AppendUtf8(code_point, out);
    return Status::Ok();
  }

  Result<uint32_t> ReadHex4() {
    if (text_.size() - at_ < 4) return Error("four hexadecimal digits expected");
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = text_[at_++];
      const char lower = static_cast<char>(c | 0x20);
      uint32_t digit = 0;
      if (c >= '0' && c <= '9') {
        digit = static_cast<uint32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        digit = static_cast<uint32_t>(lower - 'a' + 10);
      } else {
        return Error("four hexadecimal digits expected");
      }
      value = value * 16 + digit;
    }
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

size_t Utf8Length(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.empty()) return 0;
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;
  if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
  return length;
}

bool IsUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = Utf8Length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string Base64Encode(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - at);
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) {
      group = group << 8 | (i < n ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    }
    for (size_t i = 0; i < 4; ++i) {
      out.push_back(i <= n ? kAlphabet[group >> (18 - 6 * i) & 0x3f] : '=');
    }
  }
  return out;
}

Result<std::string> Base64Decode(std::string_view text) {
  const Status bad(Code::kInvalidArgument, "not base64 (RFC 4648, with padding)");
  if (text.size() % 4 != 0) return bad;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (size_t at = 0; at < text.size(); at += 4) {
    const bool last = at + 4 == text.size();
    const size_t padding = !last || text[at + 3] != '=' ? 0 : text[at + 2] != '=' ? 1 : 2;
    uint32_t group = 0;
    for (size_t i = 0; i < 4; ++i) {
      const size_t digit = i + padding >= 4 ? 0 : kAlphabet.find(text[at + i]);
      if (digit == std::string_view::npos) return bad;
      group = group << 6 | static_cast<uint32_t>(digit);
    }
    for (size_t i = 0; i < 3 - padding; ++i) {
      out.push_back(static_cast<char>(group >> (16 - 8 * i) & 0xff));
    }
  }
  return out;
}

void JsonWriter::Separate() {
  if (comma_) out_.push_back(',');
  comma_ = true;
}

JsonWriter& JsonWriter::BeginObject() {
  Separate();
  out_.push_back('{');
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::EndObject() {
  out_.push_back('}');
  comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::BeginArray() {
  Separate();
  out_.push_back('[');
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::EndArray() {
  out_.push_back(']');
  comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Name(std::string_view name) {
  Separate();
  AppendQuoted(name, &out_);
  out_.push_back(':');
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view text) {
  Separate();
  AppendQuoted(text, &out_);
  return *this;
}

JsonWriter& JsonWriter::Number(uint64_t value) {
  Separate();
  out_ += std::to_string(value);
  return *this;
}

JsonWriter& JsonWriter::Decimal(double value, int decimals) {
  Separate();
  out_ += fmt::format("{:.{}f}", value, decimals);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) {
  Separate();
  out_ += value ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::Null() {
  Separate();
  out_ += "null";
  return *this;
}

JsonWriter& JsonWriter::Auto(std::string_view text) {
  const std::optional<uint64_t> number = ParseU64(text);
  // Readers keep numbers as doubles: above 2^53 they would lose digits. "007" is no number but a text.
  const bool plain = number && *number <= uint64_t{1} << 53 && (text.size() == 1 || text[0] != '0');
  return plain ? Number(*number) : String(text);
}

JsonWriter& JsonWriter::Bytes(std::string_view name, std::string_view bytes) {
  if (IsUtf8(bytes)) return Name(name).String(bytes);
  return Name(std::string(name) + "_base64").String(Base64Encode(bytes));
}

Result<std::vector<JsonField>> ParseFlatObject(std::string_view line) {
  return FlatObjectReader(line).Read();
}

}  // namespace cairn::cli
