#pragma once
// ProbeSource: asks a node whether it would be a source of this one, before active vbuckets are given up for
// it. One short connection: Hello, Welcome.

#include <string>

#include "base/status.h"
#include "tap/messages.h"
#include "tap/session.h"

namespace cairn::tap {

/// OK: it answered Welcome. TMP_FAIL: it cannot be reached, or said nothing within `timeout_ms`.
/// INVALID_ARGUMENT: it refuses by name (itself, another number of vbuckets, no common version, …).
Status ProbeSource(const Dialer& dialer, const std::string& address, const Hello& hello, uint32_t timeout_ms);

}  // namespace cairn::tap
