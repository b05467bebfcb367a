#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

namespace cairn {
namespace {

Code CodeOfErrno(int error) {
  switch (error) {
    case ENOENT:
      return Code::kNotFound;
    case EEXIST:
      return Code::kExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::kAccessDenied;
    case ENOSPC:
    case EDQUOT:
      return Code::kNoSpace;
    case EINVAL:
    case ENAMETOOLONG:
      return Code::kInvalidArgument;
    default:
      return Code::kIoError;
  }
}

UniqueFd Open(const std::string& path, int flags) {
  int fd = -1;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
  } while (fd < 0 && errno == EINTR);
  return UniqueFd(fd);
}

Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "write " + path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return Status::Ok();
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status SyncDirectory(const std::string& path) {
  const UniqueFd fd = Open(path, O_RDONLY | O_DIRECTORY);
  if (!fd.valid() || fsync(fd.get()) != 0) {
    return Status(Code::kAmbiguous, std::string(ErrnoStatus(errno, "sync " + path).message()));
  }
  return Status::Ok();
}

Status WriteAndSync(const std::string& path, std::string_view bytes) {
  UniqueFd fd = Open(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!fd.valid()) return ErrnoStatus(errno, "create " + path);
  CAIRN_RETURN_IF_ERROR(WriteAll(fd.get(), bytes, path));
  if (fsync(fd.get()) != 0) return ErrnoStatus(errno, "sync " + path);
  if (close(fd.Release()) != 0) return ErrnoStatus(errno, "close " + path);
  return Status::Ok();
}

Status MakeDir(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0) return Status::Ok();
  const int error = errno;
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return Status::Ok();
    return Status(Code::kNotSupported, path + " is not a directory");
  }
  return ErrnoStatus(error, "make directory " + path);
}

}  // namespace

Status ErrnoStatus(int error, std::string_view what) {
  return Status(CodeOfErrno(error), std::string(what) + ": " + std::generic_category().message(error));
}

Result<std::string> ReadFile(const std::string& path, size_t size_max) {
  const UniqueFd fd = Open(path, O_RDONLY);
  if (!fd.valid()) return ErrnoStatus(errno, "open " + path);
  std::string bytes;
  constexpr size_t kStep = 65'536;
  while (true) {
    // One byte more than allowed is asked for, which tells "exactly size_max" from "more".
    const size_t old_size = bytes.size();
    bytes.resize(old_size + std::min(kStep, size_max - old_size + 1));
    const ssize_t got = read(fd.get(), bytes.data() + old_size, bytes.size() - old_size);
    if (got < 0 && errno != EINTR) return ErrnoStatus(errno, "read " + path);
    bytes.resize(old_size + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return bytes;
    if (bytes.size() > size_max) {
      return Status(Code::kTooBig, path + " has more than " + std::to_string(size_max) + " bytes");
    }
  }
}

Status WriteFileAtomic(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".tmp";
  Status status = WriteAndSync(temporary, bytes);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoStatus(errno, "rename " + temporary);
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncDirectory(ParentOf(path));
}

Status MakeDirs(const std::string& path) {
  if (path.empty()) return Status(Code::kInvalidArgument, "empty directory name");
  for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    CAIRN_RETURN_IF_ERROR(MakeDir(path.substr(0, end)));
  }
  return MakeDir(path);
}

void UniqueFd::Reset(int fd) {
  // EINTR from close leaves the descriptor closed on Linux: repeating would hit somebody else's.
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

}  // namespace cairn
