// What the Open Inference Protocol, and Triton's part of it, tells of the models.
//
// Threads  thread-safe
// Errors   those of LiveModels::Serving; NOT_FOUND UNKNOWN_VERSION, and UNKNOWN_REPOSITORY

#ifndef DEWEATHER_SERVER_RPC_INFERENCE_METADATA_H_
#define DEWEATHER_SERVER_RPC_INFERENCE_METADATA_H_

#include <string>

#include "absl/status/statusor.h"
#include "inference/grpc_service.pb.h"
#include "server/restore/live_models.h"

namespace deweather {

inline constexpr char kPlatform[] = "deweather";

// Whether that version of the model takes requests; an empty version is any.
bool IsReady(const LiveModels& models, const std::string& name, const std::string& version);

absl::StatusOr<inference::ModelMetadataResponse> DescribeModel(
    const LiveModels& models, const inference::ModelMetadataRequest& request);

absl::StatusOr<inference::ModelConfigResponse> DescribeConfig(
    const LiveModels& models, const inference::ModelConfigRequest& request);

// Reads the folder of models.
absl::StatusOr<inference::RepositoryIndexResponse> ListRepository(
    const LiveModels& models, const inference::RepositoryIndexRequest& request);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_INFERENCE_METADATA_H_
