#pragma once
// The data of a run: key number n ↔ key text, and the value that belongs to (key number, version). Values
// are a function of both, so any answer can be checked without remembering what was written. Immutable
// after construction.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::loadgen {

/// A value shorter than this carries no version: its bytes depend on the key alone.
inline constexpr size_t kVersionedValueMin = 16;

class KeySpace {
 public:
  struct Shape {
    uint64_t keys = 1;
    std::string prefix;
    size_t key_size = 32;
    size_t value_size = 100;
  };
  /// The prefix must leave room for the largest key number; see KeyDigits().
  explicit KeySpace(Shape shape);

  /// Decimal digits that the largest of `keys` key numbers needs.
  static size_t KeyDigits(uint64_t keys);

  uint64_t keys() const { return shape_.keys; }
  size_t key_size() const { return shape_.key_size; }
  size_t value_size() const { return shape_.value_size; }

  /// Numbers are below keys(). Appends the key: the prefix, then the number with leading zeros, key_size
  /// bytes in all.
  void AppendKey(uint64_t number, std::string* out) const;
  /// Appends the value: 8 hexadecimal digits of the version (if it has kVersionedValueMin bytes), then
  /// printable characters without line ends, 6 random bits each.
  void AppendValue(uint64_t number, uint32_t version, std::string* out) const;

  /// True when `text` is the key of `number`.
  bool IsKey(uint64_t number, std::string_view text) const;
  /// The version when `value` is exactly a value of `number`, nothing when it is not. A value without
  /// room for a version answers 0.
  std::optional<uint32_t> VersionOf(uint64_t number, std::string_view value) const;

 private:
  Shape shape_;
  std::string key_of_zero_;
};

}  // namespace cairn::loadgen
