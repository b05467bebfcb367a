#include "engine/storage/fault_file_system.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/storage/fault_files.h"

namespace cairn::storage {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

constexpr uint64_t kPlentyOfSpace = uint64_t{1} << 40;
constexpr uint64_t kSectorBytes = 512;

std::string Normalized(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (c != '/' || out.empty() || out.back() != '/') out.push_back(c);
  }
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool IsTextLog(const std::string& path) {
  const size_t slash = path.rfind('/');
  return path.compare(slash == std::string::npos ? 0 : slash + 1, 3, "LOG") == 0 &&
         path.compare(slash == std::string::npos ? 0 : slash + 1, 4, "LOCK") != 0;
}

IOStatus ErrorOf(const Fault& fault, const std::string& path) {
  if (fault.error != ENOSPC) return IOStatus::IOError("injected error", path);
  IOStatus status = IOStatus::NoSpace("injected lack of space", path);
  status.SetRetryable(true);  // as RocksDB's POSIX file system does
  return status;
}

// The disk wrote later sectors of what was not synced and not some earlier ones.
void LoseSectors(uint64_t synced, Random& random, std::string* bytes) {
  for (uint64_t at = synced; at < bytes->size();) {
    const uint64_t end = std::min<uint64_t>(bytes->size(), (at / kSectorBytes + 1) * kSectorBytes);
    if (random.OneIn(4))
      std::fill(bytes->begin() + static_cast<int64_t>(at), bytes->begin() + static_cast<int64_t>(end), '\0');
    at = end;
  }
}

}  // namespace

IOStatus FaultFileSystem::NewSequentialFile(const std::string& path, const FileOptions& options,
                                            std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                            IODebugContext* dbg) {
  IOStatus status = crashed() ? PowerOff() : FileSystemWrapper::NewSequentialFile(path, options, file, dbg);
  if (status.ok()) *file = WrapSequentialFile(this, Normalized(path), std::move(*file));
  return status;
}

IOStatus FaultFileSystem::NewRandomAccessFile(const std::string& path, const FileOptions& options,
                                              std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                              IODebugContext* dbg) {
  IOStatus status = crashed() ? PowerOff() : FileSystemWrapper::NewRandomAccessFile(path, options, file, dbg);
  if (status.ok()) *file = WrapRandomAccessFile(this, Normalized(path), std::move(*file));
  return status;
}

IOStatus FaultFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                          std::unique_ptr<rocksdb::FSWritableFile>* file,
                                          IODebugContext* dbg) {
  if (IsTextLog(path)) return FileSystemWrapper::NewWritableFile(path, options, file, dbg);
  const std::string name = Normalized(path);
  IOStatus status = BeginNameChange();
  if (!status.ok()) return status;
  std::optional<Saved> replaced;
  if (FileExists(name, IOOptions(), nullptr).ok()) {
    MutexLock lock(mutex_);
    replaced = Save(name);
  }
  status = FileSystemWrapper::NewWritableFile(path, options, file, dbg);
  if (!status.ok()) return status;
  *file = WrapWritableFile(this, name, std::move(*file));
  MutexLock lock(mutex_);
  files_[name] = {};
  name_changes_[DirectoryOf(name)].push_back({NameChange::Kind::kCreate, name, {}, std::move(replaced)});
  return status;
}

IOStatus FaultFileSystem::ReopenWritableFile(const std::string& path, const FileOptions& options,
                                             std::unique_ptr<rocksdb::FSWritableFile>* file,
                                             IODebugContext* dbg) {
  if (!FileExists(path, IOOptions(), nullptr).ok()) return NewWritableFile(path, options, file, dbg);
  IOStatus status = BeginNameChange();
  if (status.ok()) status = FileSystemWrapper::ReopenWritableFile(path, options, file, dbg);
  if (status.ok()) *file = WrapWritableFile(this, Normalized(path), std::move(*file));
  return status;
}

