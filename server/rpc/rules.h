// Who may call the services that are gRPC's own, health and reflection: rules, as they have no groups.
// Calls of ours are checked where they begin (server/rpc/arrival.h).

#ifndef DEWEATHER_SERVER_RPC_RULES_H_
#define DEWEATHER_SERVER_RPC_RULES_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <vector>

#include "model/base/server_options.h"
#include "server/access/access.h"

namespace deweather {

struct Rules {
  const Access* access = nullptr;  // none: there are no tokens
  AccessRule health = AccessRule::kAnyone;
  AccessRule reflection = AccessRule::kAnyone;
};

// Ends calls of gRPC's own services that the rules do not allow, before anything of them is read. Its errors
// have no details. `rules.access` must outlive the server.
std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
RuleInterceptors(const Rules& rules);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_RULES_H_
