#include "server/rpc/inference_metadata.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "server/rpc/inference_request.h"
#include "server/rpc/inference_tensors.h"

namespace deweather {
namespace {

using Metadata = inference::ModelMetadataResponse;
using Shape = std::vector<int64_t>;

constexpr char kReady[] = "READY";
constexpr char kUnavailable[] = "UNAVAILABLE";

struct Tensor {
  std::string name;
  std::string datatype;
  inference::DataType type;
  Shape shape;  // without the number of pictures
};

std::vector<Tensor> Inputs() {
  return {{kImageInput, "FP32", inference::TYPE_FP32, {3, -1, -1}},
          {kFilesInput, "BYTES", inference::TYPE_STRING, {}}};
}

// Those that the model has.
std::vector<Tensor> Outputs(const LiveModelInfo& model) {
  const auto floats = [](InferenceOutput output, Shape shape) {
    return Tensor{std::string(NameOf(output)), "FP32", inference::TYPE_FP32, std::move(shape)};
  };
  std::vector<Tensor> outputs = {floats(InferenceOutput::kRestored, {3, -1, -1})};
  if (model.layers > 0) {
    outputs.push_back(floats(InferenceOutput::kRouting, {model.layers, model.experts}));
  }
  if (model.layers > 0 && !model.per_image) {
    outputs.push_back(floats(InferenceOutput::kUncertainty, {1, -1, -1}));
  }
  return outputs;
}

// What serves under that name, the version that is meant first.
absl::StatusOr<std::vector<LiveModelInfo>> Find(const LiveModels& models, const std::string& name,
                                                const std::string& version) {
  DW_RETURN_IF_ERROR(CheckModelName(name));
  DW_ASSIGN_OR_RETURN(std::vector<LiveModelInfo> serving, models.Serving(name));
  if (version.empty()) return serving;
  const auto found = std::ranges::find(serving, version, &LiveModelInfo::version);
  if (found == serving.end()) return models.Pin(name, version).status();
  std::rotate(serving.begin(), found, found + 1);
  return serving;
}

void Fill(const Tensor& tensor, Metadata::TensorMetadata& message) {
  message.set_name(tensor.name);
  message.set_datatype(tensor.datatype);
  message.add_shape(-1);
  for (const int64_t side : tensor.shape) message.add_shape(side);
}

template <typename Message>
void FillConfig(const Tensor& tensor, Message& message) {
  message.set_name(tensor.name);
  message.set_data_type(tensor.type);
  for (const int64_t side : tensor.shape) message.add_dims(side);
  if (tensor.shape.empty()) message.add_dims(1);  // an element a picture, as Triton's tools want it
}

void Add(const std::string& name, const std::string& version, const char* state, const char* reason,
         inference::RepositoryIndexResponse& response) {
  inference::RepositoryIndexResponse::ModelIndex& model = *response.add_models();
  model.set_name(name);
  model.set_version(version);
  model.set_state(state);
  model.set_reason(reason);
}

}  // namespace

bool IsReady(const LiveModels& models, const std::string& name, const std::string& version) {
  return Find(models, name, version).ok();
}

absl::StatusOr<Metadata> DescribeModel(const LiveModels& models,
                                       const inference::ModelMetadataRequest& request) {
  DW_ASSIGN_OR_RETURN(const std::vector<LiveModelInfo> serving,
                      Find(models, request.name(), request.version()));
  const LiveModelInfo& model = serving.front();
  Metadata metadata;
  metadata.set_name(model.name);
  metadata.set_platform(kPlatform);
  for (const LiveModelInfo& version : serving) metadata.add_versions(version.version);
  for (const Tensor& input : Inputs()) Fill(input, *metadata.add_inputs());
  for (const Tensor& output : Outputs(model)) Fill(output, *metadata.add_outputs());
  auto& properties = *metadata.mutable_properties();
  properties["datatypes"] = "FP32,FP16,BF16,UINT8";
  properties["layouts"] = "NCHW,NHWC";
  if (!model.tasks.empty()) properties["tasks"] = absl::StrJoin(model.tasks, ",");
  return metadata;
}

absl::StatusOr<inference::ModelConfigResponse> DescribeConfig(
    const LiveModels& models, const inference::ModelConfigRequest& request) {
  DW_ASSIGN_OR_RETURN(const std::vector<LiveModelInfo> serving,
                      Find(models, request.name(), request.version()));
  inference::ModelConfigResponse response;
  inference::ModelConfig& config = *response.mutable_config();
  config.set_name(serving.front().name);
  config.set_platform(kPlatform);
  config.set_backend(kPlatform);
  config.set_max_batch_size(kMaxPictures);
  for (const Tensor& input : Inputs()) FillConfig(input, *config.add_input());
  config.mutable_input()->rbegin()->set_optional(true);  // its tools send the first
  for (const Tensor& output : Outputs(serving.front())) FillConfig(output, *config.add_output());
  return response;
}

absl::StatusOr<inference::RepositoryIndexResponse> ListRepository(
    const LiveModels& models, const inference::RepositoryIndexRequest& request) {
  if (!request.repository_name().empty()) {
    return WithReason(
        absl::NotFoundError(absl::StrFormat("unknown repository '%s'; this server's has no name",
                                            ShownText(request.repository_name()))),
        "UNKNOWN_REPOSITORY");
  }
  inference::RepositoryIndexResponse response;
  for (const std::string& name : models.Names()) {
    const auto serving = models.Serving(name);
    if (serving.ok()) {
      for (const LiveModelInfo& model : *serving) Add(name, model.version, kReady, "", response);
    } else if (!request.ready()) {
      Add(name, "", kUnavailable, "no version of it is live", response);
    }
  }
  return response;
}

}  // namespace deweather
