#include "server/rpc/inference_request.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using inference::InferParameter;
using inference::InferTensorContents;
using inference::ModelInferRequest;
using Input = ModelInferRequest::InferInputTensor;
using Parameters = google::protobuf::Map<std::string, InferParameter>;

constexpr char kBytes[] = "BYTES";
constexpr char kKnownParameters[] = "layout, priority, seed, strength, task, timeout";

absl::Status InvalidParameter(const std::string& message) {
  return WithReason(absl::InvalidArgumentError(message), "INVALID_PARAMETER");
}

absl::StatusOr<uint64_t> WholeNumber(const std::string& name, const InferParameter& value) {
  if (value.has_uint64_param()) return value.uint64_param();
  if (value.has_double_param()) {
    return InvalidParameter(
        absl::StrFormat("%s is %s, written as a fraction; it must be a whole number", name,
                        ShownNumber(value.double_param())));
  }
  if (!value.has_int64_param()) {
    return InvalidParameter(absl::StrFormat("%s is no whole number", name));
  }
  if (value.int64_param() >= 0) return static_cast<uint64_t>(value.int64_param());
  return InvalidParameter(
      absl::StrFormat("%s is %d; it must be 0 or more", name, value.int64_param()));
}

absl::StatusOr<double> Number(const std::string& name, const InferParameter& value) {
  if (value.has_double_param()) return value.double_param();
  if (value.has_int64_param()) return static_cast<double>(value.int64_param());
  if (value.has_uint64_param()) return static_cast<double>(value.uint64_param());
  return InvalidParameter(absl::StrFormat("%s is no number", name));
}

absl::Status NoText(std::string_view name) {
  return InvalidParameter(absl::StrFormat("%s is no string", name));
}

// A number as Triton's clients send it, or a word.
absl::StatusOr<Priority> ParsePriority(const InferParameter& value) {
  constexpr char kChoices[] = "it must be 1 or normal, 2 or background, or 0";
  if (value.has_string_param()) {
    if (value.string_param() == "normal") return Priority::kNormal;
    if (value.string_param() == "background") return Priority::kBackground;
    return InvalidParameter(
        absl::StrFormat("priority is '%s'; %s", ShownText(value.string_param()), kChoices));
  }
  DW_ASSIGN_OR_RETURN(const uint64_t number, WholeNumber("priority", value));
  if (number <= 1) return Priority::kNormal;
  if (number == 2) return Priority::kBackground;
  return InvalidParameter(absl::StrFormat("priority is %d; %s", number, kChoices));
}

absl::StatusOr<absl::Duration> ParseTimeout(const InferParameter& value) {
  DW_ASSIGN_OR_RETURN(const uint64_t number, WholeNumber("timeout", value));
  if (number == 0) return absl::InfiniteDuration();
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return absl::Microseconds(static_cast<int64_t>(std::min(number, kMost)));
}

absl::StatusOr<TensorLayout> ParseLayout(const InferParameter& value) {
  if (!value.has_string_param()) return NoText("layout");
  const std::string& layout = value.string_param();
  if (layout == "NCHW") return TensorLayout::kNchw;
  if (layout == "NHWC") return TensorLayout::kNhwc;
  return InvalidParameter(
      absl::StrFormat("layout is '%s'; it must be NCHW or NHWC", ShownText(layout)));
}

absl::StatusOr<float> ParseStrength(const InferParameter& value) {
  DW_ASSIGN_OR_RETURN(const double strength, Number("strength", value));
  if (strength >= 0 && strength <= 1) return static_cast<float>(strength);
  return InvalidParameter(
      absl::StrFormat("strength is %s; it must be in 0..1", ShownNumber(strength)));
}

absl::Status TakeParameter(const std::string& name, const InferParameter& value,
                           InferenceRequest& request, TensorLayout& layout) {
  RestoreOptions& options = request.options;
  if (name == "priority") {
    DW_ASSIGN_OR_RETURN(options.priority, ParsePriority(value));
  } else if (name == "timeout") {
    DW_ASSIGN_OR_RETURN(request.timeout, ParseTimeout(value));
  } else if (name == "layout") {
    DW_ASSIGN_OR_RETURN(layout, ParseLayout(value));
  } else if (name == "strength") {
    DW_ASSIGN_OR_RETURN(options.strength, ParseStrength(value));
  } else if (name == "seed") {
    DW_ASSIGN_OR_RETURN(options.seed, WholeNumber(name, value));
  } else if (name == "task") {
    if (!value.has_string_param()) return NoText(name);
    options.task = value.string_param();
  } else {
    return InvalidParameter(
        absl::StrFormat("unknown parameter '%s'; known: %s", ShownText(name), kKnownParameters));
  }
  return absl::OkStatus();
}

// An input or an output has none that would be known.
absl::Status CheckNone(const Parameters& parameters, std::string_view of) {
  if (parameters.empty()) return absl::OkStatus();
  return InvalidParameter(absl::StrFormat("unknown parameter '%s' of %s; known: none",
                                          ShownText(parameters.begin()->first), of));
}

