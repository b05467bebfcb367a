#pragma once
// The inside of a Consumer: the connection, and what is followed. Included by tap/consumer*.cc only.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/tap_frame.h"
#include "tap/consumer.h"

namespace cairn::tap {

using engine::VbucketPosition;
using engine::VbucketState;

/// Grants a chunk's bytes again when the last of what came in it has been applied or forgotten.
struct ChunkCredit {
  ChunkCredit(Consumer::Rep* owner, uint64_t number, size_t size)
      : rep(owner), connection(number), bytes(size) {}
  ~ChunkCredit();
  ChunkCredit(const ChunkCredit&) = delete;
  ChunkCredit& operator=(const ChunkCredit&) = delete;
  Consumer::Rep* rep;
  uint64_t connection;
  size_t bytes;
};
using ChunkCreditRef = std::shared_ptr<ChunkCredit>;

/// One thing to be done to a vbucket, in the order in which it came.
struct Event {
  enum class Kind : uint8_t { kSnapshot, kData, kCheckpointEnd, kState, kEnd };
  Kind kind = Kind::kSnapshot;
  engine::SnapshotRange range;               // kSnapshot, kData
  std::vector<ItemRef> items;                // of it
  bool last_part = false;                    // kData
  engine::CheckpointEnd end;                 // kCheckpointEnd
  VbucketState state = VbucketState::kDead;  // kState
  uint64_t epoch = 0;
  EndReason reason = EndReason::kOk;  // kEnd
  std::string text;
  std::vector<ChunkCreditRef> credits;  // of the chunks it came in
};

/// A vbucket that is followed, or was.
struct Follow {
  enum class Phase : uint8_t {
    kIdle,         // will be asked for
    kAsking,       // an answer is on its way
    kDemoting,     // `pending`: before it is rolled back
    kRollingBack,  // `pending`
    kAdopting,     // `pending`
    kFollowing,
    kPreparing,  // `pending`: a disk snapshot is about to be received
    kPromoting,  // `pending`: takeover
    kEnded,      // for good, or until the next connection
  };

  Vbid vbucket;
  Phase phase = Phase::kIdle;
  bool ours = false;   // dropped or promoted: never asked for again
  bool stale = false;  // `pending` belongs to an earlier connection: ask again when it is ready
  bool open = false;   // the source streams it to us
  bool deaf = false;   // closed by us: what still comes is of the old stream
  uint32_t asked = 0;  // openings without an answer
  int64_t ask_ns = 0, delay_ns = 0;
  uint32_t rollbacks = 0;  // without progress in between
  Seqno rollback_to;
  engine::PendingRef pending;
  std::optional<engine::AdoptRequest> adopting;
  bool adopting_alone = false;
  bool was_followed = false;

  uint64_t history_uuid = 0, epoch = 0;
  Seqno applied, persisted, source_high;
  bool in_data = false;       // in the middle of a disk snapshot …
  Seqno data_end;             // … up to here
  bool told_pending = false;  // takeover: the source waits for pending_ready
  bool promoted = false;
  Seqno verified;
  CheckpointId verified_checkpoint;
  bool digest_mismatch = false;
  EndReason last_end = EndReason::kOk;
  uint64_t backfilled = 0;

  std::deque<Event> held;  // what could not be applied at once
  int64_t retry_ns = 0;
  bool on_held = false, on_busy = false, on_dirty = false, on_unpersisted = false;

  bool listens() const { return open && !deaf; }
  bool can_apply() const { return phase == Phase::kFollowing && !pending; }
};

struct Consumer::Rep {
  Rep(engine::Replication& repl, const Options& opts);

  // consumer.cc: the connection
  void Fail(EndReason reason, std::string_view text);
  void FailFor(Vbid vbucket, std::string_view what);
  void OnMessage(ProducerMessage message, int64_t now);
  std::optional<ConsumerMessage> Poll(int64_t now);
  Progress ProgressOf(const Follow& follow) const;
  int64_t NextProgressNs() const;
  void AddProgress(ConsumerMessage& message, int64_t now);
  void AddCredits(ConsumerMessage& message);

