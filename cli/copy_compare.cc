#include "cli/copy_compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/format.h"

namespace cairn::cli {
namespace {

// A dead vbucket is no copy: its owner has given it up.
bool IsCopy(const VbucketRow& row) { return row.state != "dead" && !row.state.empty(); }

// Empty when the two are the same.
std::string Compare(const VbucketRow& here, const VbucketRow& peer) {
  if (here.digest != peer.digest) {
    return fmt::format("digest {:016x} here, {:016x} there at seqno {}", here.digest, peer.digest, here.high);
  }
  if (here.items != peer.items) {
    return fmt::format("{} items here, {} there at seqno {}", FormatCount(here.items),
                       FormatCount(peer.items), here.high);
  }
  if (here.history_uuid != peer.history_uuid) {
    return fmt::format("another branch of history here than there at seqno {}", here.high);
  }
  return {};
}

std::string WhyOpen(bool here_seen, const VbucketRow& here, bool peer_seen, const VbucketRow& peer) {
  if (!here_seen || !IsCopy(here)) return here_seen ? "dead here" : "missing here";
  if (!peer_seen || !IsCopy(peer)) return peer_seen ? "dead there" : "missing there";
  if (!here.warm || !peer.warm) return fmt::format("still loading {}", here.warm ? "there" : "here");
  if (here.high == peer.high) return "different figures, not confirmed in time";
  return fmt::format("never seen at one seqno: {} ({}) here, {} ({}) there", here.high, here.state, peer.high,
                     peer.state);
}

}  // namespace

void CopyCompare::Add(Side side, const std::vector<VbucketRow>& rows) {
  (side == Side::kHere ? heard_here_ : heard_peer_) = true;
  for (const uint32_t vbucket : chosen_) pairs_[vbucket];
  for (const VbucketRow& row : rows) {
    if (!chosen_.empty() && !std::binary_search(chosen_.begin(), chosen_.end(), row.vbucket)) continue;
    Pair& pair = pairs_[row.vbucket];
    if (pair.equal || pair.different) continue;
    Copy& copy = side == Side::kHere ? pair.here : pair.peer;
    copy.seen = true;
    copy.last = row;
    if (!IsCopy(row) || !row.warm) {
      copy.cuts.clear();
      continue;
    }
    // A rollback: what was seen behind it is no longer this copy's past.
    if (!copy.cuts.empty() && copy.cuts.back().high > row.high) copy.cuts.clear();
    if (!copy.cuts.empty() && copy.cuts.back().high == row.high) copy.cuts.pop_back();
    copy.cuts.push_back(row);
    if (copy.cuts.size() > kCutsKept) copy.cuts.pop_front();
    Decide(pair, copy, side == Side::kHere ? pair.peer : pair.here);
  }
}

void CopyCompare::Decide(Pair& pair, const Copy& asked, const Copy& other) {
  const VbucketRow& row = asked.cuts.back();
  for (const VbucketRow& cut : other.cuts) {
    if (cut.high != row.high) continue;
    const bool here_asked = &asked == &pair.here;
    pair.what = here_asked ? Compare(row, cut) : Compare(cut, row);
    pair.equal = pair.what.empty();
    pair.items = row.items;
    // On different branches one of them may still have to take something back: what is compared is not the
    // same.
    const bool one_branch = row.history_uuid == cut.history_uuid;
    pair.different = !pair.equal && one_branch && ++pair.confirmations >= kConfirmations;
    return;
  }
}

bool CopyCompare::decided() const { return heard_here_ && heard_peer_ && Open().empty(); }

std::vector<uint32_t> CopyCompare::Open() const {
  std::vector<uint32_t> open;
  for (const auto& [vbucket, pair] : pairs_) {
    if (pair.equal || pair.different) continue;
    // That a copy is missing or dead does not change by asking again.
    const bool gone =
        !pair.here.seen || !pair.peer.seen || !IsCopy(pair.here.last) || !IsCopy(pair.peer.last);
    if (!gone) open.push_back(vbucket);
  }
  return open;
}

uint64_t CopyCompare::equal() const {
  return static_cast<uint64_t>(
      std::count_if(pairs_.begin(), pairs_.end(), [](const auto& entry) { return entry.second.equal; }));
}

uint64_t CopyCompare::items() const {
  uint64_t items = 0;
  for (const auto& [vbucket, pair] : pairs_) items += pair.equal ? pair.items : 0;
  return items;
}

std::vector<CopyCompare::Difference> CopyCompare::Differences() const {
  std::vector<Difference> differences;
  for (const auto& [vbucket, pair] : pairs_) {
    if (pair.equal) continue;
    // Neither has it: there is nothing to compare, unless it was asked for by name.
    const bool nowhere =
        (!pair.here.seen || !IsCopy(pair.here.last)) && (!pair.peer.seen || !IsCopy(pair.peer.last));
    if (nowhere && chosen_.empty()) continue;
    differences.push_back({vbucket, !pair.what.empty() ? pair.what
                                                       : WhyOpen(pair.here.seen, pair.here.last,
                                                                 pair.peer.seen, pair.peer.last)});
  }
  return differences;
}

}  // namespace cairn::cli
