#include "proto/update_id.h"

#include <cstring>

namespace cairn::proto {
namespace {

// 0 … 15, or -1 for what is no hexadecimal digit.
int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string UpdateId::ToHex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * kSize);
  for (const uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

std::optional<UpdateId> UpdateId::FromBytes(std::string_view raw) {
  if (raw.size() != kSize) return std::nullopt;
  UpdateId id;
  std::memcpy(id.bytes.data(), raw.data(), kSize);
  return id;
}

std::optional<UpdateId> UpdateId::FromHex(std::string_view hex) {
  if (hex.size() != 2 * kSize) return std::nullopt;
  UpdateId id;
  for (size_t i = 0; i < kSize; ++i) {
    const int high = HexDigit(hex[2 * i]);
    const int low = HexDigit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    id.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return id;
}

}  // namespace cairn::proto
