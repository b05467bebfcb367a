#pragma once
// Reading and writing the integers of disk records: little endian, or LEB128 varints (7 bits per byte, low
// bits first, at most 10 bytes). Private to proto/.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace cairn::proto {

inline constexpr size_t kVarintSizeMax = 10;

/// The host is little endian (x86-64, arm64): a load is a copy.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

template <class T>
char* PutFixed(T value, char* out) {
  std::memcpy(out, &value, sizeof(value));
  return out + sizeof(value);
}

inline char* PutVarint(uint64_t value, char* out) {
  for (; value >= 0x80; value >>= 7) *out++ = static_cast<char>(value | 0x80);
  *out++ = static_cast<char>(value);
  return out;
}

inline char* PutBytes(std::string_view bytes, char* out) {
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

template <class T>
void AppendFixed(T value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

inline void AppendVarint(uint64_t value, std::string* out) {
  char bytes[kVarintSizeMax];
  out->append(bytes, static_cast<size_t>(PutVarint(value, bytes) - bytes));
}

/// A length as a varint, then the bytes.
inline void AppendString(std::string_view bytes, std::string* out) {
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

/// Reads fields off the front of a record. After the first field that is not there, or that is above its
/// bound, everything reads as zero and ok() is false; so callers check once, at the end.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  std::string_view rest() const { return rest_; }

  template <class T>
  T Fixed() {
    T value{};
    if (rest_.size() < sizeof(T)) {
      Fail();
    } else {
      std::memcpy(&value, rest_.data(), sizeof(T));
      rest_.remove_prefix(sizeof(T));
    }
    return value;
  }

  uint64_t Varint(uint64_t max = UINT64_MAX) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      if (shift == 63 && byte > 1) break;
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fU} << shift;
      if ((byte & 0x80) == 0) {
        if (value <= max) return value;
        break;
      }
    }
    Fail();
    return 0;
  }

  std::string_view Bytes(size_t n) {
    if (rest_.size() < n) {
      Fail();
      return {};
    }
    const std::string_view bytes = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return bytes;
  }

  std::string_view String(size_t size_max) { return Bytes(Varint(size_max)); }

  void Fail() {
    ok_ = false;
    rest_ = {};
  }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace cairn::proto