  // consumer_follow.cc: a vbucket's life
  void AskLater(Follow& follow, int64_t now);
  void AskAt(Follow& follow, int64_t at);
  void Ask(Follow& follow, ConsumerMessage& message);
  void OnAnswers(const std::vector<StreamAnswer>& answers, int64_t now);
  bool OnAnswer(const StreamAnswer& answer, int64_t now);
  void Adopt(const std::vector<Vbid>& vbuckets);
  void RollBack(Follow& follow, Seqno to);
  void EndFollow(Follow& follow, EndReason reason, std::string_view text);
  void Refused(Follow& follow, EndReason reason, std::string_view text, int64_t now);
  void NoteEnd(Follow& follow, EndReason reason, std::string_view text);
  void CloseStream(Follow& follow);
  void Wait(Follow& follow, Follow::Phase phase, engine::PendingRef pending);
  void PollPending(int64_t now);
  void PendingDone(Follow& follow, int64_t now);
  void AdoptDone(Follow& follow, const Status& status, int64_t now);
  void TellFence(const Follow& follow);
  void Forget(Follow& follow);

  // consumer_apply.cc: what the source sends
  bool Step(int64_t now);
  void TakeMessage(int64_t now);
  bool TakeFrames(int64_t now);
  void OnFrame(proto::TapFrame& frame, int64_t now);
  void OnSnapshot(const proto::TapFrame& frame, int64_t now);
  void OnOperation(proto::TapFrame& frame, int64_t now);
  void EndPart(int64_t now);
  void Deliver(Vbid vbucket, Event event, int64_t now);
  void ApplyHeld(int64_t now);
  bool Apply(Follow& follow, Event& event, int64_t now);
  bool ApplyOperations(Follow& follow, Event& event, int64_t now);
  bool ApplyData(Follow& follow, Event& event, int64_t now);
  bool EndCheckpoint(Follow& follow, const Event& event, int64_t now);
  void ChangeState(Follow& follow, const Event& event);
  void PromoteGiven();
  bool NotApplied(Follow& follow, Code code, int64_t now);
  void NoteApplied(Follow& follow, Seqno applied);
  void WatchPersisted(Follow& follow);
  void MarkDirty(Follow& follow);
  void PollPersisted(int64_t now);

  Follow* Find(Vbid vbucket) { return follows[vbucket.get()].get(); }

  engine::Replication& replication;
  const Options options;

  // Before everything that may hold a ChunkCredit.
  uint64_t connection = 0;  // counts; 0: none
  int64_t owed = 0;         // bytes applied that were not granted again; below 0: granted ahead
  int64_t outstanding = 0;  // granted and not received

  bool connected = false;
  bool hello_sent = false, welcomed = false;
  bool noop_due = false;
  std::optional<EndReason> failed;
  std::string source_name;
  int64_t connected_ns = 0, heard_ns = 0, now_ns = 0;
  int64_t progress_ns = -1'000'000'000;  // the first goes at once
  int64_t persisted_poll_ns = 0;
  bool prompt = false;       // a client of the source waits for progress …
  bool prompt_disk = false;  // … on this node's disk
  bool unhurried = false;    // something was applied since the disk was hurried

  std::vector<std::unique_ptr<Follow>> follows;  // by vbucket; those of the options
  std::set<std::pair<int64_t, Vbid>> asks;       // when which is asked for
  std::vector<Vbid> busy;                        // with `pending`
  std::vector<Vbid> held;                        // with something that waits to be applied
  std::deque<Vbid> dirty;                        // with progress to be told, oldest first
  std::deque<Vbid> unpersisted;                  // with more applied than persisted
  std::map<uint64_t, std::vector<Vbid>> given;   // takeover: by epoch, until the step's end
  std::vector<Vbid> closes;                      // to be sent
  std::vector<FenceNotice> fences;               // to be sent
  std::vector<Progress> last_words;              // to be sent before their streams are closed

  std::deque<ProducerMessage> queue;
  std::optional<proto::TapChunkReader> reader;  // of the first message's chunk
  ChunkCreditRef credit;                        // of that chunk
  /// The snapshot whose operations are being read: of one that is applied as a whole, since its beginning.
  struct Gathering {
    bool active = false;
    bool ignored = false;  // of a stream that has been closed
    bool whole = false;    // memory, log: more of it may come in the next chunk
    proto::TapFrame head;
    uint32_t left = 0;  // operations of this part
    Seqno last;
    Event event;
  } gathering;
  size_t budget = 0;          // operations that this Step may still decode or apply
  int64_t granted_ahead = 0;  // for the snapshot that is being gathered

  uint64_t bytes = 0, messages = 0, operations = 0, backfilled_operations = 0, connections = 0;
  std::string last_error;
};

inline ChunkCredit::~ChunkCredit() {
  if (rep->connection == connection) rep->owed += static_cast<int64_t>(bytes);
}

}  // namespace cairn::tap
