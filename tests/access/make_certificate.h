// Certificates for one test, made while it runs.

#ifndef DEWEATHER_TESTS_ACCESS_MAKE_CERTIFICATE_H_
#define DEWEATHER_TESTS_ACCESS_MAKE_CERTIFICATE_H_

#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace deweather {

// Both are PEM.
struct IssuedCertificate {
  std::string certificate;
  std::string key;
};

struct CertificateRequest {
  std::string name = "localhost";             // also one that a client may look for
  std::string alternatives = {};              // subjectAltName; empty: DNS:NAME,IP:127.0.0.1
  const IssuedCertificate* issuer = nullptr;  // none: it signs itself
  bool authority = false;
  int rsa_bits = 0;  // 0: an elliptic curve, which is fast
  absl::Time begins = absl::Now() - absl::Hours(1);
  absl::Time expires = absl::Now() + absl::Hours(24 * 365);
};

IssuedCertificate MakeCertificate(const CertificateRequest& request = {});

// The key under a passphrase.
std::string EncryptKey(const std::string& key);

}  // namespace deweather

#endif  // DEWEATHER_TESTS_ACCESS_MAKE_CERTIFICATE_H_
