// TLS for HTTP whose certificates may change while the server runs: each new connection gets those that are in use
// then. At least TLS 1.2, HTTP/1.1 by ALPN.
//
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_HTTP_TLS_CONTEXTS_H_
#define DEWEATHER_SERVER_HTTP_TLS_CONTEXTS_H_

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "model/base/mutex.h"
#include "server/access/certificates.h"

namespace deweather {

class TlsContexts {
 public:
  // Plaintext if there are no certificates.
  explicit TlsContexts(std::shared_ptr<const LiveCertificates> certificates)
      : certificates_(std::move(certificates)) {}

  bool plaintext() const { return certificates_ == nullptr; }
  // Null where OpenSSL cannot use the certificates, which were tried before: nobody is let in then.
  std::shared_ptr<boost::asio::ssl::context> Current();

 private:
  const std::shared_ptr<const LiveCertificates> certificates_;
  Mutex mutex_;
  std::shared_ptr<const Certificates> made_of_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<boost::asio::ssl::context> context_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_TLS_CONTEXTS_H_
