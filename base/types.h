#pragma once
// Strong integer types of the engine's vocabulary. Two numbers that mean different things never
// convert into one another silently. All are trivially copyable and may be used from any thread.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace cairn {

template <class Tag, class Rep>
class StrongInt {
 public:
  using rep = Rep;
  constexpr StrongInt() = default;
  constexpr explicit StrongInt(Rep value) : value_(value) {}
  constexpr Rep get() const { return value_; }
  constexpr auto operator<=>(const StrongInt&) const = default;

  constexpr StrongInt& operator++() {
    ++value_;
    return *this;
  }
  constexpr StrongInt operator+(Rep n) const { return StrongInt(static_cast<Rep>(value_ + n)); }
  constexpr StrongInt operator-(Rep n) const { return StrongInt(static_cast<Rep>(value_ - n)); }
  constexpr Rep operator-(StrongInt other) const { return static_cast<Rep>(value_ - other.value_); }

 private:
  Rep value_{};
};

/// Number of a hash partition, 0 … vbucket count - 1 (at most 65,535).
using Vbid = StrongInt<struct VbidTag, uint16_t>;
/// Number of an operation within a vbucket's sequence. 0 means "none"; the first operation is 1.
/// Only ever rises, never used twice. At most 2^48 - 1 (it is stored in 48 bits of an item).
using Seqno = StrongInt<struct SeqnoTag, uint64_t>;
/// Number of a checkpoint within a vbucket's sequence. 0 means "none"; the first checkpoint is 1.
using CheckpointId = StrongInt<struct CheckpointIdTag, uint64_t>;
/// Client-visible version of an item. 0 means "none".
using Cas = StrongInt<struct CasTag, uint64_t>;

inline constexpr uint64_t kSeqnoMax = (uint64_t{1} << 48) - 1;
inline constexpr size_t kKeySizeMax = 250;
/// Upper limit of a value's size whatever the configuration says (20 MiB, as in memcached's world).
inline constexpr size_t kValueSizeMax = size_t{20} << 20;
inline constexpr uint32_t kVbucketCountMax = 65536;

}  // namespace cairn

template <class Tag, class Rep>
struct std::hash<cairn::StrongInt<Tag, Rep>> {
  size_t operator()(const cairn::StrongInt<Tag, Rep>& v) const noexcept { return std::hash<Rep>()(v.get()); }
};
