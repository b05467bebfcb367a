#include "proto/meta_record.h"

#include <cstring>

#include "base/check.h"
#include "base/crc32c.h"
#include "proto/wire.h"

namespace cairn::proto {
namespace {

// Every meta record: version (1), crc32c (4) over the record's name, the version and the fields; fields.
constexpr uint8_t kMetaVersion = 1;
constexpr size_t kPrefixSize = 5;

uint32_t MetaCrc(std::string_view name, std::string_view record) {
  return Crc32c(record.substr(kPrefixSize), Crc32c(record.substr(0, 1), Crc32c(name)));
}

/// Room for the prefix; fields are appended behind it.
std::string Open() {
  std::string out(kPrefixSize, '\0');
  out[0] = static_cast<char>(kMetaVersion);
  return out;
}

std::string Seal(std::string_view name, std::string out) {
  PutFixed(MetaCrc(name, out), out.data() + 1);
  return out;
}

Status Corrupt(std::string_view name, std::string_view why) {
  std::string text = "meta record ";
  text += name;
  text += ": ";
  text += why;
  return Status(Code::kCorruption, std::move(text));
}

/// Checks version and checksum; the fields are what follows.
Result<WireReader> Check(std::string_view name, std::string_view record) {
  if (record.size() < kPrefixSize) return Corrupt(name, "cut short");
  uint32_t stored = 0;
  std::memcpy(&stored, record.data() + 1, sizeof(stored));
  if (stored != MetaCrc(name, record)) return Corrupt(name, "checksum mismatch");
  const auto version = static_cast<uint8_t>(record[0]);
  if (version != kMetaVersion) {
    return Status(Code::kNotSupported, "meta record " + std::string(name) + " has format version " +
                                           std::to_string(version) + "; this program knows " +
                                           std::to_string(kMetaVersion));
  }
  return WireReader(record.substr(kPrefixSize));
}

bool IsPowerOfTwo(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

}  // namespace

std::string VbucketMetaName(Vbid vbucket) {
  constexpr size_t kDigits = 5;
  const std::string number = std::to_string(vbucket.get());
  return std::string(kVbucketMetaPrefix) + std::string(kDigits - number.size(), '0') + number;
}

std::string UpdateHistoryName(uint64_t slot) {
  CAIRN_CHECK(slot < kUpdateHistoryMax);
  return std::string(kUpdateHistoryPrefix) + std::to_string(slot);
}

std::string_view UpdateStateName(UpdateState state) {
  switch (state) {
    case UpdateState::kOpen:
      return "open";
    case UpdateState::kCommitted:
      return "committed";
    case UpdateState::kReverted:
      return "reverted";
  }
  return "unknown";
}

std::string EncodeEngineMeta(const EngineMeta& meta) {
  std::string out = Open();
  AppendVarint(meta.format_version, &out);
  out.append(reinterpret_cast<const char*>(meta.uuid.data()), meta.uuid.size());
  AppendVarint(meta.vbucket_count, &out);
  AppendFixed(static_cast<uint8_t>(meta.clean), &out);
  AppendVarint(meta.epoch, &out);
  return Seal(kEngineMetaName, std::move(out));
}

Result<EngineMeta> DecodeEngineMeta(std::string_view record) {
  CAIRN_ASSIGN_OR_RETURN(WireReader reader, Check(kEngineMetaName, record));
  EngineMeta meta;
  meta.format_version = static_cast<uint32_t>(reader.Varint(UINT32_MAX));
  if (reader.ok() && meta.format_version > kStoreFormatVersion) {
    return Status(Code::kNotSupported, "the store has format version " + std::to_string(meta.format_version) +
                                           "; this program knows up to " +
                                           std::to_string(kStoreFormatVersion));
  }
  const std::string_view uuid = reader.Bytes(meta.uuid.size());
  if (reader.ok()) std::memcpy(meta.uuid.data(), uuid.data(), uuid.size());
  meta.vbucket_count = static_cast<uint32_t>(reader.Varint(kVbucketCountMax));
  const auto clean = reader.Fixed<uint8_t>();
  meta.clean = clean == 1;
  meta.epoch = reader.Varint();
  if (!reader.ok() || meta.format_version == 0 || clean > 1 || !IsPowerOfTwo(meta.vbucket_count)) {
    return Corrupt(kEngineMetaName, "fields do not parse");
  }
  return meta;
}

std::string EncodeVbucketMeta(Vbid vbucket, const VbucketMeta& meta) {
  CAIRN_CHECK(meta.failover_log.size() <= kFailoverEntriesMax && meta.void_ranges.size() <= kVoidRangesMax);
  std::string out = Open();
  AppendFixed(meta.state, &out);
  AppendVarint(meta.failover_log.size(), &out);
  for (const FailoverEntry& entry : meta.failover_log) {
    AppendFixed(entry.uuid, &out);
    AppendVarint(entry.seqno.get(), &out);
  }
  AppendVarint(meta.high_seqno.get(), &out);
  AppendVarint(meta.open_checkpoint.get(), &out);
  AppendVarint(meta.merged_seqno.get(), &out);
  AppendFixed(meta.merged_digest, &out);
  AppendVarint(meta.purge_seqno.get(), &out);
  AppendFixed(meta.max_cas.get(), &out);
  AppendVarint(meta.void_ranges.size(), &out);
  for (const VoidRange& range : meta.void_ranges) {
    AppendVarint(range.start.get(), &out);
    AppendVarint(range.end.get(), &out);
  }
  out.append(meta.window_update.view());
  AppendVarint(meta.window_start.get(), &out);
  AppendVarint(meta.window_checkpoint.get(), &out);
  AppendVarint(meta.epoch, &out);
  AppendVarint(meta.snapshot_start.get(), &out);
  AppendVarint(meta.snapshot_end.get(), &out);
  out.append(meta.last_update.id.view());
  AppendFixed(static_cast<uint8_t>(meta.last_update.committed), &out);
  AppendVarint(meta.regain.get(), &out);
  out.append(reinterpret_cast<const char*>(meta.handover.receiver.data()), meta.handover.receiver.size());
  AppendVarint(meta.handover.seqno.get(), &out);
  return Seal(VbucketMetaName(vbucket), std::move(out));
}

namespace {

// Lists grow only as far as the record has bytes, whatever the count says.
void ReadFailoverLog(WireReader& reader, std::vector<FailoverEntry>* entries) {
  const uint64_t count = reader.Varint(kFailoverEntriesMax);
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    FailoverEntry entry;
    entry.uuid = reader.Fixed<uint64_t>();
    entry.seqno = Seqno(reader.Varint(kSeqnoMax));
    entries->push_back(entry);
  }
}

void ReadVoidRanges(WireReader& reader, std::vector<VoidRange>* ranges) {
  const uint64_t count = reader.Varint(kVoidRangesMax);
  Seqno last;
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    VoidRange range;
    range.start = Seqno(reader.Varint(kSeqnoMax));
    range.end = Seqno(reader.Varint(kSeqnoMax));
    if (range.start < last || range.end < range.start) reader.Fail();
    last = range.end;
    ranges->push_back(range);
  }
}

}  // namespace

