// Where every call begins and ends, whatever it does: who calls, whether they may, how it went.
//
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_RPC_ARRIVAL_H_
#define DEWEATHER_SERVER_RPC_ARRIVAL_H_

#include <grpcpp/server_context.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/access/access.h"
#include "server/rpc/call_figures.h"
#include "server/rpc/call_parts.h"

namespace deweather {

// What says, of a call out of this process, for whom it is made; the callers of other calls are who connects.
inline constexpr char kPeerHeader[] = "deweather-peer";

// What is known of a call before it does anything.
struct Arrival {
  const char* method = "";        // within its service, as in "GetModel"
  std::string caller = {};        // whose quota it uses: a token's name, else the connection
  std::string peer = {};          // the connection
  std::string request_id = {};    // of who calls, else made here
  std::string trace_parent = {};  // W3C Trace Context; empty: none came
  absl::Time start = absl::InfinitePast();
  Grant grant = {};           // what lets it in; empty where nothing needs to
  absl::Status refused = {};  // else OK: a call that is refused does no work and is read no further
};

// First in every call.
Arrival Arrive(const CallParts& parts, grpc::CallbackServerContext& context, const char* method);

// Whether a call that was let in would be let in now.
absl::Status CheckAgain(const CallParts& parts, const Arrival& arrival);

// Last in every call, before its status is sent.
void Leave(const CallParts& parts, const Arrival& arrival, const absl::Status& status,
           const CallFigures& figures = {});

// Logs the error of a frame of a call: as an error if the server is to blame.
void LogError(const Arrival& arrival, const absl::Status& error);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_ARRIVAL_H_