// The store's options ask for neither of these two.
IOStatus FaultFileSystem::ReuseWritableFile(const std::string& path, const std::string& /*old_path*/,
                                            const FileOptions& /*options*/,
                                            std::unique_ptr<rocksdb::FSWritableFile>* /*file*/,
                                            IODebugContext* /*dbg*/) {
  return IOStatus::NotSupported("reuse of a file", path);
}

IOStatus FaultFileSystem::NewRandomRWFile(const std::string& path, const FileOptions& /*options*/,
                                          std::unique_ptr<rocksdb::FSRandomRWFile>* /*file*/,
                                          IODebugContext* /*dbg*/) {
  return IOStatus::NotSupported("writing in place", path);
}

// Files that have a second name are not written to any more, so each name has a state of its own.
IOStatus FaultFileSystem::LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                                   IODebugContext* dbg) {
  const std::string name = Normalized(to);
  IOStatus status = BeginNameChange();
  if (!status.ok()) return status;
  MutexLock lock(mutex_);
  status = FileSystemWrapper::LinkFile(from, to, options, dbg);
  if (!status.ok()) return status;
  const auto linked = files_.find(Normalized(from));
  if (linked != files_.end()) files_[name] = linked->second;
  name_changes_[DirectoryOf(name)].push_back({NameChange::Kind::kCreate, name, {}, std::nullopt});
  return status;
}

IOStatus FaultFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                       std::unique_ptr<rocksdb::FSDirectory>* directory,
                                       IODebugContext* dbg) {
  IOStatus status = crashed() ? PowerOff() : FileSystemWrapper::NewDirectory(path, options, directory, dbg);
  if (status.ok()) {
    *directory = WrapDirectory(this, Normalized(path), std::move(*directory));
  }
  return status;
}

IOStatus FaultFileSystem::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) {
  if (IsTextLog(path)) return FileSystemWrapper::DeleteFile(path, options, dbg);
  const std::string name = Normalized(path);
  IOStatus status = BeginNameChange();
  if (!status.ok()) return status;
  MutexLock lock(mutex_);
  Saved saved;
  if (FileExists(name, IOOptions(), nullptr).ok()) saved = Save(name);
  status = FileSystemWrapper::DeleteFile(path, options, dbg);
  if (!status.ok()) return status;
  files_.erase(name);
  name_changes_[DirectoryOf(name)].push_back({NameChange::Kind::kDelete, name, {}, std::move(saved)});
  return status;
}

IOStatus FaultFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                                     IODebugContext* dbg) {
  if (IsTextLog(from)) return FileSystemWrapper::RenameFile(from, to, options, dbg);
  const std::string source = Normalized(from);
  const std::string target = Normalized(to);
  IOStatus status = BeginNameChange();
  if (!status.ok()) return status;
  MutexLock lock(mutex_);
  std::optional<Saved> replaced;
  if (FileExists(target, IOOptions(), nullptr).ok()) replaced = Save(target);
  status = FileSystemWrapper::RenameFile(from, to, options, dbg);
  if (!status.ok()) return status;
  files_[target] = std::exchange(files_[source], {});
  files_.erase(source);
  name_changes_[DirectoryOf(target)].push_back(
      {NameChange::Kind::kRename, source, target, std::move(replaced)});
  return status;
}

IOStatus FaultFileSystem::Truncate(const std::string& path, size_t size, const IOOptions& options,
                                   IODebugContext* dbg) {
  IOStatus status = BeginNameChange();
  if (status.ok()) status = FileSystemWrapper::Truncate(path, size, options, dbg);
  if (status.ok()) NoteTruncated(Normalized(path), size);
  return status;
}

IOStatus FaultFileSystem::CreateDir(const std::string& path, const IOOptions& options, IODebugContext* dbg) {
  IOStatus status = BeginNameChange();
  return status.ok() ? FileSystemWrapper::CreateDir(path, options, dbg) : status;
}

