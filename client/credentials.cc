#include "client/credentials.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_format.h"
#include "model/base/c_owned.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr size_t kMaxPemBytes = size_t{1} << 20;
constexpr size_t kMaxTokenBytes = 4096;
constexpr size_t kMaxTokenFileBytes = size_t{64} << 10;
// Where systems keep their authorities, as gRPC looks for them.
constexpr const char* kSystemAuthorities[] = {"/etc/ssl/certs/ca-certificates.crt",
                                              "/etc/pki/tls/certs/ca-bundle.crt",
                                              "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
                                              "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"};

using Bio = COwned<BIO, BIO_free>;
using Certificate = COwned<X509, X509_free>;
using PrivateKey = COwned<EVP_PKEY, EVP_PKEY_free>;

absl::Status Wrong(std::string_view flag, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s", flag, why));
}

// A pipe is a file too. `secret`: others should not read it, and are told of; null: anybody may.
absl::StatusOr<std::string> ReadGiven(std::string_view flag, const std::string& path,
                                      size_t max_bytes, const Say* secret) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat about {};
  if (file < 0 || fstat(file, &about) != 0) {
    const std::string why = std::strerror(errno);
    if (file >= 0) close(file);
    return Wrong(flag, absl::StrFormat("cannot open '%s': %s", path, why));
  }
  absl::StatusOr<std::string> bytes = ReadMost(file, max_bytes + 1, path);
  close(file);
  if (!bytes.ok()) return Wrong(flag, std::string(bytes.status().message()));
  if (bytes->size() > max_bytes) {
    return Wrong(flag, absl::StrFormat("'%s' has more than %d bytes", path, max_bytes));
  }
  if (secret != nullptr && S_ISREG(about.st_mode) && (about.st_mode & S_IROTH) != 0) {
    (*secret)(absl::StrFormat(
        "warning: %s: every user of this machine may read '%s'; chmod 600 is safe", flag, path));
  }
  return bytes;
}

