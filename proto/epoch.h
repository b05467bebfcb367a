#pragma once
// Fencing epochs (docs/tap.md). An epoch is compared as one number. Its upper half counts promotions; its
// lower half is a tag of the node that was promoted, so that two nodes that are promoted without knowing of
// each other never have the same one: the higher tag wins, everywhere. Pure functions, any thread.

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace cairn::proto {

inline constexpr int kEpochTagBits = 32;
inline constexpr uint64_t kEpochCounterMax = UINT32_MAX;
/// What another node may name: it is made durable, and there have to be numbers left for promotions above it.
inline constexpr uint64_t kEpochCounterNamedMax = kEpochCounterMax / 2;

constexpr uint64_t MakeEpoch(uint64_t counter, uint32_t tag) { return counter << kEpochTagBits | tag; }
constexpr uint64_t EpochCounter(uint64_t epoch) { return epoch >> kEpochTagBits; }
constexpr uint32_t EpochTag(uint64_t epoch) { return static_cast<uint32_t>(epoch); }
constexpr bool CanBeNamed(uint64_t epoch) { return EpochCounter(epoch) <= kEpochCounterNamedMax; }

/// Of a node, for as long as it keeps its data; never 0.
uint32_t EpochTagOf(const std::array<uint8_t, 16>& node_uuid);
/// What a node with that tag is promoted with: counts on from `known`, and is at least `least`. Nothing when
/// there is no such number.
std::optional<uint64_t> NextEpoch(uint64_t known, uint64_t least, uint32_t tag);
/// What the giver of a takeover is dead with: above `known`, and below the receiver's that follows. Nothing
/// when there is no such number.
std::optional<uint64_t> HandoverEpoch(uint64_t known);
/// "3.9f3a21c4"; "3" without a tag.
std::string FormatEpoch(uint64_t epoch);

}  // namespace cairn::proto
