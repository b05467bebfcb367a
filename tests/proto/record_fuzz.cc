// Disk records. The first byte says what the rest is: raw bytes for every decoder, bytes whose checksum is
// made right first (so that the field decoders are reached), or the fields of an item that must come back
// as it was and must be refused when one byte of it is changed.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/crc32c.h"
#include "proto/disk_record.h"
#include "proto/meta_record.h"

namespace {

using namespace cairn;         // NOLINT(google-build-using-namespace)
using namespace cairn::proto;  // NOLINT(google-build-using-namespace)

constexpr Vbid kVb{7};
constexpr Seqno kSeq{1234};

void PutCrc(uint32_t crc, size_t at, std::string* record) {
  std::memcpy(record->data() + at, &crc, sizeof(crc));
}

/// The checksum of a log or data record that belongs to `place`.
void SealRecord(std::string_view place, std::string* record) {
  if (record->size() < 6) return;
  const std::string_view view = *record;
  PutCrc(Crc32c(view.substr(6), Crc32c(view.substr(0, 2), Crc32c(place))), 2, record);
}

void SealMeta(std::string_view name, std::string* record) {
  if (record->size() < 5) return;
  const std::string_view view = *record;
  PutCrc(Crc32c(view.substr(5), Crc32c(view.substr(0, 1), Crc32c(name))), 1, record);
}

void CheckSame(const Item& a, const Item& b) {
  CAIRN_CHECK(a.kind() == b.kind() && a.deleted_by_expiry() == b.deleted_by_expiry());
  CAIRN_CHECK(a.key() == b.key() && a.value() == b.value());
  CAIRN_CHECK(a.flags() == b.flags() && a.expiry() == b.expiry());
  CAIRN_CHECK(a.cas() == b.cas() && a.seqno() == b.seqno());
}

void CheckLog(std::string_view bytes) {
  const auto first = DecodeLogRecord(kVb, kSeq, bytes);
  if (!first.ok()) return;
  std::string record;
  EncodeLogRecord(kVb, *first->item, first->checkpoint, &record);
  const auto second = DecodeLogRecord(kVb, kSeq, record);
  CAIRN_CHECK(second.ok() && second->checkpoint == first->checkpoint);
  CheckSame(*first->item, *second->item);
}

void CheckData(std::string_view bytes) {
  const auto first = DecodeDataRecord(kVb, "key", bytes);
  const auto ejected = DecodeDataAsEjected(kVb, "key", bytes);
  CAIRN_CHECK(first.ok() == ejected.ok());
  if (!first.ok()) return;
  CAIRN_CHECK((*first)->digest() == (*ejected)->digest());
  std::string record;
  EncodeDataRecord(kVb, **first, &record);
  const auto second = DecodeDataRecord(kVb, "key", record);
  CAIRN_CHECK(second.ok());
  CheckSame(**first, **second);
}

void CheckMarker(std::string_view bytes) {
  const auto marker = DecodeMarker(bytes);
  if (!marker.ok()) return;
  const auto again = DecodeMarker(EncodeMarker(*marker));
  CAIRN_CHECK(again.ok() && *again == *marker);
}

void CheckMeta(std::string_view bytes) {
  if (const auto meta = DecodeEngineMeta(bytes); meta.ok()) {
    const auto again = DecodeEngineMeta(EncodeEngineMeta(*meta));
    CAIRN_CHECK(again.ok() && *again == *meta);
  }
  if (const auto meta = DecodeVbucketMeta(kVb, bytes); meta.ok()) {
    const auto again = DecodeVbucketMeta(kVb, EncodeVbucketMeta(kVb, *meta));
    CAIRN_CHECK(again.ok() && *again == *meta);
  }
  if (const auto meta = DecodeUpdateMeta(kUpdateCurrentName, bytes); meta.ok()) {
    const auto again = DecodeUpdateMeta(kUpdateCurrentName, EncodeUpdateMeta(kUpdateCurrentName, *meta));
    CAIRN_CHECK(again.ok() && *again == *meta);
  }
}

void CheckSealed(std::string record) {
  if (!record.empty()) record[0] = 1;
  std::string place("\x07\x00\xd2\x04\0\0\0\0\0\0", 10);
  SealRecord(place, &record);
  CheckLog(record);
  SealRecord(std::string_view("\x07\x00\x03key", 6), &record);
  CheckData(record);
  for (const std::string& name :
       {std::string(kEngineMetaName), VbucketMetaName(kVb), std::string(kUpdateCurrentName)}) {
    SealMeta(name, &record);
    CheckMeta(record);
  }
}

/// Bytes: which byte to damage (2), how (1), flags, expiry, CAS, key size (1), key and value.
void CheckRoundTrip(std::string_view bytes) {
  struct {
    uint16_t damaged;
    uint8_t by, key_size;
    uint32_t flags, expiry;
    uint64_t cas;
  } head{};
  if (bytes.size() < sizeof(head)) return;
  std::memcpy(&head, bytes.data(), sizeof(head));
  bytes.remove_prefix(sizeof(head));
  const std::string_view key = bytes.substr(0, head.key_size % (kKeySizeMax + 1));
  const ItemMeta meta{head.flags, head.expiry, Cas(head.cas), kSeq};
  const ItemRef item = Item::NewValue(key, bytes.substr(key.size()), meta);
  std::string log;
  std::string data;
  EncodeLogRecord(kVb, *item, CheckpointId(head.cas), &log);
  EncodeDataRecord(kVb, *item, &data);
  const auto from_log = DecodeLogRecord(kVb, kSeq, log);
  const auto from_data = DecodeDataRecord(kVb, key, data);
  CAIRN_CHECK(from_log.ok() && from_data.ok());
  CheckSame(*item, *from_log->item);
  CheckSame(*item, **from_data);
  if (head.by == 0) return;
  char& log_byte = log[head.damaged % log.size()];
  char& data_byte = data[head.damaged % data.size()];
  log_byte = static_cast<char>(log_byte ^ head.by);
  data_byte = static_cast<char>(data_byte ^ head.by);
  CAIRN_CHECK(DecodeLogRecord(kVb, kSeq, log).code() == Code::kCorruption);
  CAIRN_CHECK(DecodeDataRecord(kVb, key, data).code() == Code::kCorruption);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      CheckLog(bytes);
      CheckData(bytes);
      CheckMarker(bytes);
      CheckMeta(bytes);
      break;
    case 1:
      CheckSealed(std::string(bytes));
      break;
    default:
      CheckRoundTrip(bytes);
  }
  return 0;
}
