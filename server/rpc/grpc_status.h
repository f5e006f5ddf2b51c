// Errors as they leave the server: the status codes are numerically the same, the details are
// google.rpc messages.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_SERVER_RPC_GRPC_STATUS_H_
#define DEWEATHER_SERVER_RPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <map>
#include <string>

#include "absl/status/status.h"

namespace deweather {

// With ErrorInfo: the status' reason (model/base/error_reason.h), the domain "deweather" and
// `metadata`. A request that is wrong has a BadRequest too: the field is the picture, or the option
// that the message begins with (of a stream: that of its `start`). A status with a RetryDelay has a
// RetryInfo. A message of more than 1 KiB is cut: longer ones would not arrive at all.
grpc::Status ToGrpc(const absl::Status& status,
                    const std::map<std::string, std::string>& metadata = {});

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_GRPC_STATUS_H_
