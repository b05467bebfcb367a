#include "proto/tap_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/crc32c.h"
#include "base/random.h"

namespace cairn::proto {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kVbuckets = 1024;
constexpr size_t kItemMax = 1 << 20;

ItemRef Value(std::string_view key, std::string_view value, uint64_t seqno, uint64_t cas, uint32_t flags = 0,
              uint32_t expiry = 0) {
  return Item::NewValue(key, value, ItemMeta{flags, expiry, Cas(cas), Seqno(seqno)});
}

TapFrame Snapshot(uint16_t vbucket, uint64_t start, uint64_t end,
                  TapSnapshotKind kind = TapSnapshotKind::kMemory) {
  TapFrame frame;
  frame.type = TapFrameType::kSnapshot;
  frame.vbucket = Vbid(vbucket);
  frame.kind = kind;
  frame.start = Seqno(start);
  frame.end = Seqno(end);
  frame.checkpoint = CheckpointId(3);
  frame.source_persisted = Seqno(90);
  return frame;
}

/// The checksum made right for whatever the bytes are.
std::string Seal(std::string body) {
  const uint32_t crc = Crc32c(body);
  body.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
  return body;
}
std::string Body(const std::string& chunk) { return chunk.substr(0, chunk.size() - sizeof(uint32_t)); }

/// All frames, or the first error.
Result<std::vector<TapFrame>> ReadAll(std::string_view chunk, size_t item_max = kItemMax,
                                      uint32_t vbuckets = kVbuckets) {
  TapChunkReader reader(chunk, vbuckets, item_max);
  std::vector<TapFrame> frames;
  while (true) {
    Result<std::optional<TapFrame>> frame = reader.Next();
    if (!frame.ok()) return frame.status();
    if (!frame->has_value()) return frames;
    frames.push_back(std::move(**frame));
  }
}

std::string ErrorOf(std::string_view chunk, size_t item_max = kItemMax) {
  const auto frames = ReadAll(chunk, item_max);
  if (frames.ok()) return "no error";
  EXPECT_EQ(frames.code(), Code::kCorruption);
  return std::string(frames.status().message());
}

/// Every type of frame and every kind of operation.
std::string Sample() {
  TapChunkWriter writer;
  writer.BeginSnapshot(Snapshot(5, 100, 110));
  writer.AddOperation(*Value("alpha", "one", 101, 1'000'000, 7, 1'800'000'000), false);
  writer.AddOperation(*Item::NewDeleted("beta", true, ItemMeta{0, 0, Cas(999'990), Seqno(105)}), false);
  writer.AddOperation(*Item::NewMarker("payload", Seqno(110)), false);
  writer.EndSnapshot(true);
  writer.AddCheckpointEnd(Vbid(5), CheckpointId(3), Seqno(110), 0x1122334455667788);
  writer.AddVbucketState(Vbid(6), 3, 12);
  writer.AddStreamEnd(Vbid(300), 6, "ask again");
  return writer.Take();
}

void ExpectSame(const Item& a, const Item& b) {
  EXPECT_EQ(a.kind(), b.kind());
  EXPECT_EQ(a.deleted_by_expiry(), b.deleted_by_expiry());
  EXPECT_EQ(a.key(), b.key());
  EXPECT_EQ(a.value(), b.value());
  EXPECT_EQ(a.value_size(), b.value_size());
  EXPECT_EQ(a.value_digest(), b.value_digest());
  EXPECT_EQ(a.flags(), b.flags());
  EXPECT_EQ(a.expiry(), b.expiry());
  EXPECT_EQ(a.cas(), b.cas());
  EXPECT_EQ(a.seqno(), b.seqno());
}

TEST(TapFrame, ABytewiseKnownChunk) {
  const std::string_view body(
      "\x01"                              // format
      "\x01\x05\x01\x02\x64\x0a\x03\x5a"  // snapshot of vbucket 5: memory, last part, 100 + 10, id 3, 90
      "\x03\x00\x00\x00"                  // operations
      "\x02\x18\x05\x03\x01\x80\x89\x7a"  // value with flags and expiry, +1, CAS 0 + 1,000,000
      "\x07\x00\x00\x00\x00\xd2\x49\x6b"  // flags, expiry
      "alphaone"                          //
      "\x02\x06\x04\x00\x04\x13"          // deleted, expired, +4, CAS - 10
      "beta"                              //
      "\x02\x03\x00\x07\x05\xeb\x88\x7a"  // marker, +5, CAS back to 0
      "payload"                           //
      "\x03\x05\x03\x6e\x01"              // end of checkpoint 3 at 110, with its digest
      "\x88\x77\x66\x55\x44\x33\x22\x11"  //
      "\x04\x06\x03\x0c"                  // vbucket 6: pending, epoch 12
      "\x05\xac\x02\x06\x09"              // end of vbucket 300: reason 6
      "ask again",
      12 + 1 + 8 + 8 + 8 + 6 + 4 + 8 + 7 + 5 + 8 + 4 + 5 + 9);
  EXPECT_EQ(Sample(), Seal(std::string(body)));
}

TEST(TapFrame, WhatWasWrittenIsRead) {
  const std::string chunk = Sample();
  const auto frames = ReadAll(chunk);
  ASSERT_TRUE(frames.ok()) << frames.status().ToString();
  ASSERT_EQ(frames->size(), 7u);
  const TapFrame& snapshot = (*frames)[0];
  EXPECT_EQ(snapshot.vbucket, Vbid(5));
  EXPECT_EQ(snapshot.kind, TapSnapshotKind::kMemory);
  EXPECT_EQ(snapshot.start, Seqno(100));
  EXPECT_EQ(snapshot.end, Seqno(110));
  EXPECT_EQ(snapshot.source_persisted, Seqno(90));
  EXPECT_EQ(snapshot.checkpoint, CheckpointId(3));
  EXPECT_FALSE(snapshot.continues);
  EXPECT_TRUE(snapshot.last_part);
  EXPECT_EQ(snapshot.operations, 3u);
  ExpectSame(*(*frames)[1].item, *Value("alpha", "one", 101, 1'000'000, 7, 1'800'000'000));
  EXPECT_EQ((*frames)[1].vbucket, Vbid(5));
  ExpectSame(*(*frames)[2].item, *Item::NewDeleted("beta", true, ItemMeta{0, 0, Cas(999'990), Seqno(105)}));
  ExpectSame(*(*frames)[3].item, *Item::NewMarker("payload", Seqno(110)));
  EXPECT_EQ((*frames)[4].last, Seqno(110));
  EXPECT_EQ((*frames)[4].digest, 0x1122334455667788u);
  EXPECT_EQ((*frames)[5].state, 3);
  EXPECT_EQ((*frames)[5].epoch, 12u);
  EXPECT_EQ((*frames)[6].vbucket, Vbid(300));
  EXPECT_EQ((*frames)[6].reason, 6);
  EXPECT_EQ((*frames)[6].text, "ask again");
}

TEST(TapFrame, EveryTruncationIsRefused) {
  const std::string chunk = Sample();
  for (size_t size = 0; size < chunk.size(); ++size) {
    EXPECT_EQ(ReadAll(std::string_view(chunk).substr(0, size)).code(), Code::kCorruption) << size;
    if (size >= Body(chunk).size()) continue;
    // Also when whoever cut it made the checksum right, unless it was cut between two frames.
    const auto sealed = ReadAll(Seal(chunk.substr(0, size)));
    if (!sealed.ok()) {
      EXPECT_EQ(sealed.code(), Code::kCorruption) << size;
    } else {
      EXPECT_LT(sealed->size(), 7u) << size;
    }
  }
}

TEST(TapFrame, EveryDamagedByteIsRefused) {
  const std::string chunk = Sample();
  for (size_t at = 0; at < chunk.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = chunk;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      EXPECT_EQ(ReadAll(damaged).code(), Code::kCorruption) << at << " bit " << bit;
    }
  }
}

/// With the checksum made right, a damaged byte is another message or an error, but never a crash, an item
/// outside of its snapshot, or one beyond the limits.
TEST(TapFrame, EveryForgedByteStaysWithinBounds) {
  const std::string body = Body(Sample());
  for (size_t at = 1; at < body.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string forged = body;
      forged[at] = static_cast<char>(value);
      const std::string sealed = Seal(forged);
      const auto frames = ReadAll(sealed);
      if (!frames.ok()) {
        EXPECT_EQ(frames.code(), Code::kCorruption);
        continue;
      }
      TapFrame snapshot;
      Seqno last;
      for (const TapFrame& frame : *frames) {
        EXPECT_LT(frame.vbucket.get(), kVbuckets);
        if (frame.type == TapFrameType::kSnapshot) {
          snapshot = frame;
          last = frame.start;
        }
        if (!frame.item) continue;
        EXPECT_GT(frame.item->seqno(), snapshot.kind == TapSnapshotKind::kData ? snapshot.start : last);
        EXPECT_LE(frame.item->seqno(), snapshot.end);
        EXPECT_LE(frame.item->value_size(), kItemMax);
        last = frame.item->seqno();
      }
    }
  }
}

TEST(TapFrame, DiskSnapshotsComeInAnyOrder) {
  TapChunkWriter writer;
  TapFrame snapshot = Snapshot(1, 10, 50, TapSnapshotKind::kData);
  snapshot.continues = true;
  writer.BeginSnapshot(snapshot);
  for (const uint64_t seqno : {50u, 11u, 30u}) writer.AddOperation(*Value("k", "v", seqno, seqno), false);
  writer.EndSnapshot(false);
  // Others may come in between: what is applied piece by piece is not waited for.
  writer.AddStreamEnd(Vbid(2), 0, "");
  const std::string chunk = writer.Take();
  const auto frames = ReadAll(chunk);
  ASSERT_TRUE(frames.ok()) << frames.status().ToString();
  ASSERT_EQ(frames->size(), 5u);
  EXPECT_TRUE((*frames)[0].continues);
  EXPECT_FALSE((*frames)[0].last_part);
  EXPECT_EQ((*frames)[1].item->seqno(), Seqno(50));
  EXPECT_EQ((*frames)[2].item->seqno(), Seqno(11));
  EXPECT_EQ((*frames)[3].item->cas(), Cas(30));
}

TEST(TapFrame, ASnapshotGoesOnInTheNextChunk) {
  TapChunkWriter writer;
  TapFrame snapshot = Snapshot(1, 10, 1000);
  writer.BeginSnapshot(snapshot);
  writer.AddOperation(*Value("a", "1", 500, 5), false);
  writer.EndSnapshot(false);
  const std::string first = writer.Take();
  EXPECT_TRUE(writer.empty());
  snapshot.continues = true;
  writer.BeginSnapshot(snapshot);
  writer.AddOperation(*Value("b", "2", 1000, 6), false);
  writer.EndSnapshot(true);
  const std::string second = writer.Take();
  EXPECT_TRUE(ReadAll(first).ok());
  // Can be read by itself.
  const auto frames = ReadAll(second);
  ASSERT_TRUE(frames.ok()) << frames.status().ToString();
  EXPECT_EQ((*frames)[1].item->seqno(), Seqno(1000));
  EXPECT_EQ((*frames)[1].item->cas(), Cas(6));
}

TEST(TapFrame, KeysOnlyCarriesSizeAndDigest) {
  const ItemRef item = Value("key", std::string(5000, 'x'), 11, 7, 3);
  TapChunkWriter writer;
  writer.BeginSnapshot(Snapshot(1, 10, 11));
  writer.AddOperation(*item, true);
  writer.EndSnapshot(true);
  const std::string chunk = writer.Take();
  EXPECT_LT(chunk.size(), 60u);
  const auto frames = ReadAll(chunk);
  ASSERT_TRUE(frames.ok());
  const Item& read = *(*frames)[1].item;
  EXPECT_TRUE(read.is_ejected());
  EXPECT_EQ(read.value_size(), 5000u);
  EXPECT_EQ(read.digest(), item->digest());
}

TEST(TapFrame, LargestAndSmallestFit) {
  const std::string key(kKeySizeMax, 'k');
  const std::string value(kItemMax, 'v');
  TapChunkWriter writer;
  writer.BeginSnapshot(Snapshot(1023, 0, kSeqnoMax));
  writer.AddOperation(*Value("", "", 1, UINT64_MAX), false);
  const size_t before = writer.size();
  const ItemRef large = Value(key, value, kSeqnoMax, 1, UINT32_MAX, UINT32_MAX);
  writer.AddOperation(*large, false);
  EXPECT_LE(writer.size() - before, TapChunkWriter::OperationSizeMax(*large));
  writer.EndSnapshot(true);
  const size_t said = writer.size();
  EXPECT_EQ(writer.Take().size(), said);
  writer.BeginSnapshot(Snapshot(1023, 0, kSeqnoMax));
  writer.AddOperation(*large, false);
  writer.EndSnapshot(true);
  const std::string chunk = writer.Take();
  const auto frames = ReadAll(chunk);
  ASSERT_TRUE(frames.ok()) << frames.status().ToString();
  ExpectSame(*(*frames)[1].item, *large);
  EXPECT_THAT(ErrorOf(chunk, kItemMax - 1), HasSubstr("value too large"));
}

TEST(TapFrame, TheHighestCheckpointAndEpochAreTaken) {
  TapFrame head = Snapshot(1, 0, 1);
  head.checkpoint = CheckpointId(kTapCheckpointMax);
  TapChunkWriter writer;
  writer.BeginSnapshot(head);
  writer.EndSnapshot(true);
  writer.AddCheckpointEnd(Vbid(1), head.checkpoint, Seqno(1), std::nullopt);
  writer.AddVbucketState(Vbid(1), 1, (uint64_t{1} << 63) - 1);
  const auto frames = ReadAll(writer.Take());
  ASSERT_TRUE(frames.ok()) << frames.status().ToString();
  EXPECT_EQ((*frames)[0].checkpoint, head.checkpoint);
  EXPECT_EQ((*frames)[1].checkpoint, head.checkpoint);
  EXPECT_EQ((*frames)[2].epoch, (uint64_t{1} << 63) - 1);
}

TEST(TapFrame, AStreamEndsTextIsCut) {
  TapChunkWriter writer;
  writer.AddStreamEnd(Vbid(1), 1, std::string(300, 't'));
  const std::string chunk = writer.Take();
  EXPECT_EQ((*ReadAll(chunk))[0].text, std::string(255, 't'));
}

TEST(TapFrame, NothingWrittenIsNoChunk) {
  TapChunkWriter writer;
  EXPECT_EQ(writer.size(), 0u);
  EXPECT_EQ(writer.Take(), "");
}

struct Forged {
  const char* name;
  std::string body;
  const char* error;
};

class ForgedChunk : public ::testing::TestWithParam<Forged> {};

TEST_P(ForgedChunk, IsRefusedByName) {
  EXPECT_THAT(ErrorOf(Seal(GetParam().body)), HasSubstr(GetParam().error));
}

std::string B(std::string_view bytes) { return std::string(bytes); }

/// A snapshot of vbucket 1, (100, 110], with `count` operations; then `rest`.
std::string WithSnapshot(char count, std::string_view rest, char kind = 1, char flags = 2) {
  std::string body("\x01\x01\x01", 3);
  body += kind;
  body += flags;
  body += std::string("\x64\x0a\x03\x5a", 4);
  body += count;
  body += std::string(3, '\0');
  body += rest;
  return body;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ForgedChunk,
    ::testing::Values(
        Forged{"format", B("\x02"), "unknown format"}, Forged{"type", B("\x01\x06\x01"), "unknown type"},
        Forged{"vbucket", B({"\x01\x05\x80\x08\x00\x00", 6}), "vbucket does not exist"},
        Forged{"kind", WithSnapshot(0, "", 4), "unknown kind"},
        Forged{"flag", WithSnapshot(0, "", 1, 4), "unknown flag of a snapshot"},
        Forged{"snapshot_cut", B({"\x01\x01\x01\x01\x02\x64", 6}), "snapshot cut short"},
        Forged{"seqno_too_large",
               B({"\x01\x01\x01\x01\x02\x80\x80\x80\x80\x80\x80\x40\x01\x01\x01\x00\x00\x00\x00", 19}),
               "a seqno that does not exist"},
        Forged{"too_few", WithSnapshot(1, ""), "fewer operations"},
        Forged{"too_few_then_frame", WithSnapshot(1, {"\x05\x01\x00\x00", 4}), "fewer operations"},
        Forged{"too_many", WithSnapshot(0, {"\x02\x00\x01\x00\x01\x00k", 7}), "more operations"},
        Forged{"no_snapshot", B({"\x01\x02\x00\x01\x00\x01\x00k", 8}), "more operations"},
        Forged{"operation_flag", WithSnapshot(1, {"\x02\x20\x01\x00\x01\x00k", 7}),
               "unknown flag of an operation"},
        Forged{"expired_value", WithSnapshot(1, {"\x02\x04\x01\x00\x01\x00k", 7}),
               "expired, but not deleted"},
        Forged{"key_too_long",
               WithSnapshot(1, std::string("\x02\x00\xfb\x00\x01\x00", 6) + std::string(251, 'k')),
               "key too long"},
        Forged{"key_beyond_the_chunk", WithSnapshot(1, {"\x02\x00\x05\x00\x01\x00k", 7}), "cut short"},
        Forged{"value_beyond_the_chunk", WithSnapshot(1, {"\x02\x00\x01\x09\x01\x00k", 7}), "cut short"},
        Forged{"value_too_large", WithSnapshot(1, {"\x02\x00\x01\x81\x80\x40\x01\x00k", 9}),
               "value too large"},
        Forged{"seqno_stands", WithSnapshot(1, {"\x02\x00\x01\x00\x00\x00k", 7}), "not rising"},
        Forged{"seqno_beyond", WithSnapshot(1, {"\x02\x00\x01\x00\x0b\x00k", 7}), "outside of its snapshot"},
        Forged{"seqno_wraps",
               WithSnapshot(1, {"\x02\x00\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00k", 16}),
               "outside of its snapshot"},
        Forged{"data_seqno_at_start", WithSnapshot(1, {"\x02\x00\x01\x00\x00\x00k", 7}, 3),
               "outside of its snapshot"},
        Forged{"deleted_with_value", WithSnapshot(1, {"\x02\x02\x01\x01\x01\x00kv", 8}),
               "deleted, but with a value"},
        Forged{"marker_with_key", WithSnapshot(1, {"\x02\x03\x01\x01\x01\x00kv", 8}), "marker with fields"},
        Forged{"varint_too_long",
               WithSnapshot(1, {"\x02\x00\x01\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\x00k", 16}),
               "cut short"},
        Forged{
            "checkpoint_too_large",
            B({"\x01\x01\x01\x01\x02\x64\x0a\x81\x80\x80\x80\x80\x80\x80\x80\x40\x5a\x00\x00\x00\x00", 21}),
            "a checkpoint that does not exist"},
        Forged{"last_checkpoint_ends",
               B({"\x01\x03\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x00", 15}),
               "a checkpoint that does not exist"},
        Forged{"epoch_too_large", B({"\x01\x04\x01\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 14}),
               "an epoch that does not exist"},
        Forged{"checkpoint_end_flag", B({"\x01\x03\x01\x01\x01\x02", 6}), "unknown flag of a checkpoint end"},
        Forged{"checkpoint_end_cut", B({"\x01\x03\x01\x01\x01\x01\x00", 7}), "checkpoint end cut short"},
        Forged{"state", B({"\x01\x04\x01\x05\x00", 5}), "unknown vbucket state"},
        Forged{"state_cut", B({"\x01\x04\x01\x03", 4}), "vbucket state cut short"},
        Forged{"end_text_cut", B({"\x01\x05\x01\x00\x05hi", 7}), "stream end cut short"},
        Forged{"behind_unfinished", WithSnapshot(0, {"\x05\x01\x00\x00", 4}, 1, 0),
               "behind an unfinished snapshot"},
        Forged{"before_the_rest", B({"\x01\x05\x02\x00\x00", 5}) + WithSnapshot(0, "", 2, 3).substr(1),
               "before the rest of a snapshot"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(TapFrame, AWrongChecksumIsNamed) {
  std::string chunk = Sample();
  chunk.back() = static_cast<char>(chunk.back() ^ 1);
  EXPECT_THAT(ErrorOf(chunk), HasSubstr("wrong checksum"));
  EXPECT_THAT(ErrorOf("abc"), HasSubstr("too short"));
}

TEST(TapFrame, RandomSnapshotsComeBack) {
  Random random(42);
  for (int round = 0; round < 300; ++round) {
    TapChunkWriter writer;
    const uint64_t start = random.Uniform(1'000'000);
    const bool data = random.Uniform(3) == 0;
    std::vector<ItemRef> items;
    uint64_t seqno = start;
    for (size_t n = random.Uniform(40); n > 0; --n) {
      seqno += 1 + random.Uniform(300);
      const ItemMeta meta{static_cast<uint32_t>(random.Uniform(3)), static_cast<uint32_t>(random.Uniform(3)),
                          Cas(random.Next64()), Seqno(seqno)};
      const std::string key(random.Uniform(kKeySizeMax + 1), 'k');
      switch (random.Uniform(3)) {
        case 0:
          items.push_back(Item::NewDeleted(key, random.Uniform(2) == 1, meta));
          break;
        case 1:
          items.push_back(Item::NewMarker(key, Seqno(seqno)));
          break;
        default:
          items.push_back(Item::NewValue(key, std::string(random.Uniform(2000), 'v'), meta));
      }
    }
    if (data) std::reverse(items.begin(), items.end());
    writer.BeginSnapshot(Snapshot(9, start, seqno, data ? TapSnapshotKind::kData : TapSnapshotKind::kLog));
    for (const ItemRef& item : items) writer.AddOperation(*item, false);
    writer.EndSnapshot(true);
    const std::string chunk = writer.Take();
    const auto frames = ReadAll(chunk);
    ASSERT_TRUE(frames.ok()) << frames.status().ToString();
    ASSERT_EQ(frames->size(), items.size() + 1);
    for (size_t i = 0; i < items.size(); ++i) ExpectSame(*(*frames)[i + 1].item, *items[i]);
  }
}

}  // namespace
}  // namespace cairn::proto
