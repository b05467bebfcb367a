#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <utility>

namespace cairn::checkpoint {

CheckpointInfo Checkpoint::info() const {
  CheckpointInfo info;
  info.id = id_;
  info.first = first_;
  info.last = last_;
  info.open = open_;
  info.live_items = live_items_;
  info.bytes = item_bytes_;
  info.end_digest = end_digest_.value_or(0);
  info.digest_known = end_digest_.has_value();
  info.opened_ns = opened_ns_;
  return info;
}

void Checkpoint::AddTail(Seqno base, Trash& trash) {
  SealTail(trash);
  const bool behind_gap = base != last_ + 1;
  const size_t bytes = kChunkBytes[behind_gap ? 0 : std::min(chunks_.size(), kChunkBytes.size() - 1)];
  chunks_.PushBack(Entry{base, Chunk::New(bytes)});
  tail_ = chunks_.back().chunk.get();
  tail_base_ = base;
  slot_bytes_ += tail_->memory_bytes() + sizeof(Entry);
}

void Checkpoint::SealTail(Trash& trash) {
  // Only a sealed chunk may become hollow, so one that lost all its slots before is looked at here.
  if (tail_ != nullptr && tail_->live() == 0) GiveUp(std::move(chunks_.back().chunk), trash);
  tail_ = nullptr;
}

void Checkpoint::GiveUp(ChunkPtr chunk, Trash& trash) {
  item_bytes_ -= chunk->item_bytes();
  slot_bytes_ -= chunk->memory_bytes();
  trash.rest().chunks.push_back(std::move(chunk));
}

size_t Checkpoint::EntryOf(Seqno seqno) const {
  const size_t count = chunks_.size();
  if (count == 0 || seqno < chunks_.front().base) return count;
  const Seqno last_base = chunks_.back().base;
  if (seqno >= last_base) return count - 1;
  // Full chunks that lie end to end: the distance tells the index. True on an active for all but the first
  // few chunks.
  const uint64_t back = (last_base - seqno + kFullChunkSlots - 1) / kFullChunkSlots;
  if (back < count) {
    const size_t guess = count - 1 - back;
    if (chunks_[guess].base <= seqno && seqno < chunks_[guess + 1].base) return guess;
  }
  return chunks_.FirstIndex([seqno](const Entry& entry) { return entry.base > seqno; }) - 1;
}

void Checkpoint::SupersedeHeld(Seqno replaced, Trash& trash) {
  const size_t index = EntryOf(replaced);
  if (index == chunks_.size() || chunks_[index].chunk == nullptr) return;
  Entry& entry = chunks_[index];
  Chunk& chunk = *entry.chunk;
  const uint64_t offset = replaced - entry.base;
  if (offset >= chunk.used() || !chunk.Holds(static_cast<uint32_t>(offset))) return;
  const size_t before = chunk.item_bytes();
  trash.Add(chunk.Take(static_cast<uint32_t>(offset)));
  item_bytes_ -= before - chunk.item_bytes();
  --live_items_;
  if (chunk.live() == 0 && &chunk != tail_) GiveUp(std::move(entry.chunk), trash);
}

void Checkpoint::Close(std::optional<uint64_t> digest) {
  open_ = false;
  end_digest_ = digest;
  tail_ = nullptr;
}

Seqno Checkpoint::Release(Seqno through, Trash& trash) {
  Seqno released;
  while (!chunks_.empty()) {
    Entry& front = chunks_.front();
    if (front.chunk != nullptr) {
      if (front.last() > through) break;
      released = front.last();
      released_item_bytes_ += front.chunk->item_bytes();
      if (front.chunk.get() == tail_) tail_ = nullptr;
      GiveUp(std::move(front.chunk), trash);
    }
    slot_bytes_ -= sizeof(Entry);
    chunks_.PopFront();
  }
  if (tail_ != nullptr && tail_base_ <= through) SealTail(trash);
  return released;
}

void Checkpoint::ReleaseAll(Trash& trash) {
  released_item_bytes_ += item_bytes_;
  item_bytes_ = 0;
  slot_bytes_ = 0;
  tail_ = nullptr;
  if (!chunks_.empty()) trash.rest().lists.push_back(std::exchange(chunks_, {}));
}

void Checkpoint::Read(Seqno after, size_t items_max, size_t bytes_max, Batch& batch) const {
  // When `after` lies before the first chunk (a gap of a replica, or released), reading starts there.
  size_t index = EntryOf(after + 1);
  if (index == chunks_.size()) index = 0;
  for (; index < chunks_.size(); ++index) {
    const Entry& entry = chunks_[index];
    if (entry.chunk == nullptr) continue;
    const Chunk& chunk = *entry.chunk;
    const uint64_t skip = after < entry.base ? 0 : after - entry.base + 1;
    if (skip >= chunk.used()) continue;
    for (uint32_t i = chunk.NextLive(static_cast<uint32_t>(skip)); i < chunk.used();
         i = chunk.NextLive(i + 1)) {
      Item* item = chunk.at(i);
      const size_t bytes = item->allocated_bytes();
      const size_t taken = batch.operations.size();
      if (taken > 0 && (taken >= items_max || bytes > bytes_max - std::min(bytes_max, batch.bytes))) return;
      batch.operations.push_back(Operation{ItemRef::Share(item), id_});
      batch.bytes += bytes;
      batch.last = entry.base + i;
    }
  }
  // Nothing live remains: the batch takes the gaps up to the end along. (The last slot of a checkpoint is
  // the newest and so never a gap, but nothing here depends on that.) The gap before an empty checkpoint
  // waits for the first operation.
  if (!empty()) batch.last = std::max(batch.last, last_);
}

uint64_t Checkpoint::CountAfter(Seqno after) const {
  uint64_t count = 0;
  for (size_t i = chunks_.size(); i-- > 0;) {
    const Entry& entry = chunks_[i];
    if (entry.chunk != nullptr) {
      const uint64_t skip = after < entry.base ? 0 : after - entry.base + 1;
      if (skip < entry.chunk->used()) count += entry.chunk->CountFrom(static_cast<uint32_t>(skip));
    }
    if (entry.base <= after) break;
  }
  return count;
}

}  // namespace cairn::checkpoint
