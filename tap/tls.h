#pragma once
// The certificates of this node's gRPC connections. TLS is always mutual: each side shows a certificate that
// the other's CA has signed. Plain values, any thread.

#include <string>
#include <vector>

#include "base/status.h"

namespace cairn::tap {

/// Paths of PEM files; all of them or none.
struct TlsFiles {
  std::string certificate;  // of this node, with what lies between it and the CA
  std::string key;          // of this node
  std::string ca;           // whom this node believes

  bool on() const { return !certificate.empty(); }
};

struct TlsMaterial {
  std::string certificate, key, ca;  // PEM
};

/// Reads the files. INVALID_ARGUMENT, with the file's name, when one is missing or does not parse, or when
/// the key is not the certificate's. Nothing when TLS is off.
Result<TlsMaterial> LoadTls(const TlsFiles& files);

/// Is it a numeric address that only this machine reaches?
bool IsLoopback(const std::string& address);
/// INVALID_ARGUMENT without TLS when one of the numeric addresses can be reached by other machines. `flag`
/// names the setting in the text.
Status CheckExposure(const std::vector<std::string>& addresses, const TlsFiles& tls, const std::string& flag);

}  // namespace cairn::tap
