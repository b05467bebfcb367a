#include "checkpoint/checkpoint_manager.h"

#include <algorithm>
#include <utility>

#include "checkpoint/checkpoint.h"

namespace cairn::checkpoint {
namespace {

// A place in the sequence. `ordinal` counts checkpoints since the manager was made (ids may jump on a
// replica): the checkpoint that is read next. It tells "all of N was read, but not its end" from "N's end
// was read too", which the seqno alone cannot.
struct Position {
  uint64_t ordinal = 0;
  Seqno seqno;
  auto operator<=>(const Position&) const = default;
};

struct Cursor {
  CursorId id;
  bool droppable;
  std::string name;
  Position read;
  Position confirmed;
};

}  // namespace

struct CheckpointManager::Rep {
  Rep(const Limits& l, Seqno last_seqno, CheckpointId open_id, int64_t now_ns)
      : limits(l),
        high(last_seqno),
        next(last_seqno + 1),
        released(last_seqno),
        open(open_id, next, 0, now_ns) {}

  Limits limits;
  Seqno high;
  Seqno next;
  Seqno released;  // operations up to here are not (all) held any more
  Checkpoint open;
  Fifo<Checkpoint> closed;
  uint64_t open_ordinal = 0;
  size_t closed_bytes = 0;  // Σ memory_bytes of `closed`
  CheckpointId last_closed;
  CursorId last_cursor_id = 0;
  std::vector<Cursor> cursors;

  uint64_t front_ordinal() const { return open_ordinal - closed.size(); }
  const Checkpoint& At(uint64_t ordinal) const {
    return ordinal == open_ordinal ? open : closed[ordinal - front_ordinal()];
  }
  Checkpoint& front() { return closed.empty() ? open : closed.front(); }

  const Cursor* Find(CursorId id) const {
    for (const Cursor& cursor : cursors) {
      if (cursor.id == id) return &cursor;
    }
    return nullptr;
  }
  const Cursor& Get(CursorId id) const {
    const Cursor* cursor = Find(id);
    CAIRN_CHECK(cursor != nullptr);
    return *cursor;
  }
  Cursor& Get(CursorId id) { return const_cast<Cursor&>(std::as_const(*this).Get(id)); }

