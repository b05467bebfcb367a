#pragma once
// Between the plain messages of tap/messages.h and the protocol buffers of proto/tap.proto. What cannot be
// said in plain messages (a UUID of 15 bytes, vbucket 70,000) is refused here, by name; everything else is
// tap::Check's. Functions without state, any thread.

#include "base/status.h"
#include "tap/messages.h"

namespace cairn::tap::v1 {
class FromConsumer;
class FromProducer;
}  // namespace cairn::tap::v1

namespace cairn::tap {

/// `out` is empty, or holds an earlier message that is replaced.
void ToWire(const ConsumerMessage& message, v1::FromConsumer& out);
/// Takes the chunk's bytes along.
void ToWire(ProducerMessage&& message, v1::FromProducer& out);

/// INVALID_ARGUMENT names the field.
Result<ConsumerMessage> FromWire(const v1::FromConsumer& in);
/// Takes the chunk's bytes out of `in`.
Result<ProducerMessage> FromWire(v1::FromProducer& in);

}  // namespace cairn::tap
