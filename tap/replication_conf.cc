#include "tap/replication_conf.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>

namespace cairn::tap {
namespace {

constexpr std::string_view kHeader = "cairn replication 1";

// The next word of `line`, which is cut off.
std::string_view TakeWord(std::string_view& line) {
  const size_t space = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, space);
  line.remove_prefix(std::min(space + 1, line.size()));
  return word;
}

std::optional<uint32_t> ParseNumber(std::string_view text) {
  uint32_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  return whole ? std::optional(number) : std::nullopt;
}

void DropEmpty(ReplicationConf& conf) {
  std::erase_if(conf.sources, [](const Source& source) { return source.vbuckets.empty(); });
  std::erase_if(conf.promotions, [](const Promotion& p) { return p.told.empty() && p.untold.empty(); });
}

Status ParseLine(std::string_view line, uint32_t vbucket_count, ReplicationConf& conf) {
  const std::string_view what = TakeWord(line);
  const std::string address(TakeWord(line));
  const std::string word(TakeWord(line));
  CAIRN_ASSIGN_OR_RETURN(const VbucketSet vbuckets, ParseVbuckets(line, vbucket_count));
  if (what == "source") {
    Source& source = conf.SourceAt(address);
    if (!source.vbuckets.empty()) return Status(Code::kInvalidArgument, "a second line of this source");
    source.name = word;
    source.vbuckets = vbuckets;
    return Status::Ok();
  }
  if (what != "promoted" || (word != "told" && word != "untold")) {
    return Status(Code::kInvalidArgument, "unknown words");
  }
  conf.AddPromotion(address, vbuckets, word == "told");
  return Status::Ok();
}

}  // namespace

VbucketSet Union(const VbucketSet& a, const VbucketSet& b) {
  VbucketSet result;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(result));
  return result;
}

VbucketSet Difference(const VbucketSet& a, const VbucketSet& b) {
  VbucketSet result;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(result));
  return result;
}

VbucketSet Intersection(const VbucketSet& a, const VbucketSet& b) {
  VbucketSet result;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(result));
  return result;
}

std::string FormatVbuckets(const VbucketSet& vbuckets) {
  std::string text;
  for (size_t i = 0; i < vbuckets.size();) {
    size_t last = i;
    while (last + 1 < vbuckets.size() && vbuckets[last + 1].get() == vbuckets[last].get() + 1) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(vbuckets[i].get());
    if (last > i) text += '-' + std::to_string(vbuckets[last].get());
    i = last + 1;
  }
  return text;
}

Result<VbucketSet> ParseVbuckets(std::string_view text, uint32_t vbucket_count) {
  VbucketSet vbuckets;
  const Status bad(Code::kInvalidArgument, "not a list of vbuckets below " + std::to_string(vbucket_count));
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view range = text.substr(0, comma);
    if (comma + 1 == text.size()) return bad;
    text.remove_prefix(std::min(comma + 1, text.size()));
    const size_t dash = range.find('-');
    const std::optional<uint32_t> first = ParseNumber(range.substr(0, dash));
    const std::optional<uint32_t> last =
        dash == std::string_view::npos ? first : ParseNumber(range.substr(dash + 1));
    if (!first.has_value() || !last.has_value() || *first > *last || *last >= vbucket_count) return bad;
    if (!vbuckets.empty() && *first <= vbuckets.back().get()) return bad;
    for (uint32_t number = *first; number <= *last; ++number) {
      vbuckets.push_back(Vbid(static_cast<uint16_t>(number)));
    }
  }
  return vbuckets;
}

const Source* ReplicationConf::FindSource(std::string_view address) const {
  const auto found = std::find_if(sources.begin(), sources.end(),
                                  [&](const Source& source) { return source.address == address; });
  return found == sources.end() ? nullptr : &*found;
}

Source& ReplicationConf::SourceAt(const std::string& address) {
  const auto found = std::find_if(sources.begin(), sources.end(),
                                  [&](const Source& source) { return source.address == address; });
  if (found != sources.end()) return *found;
  sources.push_back({address, {}, {}});
  return sources.back();
}

VbucketSet ReplicationConf::PromotedFrom(std::string_view address) const {
  for (const Promotion& promotion : promotions) {
    if (promotion.address == address) return promotion.vbuckets();
  }
  return {};
}

std::vector<Source> ReplicationConf::Followed() const {
  std::vector<Source> followed;
  for (Source source : sources) {
    source.vbuckets = Difference(source.vbuckets, PromotedFrom(source.address));
    if (!source.vbuckets.empty()) followed.push_back(std::move(source));
  }
  return followed;
}

void ReplicationConf::RemoveFromSources(const VbucketSet& vbuckets) {
  for (Source& source : sources) source.vbuckets = Difference(source.vbuckets, vbuckets);
  DropEmpty(*this);
}

void ReplicationConf::RemovePromotions(const VbucketSet& vbuckets) {
  for (Promotion& promotion : promotions) {
    promotion.told = Difference(promotion.told, vbuckets);
    promotion.untold = Difference(promotion.untold, vbuckets);
  }
  DropEmpty(*this);
}

void ReplicationConf::AddPromotion(const std::string& address, const VbucketSet& vbuckets, bool told) {
  RemovePromotions(vbuckets);
  if (vbuckets.empty()) return;
  auto found = std::find_if(promotions.begin(), promotions.end(),
                            [&](const Promotion& promotion) { return promotion.address == address; });
  if (found == promotions.end()) found = promotions.insert(found, {address, {}, {}});
  VbucketSet& into = told ? found->told : found->untold;
  into = Union(into, vbuckets);
}

std::string FormatConf(const ReplicationConf& conf) {
  std::string text = std::string(kHeader) + '\n';
  for (const Source& source : conf.sources) {
    text += "source " + source.address + ' ' + source.name + ' ' + FormatVbuckets(source.vbuckets) + '\n';
  }
  for (const Promotion& promotion : conf.promotions) {
    const std::string begin = "promoted " + promotion.address;
    if (!promotion.told.empty()) text += begin + " told " + FormatVbuckets(promotion.told) + '\n';
    if (!promotion.untold.empty()) text += begin + " untold " + FormatVbuckets(promotion.untold) + '\n';
  }
  return text;
}

Result<ReplicationConf> ParseConf(std::string_view text, uint32_t vbucket_count) {
  ReplicationConf conf;
  if (text.empty()) return Status(Code::kCorruption, "the file is empty");
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    Status status;
    if (number == 1) {
      if (line != kHeader) status = Status(Code::kInvalidArgument, "not a file of this version");
    } else {
      status = ParseLine(line, vbucket_count, conf);
    }
    if (!status.ok()) {
      return Status(Code::kCorruption,
                    "line " + std::to_string(number) + ": " + std::string(status.message()));
    }
  }
  return conf;
}

}  // namespace cairn::tap
