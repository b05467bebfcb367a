#pragma once
// Consumer: a connection to a source, seen from the node that follows it. Pure: messages and the time go in;
// Step applies bounded pieces to the engine; Poll gives what is to be sent (openings, progress, credits,
// answers). No thread, socket or clock.
//
// A vbucket's life here:  asking → (rolling back → asking)* → adopting → following → ended
// Operations are buffered until their snapshot is whole (at most one unfinished snapshot per connection, a
// checkpoint's size) and then applied in one go, so the vbucket is at an exact point whenever others look.
// Credits are granted when bytes have been *applied*, never on receipt.
// A stream that ends with a reason that can pass (disconnected, too slow, backfill failed, state changed,
// rollback, purged) is asked for again with a growing delay; one that cannot (fenced, not my vbucket, lost
// privilege) stays ended and is shown.
//
// Owner and thread: a session (tap/session.h) or a simulator; one thread at a time. It outlives a connection:
// Connected and Disconnected tell it when there is one.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/replication.h"
#include "tap/messages.h"
#include "tap/producer.h"

namespace cairn::tap {

class Consumer {
 public:
  struct Options {
    std::string name;                   // this consumer's, unique at the source
    std::vector<Vbid> vbuckets;         // to follow; empty: all
    uint64_t window_bytes = 32u << 20;  // credits; must hold a checkpoint and an item
    uint32_t noop_interval_ms = 1'000;
    uint32_t idle_timeout_ms = 30'000;
    int64_t reask_delay_min_ns = 50'000'000, reask_delay_max_ns = 5'000'000'000;
    size_t apply_operations_per_step = 256;  // some hundred microseconds
    uint64_t max_item_size = 20u << 20;
    bool takeover = false;  // of all vbuckets, once caught up: ends active
  };
  Consumer(engine::Replication& replication, const Options& options);
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  /// A fresh connection: everything is asked for again. The next Poll gives the Hello.
  void Connected(int64_t now_ns);
  /// The connection is gone; what was whole is still applied by Step, an unfinished snapshot is forgotten.
  void Disconnected(std::string_view why, int64_t now_ns);
  /// A message of the source: checked, queued. A bad one ends the connection by name.
  void OnMessage(ProducerMessage message, int64_t now_ns);
  /// Applies some of what is queued. True: there is more to do at once.
  bool Step(int64_t now_ns);
  std::optional<ConsumerMessage> Poll(int64_t now_ns);
  /// When Step or Poll should be called although no message came; INT64_MAX: never.
  int64_t NextPollNs() const;

  /// Stops following some vbuckets (they were promoted, or given to another source).
  void Drop(const std::vector<Vbid>& vbuckets);
  /// Nothing is followed any more, or the connection must be closed now (a bad message, idle, goodbye).
  bool wants_disconnect() const;
  EndReason end_reason() const;
  /// Takeover: every vbucket is active here.
  bool takeover_done() const;
  /// All vbuckets follow and have applied what the source had when they were opened.
  bool in_sync() const;

  ConnectionInfo info(int64_t now_ns) const;

  struct Rep;  // tap/consumer_rep.h

 private:
  std::unique_ptr<Rep> rep_;
};

}  // namespace cairn::tap
