// Why a server cannot be reached, in words: gRPC says of a certificate that expired and of a port where nobody
// listens the same, UNAVAILABLE.

#ifndef DEWEATHER_CLIENT_DIAGNOSE_H_
#define DEWEATHER_CLIENT_DIAGNOSE_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/channel.h"
#include "client/retry.h"

namespace deweather {

// Makes connections of its own and words what it saw; empty: nothing is wrong, or a proxy of the environment
// is between. All of them together end within `time`, once the name is resolved.
std::string Diagnose(const ServerFlags& flags, absl::Duration time = absl::Seconds(3));

// As FromGrpc, the code never another, but that the message says what is wrong and which flag helps: of
// UNAVAILABLE without a server's reason by Diagnose, of tokens, and of a message's size.
absl::Status Explained(const ServerFlags& flags, const grpc::Status& status);

// Retries for as long as --timeout, which say once why.
RetryOptions PatientWith(const ServerFlags& flags);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_DIAGNOSE_H_
