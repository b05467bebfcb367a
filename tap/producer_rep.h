#pragma once
// The inside of a Producer: the connection, and the streams of its vbuckets. Included by tap/producer*.cc
// only.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/tap_frame.h"
#include "tap/producer.h"

namespace cairn::tap {

using engine::Backfill;
using engine::VbucketPosition;
using engine::VbucketState;

/// A snapshot that is being put into chunks: a batch from memory, or a piece of the disk's.
struct SnapshotPart {
  checkpoint::Batch batch;
  Backfill::Chunk chunk;
  proto::TapFrame head;    // what the snapshot says of itself
  bool in_memory = false;  // the operations are the batch's, else the chunk's
  bool ends = false;       // the snapshot ends with these operations
  bool passes = false;     // the source has passed over seqnos: look again behind it
  size_t next = 0;         // the operation to be written

  size_t size() const { return in_memory ? batch.operations.size() : chunk.items.size(); }
  ItemRef& item(size_t i) { return in_memory ? batch.operations[i].item : chunk.items[i]; }
};

/// Takeover, giving side; in order.
enum class Giving : uint8_t {
  kNo,
  kFollowing,    // until the receiver is close
  kSuspended,    // clients wait; the rest is sent
  kPendingSent,  // the receiver has been told to be ready
  kHandingOver,  // this node becomes dead
  kTold,         // the receiver has been told to be active
};

struct Stream {
  enum class Phase : uint8_t { kJoin, kSlot, kBackfill, kLive };

  OpenStream request;
  Phase phase = Phase::kJoin;
  uint64_t history = 0;       // the newest branch that the consumer was told of
  Seqno sent;                 // everything up to it is in chunks, or in `part`
  CheckpointId checkpoint;    // open at `sent`; 0: none, or not known
  bool needs_data = false;    // it is in the middle of a disk snapshot, which only another one ends
  bool in_data = false;       // parts of a disk snapshot have been sent, not yet the last
  Seqno dump_end;             // a dump's
  bool answered = false;      // the consumer knows that it is open
  bool on_ready = false;      // is in Rep::ready
  bool proved = false;        // an end with a digest has been sent, or will be
  bool noticed = false;       // something new came while `part` was being written
  int64_t not_before_ns = 0;  // the disk was busy
  std::optional<engine::StreamCursor> cursor;
  std::unique_ptr<Backfill> backfill;
  std::optional<SnapshotPart> part;

  Giving giving = Giving::kNo;
  int64_t giving_deadline_ns = 0;
  engine::PendingRef handover;
  uint64_t handover_epoch = 0;

  StreamInfo info;
  struct Sent {
    Seqno seqno;
    int64_t ns = 0;
  };
  std::deque<Sent> unapplied;  // ends of snapshots not yet applied; at most kUnappliedMax

  Vbid vbucket() const { return request.vbucket; }
};

/// A frame that is no part of a snapshot, and has to wait until none is unfinished.
struct LateFrame {
  proto::TapFrameType type = proto::TapFrameType::kStreamEnd;
  Vbid vbucket;
  VbucketState state = VbucketState::kDead;
  uint64_t epoch = 0;
  EndReason reason = EndReason::kOk;
  std::string text;
};

struct Producer::Rep {
  Rep(engine::Replication& repl, const Options& opts, int64_t now_ns);

  // producer.cc: the connection
  void Refuse(EndReason reason, std::string_view text);
  bool Greet(const ConsumerMessage& message);
  std::optional<ProducerMessage> Poll(int64_t now);
  std::optional<ProducerMessage> PollControl();
  void CheckTimes(int64_t now);
  void CloseAll();
  bool HasWork() const;
  bool InHurry() const { return replication.clients_wait() || !giving.empty(); }
  bool OwesPrompt() const;

