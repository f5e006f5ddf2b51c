#include "server/http/infer_reply.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using Output = inference::ModelInferResponse::InferOutputTensor;

std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::Status CheckSize(size_t bytes, int64_t max_bytes) {
  if (bytes <= static_cast<size_t>(max_bytes)) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrFormat(
          "the reply has %d bytes or more; the server sends at most %d. Outputs have fewer as "
          "binary data",
          bytes, max_bytes)),
      "REPLY_SIZE");
}

// A raw tensor's values as the entries of an array.
template <typename T>
absl::Status AppendValues(std::string_view raw, int64_t max_bytes, std::string& json) {
  constexpr size_t kLongest = 16;  // -1.17549435e-38
  constexpr size_t kChecked = 1 << 16;
  for (size_t at = 0; at + sizeof(T) <= raw.size(); at += sizeof(T)) {
    if (at % kChecked == 0) DW_RETURN_IF_ERROR(CheckSize(json.size(), max_bytes));
    T value;
    std::memcpy(&value, raw.data() + at, sizeof(T));
    if (!std::isfinite(static_cast<float>(value))) {
      return absl::InternalError(
          "an output has a value that is no number, which JSON has no form of");
    }
    char text[kLongest];
    const std::to_chars_result end = std::to_chars(text, text + sizeof(text), value);
    if (at > 0) json += ',';
    json.append(text, end.ptr);
  }
  return CheckSize(json.size(), max_bytes);
}

absl::Status AppendData(const Output& output, std::string_view raw, int64_t max_bytes,
                        std::string& json) {
  json += ",\"data\":[";
  if (output.datatype() == "UINT8") {
    DW_RETURN_IF_ERROR(AppendValues<uint8_t>(raw, max_bytes, json));
  } else if (output.datatype() == "FP32") {
    DW_RETURN_IF_ERROR(AppendValues<float>(raw, max_bytes, json));
  } else {
    return absl::InternalError(
        absl::StrFormat("%s is %s, which has no form in JSON", output.name(), output.datatype()));
  }
  json += ']';
  return absl::OkStatus();
}

absl::Status AppendOutput(const Output& output, std::string_view raw, bool binary,
                          int64_t max_bytes, std::string& json) {
  absl::StrAppend(&json, "{\"name\":", Quoted(output.name()),
                  ",\"datatype\":", Quoted(output.datatype()), ",\"shape\":[",
                  absl::StrJoin(output.shape(), ","), "]");
  if (binary) {
    absl::StrAppend(&json, ",\"parameters\":{\"binary_data_size\":", raw.size(), "}");
  } else {
    DW_RETURN_IF_ERROR(AppendData(output, raw, max_bytes, json));
  }
  json += '}';
  return absl::OkStatus();
}

// All but the bytes behind it.
absl::StatusOr<std::string> WriteJson(const inference::ModelInferResponse& message,
                                      const BinaryOutputs& binary, int64_t max_bytes) {
  std::string json = absl::StrCat("{\"model_name\":", Quoted(message.model_name()),
                                  ",\"model_version\":", Quoted(message.model_version()));
  if (!message.id().empty()) absl::StrAppend(&json, ",\"id\":", Quoted(message.id()));
  json += ",\"outputs\":[";
  for (int i = 0; i < message.outputs_size(); ++i) {
    const Output& output = message.outputs(i);
    if (i > 0) json += ',';
    DW_RETURN_IF_ERROR(AppendOutput(output, message.raw_output_contents(i),
                                    binary.Has(output.name()), max_bytes, json));
  }
  json += "]}";
  return json;
}

}  // namespace

absl::StatusOr<InferReply> WriteInferReply(const inference::ModelInferResponse& message,
                                           const BinaryOutputs& binary, int64_t max_bytes) {
  if (message.raw_output_contents_size() != message.outputs_size()) {
    return absl::InternalError(absl::StrFormat("%d outputs came with %d raw contents",
                                               message.outputs_size(),
                                               message.raw_output_contents_size()));
  }
  InferReply reply;
  DW_ASSIGN_OR_RETURN(reply.body, WriteJson(message, binary, max_bytes));
  const auto json_bytes = static_cast<int64_t>(reply.body.size());
  size_t all = reply.body.size();
  for (int i = 0; i < message.outputs_size(); ++i) {
    if (!binary.Has(message.outputs(i).name())) continue;
    reply.json_bytes = json_bytes;
    all += message.raw_output_contents(i).size();
  }
  DW_RETURN_IF_ERROR(CheckSize(all, max_bytes));
  reply.body.reserve(all);
  for (int i = 0; i < message.outputs_size(); ++i) {
    if (binary.Has(message.outputs(i).name())) reply.body += message.raw_output_contents(i);
  }
  return reply;
}

}  // namespace deweather
