#include "proto/meta_record.h"

#include <gtest/gtest.h>

#include <string>

#include "base/crc32c.h"

namespace cairn::proto {
namespace {

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    hex.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  return hex;
}

EngineMeta SomeEngine() {
  EngineMeta meta;
  for (size_t i = 0; i < meta.uuid.size(); ++i) meta.uuid[i] = static_cast<uint8_t>(i + 1);
  meta.vbucket_count = 1024;
  meta.clean = true;
  meta.epoch = 300;
  return meta;
}

VbucketMeta SomeVbucket() {
  VbucketMeta meta;
  meta.state = 1;
  meta.failover_log = {{0xabcdef, Seqno(500)}, {0x123456, Seqno(0)}};
  meta.high_seqno = Seqno(1000);
  meta.open_checkpoint = CheckpointId(7);
  meta.merged_seqno = Seqno(900);
  meta.merged_digest = 0x1122334455667788;
  meta.purge_seqno = Seqno(10);
  meta.max_cas = Cas(0x8877665544332211);
  meta.void_ranges = {{Seqno(100), Seqno(200)}, {Seqno(200), Seqno(201)}};
  meta.window_update = *UpdateId::FromHex("000102030405060708090a0b0c0d0e0f");
  meta.window_start = Seqno(900);
  meta.window_checkpoint = CheckpointId(6);
  meta.epoch = 5;
  meta.snapshot_start = Seqno(300);
  meta.snapshot_end = Seqno(400);
  meta.last_update = {*UpdateId::FromHex("f0e0d0c0b0a090807060504030201000"), true};
  meta.regain = Seqno(1100);
  for (size_t i = 0; i < meta.handover.receiver.size(); ++i) {
    meta.handover.receiver[i] = static_cast<uint8_t>(0xa0 + i);
  }
  meta.handover.seqno = Seqno(1200);
  return meta;
}

UpdateMeta SomeUpdate() {
  UpdateMeta meta;
  meta.id = *UpdateId::FromHex("000102030405060708090a0b0c0d0e0f");
  meta.name = "spring catalogue";
  meta.state = UpdateState::kReverted;
  meta.number = 12;
  meta.started_ns = 1'700'000'000'000'000'000;
  meta.decided_ns = 1'700'000'001'000'000'000;
  meta.keys_added = 1;
  meta.keys_updated = 200;
  meta.keys_deleted = 3;
  meta.window_bytes = 1'000'000;
  meta.start_digest = UINT64_MAX;
  return meta;
}

/// A record with fields as given and a right checksum: what only a wrong program writes.
std::string Sealed(std::string_view name, char version, std::string_view fields) {
  const std::string head(1, version);
  const uint32_t crc = Crc32c(fields, Crc32c(head, Crc32c(name)));
  std::string record = head;
  record.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
  record.append(fields);
  return record;
}

TEST(MetaRecord, Names) {
  EXPECT_EQ(VbucketMetaName(Vbid(42)), "vb/00042");
  EXPECT_EQ(VbucketMetaName(Vbid(65'535)), "vb/65535");
  EXPECT_EQ(UpdateHistoryName(3), "update/history/3");
  EXPECT_EQ(UpdateStateName(UpdateState::kOpen), "open");
}

TEST(MetaRecord, ComesBackAsItWas) {
  const auto engine = DecodeEngineMeta(EncodeEngineMeta(SomeEngine()));
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  EXPECT_EQ(*engine, SomeEngine());

  for (const VbucketMeta& meta : {SomeVbucket(), VbucketMeta{}}) {
    const auto vbucket = DecodeVbucketMeta(Vbid(7), EncodeVbucketMeta(Vbid(7), meta));
    ASSERT_TRUE(vbucket.ok()) << vbucket.status().ToString();
    EXPECT_EQ(*vbucket, meta);
  }
  for (const UpdateMeta& meta : {SomeUpdate(), UpdateMeta{}}) {
    const auto update = DecodeUpdateMeta("update/current", EncodeUpdateMeta("update/current", meta));
    ASSERT_TRUE(update.ok()) << update.status().ToString();
    EXPECT_EQ(*update, meta);
  }
}

TEST(MetaRecord, ListsMayReachTheirBounds) {
  VbucketMeta meta = SomeVbucket();
  meta.failover_log.assign(kFailoverEntriesMax, {UINT64_MAX, Seqno(kSeqnoMax)});
  meta.void_ranges.clear();
  for (uint64_t i = 0; i < kVoidRangesMax; ++i) meta.void_ranges.push_back({Seqno(2 * i), Seqno(2 * i + 1)});
  const auto decoded = DecodeVbucketMeta(Vbid(7), EncodeVbucketMeta(Vbid(7), meta));
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(*decoded, meta);
}

TEST(MetaRecord, GoldenBytes) {
  EXPECT_EQ(Hex(EncodeEngineMeta(SomeEngine())), "0103c68b3b010102030405060708090a0b0c0d0e0f10800801ac02");
  EXPECT_EQ(Hex(EncodeVbucketMeta(Vbid(7), SomeVbucket())),
            "01cf416d4d0102efcdab0000000000f403563412000000000000e80707840788776655443322110a1122334455667788"
            "0264c801c801c901000102030405060708090a0b0c0d0e0f84070605ac029003f0e0d0c0b0a090807060504030201000"
            "01cc08a0a1a2a3a4a5a6a7a8a9aaabacadaeafb009");
  EXPECT_EQ(Hex(EncodeUpdateMeta("update/current", SomeUpdate())),
            "016aa6cc4b000102030405060708090a0b0c0d0e0f10737072696e6720636174616c6f677565030c00002a36fe9c9717"
            "00cac471fe9c971701c80103c0843dffffffffffffffff");
}

TEST(MetaRecord, AVbucketOfVersion010HasNoReplication) {
  // The golden record of that version.
  const std::string record = FromHex(
      "01b1a878780102efcdab0000000000f403563412000000000000e80707840788776655443322110a1122334455667788"
      "0264c801c801c901000102030405060708090a0b0c0d0e0f840706");
  const auto decoded = DecodeVbucketMeta(Vbid(7), record);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  VbucketMeta before = SomeVbucket();
  before.epoch = 0;
  before.snapshot_start = before.snapshot_end = Seqno();
  before.last_update = {};
  before.regain = Seqno();
  before.handover = {};
  EXPECT_EQ(*decoded, before);
}

TEST(MetaRecord, AVbucketOfBeforeRegainHasGivenNothingUp) {
  const std::string record = FromHex(
      "01e22027b10102efcdab0000000000f403563412000000000000e80707840788776655443322110a1122334455667788"
      "0264c801c801c901000102030405060708090a0b0c0d0e0f84070605ac029003f0e0d0c0b0a090807060504030201000"
      "01");
  const auto decoded = DecodeVbucketMeta(Vbid(7), record);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  VbucketMeta before = SomeVbucket();
  before.regain = Seqno();
  before.handover = {};
  EXPECT_EQ(*decoded, before);
}

TEST(MetaRecord, AVbucketOfBeforeHandoversWereRecordedWasGivenToNobody) {
  const std::string record = FromHex(
      "016c6155d00102efcdab0000000000f403563412000000000000e80707840788776655443322110a1122334455667788"
      "0264c801c801c901000102030405060708090a0b0c0d0e0f84070605ac029003f0e0d0c0b0a090807060504030201000"
      "01cc08");
  const auto decoded = DecodeVbucketMeta(Vbid(7), record);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  VbucketMeta before = SomeVbucket();
  before.handover = {};
  EXPECT_TRUE(before.handover.is_none());
  EXPECT_EQ(*decoded, before);
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
    ASSERT_EQ(decode(record.substr(0, i)).code(), Code::kCorruption) << "cut at " << i;
  }
}

TEST(MetaRecord, DamageIsSeenInEveryBit) {
  ExpectEveryDamageIsSeen(EncodeEngineMeta(SomeEngine()),
                          [](std::string_view r) { return DecodeEngineMeta(r); });
  ExpectEveryDamageIsSeen(EncodeVbucketMeta(Vbid(7), SomeVbucket()),
                          [](std::string_view r) { return DecodeVbucketMeta(Vbid(7), r); });
  ExpectEveryDamageIsSeen(EncodeUpdateMeta("update/current", SomeUpdate()),
                          [](std::string_view r) { return DecodeUpdateMeta("update/current", r); });
}

TEST(MetaRecord, UnderAnotherNameItIsRefused) {
  const auto decoded = DecodeVbucketMeta(Vbid(8), EncodeVbucketMeta(Vbid(7), SomeVbucket()));
  EXPECT_EQ(decoded.code(), Code::kCorruption);
  EXPECT_EQ(decoded.status().message(), "meta record vb/00008: checksum mismatch");
  const std::string current = EncodeUpdateMeta("update/current", SomeUpdate());
  EXPECT_EQ(DecodeUpdateMeta("update/history/1", current).code(), Code::kCorruption);
}

TEST(MetaRecord, NewerVersionsAreRefusedAsSuch) {
  EXPECT_EQ(DecodeEngineMeta(Sealed(kEngineMetaName, 2, "anything")).code(), Code::kNotSupported);
  EngineMeta meta = SomeEngine();
  meta.format_version = kStoreFormatVersion + 1;
  const auto decoded = DecodeEngineMeta(EncodeEngineMeta(meta));
  EXPECT_EQ(decoded.code(), Code::kNotSupported);
  EXPECT_EQ(decoded.status().message(), "the store has format version 2; this program knows up to 1");
}

TEST(MetaRecord, FieldsOfALaterReleaseAreSkipped) {
  const std::string record = EncodeVbucketMeta(Vbid(7), SomeVbucket());
  const std::string longer = Sealed("vb/00007", 1, record.substr(5) + "later field");
  const auto decoded = DecodeVbucketMeta(Vbid(7), longer);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, SomeVbucket());
}

TEST(MetaRecord, FieldsOutOfBoundsAreRefusedThoughTheChecksumHolds) {
  // An engine whose vbucket count is no power of two.
  EngineMeta engine = SomeEngine();
  engine.vbucket_count = 1000;
  EXPECT_EQ(DecodeEngineMeta(EncodeEngineMeta(engine)).code(), Code::kCorruption);
  // A list that claims more entries than are allowed, or than are there.
  EXPECT_EQ(DecodeVbucketMeta(Vbid(7), Sealed("vb/00007", 1, std::string("\x01\x81\x08", 3))).code(),
            Code::kCorruption);
  EXPECT_EQ(DecodeVbucketMeta(Vbid(7), Sealed("vb/00007", 1, std::string("\x01\x80\x08", 3))).code(),
            Code::kCorruption);
  // A varint of eleven bytes, and one above 2^64.
  EXPECT_EQ(DecodeVbucketMeta(Vbid(7), Sealed("vb/00007", 1, "\x01" + std::string(11, '\x80'))).code(),
            Code::kCorruption);
  EXPECT_EQ(DecodeEngineMeta(Sealed(kEngineMetaName, 1, std::string(9, '\xff') + "\x02")).code(),
            Code::kCorruption);
  // Void ranges that go back.
  VbucketMeta vbucket = SomeVbucket();
  vbucket.void_ranges = {{Seqno(100), Seqno(200)}, {Seqno(150), Seqno(300)}};
  EXPECT_EQ(DecodeVbucketMeta(Vbid(7), EncodeVbucketMeta(Vbid(7), vbucket)).code(), Code::kCorruption);
  // A state that does not exist.
  UpdateMeta update = SomeUpdate();
  update.state = static_cast<UpdateState>(9);
  EXPECT_EQ(DecodeUpdateMeta("update/current", EncodeUpdateMeta("update/current", update)).code(),
            Code::kCorruption);
}

}  // namespace
}  // namespace cairn::proto
