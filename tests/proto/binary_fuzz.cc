// Any bytes as a binary conversation: views stay inside the input and tile the body exactly, every attempt
// makes progress, and however the input is cut the same requests come out. The first byte is forced to be
// one of the two magics now and then, so that the fuzzer does not spend its time on closed connections.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/types.h"
#include "proto/binary.h"
#include "tests/proto/stream_check.h"

namespace {

using cairn::proto::BinaryRequest;
using cairn::proto::OffsetsOf;
using cairn::proto::ParseOutcome;
using cairn::proto::ParseState;

void UseExtras(const BinaryRequest& r, std::string* what) {
  what->append(" t" + std::to_string(r.exptime()) + " u" + r.update_id().ToHex());
  const cairn::proto::DurabilityFrame& d = r.durability;
  if (d.present) what->append(" l" + std::to_string(d.level) + "/" + std::to_string(d.timeout_ms));
  if (r.extras.size() == 8) what->append(" f" + std::to_string(r.flags()));
  if (r.extras.size() == 20) what->append(" d" + std::to_string(r.delta()) + std::to_string(r.initial()));
}

ParseOutcome Parse(std::string_view buffer, const cairn::proto::Limits& limits, std::string* what) {
  BinaryRequest r;
  const ParseOutcome outcome = ParseBinary(buffer, limits, &r);
  if (outcome.state == ParseState::kNeedMore || outcome.state == ParseState::kClose) return outcome;
  CAIRN_CHECK(outcome.bytes == cairn::proto::kBinaryHeaderSize + r.header.body_size);
  *what = std::to_string(static_cast<int>(r.header.opcode)) + " o" + std::to_string(r.header.opaque);
  if (outcome.state == ParseState::kOk) {
    CAIRN_CHECK(r.header.framing_size + r.extras.size() + r.key.size() + r.value.size() ==
                r.header.body_size);
    CAIRN_CHECK(r.header.magic == cairn::proto::kMagicFramedRequest || !r.durability.present);
    CAIRN_CHECK(r.durability.timeout_ms != 0xffff);
    CAIRN_CHECK(r.key.size() <= cairn::kKeySizeMax && r.value.size() <= limits.value_bytes_max);
    *what += OffsetsOf(r.extras, buffer) + " " + OffsetsOf(r.key, buffer) + " " + OffsetsOf(r.value, buffer);
    UseExtras(r, what);
  } else if (outcome.state == ParseState::kTooLarge) {
    *what += OffsetsOf(r.key, buffer);
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string in(reinterpret_cast<const char*>(data), size);
  if (size % 8 != 0) in[0] = size % 4 == 1 ? '\x08' : '\x80';
  cairn::proto::Limits small;
  small.value_bytes_max = 20;
  for (const cairn::proto::Limits& limits : {small, cairn::proto::Limits{}}) {
    cairn::proto::CheckAllCuts(
        in, [&](std::string_view buffer, std::string* what) { return Parse(buffer, limits, what); });
  }
  return 0;
}
