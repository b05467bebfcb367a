#pragma once
// UpdateId: the 16 random bytes that name one online update everywhere (log markers, meta records, both
// protocols). All zeros means "none". Plain value, any thread.

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::proto {

struct UpdateId {
  static constexpr size_t kSize = 16;
  std::array<uint8_t, kSize> bytes{};

  auto operator<=>(const UpdateId&) const = default;
  bool is_none() const { return *this == UpdateId{}; }
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), kSize}; }
  /// 32 lower-case hexadecimal digits.
  std::string ToHex() const;
  /// From exactly 16 raw bytes.
  static std::optional<UpdateId> FromBytes(std::string_view raw);
  /// From exactly 32 hexadecimal digits of either case.
  static std::optional<UpdateId> FromHex(std::string_view hex);
};

/// Longest name an operator may give an update, in bytes.
inline constexpr size_t kUpdateNameSizeMax = 128;

}  // namespace cairn::proto
