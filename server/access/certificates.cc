#include "server/access/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/c_owned.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using Bio = COwned<BIO, BIO_free_all>;
using Certificate = COwned<X509, X509_free>;
using Key = COwned<EVP_PKEY, EVP_PKEY_free>;
using Context = COwned<SSL_CTX, SSL_CTX_free>;

// A setting and the file that it names.
struct Source {
  std::string_view field;
  const std::string& file;
};

absl::Status Wrong(const Source& source, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is '%s'; %s", source.field, source.file, why));
}

// What OpenSSL said last; its queue is empty after it.
std::string WhatOpenSslSays() {
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  const char* const reason = ERR_reason_error_string(error);
  return reason == nullptr ? "unknown error" : reason;
}

std::string Utc(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

// The files that there are, in the order of their contents.
std::vector<Source> SourcesOf(const TlsOptions& tls) {
  std::vector<Source> sources = {{"tls.certificate_file", tls.certificate_file},
                                 {"tls.key_file", tls.key_file}};
  if (!tls.client_ca_file.empty()) sources.push_back({"tls.client_ca_file", tls.client_ca_file});
  return sources;
}

std::vector<std::string> PathsOf(const TlsOptions& tls) {
  std::vector<std::string> paths;
  for (const Source& source : SourcesOf(tls)) paths.push_back(source.file);
  return paths;
}

absl::StatusOr<std::string> TextOf(const Source& source, const absl::StatusOr<std::string>& text) {
  if (text.ok()) return text;
  return absl::Status(text.status().code(),
                      absl::StrFormat("%s: %s", source.field, text.status().message()));
}

Bio BioOf(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// All of a file: none of a file's certificates is left out because another is torn.
absl::StatusOr<std::vector<Certificate>> ParseCertificates(const Source& source,
                                                           const std::string& text) {
  const Bio bio = BioOf(text);
  std::vector<Certificate> found;
  ERR_clear_error();
  while (X509* const next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    found.emplace_back(next);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string reason = WhatOpenSslSays();
  if (!at_end) {
    return Wrong(source, absl::StrFormat("certificate %d in it cannot be read: %s",
                                         found.size() + 1, reason));
  }
  if (found.empty()) return Wrong(source, "there is no PEM certificate in it");
  return found;
}

// Keys with a passphrase are refused: OpenSSL would ask for it on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::StatusOr<Key> ParseKey(const Source& source, const std::string& text) {
  const Bio bio = BioOf(text);
  ERR_clear_error();
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key != nullptr) return key;
  const std::string says = WhatOpenSslSays();
  if (text.find("PRIVATE KEY-----") == std::string::npos) {
    return Wrong(source, "there is no PEM private key in it");
  }
  if (text.find("ENCRYPTED") != std::string::npos) {
    return Wrong(source, "the key has a passphrase, which nobody can be asked for");
  }
  return Wrong(source, absl::StrCat("the key in it cannot be read: ", says));
}

absl::Time ToTime(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

// Gives when the first of them expires.
absl::StatusOr<absl::Time> CheckTimes(const Source& source, const std::vector<Certificate>& chain,
                                      absl::Time now) {
  absl::Time first = absl::InfiniteFuture();
  for (size_t i = 0; i < chain.size(); ++i) {
    const absl::Time begins = ToTime(X509_get0_notBefore(chain[i].get()));
    const absl::Time expires = ToTime(X509_get0_notAfter(chain[i].get()));
    if (now < begins) {
      return Wrong(source, absl::StrFormat("certificate %d in it is not valid before %s", i + 1,
                                           Utc(begins)));
    }
    if (now >= expires) {
      return Wrong(source,
                   absl::StrFormat("certificate %d in it expired on %s", i + 1, Utc(expires)));
    }
    first = std::min(first, expires);
  }
  return first;
}

// Some of a bundle may have expired, not all.
absl::Status CheckAuthorities(const Source& source, const std::string& text, absl::Time now) {
  DW_ASSIGN_OR_RETURN(const std::vector<Certificate> found, ParseCertificates(source, text));
  absl::Status why;
  for (const Certificate& authority : found) {
    std::vector<Certificate> one;
    X509_up_ref(authority.get());
    one.emplace_back(authority.get());
    const absl::StatusOr<absl::Time> valid = CheckTimes(source, one, now);
    if (valid.ok()) return absl::OkStatus();
    why = valid.status();
  }
  return why;
}

// As gRPC will use them: OpenSSL refuses some that it can read, such as short keys.
absl::Status TryInContext(const Source& certificate, const std::vector<Certificate>& chain,
                          const Source& key_file, const Key& key) {
  ERR_clear_error();
  if (X509_check_private_key(chain[0].get(), key.get()) != 1) {
    ERR_clear_error();
    return Wrong(key_file, absl::StrFormat("its key is not that of the first certificate in '%s'",
                                           certificate.file));
  }
  const Context context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return absl::InternalError(WhatOpenSslSays());
  if (SSL_CTX_use_certificate(context.get(), chain[0].get()) != 1) {
    return Wrong(certificate, absl::StrCat("it cannot be used: ", WhatOpenSslSays()));
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) != 1) {
      return Wrong(certificate, absl::StrFormat("certificate %d in it cannot be used: %s", i + 1,
                                                WhatOpenSslSays()));
    }
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1) return absl::OkStatus();
  return Wrong(key_file, absl::StrCat("its key cannot be used: ", WhatOpenSslSays()));
}

