// libFuzzer entry: any bytes as a ModelInfer's request; what it asks for, down to the pixels of its tensor, or the
// error that answers it.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "inference/grpc_service.pb.h"
#include "model/base/error_reason.h"
#include "server/rpc/inference_request.h"
#include "server/rpc/inference_tensors.h"

namespace deweather {
namespace {

constexpr int64_t kMaxPixels = 1 << 16;

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckError(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  Require(absl::IsInvalidArgument(status) &&
          (reason == "INVALID_TENSOR" || reason == "INVALID_PARAMETER" ||
           reason == "INVALID_OPTION" || reason == "PIXEL_LIMIT"));
}

void ReadTensor(const InferenceRequest& request) {
  const PictureTensor& tensor = *request.tensor;
  Require(tensor.count * tensor.pixels() <= kMaxPixels);
  for (int64_t i = 0; i < tensor.count; ++i) {
    const absl::StatusOr<Image> image = ToImage(tensor, i, *request.bytes);
    if (!image.ok()) return CheckError(image.status());
    Require(static_cast<int64_t>(FromImage(tensor, *image).size()) == tensor.picture_bytes());
  }
}

void Read(const uint8_t* data, size_t size) {
  inference::ModelInferRequest message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return;
  const absl::StatusOr<InferenceRequest> request = ParseInference(std::move(message), kMaxPixels);
  if (!request.ok()) return CheckError(request.status());
  Require(request->count() >= 1 && request->count() <= kMaxPictures && !request->outputs.empty());
  if (request->tensor.has_value()) ReadTensor(*request);
}

}  // namespace
}  // namespace deweather

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  deweather::Read(data, size);
  return 0;
}
