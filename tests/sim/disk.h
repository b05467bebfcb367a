#pragma once
// Disk: a node's storage, which outlives its engines. A crash keeps what was synced (and of the rest what the
// kind of crash may keep). The memory store for speed, or the real store on a file system in memory.
// Owner: a Node; one thread.

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/storage/kv_store.h"

namespace cairn::sim {

enum class CrashKind : uint8_t {
  kProcess,  // everything written is there, synced or not
  kPower,    // a prefix of what was not synced is there, torn where that is possible
};

class Disk {
 public:
  virtual ~Disk() = default;
  /// The store for one engine; ends before the next is taken.
  virtual Result<std::unique_ptr<storage::KvStore>> Open() = 0;
  /// The machine stops: nothing is written from now on. Before the engine ends.
  virtual void PowerOff() = 0;
  /// And this is what is found afterwards. No store is open.
  virtual void Crash(CrashKind kind, uint64_t seed) = 0;
  /// The n-th call from now that changes (reads) something fails, and those after it when `forever`. Only the
  /// memory store can.
  virtual void FailWrites(uint64_t n, Code code, bool forever) = 0;
  virtual void FailReads(uint64_t n, bool forever) = 0;
  virtual void Repair() = 0;
  /// `crashed` is called once, inside the n-th call from now that changes something; nothing is written from
  /// then on.
  virtual void CrashInside(uint64_t n, std::function<void()> crashed) = 0;
  /// Everything is gone, as on a new machine.
  virtual void Wipe() = 0;
};

std::unique_ptr<Disk> NewMemoryDisk(uint64_t seed);
std::unique_ptr<Disk> NewRocksDisk();

}  // namespace cairn::sim
