#include "tests/sim/disk.h"

#include <utility>

#include "engine/storage/fault_env.h"
#include "engine/storage/memory_store.h"
#include "tests/support/forwarding_store.h"

namespace cairn::sim {
namespace {

using storage::KvStore;

class MemoryDisk final : public Disk {
 public:
  explicit MemoryDisk(uint64_t seed) : seed_(seed) { Wipe(); }

  Result<std::unique_ptr<KvStore>> Open() override {
    return std::unique_ptr<KvStore>(std::make_unique<storage::ForwardingStore>(store_.get()));
  }
  void PowerOff() override {
    Repair();
    store_->FailNth(1, Status(Code::kIoError, "the power is off"), true);
  }
  void Crash(CrashKind kind, uint64_t seed) override {
    Repair();
    kind == CrashKind::kPower ? store_->CrashPower(seed) : store_->CrashProcess(seed);
  }
  void FailWrites(uint64_t n, Code code, bool forever) override {
    store_->FailNth(n, Status(code, "injected"), forever);
  }
  void FailReads(uint64_t n, bool forever) override {
    store_->FailNthRead(n, Status(Code::kIoError, "injected"), forever);
  }
  void Repair() override {
    store_->ClearFailures();
    store_->SetHook(nullptr);
  }
  void CrashInside(uint64_t n, std::function<void()> crashed) override {
    const uint64_t at = store_->mutating_calls() + n;
    store_->FailNth(n, Status(Code::kAmbiguous, "the power is off"), true);
    store_->SetHook([this, at, crashed = std::move(crashed), told = false](storage::MemoryStore::Op) mutable {
      // The hook comes before the call is counted.
      if (told || store_->mutating_calls() + 1 < at) return;
      told = true;
      crashed();
    });
  }
  void Wipe() override { store_ = std::make_unique<storage::MemoryStore>(seed_++); }

 private:
  uint64_t seed_;
  std::unique_ptr<storage::MemoryStore> store_;
};

class RocksDisk final : public Disk {
 public:
  RocksDisk() { Wipe(); }

  Result<std::unique_ptr<KvStore>> Open() override {
    storage::RocksStoreOptions options;
    options.path = "/store";
    options.memtable_bytes_max = 256u << 10;
    options.cache_bytes = 256u << 10;
    options.background_threads = 1;
    options.env = env_->env();
    return storage::OpenRocksStore(options);
  }
  void PowerOff() override { env_->CrashNow(); }
  void Crash(CrashKind kind, uint64_t seed) override {
    env_->RestartAfterCrash(kind == CrashKind::kProcess ? storage::TailPolicy::kKeep : PowerPolicy(seed),
                            seed);
  }
  void FailWrites(uint64_t, Code, bool) override {}
  void FailReads(uint64_t, bool) override {}
  void Repair() override {}
  void CrashInside(uint64_t, std::function<void()>) override {}
  void Wipe() override { env_ = std::make_unique<storage::FaultEnv>(storage::FaultEnv::Base::kMemory); }

 private:
  static storage::TailPolicy PowerPolicy(uint64_t seed) {
    constexpr storage::TailPolicy kPolicies[] = {storage::TailPolicy::kDrop, storage::TailPolicy::kTorn,
                                                 storage::TailPolicy::kReordered};
    return kPolicies[seed % 3];
  }
  std::unique_ptr<storage::FaultEnv> env_;
};

}  // namespace

std::unique_ptr<Disk> NewMemoryDisk(uint64_t seed) { return std::make_unique<MemoryDisk>(seed); }
std::unique_ptr<Disk> NewRocksDisk() { return std::make_unique<RocksDisk>(); }

}  // namespace cairn::sim