IOStatus FaultFileSystem::CreateDirIfMissing(const std::string& path, const IOOptions& options,
                                             IODebugContext* dbg) {
  IOStatus status = BeginNameChange();
  return status.ok() ? FileSystemWrapper::CreateDirIfMissing(path, options, dbg) : status;
}

IOStatus FaultFileSystem::GetFreeSpace(const std::string& /*path*/, const IOOptions& /*options*/,
                                       uint64_t* bytes, IODebugContext* /*dbg*/) {
  MutexLock lock(mutex_);
  const bool full = std::any_of(faults_.begin(), faults_.end(), [](const Fault& fault) {
    return fault.error == ENOSPC && fault.after == 0 && fault.count > 0;
  });
  *bytes = full ? 0 : kPlentyOfSpace;
  return IOStatus::OK();
}

IOStatus FaultFileSystem::PowerOff() const { return IOStatus::IOError("the power is off"); }

Fault* FaultFileSystem::Hit(FaultKind kind, const std::string& path) {
  for (Fault& fault : faults_) {
    if (fault.kind != kind || fault.count == 0) continue;
    if (path.find(fault.path_contains) == std::string::npos) continue;
    if (fault.after > 0) {
      --fault.after;
      continue;
    }
    if (fault.count != UINT64_MAX) --fault.count;
    ++faults_hit_;
    return &fault;
  }
  return nullptr;
}

IOStatus FaultFileSystem::BeginMutation(FaultKind kind, const std::string& path, uint64_t file_generation) {
  MutexLock lock(mutex_);
  if (ops_ >= crash_at_ || file_generation != generation_) return PowerOff();
  if (const Fault* const fault = Hit(kind, path)) return ErrorOf(*fault, path);
  ++ops_;
  return IOStatus::OK();
}

IOStatus FaultFileSystem::BeginNameChange() {
  MutexLock lock(mutex_);
  if (ops_ >= crash_at_) return PowerOff();
  ++ops_;
  return IOStatus::OK();
}

FaultFileSystem::ReadVerdict FaultFileSystem::BeginRead(const std::string& path, uint64_t file_generation) {
  MutexLock lock(mutex_);
  if (ops_ >= crash_at_ || file_generation != generation_) return {PowerOff(), {}};
  if (const Fault* const fault = Hit(FaultKind::kRead, path)) return {ErrorOf(*fault, path), {}};
  if (Hit(FaultKind::kFlipRead, path) == nullptr) return {IOStatus::OK(), {}};
  // Any position will do; a large stride visits many different ones.
  return {IOStatus::OK(), faults_hit_ * 7919};
}

uint64_t FaultFileSystem::mutating_ops() const {
  MutexLock lock(mutex_);
  return ops_;
}

void FaultFileSystem::CrashAfter(uint64_t n) {
  MutexLock lock(mutex_);
  crash_at_ = ops_ + n;
}

bool FaultFileSystem::crashed() const {
  MutexLock lock(mutex_);
  return ops_ >= crash_at_;
}

uint64_t FaultFileSystem::generation() const {
  MutexLock lock(mutex_);
  return generation_;
}

void FaultFileSystem::Inject(const Fault& fault) {
  MutexLock lock(mutex_);
  faults_.push_back(fault);
}

void FaultFileSystem::ClearFaults() {
  MutexLock lock(mutex_);
  faults_.clear();
}

uint64_t FaultFileSystem::faults_hit() const {
  MutexLock lock(mutex_);
  return faults_hit_;
}

void FaultFileSystem::NoteAppended(const std::string& path, uint64_t bytes) {
  MutexLock lock(mutex_);
  files_[path].size += bytes;
}

void FaultFileSystem::NoteTruncated(const std::string& path, uint64_t size) {
  MutexLock lock(mutex_);
  FileState& state = files_[path];
  state.size = size;
  state.synced = std::min(state.synced, size);
}

