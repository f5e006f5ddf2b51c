// A gRPC server with this project's limits, health and reflection.

#ifndef DEWEATHER_SERVER_RPC_RPC_SERVER_H_
#define DEWEATHER_SERVER_RPC_RPC_SERVER_H_

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/server_options.h"
#include "server/access/certificates.h"
#include "server/restore/occupancy.h"
#include "server/rpc/listener.h"
#include "server/rpc/rules.h"

namespace deweather {

struct NamedService {
  std::string name;  // full, e.g. "deweather.v1.RestorationService"
  grpc::Service* service = nullptr;
};

struct RpcServer {
  std::unique_ptr<grpc::Server> server;
  std::string address;                 // HOST:PORT, port 0 resolved
  std::unique_ptr<Listener> listener;  // ends before the server, to which it hands over
};

// Serves `services`, which must outlive the result, beside health and reflection; health says
// SERVING. Plaintext if there are no `certificates`. Health and reflection are for whom `rules` allow. Listen's
// errors (address.h).
absl::StatusOr<RpcServer> StartRpcServer(
    const std::string& listen, const LimitOptions& limits,
    const std::vector<NamedService>& services,
    const std::shared_ptr<const LiveCertificates>& certificates = nullptr, const Rules& rules = {});

// From now on health knows `name` too, and says SERVING, or NOT_SERVING after StopServing. Thread-safe.
void AddToHealth(RpcServer& server, const std::string& name);

// Health says NOT_SERVING for good, of the whole server and of every name.
void StopServing(RpcServer& server);

// Waits until no call is in `calls`, for at most `timeout`; then ends the server, which cancels what is
// left, and waits for that. gRPC's own wait would not do: it waits for everybody who watches health.
void Shutdown(RpcServer& server, Occupancy& calls, absl::Duration timeout);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_RPC_SERVER_H_
