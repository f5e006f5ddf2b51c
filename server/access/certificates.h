// The server's certificate chain and key, and the authorities of its callers' certificates.
// What is in use is usable: it was tried in OpenSSL as it will be used, and was valid when it was read.
//
// Errors   NOT_FOUND, PERMISSION_DENIED, … a file cannot be read; INVALID_ARGUMENT it cannot be used. The message
//          begins with the setting and names the file, and never holds what is in it

#ifndef DEWEATHER_SERVER_ACCESS_CERTIFICATES_H_
#define DEWEATHER_SERVER_ACCESS_CERTIFICATES_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/server_options.h"
#include "server/access/file_watch.h"

namespace deweather {

// PEM texts.
struct Certificates {
  std::string chain;  // the server's own certificate first
  std::string key;
  std::string client_ca;  // empty: callers show none
  absl::Time expires;     // the first in the chain to do so

  friend bool operator==(const Certificates&, const Certificates&) = default;
};

// REQUIRES: `tls` names a certificate and a key.
absl::StatusOr<Certificates> ReadCertificates(const TlsOptions& tls, absl::Time now);

// What is wrong with a key file that everybody on the machine may read; empty: nothing.
std::string KeyFileWarning(const std::string& key_file);

// Certificates that follow their files while the server runs.
// A pair that was replaced is used for new connections; what cannot be used leaves what there was, with a warning
// each minute.
//
// Owns     the watch of the files
// Threads  thread-safe
class LiveCertificates {
 public:
  // ReadCertificates' errors.
  static absl::StatusOr<std::shared_ptr<LiveCertificates>> Read(const TlsOptions& tls,
                                                                absl::Time now);

  // Looks at the files now.
  void ReadNow() { watch_.ReadNow(); }
  // Takes what was read from the files, and says whether it can be used.
  bool Take(const FileContents& contents, absl::Time now);

  // The same pointer until they are replaced.
  std::shared_ptr<const Certificates> current() const;
  // Whether what is in the files is in use, or is about to be.
  bool ok() const;
  const TlsOptions& tls() const { return tls_; }

 private:
  LiveCertificates(const TlsOptions& tls, Certificates first, FileContents contents);

  const TlsOptions tls_;
  mutable Mutex mutex_;
  std::shared_ptr<const Certificates> current_ ABSL_GUARDED_BY(mutex_);
  bool ok_ ABSL_GUARDED_BY(mutex_) = true;
  FileWatch watch_;  // last: it uses all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_ACCESS_CERTIFICATES_H_
