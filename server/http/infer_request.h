// An infer request of the Open Inference Protocol's REST form, with the binary extension, as the message of its
// gRPC form: JSON, and behind it the bytes of those inputs that say how many are theirs.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT MALFORMED_MESSAGE the JSON (infer_json.h), its length, or a parameter of the extension;
//          INVALID_TENSOR sizes that do not add up, an output that JSON cannot hold. What else is wrong the call
//          itself finds out (server/rpc/inference_request.h)

#ifndef DEWEATHER_SERVER_HTTP_INFER_REQUEST_H_
#define DEWEATHER_SERVER_HTTP_INFER_REQUEST_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "inference/grpc_service.pb.h"

namespace deweather {

inline constexpr char kJsonLengthHeader[] = "Inference-Header-Content-Length";

// Which outputs of a reply come behind the JSON, as bytes.
struct BinaryOutputs {
  bool all = false;  // those that say nothing themselves
  std::map<std::string, bool> by_name = {};

  bool Has(const std::string& output) const;
};

struct InferRequest {
  inference::ModelInferRequest message;
  BinaryOutputs binary;
};

// `model` and `version` are the path's. `json_length` is the value of kJsonLengthHeader; none: all of the body is JSON.
absl::StatusOr<InferRequest> ParseInferRequest(std::string model, std::string version,
                                               std::string_view body,
                                               std::optional<std::string_view> json_length);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_INFER_REQUEST_H_
