#include "engine/storage/fault_files.h"

#include <algorithm>
#include <utility>

#include "engine/storage/fault_file_system.h"

namespace cairn::storage {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// What was read, with one bit wrong. It is copied to scratch first: it may point into the file itself.
void FlipBit(uint64_t position, Slice* result, char* scratch) {
  if (result->empty()) return;
  if (result->data() != scratch) std::copy(result->data(), result->data() + result->size(), scratch);
  const size_t bit = position % (result->size() * 8);
  scratch[bit / 8] = static_cast<char>(scratch[bit / 8] ^ (1 << (bit % 8)));
  *result = Slice(scratch, result->size());
}

class FaultSequentialFile final : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  FaultSequentialFile(FaultFileSystem* fs, std::string path, std::unique_ptr<rocksdb::FSSequentialFile> file)
      : FSSequentialFileOwnerWrapper(std::move(file)),
        fs_(fs),
        path_(std::move(path)),
        generation_(fs->generation()) {}

  IOStatus Read(size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* dbg) override {
    const auto verdict = fs_->BeginRead(path_, generation_);
    if (!verdict.status.ok()) return verdict.status;
    const IOStatus status = FSSequentialFileOwnerWrapper::Read(n, options, result, scratch, dbg);
    if (status.ok() && verdict.flip) FlipBit(*verdict.flip, result, scratch);
    return status;
  }

 private:
  FaultFileSystem* const fs_;
  const std::string path_;
  const uint64_t generation_;
};

class FaultRandomAccessFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  FaultRandomAccessFile(FaultFileSystem* fs, std::string path,
                        std::unique_ptr<rocksdb::FSRandomAccessFile> file)
      : FSRandomAccessFileOwnerWrapper(std::move(file)),
        fs_(fs),
        path_(std::move(path)),
        generation_(fs->generation()) {}

  IOStatus Read(uint64_t offset, size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* dbg) const override {
    const auto verdict = fs_->BeginRead(path_, generation_);
    if (!verdict.status.ok()) return verdict.status;
    const IOStatus status = FSRandomAccessFileOwnerWrapper::Read(offset, n, options, result, scratch, dbg);
    if (status.ok() && verdict.flip) FlipBit(*verdict.flip, result, scratch);
    return status;
  }
  // The wrapper's own would go past Read.
  IOStatus MultiRead(rocksdb::FSReadRequest* reqs, size_t count, const IOOptions& options,
                     IODebugContext* dbg) override {
    for (size_t i = 0; i < count; ++i) {
      reqs[i].status = Read(reqs[i].offset, reqs[i].len, options, &reqs[i].result, reqs[i].scratch, dbg);
    }
    return IOStatus::OK();
  }

 private:
  FaultFileSystem* const fs_;
  const std::string path_;
  const uint64_t generation_;
};

class FaultWritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultWritableFile(FaultFileSystem* fs, std::string path, std::unique_ptr<rocksdb::FSWritableFile> file)
      : FSWritableFileOwnerWrapper(std::move(file)),
        fs_(fs),
        path_(std::move(path)),
        generation_(fs->generation()) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    const IOStatus verdict = fs_->BeginMutation(FaultKind::kWrite, path_, generation_);
    if (!verdict.ok()) {
      // A full disk takes what fits; a dead one nothing.
      if (!fs_->crashed()) Write(Slice(data.data(), data.size() / 2), options, dbg).PermitUncheckedError();
      return verdict;
    }
    return Write(data, options, dbg);
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*checksum*/, IODebugContext* dbg) override {
    return Append(data, options, dbg);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* dbg) override {
    const IOStatus verdict = fs_->BeginMutation(FaultKind::kWrite, path_, generation_);
    if (!verdict.ok()) return verdict;
    const IOStatus status = FSWritableFileOwnerWrapper::Truncate(size, options, dbg);
    if (status.ok()) fs_->NoteTruncated(path_, size);
    return status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* dbg) override { return DoSync(options, dbg); }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override { return DoSync(options, dbg); }

 private:
  IOStatus Write(const Slice& data, const IOOptions& options, IODebugContext* dbg) {
    const IOStatus status = FSWritableFileOwnerWrapper::Append(data, options, dbg);
    if (status.ok()) fs_->NoteAppended(path_, data.size());
    return status;
  }
  IOStatus DoSync(const IOOptions& options, IODebugContext* dbg) {
    const IOStatus verdict = fs_->BeginMutation(FaultKind::kSync, path_, generation_);
    if (!verdict.ok()) {
      if (!fs_->crashed()) fs_->NoteSyncFailed(path_);
      return verdict;
    }
    const uint64_t size = fs_->WrittenSize(path_);
    const IOStatus status = FSWritableFileOwnerWrapper::Sync(options, dbg);
    if (status.ok()) fs_->NoteSynced(path_, size);
    return status;
  }

  FaultFileSystem* const fs_;
  const std::string path_;
  const uint64_t generation_;
};

class FaultDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  FaultDirectory(FaultFileSystem* fs, std::string path, std::unique_ptr<rocksdb::FSDirectory> directory)
      : FSDirectoryWrapper(std::move(directory)),
        fs_(fs),
        path_(std::move(path)),
        generation_(fs->generation()) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override {
    const IOStatus verdict = fs_->BeginMutation(FaultKind::kSync, path_, generation_);
    if (!verdict.ok()) return verdict;
    const IOStatus status = FSDirectoryWrapper::Fsync(options, dbg);
    if (status.ok()) fs_->NoteDirectorySynced(path_);
    return status;
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* dbg,
                               const rocksdb::DirFsyncOptions& /*reason*/) override {
    return Fsync(options, dbg);
  }

 private:
  FaultFileSystem* const fs_;
  const std::string path_;
  const uint64_t generation_;
};

}  // namespace

std::unique_ptr<rocksdb::FSSequentialFile> WrapSequentialFile(
    FaultFileSystem* fs, std::string path, std::unique_ptr<rocksdb::FSSequentialFile> file) {
  return std::make_unique<FaultSequentialFile>(fs, std::move(path), std::move(file));
}

std::unique_ptr<rocksdb::FSRandomAccessFile> WrapRandomAccessFile(
    FaultFileSystem* fs, std::string path, std::unique_ptr<rocksdb::FSRandomAccessFile> file) {
  return std::make_unique<FaultRandomAccessFile>(fs, std::move(path), std::move(file));
}

std::unique_ptr<rocksdb::FSWritableFile> WrapWritableFile(FaultFileSystem* fs, std::string path,
                                                          std::unique_ptr<rocksdb::FSWritableFile> file) {
  return std::make_unique<FaultWritableFile>(fs, std::move(path), std::move(file));
}

std::unique_ptr<rocksdb::FSDirectory> WrapDirectory(FaultFileSystem* fs, std::string path,
                                                    std::unique_ptr<rocksdb::FSDirectory> directory) {
  return std::make_unique<FaultDirectory>(fs, std::move(path), std::move(directory));
}

}  // namespace cairn::storage