  // producer_open.cc: openings, progress
  void Open(const OpenStream& request, int64_t now);
  void Accept(const OpenStream& request, const VbucketPosition& position, int64_t now);
  bool RepeatHandover(const OpenStream& request, const VbucketPosition& position);
  void Answer(const OpenStream& request, EndReason reason, std::string_view text, Seqno rollback = Seqno(0));
  void OnProgress(const Progress& progress, int64_t now);
  void Close(Vbid vbucket);
  void Release(Stream& stream);
  StreamInfo Info(const Stream& stream, int64_t now) const;

  // producer_stream.cc: what a stream sends
  void FillChunk(int64_t now);
  Stream* NextBackfill(int64_t now);
  Stream* NextLive();
  void Join(Stream& stream, int64_t now);
  void WantBackfill(Stream& stream, int64_t not_before_ns);
  bool StartBackfill(Stream& stream, int64_t now);
  void ServeLive(Stream& stream, int64_t now);
  void SendPart(Stream& stream, engine::StreamBatch batch, int64_t now);
  void ServeBackfill(Stream& stream, int64_t now);
  void EndBackfill(Stream& stream, int64_t now);
  bool StillStreams(Stream& stream);
  bool SameHistory(const Stream& stream) const;
  void BeginPart(Stream& stream, proto::TapSnapshotKind kind, CheckpointId checkpoint);
  void EncodePart(Stream& stream, int64_t now);
  void EndPart(Stream& stream, int64_t now);
  void EndCheckpoint(Stream& stream, const checkpoint::Batch& batch);
  void ProveEnd(Stream& stream);
  void NoteSent(Stream& stream, int64_t now);
  void MarkReady(Stream& stream);
  void EndStream(Stream& stream, EndReason reason, std::string_view text);
  bool EndWhenDumped(Stream& stream);
  void AddState(Vbid vbucket, VbucketState state, uint64_t epoch);
  void AddEnd(Vbid vbucket, EndReason reason, std::string_view text);
  void WriteLateFrames();

  // producer_takeover.cc
  void GiveStep(Stream& stream, int64_t now);
  void Suspend(Stream& stream, int64_t now);
  void HandOver();
  void FinishHandover(Stream& stream);
  void StepGiving(int64_t now);

  engine::Replication& replication;
  const Options options;

  bool greeted = false;
  Hello hello;
  std::string cursor_name;
  bool digests = false;
  bool told_prompt = false;             // the consumer tells its progress at once …
  bool told_prompt_disk = false;        // … and hurries what it applies to its disk
  int64_t prompted_ns = INT64_MIN / 2;  // when it was last told so
  std::optional<Welcome> welcome;
  std::deque<StreamAnswer> answers;
  std::optional<EndReason> goodbye;
  std::string goodbye_text;
  bool ended = false;
  EndReason end_reason = EndReason::kOk;

  int64_t credits = 0;  // below 0 after a chunk that was larger than what was left
  int64_t connected_ns = 0, heard_ns = 0, sent_ns = 0;
  int64_t starved_ns = 0;  // since when data waits for credits; 0: it does not

  std::vector<std::unique_ptr<Stream>> streams;  // by vbucket
  size_t open_streams = 0;
  std::deque<Vbid> ready;            // live streams with something new, each once
  std::deque<Vbid> backfills;        // streams that read the disk, or wait for a slot; in turn
  std::vector<Vbid> giving;          // takeovers
  std::vector<Vbid> receiver_ready;  // of `giving`: so says the message that is being read
  size_t backfills_open = 0;
  Stream* current = nullptr;  // in the middle of a snapshot that nothing may interrupt
  bool backfill_turn = false;
  std::deque<LateFrame> late;
  size_t chunk_bytes = 0;        // of the chunk that is being filled
  bool here = false;             // … by a thread that serves clients
  proto::TapChunkWriter writer;  // empty between two Polls
  bool unfinished = false;       // its last frame is a snapshot that must be gone on with first
  ConnectionInfo info;
};

}  // namespace cairn::tap