Result<VbucketMeta> DecodeVbucketMeta(Vbid vbucket, std::string_view record) {
  const std::string name = VbucketMetaName(vbucket);
  CAIRN_ASSIGN_OR_RETURN(WireReader reader, Check(name, record));
  VbucketMeta meta;
  meta.state = reader.Fixed<uint8_t>();
  ReadFailoverLog(reader, &meta.failover_log);
  meta.high_seqno = Seqno(reader.Varint(kSeqnoMax));
  meta.open_checkpoint = CheckpointId(reader.Varint());
  meta.merged_seqno = Seqno(reader.Varint(kSeqnoMax));
  meta.merged_digest = reader.Fixed<uint64_t>();
  meta.purge_seqno = Seqno(reader.Varint(kSeqnoMax));
  meta.max_cas = Cas(reader.Fixed<uint64_t>());
  ReadVoidRanges(reader, &meta.void_ranges);
  meta.window_update = UpdateId::FromBytes(reader.Bytes(UpdateId::kSize)).value_or(UpdateId{});
  meta.window_start = Seqno(reader.Varint(kSeqnoMax));
  meta.window_checkpoint = CheckpointId(reader.Varint());
  // Records written before there was replication end here.
  if (reader.ok() && !reader.rest().empty()) {
    meta.epoch = reader.Varint();
    meta.snapshot_start = Seqno(reader.Varint(kSeqnoMax));
    meta.snapshot_end = Seqno(reader.Varint(kSeqnoMax));
    meta.last_update.id = UpdateId::FromBytes(reader.Bytes(UpdateId::kSize)).value_or(UpdateId{});
    const auto committed = reader.Fixed<uint8_t>();
    meta.last_update.committed = committed == 1;
    if (committed > 1 || meta.snapshot_end < meta.snapshot_start) reader.Fail();
  }
  // The first ones with replication end here.
  if (reader.ok() && !reader.rest().empty()) meta.regain = Seqno(reader.Varint(kSeqnoMax));
  // Those of before it was written down to whom a vbucket was given end here.
  if (reader.ok() && !reader.rest().empty()) {
    const std::string_view receiver = reader.Bytes(meta.handover.receiver.size());
    if (reader.ok()) std::memcpy(meta.handover.receiver.data(), receiver.data(), receiver.size());
    meta.handover.seqno = Seqno(reader.Varint(kSeqnoMax));
  }
  if (!reader.ok()) return Corrupt(name, "fields do not parse");
  return meta;
}

