#pragma once
// Trace: what happened in a run, as a hash (two runs of one seed must have the same) and, when asked for, as
// readable lines on stderr. One thread.

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <string_view>

namespace cairn::sim {

class Trace {
 public:
  explicit Trace(bool print) : print_(print) {}

  bool printing() const { return print_; }
  uint64_t hash() const { return hash_; }

  /// `what` happened, with numbers (a node comes first where there is one) and a word of explanation.
  void Note(int64_t now_ns, std::string_view what, std::initializer_list<uint64_t> numbers,
            std::string_view text = {}) {
    Mix(static_cast<uint64_t>(now_ns));
    for (const char c : what) Mix(static_cast<uint8_t>(c));
    for (const char c : text) Mix(static_cast<uint8_t>(c));
    for (const uint64_t number : numbers) Mix(number);
    Show(now_ns, what, numbers, text);
  }
  /// No part of the hash.
  void Show(int64_t now_ns, std::string_view what, std::initializer_list<uint64_t> numbers,
            std::string_view text) {
    if (!print_) return;
    std::fprintf(stderr, "%14.6f %.*s", static_cast<double>(now_ns) / 1e9, static_cast<int>(what.size()),
                 what.data());
    for (const uint64_t number : numbers) std::fprintf(stderr, " %" PRIu64, number);
    const std::string line(text);
    std::fprintf(stderr, "%s%s\n", line.empty() ? "" : "  ", line.c_str());
  }
  /// Part of the hash only.
  void Mix(uint64_t number) {
    // splitmix64's finisher over a running sum.
    hash_ += number + 0x9e3779b97f4a7c15u;
    hash_ = (hash_ ^ (hash_ >> 30)) * 0xbf58476d1ce4e5b9u;
    hash_ = (hash_ ^ (hash_ >> 27)) * 0x94d049bb133111ebu;
    hash_ ^= hash_ >> 31;
  }

 private:
  const bool print_;
  uint64_t hash_ = 0;
};

}  // namespace cairn::sim