Bio Memory(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// No terminal is asked for the password of a key.
int NoPassword(char*, int, int, void*) { return -1; }

Certificate FirstCertificate(const std::string& pem) {
  Certificate certificate(PEM_read_bio_X509(Memory(pem).get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  return certificate;
}

absl::StatusOr<std::string> ReadCertificates(std::string_view flag, const std::string& path) {
  DW_ASSIGN_OR_RETURN(std::string pem, ReadGiven(flag, path, kMaxPemBytes, nullptr));
  if (FirstCertificate(pem) != nullptr) return pem;
  return Wrong(flag, absl::StrFormat("'%s' has no certificate in PEM", path));
}

// Those of SSL_CERT_FILE, or else of the first place where there are some.
absl::Status ReadSystemAuthorities(Credentials* credentials) {
  const char* const named = std::getenv("SSL_CERT_FILE");
  if (named != nullptr && *named != '\0') {
    credentials->ca_file = named;
  } else {
    for (const char* const path : kSystemAuthorities) {
      if (credentials->ca_file.empty() && access(path, R_OK) == 0) credentials->ca_file = path;
    }
  }
  if (credentials->ca_file.empty()) {
    return Wrong("--tls", "this machine has no list of authorities; --tls-ca FILE names them");
  }
  DW_ASSIGN_OR_RETURN(credentials->ca, ReadCertificates("--tls", credentials->ca_file));
  return absl::OkStatus();
}

absl::Status ReadOwnCertificate(const CredentialFlags& flags, Credentials* credentials) {
  if (flags.tls_cert.empty() != flags.tls_key.empty()) {
    return flags.tls_key.empty() ? Wrong("--tls-cert", "needs --tls-key beside it")
                                 : Wrong("--tls-key", "needs --tls-cert beside it");
  }
  if (flags.tls_cert.empty()) return absl::OkStatus();
  DW_ASSIGN_OR_RETURN(credentials->certificate, ReadCertificates("--tls-cert", flags.tls_cert));
  DW_ASSIGN_OR_RETURN(credentials->key,
                      ReadGiven("--tls-key", flags.tls_key, kMaxPemBytes, &flags.say));
  const PrivateKey key(
      PEM_read_bio_PrivateKey(Memory(credentials->key).get(), nullptr, NoPassword, nullptr));
  const Certificate certificate = FirstCertificate(credentials->certificate);
  const bool fits = key != nullptr && X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return Wrong("--tls-key", absl::StrFormat("'%s' has no private key in PEM without a password",
                                              flags.tls_key));
  }
  if (fits) return absl::OkStatus();
  return Wrong("--tls-key", absl::StrFormat("'%s' is not the key of the certificate in '%s'",
                                            flags.tls_key, flags.tls_cert));
}

// `place` is where it is from, for the message.
absl::Status CheckToken(std::string_view flag, const std::string& place, const std::string& token) {
  if (token.size() > kMaxTokenBytes) {
    return Wrong(flag, absl::StrFormat("the token%s has %d bytes; at most %d are allowed", place,
                                       token.size(), kMaxTokenBytes));
  }
  for (size_t i = 0; i < token.size(); ++i) {
    if (token[i] > ' ' && token[i] < '\x7f') continue;
    return Wrong(flag,
                 absl::StrFormat("byte %d of the token%s is 0x%02x; a token has visible ASCII "
                                 "characters, 0x21 to 0x7e, and a file of one may end with a "
                                 "line feed",
                                 i, place, static_cast<unsigned char>(token[i])));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadToken(const CredentialFlags& flags) {
  const std::string& path = flags.token_file;
  DW_ASSIGN_OR_RETURN(std::string token,
                      ReadGiven("--token-file", path, kMaxTokenFileBytes, &flags.say));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  if (token.empty()) return Wrong("--token-file", absl::StrFormat("'%s' is empty", path));
  DW_RETURN_IF_ERROR(CheckToken("--token-file", absl::StrFormat(" in '%s'", path), token));
  return token;
}

absl::StatusOr<std::string> TokenOf(const CredentialFlags& flags) {
  if (flags.token.empty()) return ReadToken(flags);
  if (!flags.token_file.empty()) return Wrong("--token", "is given beside --token-file");
  DW_RETURN_IF_ERROR(CheckToken("--token", "", flags.token));
  return flags.token;
}

}  // namespace

void SayOnStderr(const std::string& line) { absl::FPrintF(stderr, "%s\n", line); }

std::string_view HostOf(std::string_view server) {
  std::string_view host = server.substr(0, server.rfind(':'));
  if (host.size() >= 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  return host;
}

bool IsLoopback(std::string_view server) {
  const std::string host(HostOf(server));
  in_addr v4{};
  in6_addr v6{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

absl::StatusOr<Credentials> ReadCredentials(const CredentialFlags& flags, std::string_view server) {
  Credentials credentials;
  credentials.name = flags.tls_name;
  credentials.tls = flags.tls || !flags.tls_ca.empty() || !flags.tls_cert.empty() ||
                    !flags.tls_key.empty() || !flags.tls_name.empty();
  if (!flags.tls_ca.empty()) {
    credentials.ca_file = flags.tls_ca;
    DW_ASSIGN_OR_RETURN(credentials.ca, ReadCertificates("--tls-ca", flags.tls_ca));
  } else if (credentials.tls) {
    DW_RETURN_IF_ERROR(ReadSystemAuthorities(&credentials));
  }
  DW_RETURN_IF_ERROR(ReadOwnCertificate(flags, &credentials));
  if (flags.token_file.empty() && flags.token.empty()) return credentials;
  DW_ASSIGN_OR_RETURN(credentials.token, TokenOf(flags));
  if (credentials.tls || flags.token_over_plaintext || IsLoopback(server)) return credentials;
  return Wrong(flags.token.empty() ? "--token-file" : "--token",
               absl::StrFormat("the token would go to %s in the clear; --tls or --tls-ca FILE "
                               "encrypts, --token-over-plaintext allows it",
                               server));
}

}  // namespace deweather
