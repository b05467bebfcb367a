#include "proto/disk_record.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::proto {
namespace {

constexpr Vbid kVb{513};
constexpr Seqno kSeq{70'000};
constexpr CheckpointId kCheckpoint{300};
const ItemMeta kMeta{0xdeadbeef, 1'700'000'000, Cas(0x1122334455667788), kSeq};

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    hex.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  return hex;
}

std::string LogOf(const Item& item) {
  std::string record;
  EncodeLogRecord(kVb, item, kCheckpoint, &record);
  return record;
}

std::string DataOf(const Item& item) {
  std::string record;
  EncodeDataRecord(kVb, item, &record);
  return record;
}

void ExpectSame(const Item& a, const Item& b) {
  EXPECT_EQ(a.kind(), b.kind());
  EXPECT_EQ(a.deleted_by_expiry(), b.deleted_by_expiry());
  EXPECT_EQ(a.key(), b.key());
  EXPECT_EQ(a.value(), b.value());
  EXPECT_EQ(a.flags(), b.flags());
  EXPECT_EQ(a.expiry(), b.expiry());
  EXPECT_EQ(a.cas(), b.cas());
  EXPECT_EQ(a.seqno(), b.seqno());
  EXPECT_EQ(a.digest(), b.digest());
}

Marker SomeMarker() {
  Marker marker;
  marker.type = MarkerType::kOnlineUpdateRevert;
  marker.update = *UpdateId::FromHex("000102030405060708090a0b0c0d0e0f");
  marker.name = "spring";
  marker.checkpoint = kCheckpoint;
  marker.start = Seqno(100);
  marker.end = Seqno(70'000);
  marker.digest = 0x8877665544332211;
  marker.vbucket_state = 1;
  marker.time_ns = -2;
  return marker;
}

std::vector<ItemRef> SomeItems() {
  std::vector<ItemRef> items;
  items.push_back(Item::NewValue("key", "value", kMeta));
  items.push_back(Item::NewValue("k", "", ItemMeta{0, 0, Cas(), kSeq}));
  items.push_back(Item::NewValue(std::string(kKeySizeMax, '\xff'), std::string(100'000, 'v'), kMeta));
  items.push_back(Item::NewValue("", "value of the empty key", kMeta));
  items.push_back(Item::NewDeleted("key", false, kMeta));
  items.push_back(Item::NewDeleted("key", true, kMeta));
  items.push_back(Item::NewMarker(EncodeMarker(SomeMarker()), kSeq));
  items.push_back(Item::NewMarker("", kSeq));
  return items;
}

TEST(LogRecord, ComesBackAsItWas) {
  for (const ItemRef& item : SomeItems()) {
    const auto decoded = DecodeLogRecord(kVb, kSeq, LogOf(*item));
    ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
    ExpectSame(*item, *decoded->item);
    EXPECT_EQ(decoded->checkpoint, kCheckpoint);
  }
}

TEST(LogRecord, KeepsTheWholeRangeOfEachField) {
  for (const uint64_t big : {uint64_t{0}, uint64_t{127}, uint64_t{128}, UINT64_MAX}) {
    const auto small = static_cast<uint32_t>(big);
    const Seqno seqno(big & kSeqnoMax);
    const ItemRef item = Item::NewValue("k", "v", ItemMeta{small, small, Cas(big), seqno});
    std::string record;
    EncodeLogRecord(Vbid(65'535), *item, CheckpointId(big), &record);
    const auto decoded = DecodeLogRecord(Vbid(65'535), seqno, record);
    ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
    ExpectSame(*item, *decoded->item);
    EXPECT_EQ(decoded->checkpoint.get(), big);
  }
}

TEST(DataRecord, ComesBackAsValueAndAsEjected) {
  for (const ItemRef& item : SomeItems()) {
    if (!item->is_value()) continue;
    const std::string record = DataOf(*item);
    const auto value = DecodeDataRecord(kVb, item->key(), record);
    ASSERT_TRUE(value.ok()) << value.status().ToString();
    ExpectSame(*item, **value);

    const auto ejected = DecodeDataAsEjected(kVb, item->key(), record);
    ASSERT_TRUE(ejected.ok());
    EXPECT_TRUE((*ejected)->is_ejected());
    EXPECT_EQ((*ejected)->value_size(), item->value_size());
    EXPECT_EQ((*ejected)->value_digest(), item->value_digest());
    EXPECT_EQ((*ejected)->digest(), item->digest());
    EXPECT_EQ((*ejected)->key(), item->key());
  }
}

TEST(DataRecord, ComesBackAsATombstone) {
  for (const bool expired : {false, true}) {
    const ItemRef item = Item::NewDeleted("key", expired, kMeta);
    const std::string record = DataOf(*item);
    const auto read = DecodeDataRecord(kVb, "key", record);
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    ExpectSame(*item, **read);
    const auto as_ejected = DecodeDataAsEjected(kVb, "key", record);
    ASSERT_TRUE(as_ejected.ok());
    ExpectSame(*item, **as_ejected);
    EXPECT_EQ(DataTombstone(record), kSeq);
    EXPECT_EQ(DecodeDataRecord(kVb, "kex", record).code(), Code::kCorruption);
  }
}

TEST(DataRecord, OnlyATombstoneLooksLikeOne) {
  const std::string record = DataOf(*Item::NewDeleted("key", false, kMeta));
  EXPECT_EQ(DataTombstone(DataOf(*Item::NewValue("key", "value", kMeta))), std::nullopt);
  EXPECT_EQ(DataTombstone(""), std::nullopt);
  EXPECT_EQ(DataTombstone("\x01\x02"), std::nullopt);
  EXPECT_EQ(DataTombstone(std::string_view(record).substr(0, 7)), std::nullopt) << "the seqno is cut off";
  EXPECT_EQ(DataTombstone("\x02" + record.substr(1)), std::nullopt) << "of a version that is not known";
  std::string with_value = record;
  with_value += "v";
  EXPECT_EQ(DecodeDataRecord(kVb, "key", with_value).code(), Code::kCorruption);
}

// The bytes on disk of format version 1. When one of these fails, stores written before are unreadable:
// add a version instead.
TEST(GoldenBytes, LogRecords) {
  EXPECT_EQ(Hex(LogOf(*Item::NewValue("key", "value", kMeta))),
            "01003c09934dac028877665544332211effdb6f50d80e2cfaa06036b657976616c7565");
  EXPECT_EQ(Hex(LogOf(*Item::NewDeleted("key", false, kMeta))),
            "01023f621d64ac028877665544332211effdb6f50d80e2cfaa06036b6579");
  EXPECT_EQ(Hex(LogOf(*Item::NewDeleted("key", true, kMeta))),
            "01064b4ccedcac028877665544332211effdb6f50d80e2cfaa06036b6579");
  EXPECT_EQ(Hex(LogOf(*Item::NewMarker("payload", kSeq))),
            "010372aa44fdac0200000000000000000000007061796c6f6164");
}

TEST(GoldenBytes, DataRecord) {
  EXPECT_EQ(Hex(DataOf(*Item::NewValue("key", "value", kMeta))),
            "010074f2e002f0a2048877665544332211effdb6f50d80e2cfaa0676616c7565");
}

TEST(GoldenBytes, Tombstone) {
  EXPECT_EQ(Hex(DataOf(*Item::NewDeleted("key", false, kMeta))),
            "010235f27f49f0a2048877665544332211effdb6f50d80e2cfaa06");
  EXPECT_EQ(Hex(DataOf(*Item::NewDeleted("key", true, kMeta))),
            "0106143ec43cf0a2048877665544332211effdb6f50d80e2cfaa06");
}

TEST(GoldenBytes, Marker) {
  EXPECT_EQ(
      Hex(EncodeMarker(SomeMarker())),
      "0103000102030405060708090a0b0c0d0e0fac0264f0a204112233445566778801feffffffffffffff06737072696e67");
}

template <class Decode>
void ExpectEveryDamageIsSeen(const std::string& record, const Decode& decode) {
  ASSERT_TRUE(decode(record).ok());
  for (size_t i = 0; i < record.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = record;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      ASSERT_EQ(decode(damaged).code(), Code::kCorruption) << "byte " << i << " bit " << bit;
    }
    std::string other = record;
    other[i] = static_cast<char>(~other[i]);
    ASSERT_EQ(decode(other).code(), Code::kCorruption) << "byte " << i;
    ASSERT_EQ(decode(record.substr(0, i)).code(), Code::kCorruption) << "cut at " << i;
  }
  ASSERT_EQ(decode(record + '\0').code(), Code::kCorruption);
}

TEST(Damage, IsSeenInEveryBitOfALogRecord) {
  for (const ItemRef& item : SomeItems()) {
    if (item->value_size() > 1000) continue;
    ExpectEveryDamageIsSeen(LogOf(*item), [](std::string_view r) { return DecodeLogRecord(kVb, kSeq, r); });
  }
}

TEST(Damage, IsSeenInEveryBitOfADataRecord) {
  const std::string record = DataOf(*Item::NewValue("key", "value", kMeta));
  ExpectEveryDamageIsSeen(record, [](std::string_view r) { return DecodeDataRecord(kVb, "key", r); });
  const std::string tombstone = DataOf(*Item::NewDeleted("key", false, kMeta));
  ExpectEveryDamageIsSeen(tombstone, [](std::string_view r) { return DecodeDataRecord(kVb, "key", r); });
  ExpectEveryDamageIsSeen(record, [](std::string_view r) { return DecodeDataAsEjected(kVb, "key", r); });
}

TEST(Damage, RecordInAWrongPlaceIsRefusedAndNamed) {
  const std::string log = LogOf(*Item::NewValue("key", "value", kMeta));
  EXPECT_EQ(DecodeLogRecord(Vbid(512), kSeq, log).code(), Code::kCorruption);
  const auto wrong_seqno = DecodeLogRecord(kVb, Seqno(70'001), log);
  EXPECT_EQ(wrong_seqno.status().message(), "log record of vbucket 513 seqno 70001: checksum mismatch");
  EXPECT_EQ(DecodeLogRecord(kVb, Seqno(kSeqnoMax + 1), log).code(), Code::kCorruption);

  const std::string data = DataOf(*Item::NewValue("key", "value", kMeta));
  EXPECT_EQ(DecodeDataRecord(Vbid(512), "key", data).code(), Code::kCorruption);
  EXPECT_EQ(DecodeDataRecord(kVb, std::string(251, 'k'), data).code(), Code::kCorruption);
  const auto wrong_key = DecodeDataRecord(kVb, "k\n\"y", data);
  EXPECT_EQ(wrong_key.status().message(),
            "data record of vbucket 513 key \"k\\x0a\\x22y\": checksum mismatch");
  EXPECT_EQ(DecodeDataRecord(kVb, "key", log).code(), Code::kCorruption) << "a log record is no data record";
}

TEST(EncodeDeathTest, WhatHasNoValueToWriteIsAProgrammersError) {
  const ItemRef ejected = Item::NewEjected("key", 5, 1, kMeta);
  const ItemRef marker = Item::NewMarker("payload", Seqno(1));
  EXPECT_DEATH(LogOf(*ejected), "is_ejected");
  EXPECT_DEATH(DataOf(*ejected), "is_value");
  EXPECT_DEATH(DataOf(*marker), "is_value");
}

TEST(MarkerPayload, ComesBackAsItWas) {
  for (int type = 1; type <= static_cast<int>(MarkerType::kRestoreCommit); ++type) {
    Marker marker = SomeMarker();
    marker.type = static_cast<MarkerType>(type);
    marker.name = std::string(static_cast<size_t>(type) * 18, 'n');
    const auto decoded = DecodeMarker(EncodeMarker(marker));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(*decoded, marker);
    EXPECT_NE(MarkerTypeName(marker.type), "unknown");
  }
  EXPECT_EQ(MarkerTypeName(MarkerType::kOnlineUpdateStart), "online_update_start");
  EXPECT_EQ(MarkerTypeName(static_cast<MarkerType>(99)), "unknown");
}

TEST(MarkerPayload, BadOnesAreRefused) {
  const std::string payload = EncodeMarker(SomeMarker());
  for (size_t n = 0; n < payload.size(); ++n) {
    EXPECT_EQ(DecodeMarker(payload.substr(0, n)).code(), Code::kCorruption) << n;
  }
  EXPECT_TRUE(DecodeMarker(payload + "field of a later version").ok());
  for (const char type : {'\0', '\x08', '\xff'}) {
    std::string bad = payload;
    bad[1] = type;
    EXPECT_EQ(DecodeMarker(bad).code(), Code::kCorruption);
  }
  std::string newer = payload;
  newer[0] = 2;
  EXPECT_EQ(DecodeMarker(newer).code(), Code::kNotSupported);
}

}  // namespace
}  // namespace cairn::proto