absl::StatusOr<Certificates> Check(const TlsOptions& tls, const FileContents& contents,
                                   absl::Time now) {
  const std::vector<Source> sources = SourcesOf(tls);
  Certificates read;
  DW_ASSIGN_OR_RETURN(read.chain, TextOf(sources[0], contents[0]));
  DW_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                      ParseCertificates(sources[0], read.chain));
  DW_ASSIGN_OR_RETURN(read.expires, CheckTimes(sources[0], chain, now));
  DW_ASSIGN_OR_RETURN(read.key, TextOf(sources[1], contents[1]));
  DW_ASSIGN_OR_RETURN(const Key key, ParseKey(sources[1], read.key));
  DW_RETURN_IF_ERROR(TryInContext(sources[0], chain, sources[1], key));
  if (sources.size() == 2) return read;
  DW_ASSIGN_OR_RETURN(read.client_ca, TextOf(sources[2], contents[2]));
  DW_RETURN_IF_ERROR(CheckAuthorities(sources[2], read.client_ca, now));
  return read;
}

}  // namespace

absl::StatusOr<Certificates> ReadCertificates(const TlsOptions& tls, absl::Time now) {
  return Check(tls, ReadWatchedFiles(PathsOf(tls)), now);
}

std::string KeyFileWarning(const std::string& key_file) {
  struct stat info = {};
  if (stat(key_file.c_str(), &info) != 0 || (info.st_mode & S_IROTH) == 0) return "";
  return absl::StrFormat("tls.key_file is '%s'; everybody on this machine may read it (mode %03o)",
                         key_file, info.st_mode & 0777U);
}

absl::StatusOr<std::shared_ptr<LiveCertificates>> LiveCertificates::Read(const TlsOptions& tls,
                                                                         absl::Time now) {
  FileContents contents = ReadWatchedFiles(PathsOf(tls));
  DW_ASSIGN_OR_RETURN(Certificates first, Check(tls, contents, now));
  return std::shared_ptr<LiveCertificates>(
      new LiveCertificates(tls, std::move(first), std::move(contents)));
}

LiveCertificates::LiveCertificates(const TlsOptions& tls, Certificates first, FileContents contents)
    : tls_(tls),
      current_(std::make_shared<const Certificates>(std::move(first))),
      watch_(PathsOf(tls), std::move(contents),
             [this](const FileContents& found) { return Take(found, absl::Now()); }) {}

bool LiveCertificates::Take(const FileContents& contents, absl::Time now) {
  absl::StatusOr<Certificates> found = Check(tls_, contents, now);
  MutexLock lock(mutex_);
  const bool recovered = !std::exchange(ok_, found.ok()) && ok_;
  if (!ok_) {
    spdlog::warn("certificates stay as they were: {}", std::string(found.status().message()));
    return false;
  }
  if (*found == *current_) {
    if (recovered) spdlog::info("the certificates' files are in order again");
    return true;
  }
  current_ = std::make_shared<const Certificates>(*std::move(found));
  spdlog::info("new certificates; the first expires on {}", Utc(current_->expires));
  return true;
}

bool LiveCertificates::ok() const {
  MutexLock lock(mutex_);
  return ok_;
}

std::shared_ptr<const Certificates> LiveCertificates::current() const {
  MutexLock lock(mutex_);
  return current_;
}

}  // namespace deweather
