#pragma once
// FaultEnv: a file system that fails, for tests of RocksStore (RocksStoreOptions::env = env()). It counts
// every I/O that changes something, can cut the power after any of them, and then keeps of each file only
// what was synced (or a torn tail of the rest) and of each directory only the entries that were synced. It
// can make chosen writes, syncs and reads fail, and flip bits in what is read.
//
// The model is POSIX at its strictest: an append is durable after a sync of the file, a creation, rename or
// deletion after a sync of the directory; a failed sync loses what it was to write, also when a later one
// succeeds. RocksDB's own text log (LOG*) is left out, as nothing depends on it.
//
// Owned by the test, outlives the stores opened on it. All methods may be called from any thread, but
// RestartAfterCrash only when no store is open on it.

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>

namespace cairn::storage {

class FaultFileSystem;

/// What a restart finds of that which was not synced.
enum class TailPolicy : uint8_t {
  kDrop,       // power loss at its worst: nothing
  kTorn,       // power loss: a random prefix of each file's bytes and of each directory's changes
  kReordered,  // as kTorn, but some 512-byte sectors before the end of the prefix are zeros
  kKeep,       // only the process died: everything, still not synced
};

enum class FaultKind : uint8_t {
  kWrite,     // append: writes the first half, then fails
  kSync,      // of a file or directory
  kRead,      //
  kFlipRead,  // the read succeeds with one bit wrong
};

struct Fault {
  FaultKind kind = FaultKind::kWrite;
  int error = EIO;            // EIO or ENOSPC; not for kFlipRead
  uint64_t after = 0;         // so many matching calls succeed first
  uint64_t count = 1;         // so many fail then; UINT64_MAX = until ClearFaults
  std::string path_contains;  // matching calls; empty: all. ".log" is the WAL, ".sst" a table
};

class FaultEnv {
 public:
  enum class Base : uint8_t { kMemory, kDisk };
  explicit FaultEnv(Base base);
  ~FaultEnv();
  FaultEnv(const FaultEnv&) = delete;
  FaultEnv& operator=(const FaultEnv&) = delete;

  /// A rocksdb::Env*, owned by this.
  void* env();

  /// Appends, syncs, creations, renames, deletions, truncations and directory syncs that were let through.
  uint64_t mutating_ops() const;
  /// `n` more mutating operations succeed; everything after them fails until RestartAfterCrash.
  void CrashAfter(uint64_t n);
  void CrashNow() { CrashAfter(0); }
  bool crashed() const;
  /// Ends the crash, a planned one too. Also works without one: then it is the crash.
  void RestartAfterCrash(TailPolicy policy, uint64_t seed);

  void Inject(const Fault& fault);
  /// The `count` next calls of `kind` fail.
  void FailNext(FaultKind kind, int error, uint64_t count) { Inject({kind, error, 0, count, {}}); }
  void ClearFaults();
  /// Calls that an injected fault made fail or lie.
  uint64_t faults_hit() const;

 private:
  struct Rep;
  const std::unique_ptr<Rep> rep_;
};

}  // namespace cairn::storage