absl::Status TakeOutputs(const ModelInferRequest& message, InferenceRequest& request) {
  using Output = InferenceOutput;
  if (message.outputs().empty()) request.outputs = {Output::kRestored};
  for (const ModelInferRequest::InferRequestedOutputTensor& wanted : message.outputs()) {
    constexpr std::array<Output, 3> kAll = {Output::kRestored, Output::kRouting,
                                            Output::kUncertainty};
    const auto* const output =
        std::ranges::find_if(kAll, [&](Output one) { return wanted.name() == NameOf(one); });
    if (output == kAll.end()) {
      return InvalidTensor(absl::StrFormat(
          "unknown output '%s'; known: restored, routing, uncertainty", ShownText(wanted.name())));
    }
    if (std::ranges::find(request.outputs, *output) != request.outputs.end()) {
      return InvalidTensor(absl::StrFormat("output '%s' is asked for twice", wanted.name()));
    }
    DW_RETURN_IF_ERROR(CheckNone(wanted.parameters(), wanted.name()));
    request.outputs.push_back(*output);
    if (*output == Output::kUncertainty) request.options.uncertainty_map = true;
  }
  return absl::OkStatus();
}

// Where a datatype's values are, if they are not raw.
std::string_view FieldOf(std::string_view datatype) {
  if (datatype == "UINT8") return "uint_contents";
  if (datatype == "FP32") return "fp32_contents";
  return datatype == kBytes ? "bytes_contents" : "raw_input_contents";
}

// The first field that has values; empty: none.
std::string_view FilledField(const InferTensorContents& contents, std::string_view but) {
  struct Field {
    std::string_view name;
    int size;
  };
  for (const auto& [name, size] :
       std::initializer_list<Field>{{"bool_contents", contents.bool_contents_size()},
                                    {"int_contents", contents.int_contents_size()},
                                    {"int64_contents", contents.int64_contents_size()},
                                    {"uint_contents", contents.uint_contents_size()},
                                    {"uint64_contents", contents.uint64_contents_size()},
                                    {"fp32_contents", contents.fp32_contents_size()},
                                    {"fp64_contents", contents.fp64_contents_size()},
                                    {"bytes_contents", contents.bytes_contents_size()}}) {
    if (size > 0 && name != but) return name;
  }
  return {};
}

// Values are raw or typed, in one place, and that is the datatype's.
absl::Status CheckContents(const ModelInferRequest& message) {
  const Input& input = message.inputs(0);
  const std::string_view field = FieldOf(input.datatype());
  const bool typed = !FilledField(input.contents(), "").empty();
  const int raw = message.raw_input_contents_size();
  if (raw > 1) {
    return InvalidTensor(absl::StrFormat("raw_input_contents has %d elements, for 1 input", raw));
  }
  if (raw == 1 && typed) {
    return InvalidTensor(absl::StrFormat(
        "%s has contents both raw and typed; there must be one of them", input.name()));
  }
  if (raw == 1) return absl::OkStatus();
  if (!typed) return InvalidTensor(absl::StrFormat("%s has no contents", input.name()));
  const std::string_view other = FilledField(input.contents(), field);
  if (other.empty()) return absl::OkStatus();
  return InvalidTensor(absl::StrFormat("contents of %s are in %s; %s has them in %s", input.name(),
                                       other, input.datatype(), field));
}

absl::Status CheckSize(const Input& input, const char* unit, int64_t there, int64_t wanted) {
  if (there == wanted) return absl::OkStatus();
  return InvalidTensor(absl::StrFormat("%s has %d %s; shape %s of %s takes %d", input.name(), there,
                                       unit, ShownShape(input.shape()), input.datatype(), wanted));
}

// Typed values as raw ones. Of numbers above 255 the first is told.
absl::StatusOr<std::string> RawOf(const Input& input) {
  const InferTensorContents& contents = input.contents();
  std::string bytes;
  if (input.datatype() == "FP32") {
    AppendFloats(contents.fp32_contents(), bytes);
    return bytes;
  }
  bytes.reserve(static_cast<size_t>(contents.uint_contents_size()));
  for (const uint32_t value : contents.uint_contents()) {
    if (value > 255) {
      return InvalidTensor(absl::StrFormat("value %d of %s is %d; UINT8 goes to 255", bytes.size(),
                                           input.name(), value));
    }
    bytes.push_back(static_cast<char>(value));
  }
  return bytes;
}

