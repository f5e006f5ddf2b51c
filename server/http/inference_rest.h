// The Open Inference Protocol's REST form (KServe v2), as calls of inference.GRPCInferenceService.
//
//   GET  /v2                                   ServerMetadata
//   GET  /v2/health/live, /v2/health/ready     ServerLive, ServerReady: 503 where not
//   GET  /v2/models/M[/versions/V]             ModelMetadata
//   GET  /v2/models/M[/versions/V]/ready       ModelReady: 503 where not
//   GET  /v2/models/M[/versions/V]/config      ModelConfig
//   POST /v2/models/M[/versions/V]/infer       ModelInfer (infer_request.h, infer_reply.h)
//   POST /v2/repository/index                  RepositoryIndex
//
// Threads  thread-safe: pure functions
// Errors   {"error": "..."}, with the status of HTTP that failure.h has for the call's

#ifndef DEWEATHER_SERVER_HTTP_INFERENCE_REST_H_
#define DEWEATHER_SERVER_HTTP_INFERENCE_REST_H_

#include <optional>

#include "model/base/server_options.h"
#include "server/http/http_message.h"
#include "server/http/plan.h"

namespace deweather {

// Of a path of /v2 that there is not, or with a method that it does not take: one that is refused. Nothing: the
// path is not of /v2.
std::optional<Plan> PlanInference(const HttpRequest& request, const LimitOptions& limits);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_INFERENCE_REST_H_
