#include "engine/storage/store_key.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::storage {
namespace {

TEST(StoreKey, LogKeysSortByVbucketThenSeqno) {
  const std::vector<LogKey> keys = {{Vbid(0), Seqno(0)},   {Vbid(0), Seqno(255)},
                                    {Vbid(0), Seqno(256)}, {Vbid(0), Seqno(kSeqnoMax)},
                                    {Vbid(1), Seqno(1)},   {Vbid(255), Seqno(UINT64_MAX)},
                                    {Vbid(256), Seqno(0)}, {Vbid(65535), Seqno(UINT64_MAX)}};
  std::string previous;
  for (const LogKey& key : keys) {
    const std::string encoded = EncodeLogKey(key);
    EXPECT_EQ(encoded.size(), kLogKeySize);
    EXPECT_EQ(DecodeLogKey(encoded), key);
    EXPECT_LT(previous, encoded);
    EXPECT_LT(encoded, EndOfVbucket(key.vbucket));
    previous = encoded;
  }
}

TEST(StoreKey, TheBytesAreBigEndian) {
  EXPECT_EQ(EncodeLogKey({Vbid(0x0102), Seqno(0x030405060708090a)}),
            "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a");
  EXPECT_EQ(EncodeDataKey(Vbid(0x4142), "key"), "ABkey");
}

TEST(StoreKey, TheEndOfAVbucketIsBehindItsLongestKeyAndNotBehindTheNextVbucket) {
  const std::string longest(kKeySizeMax, '\xff');
  for (const uint16_t vbucket : std::initializer_list<uint16_t>{0, 1, 255, 256, 65534, 65535}) {
    EXPECT_LT(EncodeDataKey(Vbid(vbucket), longest), EndOfVbucket(Vbid(vbucket)));
    if (vbucket == 65535) continue;
    EXPECT_LE(EndOfVbucket(Vbid(vbucket)), EncodeDataKey(Vbid(vbucket) + 1, ""));
  }
}

}  // namespace
}  // namespace cairn::storage
