// What /metrics says of connections, certificates and tokens, read at each scrape.
//
// Series   deweather_connections, deweather_connections_refused_total; with HTTP deweather_http_connections,
//          deweather_http_connections_refused_total, deweather_http_body_bytes; and with TLS only
//          deweather_tls_certificate_expiry_timestamp_seconds, of the first certificate in the chain to expire,
//          and deweather_tls_files_ok; and with a file of tokens only deweather_tokens_file_ok
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_TRANSPORT_METRICS_H_
#define DEWEATHER_SERVER_TRANSPORT_METRICS_H_

#include <memory>

#include "server/access/certificates.h"
#include "server/access/tokens_file.h"
#include "server/http/http_server.h"
#include "server/rpc/listener.h"

namespace prometheus {
class Collectable;
}

namespace deweather {

// For prometheus::Exposer::RegisterCollectable, which keeps it no longer than it lives. `listener`, `http` and `tokens`
// must outlive the result; `http` is none without HTTP, `certificates` are none without TLS, `tokens` without a file of them.
std::shared_ptr<prometheus::Collectable> TransportMetrics(
    Listener& listener, HttpServer* http, std::shared_ptr<const LiveCertificates> certificates,
    const TokensFile* tokens);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_TRANSPORT_METRICS_H_
