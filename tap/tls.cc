#include "tap/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

#include "base/file.h"

namespace cairn::tap {
namespace {

constexpr size_t kPemBytesMax = size_t{1} << 20;

template <auto Function>
struct Free {
  template <class T>
  void operator()(T* pointer) const {
    Function(pointer);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

Status Bad(const std::string& path, const std::string& what) {
  ERR_clear_error();
  return Status(Code::kInvalidArgument, path + " " + what);
}

Result<std::string> ReadPem(const std::string& path) {
  Result<std::string> bytes = ReadFile(path, kPemBytesMax);
  if (bytes.ok()) return bytes;
  return Status(Code::kInvalidArgument, "cannot read " + path + ": " + std::string(bytes.status().message()));
}

Bio Over(const std::string& bytes) {
  return Bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

Certificate FirstCertificate(const std::string& pem) {
  const Bio bio = Over(pem);
  return Certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

// A key with a pass phrase is refused rather than asked for on a terminal.
Key ReadKey(const std::string& pem) {
  const Bio bio = Over(pem);
  const auto no_phrase = [](char*, int, int, void*) { return -1; };
  return Key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_phrase, nullptr));
}

}  // namespace

Result<TlsMaterial> LoadTls(const TlsFiles& files) {
  TlsMaterial material;
  if (!files.on()) return material;
  CAIRN_ASSIGN_OR_RETURN(material.certificate, ReadPem(files.certificate));
  CAIRN_ASSIGN_OR_RETURN(material.key, ReadPem(files.key));
  CAIRN_ASSIGN_OR_RETURN(material.ca, ReadPem(files.ca));
  const Certificate certificate = FirstCertificate(material.certificate);
  if (certificate == nullptr) return Bad(files.certificate, "holds no PEM certificate");
  const Key key = ReadKey(material.key);
  if (key == nullptr) return Bad(files.key, "holds no PEM private key, or one with a pass phrase");
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Bad(files.key, "is not the private key of " + files.certificate);
  }
  if (FirstCertificate(material.ca) == nullptr) return Bad(files.ca, "holds no PEM certificate");
  return material;
}

bool IsLoopback(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, address.c_str(), &v6) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

Status CheckExposure(const std::vector<std::string>& addresses, const TlsFiles& tls,
                     const std::string& flag) {
  if (tls.on()) return Status::Ok();
  for (const std::string& address : addresses) {
    if (IsLoopback(address)) continue;
    return Status(Code::kInvalidArgument,
                  flag + " " + address +
                      ": other machines can reach this address, so it needs mutual TLS: give --tls-cert, "
                      "--tls-key and --tls-ca, or use 127.0.0.1");
  }
  return Status::Ok();
}

}  // namespace cairn::tap
