// Configuration messages to the plain structs that the rest of the system knows.
//
// Errors   INVALID_ARGUMENT a combination that no struct can hold; the message begins with the
//          path of the field. Ranges are Validate's business, which the caller calls.

#ifndef DEWEATHER_PROTO_CONFIG_MESSAGES_H_
#define DEWEATHER_PROTO_CONFIG_MESSAGES_H_

#include "absl/status/statusor.h"
#include "deweather/v1/server_config.pb.h"
#include "deweather/v1/train_config.pb.h"
#include "model/base/server_options.h"
#include "model/base/train_options.h"

namespace deweather {

absl::StatusOr<ServerOptions> ToOptions(const v1::ServerConfig& message);
absl::StatusOr<TrainOptions> ToOptions(const v1::TrainConfig& message);

}  // namespace deweather

#endif  // DEWEATHER_PROTO_CONFIG_MESSAGES_H_