uint64_t FaultFileSystem::WrittenSize(const std::string& path) const {
  MutexLock lock(mutex_);
  const auto found = files_.find(path);
  return found == files_.end() ? 0 : found->second.size;
}

void FaultFileSystem::NoteSynced(const std::string& path, uint64_t size) {
  MutexLock lock(mutex_);
  FileState& state = files_[path];
  if (!state.sync_failed) state.synced = std::min(state.size, std::max(state.synced, size));
}

void FaultFileSystem::NoteSyncFailed(const std::string& path) {
  MutexLock lock(mutex_);
  files_[path].sync_failed = true;
}

void FaultFileSystem::NoteDirectorySynced(const std::string& path) {
  MutexLock lock(mutex_);
  name_changes_.erase(path);
}

FaultFileSystem::Saved FaultFileSystem::Save(const std::string& path) {
  Saved saved;
  const IOStatus status = rocksdb::ReadFileToString(target(), path, &saved.bytes);
  CAIRN_CHECK(status.ok());
  const auto known = files_.find(path);
  // A file from before this environment is on the disk already.
  saved.state =
      known != files_.end() ? known->second : FileState{saved.bytes.size(), saved.bytes.size(), false};
  return saved;
}

void FaultFileSystem::Restore(const std::string& path, const Saved& saved) {
  const IOStatus status = rocksdb::WriteStringToFile(target(), saved.bytes, path);
  CAIRN_CHECK(status.ok());
  files_[path] = saved.state;
}

void FaultFileSystem::Undo(const NameChange& change) {
  const IOOptions options;
  IOStatus status;
  switch (change.kind) {
    case NameChange::Kind::kCreate:
      if (target()->FileExists(change.path, options, nullptr).ok()) {
        status = target()->DeleteFile(change.path, options, nullptr);
      }
      files_.erase(change.path);
      if (change.replaced) Restore(change.path, *change.replaced);
      break;
    case NameChange::Kind::kRename:
      status = target()->RenameFile(change.target, change.path, options, nullptr);
      files_[change.path] = std::exchange(files_[change.target], {});
      files_.erase(change.target);
      if (change.replaced) Restore(change.target, *change.replaced);
      break;
    case NameChange::Kind::kDelete:
      Restore(change.path, *change.replaced);
      break;
  }
  CAIRN_CHECK(status.ok());
}

void FaultFileSystem::CutTail(const std::string& path, FileState& state, TailPolicy policy, Random& random) {
  if (state.size > state.synced) {
    const uint64_t kept =
        policy == TailPolicy::kDrop ? state.synced : random.Between(state.synced, state.size);
    std::string bytes;
    IOStatus status = rocksdb::ReadFileToString(target(), path, &bytes);
    CAIRN_CHECK(status.ok() && bytes.size() >= kept);
    bytes.resize(kept);
    if (policy == TailPolicy::kReordered) LoseSectors(state.synced, random, &bytes);
    status = rocksdb::WriteStringToFile(target(), bytes, path);
    CAIRN_CHECK(status.ok());
    state.size = kept;
  }
  state.synced = state.size;
  state.sync_failed = false;
}

void FaultFileSystem::Restart(TailPolicy policy, uint64_t seed) {
  MutexLock lock(mutex_);
  Random random(seed);
  if (policy != TailPolicy::kKeep) {
    for (auto& [directory, changes] : name_changes_) {
      // A directory's changes reach the disk in their order, as in a journalling file system.
      const size_t kept = policy == TailPolicy::kDrop ? 0 : random.Uniform(changes.size() + 1);
      while (changes.size() > kept) {
        Undo(changes.back());
        changes.pop_back();
      }
    }
    name_changes_.clear();
    for (auto& [path, state] : files_) CutTail(path, state, policy, random);
  }
  ++generation_;
  crash_at_ = UINT64_MAX;
}

}  // namespace cairn::storage
