#pragma once
// As much JSON as cairnctl needs: a writer for its --json output, and a reader for one flat object per
// line (`load --format jsonl`). Bytes that are no UTF-8 cannot stand in JSON; callers ask IsUtf8 and
// write base64 instead. Pure.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace cairn::cli {

/// Length (1–4) of the well-formed UTF-8 sequence (RFC 3629) that `bytes` begins with, 0 when there is none.
size_t Utf8Length(std::string_view bytes);
bool IsUtf8(std::string_view bytes);

std::string Base64Encode(std::string_view bytes);
/// Standard alphabet with padding (RFC 4648); INVALID_ARGUMENT otherwise.
Result<std::string> Base64Decode(std::string_view text);

/// Writes values one after another and places commas and colons itself. Objects and arrays must be closed
/// in order; the caller sees to it that names and values alternate.
class JsonWriter {
 public:
  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  JsonWriter& Name(std::string_view name);
  /// Bytes that are no UTF-8 become U+FFFD.
  JsonWriter& String(std::string_view text);
  JsonWriter& Number(uint64_t value);
  /// `decimals` digits after the point.
  JsonWriter& Decimal(double value, int decimals);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  /// A statistic's text: as a number when it is a plain unsigned one of at most 2^53, else as a string.
  JsonWriter& Auto(std::string_view text);
  /// `name` and the bytes, or `name_base64` and their base64 form when they are no UTF-8.
  JsonWriter& Bytes(std::string_view name, std::string_view bytes);
  const std::string& text() const { return out_; }

 private:
  void Separate();

  std::string out_;
  bool comma_ = false;
};

/// A field of a flat object: a string's bytes, or the text of a number, true, false or null.
struct JsonField {
  std::string name;
  std::string text;
  bool is_string = false;
};

/// Reads one object whose values are no objects or arrays. INVALID_ARGUMENT says what is wrong and where.
Result<std::vector<JsonField>> ParseFlatObject(std::string_view line);

}  // namespace cairn::cli
