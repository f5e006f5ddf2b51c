// TLS for a gRPC server whose certificates may change while it runs.
// Each new connection gets the certificates that are in use then; those that are open keep theirs. At least
// TLS 1.2. (gRPC's own watcher of files drops what it had before it looks at what it finds.)

#ifndef DEWEATHER_SERVER_RPC_TLS_CREDENTIALS_H_
#define DEWEATHER_SERVER_RPC_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "server/access/certificates.h"

namespace deweather {

// Where there is a client_ca_file, callers must show a certificate that one of its authorities signed.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(
    std::shared_ptr<const LiveCertificates> certificates);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_TLS_CREDENTIALS_H_
