#include "proto/tap_frame.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "proto/epoch.h"
#include "proto/wire.h"

namespace cairn::proto {
namespace {

constexpr uint8_t kContinues = 1;
constexpr uint8_t kLastPart = 2;

constexpr uint8_t kKindMask = 3;
constexpr uint8_t kExpired = 4;
constexpr uint8_t kHasFlags = 8;
constexpr uint8_t kHasExpiry = 16;
constexpr uint8_t kOperationFlags = kKindMask | kExpired | kHasFlags | kHasExpiry;

// Type, flags, key size, three varints, flags and expiry.
constexpr size_t kOperationHeadMax = 3 + 3 * kVarintSizeMax + 8;
constexpr size_t kChecksumSize = sizeof(uint32_t);

/// Small for small differences of either sign.
uint64_t ZigZag(uint64_t difference) { return (difference << 1) ^ (0 - (difference >> 63)); }
uint64_t UnZigZag(uint64_t bits) { return (bits >> 1) ^ (0 - (bits & 1)); }

uint8_t OperationFlags(const Item& item, bool keys_only) {
  const ItemKind kind = keys_only && item.is_value() ? ItemKind::kEjected : item.kind();
  auto flags = static_cast<uint8_t>(kind);
  if (item.deleted_by_expiry()) flags |= kExpired;
  if (item.flags() != 0) flags |= kHasFlags;
  if (item.expiry() != 0) flags |= kHasExpiry;
  return flags;
}

}  // namespace

// --- writing ---

void TapChunkWriter::BeginFrame(TapFrameType type, Vbid vbucket) {
  CAIRN_CHECK(flags_at_ == 0);
  if (bytes_.empty()) bytes_.push_back(static_cast<char>(kTapChunkFormat));
  bytes_.push_back(static_cast<char>(type));
  AppendVarint(vbucket.get(), &bytes_);
}

void TapChunkWriter::BeginSnapshot(const TapFrame& snapshot) {
  CAIRN_CHECK(snapshot.start <= snapshot.end);
  BeginFrame(TapFrameType::kSnapshot, snapshot.vbucket);
  bytes_.push_back(static_cast<char>(snapshot.kind));
  flags_at_ = bytes_.size();
  bytes_.push_back(static_cast<char>(snapshot.continues ? kContinues : 0));
  AppendVarint(snapshot.start.get(), &bytes_);
  AppendVarint(snapshot.end - snapshot.start, &bytes_);
  AppendVarint(snapshot.checkpoint.get(), &bytes_);
  AppendVarint(snapshot.source_persisted.get(), &bytes_);
  count_at_ = bytes_.size();
  AppendFixed(uint32_t{0}, &bytes_);
  kind_ = snapshot.kind;
  base_ = snapshot.start;
  end_ = snapshot.end;
  operations_ = 0;
  last_cas_ = 0;
}

size_t TapChunkWriter::OperationSizeMax(const Item& item) {
  return kOperationHeadMax + item.key().size() + std::max(item.value().size(), sizeof(uint64_t));
}

void TapChunkWriter::AddOperation(const Item& item, bool keys_only) {
  CAIRN_CHECK(flags_at_ != 0 && item.seqno() > base_ && item.seqno() <= end_);
  CAIRN_CHECK(keys_only || !item.is_ejected());
  const uint8_t flags = OperationFlags(item, keys_only);
  const std::string_view key = item.key();
  char head[kOperationHeadMax + kKeySizeMax];
  char* out = head;
  *out++ = static_cast<char>(TapFrameType::kOperation);
  *out++ = static_cast<char>(flags);
  *out++ = static_cast<char>(key.size());
  out = PutVarint(item.value_size(), out);
  out = PutVarint(item.seqno() - base_, out);
  out = PutVarint(ZigZag(item.cas().get() - last_cas_), out);
  if ((flags & kHasFlags) != 0) out = PutFixed(item.flags(), out);
  if ((flags & kHasExpiry) != 0) out = PutFixed(item.expiry(), out);
  out = PutBytes(key, out);
  bytes_.append(head, static_cast<size_t>(out - head));
  if ((flags & kKindMask) == static_cast<uint8_t>(ItemKind::kEjected)) {
    AppendFixed(item.value_digest(), &bytes_);
  } else {
    bytes_.append(item.value());
  }
  if (kind_ != TapSnapshotKind::kData) base_ = item.seqno();
  last_cas_ = item.cas().get();
  ++operations_;
}

void TapChunkWriter::EndSnapshot(bool last_part) {
  CAIRN_CHECK(flags_at_ != 0);
  if (last_part) bytes_[flags_at_] = static_cast<char>(bytes_[flags_at_] | kLastPart);
  std::memcpy(bytes_.data() + count_at_, &operations_, sizeof(operations_));
  flags_at_ = 0;
}

void TapChunkWriter::AddCheckpointEnd(Vbid vbucket, CheckpointId checkpoint, Seqno last,
                                      std::optional<uint64_t> digest) {
  BeginFrame(TapFrameType::kCheckpointEnd, vbucket);
  AppendVarint(checkpoint.get(), &bytes_);
  AppendVarint(last.get(), &bytes_);
  bytes_.push_back(digest ? 1 : 0);
  if (digest) AppendFixed(*digest, &bytes_);
}

void TapChunkWriter::AddVbucketState(Vbid vbucket, uint8_t state, uint64_t epoch) {
  BeginFrame(TapFrameType::kVbucketState, vbucket);
  bytes_.push_back(static_cast<char>(state));
  AppendVarint(epoch, &bytes_);
}

void TapChunkWriter::AddStreamEnd(Vbid vbucket, uint8_t reason, std::string_view text) {
  BeginFrame(TapFrameType::kStreamEnd, vbucket);
  text = text.substr(0, kTapTextMax);
  bytes_.push_back(static_cast<char>(reason));
  bytes_.push_back(static_cast<char>(text.size()));
  bytes_.append(text);
}

std::string TapChunkWriter::Take() {
  CAIRN_CHECK(flags_at_ == 0);
  if (bytes_.empty()) return {};
  AppendFixed(Crc32c(bytes_), &bytes_);
  std::string chunk = std::exchange(bytes_, {});
  bytes_.reserve(std::min(chunk.size() + chunk.size() / 8, size_t{128} << 10));
  return chunk;
}

// --- reading ---

TapChunkReader::TapChunkReader(std::string_view chunk, uint32_t vbucket_count, size_t item_size_max)
    : chunk_(chunk), vbucket_count_(vbucket_count), item_size_max_(std::min(item_size_max, kValueSizeMax)) {}

Status TapChunkReader::Fail(std::string_view what) const {
  return Status(Code::kCorruption, "chunk of " + std::to_string(chunk_.size()) + " bytes, frame at " +
                                       std::to_string(at_) + ": " + std::string(what));
}

Status TapChunkReader::Open() {
  if (chunk_.size() < 1 + kChecksumSize) return Fail("too short for a chunk");
  if (static_cast<uint8_t>(chunk_[0]) != kTapChunkFormat) return Fail("unknown format");
  const size_t end = chunk_.size() - kChecksumSize;
  uint32_t crc = 0;
  std::memcpy(&crc, chunk_.data() + end, sizeof(crc));
  if (Crc32c(chunk_.substr(0, end)) != crc) return Fail("wrong checksum");
  end_ = end;
  at_ = 1;
  return Status::Ok();
}

Result<std::optional<TapFrame>> TapChunkReader::Next() {
  if (end_ == 0) CAIRN_RETURN_IF_ERROR(Open());
  std::optional<TapFrame> frame;
  if (at_ == end_) {
    if (operations_left_ != 0) return Fail("fewer operations than the snapshot says");
    return frame;
  }
  frame.emplace();
  WireReader in(chunk_.substr(at_, end_ - at_));
  frame->type = static_cast<TapFrameType>(in.Fixed<uint8_t>());
  const bool operation = frame->type == TapFrameType::kOperation;
  if (operation != (operations_left_ != 0)) {
    return Fail(operation ? "more operations than the snapshot says"
                          : "fewer operations than the snapshot says");
  }
  if (operation) {
    CAIRN_RETURN_IF_ERROR(ReadOperation(in, &*frame));
  } else {
    if (unfinished_) return Fail("a frame behind an unfinished snapshot");
    const uint64_t vbucket = in.Varint();
    if (in.ok() && vbucket >= vbucket_count_) return Fail("vbucket does not exist");
    frame->vbucket = Vbid(static_cast<uint16_t>(vbucket));
    CAIRN_RETURN_IF_ERROR(frame->type == TapFrameType::kSnapshot ? ReadSnapshot(in, &*frame)
                                                                 : ReadOther(in, &*frame));
  }
  at_ = end_ - in.rest().size();
  return frame;
}

Status TapChunkReader::ReadSnapshot(WireReader& in, TapFrame* frame) {
  const auto kind = in.Fixed<uint8_t>();
  const auto flags = in.Fixed<uint8_t>();
  const uint64_t start = in.Varint();
  const uint64_t length = in.Varint();
  frame->checkpoint = CheckpointId(in.Varint());
  const uint64_t persisted = in.Varint();
  frame->operations = in.Fixed<uint32_t>();
  if (!in.ok()) return Fail("snapshot cut short");
  if (kind < 1 || kind > 3) return Fail("unknown kind of snapshot");
  if ((flags & ~(kContinues | kLastPart)) != 0) return Fail("unknown flag of a snapshot");
  if (start > kSeqnoMax || length > kSeqnoMax - start || persisted > kSeqnoMax) {
    return Fail("a seqno that does not exist");
  }
  if (frame->checkpoint.get() > kTapCheckpointMax) return Fail("a checkpoint that does not exist");
  frame->kind = static_cast<TapSnapshotKind>(kind);
  frame->continues = (flags & kContinues) != 0;
  frame->last_part = (flags & kLastPart) != 0;
  frame->start = Seqno(start);
  frame->end = Seqno(start + length);
  frame->source_persisted = Seqno(persisted);
  const bool whole = frame->kind != TapSnapshotKind::kData;
  if (whole && frame->continues && at_ != 1) return Fail("a frame before the rest of a snapshot");
  kind_ = frame->kind;
  unfinished_ = whole && !frame->last_part;
  operations_left_ = frame->operations;
  vbucket_ = frame->vbucket;
  base_ = frame->start;
  last_ = frame->end;
  last_cas_ = 0;
  return Status::Ok();
}

Status TapChunkReader::ReadOperation(WireReader& in, TapFrame* frame) {
  const auto flags = in.Fixed<uint8_t>();
  const size_t key_size = in.Fixed<uint8_t>();
  const uint64_t value_size = in.Varint();
  const uint64_t step = in.Varint();
  const Cas cas(last_cas_ + UnZigZag(in.Varint()));
  ItemMeta meta{0, 0, cas, Seqno()};
  if ((flags & kHasFlags) != 0) meta.flags = in.Fixed<uint32_t>();
  if ((flags & kHasExpiry) != 0) meta.expiry = in.Fixed<uint32_t>();
  const auto kind = static_cast<ItemKind>(flags & kKindMask);
  if (!in.ok()) return Fail("operation cut short");
  if ((flags & ~kOperationFlags) != 0) return Fail("unknown flag of an operation");
  if ((flags & kExpired) != 0 && kind != ItemKind::kDeleted) return Fail("expired, but not deleted");
  if (key_size > kKeySizeMax) return Fail("key too long");
  if (value_size > item_size_max_) return Fail("value too large");
  if (step == 0 || step > last_ - base_) return Fail("seqno outside of its snapshot, or not rising");
  meta.seqno = base_ + step;
  const std::string_view key = in.Bytes(key_size);
  switch (kind) {
    case ItemKind::kValue: {
      const std::string_view value = in.Bytes(value_size);
      if (in.ok()) frame->item = Item::NewValue(key, value, meta);
      break;
    }
    case ItemKind::kEjected: {
      const auto digest = in.Fixed<uint64_t>();
      if (in.ok()) frame->item = Item::NewEjected(key, value_size, digest, meta);
      break;
    }
    case ItemKind::kDeleted:
      if (value_size != 0) return Fail("deleted, but with a value");
      if (in.ok()) frame->item = Item::NewDeleted(key, (flags & kExpired) != 0, meta);
      break;
    case ItemKind::kMarker: {
      if (key_size != 0 || meta.flags != 0 || meta.expiry != 0) return Fail("marker with fields of a key");
      const std::string_view payload = in.Bytes(value_size);
      if (in.ok()) frame->item = Item::NewMarker(payload, meta.seqno);
      if (in.ok()) frame->item->set_cas(cas);
      break;
    }
  }
  if (!in.ok()) return Fail("operation cut short");
  frame->type = TapFrameType::kOperation;
  frame->vbucket = vbucket_;
  if (kind_ != TapSnapshotKind::kData) base_ = meta.seqno;
  last_cas_ = cas.get();
  --operations_left_;
  return Status::Ok();
}

Status TapChunkReader::ReadOther(WireReader& in, TapFrame* frame) {
  switch (frame->type) {
    case TapFrameType::kCheckpointEnd: {
      frame->checkpoint = CheckpointId(in.Varint());
      const uint64_t last = in.Varint();
      const auto has_digest = in.Fixed<uint8_t>();
      if (has_digest == 1) frame->digest = in.Fixed<uint64_t>();
      if (!in.ok()) return Fail("checkpoint end cut short");
      if (last > kSeqnoMax) return Fail("a seqno that does not exist");
      if (frame->checkpoint.get() > kTapCheckpointMax) return Fail("a checkpoint that does not exist");
      if (has_digest > 1) return Fail("unknown flag of a checkpoint end");
      frame->last = Seqno(last);
      return Status::Ok();
    }
    case TapFrameType::kVbucketState:
      frame->state = in.Fixed<uint8_t>();
      frame->epoch = in.Varint();
      if (!in.ok()) return Fail("vbucket state cut short");
      if (frame->state < 1 || frame->state > 4) return Fail("unknown vbucket state");
      if (!CanBeNamed(frame->epoch)) return Fail("an epoch that does not exist");
      return Status::Ok();
    case TapFrameType::kStreamEnd:
      frame->reason = in.Fixed<uint8_t>();
      frame->text = in.Bytes(in.Fixed<uint8_t>());
      if (!in.ok()) return Fail("stream end cut short");
      return Status::Ok();
    default:
      return Fail("unknown type of frame");
  }
}

}  // namespace cairn::proto
