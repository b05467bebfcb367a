#pragma once
// Carries out a run: one thread, one epoll, all connections. Closed loop: each connection sends a batch,
// awaits all of its answers, sends the next. Open loop (--rate): batches have due times that do not wait
// for answers; a late batch goes out as soon as its connection is free and its latency counts from the due
// time, so a stall is seen by every operation that it would have hit (no coordinated omission).

#include <optional>

#include "base/clock.h"
#include "base/status.h"
#include "bench/loadgen/batch.h"
#include "bench/loadgen/histogram.h"
#include "bench/loadgen/options.h"
#include "bench/loadgen/server_usage.h"

namespace cairn::loadgen {

struct Outcome {
  Counters counters;
  Histogram latency;  // nanoseconds per request, from sending (or due time) to its answer
  double seconds = 0;
  double client_cpu_seconds = 0;
  size_t lost_connections = 0;
  uint64_t unsent = 0;  // open loop: keys that were due before the end and never left, for lack of answers
  uint64_t distinct_sets = 0;  // with --count-distinct
  bool complete = false;       // everything that was asked for was done
  bool interrupted = false;    // by SIGINT or SIGTERM
  std::optional<ProcessUsage> server_before;
  std::optional<ProcessUsage> server_after;
};

/// Connects, measures, disconnects. SIGINT and SIGTERM must be blocked by the caller; the run takes them
/// as the order to stop. Errors: what kept the run from starting.
Result<Outcome> Run(const Options& options, const Clock& clock);

}  // namespace cairn::loadgen
