// libFuzzer entry: any bytes as an infer request of the REST form, the first two of which say where its JSON ends;
// the message that the call is sent, or the error that answers it.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "inference/grpc_service.pb.h"
#include "model/base/error_reason.h"
#include "server/http/infer_json.h"
#include "server/http/infer_request.h"

namespace deweather {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckError(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  Require(absl::IsInvalidArgument(status) &&
          (reason == "INVALID_TENSOR" || reason == "MALFORMED_MESSAGE"));
}

void CheckMessage(const inference::ModelInferRequest& message, size_t bytes) {
  size_t raw = 0;
  for (const std::string& one : message.raw_input_contents()) raw += one.size();
  Require(raw <= bytes);
  Require(message.inputs_size() <= kMaxInferEntries && message.outputs_size() <= kMaxInferEntries);
  inference::ModelInferRequest same;
  Require(same.ParseFromString(message.SerializeAsString()));
}

void Read(std::string_view data) {
  if (data.size() < 2) return;
  const size_t length =
      static_cast<unsigned char>(data[0]) << 8 | static_cast<unsigned char>(data[1]);
  const std::string_view body = data.substr(2);
  const std::string text = std::to_string(length);
  const std::optional<std::string_view> header =
      length == 0 ? std::nullopt : std::optional<std::string_view>(text);
  const auto request = ParseInferRequest("m", "", body, header);
  if (!request.ok()) return CheckError(request.status());
  CheckMessage(request->message, body.size());
}

}  // namespace
}  // namespace deweather

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  deweather::Read({reinterpret_cast<const char*>(data), size});
  return 0;
}
