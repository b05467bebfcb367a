#pragma once
// Reading local files and standard input, in pieces. Errors are INVALID_ARGUMENT with the file's name: they
// end the command as wrong usage. One thread.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "cli/records.h"

namespace cairn::cli {

class Input {
 public:
  /// "-" is standard input.
  static Result<std::unique_ptr<Input>> Open(const std::string& file);
  ~Input();
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  /// The next bytes, empty at the end. Valid until the next call.
  Result<std::string_view> Read();
  /// Of a regular file, in bytes; 0 when it cannot be known.
  uint64_t size() const { return size_; }
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  Input(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  int fd_;
  std::string name_;
  uint64_t size_ = 0;
  uint64_t bytes_read_ = 0;
  std::string buffer_;
};

/// A whole file of at most `bytes_max`.
Result<std::string> ReadAll(const std::string& file, size_t bytes_max);

/// The records of a file, one after another.
class RecordFile {
 public:
  static Result<std::unique_ptr<RecordFile>> Open(const std::string& file, RecordFormat format);

  /// What Next found.
  enum class Kind : uint8_t { kRecord, kBadRecord, kEnd, kUnreadable };
  struct Found {
    Kind kind = Kind::kEnd;
    Record record;  // kRecord
    Status error;   // kBadRecord (the rest can still be read), kUnreadable
  };
  Found Next();
  const Input& input() const { return *input_; }

 private:
  RecordFile(std::unique_ptr<Input> input, RecordFormat format)
      : input_(std::move(input)), parser_(RecordParser::Make(format)) {}

  std::unique_ptr<Input> input_;
  std::unique_ptr<RecordParser> parser_;
  bool ended_ = false;
};

}  // namespace cairn::cli