absl::Status TakeTensor(ModelInferRequest& message, TensorLayout layout, int64_t max_pixels,
                        InferenceRequest& request) {
  const Input& input = message.inputs(0);
  DW_ASSIGN_OR_RETURN(const SampleType type, ParseSampleType(input.datatype()));
  DW_ASSIGN_OR_RETURN(request.tensor, ParsePictureTensor(type, layout, input.shape(), max_pixels));
  DW_RETURN_IF_ERROR(CheckContents(message));
  const PictureTensor& tensor = *request.tensor;
  const int64_t wanted = tensor.count * tensor.picture_bytes();
  if (message.raw_input_contents().empty()) {
    const InferTensorContents& contents = input.contents();
    const int values = std::max(contents.uint_contents_size(), contents.fp32_contents_size());
    DW_RETURN_IF_ERROR(CheckSize(input, "values", values, tensor.count * 3 * tensor.pixels()));
    DW_ASSIGN_OR_RETURN(std::string raw, RawOf(input));
    request.bytes = std::make_shared<const std::string>(std::move(raw));
    return absl::OkStatus();
  }
  std::string& raw = *message.mutable_raw_input_contents(0);
  DW_RETURN_IF_ERROR(CheckSize(input, "bytes", static_cast<int64_t>(raw.size()), wanted));
  request.bytes = std::make_shared<const std::string>(std::move(raw));
  return absl::OkStatus();
}

absl::Status CheckFiles(const Input& input) {
  if (input.datatype() != kBytes) {
    return InvalidTensor(absl::StrFormat("datatype of image_bytes is '%s'; it must be BYTES",
                                         ShownText(input.datatype())));
  }
  const bool column = input.shape_size() == 2 && input.shape(1) == 1;  // ModelConfig's dims
  if ((input.shape_size() == 1 || column) && input.shape(0) >= 1 &&
      input.shape(0) <= kMaxPictures) {
    return absl::OkStatus();
  }
  return InvalidTensor(absl::StrFormat("shape of image_bytes is %s; it must be [N], N from 1 to %d",
                                       ShownShape(input.shape()), kMaxPictures));
}

absl::Status TakeFiles(ModelInferRequest& message, InferenceRequest& request) {
  Input& input = *message.mutable_inputs(0);
  if (message.parameters().contains("layout")) {
    return InvalidParameter("layout is given with image_bytes; it is of image alone");
  }
  DW_RETURN_IF_ERROR(CheckFiles(input));
  DW_RETURN_IF_ERROR(CheckContents(message));
  const int64_t count = input.shape(0);
  request.files_shape.assign(input.shape().begin(), input.shape().end());
  if (!message.raw_input_contents().empty()) {
    DW_ASSIGN_OR_RETURN(const std::vector<std::string_view> elements,
                        SplitElements(message.raw_input_contents(0), count));
    request.files.assign(elements.begin(), elements.end());
  } else {
    auto& files = *input.mutable_contents()->mutable_bytes_contents();
    DW_RETURN_IF_ERROR(CheckSize(input, "elements", files.size(), count));
    request.files.assign(std::move_iterator(files.begin()), std::move_iterator(files.end()));
  }
  if (count == 1 || !request.options.uncertainty_map) return absl::OkStatus();
  return InvalidTensor(absl::StrFormat(
      "uncertainty is asked for %d files, whose maps make no tensor; it takes one, or image",
      count));
}

absl::Status CheckInputs(const ModelInferRequest& message) {
  constexpr char kOne[] = "there must be one, image or image_bytes";
  for (const Input& input : message.inputs()) {
    if (input.name() != kImageInput && input.name() != kFilesInput) {
      return InvalidTensor(
          absl::StrFormat("unknown input '%s'; %s", ShownText(input.name()), kOne));
    }
    DW_RETURN_IF_ERROR(CheckNone(input.parameters(), input.name()));
  }
  if (message.inputs_size() == 1) return absl::OkStatus();
  return InvalidTensor(absl::StrFormat("%d inputs have come; %s", message.inputs_size(), kOne));
}

}  // namespace

std::string_view NameOf(InferenceOutput output) {
  switch (output) {
    case InferenceOutput::kRouting:
      return "routing";
    case InferenceOutput::kUncertainty:
      return "uncertainty";
    case InferenceOutput::kRestored:
      break;
  }
  return "restored";
}

absl::Status CheckModelName(const std::string& name) {
  if (name.size() <= kMaxNameBytes) return absl::OkStatus();
  return WithReason(
      absl::InvalidArgumentError(absl::StrFormat(
          "the model's name is %d bytes long; it must be 1 to %d", name.size(), kMaxNameBytes)),
      "INVALID_OPTION");
}

absl::StatusOr<InferenceRequest> ParseInference(ModelInferRequest message, int64_t max_pixels) {
  DW_RETURN_IF_ERROR(CheckModelName(message.model_name()));
  InferenceRequest request;
  TensorLayout layout = TensorLayout::kNchw;
  request.options.model = message.model_name();
  request.version = message.model_version();
  request.id = message.id();
  for (const auto& [name, value] : message.parameters()) {
    DW_RETURN_IF_ERROR(TakeParameter(name, value, request, layout));
  }
  DW_RETURN_IF_ERROR(TakeOutputs(message, request));
  DW_RETURN_IF_ERROR(CheckInputs(message));
  if (message.inputs(0).name() == kImageInput) {
    DW_RETURN_IF_ERROR(TakeTensor(message, layout, max_pixels, request));
  } else {
    DW_RETURN_IF_ERROR(TakeFiles(message, request));
  }
  return request;
}

}  // namespace deweather
