// Any bytes as a text conversation: views stay inside the input, every attempt makes progress, and however
// the input is cut the same requests come out.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/types.h"
#include "proto/text.h"
#include "proto/text_scan.h"
#include "tests/proto/stream_check.h"

namespace {

using cairn::proto::OffsetsOf;
using cairn::proto::ParseOutcome;
using cairn::proto::ParseState;
using cairn::proto::TextCommand;
using cairn::proto::TextRequest;

void CheckKey(std::string_view key) {
  CAIRN_CHECK(!key.empty() && key.size() <= cairn::kKeySizeMax);
  for (const char c : key) CAIRN_CHECK(!cairn::proto::EndsKey(c));
}

std::string Describe(const TextRequest& r, std::string_view buffer) {
  std::string what = std::to_string(static_cast<int>(r.command)) + (r.noreply ? " noreply" : "");
  if (r.command <= TextCommand::kGats) {
    std::string_view key;
    for (cairn::proto::TextKeys keys(r); keys.Next(&key);) {
      CheckKey(key);
      what += " " + OffsetsOf(key, buffer);
    }
  } else if (r.command <= TextCommand::kTouch) {
    CheckKey(r.key);
    what += " " + OffsetsOf(r.key, buffer);
  } else if (r.command != TextCommand::kFlushAll && r.command != TextCommand::kVerbosity) {
    what += " " + OffsetsOf(r.argument, buffer);
  }
  if (r.command >= TextCommand::kSet && r.command <= TextCommand::kCas) {
    what += " v" + OffsetsOf(r.value, buffer) + " f" + std::to_string(r.flags);
  }
  return what;
}

ParseOutcome Parse(std::string_view buffer, const cairn::proto::Limits& limits, std::string* what) {
  TextRequest request;
  const ParseOutcome outcome = ParseText(buffer, limits, &request);
  if (outcome.state == ParseState::kOk) {
    *what = Describe(request, buffer);
  } else {
    *what = request.error;
    CAIRN_CHECK(request.error.empty() || request.error.ends_with("\r\n"));
  }
  if (outcome.state == ParseState::kTooLarge) what->append(OffsetsOf(request.key, buffer));
  CAIRN_CHECK(outcome.state != ParseState::kUnknown);
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view in(reinterpret_cast<const char*>(data), size);
  // Small limits, so that short inputs reach them; and those of a server.
  cairn::proto::Limits small;
  small.line_bytes_max = 80;
  small.multiget_line_bytes_max = 200;
  small.value_bytes_max = 20;
  for (const cairn::proto::Limits& limits : {small, cairn::proto::Limits{}}) {
    cairn::proto::CheckAllCuts(
        in, [&](std::string_view buffer, std::string* what) { return Parse(buffer, limits, what); });
  }
  return 0;
}
