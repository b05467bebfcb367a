#pragma once
// What `cairnctl verify` finds out about each key. Pure; one thread at a time.

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cli/records.h"

namespace cairn::cli {

enum class Verdict : uint8_t { kEqual, kDifferent, kMissing, kExtra };

struct Difference {
  Verdict verdict = Verdict::kEqual;
  std::string what;  // for people; empty when equal
};

/// Value byte by byte, and the flags when the record says what they should be. The expiry is not compared:
/// the file may have it relative, and the server turns it into a time.
Difference CompareRecord(const Record& record, std::string_view value, uint32_t flags);

class Comparison {
 public:
  struct Counts {
    uint64_t equal = 0, different = 0, missing = 0, extra = 0;
  };

  /// `examples_max`: how many differences are kept for Examples.
  explicit Comparison(size_t examples_max) : examples_max_(examples_max) {}

  /// A key of the file. When the file has it several times the last one counts, as it does for `load`.
  void Add(std::string key, Difference difference);
  /// A key that the server has. It is extra when the file, all of it added before, does not have it. A
  /// server may list a key twice.
  void AddListed(std::string key);

  Counts counts() const;
  /// Different keys, of the file and extra.
  uint64_t keys() const { return verdicts_.size(); }
  /// The first differences in order of discovery, as key and what.
  std::vector<std::pair<std::string, std::string>> Examples() const;

 private:
  // Keys that turned out equal later make room for others, so more are kept than shown.
  static constexpr size_t kSpareExamples = 1000;

  void Keep(const std::string& key, Difference difference);

  size_t examples_max_;
  std::unordered_map<std::string, Verdict> verdicts_;
  std::vector<std::pair<std::string, Difference>> examples_;
};

}  // namespace cairn::cli
