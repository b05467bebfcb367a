#pragma once
// Files of keys and values: parsers and writers of the formats of `cairnctl load`, `verify` and `dump`.
//
//   debian  a Debian package index (deb822 paragraphs): the key is the field Package, the value the whole
//           stanza with its lines as they are, without the empty line that ends it
//   tsv     one record per line: key TAB value [TAB flags [TAB expiry]], with \n \t \r \0 \\ for those bytes
//   jsonl   one object per line: "key", "value", and perhaps "flags", "expiry"; "key_base64" and
//           "value_base64" hold what is no UTF-8; other fields are ignored
//
// Pure and incremental: bytes go in with Feed, records come out of Next. One thread at a time.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace cairn::cli {

enum class RecordFormat : uint8_t { kDebian, kTsv, kJsonl };

/// By name ("debian", "tsv", "jsonl"); nothing for another.
std::optional<RecordFormat> ParseRecordFormat(std::string_view name);

struct Record {
  std::string key;  // 1 … 250 bytes
  std::string value;
  std::optional<uint32_t> flags;   // none: the file does not say
  std::optional<uint32_t> expiry;  // as the protocol has it: 0 never, to 30 days from now, else Unix time
};

/// The longest line or stanza that is taken, in bytes: the largest value with every byte escaped.
inline constexpr size_t kRecordBytesMax = size_t{128} << 20;

class RecordParser {
 public:
  virtual ~RecordParser() = default;
  static std::unique_ptr<RecordParser> Make(RecordFormat format);

  /// Adds bytes of the file.
  void Feed(std::string_view bytes);
  /// No more bytes will come: a last line without a newline is complete now.
  void Finish() { finished_ = true; }
  /// The next record, or the error of the next bad one (INVALID_ARGUMENT with its line; parsing goes on
  /// behind it). Nothing: more bytes are needed, or the file is at its end after Finish.
  std::optional<Result<Record>> Next();

 protected:
  using Outcome = std::optional<Result<Record>>;
  /// One line without its newline. Nothing: no record ends here.
  virtual Outcome OnLine(std::string_view line) = 0;
  /// The end of the file.
  virtual Outcome OnEnd() { return std::nullopt; }

  /// Checks the key's size; the record, or an error that names `line`.
  static Result<Record> Checked(Record record, uint64_t line);
  static Status ErrorAt(uint64_t line, std::string_view what);
  /// Number of the line that OnLine has, from 1.
  uint64_t line_number() const { return line_number_; }

 private:
  std::optional<std::string_view> NextLine(bool* too_long);

  std::string buffer_;
  size_t at_ = 0;        // begin of the first line that was not taken yet
  size_t searched_ = 0;  // no newline before this place
  uint64_t line_number_ = 0;
  bool skipping_ = false;  // inside a line that is too long
  bool finished_ = false;
  bool ended_ = false;
};

/// \n, \t, \r, \0 and \\ for those five bytes.
std::string TsvEscape(std::string_view bytes);
/// The other way; INVALID_ARGUMENT for another escape.
Result<std::string> TsvUnescape(std::string_view text);

/// Appends the record as a line of `format`, which is kTsv or kJsonl. Flags and expiry of 0 are left out.
void AppendRecord(RecordFormat format, const Record& record, std::string* out);

}  // namespace cairn::cli
