#pragma once
// What is inside an Engine: the parts, wired together. Included by the engine's own files only.

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/executor.h"
#include "base/random.h"
#include "engine/core.h"
#include "engine/engine.h"
#include "engine/fetcher.h"
#include "engine/flusher.h"
#include "engine/merger.h"
#include "engine/pager.h"
#include "engine/persistence_waits.h"
#include "engine/recovery.h"
#include "engine/replication.h"
#include "engine/snapshot_writer.h"
#include "engine/update_coordinator.h"
#include "engine/warmer.h"

namespace cairn::engine {

class Engine::Impl {
 public:
  Impl(const EngineOptions& options, EngineDeps deps);
  ~Impl();

  Status Open();
  void StartThreads();
  void StopThreads();
  Status Shutdown(bool persist);
  /// Runs `task` on the control thread; inline when there are no threads.
  void OnControl(Task task);
  /// Control thread: makes `vb`, dead and empty, if it does not exist. NOT_SUPPORTED in an online update.
  Status MakeVbucket(VBucket& vb);
  /// Control thread: deletes `vb`, which must be dead.
  Status DeleteNow(VBucket& vb);
  ReplicationParts ReplicationSide();
  /// Waits (control thread) until everything done so far is durable, or the deadline.
  Status WaitDurable();
  /// State and branch of a vbucket; nothing about its disk.
  ActiveView LookAt(Vbid vbucket) const;

  /// Like Run, but what has to be read from disk is left in `fx` for the caller to ask for.
  template <class Operation>
  auto Execute(const OpKey& key, const WaiterRef& waiter, Effects& fx, Operation&& operation);
  /// Enters the key's vbucket, runs `operation` under its lock, and does what it leaves behind.
  template <class Operation>
  auto Run(const OpKey& key, const WaiterRef& waiter, Operation&& operation);
  template <class Build>
  MutationResult Modify(const OpKey& key, const WaiterRef& waiter, Build&& build);
  void GeneralStats(const StatSink& sink) const;
  void WarmupStats(const StatSink& sink) const;
  /// kOk, or why writes that add data are refused now.
  Code AdmitWrite(size_t bytes);
  /// Everything stored so far is gone on return. NOT_SUPPORTED while an online update is open.
  Status FlushNow();

  bool threads;
  Core core;
  Random random;
  std::optional<RecoveredState> recovered;
  std::array<uint8_t, 16> node_uuid{};  // of an engine without a disk
  Flusher flusher;
  Merger merger;
  Fetcher fetcher;
  Warmer warmer;
  SnapshotWriter snapshots;
  Pager pager;
  UpdateCoordinator coordinator;
  Replication replication;
  PersistenceWaits persistence_waits;
  std::unique_ptr<ThreadExecutor> control;
  std::atomic<int64_t> flush_at_ns{0};  // a delayed flush_all; 0: none
  std::atomic<bool> stopping{false};
  bool shut_down = false;
  int64_t opened_ns = 0;
};

}  // namespace cairn::engine
