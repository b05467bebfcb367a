#pragma once
// The rocksdb::FileSystem behind FaultEnv; fault_env.h describes it. Internal to the tests' environment.

#include <rocksdb/file_system.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"
#include "engine/storage/fault_env.h"

namespace cairn::storage {

class FaultFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  using IOStatus = rocksdb::IOStatus;
  using IOOptions = rocksdb::IOOptions;
  using IODebugContext = rocksdb::IODebugContext;
  using FileOptions = rocksdb::FileOptions;

  explicit FaultFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base)
      : rocksdb::FileSystemWrapper(base) {}
  const char* Name() const override { return "cairn.FaultFileSystem"; }

  // rocksdb::FileSystem.
  IOStatus NewSequentialFile(const std::string& path, const FileOptions& options,
                             std::unique_ptr<rocksdb::FSSequentialFile>* file, IODebugContext* dbg) override;
  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                               IODebugContext* dbg) override;
  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* dbg) override;
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* dbg) override;
  IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path, const FileOptions& options,
                             std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* dbg) override;
  IOStatus NewRandomRWFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSRandomRWFile>* file, IODebugContext* dbg) override;
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<rocksdb::FSDirectory>* directory, IODebugContext* dbg) override;
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) override;
  IOStatus Truncate(const std::string& path, size_t size, const IOOptions& options,
                    IODebugContext* dbg) override;
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* dbg) override;
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* dbg) override;
  IOStatus CreateDir(const std::string& path, const IOOptions& options, IODebugContext* dbg) override;
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions& options,
                              IODebugContext* dbg) override;
  IOStatus GetFreeSpace(const std::string& path, const IOOptions& options, uint64_t* bytes,
                        IODebugContext* dbg) override;

  // FaultEnv's side.
  uint64_t mutating_ops() const;
  void CrashAfter(uint64_t n);
  bool crashed() const;
  void Restart(TailPolicy policy, uint64_t seed);
  void Inject(const Fault& fault);
  void ClearFaults();
  uint64_t faults_hit() const;

  // For the file objects. A file that was opened before a restart stays dead (`generation`).
  uint64_t generation() const;
  /// Lets a mutating operation through and counts it, or answers why not.
  IOStatus BeginMutation(FaultKind kind, const std::string& path, uint64_t file_generation);
  /// Of a creation, rename or the like, which only a crash stops.
  IOStatus BeginNameChange();
  struct ReadVerdict {
    IOStatus status;
    std::optional<uint64_t> flip;  // position of the wrong bit, modulo what was read
  };
  ReadVerdict BeginRead(const std::string& path, uint64_t file_generation);
  void NoteAppended(const std::string& path, uint64_t bytes);
  void NoteTruncated(const std::string& path, uint64_t size);
  uint64_t WrittenSize(const std::string& path) const;
  /// A sync that began when the file had `size` bytes succeeded.
  void NoteSynced(const std::string& path, uint64_t size);
  void NoteSyncFailed(const std::string& path);
  void NoteDirectorySynced(const std::string& path);

 private:
  struct FileState {
    uint64_t size = 0;
    uint64_t synced = 0;
    bool sync_failed = false;  // what is behind `synced` will never be on the disk
  };
  struct Saved {
    std::string bytes;
    FileState state;
  };
  // A change of a directory that is not synced, with what it takes to undo it.
  struct NameChange {
    enum class Kind : uint8_t { kCreate, kRename, kDelete } kind;
    std::string path;
    std::string target;             // of a rename
    std::optional<Saved> replaced;  // what was at path (kCreate, kDelete) or target (kRename)
  };

  // Whether a rule of this kind fires on this call; counts it.
  Fault* Hit(FaultKind kind, const std::string& path) CAIRN_REQUIRES(mutex_);
  IOStatus PowerOff() const;
  Saved Save(const std::string& path) CAIRN_REQUIRES(mutex_);
  void Restore(const std::string& path, const Saved& saved) CAIRN_REQUIRES(mutex_);
  void Undo(const NameChange& change) CAIRN_REQUIRES(mutex_);
  void CutTail(const std::string& path, FileState& state, TailPolicy policy, Random& random)
      CAIRN_REQUIRES(mutex_);

  mutable Mutex mutex_;
  uint64_t ops_ CAIRN_GUARDED_BY(mutex_) = 0;
  uint64_t crash_at_ CAIRN_GUARDED_BY(mutex_) = UINT64_MAX;  // value of ops_ from which everything fails
  uint64_t generation_ CAIRN_GUARDED_BY(mutex_) = 0;
  uint64_t faults_hit_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::vector<Fault> faults_ CAIRN_GUARDED_BY(mutex_);
  std::map<std::string, FileState> files_ CAIRN_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<NameChange>> name_changes_ CAIRN_GUARDED_BY(mutex_);  // by directory
};

}  // namespace cairn::storage
