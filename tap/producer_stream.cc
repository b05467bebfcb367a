// Producer: what the streams send, from memory and from the disk, and whose turn it is.

#include <algorithm>
#include <utility>

#include "tap/producer_rep.h"

namespace cairn::tap {
namespace {

constexpr int64_t kBusyRetryNs = 5'000'000;
constexpr size_t kLargeBytes = size_t{8} << 10;

// Takes more than some microseconds to be sent.
bool IsLarge(const checkpoint::Operation& operation) {
  return proto::TapChunkWriter::OperationSizeMax(*operation.item) > kLargeBytes;
}

bool HasMarker(const checkpoint::Batch& batch) {
  return std::any_of(batch.operations.begin(), batch.operations.end(),
                     [](const checkpoint::Operation& operation) { return operation.item->is_marker(); });
}

}  // namespace

void Producer::Rep::MarkReady(Stream& stream) {
  if (stream.part) stream.noticed = true;
  if (stream.on_ready || stream.phase != Stream::Phase::kLive || stream.part) return;
  stream.on_ready = true;
  ready.push_back(stream.vbucket());
}

void Producer::Rep::WantBackfill(Stream& stream, int64_t not_before_ns) {
  stream.phase = Stream::Phase::kSlot;
  stream.proved = false;
  stream.not_before_ns = not_before_ns;
  backfills.push_back(stream.vbucket());
}

/// Fills the chunk. A snapshot that has been begun comes first; then live streams and one piece of a backfill
/// take turns, so that neither waits for the other for longer than a chunk. `here`: no backfill is
/// served.
void Producer::Rep::FillChunk(int64_t now) {
  bool backfilled = here;
  while (writer.size() < chunk_bytes) {
    if (here && current != nullptr) break;
    WriteLateFrames();
    // The rest of a snapshot comes first in the next chunk, also if there is room here.
    if (unfinished) break;
    if (current != nullptr) {
      if (current->part) {
        EncodePart(*current, now);
      } else if (backfilled) {
        break;  // the rest of its snapshot is on disk
      } else {
        backfilled = true;
        ServeBackfill(*current, now);
      }
      continue;
    }
    Stream* stream = nullptr;
    if (!backfilled && (backfill_turn || ready.empty())) {
      stream = NextBackfill(now);
      backfilled = true;
      backfill_turn = false;
      if (stream != nullptr) ServeBackfill(*stream, now);
      continue;
    }
    stream = NextLive();
    if (stream == nullptr) break;
    ServeLive(*stream, now);
  }
  WriteLateFrames();
  if (!here) backfill_turn = !backfilled;
}

void Producer::Rep::AddState(Vbid vbucket, VbucketState state, uint64_t epoch) {
  late.push_back({proto::TapFrameType::kVbucketState, vbucket, state, epoch, EndReason::kOk, {}});
}

void Producer::Rep::AddEnd(Vbid vbucket, EndReason reason, std::string_view text) {
  late.push_back(
      {proto::TapFrameType::kStreamEnd, vbucket, VbucketState::kDead, 0, reason, std::string(text)});
}

void Producer::Rep::WriteLateFrames() {
  if (current != nullptr || unfinished) return;
  for (const LateFrame& frame : late) {
    if (frame.type == proto::TapFrameType::kVbucketState) {
      writer.AddVbucketState(frame.vbucket, static_cast<uint8_t>(frame.state), frame.epoch);
    } else {
      writer.AddStreamEnd(frame.vbucket, static_cast<uint8_t>(frame.reason), frame.text);
    }
  }
  late.clear();
}

Stream* Producer::Rep::NextLive() {
  if (ready.empty()) return nullptr;
  Stream* stream = streams[ready.front().get()].get();
  ready.pop_front();
  stream->on_ready = false;
  return stream;
}

/// The next one that can read, in turn; opens those that wait as far as there are slots.
Stream* Producer::Rep::NextBackfill(int64_t now) {
  for (size_t tries = backfills.size(); tries > 0; --tries) {
    const Vbid vbucket = backfills.front();
    Stream* stream = streams[vbucket.get()].get();
    backfills.pop_front();
    if (stream->phase == Stream::Phase::kBackfill) {
      backfills.push_back(vbucket);
      return stream;
    }
    if (backfills_open >= options.backfills_max || stream->not_before_ns > now) {
      backfills.push_back(vbucket);
      continue;
    }
    if (StartBackfill(*stream, now)) {
      backfills.push_back(vbucket);
      return stream;
    }
  }
  return nullptr;
}

/// True: it reads the disk now. Else it waits again, follows memory, or has ended.
bool Producer::Rep::StartBackfill(Stream& stream, int64_t now) {
  if (!StillStreams(stream)) return false;
  if (!stream.needs_data && !stream.in_data) {
    // While it waited the merge and memory have moved; and who waited for another connection's cursor to go
    // may not need the disk at all.
    stream.phase = Stream::Phase::kJoin;
    Result<engine::StreamCursor> cursor = replication.OpenCursor(stream.vbucket(), cursor_name, stream.sent);
    if (cursor.ok()) {
      stream.cursor = *cursor;
      stream.phase = Stream::Phase::kLive;
      if (SameHistory(stream)) {
        MarkReady(stream);
      } else {
        EndStream(stream, EndReason::kRollback, "another branch of history has begun");
      }
      return false;
    }
    if (cursor.code() != Code::kOutOfRange) {
      stream.not_before_ns = 0;
      Join(stream, now);
      return false;
    }
  }
  Result<std::unique_ptr<Backfill>> opened = replication.OpenBackfill(stream.vbucket(), stream.sent);
  if (opened.code() == Code::kBusy) {
    WantBackfill(stream, now + kBusyRetryNs);
    return false;
  }
  if (!opened.ok()) {
    const bool purged = opened.code() == Code::kOutOfRange;
    EndStream(stream, purged ? EndReason::kPurged : EndReason::kBackfillFailed, opened.status().ToString());
    return false;
  }
  if (!SameHistory(stream)) {
    EndStream(stream, EndReason::kRollback, "another branch of history has begun");
    return false;
  }
  if (stream.needs_data && !(*opened)->has_data()) {
    EndStream(stream, EndReason::kPurged, "the log reaches back so far that no disk snapshot is sent");
    return false;
  }
  stream.backfill = std::move(*opened);
  stream.phase = Stream::Phase::kBackfill;
  ++backfills_open;
  return true;
}

void Producer::Rep::ServeBackfill(Stream& stream, int64_t now) {
  if (!StillStreams(stream)) return;
  Result<Backfill::Chunk> read = stream.backfill->Next(options.chunk_bytes);
  if (!read.ok()) return EndStream(stream, EndReason::kBackfillFailed, read.status().ToString());
  if (read->kind == Backfill::Kind::kEnd) return EndBackfill(stream, now);
  const bool data = read->kind == Backfill::Kind::kData;
  const bool goes_on = data ? stream.in_data : current == &stream;
  SnapshotPart part;
  part.chunk = std::move(*read);
  part.ends = part.chunk.ends_part;
  part.head.start = part.chunk.start;
  part.head.end = part.chunk.end;
  part.head.continues = goes_on;
  stream.info.backfill_sent += part.chunk.items.size();
  info.backfilled_operations += part.chunk.items.size();
  const CheckpointId checkpoint = part.chunk.checkpoint;
  // Both kinds begin where the stream stands; anything else would be a hole or a repetition.
  if (part.head.start != stream.sent) {
    return EndStream(stream, EndReason::kBackfillFailed,
                     "the disk's records do not begin where memory ended");
  }
  stream.part = std::move(part);
  if (const Result<VbucketPosition> position = replication.Position(stream.vbucket()); position.ok()) {
    // What this node's own source may take back is not to be merged further down the chain either.
    stream.part->head.source_persisted = std::min(position->persisted, position->source_persisted);
  }
  BeginPart(stream, data ? proto::TapSnapshotKind::kData : proto::TapSnapshotKind::kLog, checkpoint);
  EncodePart(stream, now);
}

void Producer::Rep::EndBackfill(Stream& stream, int64_t now) {
  const Seqno end = stream.backfill->end();
  stream.backfill.reset();
  --backfills_open;
  std::erase(backfills, stream.vbucket());
  if (end != stream.sent || current == &stream || stream.in_data) {
    return EndStream(stream, EndReason::kBackfillFailed, "the disk's records end before their end");
  }
  if (EndWhenDumped(stream)) return;
  stream.not_before_ns = 0;
  Join(stream, now);
}

/// A vbucket that was promoted while a stream had no cursor (it read the disk, or waited) cancels nothing, so
/// this is looked at whenever one is opened: what the new branch holds must not go to a consumer that does
/// not know it. Behind the opening, as a promotion from then on cancels the cursor.
bool Producer::Rep::SameHistory(const Stream& stream) const {
  const Result<VbucketPosition> position = replication.Position(stream.vbucket());
  return position.ok() && !position->failover_log.empty() &&
         position->failover_log.front().uuid == stream.history;
}

/// False when the vbucket can be streamed no more; the stream has ended then.
bool Producer::Rep::StillStreams(Stream& stream) {
  const Result<VbucketPosition> position = replication.Position(stream.vbucket());
  if (!position.ok()) {
    EndStream(stream, EndReason::kNotMyVbucket, position.status().message());
    return false;
  }
  const bool gone = position->state == VbucketState::kDead && stream.giving != Giving::kHandingOver;
  if (gone || position->in_snapshot) {
    EndStream(stream, EndReason::kStateChanged, gone ? "dead" : "a disk snapshot is being received");
    return false;
  }
  if (position->failover_log.empty() || position->failover_log.front().uuid != stream.history) {
    EndStream(stream, EndReason::kRollback, "another branch of history has begun");
    return false;
  }
  return true;
}

void Producer::Rep::ServeLive(Stream& stream, int64_t now) {
  Result<engine::StreamBatch> read = replication.Read(stream.vbucket(), *stream.cursor);
  if (read.code() == Code::kOutOfRange) {
    replication.CloseCursor(stream.vbucket(), *stream.cursor);  // dropped, and still counted
    stream.cursor.reset();
    if (stream.request.no_backfill) {
      return EndStream(stream, EndReason::kBackfillFailed, "needs the disk, and shall not read it");
    }
    return WantBackfill(stream, 0);
  }
  if (!read.ok()) {
    const bool replaced = read.code() == Code::kCancelled;
    if (!replaced || StillStreams(stream)) {
      EndStream(stream, replaced ? EndReason::kRollback : EndReason::kInternal, read.status().message());
    }
    return;
  }
  engine::StreamBatch& batch = *read;
  const bool nothing = batch.nothing();
  // A notice without operations, or a marker among them, may mean another state of the vbucket.
  if ((nothing || HasMarker(batch)) && !StillStreams(stream)) return;
  if (nothing && batch.passed > stream.sent) {
    batch.last = batch.passed;
    batch.checkpoint.id = std::max(batch.checkpoint.id, stream.checkpoint);
    return SendPart(stream, std::move(batch), now);
  }
  if (nothing) {
    ProveEnd(stream);
    if (!EndWhenDumped(stream)) GiveStep(stream, now);
    return;
  }
  // Seqnos that have no operations may be counted twice where a cursor begins, but never be left out.
  if (batch.last >= batch.first && batch.first > stream.sent + 1) {
    replication.CloseCursor(stream.vbucket(), *stream.cursor);
    stream.cursor.reset();
    return WantBackfill(stream, 0);
  }
  stream.proved = true;  // the next end from memory carries a digest
  if (batch.operations.empty()) {
    stream.sent = std::max(stream.sent, batch.last);
    EndCheckpoint(stream, batch);
    return MarkReady(stream);
  }
  SendPart(stream, std::move(batch), now);
}

/// A snapshot from memory; one without operations passes over seqnos that have none.
void Producer::Rep::SendPart(Stream& stream, engine::StreamBatch batch, int64_t now) {
  SnapshotPart part;
  part.in_memory = true;
  part.ends = true;
  part.head.start = stream.sent;
  part.head.end = batch.last;
  part.head.source_persisted = batch.source_persisted;
  part.passes = batch.operations.empty() || batch.passed > batch.last;
  const CheckpointId checkpoint = batch.checkpoint.id;
  part.batch = std::move(batch);
  const bool large = here && std::any_of(part.batch.operations.begin(), part.batch.operations.end(), IsLarge);
  stream.part = std::move(part);
  BeginPart(stream, proto::TapSnapshotKind::kMemory, checkpoint);
  if (large) {
    current = &stream;
  } else {
    EncodePart(stream, now);
  }
}

/// Completes what the snapshot says of itself. A checkpoint that this one leaves behind has ended; its digest
/// was in memory only.
void Producer::Rep::BeginPart(Stream& stream, proto::TapSnapshotKind kind, CheckpointId checkpoint) {
  proto::TapFrame& head = stream.part->head;
  head.vbucket = stream.vbucket();
  head.kind = kind;
  head.checkpoint = checkpoint;
  if (kind == proto::TapSnapshotKind::kData) {
    stream.in_data = true;
    return;
  }
  if (stream.checkpoint != CheckpointId(0) && stream.checkpoint < checkpoint) {
    writer.AddCheckpointEnd(stream.vbucket(), stream.checkpoint, stream.sent, std::nullopt);
  }
  stream.checkpoint = checkpoint;
}

/// Writes as much of the part as the chunk takes.
void Producer::Rep::EncodePart(Stream& stream, int64_t now) {
  SnapshotPart& part = *stream.part;
  const size_t count = part.size();
  const bool keys_only = stream.request.keys_only;
  const size_t first = part.next;
  writer.BeginSnapshot(part.head);
  while (part.next < count) {
    // At least one, and never beyond what a message may hold.
    const ItemRef& item = part.item(part.next);
    if (part.next > first && writer.size() >= chunk_bytes) break;
    if (writer.size() + proto::TapChunkWriter::OperationSizeMax(*item) > kChunkBytesMax) break;
    writer.AddOperation(*item, keys_only);
    ++part.next;
  }
  info.operations += part.next - first;
  const bool written = part.next == count;
  writer.EndSnapshot(written && part.ends);
  unfinished = part.head.kind != proto::TapSnapshotKind::kData && !(written && part.ends);
  part.head.continues = true;
  if (written) return EndPart(stream, now);
  // What is applied as a whole is sent without interruption; a disk snapshot's pieces, too, are finished
  // before the next one is read.
  current = &stream;
}

void Producer::Rep::EndPart(Stream& stream, int64_t now) {
  SnapshotPart part = std::move(*stream.part);
  stream.part.reset();
  const bool data = part.head.kind == proto::TapSnapshotKind::kData;
  current = data || part.ends ? nullptr : &stream;
  if (!part.ends) return;
  stream.sent = part.head.end;
  NoteSent(stream, now);
  if (data) {
    stream.in_data = false;
    stream.needs_data = false;
    stream.checkpoint = part.head.checkpoint;
  }
  if (!part.in_memory) return;
  EndCheckpoint(stream, part.batch);
  // Read takes everything, so there is more only behind a checkpoint's end, or if a notice came meanwhile;
  // and a dump or a takeover goes on when nothing is left.
  const bool noticed = std::exchange(stream.noticed, false) || part.passes;
  if (part.batch.ends_checkpoint || noticed || stream.request.dump || stream.request.takeover)
    MarkReady(stream);
}

void Producer::Rep::EndCheckpoint(Stream& stream, const checkpoint::Batch& batch) {
  if (!batch.ends_checkpoint) return;
  const checkpoint::CheckpointInfo& closed = batch.checkpoint;
  if (stream.checkpoint != CheckpointId(0) && stream.checkpoint < closed.id) {
    writer.AddCheckpointEnd(stream.vbucket(), stream.checkpoint, stream.sent, std::nullopt);
  }
  std::optional<uint64_t> digest;
  if (digests && closed.digest_known) digest = closed.end_digest;
  writer.AddCheckpointEnd(stream.vbucket(), closed.id, stream.sent, digest);
  stream.checkpoint = CheckpointId(0);
}

/// What came from disk came without digests; here the stream has caught up with everything there is.
void Producer::Rep::ProveEnd(Stream& stream) {
  if (!digests || stream.proved) return;
  stream.proved = true;
  const std::optional<engine::CheckpointEnd> end = replication.LastEnd(stream.vbucket());
  if (!end || end->last != stream.sent) return;
  writer.AddCheckpointEnd(stream.vbucket(), end->checkpoint, end->last, end->digest);
  stream.checkpoint = CheckpointId(0);
}

/// True: it was a dump, it is complete, and the stream is gone.
bool Producer::Rep::EndWhenDumped(Stream& stream) {
  if (!stream.request.dump || stream.sent < stream.dump_end) return false;
  EndStream(stream, EndReason::kOk, "");
  return true;
}

void Producer::Rep::EndStream(Stream& stream, EndReason reason, std::string_view text) {
  AddEnd(stream.vbucket(), reason, text);
  Close(stream.vbucket());
}

}  // namespace cairn::tap
