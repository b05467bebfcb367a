#pragma once
// ProbeSource: asks a node whether it would be a source of this one, before active vbuckets are given up for
// it. One short connection: Hello, Welcome.

#include <functional>
#include <string>

#include "base/status.h"
#include "tap/messages.h"
#include "tap/session.h"

namespace cairn::tap {

struct ProbeOptions {
  std::string address;
  Hello hello;
  uint32_t timeout_ms = 5'000;
  /// An error ends the probe, which answers it. Called by the probing thread every few milliseconds, without
  /// blocking.
  std::function<Status()> check;
};

/// OK: it answered Welcome. TMP_FAIL: it cannot be reached, or said nothing within the timeout.
/// INVALID_ARGUMENT: it refuses by name (itself, another number of vbuckets, no common version, …).
Status ProbeSource(const Dialer& dialer, const ProbeOptions& options);

}  // namespace cairn::tap
