#pragma once
// The gRPC end of a consumer: links to sources, for tap/session.h.

#include "tap/session.h"
#include "tap/tls.h"

namespace cairn::tap {

/// Dials over gRPC, each time with the certificates that the files hold then.
Dialer MakeDialer(const TlsFiles& tls);

}  // namespace cairn::tap
