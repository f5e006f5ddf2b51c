// A ModelInfer's request, held against all that can be known of it without a model.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT INVALID_TENSOR an input or an output; INVALID_PARAMETER; PIXEL_LIMIT. Messages name
//          what is wrong, its value and its limit

#ifndef DEWEATHER_SERVER_RPC_INFERENCE_REQUEST_H_
#define DEWEATHER_SERVER_RPC_INFERENCE_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "inference/grpc_service.pb.h"
#include "server/restore/restore.h"
#include "server/rpc/inference_tensors.h"

namespace deweather {

inline constexpr char kImageInput[] = "image";
inline constexpr char kFilesInput[] = "image_bytes";

enum class InferenceOutput { kRestored, kRouting, kUncertainty };

// As requests and responses call it.
std::string_view NameOf(InferenceOutput output);

struct InferenceRequest {
  RestoreOptions options;  // of every picture
  std::string version = {};
  std::string id = {};
  absl::Duration timeout = absl::InfiniteDuration();
  std::vector<InferenceOutput> outputs = {};  // at least one, none twice
  // The pictures: a tensor and its bytes, or else files.
  std::optional<PictureTensor> tensor = {};
  std::shared_ptr<const std::string> bytes = {};
  std::vector<std::string> files = {};
  std::vector<int64_t> files_shape = {};  // [N], or [N, 1]

  int64_t count() const {
    return tensor.has_value() ? tensor->count : static_cast<int64_t>(files.size());
  }
};

// INVALID_OPTION if no model can be called that.
absl::Status CheckModelName(const std::string& name);

// `max_pixels` is the limit of all pictures of a tensor together.
absl::StatusOr<InferenceRequest> ParseInference(inference::ModelInferRequest message,
                                                int64_t max_pixels);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_INFERENCE_REQUEST_H_