  void Append(ItemRef item, Seqno replaced, int64_t now_ns, Trash& trash) {
    high = item->seqno();
    next = high + 1;
    if (replaced.get() != 0) open.Supersede(replaced, trash);
    open.Append(std::move(item), now_ns, trash);
  }
  void CloseInto(CheckpointId next_id, std::optional<uint64_t> digest, int64_t now_ns);
  Position PositionAfter(Seqno seqno) const;
  uint64_t RemainingAfter(const Position& position) const;
  Result<CursorId> AddCursor(std::string name, Seqno from, bool droppable);
  void Remove(const Cursor& cursor, Trash& trash);
  void ReleaseConfirmed(Trash& trash);
};

void CheckpointManager::Rep::CloseInto(CheckpointId next_id, std::optional<uint64_t> digest, int64_t now_ns) {
  open.Close(digest);
  last_closed = open.id();
  closed_bytes += open.memory_bytes() + sizeof(Checkpoint);
  Checkpoint opened(next_id, next, open.live_through(), now_ns);
  closed.PushBack(std::exchange(open, std::move(opened)));
  ++open_ordinal;
}

// Where a cursor stands that has dealt with everything up to `seqno`, checkpoints' ends included.
Position CheckpointManager::Rep::PositionAfter(Seqno seqno) const {
  const size_t index = closed.FirstIndex([seqno](const Checkpoint& c) { return c.last() > seqno; });
  return Position{front_ordinal() + index, seqno};
}

uint64_t CheckpointManager::Rep::RemainingAfter(const Position& position) const {
  const Checkpoint& checkpoint = At(position.ordinal);
  return checkpoint.CountAfter(position.seqno) + (open.live_through() - checkpoint.live_through());
}

Result<CursorId> CheckpointManager::Rep::AddCursor(std::string name, Seqno from, bool droppable) {
  from = std::max(from, Seqno(1));
  if (from > next) return Status(Code::kInvalidArgument, "cursor beyond the end of the sequence");
  if (from <= released) return Status(Code::kOutOfRange, "operations from there on are on disk only");
  const bool taken =
      std::any_of(cursors.begin(), cursors.end(), [&](const Cursor& c) { return c.name == name; });
  if (taken) return Status(Code::kExists, "cursor exists: " + name);
  const Position at = PositionAfter(from - 1);
  cursors.push_back(Cursor{++last_cursor_id, droppable, std::move(name), at, at});
  return last_cursor_id;
}

void CheckpointManager::Rep::Remove(const Cursor& cursor, Trash& trash) {
  cursors.erase(cursors.begin() + (&cursor - cursors.data()));
  ReleaseConfirmed(trash);
}

void CheckpointManager::Rep::ReleaseConfirmed(Trash& trash) {
  if (cursors.empty()) return;
  Position floor = cursors.front().confirmed;
  for (const Cursor& cursor : cursors) floor = std::min(floor, cursor.confirmed);

  while (front_ordinal() < floor.ordinal) {
    Checkpoint gone = closed.PopFront();
    closed_bytes -= gone.memory_bytes() + sizeof(Checkpoint);
    released = std::max(released, gone.last());
    gone.ReleaseAll(trash);
  }
  Checkpoint& first = front();
  const size_t before = first.memory_bytes();
  released = std::max(released, first.Release(floor.seqno, trash));
  if (!first.open()) closed_bytes -= before - first.memory_bytes();
}

CheckpointManager::CheckpointManager(const Limits& limits, Seqno last_seqno, CheckpointId open_id,
                                     int64_t now_ns)
    : rep_(std::make_unique<Rep>(limits, last_seqno, open_id, now_ns)) {}
CheckpointManager::~CheckpointManager() = default;

Seqno CheckpointManager::next_seqno() const { return rep_->next; }
Seqno CheckpointManager::high_seqno() const { return rep_->high; }

void CheckpointManager::SkipTo(Seqno next) {
  CAIRN_CHECK(rep_->open.empty());
  if (next <= rep_->next) return;
  rep_->next = next;
  rep_->open.SetFirst(next);
}

void CheckpointManager::Append(ItemRef item, Seqno replaced, int64_t now_ns, Trash& trash) {
  CAIRN_CHECK(item->seqno() == rep_->next);
  rep_->Append(std::move(item), replaced, now_ns, trash);
}

bool CheckpointManager::CloseOpen(std::optional<uint64_t> digest, int64_t now_ns) {
  if (rep_->open.empty()) return false;
  rep_->CloseInto(rep_->open.id() + 1, digest, now_ns);
  return true;
}

bool CheckpointManager::ShouldClose(int64_t now_ns) const {
  const Checkpoint& open = rep_->open;
  const Limits& limits = rep_->limits;
  return !open.empty() &&
         (open.live_items() >= limits.items_max || open.logical_bytes() >= limits.bytes_max ||
          now_ns - open.first_append_ns() >= limits.age_max_ns);
}

Status CheckpointManager::AppendAt(ItemRef item, Seqno replaced, int64_t now_ns, Trash& trash) {
  if (item->seqno() < rep_->next) return Status(Code::kOutOfRange, "seqno goes back");
  rep_->Append(std::move(item), replaced, now_ns, trash);
  return Status::Ok();
}

Status CheckpointManager::OpenNext(CheckpointId id, std::optional<uint64_t> digest, int64_t now_ns) {
  const CheckpointId now_open = rep_->open.id();
  if (id < now_open) return Status(Code::kInvalidArgument, "checkpoint id goes back");
  if (id == now_open) return Status::Ok();
  if (rep_->open.empty()) {
    rep_->open.Renumber(id);
  } else {
    rep_->CloseInto(id, digest, now_ns);
  }
  return Status::Ok();
}

Result<CursorId> CheckpointManager::AddCursor(std::string name, Seqno from) {
  return rep_->AddCursor(std::move(name), from, /*droppable=*/false);
}

Result<CursorId> CheckpointManager::AddDroppableCursor(std::string name, Seqno from) {
  return rep_->AddCursor(std::move(name), from, /*droppable=*/true);
}

bool CheckpointManager::HasCursor(CursorId cursor) const { return rep_->Find(cursor) != nullptr; }

void CheckpointManager::RemoveCursor(CursorId id, Trash& trash) {
  const Cursor* cursor = rep_->Find(id);
  if (cursor != nullptr) rep_->Remove(*cursor, trash);
}

Batch CheckpointManager::Read(CursorId id, size_t items_max, size_t bytes_max) {
  Cursor& cursor = rep_->Get(id);
  const Checkpoint& checkpoint = rep_->At(cursor.read.ordinal);
  Batch batch;
  batch.first = cursor.read.seqno + 1;
  batch.last = cursor.read.seqno;
  checkpoint.Read(cursor.read.seqno, items_max, bytes_max, batch);
  batch.ends_checkpoint = !checkpoint.open() && batch.last == checkpoint.last();
  batch.checkpoint = checkpoint.info();
  cursor.read.seqno = batch.last;
  if (batch.ends_checkpoint) ++cursor.read.ordinal;
  return batch;
}

bool CheckpointManager::HasMore(CursorId id) const {
  const Position& read = rep_->Get(id).read;
  return read.ordinal < rep_->open_ordinal || read.seqno < rep_->high;
}

void CheckpointManager::Advance(CursorId id, Seqno through, Trash& trash) {
  CAIRN_CHECK(through < rep_->next);
  Cursor& cursor = rep_->Get(id);
  if (through < cursor.confirmed.seqno) return;
  if (through > cursor.read.seqno) cursor.read = rep_->PositionAfter(through);
  cursor.confirmed.seqno = through;
  // The ends that have been read and lie at or below `through` are confirmed with it.
  while (cursor.confirmed.ordinal < cursor.read.ordinal &&
         rep_->At(cursor.confirmed.ordinal).last() <= through) {
    ++cursor.confirmed.ordinal;
  }
  rep_->ReleaseConfirmed(trash);
}

void CheckpointManager::Rewind(CursorId id) {
  Cursor& cursor = rep_->Get(id);
  cursor.read = cursor.confirmed;
}

size_t CheckpointManager::Remaining(CursorId id) const { return rep_->RemainingAfter(rep_->Get(id).read); }
Seqno CheckpointManager::Confirmed(CursorId id) const { return rep_->Get(id).confirmed.seqno; }
Seqno CheckpointManager::ReadPosition(CursorId id) const { return rep_->Get(id).read.seqno; }

size_t CheckpointManager::memory_bytes() const { return rep_->closed_bytes + rep_->open.memory_bytes(); }

std::optional<std::string> CheckpointManager::DropSlowestCursor(Trash& trash) {
  const Cursor* slowest = nullptr;
  std::optional<Position> held_anyway;
  for (const Cursor& cursor : rep_->cursors) {
    if (!cursor.droppable) {
      held_anyway = std::min(held_anyway.value_or(cursor.confirmed), cursor.confirmed);
    } else if (slowest == nullptr || cursor.confirmed < slowest->confirmed) {
      slowest = &cursor;
    }
  }
  if (slowest == nullptr || (held_anyway && slowest->confirmed >= *held_anyway)) return std::nullopt;
  std::string name = slowest->name;
  rep_->Remove(*slowest, trash);
  return name;
}

CheckpointInfo CheckpointManager::open_checkpoint() const { return rep_->open.info(); }
CheckpointId CheckpointManager::last_closed_id() const { return rep_->last_closed; }

std::vector<CheckpointInfo> CheckpointManager::checkpoints() const {
  std::vector<CheckpointInfo> infos;
  infos.reserve(rep_->closed.size() + 1);
  for (uint64_t i = rep_->front_ordinal(); i <= rep_->open_ordinal; ++i) infos.push_back(rep_->At(i).info());
  return infos;
}

std::vector<CheckpointManager::CursorInfo> CheckpointManager::cursors() const {
  std::vector<CursorInfo> infos;
  infos.reserve(rep_->cursors.size());
  for (const Cursor& c : rep_->cursors) {
    infos.push_back(
        CursorInfo{c.name, c.read.seqno, c.confirmed.seqno, rep_->RemainingAfter(c.read), c.droppable});
  }
  return infos;
}

}  // namespace cairn::checkpoint
