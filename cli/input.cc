#include "cli/input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cairn::cli {
namespace {

constexpr size_t kReadBytes = size_t{256} << 10;

Status FileError(const std::string& name, int error) {
  return Status(Code::kInvalidArgument, fmt::format("{}: {}", name, std::strerror(error)));
}

}  // namespace

Result<std::unique_ptr<Input>> Input::Open(const std::string& file) {
  const bool standard = file == "-";
  const std::string name = standard ? "standard input" : file;
  const int fd = standard ? STDIN_FILENO : open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(name, errno);
  std::unique_ptr<Input> input(new Input(fd, name));
  struct stat info {};
  if (fstat(fd, &info) != 0) return FileError(name, errno);
  if (S_ISDIR(info.st_mode)) return FileError(name, EISDIR);
  if (S_ISREG(info.st_mode)) input->size_ = static_cast<uint64_t>(info.st_size);
  return input;
}

Input::~Input() {
  if (fd_ != STDIN_FILENO) close(fd_);
}

Result<std::string_view> Input::Read() {
  buffer_.resize(kReadBytes);
  ssize_t n = 0;
  do {
    n = read(fd_, buffer_.data(), buffer_.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return FileError(name_, errno);
  bytes_read_ += static_cast<uint64_t>(n);
  return std::string_view(buffer_).substr(0, static_cast<size_t>(n));
}

Result<std::string> ReadAll(const std::string& file, size_t bytes_max) {
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<Input> input, Input::Open(file));
  std::string all;
  while (true) {
    CAIRN_ASSIGN_OR_RETURN(const std::string_view bytes, input->Read());
    if (bytes.empty()) return all;
    all.append(bytes);
    if (all.size() > bytes_max) {
      return Status(Code::kInvalidArgument, fmt::format("{}: more than {} bytes", file, bytes_max));
    }
  }
}

Result<std::unique_ptr<RecordFile>> RecordFile::Open(const std::string& file, RecordFormat format) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<Input> input, Input::Open(file));
  return std::unique_ptr<RecordFile>(new RecordFile(std::move(input), format));
}

RecordFile::Found RecordFile::Next() {
  while (true) {
    std::optional<Result<Record>> next = parser_->Next();
    if (next) {
      if (!next->ok()) return {.kind = Kind::kBadRecord, .record = {}, .error = next->status()};
      return {.kind = Kind::kRecord, .record = std::move(**next), .error = {}};
    }
    if (ended_) return {};
    Result<std::string_view> bytes = input_->Read();
    if (!bytes.ok()) return {.kind = Kind::kUnreadable, .record = {}, .error = bytes.status()};
    ended_ = bytes->empty();
    if (ended_) {
      parser_->Finish();
    } else {
      parser_->Feed(*bytes);
    }
  }
}

}  // namespace cairn::cli
