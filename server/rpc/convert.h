// Between messages of the wire and the structs of the pipeline.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT a value that no struct can hold, with the reason INVALID_OPTION and a
//          message that begins with the option's name. Ranges are the pipeline's business.

#ifndef DEWEATHER_SERVER_RPC_CONVERT_H_
#define DEWEATHER_SERVER_RPC_CONVERT_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deweather/v1/restoration.pb.h"
#include "server/restore/restore.h"

namespace deweather {

absl::StatusOr<RestoreOptions> ToOptions(const v1::RestoreOptions& message);

// Moves the pictures out of `result`.
void ToMessage(RestoreResult result, v1::RestoreResponse* message);

// REQUIRES: an error.
void ToMessage(const absl::Status& error, v1::FrameError* message);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_CONVERT_H_
