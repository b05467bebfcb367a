#include "engine/storage/keeping_env.h"

#include <rocksdb/file_system.h>

#include <string>

namespace cairn::storage {
namespace {

thread_local bool keeps_files = false;

class KeepingFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit KeepingFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base)
      : rocksdb::FileSystemWrapper(base) {}
  const char* Name() const override { return "cairn.KeepingFileSystem"; }
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override {
    return keeps_files ? rocksdb::IOStatus::OK() : FileSystemWrapper::DeleteFile(path, options, dbg);
  }
};

class KeepingEnv final : public rocksdb::EnvWrapper {
 public:
  explicit KeepingEnv(rocksdb::Env* base) : rocksdb::EnvWrapper(base) {
    file_system_ = std::make_shared<KeepingFileSystem>(base->GetFileSystem());
    system_clock_ = base->GetSystemClock();
  }
  const char* Name() const override { return "cairn.KeepingEnv"; }
};

}  // namespace

std::unique_ptr<rocksdb::Env> MakeKeepingEnv(rocksdb::Env* base) {
  return std::make_unique<KeepingEnv>(base);
}

KeepFiles::KeepFiles() { keeps_files = true; }
KeepFiles::~KeepFiles() { keeps_files = false; }

}  // namespace cairn::storage
