#include "proto/disk_record.h"

#include <xxhash.h>

#include <cstddef>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/crc32c.h"
#include "proto/wire.h"

namespace cairn::proto {
namespace {

// Both kinds of record: version (1), kind (1), crc32c (4), fields, value. Version and checksum stay where
// they are in every later version, so that "newer" and "damaged" can be told apart.
constexpr uint8_t kRecordVersion = 1;
constexpr size_t kPrefixSize = 6;
constexpr size_t kCrcAt = 2;
// Kinds are the numbers of ItemKind, which the disk pins down here.
constexpr uint8_t kKindValue = 0;
constexpr uint8_t kKindDeleted = 2;
constexpr uint8_t kKindMarker = 3;
constexpr uint8_t kKindExpired = 4;  // added to kKindDeleted
static_assert(static_cast<uint8_t>(ItemKind::kValue) == kKindValue);
static_assert(static_cast<uint8_t>(ItemKind::kDeleted) == kKindDeleted);
static_assert(static_cast<uint8_t>(ItemKind::kMarker) == kKindMarker);

constexpr size_t kU32VarintMax = 5;
// Everything in a record but key and value: prefix, checkpoint or seqno, CAS, flags, expiry, key size.
constexpr size_t kHeadMax = kPrefixSize + kVarintSizeMax + 8 + 2 * kU32VarintMax + 1;

/// Where a log record belongs, as the checksum takes it.
struct LogPlace {
  char bytes[10];
  LogPlace(Vbid vbucket, Seqno seqno) { PutFixed(seqno.get(), PutFixed(vbucket.get(), bytes)); }
  uint32_t Crc() const { return Crc32c({bytes, sizeof(bytes)}); }
};

/// Where a data record belongs: vbucket, key size, key.
uint32_t DataPlaceCrc(Vbid vbucket, std::string_view key) {
  char bytes[3 + kKeySizeMax];
  char* end = PutBytes(key, PutFixed(static_cast<uint8_t>(key.size()), PutFixed(vbucket.get(), bytes)));
  return Crc32c({bytes, static_cast<size_t>(end - bytes)});
}

/// Continues `place` over everything in the record but the checksum itself.
uint32_t RecordCrc(uint32_t place, std::string_view record) {
  return Crc32c(record.substr(kPrefixSize), Crc32c(record.substr(0, kCrcAt), place));
}

/// Makes *out end at `end` and fills in the checksum.
void Seal(uint32_t place, const char* end, std::string* out) {
  out->resize(static_cast<size_t>(end - out->data()));
  PutFixed(RecordCrc(place, *out), out->data() + kCrcAt);
}

// Keys may hold any byte; a message goes to logs.
std::string Escape(std::string_view key) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : key) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte > ' ' && byte < 0x7f && c != '\\' && c != '"') {
      text.push_back(c);
    } else {
      text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return text;
}

std::string LogName(Vbid vbucket, Seqno seqno) {
  return "log record of vbucket " + std::to_string(vbucket.get()) + " seqno " + std::to_string(seqno.get());
}

std::string DataName(Vbid vbucket, std::string_view key) {
  return "data record of vbucket " + std::to_string(vbucket.get()) + " key \"" + Escape(key) + "\"";
}

/// Why a record is refused, or nullptr. `newer` tells that it is whole but of a later version.
const char* Unsound(uint32_t place, std::string_view record, bool* newer) {
  if (record.size() < kPrefixSize) return "cut short";
  uint32_t stored = 0;
  std::memcpy(&stored, record.data() + kCrcAt, sizeof(stored));
  if (stored != RecordCrc(place, record)) return "checksum mismatch";
  *newer = static_cast<uint8_t>(record[0]) != kRecordVersion;
  return *newer ? "unknown record version" : nullptr;
}

Status Refused(const std::string& name, const char* why, bool newer) {
  return Status(newer ? Code::kNotSupported : Code::kCorruption, name + ": " + why);
}

uint32_t VarintU32(WireReader& reader) {
  return static_cast<uint32_t>(reader.Varint(std::numeric_limits<uint32_t>::max()));
}

/// The fields of a data record in front of the value, which is what the reader has left.
ItemMeta ReadDataMeta(WireReader& reader) {
  ItemMeta meta;
  meta.seqno = Seqno(reader.Varint(kSeqnoMax));
  meta.cas = Cas(reader.Fixed<uint64_t>());
  meta.flags = VarintU32(reader);
  meta.expiry = VarintU32(reader);
  return meta;
}

bool IsTombstoneKind(uint8_t kind) { return (kind & ~kKindExpired) == kKindDeleted; }

/// A data record's parts, once it is known to be sound.
struct DataParts {
  uint8_t kind = kKindValue;
  ItemMeta meta;
  std::string_view value;
};

/// Checks a data record and takes it apart.
Status OpenDataRecord(Vbid vbucket, std::string_view key, std::string_view record, DataParts* parts) {
  bool newer = false;
  const char* why =
      key.size() > kKeySizeMax ? "key too long" : Unsound(DataPlaceCrc(vbucket, key), record, &newer);
  if (why != nullptr) return Refused(DataName(vbucket, key), why, newer);
  WireReader reader(record.substr(kPrefixSize));
  parts->meta = ReadDataMeta(reader);
  parts->value = reader.rest();
  parts->kind = static_cast<uint8_t>(record[1]);
  const size_t size_max = parts->kind == kKindValue ? kValueSizeMax : 0;
  const bool known = parts->kind == kKindValue || IsTombstoneKind(parts->kind);
  if (!reader.ok() || !known || parts->value.size() > size_max) {
    return Refused(DataName(vbucket, key), "fields do not parse", false);
  }
  return Status::Ok();
}

