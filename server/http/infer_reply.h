// The reply of an infer call in the Open Inference Protocol's REST form: JSON, and behind it the bytes of those
// outputs that are asked for so.
//
// Math     floats are written with the fewest digits that read back as the same float
// Threads  thread-safe: a pure function
// Errors   RESOURCE_EXHAUSTED REPLY_SIZE more bytes than the limit, which JSON takes more of; INTERNAL a message
//          that the server itself must not send

#ifndef DEWEATHER_SERVER_HTTP_INFER_REPLY_H_
#define DEWEATHER_SERVER_HTTP_INFER_REPLY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "inference/grpc_service.pb.h"
#include "server/http/infer_request.h"

namespace deweather {

struct InferReply {
  std::string body;
  std::optional<int64_t> json_bytes = {};  // for kJsonLengthHeader; none: all of the body is JSON
};

absl::StatusOr<InferReply> WriteInferReply(const inference::ModelInferResponse& message,
                                           const BinaryOutputs& binary, int64_t max_bytes);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_INFER_REPLY_H_
