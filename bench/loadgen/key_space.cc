#include "bench/loadgen/key_space.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "bench/loadgen/random.h"

namespace cairn::loadgen {
namespace {

constexpr size_t kVersionDigits = 8;
constexpr char kHex[] = "0123456789abcdef";

// Word `i` of the pattern of (number, version): eight characters '0' … 'o'. No line end can occur, so a
// server that only counts lines is not confused by values.
uint64_t PatternWord(uint64_t seed, uint64_t i) {
  return (Mix64(seed + i) & 0x3f3f3f3f3f3f3f3fULL) + 0x3030303030303030ULL;
}

uint64_t PatternSeed(uint64_t number, uint32_t version) {
  return Mix64(number) ^ (uint64_t{version} * 0xd6e8feb86659fd93ULL);
}

std::optional<uint32_t> ParseVersion(std::string_view digits) {
  uint32_t version = 0;
  for (const char c : digits) {
    const char* at = static_cast<const char*>(std::memchr(kHex, c, 16));
    if (at == nullptr) return std::nullopt;
    version = (version << 4) | static_cast<uint32_t>(at - kHex);
  }
  return version;
}

}  // namespace

KeySpace::KeySpace(Shape shape) : shape_(std::move(shape)) {
  CAIRN_CHECK(shape_.keys > 0);
  CAIRN_CHECK(shape_.prefix.size() + KeyDigits(shape_.keys) <= shape_.key_size);
  key_of_zero_ = shape_.prefix;
  key_of_zero_.resize(shape_.key_size, '0');
}

size_t KeySpace::KeyDigits(uint64_t keys) { return std::to_string(keys - 1).size(); }

void KeySpace::AppendKey(uint64_t number, std::string* out) const {
  out->append(key_of_zero_);
  for (size_t at = out->size(); number != 0; number /= 10) {
    (*out)[--at] = static_cast<char>('0' + number % 10);
  }
}

void KeySpace::AppendValue(uint64_t number, uint32_t version, std::string* out) const {
  size_t left = shape_.value_size;
  const bool versioned = left >= kVersionedValueMin;
  if (versioned) {
    for (unsigned shift = 32; shift > 0; shift -= 4) out->push_back(kHex[(version >> (shift - 4)) & 15]);
    left -= kVersionDigits;
  }
  const uint64_t seed = PatternSeed(number, versioned ? version : 0);
  for (uint64_t i = 0; left > 0; ++i) {
    const uint64_t word = PatternWord(seed, i);
    const size_t n = std::min(left, sizeof(word));
    out->append(reinterpret_cast<const char*>(&word), n);
    left -= n;
  }
}

bool KeySpace::IsKey(uint64_t number, std::string_view text) const {
  if (text.size() != key_of_zero_.size()) return false;
  size_t at = text.size();
  for (; number != 0; number /= 10) {
    if (text[--at] != static_cast<char>('0' + number % 10)) return false;
  }
  return std::memcmp(text.data(), key_of_zero_.data(), at) == 0;
}

std::optional<uint32_t> KeySpace::VersionOf(uint64_t number, std::string_view value) const {
  if (value.size() != shape_.value_size) return std::nullopt;
  uint32_t version = 0;
  if (value.size() >= kVersionedValueMin) {
    const auto parsed = ParseVersion(value.substr(0, kVersionDigits));
    if (!parsed) return std::nullopt;
    version = *parsed;
    value.remove_prefix(kVersionDigits);
  }
  const uint64_t seed = PatternSeed(number, version);
  for (uint64_t i = 0; !value.empty(); ++i) {
    const uint64_t word = PatternWord(seed, i);
    const size_t n = std::min(value.size(), sizeof(word));
    if (std::memcmp(value.data(), &word, n) != 0) return std::nullopt;
    value.remove_prefix(n);
  }
  return version;
}

}  // namespace cairn::loadgen
