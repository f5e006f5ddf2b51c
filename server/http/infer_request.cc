#include "server/http/infer_request.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "server/http/infer_json.h"
#include "server/rpc/inference_request.h"
#include "server/rpc/inference_tensors.h"

namespace deweather {
namespace {

using inference::InferParameter;
using inference::ModelInferRequest;
using Input = ModelInferRequest::InferInputTensor;
using Parameters = google::protobuf::Map<std::string, InferParameter>;

constexpr char kSize[] = "binary_data_size";

absl::Status Malformed(const std::string& message) {
  return WithReason(absl::InvalidArgumentError(message), "MALFORMED_MESSAGE");
}

absl::StatusOr<size_t> JsonBytes(std::optional<std::string_view> header, size_t body) {
  if (!header) return body;
  uint64_t bytes = 0;
  const absl::string_view text(header->data(), header->size());
  if (!std::ranges::all_of(*header, [](char c) { return c >= '0' && c <= '9'; }) ||
      !absl::SimpleAtoi(text, &bytes)) {
    return Malformed(absl::StrFormat("%s is '%s'; it must be the bytes of the JSON",
                                     kJsonLengthHeader, ShownText(*header)));
  }
  if (bytes <= body) return static_cast<size_t>(bytes);
  return Malformed(
      absl::StrFormat("%s is %d; the body has %d bytes", kJsonLengthHeader, bytes, body));
}

// What a parameter of ours says; none: it is not there.
absl::StatusOr<std::optional<bool>> TakeFlag(const char* name, Parameters& parameters) {
  const auto found = parameters.find(name);
  if (found == parameters.end()) return std::nullopt;
  if (!found->second.has_bool_param()) {
    return Malformed(absl::StrFormat("parameter %s must be true or false", name));
  }
  const bool value = found->second.bool_param();
  parameters.erase(found);
  return value;
}

absl::StatusOr<BinaryOutputs> TakeBinaryOutputs(ModelInferRequest& message) {
  BinaryOutputs binary;
  DW_ASSIGN_OR_RETURN(const std::optional<bool> all,
                      TakeFlag("binary_data_output", *message.mutable_parameters()));
  binary.all = all.value_or(false);
  for (auto& output : *message.mutable_outputs()) {
    DW_ASSIGN_OR_RETURN(const std::optional<bool> one,
                        TakeFlag("binary_data", *output.mutable_parameters()));
    if (one) binary.by_name[output.name()] = *one;
  }
  return binary;
}

// How many of the bytes behind the JSON are this input's; none: its values are in the JSON.
absl::StatusOr<std::optional<uint64_t>> TakeSize(Input& input) {
  Parameters& parameters = *input.mutable_parameters();
  const auto found = parameters.find(kSize);
  if (found == parameters.end()) return std::nullopt;
  if (!found->second.has_uint64_param()) {
    return Malformed(absl::StrFormat("%s of %s must be a whole number, 0 or more", kSize,
                                     ShownText(input.name())));
  }
  if (input.has_contents()) {
    return InvalidTensor(absl::StrFormat("%s has both data and %s; there must be one of them",
                                         ShownText(input.name()), kSize));
  }
  const uint64_t size = found->second.uint64_param();
  parameters.erase(found);
  return size;
}

absl::Status TakeBinaryInputs(std::string_view bytes, bool marked, ModelInferRequest& message) {
  std::string_view rest = bytes;
  for (Input& input : *message.mutable_inputs()) {
    DW_ASSIGN_OR_RETURN(const std::optional<uint64_t> size, TakeSize(input));
    if (!size) continue;
    if (!marked) {
      return Malformed(
          absl::StrFormat("%s has %s %d, but there is no %s, which says where the JSON ends",
                          ShownText(input.name()), kSize, *size, kJsonLengthHeader));
    }
    if (*size > rest.size()) {
      return InvalidTensor(absl::StrFormat("%s has %s %d; of %d bytes behind the JSON %d are left",
                                           ShownText(input.name()), kSize, *size, bytes.size(),
                                           rest.size()));
    }
    message.add_raw_input_contents(rest.data(), *size);
    rest.remove_prefix(*size);
  }
  if (rest.empty()) return absl::OkStatus();
  return InvalidTensor(
      absl::StrFormat("%d bytes are behind the JSON; the inputs have %s of %d together",
                      bytes.size(), kSize, bytes.size() - rest.size()));
}

// Files and half floats have no form in JSON. Told now, as the call would work for nothing.
absl::Status CheckRestored(const ModelInferRequest& message, const BinaryOutputs& binary) {
  constexpr std::array<std::string_view, 3> kBytesOnly = {"BYTES", "FP16", "BF16"};
  const std::string name(NameOf(InferenceOutput::kRestored));
  const bool wanted =
      message.outputs().empty() || std::ranges::any_of(message.outputs(), [&](const auto& output) {
        return output.name() == name;
      });
  if (!wanted || binary.Has(name)) return absl::OkStatus();
  for (const Input& input : message.inputs()) {
    if (std::ranges::find(kBytesOnly, input.datatype()) == kBytesOnly.end()) continue;
    return InvalidTensor(absl::StrFormat(
        "%s of %s has no form in JSON: ask for it with binary_data, or binary_data_output", name,
        input.datatype()));
  }
  return absl::OkStatus();
}

}  // namespace

bool BinaryOutputs::Has(const std::string& output) const {
  const auto found = by_name.find(output);
  return found == by_name.end() ? all : found->second;
}

absl::StatusOr<InferRequest> ParseInferRequest(std::string model, std::string version,
                                               std::string_view body,
                                               std::optional<std::string_view> json_length) {
  DW_ASSIGN_OR_RETURN(const size_t bytes, JsonBytes(json_length, body.size()));
  DW_ASSIGN_OR_RETURN(ModelInferRequest message, ReadInferJson(body.substr(0, bytes)));
  DW_ASSIGN_OR_RETURN(BinaryOutputs binary, TakeBinaryOutputs(message));
  DW_RETURN_IF_ERROR(TakeBinaryInputs(body.substr(bytes), json_length.has_value(), message));
  DW_RETURN_IF_ERROR(CheckRestored(message, binary));
  message.set_model_name(std::move(model));
  message.set_model_version(std::move(version));
  return InferRequest{std::move(message), std::move(binary)};
}

}  // namespace deweather
