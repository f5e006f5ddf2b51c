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
#include "server/restore/occupancy.h"

namespace deweather {

struct NamedService {
  std::string name;  // full, e.g. "deweather.v1.RestorationService"
  grpc::Service* service = nullptr;
};

struct RpcServer {
  std::unique_ptr<grpc::Server> server;
  std::string address;  // HOST:PORT, port 0 resolved
};

// Serves `services`, which must outlive the result, beside health and reflection; health says
// SERVING. INVALID_ARGUMENT if the address cannot be listened on.
absl::StatusOr<RpcServer> StartRpcServer(const std::string& listen, const LimitOptions& limits,
                                         const std::vector<NamedService>& services);

// What health says of the whole server and of every service.
void SetServing(RpcServer& server, bool serving);

// Waits until no call is in `calls`, for at most `timeout`; then ends the server, which cancels what is
// left, and waits for that. gRPC's own wait would not do: it waits for everybody who watches health.
void Shutdown(RpcServer& server, Occupancy& calls, absl::Duration timeout);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_RPC_SERVER_H_
