#pragma once
// Feeds one input to a parser in pieces, as a socket would, and writes down what came out. Used by the fuzz
// targets: however an input is cut, the same requests must come out of it.

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "proto/parse.h"

namespace cairn::proto {

/// What happened at one position of the input.
struct StreamEvent {
  size_t at = 0;
  ParseState state{};
  size_t bytes = 0;
  std::string what;  // the request in words; views as offsets into the request
  bool operator==(const StreamEvent&) const = default;
};

/// A view as "offset+size" within `buffer`; ends the process when it lies outside.
inline std::string OffsetsOf(std::string_view view, std::string_view buffer) {
  if (view.empty()) return "-";
  CAIRN_CHECK(view.data() >= buffer.data());
  CAIRN_CHECK(view.data() + view.size() <= buffer.data() + buffer.size());
  return std::to_string(view.data() - buffer.data()) + "+" + std::to_string(view.size());
}

/// `parse(buffer, &what)` returns the outcome of one attempt. `cuts` are the sizes, ascending, that the
/// received part of `in` has when the parser is asked; the whole input comes last. With `eager` the parser
/// is asked after every piece, else only when what it asked for is there.
template <class Parse>
std::vector<StreamEvent> Play(std::string_view in, std::vector<size_t> cuts, bool eager, const Parse& parse) {
  cuts.push_back(in.size());
  std::vector<StreamEvent> events;
  size_t at = 0;
  size_t wanted = 0;
  for (const size_t received : cuts) {
    while (at < received && (eager || received >= wanted || received == in.size())) {
      // A copy of exactly that size, so that a sanitizer sees a read behind it.
      const size_t size = received - at;
      const auto copy = std::make_unique<char[]>(size);
      std::memcpy(copy.get(), in.data() + at, size);
      StreamEvent event;
      const ParseOutcome outcome = parse(std::string_view(copy.get(), size), &event.what);
      if (outcome.state == ParseState::kNeedMore) {
        CAIRN_CHECK(outcome.bytes > size);
        wanted = at + outcome.bytes;
        break;
      }
      event.at = at;
      event.state = outcome.state;
      event.bytes = outcome.bytes;
      events.push_back(event);
      if (outcome.state == ParseState::kClose) {
        CAIRN_CHECK(outcome.bytes == 0);
        return events;
      }
      CAIRN_CHECK(outcome.bytes > 0);
      if (outcome.state == ParseState::kOk) CAIRN_CHECK(outcome.bytes <= size);
      at += outcome.bytes;
      wanted = at;
    }
  }
  return events;
}

/// Cutting the input in two, and feeding it byte by byte, gives the same events as the whole. Of a long
/// input only some forty places are cut; which ones depends on its first byte.
template <class Parse>
void CheckAllCuts(std::string_view in, const Parse& parse) {
  const std::vector<StreamEvent> whole = Play(in, {}, true, parse);
  const size_t stride = in.size() / 40 + 1;
  const size_t offset = in.empty() ? 0 : static_cast<uint8_t>(in[0]) % stride;
  for (size_t cut = 1 + offset; cut < in.size(); cut += stride) {
    CAIRN_CHECK(Play(in, {cut}, true, parse) == whole);
  }
  std::vector<size_t> bytewise;
  for (size_t cut = 1; cut < in.size(); ++cut) bytewise.push_back(cut);
  CAIRN_CHECK(Play(in, bytewise, true, parse) == whole);
  CAIRN_CHECK(Play(in, bytewise, false, parse) == whole);
}

}  // namespace cairn::proto
