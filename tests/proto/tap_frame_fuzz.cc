// Chunks of TAP. The first byte says what the rest is: a chunk as it is, or frames whose format and checksum
// are made right first, so that their decoders are reached. What is read without an error is written again
// and must be read again as the same.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "proto/tap_frame.h"

namespace {

using namespace cairn;         // NOLINT(google-build-using-namespace)
using namespace cairn::proto;  // NOLINT(google-build-using-namespace)

constexpr uint32_t kVbuckets = 64;
constexpr size_t kItemMax = 4096;

/// False: it does not hold.
bool Read(std::string_view chunk, std::vector<TapFrame>* frames) {
  TapChunkReader reader(chunk, kVbuckets, kItemMax);
  while (true) {
    Result<std::optional<TapFrame>> frame = reader.Next();
    if (!frame.ok()) {
      CAIRN_CHECK(frame.code() == Code::kCorruption);
      return false;
    }
    if (!frame->has_value()) return true;
    frames->push_back(std::move(**frame));
  }
}

/// Ejected items are written as such only when all go without their values, so such a chunk is not written.
bool CanBeWritten(const std::vector<TapFrame>& frames) {
  for (const TapFrame& frame : frames) {
    if (frame.item && frame.item->is_ejected()) return false;
  }
  return true;
}

std::string Write(const std::vector<TapFrame>& frames) {
  TapChunkWriter writer;
  uint32_t left = 0;
  bool last_part = false;
  for (const TapFrame& frame : frames) {
    switch (frame.type) {
      case TapFrameType::kSnapshot:
        writer.BeginSnapshot(frame);
        left = frame.operations;
        last_part = frame.last_part;
        if (left == 0) writer.EndSnapshot(last_part);
        break;
      case TapFrameType::kOperation:
        writer.AddOperation(*frame.item, false);
        if (--left == 0) writer.EndSnapshot(last_part);
        break;
      case TapFrameType::kCheckpointEnd:
        writer.AddCheckpointEnd(frame.vbucket, frame.checkpoint, frame.last, frame.digest);
        break;
      case TapFrameType::kVbucketState:
        writer.AddVbucketState(frame.vbucket, frame.state, frame.epoch);
        break;
      case TapFrameType::kStreamEnd:
        writer.AddStreamEnd(frame.vbucket, frame.reason, frame.text);
        break;
    }
  }
  return writer.Take();
}

void CheckSame(const TapFrame& a, const TapFrame& b) {
  CAIRN_CHECK(a.type == b.type && a.vbucket == b.vbucket && a.kind == b.kind);
  CAIRN_CHECK(a.start == b.start && a.end == b.end && a.source_persisted == b.source_persisted);
  CAIRN_CHECK(a.checkpoint == b.checkpoint && a.continues == b.continues && a.last_part == b.last_part);
  CAIRN_CHECK(a.operations == b.operations && a.last == b.last && a.digest == b.digest);
  CAIRN_CHECK(a.state == b.state && a.epoch == b.epoch && a.reason == b.reason && a.text == b.text);
  CAIRN_CHECK(static_cast<bool>(a.item) == static_cast<bool>(b.item));
  if (!a.item) return;
  CAIRN_CHECK(a.item->kind() == b.item->kind() && a.item->key() == b.item->key());
  CAIRN_CHECK(a.item->value() == b.item->value() && a.item->seqno() == b.item->seqno());
  CAIRN_CHECK(a.item->cas() == b.item->cas() && a.item->flags() == b.item->flags());
  CAIRN_CHECK(a.item->expiry() == b.item->expiry());
  CAIRN_CHECK(a.item->deleted_by_expiry() == b.item->deleted_by_expiry());
}

void CheckChunk(std::string_view chunk) {
  std::vector<TapFrame> frames;
  if (!Read(chunk, &frames) || !CanBeWritten(frames) || frames.empty()) return;
  const std::string again = Write(frames);
  std::vector<TapFrame> second;
  CAIRN_CHECK(Read(again, &second) && second.size() == frames.size());
  for (size_t i = 0; i < frames.size(); ++i) CheckSame(frames[i], second[i]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 4 == 0) {
    CheckChunk(bytes);
    return 0;
  }
  std::string chunk(1, static_cast<char>(kTapChunkFormat));
  chunk += bytes;
  const uint32_t crc = Crc32c(chunk);
  chunk.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
  CheckChunk(chunk);
  return 0;
}
