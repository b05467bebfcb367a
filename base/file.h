#pragma once
// Small POSIX file helpers for configuration, manifests and tools. Not for the data path, whose files are
// RocksDB's. Files are made 0600 and directories 0700. All functions may be called from any thread.

#include <cstddef>
#include <string>
#include <string_view>

#include "base/status.h"

namespace cairn {

/// The status of a failed system call: NOT_FOUND, EXISTS, ACCESS_DENIED, NO_SPACE, INVALID_ARGUMENT, else
/// IO_ERROR; with `what` and the system's text as its message.
Status ErrnoStatus(int error, std::string_view what);

/// The whole file. TOO_BIG when it has more than `size_max` bytes.
Result<std::string> ReadFile(const std::string& path, size_t size_max = size_t{64} << 20);

/// Replaces `path` by a file with these bytes, all or nothing also across power loss: writes a temporary
/// file beside it, syncs it, renames it and syncs the directory. On an error the old file is still there,
/// except that a failing sync of the directory leaves either (AMBIGUOUS). One writer per path at a time.
Status WriteFileAtomic(const std::string& path, std::string_view bytes);

/// Makes the directory and its missing parents, each 0700. OK when it exists; permissions of what exists
/// stay as they are. NOT_SUPPORTED when something on the way is not a directory.
Status MakeDirs(const std::string& path);

/// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  /// Gives the descriptor to the caller.
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  /// Closes what is held and takes `fd`.
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

}  // namespace cairn
