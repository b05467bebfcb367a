#pragma once
// Linearizability of one key's operations: is there an order of them, in accord with real time, in which each
// has the answer it gave? (Wing and Gong, 1993; per key, as linearizability is local; just in time and with
// remembered configurations, after Lowe, 2017.) Also answers in which states the key can be afterwards, which
// is where a next branch of history begins.
//
// An operation without an answer (the connection or the node went away) may have happened at any time from
// its beginning on, or never. A time-out of an item may happen at any time from when it was due. Pure;
// values; one thread.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace cairn::sim {

/// What a key is. CAS 0 of an existing key: not known (its writer got no answer).
struct KeyState {
  bool exists = false;
  std::string value;
  uint32_t flags = 0;
  uint32_t expiry = 0;
  uint64_t cas = 0;
  auto operator<=>(const KeyState&) const = default;
};

/// A key with what it was at the START of the online update that is open.
struct Register {
  KeyState now, at_start;
  auto operator<=>(const Register&) const = default;
};

struct KeyOperation {
  enum class Kind : uint8_t { kGet, kSet, kAdd, kAppend, kTouch, kDelete, kFlush, kStart, kRevert };
  Kind kind = Kind::kGet;
  int64_t begin_ns = 0;
  int64_t end_ns = INT64_MAX;  // INT64_MAX: no answer
  // Asked: kSet, kAdd, kAppend, kTouch.
  std::string value;
  uint32_t flags = 0;
  uint32_t expiry = 0;
  // Answered (when it was): kGet: exists and what; others: done or refused, and the CAS of what was stored.
  bool done = false;
  KeyState seen;
  bool answered() const { return end_ns != INT64_MAX; }
};
std::string Describe(const KeyOperation& operation);

struct Verdict {
  bool linearizable = true;
  std::string why;          // not
  std::set<Register> ends;  // states possible after everything
  bool gave_up = false;     // too many operations at once to decide
};
/// `operations` in any order; `due` tells from when on an expiry may have come true (greatest wall time
/// seen).
Verdict CheckKey(std::vector<KeyOperation> operations, const std::set<Register>& beginnings,
                 uint32_t wall_max);

}  // namespace cairn::sim
