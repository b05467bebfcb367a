// Markers: the payload of operations without a key.

#include <array>

#include "base/check.h"
#include "proto/disk_record.h"
#include "proto/wire.h"

namespace cairn::proto {
namespace {

constexpr uint8_t kMarkerVersion = 1;

constexpr std::array<std::string_view, 8> kNames = {
    "unknown", "online_update_start", "online_update_complete", "online_update_revert", "set_vbucket_state",
    "flush",   "flush_end",           "restore_commit"};

}  // namespace

std::string_view MarkerTypeName(MarkerType type) {
  const auto number = static_cast<size_t>(type);
  return number < kNames.size() ? kNames[number] : kNames[0];
}

std::string EncodeMarker(const Marker& marker) {
  CAIRN_CHECK(marker.name.size() <= kUpdateNameSizeMax);
  std::string out;
  AppendFixed(kMarkerVersion, &out);
  AppendFixed(static_cast<uint8_t>(marker.type), &out);
  out.append(marker.update.view());
  AppendVarint(marker.checkpoint.get(), &out);
  AppendVarint(marker.start.get(), &out);
  AppendVarint(marker.end.get(), &out);
  AppendFixed(marker.digest, &out);
  AppendFixed(marker.vbucket_state, &out);
  AppendFixed(marker.time_ns, &out);
  AppendString(marker.name, &out);
  return out;
}

Result<Marker> DecodeMarker(std::string_view payload) {
  WireReader reader(payload);
  const auto version = reader.Fixed<uint8_t>();
  if (reader.ok() && version > kMarkerVersion) {
    return Status(Code::kNotSupported, "marker of version " + std::to_string(version));
  }
  Marker marker;
  const auto type = reader.Fixed<uint8_t>();
  marker.type = static_cast<MarkerType>(type);
  marker.update = UpdateId::FromBytes(reader.Bytes(UpdateId::kSize)).value_or(UpdateId{});
  marker.checkpoint = CheckpointId(reader.Varint());
  marker.start = Seqno(reader.Varint(kSeqnoMax));
  marker.end = Seqno(reader.Varint(kSeqnoMax));
  marker.digest = reader.Fixed<uint64_t>();
  marker.vbucket_state = reader.Fixed<uint8_t>();
  marker.time_ns = reader.Fixed<int64_t>();
  marker.name = reader.String(kUpdateNameSizeMax);
  if (!reader.ok() || version == 0 || type == 0 || type >= kNames.size()) {
    return Status(Code::kCorruption, "marker does not parse");
  }
  return marker;
}

}  // namespace cairn::proto
