#pragma once
// Certificates for tests, made by openssl when they are asked for.

#include <cstdlib>
#include <string>

#include "base/check.h"
#include "tap/tls.h"
#include "tests/base/temp_dir.h"

namespace cairn::tap {

/// A CA, and what it signs, in a directory.
class CertificateAuthority {
 public:
  CertificateAuthority(const TempDir& dir, const std::string& name) : base_(dir.File(name)) {
    Run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=" +
        name + " -keyout " + base_ + ".key -out " + base_ + ".pem");
  }

  std::string path() const { return base_ + ".pem"; }

  /// A certificate for this machine's loopback addresses, and this CA as whom to believe.
  TlsFiles Sign(const std::string& name) const {
    const std::string file = base_ + "-" + name;
    Run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=" + name +
        " -keyout " + file + ".key -out " + file + ".csr");
    Run("printf 'subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost' > " + file + ".ext");
    Run("openssl x509 -req -days 2 -in " + file + ".csr -CA " + base_ + ".pem -CAkey " + base_ +
        ".key -CAcreateserial -extfile " + file + ".ext -out " + file + ".pem");
    return {file + ".pem", file + ".key", path()};
  }

 private:
  static void Run(const std::string& command) {
    CAIRN_CHECK(std::system(("(" + command + ") >/dev/null 2>&1").c_str()) == 0);
  }
  const std::string base_;
};

}  // namespace cairn::tap
