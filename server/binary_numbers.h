#pragma once
// Numbers in the bodies of binary requests and answers: big endian, one behind the other.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"

namespace cairn::server {

template <class Number>
void AppendBigEndian(Number number, std::string& out) {
  for (size_t shift = 8 * sizeof(Number); shift > 0;) {
    shift -= 8;
    out += static_cast<char>(number >> shift & 0xff);
  }
}

/// Takes a number off the front of `bytes`, which hold one.
template <class Number>
Number TakeBigEndian(std::string_view* bytes) {
  CAIRN_DCHECK(bytes->size() >= sizeof(Number));
  uint64_t number = 0;
  for (size_t i = 0; i < sizeof(Number); ++i) number = number << 8 | static_cast<uint8_t>((*bytes)[i]);
  bytes->remove_prefix(sizeof(Number));
  return static_cast<Number>(number);
}

}  // namespace cairn::server
