// Where callers come in: gRPC, HTTP, and the port for metrics alone.

#ifndef DEWEATHER_SERVER_DOORS_H_
#define DEWEATHER_SERVER_DOORS_H_

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/server_options.h"
#include "server/access/access.h"
#include "server/access/certificates.h"
#include "server/access/tokens_file.h"
#include "server/http/http_server.h"
#include "server/metrics_text.h"
#include "server/restore/occupancy.h"
#include "server/rpc/request_log.h"
#include "server/rpc/rpc_server.h"

namespace deweather {

struct MetricsEndpoint {
  std::unique_ptr<prometheus::Exposer> exposer;  // none if there is no address
  std::string address;                           // HOST:PORT, port 0 resolved
};

// Each ends before those above it.
struct Doors {
  RpcServer grpc;
  std::unique_ptr<MetricsText> metrics_text;
  std::unique_ptr<HttpServer> http;  // none if there is no address
  std::shared_ptr<prometheus::Collectable> transport_metrics;
  MetricsEndpoint metrics;
};

struct DoorParts {
  const ServerOptions& options;
  const LimitOptions& limits;  // as far as the machine allows
  Occupancy& calls;
  RequestLog* requests;
  std::vector<NamedService> services;
  std::shared_ptr<const LiveCertificates> certificates;           // none: plaintext
  const Access* access;                                           // none: there are no tokens
  const TokensFile* tokens;                                       // the same
  std::vector<std::shared_ptr<prometheus::Collectable>> metrics;  // beside those of the doors
};

// All of `parts` must outlive the result. Errors say which address cannot be listened on, and why.
absl::StatusOr<Doors> OpenDoors(const DoorParts& parts);

// One line each on stdout.
void SayWhereItListens(const Doors& doors);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_DOORS_H_