ItemRef TombstoneOf(std::string_view key, const DataParts& parts) {
  return Item::NewDeleted(key, parts.kind != kKindDeleted, parts.meta);
}

}  // namespace

void EncodeLogRecord(Vbid vbucket, const Item& item, CheckpointId checkpoint, std::string* out) {
  CAIRN_CHECK(!item.is_ejected());
  const std::string_view key = item.key();
  const std::string_view value = item.value();
  out->resize(kHeadMax + key.size() + value.size());
  char* p = out->data();
  *p++ = static_cast<char>(kRecordVersion);
  const auto kind = static_cast<uint8_t>(item.kind());
  *p++ = static_cast<char>(item.deleted_by_expiry() ? kind | kKindExpired : kind);
  p += sizeof(uint32_t);
  p = PutVarint(checkpoint.get(), p);
  p = PutFixed(item.cas().get(), p);
  p = PutVarint(item.flags(), p);
  p = PutVarint(item.expiry(), p);
  *p++ = static_cast<char>(key.size());
  p = PutBytes(value, PutBytes(key, p));
  Seal(LogPlace(vbucket, item.seqno()).Crc(), p, out);
}

Result<LogRecord> DecodeLogRecord(Vbid vbucket, Seqno seqno, std::string_view record) {
  bool newer = false;
  const char* why = seqno.get() > kSeqnoMax ? "seqno out of range"
                                            : Unsound(LogPlace(vbucket, seqno).Crc(), record, &newer);
  if (why != nullptr) return Refused(LogName(vbucket, seqno), why, newer);
  WireReader reader(record.substr(kPrefixSize));
  const CheckpointId checkpoint(reader.Varint());
  ItemMeta meta;
  meta.seqno = seqno;
  meta.cas = Cas(reader.Fixed<uint64_t>());
  meta.flags = VarintU32(reader);
  meta.expiry = VarintU32(reader);
  const size_t key_size = reader.Fixed<uint8_t>();
  const std::string_view key = reader.Bytes(key_size);
  const std::string_view value = reader.rest();
  const auto kind = static_cast<uint8_t>(record[1]);
  if (reader.ok() && key_size <= kKeySizeMax && value.size() <= kValueSizeMax) {
    switch (kind) {
      case kKindValue:
        return LogRecord{Item::NewValue(key, value, meta), checkpoint};
      case kKindDeleted:
      case kKindDeleted | kKindExpired:
        if (!value.empty()) break;
        return LogRecord{Item::NewDeleted(key, kind != kKindDeleted, meta), checkpoint};
      case kKindMarker:
        if (!key.empty()) break;
        return LogRecord{Item::NewMarker(value, seqno), checkpoint};
      default:
        break;
    }
  }
  return Refused(LogName(vbucket, seqno), "fields do not parse", false);
}

void EncodeDataRecord(Vbid vbucket, const Item& item, std::string* out) {
  CAIRN_CHECK(item.is_value() || item.is_deleted());
  const std::string_view value = item.value();
  out->resize(kHeadMax + value.size());
  char* p = out->data();
  *p++ = static_cast<char>(kRecordVersion);
  const auto kind = static_cast<uint8_t>(item.kind());
  *p++ = static_cast<char>(item.deleted_by_expiry() ? kind | kKindExpired : kind);
  p += sizeof(uint32_t);
  p = PutVarint(item.seqno().get(), p);
  p = PutFixed(item.cas().get(), p);
  p = PutVarint(item.flags(), p);
  p = PutVarint(item.expiry(), p);
  p = PutBytes(value, p);
  Seal(DataPlaceCrc(vbucket, item.key()), p, out);
}

Result<ItemRef> DecodeDataRecord(Vbid vbucket, std::string_view key, std::string_view record) {
  DataParts parts;
  CAIRN_RETURN_IF_ERROR(OpenDataRecord(vbucket, key, record, &parts));
  if (parts.kind != kKindValue) return TombstoneOf(key, parts);
  return Item::NewValue(key, parts.value, parts.meta);
}

Result<ItemRef> DecodeDataAsEjected(Vbid vbucket, std::string_view key, std::string_view record) {
  DataParts parts;
  CAIRN_RETURN_IF_ERROR(OpenDataRecord(vbucket, key, record, &parts));
  if (parts.kind != kKindValue) return TombstoneOf(key, parts);
  const uint64_t digest = XXH3_64bits(parts.value.data(), parts.value.size());
  return Item::NewEjected(key, parts.value.size(), digest, parts.meta);
}

std::optional<Seqno> DataTombstone(std::string_view record) {
  if (record.size() < kPrefixSize || static_cast<uint8_t>(record[0]) != kRecordVersion ||
      !IsTombstoneKind(static_cast<uint8_t>(record[1]))) {
    return std::nullopt;
  }
  WireReader reader(record.substr(kPrefixSize));
  const Seqno seqno(reader.Varint(kSeqnoMax));
  return reader.ok() ? std::optional<Seqno>(seqno) : std::nullopt;
}

}  // namespace cairn::proto
