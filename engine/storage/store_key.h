#pragma once
// Keys of the RocksDB families. log: vbucket (2 bytes) and seqno (8 bytes); data: vbucket and the key's
// bytes. Numbers are big-endian, so that RocksDB's byte order is (vbucket, seqno) and (vbucket, key).
// Pure functions, any thread.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/types.h"
#include "engine/storage/kv_store.h"

namespace cairn::storage {

inline constexpr size_t kVbucketPrefixSize = 2;
inline constexpr size_t kLogKeySize = kVbucketPrefixSize + 8;

inline void AppendVbucket(Vbid vbucket, std::string& out) {
  out.push_back(static_cast<char>(vbucket.get() >> 8));
  out.push_back(static_cast<char>(vbucket.get() & 0xff));
}

inline Vbid VbucketOfKey(std::string_view store_key) {
  return Vbid(
      static_cast<uint16_t>(static_cast<uint8_t>(store_key[0]) << 8 | static_cast<uint8_t>(store_key[1])));
}

inline std::string EncodeLogKey(LogKey key) {
  std::string out;
  AppendVbucket(key.vbucket, out);
  for (int shift = 56; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(key.seqno.get() >> shift & 0xff));
  }
  return out;
}

/// `store_key` has kLogKeySize bytes.
inline LogKey DecodeLogKey(std::string_view store_key) {
  uint64_t seqno = 0;
  for (const char c : store_key.substr(kVbucketPrefixSize)) seqno = seqno << 8 | static_cast<uint8_t>(c);
  return {VbucketOfKey(store_key), Seqno(seqno)};
}

inline std::string EncodeDataKey(Vbid vbucket, std::string_view key) {
  std::string out;
  out.reserve(kVbucketPrefixSize + key.size());
  AppendVbucket(vbucket, out);
  out.append(key);
  return out;
}

/// The first key behind every key of `vbucket`.
inline std::string EndOfVbucket(Vbid vbucket) {
  if (vbucket.get() == 0xffff) return std::string(kVbucketPrefixSize + kKeySizeMax + 1, '\xff');
  return EncodeDataKey(vbucket + 1, {});
}

}  // namespace cairn::storage
