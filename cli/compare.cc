#include "cli/compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/format.h"

namespace cairn::cli {

Difference CompareRecord(const Record& record, std::string_view value, uint32_t flags) {
  if (record.value != value) {
    const std::string_view want = record.value;
    const auto at = std::mismatch(want.begin(), want.end(), value.begin(), value.end()).first - want.begin();
    return {Verdict::kDifferent,
            fmt::format("values differ from byte {} on ({} bytes in the file, {} on the server)",
                        FormatCount(static_cast<uint64_t>(at)), FormatCount(want.size()),
                        FormatCount(value.size()))};
  }
  if (record.flags && *record.flags != flags) {
    return {Verdict::kDifferent, fmt::format("flags {} in the file, {} on the server", *record.flags, flags)};
  }
  return {};
}

void Comparison::Add(std::string key, Difference difference) {
  const Verdict verdict = difference.verdict;
  if (verdict != Verdict::kEqual) Keep(key, std::move(difference));
  verdicts_.insert_or_assign(std::move(key), verdict);
}

void Comparison::AddListed(std::string key) {
  const auto [at, extra] = verdicts_.try_emplace(std::move(key), Verdict::kExtra);
  if (extra) Keep(at->first, {Verdict::kExtra, "on the server, not in the file"});
}

void Comparison::Keep(const std::string& key, Difference difference) {
  if (examples_.size() < examples_max_ + kSpareExamples) examples_.emplace_back(key, std::move(difference));
}

Comparison::Counts Comparison::counts() const {
  Counts counts;
  for (const auto& [key, verdict] : verdicts_) {
    counts.equal += verdict == Verdict::kEqual;
    counts.different += verdict == Verdict::kDifferent;
    counts.missing += verdict == Verdict::kMissing;
    counts.extra += verdict == Verdict::kExtra;
  }
  return counts;
}

std::vector<std::pair<std::string, std::string>> Comparison::Examples() const {
  std::vector<std::pair<std::string, std::string>> shown;
  for (const auto& [key, difference] : examples_) {
    if (shown.size() == examples_max_) break;
    if (verdicts_.at(key) == difference.verdict) shown.emplace_back(key, difference.what);
  }
  return shown;
}

}  // namespace cairn::cli
