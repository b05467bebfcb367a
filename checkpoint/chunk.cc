#include "checkpoint/chunk.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace cairn::checkpoint {

Chunk::Chunk(uint32_t capacity) : capacity_(capacity), words_(WordsFor(capacity)) {
  std::memset(bits(), 0, words_ * sizeof(uint64_t));
}

ChunkPtr Chunk::New(size_t bytes) {
  CAIRN_DCHECK(bytes >= 160 && bytes <= 65536);
  void* memory = std::malloc(bytes);
  CAIRN_CHECK(memory != nullptr);
  return ChunkPtr(new (memory) Chunk(SlotsIn(bytes)));
}

void ChunkDeleter::operator()(Chunk* chunk) const {
  for (uint32_t i = chunk->NextLive(0); i < chunk->used_; i = chunk->NextLive(i + 1)) {
    chunk->slots()[i]->DropRef();
  }
  chunk->~Chunk();
  std::free(chunk);
}

size_t Chunk::memory_bytes() const {
  return sizeof(Chunk) + words_ * sizeof(uint64_t) + capacity_ * kSlotBytes;
}

uint32_t Chunk::NextLive(uint32_t from) const {
  if (from >= used_) return used_;
  uint32_t word = from / 64;
  uint64_t rest = bits()[word] >> (from % 64) << (from % 64);
  while (rest == 0) {
    if (++word >= words_) return used_;
    rest = bits()[word];
  }
  return word * 64 + static_cast<uint32_t>(std::countr_zero(rest));
}

uint32_t Chunk::CountFrom(uint32_t from) const {
  if (from == 0) return live_;
  if (from >= used_) return 0;
  uint32_t word = from / 64;
  int count = std::popcount(bits()[word] >> (from % 64));
  while (++word < words_) count += std::popcount(bits()[word]);
  return static_cast<uint32_t>(count);
}

}  // namespace cairn::checkpoint