std::string EncodeUpdateMeta(std::string_view record_name, const UpdateMeta& meta) {
  CAIRN_CHECK(meta.name.size() <= kUpdateNameSizeMax);
  std::string out = Open();
  out.append(meta.id.view());
  AppendString(meta.name, &out);
  AppendFixed(static_cast<uint8_t>(meta.state), &out);
  AppendVarint(meta.number, &out);
  AppendFixed(meta.started_ns, &out);
  AppendFixed(meta.decided_ns, &out);
  AppendVarint(meta.keys_added, &out);
  AppendVarint(meta.keys_updated, &out);
  AppendVarint(meta.keys_deleted, &out);
  AppendVarint(meta.window_bytes, &out);
  AppendFixed(meta.start_digest, &out);
  return Seal(record_name, std::move(out));
}

Result<UpdateMeta> DecodeUpdateMeta(std::string_view record_name, std::string_view record) {
  CAIRN_ASSIGN_OR_RETURN(WireReader reader, Check(record_name, record));
  UpdateMeta meta;
  meta.id = UpdateId::FromBytes(reader.Bytes(UpdateId::kSize)).value_or(UpdateId{});
  meta.name = reader.String(kUpdateNameSizeMax);
  const auto state = reader.Fixed<uint8_t>();
  meta.state = static_cast<UpdateState>(state);
  meta.number = reader.Varint();
  meta.started_ns = reader.Fixed<int64_t>();
  meta.decided_ns = reader.Fixed<int64_t>();
  meta.keys_added = reader.Varint();
  meta.keys_updated = reader.Varint();
  meta.keys_deleted = reader.Varint();
  meta.window_bytes = reader.Varint();
  meta.start_digest = reader.Fixed<uint64_t>();
  if (!reader.ok() || state < static_cast<uint8_t>(UpdateState::kOpen) ||
      state > static_cast<uint8_t>(UpdateState::kReverted)) {
    return Corrupt(record_name, "fields do not parse");
  }
  return meta;
}

}  // namespace cairn::proto
