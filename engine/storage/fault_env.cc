#include "engine/storage/fault_env.h"

#include <rocksdb/env.h>
#include <rocksdb/system_clock.h>

#include <algorithm>
#include <utility>

#include "engine/storage/fault_file_system.h"

namespace cairn::storage {
namespace {

// RocksDB sleeps for a second after each background error, which would be most of the time of a test that
// makes thousands of them.
class ImpatientClock final : public rocksdb::SystemClockWrapper {
 public:
  using SystemClockWrapper::SystemClockWrapper;
  const char* Name() const override { return "cairn.ImpatientClock"; }
  void SleepForMicroseconds(int micros) override {
    SystemClockWrapper::SleepForMicroseconds(std::min(micros, 1000));
  }
};

class ImpatientEnv final : public rocksdb::EnvWrapper {
 public:
  ImpatientEnv(std::unique_ptr<rocksdb::Env> env, std::shared_ptr<rocksdb::FileSystem> file_system)
      : EnvWrapper(std::move(env)) {
    file_system_ = std::move(file_system);
    system_clock_ = std::make_shared<ImpatientClock>(rocksdb::SystemClock::Default());
  }
  const char* Name() const override { return "cairn.FaultEnv"; }
};

}  // namespace

struct FaultEnv::Rep {
  // MemEnv's file system lives as long as MemEnv.
  std::unique_ptr<rocksdb::Env> memory;
  std::shared_ptr<FaultFileSystem> file_system;
  std::unique_ptr<rocksdb::Env> env;
};

FaultEnv::FaultEnv(Base base) : rep_(std::make_unique<Rep>()) {
  if (base == Base::kMemory) rep_->memory.reset(rocksdb::NewMemEnv(rocksdb::Env::Default()));
  rocksdb::Env* const under = base == Base::kMemory ? rep_->memory.get() : rocksdb::Env::Default();
  rep_->file_system = std::make_shared<FaultFileSystem>(under->GetFileSystem());
  rep_->env = std::make_unique<ImpatientEnv>(rocksdb::NewCompositeEnv(rep_->file_system), rep_->file_system);
}

FaultEnv::~FaultEnv() = default;

void* FaultEnv::env() { return rep_->env.get(); }
uint64_t FaultEnv::mutating_ops() const { return rep_->file_system->mutating_ops(); }
void FaultEnv::CrashAfter(uint64_t n) { rep_->file_system->CrashAfter(n); }
bool FaultEnv::crashed() const { return rep_->file_system->crashed(); }
void FaultEnv::RestartAfterCrash(TailPolicy policy, uint64_t seed) {
  rep_->file_system->Restart(policy, seed);
}
void FaultEnv::Inject(const Fault& fault) { rep_->file_system->Inject(fault); }
void FaultEnv::ClearFaults() { rep_->file_system->ClearFaults(); }
uint64_t FaultEnv::faults_hit() const { return rep_->file_system->faults_hit(); }

}  // namespace cairn::storage
