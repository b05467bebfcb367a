#pragma once
// Producer: one consumer's connection, seen from the node that has the data. Pure: messages, notices of new
// operations and the time go in; messages to be sent come out of Poll. No thread, socket or clock; it reads
// the engine (memory, and bounded pieces of disk) when it is polled.
//
// A vbucket's stream is in one of these states:
//   probe     opened; decides whether memory still holds what the consumer needs
//   backfill  reads the disk: data when the log does not reach back so far, then the log; at its end opens a
//             cursor and, when memory has moved on meanwhile, reads the disk again
//   stream    follows the cursor in memory
//   paused    has nothing to send (counted as stream), or may not: no credits, or a backfill slot is awaited
// Rules: docs/tap.md. Sends only with credits left; one snapshot of one vbucket at a time; at most
// Options::backfills_max vbuckets read the disk at once; live streams and backfills take turns.
//
// Owner and thread: a session (tap/session.h) or a simulator; one thread at a time.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/replication.h"
#include "tap/messages.h"

namespace cairn::tap {

enum class StreamState : uint8_t { kProbe, kBackfill, kStream, kPaused, kEnded };
std::string_view StreamStateName(StreamState state);

/// What stats, cairnctl and metrics show of one vbucket's stream.
struct StreamInfo {
  Vbid vbucket;
  StreamState state = StreamState::kProbe;
  Seqno sent, applied, persisted;  // by the consumer
  Seqno high;                      // of the source
  uint64_t lag_operations = 0;     // high - applied
  int64_t lag_ns = 0;              // since the oldest operation that is not applied was sent; 0: none
  uint64_t backfill_sent = 0, backfill_total = 0;  // records; total is an estimate
  Seqno verified;
  CheckpointId verified_checkpoint;
  bool digest_mismatch = false;
  EndReason last_end = EndReason::kOk;
};

struct ConnectionInfo {
  std::string name;  // of the other side
  std::string address;
  bool producing = true;  // this node sends
  bool connected = false;
  uint64_t credits = 0;                              // bytes that may still be sent
  uint64_t bytes = 0, messages = 0, operations = 0;  // sent or received
  uint64_t backfilled_operations = 0;                // of `operations`
  uint64_t reconnects = 0;
  int64_t connected_ns = 0;  // steady
  std::string last_error;
  std::vector<StreamInfo> streams;
};

class Producer {
 public:
  struct Options {
    std::string name;  // of this node
    size_t chunk_bytes = kChunkBytesSoft;
    uint32_t backfills_max = 2;  // a Poll reads about chunk_bytes of one of them
    uint64_t max_item_size = 1u << 20;
    bool may_replicate = true;             // the peer's right
    int64_t takeover_ns = 10'000'000'000;  // clients of a vbucket wait at most so long for its receiver
  };
  Producer(engine::Replication& replication, const Options& options, int64_t now_ns);
  ~Producer();  // closes its cursors
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  /// A message of the consumer. A bad one ends the connection by name: the goodbye is the last of Poll.
  void OnMessage(const ConsumerMessage& message, int64_t now_ns);
  /// The vbucket has new operations or another state (from a Replication listener, moved to this thread).
  void OnOperations(Vbid vbucket);
  /// The next message to send, or nothing for now; a chunk in it ends with the operation that reaches
  /// `chunk_bytes` (at most Options::chunk_bytes). After a goodbye: nothing, and ended(). `here`: by
  /// a thread that serves clients; what would take longer than some microseconds (the disk, large items) is
  /// left for another Poll.
  std::optional<ProducerMessage> Poll(int64_t now_ns, size_t chunk_bytes = SIZE_MAX, bool here = false);
  /// When Poll may have something although no event came (0: at once); INT64_MAX: never. Asked when Poll gave
  /// nothing.
  int64_t NextPollNs() const;
  /// Answers to openings that Poll has not given yet.
  size_t answers_waiting() const;
  /// A Poll may read the disk.
  bool reads_disk() const;
  /// Nothing is under way but live streams: no backfill, takeover, or unfinished snapshot; and no client has
  /// waited for replicas of late: what a thread sends that has just executed a write is sent before its
  /// client begins to wait, so it could not say `prompt`.
  bool is_simple(int64_t now_ns) const;
  /// Does something wait for what the consumer says next: credits, an opening, progress that a client waits
  /// for? Asked when Poll gave nothing.
  bool awaits_input() const;
  /// The consumer's name and node; empty before its hello.
  std::string_view consumer_name() const;
  /// Ends the connection with a goodbye (shutdown, lost privilege).
  void End(EndReason reason, std::string_view text);
  bool ended() const;
  EndReason end_reason() const;

  ConnectionInfo info(int64_t now_ns) const;

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace cairn::tap
