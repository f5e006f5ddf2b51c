// What the Open Inference Protocol tells of server and models, as JSON: the protocol's names, and numbers where
// protobuf's own mapping has strings.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_SERVER_HTTP_INFERENCE_DOCUMENTS_H_
#define DEWEATHER_SERVER_HTTP_INFERENCE_DOCUMENTS_H_

#include <string>
#include <string_view>

#include "inference/grpc_service.pb.h"

namespace deweather {

std::string DocumentOf(const inference::ServerLiveResponse& server);
std::string DocumentOf(const inference::ServerReadyResponse& server);
std::string DocumentOf(const inference::ServerMetadataResponse& server);
std::string DocumentOf(const std::string& name, const inference::ModelReadyResponse& model);
std::string DocumentOf(const inference::ModelMetadataResponse& model);
std::string DocumentOf(const inference::ModelConfigResponse& model);
std::string DocumentOf(const inference::RepositoryIndexResponse& index);

// {"error":"..."}
std::string ErrorDocument(std::string_view message);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_INFERENCE_DOCUMENTS_H_
